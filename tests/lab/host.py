# SPDX-License-Identifier: GPL-2.0-or-later
"""The repository's own meson project: library, programs, unit tests.

Owns build/host (plain, what is run), build/host-asan (sanitizers, the unit
tests), build/host-fuzz (libFuzzer), and out/host-*: every program of the
plain build in one folder.
"""

import json
import pathlib
import shutil

import env
from apt import clang_packages
from steps import Step

BUILDS = {
    "host": ["--buildtype=debugoptimized", "--default-library=static"],
    "host-asan": ["--buildtype=debug", "-Db_sanitize=address,undefined",
                  "-Db_lundef=false"],
    "host-fuzz": ["--buildtype=debugoptimized", "--default-library=static",
                  "-Db_sanitize=address,undefined", "-Db_lundef=false",
                  "-Dfuzzing=true"],
}
NAMES = {"host": "Library and programs",
         "host-asan": "Unit tests with sanitizers",
         "host-fuzz": "Fuzz targets of the library"}
COMPILERS = {"host-fuzz": "clang"}


class Host:
    def __init__(self, lab, qemu):
        self.lab, self.qemu = lab, qemu
        self.ours = ""

    def present(self) -> bool:
        return (self.lab.top / "meson.build").exists()

    def folder(self, build) -> pathlib.Path:
        return self.lab.cache / "build" / build

    def refresh(self):
        """What the build reads; drivers and hw/ are not in it."""
        top = self.lab.top
        self.ours = env.tree_digest(
            top / "meson.build", top / "meson_options.txt",
            top / "meson.options", top / "lib", top / "include",
            top / "tests" / "unit", top / "tests" / "guest",
            top / "tests" / "host", top / "tests" / "fuzz", top / "docs",
            *[p for p in sorted((top / "tools").glob("*"))
              if p.name != "lab"])

    def configure_key(self, build) -> str:
        compiler = pathlib.Path("/usr/bin", COMPILERS.get(build, "gcc"))
        return env.digest(BUILDS[build], self.qemu.meson_key(),
                          compiler.resolve().name, str(self.lab.top))

    def key(self, build) -> str:
        if not self.ours:
            self.refresh()
        return env.digest(self.configure_key(build), self.ours)

    def place(self) -> pathlib.Path:
        return self.lab.output("host", self.key("host"))

    def build(self, build):
        def action(progress):
            if not self.present():
                raise env.LabError("there is no meson.build")
            self.refresh()
            folder = self.folder(build)
            log = self.lab.log_path(build)
            stamp = folder / "configured"
            key = self.configure_key(build)
            if not stamp.exists() or stamp.read_text() != key:
                shutil.rmtree(folder, ignore_errors=True)
                folder.parent.mkdir(parents=True, exist_ok=True)
                env.run(["meson", "setup", folder, self.lab.top,
                         "--wrap-mode=nodownload"] + BUILDS[build], log,
                        append=False,
                        env=dict(self.qemu.meson_env(), CC="ccache "
                                 + COMPILERS.get(build, "gcc")))
                stamp.write_text(key)
            wanted = [t["filename"][0] for t in self.targets(build)
                      if t["name"].startswith("fuzz-")
                      ] if build == "host-fuzz" else []
            env.run(["ninja", "-C", folder, "-j", str(self.lab.jobs)]
                    + [pathlib.Path(path).relative_to(folder)
                       for path in wanted], log,
                    on_line=progress.watch, env=self.qemu.meson_env())
            if build == "host":
                self.keep(folder)
        return action

    def keep(self, folder):
        out = self.place()
        fresh = out.with_name(out.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        programs = []
        for target in self.targets("host"):
            if target["type"] != "executable":
                continue
            source = pathlib.Path(target["filename"][0])
            if source.exists():
                shutil.copy2(source, fresh / source.name)
                programs.append({
                    "name": source.name,
                    "from": str(pathlib.Path(target["defined_in"])
                                .relative_to(self.lab.top).parent)})
        (fresh / "programs.json").write_text(json.dumps(programs, indent=1))
        shutil.rmtree(out, ignore_errors=True)
        fresh.rename(out)
        self.lab.prune_outputs("host")

    def targets(self, build) -> list:
        return json.loads(env.output_of(
            ["meson", "introspect", "--targets", self.folder(build)],
            env=self.qemu.meson_env()))

    def programs(self, where) -> list:
        """The programs that meson.build files below `where` define."""
        listed = json.loads((self.place() / "programs.json").read_text())
        return [self.place() / p["name"] for p in listed
                if p["from"] == where or p["from"].startswith(where + "/")]

    def program(self, name) -> pathlib.Path:
        path = self.place() / name
        if not path.exists():
            raise env.LabError(f"the build has no program {name}")
        return path

    def tests(self) -> list:
        return json.loads(env.output_of(
            ["meson", "introspect", "--tests", self.folder("host-asan")],
            env=self.qemu.meson_env()))

    def steps(self, build) -> list:
        return self.qemu.meson_steps() + [
            Step(NAMES[build], build, lambda: self.key(build),
                 self.build(build), estimate=0.3,
                 packages=clang_packages(self.lab)
                 if build in COMPILERS else ())]
