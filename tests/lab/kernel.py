# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels: Debian 13's stock one with its headers, and our debug one.

Owns root/ (a Debian 13 root, made with mmdebstrap, only ever changed as a
whole), out/stock-* (that kernel's image and the few modules that guests
load), src/linux with our files in it, build/linux-debug, and the driver
built for each of the two.
"""

import lzma
import os
import pathlib
import re
import shutil

import env
import overlay
from steps import Step

# What guests load, with what each one depends on; in Debian's kernel
# virtio, virtio_pci, virtio_console and udmabuf are built in.
GUEST_MODULES = ("9p", "9pnet_virtio", "drm_shmem_helper", "vgem",
                 "virtio_gpu")
HOST_VM_MODULES = ("9p", "9pnet_virtio", "kvm_amd", "vhost_vsock",
                   "drm_shmem_helper", "vgem")
ROOT_PACKAGES = ("linux-image-amd64", "linux-headers-amd64", "make",
                 "busybox-static", "kmod", "perl", "dkms", "udev")
DRIVER = "drivers/gpu/drm/virtio-buf"
# A module of the tests: dma-bufs that the driver has to refuse
EXPORTER = "tests/guest/exporter"


class Root:
    """The Debian 13 root: its kernel, headers, compiler and busybox."""

    def __init__(self, lab, apt):
        self.lab, self.apt = lab, apt
        self.path = lab.cache / "root"

    def key(self) -> str:
        return env.digest("root", 1, ROOT_PACKAGES)

    def make(self, progress):
        self.apt.prepare(progress)
        sources = self.apt.root / "etc"
        names = sorted(p.name for p in sources.iterdir())
        # With the security suite first; without it when its files are not
        # (or no longer) on the mirror.
        choices = [names] if len(names) == 1 else [names, names[:1]]
        for attempt, choice in enumerate(choices):
            try:
                self.debootstrap(progress, [sources / n for n in choice])
                return
            except env.CommandFailed:
                if attempt + 1 == len(choices):
                    raise

    def debootstrap(self, progress, sources):
        checks_remove(self.lab, self.path)
        fresh = self.path.with_name("root.new")
        checks_remove(self.lab, fresh)
        text = "".join(self.only_trixie(s) for s in sources)
        merged = self.path.with_name(f"root-sources{sources[0].suffix}")
        merged.write_text(text)

        def watch(line):
            found = re.match(r"I: (.*)", line)
            if found:
                progress.note(found[1][:60])
        env.run(self.lab.sudo([
            "env", "INITRD=No", "mmdebstrap", "--variant=minbase",
            "--format=directory", "--skip=cleanup/reproducible",
            "--include=" + ",".join(ROOT_PACKAGES),
            "--aptopt=Acquire::Languages \"none\"",
            "--aptopt=Acquire::Retries \"3\"",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            "trixie", fresh, merged]),
            self.lab.log_path("root"), append=False, on_line=watch,
            cwd=self.lab.cache, env=self.lab.build_env())
        env.output_of(self.lab.sudo(["mv", fresh, self.path]))

    @staticmethod
    def only_trixie(source) -> str:
        """The private source without backports of an older Debian."""
        text = source.read_text()
        if source.suffix == ".list":
            return "".join(line + "\n" for line in text.splitlines()
                           if "-backports" not in line)
        return re.sub(r" \S+-backports", "", text) + "\n"

    def release(self) -> str:
        """The kernel's release, as uname -r says it."""
        found = sorted(p.name for p in
                       (self.path / "usr/lib/modules").iterdir()
                       if (p / "modules.dep").exists())
        if not found:
            raise env.LabError(f"no kernel in {self.path}")
        return found[-1]

    def steps(self) -> list:
        return [Step("Debian 13 root with its kernel and headers", "root",
                     self.key, self.make, estimate=1.5)]


def checks_remove(lab, path):
    import checks
    if path.exists():
        checks.remove(lab, path)


def module_order(text, names) -> list:
    """Paths in modules.dep's text to load for `names`, dependencies first;
    what is built in is not in there and is left out."""
    depends = {}
    for line in text.splitlines():
        path, _, rest = line.partition(":")
        depends[path] = rest.split()
    by_name = {module_name(path): path for path in depends}
    order = []

    def add(path):
        if path in order:
            return
        # modules.dep lists the whole closure, the deepest last.
        for other in reversed(depends.get(path, [])):
            add(other)
        if path not in order:
            order.append(path)
    for name in names:
        path = by_name.get(name.replace("-", "_"))
        if path:
            add(path)
    return order


def module_name(path) -> str:
    return path.rsplit("/", 1)[-1].split(".ko")[0].replace("-", "_")


class StockKernel:
    def __init__(self, lab, root):
        self.lab, self.root = lab, root

    def key(self) -> str:
        return env.digest("stock", 1, self.root.key(), GUEST_MODULES,
                          HOST_VM_MODULES, root_stamp(self.lab))

    def place(self) -> pathlib.Path:
        return self.lab.output("stock", self.key())

    def take(self, _progress):
        """Copy what guests boot: readable, uncompressed, in load order."""
        out = self.place()
        fresh = out.with_name(out.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        release = self.root.release()
        modules = self.root.path / "usr/lib/modules" / release
        text = (modules / "modules.dep").read_text()
        for kind, names in (("guest", GUEST_MODULES),
                            ("host", HOST_VM_MODULES)):
            lines = []
            for path in module_order(text, names):
                target = fresh / (module_name(path) + ".ko")
                data = (modules / path).read_bytes()
                if path.endswith(".xz"):
                    data = lzma.decompress(data)
                target.write_bytes(data)
                lines.append(target.name)
            (fresh / f"{kind}.modules").write_text("\n".join(lines) + "\n")
        vmlinuz = self.root.path / "boot" / f"vmlinuz-{release}"
        image = fresh / "vmlinuz"
        if os.access(vmlinuz, os.R_OK):
            shutil.copyfile(vmlinuz, image)
        else:
            env.output_of(self.lab.sudo(["install", "-m", "0644", vmlinuz,
                                         image]))
        busybox = self.root.path / "usr/bin/busybox"
        shutil.copy2(busybox, fresh / "busybox")
        (fresh / "release").write_text(release + "\n")
        shutil.rmtree(out, ignore_errors=True)
        fresh.rename(out)
        self.lab.prune_outputs("stock")

    def steps(self) -> list:
        return self.root.steps() + [
            Step("Stock kernel and modules", "stock", self.key, self.take)]


def root_stamp(lab) -> str:
    """Changes whenever the root was made anew."""
    try:
        return str((lab.cache / "root/usr/lib/modules").stat().st_mtime_ns)
    except OSError:
        return ""


class Driver:
    """Our module for the stock kernel, built in the Debian 13 root."""

    def __init__(self, lab, root):
        self.lab, self.root = lab, root

    def sources(self) -> list:
        top = self.lab.top
        return [top / "drivers", top / "include" / "uapi", top / EXPORTER]

    def key(self) -> str:
        return env.digest("driver", 2, env.tree_digest(*self.sources()),
                          self.root.key(), root_stamp(self.lab))

    def place(self) -> pathlib.Path:
        return self.lab.output("driver", self.key())

    def build(self, progress):
        source = self.lab.top / DRIVER
        if not (source / "Makefile").exists():
            raise env.LabError(f"{DRIVER} has no Makefile")
        out = self.place()
        fresh = out.with_name(out.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        # Inside the root, where no mount is needed to reach it.
        name = f"/build-{os.getpid()}"
        inside = self.root.path / name.lstrip("/")
        for path in (DRIVER, "include/uapi", EXPORTER):
            shutil.copytree(self.lab.top / path, fresh / path)
        (fresh / "tests").mkdir(exist_ok=True)
        env.output_of(self.lab.sudo(["cp", "-r", fresh, inside]))
        try:
            for path, place in ((DRIVER, fresh), (EXPORTER, fresh / "tests")):
                env.run(self.lab.sudo(
                    ["chroot", self.root.path, "/usr/bin/env", "-i",
                     "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "make",
                     "-C", f"/lib/modules/{self.root.release()}/build",
                     f"-j{self.lab.jobs}", f"M={name}/{path}",
                     "CONFIG_DRM_VIRTIO_BUF=m",
                     "CONFIG_DRM_VIRTIO_BUF_SIM=m",
                     f"KCPPFLAGS=-I{name}/include/uapi", "W=1", "modules"]),
                    self.lab.log_path("driver"), append=path != DRIVER,
                    on_line=progress.watch)
                for module in (inside / path).rglob("*.ko"):
                    shutil.copyfile(module, place / module.name)
        finally:
            checks_remove(self.lab, inside)
        if not list(fresh.glob("*.ko")):
            raise env.LabError(f"{DRIVER} built no module")
        shutil.rmtree(out, ignore_errors=True)
        fresh.rename(out)
        self.lab.prune_outputs("driver")

    def steps(self) -> list:
        return self.root.steps() + [
            Step("Driver for the stock kernel", "driver", self.key,
                 self.build, estimate=0.4)]


# From here on linux-debug.config has what only a debug kernel needs.
DEBUG_PART = "# what looks over its shoulder"


class InTreeKernel:
    """A linux-source package with our driver in its tree.

    name: of the results, and of the build folder; source: of the folder in
    src/; package: the source's, as a pattern, the newest of them; debug: with
    all the checks.
    """

    def __init__(self, lab, apt, name, source, package, debug=True,
                 given=None):
        self.lab, self.apt = lab, apt
        self.name, self.source, self.package = name, source, package
        self.debug = debug
        self.src = lab.cache / "src" / source
        self.build_dir = lab.cache / "build" / name
        self.tree = overlay.Tree(self.src)
        self.given = given
        self.ours = ""

    def config(self) -> str:
        """The lines of the configuration."""
        text = (self.lab.here / "linux-debug.config").read_text()
        if self.debug:
            return text
        return "".join(line + "\n" for line in
                       text[:text.index(DEBUG_PART)].splitlines()
                       if "KUNIT" not in line)

    def source_key(self) -> str:
        if self.given:
            return env.digest("given", os.path.realpath(self.given),
                              pathlib.Path(self.given) / "Makefile")
        return env.digest("debian", 1)

    def compiler(self) -> str:
        return pathlib.Path("/usr/bin/gcc").resolve().name

    def config_key(self) -> str:
        return env.digest(self.source_key(), self.config().encode(),
                          self.compiler(), self.lab.codename)

    def refresh(self):
        top = self.lab.top
        self.ours = env.tree_digest(top / "drivers", top / "include" / "uapi",
                                    top / "patches" / "linux",
                                    top / "patches" / "linux-7",
                                    top / EXPORTER)

    def kernel_key(self) -> str:
        """The image depends on the config; the driver is a module."""
        return env.digest(self.config_key(), self.source_key())

    def driver_key(self) -> str:
        if not self.ours:
            self.refresh()
        return env.digest(self.kernel_key(), self.ours)

    def place(self) -> pathlib.Path:
        return self.lab.output(self.name, self.driver_key())

    def fetch_source(self, progress):
        self.lab.folder("src")
        if self.given:
            if not (pathlib.Path(self.given) / "Kbuild").exists():
                raise env.SetupError(
                    f"LINUX_SRC={self.given} is not a Linux source tree")
            progress.note(f"copying {self.given}", force=True)
            overlay.copy_tree(pathlib.Path(self.given), self.src)
        else:
            package = self.apt.newest(self.package, progress)
            deb, version = self.apt.fetch(package, progress)
            progress.note(f"unpacking {version}", force=True)
            overlay.forget(self.src)
            fresh = self.src.with_name(f"{self.source}.new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            pipeline = ("set -o pipefail; dpkg-deb --fsys-tarfile \"$1\" | "
                        "tar -xO \"./usr/src/$3.tar.xz\" | "
                        "xz -dc -T0 | tar -x -C \"$2\" --strip-components=1")
            env.run(["bash", "-c", pipeline, "unpack", deb, fresh, package],
                    self.lab.log_path("linux-source"))
            fresh.rename(self.src)
        shutil.rmtree(self.build_dir, ignore_errors=True)

    def overlay_files(self) -> dict:
        top = self.lab.top
        return {str(path.relative_to(top)): path.read_bytes()
                for path in env.tree_files(top / "drivers",
                                           top / "include" / "uapi")
                if path.suffix in (".c", ".h")
                or path.name in ("Makefile", "Kconfig")}

    def patches(self) -> pathlib.Path:
        """The hook lines: their neighbours change with the major version."""
        found = re.search(r"^VERSION = (\d+)$",
                          (self.src / "Makefile").read_text(), re.MULTILINE)
        own = self.lab.top / f"patches/linux-{found[1]}"
        return own if own.exists() else self.lab.top / "patches/linux"

    def apply_overlay(self):
        self.refresh()
        patches = sorted(self.patches().glob("*.patch"))
        self.tree.apply(self.overlay_files(), patches,
                        self.lab.log_path("linux-overlay"))

    def make(self, *targets) -> list:
        return ["make", "-C", self.src, f"O={self.build_dir}",
                f"-j{self.lab.jobs}", "CC=ccache gcc", *targets]

    def make_env(self) -> dict:
        return self.lab.build_env(
            KBUILD_BUILD_TIMESTAMP="@0", KBUILD_BUILD_USER="virtio-buf",
            KBUILD_BUILD_HOST="lab",
            KCONFIG_ALLCONFIG=str(self.build_dir / "lab.config"))

    def configure(self):
        """Set the config; olddefconfig would do it without a check."""
        self.build_dir.mkdir(parents=True, exist_ok=True)
        (self.build_dir / "lab.config").write_text(self.config())
        log = self.lab.log_path(f"{self.name}-config")
        env.run(self.make("allnoconfig"), log, append=False,
                env=self.make_env())
        got = set((self.build_dir / ".config").read_text().splitlines())
        hooked = "virtio-buf" in (
            self.src / "drivers/gpu/drm/Kconfig").read_text()
        lost = [line for line in self.config().splitlines()
                if line.startswith("CONFIG_") and line not in got
                and (hooked or "DRM_VIRTIO_BUF" not in line)]
        if lost:
            raise env.LabError("the kernel refuses these options: "
                               + " ".join(lost))

    def compile(self, progress):
        self.apply_overlay()
        self.configure()
        progress.total = 1950
        env.run(self.make("bzImage"),
                self.lab.log_path(self.name), append=False,
                on_line=progress.watch, env=self.make_env())

    def build_driver(self, progress):
        self.apply_overlay()
        self.configure()
        env.run(self.make("bzImage", "modules"),
                self.lab.log_path(f"{self.name}-driver"), append=False,
                on_line=progress.watch, env=self.make_env())
        out = self.place()
        fresh = out.with_name(out.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        shutil.copyfile(self.build_dir / "arch/x86/boot/bzImage",
                        fresh / "vmlinuz")
        for module in (self.build_dir / DRIVER).rglob("*.ko"):
            shutil.copyfile(module, fresh / module.name)
        self.build_exporter(fresh / "tests")
        shutil.rmtree(out, ignore_errors=True)
        fresh.rename(out)
        self.lab.prune_outputs(self.name)

    def build_exporter(self, place):
        """The tests' own module, which is in no tree."""
        folder = self.build_dir.with_name(f"{self.name}-exporter")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.lab.top / EXPORTER, folder)
        env.run(self.make(f"M={folder}", "modules"),
                self.lab.log_path(f"{self.name}-exporter"), append=False,
                env=self.make_env())
        place.mkdir()
        for module in folder.glob("*.ko"):
            shutil.copyfile(module, place / module.name)

    def source_steps(self) -> list:
        return [Step(f"{self.source.capitalize()}: source",
                     f"{self.source}-source", self.source_key,
                     self.fetch_source, lock=self.source, estimate=0.6)]

    def steps(self) -> list:
        what = f"{self.name}: "
        return self.source_steps() + [
            Step(f"{what}compile", f"{self.name}-compile", self.kernel_key,
                 self.compile, lock=self.source, estimate=14.0),
            Step(f"{what}driver", f"{self.name}-driver", self.driver_key,
                 self.build_driver, lock=self.source, estimate=0.5)]


def debug_kernel(lab, apt) -> InTreeKernel:
    """Debian 13's own source, or $LINUX_SRC, with all the checks."""
    return InTreeKernel(lab, apt, "linux-debug", "linux",
                        r"linux-source-6\.12",
                        given=os.environ.get("LINUX_SRC"))


def newest_kernel(lab, apt, debug) -> InTreeKernel:
    """The newest source that Debian's suites offer."""
    return InTreeKernel(lab, apt, "linux-new-debug" if debug else "linux-new",
                        "linux-new", r"linux-source-\d+\.\d+", debug)
