# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU: its source with our files in it, its builds, and what they leave.

Owns src/qemu*, build/qemu* and out/qemu*.  A finished build
is copied to out/NAME-KEY, which nothing changes afterwards, so that running
tests never meet a half-linked binary of a lab that builds beside them.
"""

import os
import pathlib
import re
import shutil

import env
import overlay
from apt import clang_packages
from steps import Step, locked

TARGETS = ("qemu-system-x86_64", "tests/qtest/qos-test")
FUZZ_TARGETS = ("qemu-fuzz-x86_64",)
# What the fuzz targets of the sanitizers' build have in libFuzzer's place
REPLAY, REPLAY_HEADER = "tests/fuzz/replay.c", "tests/fuzz/fuzz.h"
REPLAY_OBJECT = "replay.o"
FIRMWARE = (
    ("/usr/share/seabios", ("bios-256k.bin", "bios.bin")),
    ("/usr/share/qemu", ("kvmvapic.bin", "linuxboot.bin",
                         "linuxboot_dma.bin", "pvh.bin")),
)
# VNC does not start without one
KEYMAP = "pc-bios/keymaps/en-us"
NAMES = {"qemu": "QEMU", "qemu-asan": "QEMU with sanitizers",
         "qemu-fuzz": "QEMU for fuzzing"}
DEVICES = "configs/devices/x86_64-softmmu/virtio-buf-lab.mak"


class Qemu:
    def __init__(self, lab, apt):
        self.lab, self.apt = lab, apt
        self.src = lab.cache / "src" / "qemu"
        self.given = os.environ.get("QEMU_SRC")
        self.ours = {}

    def tree_of(self, build) -> overlay.Tree:
        """Each build has a tree of its own: neither waits for the other."""
        return overlay.Tree(self.src.with_name(build))

    # what goes into the tree

    def overlay_files(self) -> dict:
        """Path in QEMU's tree to contents (or a change of the old ones)."""
        top, files = self.lab.top, {}
        for path in env.tree_files(top / "hw", top / "include" / "hw",
                                   top / "tests" / "qtest"):
            name = str(path.relative_to(top))
            if path.suffix in (".c", ".h"):
                files[name] = path.read_bytes()
        for path in env.tree_files(top / "include" / "virtio-buf"):
            files[str(path.relative_to(top))] = path.read_bytes()
        for path in env.tree_files(top / "qapi"):
            files[str(path.relative_to(top))] = path.read_bytes()
        # The library's wire code serves both ends of the socket.
        wire = top / "lib/virtio-buf-wire.c"
        if wire.exists():
            files["hw/virtio/virtio-buf-wire.c"] = wire.read_bytes()
        uapi = top / "include/uapi/linux/virtio_buf.h"
        if uapi.exists():
            files["include/standard-headers/linux/virtio_buf.h"] = \
                overlay.portable(uapi.read_text()).encode()
        symbols = top / "Kconfig"
        if symbols.exists():
            files["hw/virtio/Kconfig.virtio-buf"] = symbols.read_bytes()
        events = top / "hw/virtio/trace-events-virtio-buf"
        if events.exists():
            addition = events.read_bytes()
            files["hw/virtio/trace-events"] = \
                lambda old: old.rstrip(b"\n") + b"\n\n" + addition
        devices = (self.lab.here / "qemu-devices.mak").read_text()
        if symbols.exists():
            for name in re.findall(r"^config (\w+)", symbols.read_text(),
                                   re.MULTILINE):
                devices += f"CONFIG_{name}=y\n"
        files[DEVICES] = devices.encode()
        return files

    def patches(self) -> list:
        return sorted((self.lab.top / "patches" / "qemu").glob("*.patch"))

    # keys

    def source_key(self) -> str:
        if self.given:
            version = pathlib.Path(self.given) / "VERSION"
            return env.digest("given", os.path.realpath(self.given), version)
        return env.digest("debian", 1)

    def overlay_key(self, build) -> str:
        """What our files were when they were last looked at, see refresh."""
        if build not in self.ours:
            self.refresh(build)
        return self.ours[build]

    def refresh(self, build):
        top = self.lab.top
        self.ours[build] = env.digest(
            self.source_key(), env.tree_digest(
                top / "hw", top / "include", top / "qapi", top / "Kconfig",
                top / "patches" / "qemu", top / "tests" / "qtest",
                top / "lib" / "virtio-buf-wire.c",
                self.lab.here / "qemu-devices.mak"),
            self.lab.here / "overlay.py")

    def configure_line(self, build) -> list:
        line = ["--target-list=x86_64-softmmu", "--without-default-features",
                "--without-default-devices",
                "--with-devices-x86_64=virtio-buf-lab",
                "--enable-system", "--enable-kvm", "--enable-tcg",
                "--enable-virtfs", "--enable-attr", "--enable-fdt=system",
                "--enable-pixman", "--enable-vhost-user", "--enable-vnc",
                "--disable-docs", "--disable-install-blobs",
                "--enable-trace-backends=log",
                "--python=/usr/bin/python3", "--cc=ccache gcc"]
        if build != "qemu":
            line += ["--enable-asan", "--enable-ubsan", "--enable-fuzzing"]
        if build == "qemu-fuzz":
            # qtest is its only accelerator
            line += ["--cc=ccache clang", "--cxx=clang++", "--disable-tcg"]
        return line

    @staticmethod
    def wanted(build) -> tuple:
        return {"qemu": TARGETS, "qemu-asan": TARGETS + FUZZ_TARGETS,
                "qemu-fuzz": FUZZ_TARGETS}[build]

    def configure_key(self, build) -> str:
        compiler = pathlib.Path(
            "/usr/bin/clang" if build == "qemu-fuzz" else "/usr/bin/gcc"
            ).resolve()
        return env.digest(self.source_key(), self.configure_line(build),
                          compiler.name, self.meson_key())

    def compile_key(self, build) -> str:
        parts = [self.configure_key(build), self.overlay_key(build), KEYMAP]
        if build == "qemu-asan":
            parts += [self.lab.top / REPLAY, self.lab.top / REPLAY_HEADER]
        return env.digest(*parts)

    # meson, which Debian 12 has too old

    def meson_key(self) -> str:
        return env.digest("meson", self.lab.codename)

    def meson_env(self) -> dict:
        """The build environment with a meson that is new enough."""
        more = self.lab.build_env()
        if self.lab.codename == "bookworm":
            base = self.lab.cache / "tools" / "meson" / "usr"
            more["PYTHONPATH"] = str(base / "lib/python3/dist-packages")
            more["PATH"] = f"{base / 'bin'}:{more['PATH']}"
        return more

    def meson_steps(self) -> list:
        if self.lab.codename != "bookworm":
            return []

        def fetch(progress):
            self.apt.unpack("meson", self.lab.folder("tools") / "meson",
                            progress, wanted=r"1\.([5-9]|\d\d)")
        return [Step("Meson for QEMU", "meson", self.meson_key, fetch,
                     estimate=0.1)]

    # actions

    def fetch_source(self, progress):
        self.lab.folder("src")
        if self.given:
            given = pathlib.Path(self.given)
            if not (given / "hw" / "virtio" / "virtio.c").exists():
                raise env.SetupError(
                    f"QEMU_SRC={given} is not a QEMU source tree")
            progress.note(f"copying {given}", force=True)
            overlay.copy_tree(given, self.src)
        else:
            dsc, version = self.apt.fetch("qemu", progress, source=True,
                                          wanted=r"\d+:10\.0\.")
            progress.note(f"unpacking {version}", force=True)
            overlay.forget(self.src)
            fresh = self.src.with_name("qemu.new")
            shutil.rmtree(fresh, ignore_errors=True)
            env.run(["dpkg-source", "--no-check", "-x", dsc, fresh],
                    self.lab.log_path("qemu-source"))
            fresh.rename(self.src)
        shutil.rmtree(self.lab.cache / "build" / "qemu", ignore_errors=True)

    def copy_source(self, build):
        def action(progress):
            with locked(self.lab, "qemu",
                        lambda text: progress.note(text, force=True)):
                overlay.copy_kept(self.src, self.src.with_name(build))
            shutil.rmtree(self.lab.cache / "build" / build,
                          ignore_errors=True)
        return action

    def apply_overlay(self, build):
        """Done in the same hold of the lock as what uses the tree, so that
        another lab with newer files cannot come between."""
        self.refresh(build)
        self.tree_of(build).apply(self.overlay_files(), self.patches(),
                                  self.lab.log_path(f"{build}-overlay"))

    def configure(self, build):
        def action(progress):
            self.apply_overlay(build)
            progress.note("configure", force=True)
            folder = self.lab.cache / "build" / build
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            configure = self.src.with_name(build) / "configure"
            more = self.meson_env()
            if build == "qemu-asan":
                more["LIB_FUZZING_ENGINE"] = str(folder / REPLAY_OBJECT)
            env.run([configure] + self.configure_line(build),
                    self.lab.log_path(f"{build}-configure"), append=False,
                    cwd=folder, env=more)
        return action

    def compile_replay(self, folder):
        """ninja does not know that the fuzz targets are linked with it."""
        env.run(["gcc", "-g", "-O1", "-D_GNU_SOURCE",
                 "-fsanitize=address,undefined", "-c", self.lab.top / REPLAY,
                 "-o", folder / REPLAY_OBJECT],
                self.lab.log_path("qemu-asan-replay"), append=False)
        for target in FUZZ_TARGETS:
            (folder / target).unlink(missing_ok=True)

    def compile(self, build):
        def action(progress):
            self.apply_overlay(build)
            folder = self.lab.cache / "build" / build
            if build == "qemu-asan":
                self.compile_replay(folder)
            env.run(["ninja", "-j", str(self.lab.jobs), *self.wanted(build)],
                    self.lab.log_path(f"{build}-compile"), append=False,
                    on_line=progress.watch, cwd=folder, env=self.meson_env())
            self.keep(build, folder)
        return action

    def keep(self, build, folder):
        """Copy what tests run to a place of its own."""
        out = self.output(build)
        fresh = out.with_name(out.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for target in self.wanted(build):
            shutil.copy2(folder / target, fresh)
        for where, names in FIRMWARE:
            for name in names:
                if not (pathlib.Path(where) / name).exists():
                    raise env.SetupError(f"{where}/{name} is missing")
                os.symlink(f"{where}/{name}", fresh / name)
        # Where an emulator looks that was not installed
        data = fresh / "qemu-bundle" / "usr/local/share/qemu"
        (data / "keymaps").mkdir(parents=True)
        shutil.copy2(self.src.with_name(build) / KEYMAP, data / "keymaps")
        shutil.rmtree(out, ignore_errors=True)
        fresh.rename(out)
        self.lab.prune_outputs(build)

    def output(self, build="qemu") -> pathlib.Path:
        return self.lab.output(build, self.compile_key(build))

    # the plan

    def source_steps(self) -> list:
        return [
            Step("QEMU: source", "qemu-source", self.source_key,
                 self.fetch_source, lock="qemu", estimate=0.7)]

    def steps(self, builds=("qemu",)) -> list:
        steps = self.meson_steps() + self.source_steps()
        for build in builds:
            name = NAMES[build]
            if build != "qemu":
                steps.append(Step(
                    f"{name}: source", f"{build}-source", self.source_key,
                    self.copy_source(build), lock=build, estimate=0.3))
            steps += [
                Step(f"{name}: configure", f"{build}-configure",
                     lambda b=build: self.configure_key(b),
                     self.configure(build), lock=build, estimate=0.5,
                     packages=clang_packages(self.lab)
                     if build == "qemu-fuzz" else ()),
                Step(f"{name}: compile", f"{build}-compile",
                     lambda b=build: self.compile_key(b),
                     self.compile(build), lock=build,
                     estimate=6.0 if build == "qemu" else 7.0)]
        return steps

