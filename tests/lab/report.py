# SPDX-License-Identifier: GPL-2.0-or-later
"""Results of cases: reading TAP, counting, printing, the closing line.

Owns the rule that nothing passes by not running: a plan that is missing,
zero, or larger than the cases that were seen is a failed case of its own,
and a case that was skipped without a reason is a failed one.
"""

import dataclasses
import json
import re
import sys
import time

import env
from steps import clock

CASE = re.compile(r"^(ok|not ok)(?:\s+(\d+))?(?:\s+-)?\s*(.*?)\s*$")
DIRECTIVE = re.compile(r"\s*#\s*(SKIP|TODO)\S*\s*(.*)$", re.IGNORECASE)
PLAN = re.compile(r"^1\.\.(\d+)\s*(?:#\s*(.*))?$")
BAIL = re.compile(r"^Bail out!\s*(.*)$")

OK, FAILED, SKIPPED = "ok", "not ok", "skip"


@dataclasses.dataclass
class Case:
    name: str
    result: str
    reason: str = ""


def read_tap(lines, planned=None) -> list:
    """The cases of a TAP stream (subtests, which are indented, are part of
    their parent), with a failed case for each thing wrong with it.

    planned: how many the caller knows there must be.
    """
    cases, plan, notes = [], None, []
    problems = []
    for line in lines:
        if not line.strip():
            continue
        found = PLAN.match(line)
        if found:
            plan = int(found[1])
            if plan == 0 and found[2]:
                problems.append(Case("plan", SKIPPED, found[2]))
            continue
        found = BAIL.match(line)
        if found:
            problems.append(Case("bail out", FAILED, found[1] or "no reason"))
            continue
        found = CASE.match(line)
        if not found:
            if line.startswith("#"):
                notes.append(line.lstrip("# "))
            continue
        name, result, reason = found[3], found[1], ""
        directive = DIRECTIVE.search(name)
        if directive:
            name = name[:directive.start()]
            reason = directive[2].strip()
            if directive[1].upper() == "SKIP":
                result = SKIPPED
                if not reason:
                    result, reason = FAILED, "skipped without a reason"
        elif result == FAILED:
            reason = "; ".join(notes[-3:])
        cases.append(Case(name or f"case {found[2] or len(cases) + 1}",
                          result, reason))
        notes = []
    if plan is None and planned is None:
        problems.append(Case("plan", FAILED, "no plan: was it cut short?"))
    wanted = planned if planned is not None else plan
    if wanted is not None and len(cases) != wanted:
        problems.append(Case("plan", FAILED,
                             f"{wanted} planned, {len(cases)} seen"))
    if not cases and not problems:
        problems.append(Case("plan", FAILED, "no case at all"))
    return cases + problems


class Report:
    """All cases of a run, level by level."""

    def __init__(self, stream=None, patterns=()):
        self.stream = stream or sys.stdout
        self.levels = {}
        self.times = {}
        self.patterns = patterns

    def begin(self, level, about=""):
        self.levels.setdefault(level, [])
        self.times[level] = time.monotonic()
        self.write(f"# {level}: {about}" if about else f"# {level}")

    def end(self, level):
        self.times[level] = time.monotonic() - self.times[level]

    def add(self, level, cases):
        for case in cases:
            self.levels.setdefault(level, []).append(case)
            reason = f" ({case.reason})" if case.reason else ""
            self.write(f"{case.result} {level}/{case.name}{reason}")

    def one(self, level, name, good, reason=""):
        self.add(level, [Case(name, OK if good else FAILED,
                              "" if good else reason)])

    def skip(self, level, name, reason):
        self.add(level, [Case(name, SKIPPED, reason)])

    def write(self, line):
        self.stream.write(line + "\n")
        self.stream.flush()

    def count(self, result, level=None) -> int:
        return sum(case.result == result
                   for name, cases in self.levels.items()
                   for case in cases if level in (None, name))

    def summary(self) -> list:
        width = max([len(name) for name in self.levels] + [5])
        lines = [f"{'level':{width}}  passed  failed  skipped   time"]
        for name in self.levels:
            lines.append(
                f"{name:{width}}  {self.count(OK, name):6}  "
                f"{self.count(FAILED, name):6}  "
                f"{self.count(SKIPPED, name):7}  "
                f"{clock(self.times.get(name, 0)):>5}")
        return lines

    def closing_line(self) -> str:
        return (f"{self.count(OK)} passed, {self.count(FAILED)} failed, "
                f"{self.count(SKIPPED)} skipped")

    def close(self) -> int:
        """Print the table, what failed once more, and the closing line."""
        self.write("")
        for line in self.summary():
            self.write(line)
        self.write("")
        for level, cases in self.levels.items():
            for case in cases:
                if case.result == FAILED:
                    self.write(f"FAILED {level}/{case.name}: "
                               f"{case.reason[:200]}")
        if not self.count(OK) and not self.count(FAILED):
            self.write("FAILED: no test was run")
            self.write(self.closing_line())
            return env.EXIT_FAILED
        self.write(self.closing_line())
        return env.EXIT_FAILED if self.count(FAILED) else env.EXIT_OK

    def as_json(self) -> str:
        return json.dumps({
            "passed": self.count(OK), "failed": self.count(FAILED),
            "skipped": self.count(SKIPPED),
            "levels": {name: {
                "seconds": round(self.times.get(name, 0), 1),
                "cases": [dataclasses.asdict(c) for c in cases]}
                for name, cases in self.levels.items()}}, indent=1)
