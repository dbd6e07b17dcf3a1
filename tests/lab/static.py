# SPDX-License-Identifier: GPL-2.0-or-later
"""Static checks of the driver with Linux's own tools.

Owns what is asked of gcc (W=1), sparse, kernel-doc and Coccinelle, and the
reading of their answers; the driver's page in Linux's documentation, too.  The
driver is checked where it stands upstream, in the tree and with the
configuration of the debug kernel, its KUnit tests included.  Every checked
file is a case for each tool; one that the tool did not come to is a failed
case.
"""

import io
import pathlib
import re

import env
import steps
from report import FAILED, OK, SKIPPED, Case

DRIVER = "drivers/gpu/drm/virtio-buf"
UAPI = ("include/uapi/drm/virtbuf_drm.h", "include/uapi/linux/virtio_buf.h")
# The page about the driver in Linux's documentation, and what it asks for
PAGE = "Documentation/gpu/virtio-buf.rst"
TAKEN = re.compile(r"^\.\. kernel-doc:: *(\S*)$", re.MULTILINE)
# Beyond what every lab has
PACKAGES = ("sparse", "coccinelle", "python3-docutils")
# Semantic patches with OCaml in them, for which spatch wants its compiler
NEEDS_OCAML = re.compile(r"^@.*\bocaml\b|\bscript:ocaml\b", re.MULTILINE)
# What a tool says of a place in a file; where it stands in the tree
SAID = re.compile(rf"^(?:\S*/)?(?P<file>(?:{DRIVER}|include/uapi)/\S+?):"
                  r"(?P<rest>\d+.*)$")
CHECKED = {"gcc": re.compile(rf"^\s+CC (?:\[M\])?\s+({DRIVER}/\S+)\.o$"),
           "sparse": re.compile(rf"^\s+CHECK\s+\S*/({DRIVER}/\S+)\.c$")}


def what_was_said(lines) -> dict:
    """File to the lines about it, as compilers and spatch write them."""
    found = {}
    for line in lines:
        match = SAID.match(line)
        if match:
            found.setdefault(match["file"], []).append(match["rest"])
    return found


def case_of(tool, name, said, seen=True) -> Case:
    title = f"{tool} {name}"
    if not seen:
        return Case(title, FAILED, "it was not checked")
    more = f" (and {len(said) - 3} more)" if len(said) > 3 else ""
    return Case(title, FAILED if said else OK, "; ".join(said[:3]) + more)


def of_files(tool, names, lines, seen) -> list:
    said = what_was_said(lines)
    cases = [case_of(tool, name, said.pop(name, []), name in seen)
             for name in names]
    # headers, where the tool names them
    return cases + [case_of(tool, name, said[name]) for name in sorted(said)]


def page_faults(text) -> list:
    """What docutils says of a page, lines 'LINE: ...'; what Sphinx adds to it
    stands for nothing.  ImportError without docutils."""
    import docutils.core
    import docutils.parsers.rst

    class Taken(docutils.parsers.rst.Directive):
        required_arguments, final_argument_whitespace = 1, True
        option_spec = dict.fromkeys(("export", "internal", "functions",
                                     "identifiers", "doc"), str)

        def run(self):
            return []
    docutils.parsers.rst.directives.register_directive("kernel-doc", Taken)
    said = io.StringIO()
    docutils.core.publish_doctree(text, settings_overrides={
        "warning_stream": said, "halt_level": 5, "file_insertion_enabled":
        False, "_disable_config": True})
    return [line.partition(":")[2] for line in said.getvalue().splitlines()
            if line.startswith("<string>:")]


def tool_steps() -> list:
    """That the tools are installed."""
    return [steps.Step("Static checkers", "static-tools",
                       lambda: env.digest("static-tools", PACKAGES),
                       lambda _progress: None, packages=PACKAGES)]


def tool_place() -> pathlib.Path:
    return pathlib.Path("/usr/bin/spatch")


class Static:
    """The checks over one source tree and build folder."""

    def __init__(self, lab, kernel, folder):
        self.lab, self.kernel, self.folder = lab, kernel, folder
        top = lab.top / DRIVER
        self.sources = [f"{DRIVER}/{path.relative_to(top)}" for path in
                        sorted(top.rglob("*.c"))]
        self.headers = [f"{DRIVER}/{path.relative_to(top)}" for path in
                        sorted(top.rglob("*.h"))] + list(UAPI)

    def make(self, name, *more) -> list:
        """The lines of one run of make, whatever it ended with."""
        log = self.folder / f"{name}.log"
        try:
            env.run(self.kernel.make(*more), log, append=False,
                    env=self.kernel.make_env())
        except env.CommandFailed as error:
            return log.read_text(errors="replace").splitlines() + [
                f"{DRIVER}/Makefile:1: make: exit status {error.status}"]
        return log.read_text(errors="replace").splitlines()

    def compiler(self) -> list:
        for path in (self.kernel.build_dir / DRIVER).rglob("*.o"):
            path.unlink()
        lines = self.make("gcc", "W=1", f"{DRIVER}/")
        seen = {f"{found[1]}.c" for found in
                map(CHECKED["gcc"].match, lines) if found}
        return of_files("gcc-W=1", self.sources, lines, seen)

    def sparse(self) -> list:
        lines = self.make("sparse", "C=2", "CHECK=sparse", f"{DRIVER}/")
        seen = {f"{found[1]}.c" for found in
                map(CHECKED["sparse"].match, lines) if found}
        return of_files("sparse", self.sources, lines, seen)

    def kernel_doc(self) -> list:
        """Every documented name, parameter, member and return value."""
        script = self.kernel.src / "scripts" / "kernel-doc"
        cases = []
        for name in self.sources + self.headers:
            log = self.folder / "kernel-doc.log"
            try:
                env.run([script, "-none", "-Wall", name], log, append=False,
                        cwd=self.lab.top)
            except env.CommandFailed:
                pass
            said = [line for line in
                    log.read_text(errors="replace").splitlines()[1:]]
            cases.append(case_of("kernel-doc", name, said))
        return cases

    def page(self) -> list:
        """The page about the driver: valid, and what it takes is there."""
        text = (self.lab.top / PAGE).read_text()
        title = f"page {PAGE}"
        try:
            cases = [case_of("page", PAGE, page_faults(text))]
        except ImportError as error:
            cases = [Case(title, FAILED, f"python3-docutils: {error}")]
        names = TAKEN.findall(text)
        if not names:
            cases.append(Case(f"{title} uAPI", FAILED,
                              "it takes nothing from the sources"))
        return cases + [self.taken(name) for name in names]

    def taken(self, name) -> Case:
        """A file that the page is made of, in part."""
        log = self.folder / "page.log"
        log.unlink(missing_ok=True)
        try:
            env.run([self.kernel.src / "scripts" / "kernel-doc", "-rst", name],
                    log, append=False, cwd=self.lab.top)
        except env.CommandFailed as error:
            return case_of("page", name, [f"exit status {error.status}"])
        lines = log.read_text(errors="replace").splitlines()[1:]
        said = [line for line in lines
                if re.search(r"\b(?:warning|error): ", line)]
        if not any(line.startswith(".. c:") for line in lines):
            said.append("nothing in it is documented")
        return case_of("page", name, said)

    def scripts(self) -> tuple:
        """Linux's semantic patches that can report: those that run here,
        and those that do not."""
        folder = self.kernel.src / "scripts" / "coccinelle"
        usable, not_here = [], []
        for path in sorted(folder.rglob("*.cocci")):
            text = path.read_text(errors="replace")
            if not re.search(r"^virtual report$", text, re.MULTILINE):
                continue
            (not_here if NEEDS_OCAML.search(text) else usable).append(path)
        return usable, not_here

    def coccinelle(self) -> list:
        """scripts/coccicheck's command line for one semantic patch after
        the other: that script stops at the first that cannot run here."""
        usable, not_here = self.scripts()
        log = self.folder / "coccinelle.log"
        src, failed = self.kernel.src, []
        for path in usable:
            found = re.search(r"^// Options:\s*(.*)$", path.read_text(),
                              re.MULTILINE)
            options = found[1].split() if found else []
            try:
                env.run(["spatch", "-D", "report", "--no-show-diff",
                         "--very-quiet", "--cocci-file", path, *options,
                         "--patch", src, "--dir", DRIVER,
                         "-I", src / "include", "-I", src / "include/uapi",
                         "--include",
                         src / "include/linux/compiler-version.h",
                         "--include", src / "include/linux/kconfig.h",
                         "--jobs", self.lab.jobs, "--chunksize", 1],
                        log, cwd=self.lab.top, limit=300,
                        env=self.lab.build_env())
            except env.CommandFailed as error:
                failed.append(Case(f"coccinelle {path.name}", FAILED,
                                   f"exit status {error.status}, see {log}"))
        lines = log.read_text(errors="replace").splitlines()
        names = self.sources + [h for h in self.headers
                                if h.startswith(DRIVER)]
        cases = of_files("coccinelle", names, lines, set(names))
        cases += failed
        cases += [Case(f"coccinelle {path.name}", SKIPPED,
                       "it has OCaml in it, whose compiler is not installed")
                  for path in not_here]
        if not usable:
            cases.append(Case("coccinelle", FAILED, "no semantic patch"))
        return cases

    def all(self, pattern) -> list:
        """The cases of the tools that the pattern names, or of all."""
        tools = {"gcc-W=1": self.compiler, "sparse": self.sparse,
                 "kernel-doc": self.kernel_doc, "page": self.page,
                 "coccinelle": self.coccinelle}
        tool = pattern.split(" ")[0]
        with steps.locked(self.lab, "linux"):
            return [case for name, check in tools.items()
                    if tool not in tools or name == tool
                    for case in check() if pattern in case.name]
