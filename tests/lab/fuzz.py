# SPDX-License-Identifier: GPL-2.0-or-later
"""tools/lab fuzz: libFuzzer over every target, for a while; and the levels
that run the targets shortly.

Targets of the library are programs of the project's own meson build, those of
the device live in one emulator that was built for it.  Each target starts with
its corpus of tests/fuzz/corpus; what a run adds to it, and what it finds, is
kept in the cache.
"""

import dataclasses
import json
import os
import pathlib
import re
import time

import env
import inside
import report
import steps

# Inputs for each target when it only has to be shown that it works
SHORT_RUNS = {"library": 20000, "wire": 50000}
SHORT_RUNS_QEMU = 400

QEMU_TARGETS = ("virtio-buf-fuzz", "virtio-buf-socket-fuzz",
                "generic-fuzz-virtio-buf")
# Changed copies of each file of a corpus, where there is no libFuzzer
MUTATIONS_QEMU = 200
REPLAY_LIMIT = 600              # seconds, for a target
RAN = re.compile(r"^Done (\d+) runs? in (\d+) second")
COVERED = re.compile(r"cov: (\d+)")


@dataclasses.dataclass
class Target:
    name: str
    command: list           # what runs it, without libFuzzer's options
    folder: pathlib.Path    # where it is run
    short: int              # inputs of a short run
    max_len: int


def targets(parts) -> list:
    host = parts.host.folder("host-fuzz") / "tests" / "fuzz"
    qemu = parts.qemu.output("qemu-fuzz")
    found = [Target(name, [host / f"fuzz-{name}"], host, runs, 16384)
             for name, runs in SHORT_RUNS.items()]
    return found + [Target(name, [qemu / "qemu-fuzz-x86_64",
                                  f"--fuzz-target={name}"],
                           qemu, SHORT_RUNS_QEMU, 4096)
                    for name in QEMU_TARGETS]


def corpus_of(lab, name) -> pathlib.Path:
    return lab.top / "tests" / "fuzz" / "corpus" / name


def fuzz_env() -> dict:
    # Objects of QEMU live until its end: that they do is no leak.
    return dict(os.environ, LC_ALL="C.UTF-8",
                ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:"
                             "detect_stack_use_after_return=0",
                UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1")


def findings(folder) -> list:
    return sorted(p for p in folder.iterdir()
                  if p.name.startswith(("crash-", "leak-", "timeout-",
                                        "oom-")))


def run_target(lab, target, folder, bounds, progress) -> dict:
    """One libFuzzer over one target; what it did and found.

    bounds: libFuzzer's options that end it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = lab.folder("fuzz", target.name)
    log = folder / "log"
    seen = {"runs": 0, "coverage": 0}

    def watch(line):
        done, covered = RAN.match(line), COVERED.search(line)
        if done:
            seen["runs"] = int(done[1])
        if covered:
            seen["coverage"] = int(covered[1])
            progress.note(f"{line.split()[0].lstrip('#')} inputs, coverage "
                          f"{covered[1]}")
    given = corpus_of(lab, target.name)
    command = [*target.command, f"-max_len={target.max_len}", "-timeout=60",
               "-rss_limit_mb=4096", "-print_final_stats=0",
               f"-artifact_prefix={folder}/", *bounds, kept]
    if given.is_dir():
        command.append(given)
    problem = ""
    begin = time.monotonic()
    try:
        env.run(command, log, append=False, on_line=watch,
                cwd=target.folder, env=fuzz_env())
    except env.CommandFailed as error:
        problem = f"{reason(log) or error.status} (log: {log})"
    found = findings(folder)
    if not problem and not seen["runs"]:
        problem = f"it ran nothing (log: {log})"
    return dict(seen, name=target.name, problem=problem,
                seconds=round(time.monotonic() - begin, 1),
                findings=[str(path) for path in found],
                reproduce=[" ".join(map(str, [*target.command, path]))
                           for path in found])


def reason(log) -> str:
    text = log.read_text(errors="replace")
    found = re.search(r"^.*(?:runtime error: |ERROR: (?:Addr|libF|Leak)|"
                      r"ERROR:\.\.|Assertion ).*$", text, re.MULTILINE)
    return found[0].strip()[:200] if found else ""


def run_targets(lab, wanted, folder, bounds) -> list:
    """bounds: of a target to libFuzzer's options."""
    results = []
    for target in wanted:
        progress = steps.Progress(f"fuzz {target.name}")
        progress.begin_line()
        result = run_target(lab, target, folder / target.name,
                            bounds(target), progress)
        progress.finish(result["problem"] and "FAILED" or
                        f"{result['runs']} inputs, coverage "
                        f"{result['coverage']}")
        for command in result["reproduce"]:
            env.say(f"  again: {command}")
        results.append(result)
    return results


def short_run(run, level):
    """The level of tools/lab test: as many inputs each time."""
    results = run_targets(
        run.lab, targets(run.parts), run.folder / level,
        lambda target: [f"-runs={target.short}", "-seed=1"])
    run.report.add(level, [report.Case(
        r["name"], report.FAILED if r["problem"] else report.OK,
        r["problem"]) for r in results])


def replay(run, name, folder) -> list:
    """A target of the device over its corpus, in the sanitizers' QEMU."""
    folder.mkdir(exist_ok=True)
    qemu, log = run.parts.qemu.output("qemu-asan"), folder / f"{name}.log"
    problem = ""
    try:
        env.run([qemu / "qemu-fuzz-x86_64", f"--fuzz-target={name}",
                 MUTATIONS_QEMU, corpus_of(run.lab, name)], log,
                limit=REPLAY_LIMIT, cwd=qemu, env=fuzz_env())
    except env.CommandFailed as error:
        problem = f"{reason(log) or error.status} (log: {log})"
    cases = report.read_tap(log.read_text(errors="replace").splitlines()[1:])
    if problem and not any(c.result == report.FAILED for c in cases):
        cases.append(report.Case("run", report.FAILED, problem))
    return [dataclasses.replace(case, name=f"{name}: {case.name}")
            for case in cases]


def verb_fuzz(lab, parts, set_up):
    options = lab.options
    names = [t.name for t in targets(parts)]
    if options.list:
        for name in names:
            env.say(name)
        return env.EXIT_OK
    unknown = [n for n in options.target if n not in names]
    if unknown:
        raise env.UsageError(f"no such target: {', '.join(unknown)} (there "
                             f"are: {', '.join(names)})")
    if options.minutes <= 0:
        raise env.UsageError("--minutes has to be above 0")
    chosen = options.target or names
    needs = []
    if set(chosen) & set(SHORT_RUNS):
        needs.append("host-fuzz")
    if set(chosen) & set(QEMU_TARGETS):
        needs.append("qemu-fuzz")
    set_up(lab, parts.steps(needs))
    for need in needs:
        if not parts.place(need).exists():
            raise env.LabError(f"{need} was never built, and --no-build was "
                               "given")
    wanted = [t for t in targets(parts) if t.name in chosen]
    seconds = max(1, int(options.minutes * 60 / len(wanted)))
    env.say(f"{len(wanted)} targets, {seconds} seconds each; their corpora "
            f"grow in {lab.folder('fuzz')}")
    results = run_targets(lab, wanted, inside.new_folder(lab, "fuzz"),
                          lambda target: [f"-max_total_time={seconds}"])
    if options.json:
        text = json.dumps({"targets": results}, indent=1)
        if options.json == "-":
            env.say(text)
        else:
            pathlib.Path(options.json).write_text(text + "\n")
    failed = [r for r in results if r["problem"]]
    for result in failed:
        env.say(f"FAILED {result['name']}: {result['problem']}")
    env.say(f"{len(results) - len(failed)} targets without a finding, "
            f"{len(failed)} with")
    return env.EXIT_FAILED if failed else env.EXIT_OK
