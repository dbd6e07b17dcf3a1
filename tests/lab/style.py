# SPDX-License-Identifier: GPL-2.0-or-later
"""Style: both trees' checkpatch over our files, and the project's own rules.

QEMU's checkpatch reads what stands in QEMU's tree and what follows its style
here; Linux's reads the driver and the uapi headers.  Nothing of other
people's files is looked at.
"""

import re
import subprocess

import env
from report import FAILED, OK, SKIPPED, Case

MAX_LINES = 900
SOURCE = (".c", ".h", ".py", ".sh")
QEMU_STYLE = ("hw", "include/hw", "tests/qtest")
QEMU_LIKE = ("lib", "tools", "tests/unit", "tests/guest",
             "tests/host",
             "include/virtio-buf", "tests/fuzz")
KERNEL_STYLE = ("drivers", "include/uapi", "tests/guest/exporter")
# What QEMU's script says that holds for QEMU's own code only: its licence,
# its osdep.h, its wrappers; and where it misreads standard C.
NOT_QEMU = ("Saw acceptable license", "qemu/osdep.h",
            "architecture specific defines", "strerrorname_np",
            "qemu_strtoul", "qemu_real_host", "storage class should be",
            "leading /* on a separate line")


def tracked(lab) -> list:
    """Our files: what git tracks or would add."""
    text = env.output_of(["git", "-C", lab.top, "ls-files", "--cached",
                          "--others", "--exclude-standard"])
    return sorted({lab.top / line for line in text.splitlines()
                   if (lab.top / line).is_file()})


def below(lab, path, folders) -> bool:
    name = str(path.relative_to(lab.top))
    return any(name.startswith(folder + "/") for folder in folders)


def checkpatch(lab, script, arguments, name) -> list:
    """What a checkpatch says of one file: lines 'FILE:LINE: ...'.  It must
    see the file's path as it is upstream: some rules depend on it."""
    done = subprocess.run(
        ["perl", str(script), *arguments, str(name)], text=True, cwd=lab.top,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, errors="replace")
    said = [line for line in done.stdout.splitlines()
            if re.search(r"\b(ERROR|WARNING|CHECK): ", line)
            or re.search(r"\b(ERROR|WARNING|CHECK):[A-Z_]+: ", line)]
    if done.returncode and not said:
        said = done.stdout.splitlines()[-1:] or [f"exit {done.returncode}"]
    return said


def case_of(name, said) -> Case:
    if not said:
        return Case(name, OK)
    more = f" (and {len(said) - 3} more)" if len(said) > 3 else ""
    return Case(name, FAILED, "; ".join(s.strip() for s in said[:3]) + more)


def qemu_case(lab, script, path):
    """None for a file that is not in QEMU's style."""
    if path.suffix not in (".c", ".h") or below(lab, path, KERNEL_STYLE) \
            or not below(lab, path, QEMU_STYLE + QEMU_LIKE):
        return None
    name = path.relative_to(lab.top)
    said = checkpatch(lab, script, ["--no-tree", "--terse", "--file"], name)
    if not below(lab, path, QEMU_STYLE):
        said = [line for line in said
                if not any(words in line for words in NOT_QEMU)]
    return case_of(f"qemu-checkpatch {name}", said)


def linux_case(lab, script, path):
    """None for a file that is not in Linux's style."""
    if path.suffix not in (".c", ".h") or not below(lab, path, KERNEL_STYLE):
        return None
    name = path.relative_to(lab.top)
    return case_of(f"linux-checkpatch {name}", checkpatch(
        lab, script, ["--strict", "--no-tree", "--terse", "--no-summary",
                      "--file"], name))


def own_cases(lab, files) -> list:
    cases = []
    for path in files:
        name = path.relative_to(lab.top)
        is_source = path.suffix in SOURCE or name.parts[0] == "tools" and (
            path.suffix == "")
        if not is_source:
            continue
        text = path.read_text(errors="replace")
        lines = text.splitlines()
        said = []
        if not any("SPDX-License-Identifier:" in line
                   for line in lines[:2]):
            said.append("no SPDX line at its top")
        if len(lines) > MAX_LINES:
            said.append(f"{len(lines)} lines, {MAX_LINES} at most")
        if "\t" in text and path.suffix == ".py":
            said.append("tabs")
        if any(line != line.rstrip() for line in lines):
            said.append("spaces at a line's end")
        if text and not text.endswith("\n"):
            said.append("no newline at its end")
        if path.suffix == ".py":
            said += python_faults(path, text)
        cases.append(case_of(f"file {name}", said))
    return cases


def python_faults(path, text) -> list:
    """That it compiles and imports nothing that it does not use."""
    import ast
    try:
        tree = ast.parse(text, str(path))
    except SyntaxError as error:
        return [str(error)]
    imported = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for name in node.names:
                imported[(name.asname or name.name).split(".")[0]] = \
                    node.lineno
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    faults = [f"line {line}: {name} is imported and not used"
              for name, line in imported.items() if name not in used]
    faults += [f"line {number}: {len(line)} columns" for number, line in
               enumerate(text.splitlines(), 1) if len(line) > 80]
    return faults


def cases(lab, parts, pattern="") -> list:
    """Those whose name holds pattern; the rest is not looked at."""
    files = tracked(lab)
    found = [c for c in own_cases(lab, files) if pattern in c.name]
    for what, source, function in (
            ("qemu", parts.qemu.src, qemu_case),
            ("linux", parts.debug.src, linux_case)):
        script = source / "scripts" / "checkpatch.pl"
        if not script.exists():
            found.append(Case(f"{what}-checkpatch", SKIPPED,
                              f"{script} is not in the cache (--no-build)"))
            continue
        wanted = [path for path in files if pattern in
                  f"{what}-checkpatch {path.relative_to(lab.top)}"]
        found += filter(None, env.side_by_side(
            lambda path: function(lab, script, path), wanted, lab.jobs))
    return found
