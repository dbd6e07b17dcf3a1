# SPDX-License-Identifier: GPL-2.0-or-later
"""KUnit: the driver's own tests, which run when a kernel with them loads it.

Owns the reading of what the kernel keeps of each suite in debugfs.  The
suites and cases that must have run are taken from the sources: none passes by
not being there.
"""

import pathlib
import re

import env
import report
import tasks
import vm

TESTS = "drivers/gpu/drm/virtio-buf/tests"
LIMIT = 300
JOB = """
cd /sys/kernel/debug/kunit || exit 1
for suite in *; do
    echo "suite $suite"
    cat "$suite/results" || exit 1
done
rmmod virtio_buf
"""

SUITE = re.compile(r'\.name = "(\w+)"')
CASE = re.compile(r"KUNIT_CASE(?:_PARAM)?\((\w+)")
# A suite's cases are indented once, the parameters of a case twice.
RESULT = re.compile(r"^ {4}(ok|not ok) \d+ (\S+)(?:\s+# SKIP\s*(.*))?")


def registered(folder) -> dict:
    """Suite to cases, as the sources have them."""
    found = {}
    for path in sorted(pathlib.Path(folder).glob("*_test.c")):
        text = path.read_text()
        for name in SUITE.findall(text):
            found[name] = CASE.findall(text)
    return found


def of_suites(lines) -> dict:
    """Suite to the lines of its results."""
    found, current = {}, None
    for line in lines:
        if line.startswith("suite "):
            current = found.setdefault(line.split()[1], [])
        elif current is not None:
            current.append(line)
    return found


def of_suite(suite, lines) -> dict:
    """Case to its result; why it failed stands before it."""
    found, said = {}, []
    for line in lines:
        match = RESULT.match(line)
        if not match:
            if "#" in line or "not ok" in line or "Expected" in line:
                said.append(line.strip(" #"))
            continue
        result, reason = match[1], ""
        if result == "not ok":
            reason = "; ".join(said[:4])
        elif match[3] is not None:
            result, reason = report.SKIPPED, match[3]
            if not reason:
                result, reason = report.FAILED, "skipped without a reason"
        found[match[2]] = report.Case(f"{suite}: {match[2]}", result, reason)
        said = []
    return found


def read(lines, wanted, pattern="") -> list:
    """A case for each one that is registered."""
    seen = of_suites(lines)
    cases = []
    for suite, names in wanted.items():
        results = of_suite(suite, seen.get(suite, []))
        for name in names:
            title = f"{suite}: {name}"
            if pattern in title:
                cases.append(results.get(name) or report.Case(
                    title, report.FAILED, "the kernel has no result of it"))
    return cases or [report.Case("registered", report.FAILED,
                                 f"{TESTS} has no such case")]


def run(level_run, level):
    """Boot the debug kernel, in which loading the driver runs them."""
    params = level_run.driver_guest(LIMIT, level_run.machine.accel(), "debug")
    guest = tasks.make_guest(params, JOB, boot="loglevel=7 kunit.enable=1")
    try:
        result = vm.run(pathlib.Path(params["qemu"]), guest,
                        level_run.folder / level)
    except env.LabError as error:
        level_run.report.one(level, "run", False, str(error))
        return
    level_run.report.add(level, read(
        result.output, registered(level_run.lab.top / TESTS),
        level_run.pattern(level)))
    problem = result.problem()
    if not problem and result.status:
        problem = f"exit status {result.status}: {result.output[-1:]}"
    level_run.report.one(level, "guest kernel and exit", not problem, problem)
