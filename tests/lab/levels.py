# SPDX-License-Identifier: GPL-2.0-or-later
"""The levels of tools/lab test: what each one needs, runs and counts.

A level whose parts could not be built fails; a level that cannot run on this
machine is skipped with the reason.  The tasks that need the host VM share
one boot of it.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys
import typing

import demo
import env
import fuzz
import hotplug
import inside
import kunit
import migrate
import package
import probe
import report
import revoke
import static
import steps
import style
import tasks
import wayland

QTEST_LIMIT = 900
QTEST_NESTED_LIMIT = 2400
# What the longer forms of tests may take: 100,000 updates are 3 min alone
LONG_FACTOR = 6
GUEST_LIMIT = 900
DEBUG_LIMIT = 1800
NESTED_GUEST_LIMIT = 1800
CLIP_FRAMES = 8
PROOF_LIMIT = 60
# Holders answer after a second: not too late, whatever else the machine has to
# do, or the server disconnects one in the middle of the next test.
PATIENT = ",release-timeout=20000"


class Run:
    """One tools/lab test: what every level needs to know."""

    def __init__(self, lab, parts, broken):
        self.lab, self.parts, self.broken = lab, parts, broken
        self.report = report.Report()
        self.machine = probe.Machine(lab, parts)
        self.folder = inside.new_folder(lab, "test")
        self._mode = None

    @property
    def mode(self) -> str:
        if self._mode is None:
            self._mode = probe.choose_mode(self.lab.options, self.machine)
        return self._mode

    def pattern(self, level) -> str:
        return dict(wanted_levels(self.lab.options))[level]

    def driver_guest(self, limit, accel, kernel="stock") -> dict:
        """The part of a task's parameters that says which guest."""
        stock = self.parts.stock.place()
        in_tree = {"debug": self.parts.debug, "new": self.parts.new,
                   "new-debug": self.parts.new_debug}.get(kernel)
        return {
            "qemu": str(self.parts.qemu.output()),
            "kernel": str(in_tree.place() if in_tree else stock),
            "driver": str(in_tree.place() if in_tree
                          else self.parts.driver.place()),
            "busybox": str(stock / "busybox"),
            "accel": accel, "limit": limit,
            "long": getattr(self.lab.options, "long", False),
            # Under emulated SVM a second vCPU sometimes stands still for
            # minutes; guests with two run on the emulated machine itself.
            "cpus": 1 if accel == "kvm" and self.mode == "nested" else 2}


@dataclasses.dataclass
class Level:
    name: str
    about: str
    needs: list
    run: typing.Callable        # (run, level name) -> None
    # Tasks for the host VM (or this machine, when it can do without):
    # name to task; their results go to take(run, level name, result).
    tasks: typing.Callable = None
    take: typing.Callable = None
    long: bool = False


# the lab itself, style, unit

def run_lab(run, level):
    log = run.folder / "lab.log"
    try:
        env.run([sys.executable, "-B", "selftest.py"], log,
                cwd=run.lab.here)
    except env.CommandFailed:
        pass
    run.report.add(level, report.read_tap(
        log.read_text(errors="replace").splitlines()[1:]))


def run_style(run, level):
    run.report.add(level, style.cases(run.lab, run.parts,
                                      run.pattern(level)))


def run_static(run, level):
    checks = static.Static(run.lab, run.parts.debug, run.folder)
    run.report.add(level, checks.all(run.pattern(level)))


def level_of(test) -> str:
    """Of one of meson's tests: the proofs, which need udmabuf, and the
    fuzzers have levels of their own."""
    return next((name for name in ("proofs", "fuzz")
                 if any(s.endswith(name) for s in test["suite"])), "unit")


def wanted_tests(run, level) -> list:
    return [t for t in run.parts.host.tests()
            if run.pattern(level) in t["name"] and level_of(t) == level]


def run_unit(run, level):
    folder = run.parts.host.folder("host-asan")
    wanted = wanted_tests(run, level)
    if not wanted:
        run.report.one(level, "registered", False,
                       "meson knows no such unit test")
        return
    log = folder / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    with steps.locked(run.lab, "unit"):
        subprocess.run(
            ["meson", "test", "-C", str(folder), "--no-rebuild",
             "--print-errorlogs"] + [t["name"] for t in wanted],
            env=run.parts.qemu.meson_env(), stdin=subprocess.DEVNULL,
            stdout=open(run.folder / f"{level}.log", "w"),
            stderr=subprocess.STDOUT)
        lines = log.read_text().splitlines() if log.exists() else []
    protocols = {t["name"]: t.get("protocol", "exitcode") for t in wanted}
    seen = set()
    for line in lines:
        result = json.loads(line)
        name = result["name"].rsplit(" / ", 1)[-1].rsplit(":", 1)[-1]
        seen.add(name)
        run.report.add(level, unit_cases(
            name, result, protocols.get(name, "exitcode"), log))
    for name in sorted(set(protocols) - seen):
        run.report.one(level, name, False, f"not run, see {log}")


def run_fuzz(run, level):
    device = [name for name in fuzz.QEMU_TARGETS if run.pattern(level) in name]
    if wanted_tests(run, level) or not device:
        run_unit(run, level)
    for name in device:
        run.report.add(level, fuzz.replay(run, name, run.folder / level))


def unit_cases(name, result, protocol, log) -> list:
    """The cases of one program; one that died fails in any case."""
    good = result["result"] in ("OK", "EXPECTEDFAIL")
    why = f"{result['result']}, exit status {result['returncode']}, see {log}"
    if protocol != "tap":
        if result["result"] == "SKIP":
            return [report.Case(name, report.FAILED, "skipped, no reason")]
        return [report.Case(name, report.OK if good else report.FAILED,
                            "" if good else why)]
    cases = [dataclasses.replace(c, name=name if name.endswith(c.name)
                                 else f"{name}: {c.name}") for c in
             report.read_tap((result.get("stdout") or "").splitlines())]
    failed = any(c.result == report.FAILED for c in cases)
    if not good and result["result"] != "SKIP" and not failed:
        cases.append(report.Case(f"{name}: exit status", report.FAILED, why))
    return cases


# qtest

def qtest_task(run, level, limit, build="qemu") -> dict:
    long = run.lab.options.long
    return {"kind": "qtest", "name": level, "params": {
        "qemu": str(run.parts.qemu.output(build)),
        "limit": limit * (LONG_FACTOR if long else 1),
        "workers": min(2, run.lab.jobs), "long": long,
        "pattern": run.pattern(level)}}


def take_cases(run, level, result):
    run.report.add(level, tasks.from_dicts(result["cases"]))


def run_here(run, level, task):
    result = tasks.run_task(task, run.folder / task["name"])
    take_cases(run, level, result)


def run_qtest(run, level):
    run_here(run, level, qtest_task(run, level, QTEST_LIMIT))


def run_qtest_asan(run, level):
    run_here(run, level, qtest_task(run, level, QTEST_LIMIT * 2,
                                    "qemu-asan"))


def tasks_qtest_udmabuf(run, level):
    return [qtest_task(run, level, QTEST_NESTED_LIMIT)]


def tasks_qtest_asan_udmabuf(run, level):
    return [qtest_task(run, level, QTEST_NESTED_LIMIT * 2, "qemu-asan")]


# guest

# The tests fill the device again and again, and some fill its memory: with its
# default limits that takes minutes, or a larger guest.
SMALL_LIMITS = ",max-buffers=64,max-buffer-size=64M,max-total-size=128M"


SUSPEND_TEST = "sleep/suspend-to-ram"
SUSPEND_LIMIT = 150
FRAGMENT_SUITE = "fragment/"
FRAGMENTED_MEMORY = 512         # MiB

# The same tests as a 32-bit program: those that are about the ABI
COMPAT_PROGRAM = "virtbuf-test-32"
COMPAT_SUITES = ("memory", "register", "properties", "update", "wait", "sync",
                 "event", "writer")
# Those that share memory with the host. The others (a simulated device, failing
# allocations, random calls, the rest of sleep) are the same where the host has
# udmabuf.
UDMABUF_SUITES = (*COMPAT_SUITES, "import", "userptr", "lifetime", "limits",
                  "quota", "consumer", "unplug", "sleep/buffers-stay",
                  "sleep/consumers-come-back", "sleep/held-buffers")
ZERO_COPY = "--zero-copy"
# A task that stands still is told, with its stack, before its test is ended.
TALKATIVE = "loglevel=7 sysctl.kernel.hung_task_timeout_secs=100"
# Of the tests on this machine: a guest waits for one of its processors mostly.
SHARDS = 2


def filter_of(suites) -> str:
    """What virtbuf-test takes for suites, and for single tests of them."""
    return ",".join(name if "/" in name else f"{name}/*" for name in suites)


def compat_case(programs) -> list:
    """A failed case if the 32-bit program was not built: the lab installs
    what it needs."""
    if any(program.name == COMPAT_PROGRAM for program in programs):
        return []
    return [report.Case("32-bit: registered", report.FAILED,
                        f"there is no {COMPAT_PROGRAM}: gcc links no static "
                        "-m32 program here (libc6-dev-i386)")]


def in_shards(task, count) -> list:
    """The task, cut into those that run side by side."""
    if count < 2:
        return [task]
    return [{**task, "name": f"{task['name']}-{k}", "params": {
        **task["params"], "arguments": task["params"]["arguments"]
        + f" --shard {k}/{count}"}} for k in range(1, count + 1)]


def guest_tasks(run, level, limit, accel, kernel) -> list:
    found = []
    for program in run.parts.host.programs("tests/guest"):
        if program.name == revoke.PROGRAM:
            continue
        long = run.lab.options.long
        params = run.driver_guest(limit * (LONG_FACTOR if long else 1),
                                  accel, kernel)
        arguments = ["--consumer", "--holder", "--writer"]
        compat = program.name == COMPAT_PROGRAM
        if compat and level != "guest":
            continue
        if run.pattern(level):
            wanted = f"*{run.pattern(level)}*"
        else:
            suites = (COMPAT_SUITES if compat else
                      UDMABUF_SUITES if level == "guest-udmabuf" else ("*",))
            wanted = filter_of(suites)
        arguments.append(f"--filter '{wanted}'")
        if level == "guest-udmabuf":
            arguments.append(ZERO_COPY)
        if kernel.endswith("debug") or accel == "kvm" or long:
            arguments.append(f"--time-limit {2400 if long else 300}")
        params.update(program=str(program), programs=[str(program)],
                      arguments=" ".join(arguments),
                      device=SMALL_LIMITS + PATIENT,
                      boot="" if accel == "kvm" else TALKATIVE)
        if compat:
            params["part"] = "32-bit"
        else:
            # A driver whose memory is imported; blobs need udmabuf.
            blob = ",blob=on" if level.endswith("udmabuf") else ""
            params["devices"] = ["-device", "virtio-gpu-pci" + blob]
        found += in_shards(
            {"kind": "guest_tests", "params": params,
             "name": f"{level}-{program.name}"},
            1 if compat or accel == "kvm" or run.pattern(level) else SHARDS)
    return found


def bounce_tasks(run, level, limit, accel) -> list:
    """A guest whose kernel copies all DMA: nothing can be shared."""
    program = run.parts.host.program("virtbuf-test")
    params = run.driver_guest(limit, accel)
    params.update(program=str(program), programs=[str(program)],
                  arguments="--filter import/bounced", part="bounce buffers",
                  boot="loglevel=5 swiotlb=force")
    return [{"kind": "guest_tests", "params": params,
             "name": f"{level}-bounce"}]


# Debian's QEMU gives each split ring 1,024 elements.  Some of 8 bytes cross a
# page then, and behind an IOMMU QEMU writes the second half to the page that
# is next to the first one in RAM.  Those of a packed ring do not cross any.
PACKED = ",packed=on"
# What reaches the device by addresses
IOMMU_SUITES = ("memory", "register", "import", "userptr", "consumer")


def iommu_tasks(run, level, limit, accel) -> list:
    """A guest whose IOMMU translates what the device is told."""
    program = run.parts.host.program("virtbuf-test")
    params = run.driver_guest(limit, accel)
    params.update(program=str(program), programs=[str(program)],
                  arguments="--consumer --holder "
                            f"--filter '{filter_of(IOMMU_SUITES)}'",
                  part="vIOMMU", device=SMALL_LIMITS + PATIENT + PACKED,
                  devices=["-device", "intel-iommu,intremap=off"],
                  boot="loglevel=5 intel_iommu=on iommu.passthrough=0")
    return [{"kind": "guest_tests", "params": params,
             "name": f"{level}-iommu"}]


def suspend_tasks(run, level, limit, accel) -> list:
    """A guest that sleeps in S3.  After it timers of an emulated machine may
    stand still: when the test has passed, nothing more is asked of it."""
    program = run.parts.host.program("virtbuf-test")
    params = run.driver_guest(limit, accel)
    params.update(program=str(program), programs=[str(program)],
                  arguments=f"--suspend --filter {SUSPEND_TEST}",
                  part="S3", boot=TALKATIVE, stays=True)
    return [{"kind": "guest_tests", "params": params,
             "name": f"{level}-suspend"}]


def fragment_tasks(run, level, limit, accel, kernel="stock") -> list:
    """A guest whose memory is filled, so it has little."""
    program = run.parts.host.program("virtbuf-test")
    params = run.driver_guest(limit, accel, kernel)
    wanted = run.pattern(level) or FRAGMENT_SUITE
    params.update(program=str(program), programs=[str(program)],
                  arguments=f"--consumer --filter '*{wanted}*' "
                            "--time-limit 600",
                  part="fragmented memory", memory=FRAGMENTED_MEMORY,
                  device=PATIENT)
    return [{"kind": "guest_tests", "params": params,
             "name": f"{level}-fragment"}]


def run_guest(run, level, kernel, limit):
    found = guest_tasks(run, level, limit, run.machine.accel(), kernel)
    if kernel == "stock" and run.pattern(level) in "import/bounced":
        found += bounce_tasks(run, level, limit, run.machine.accel())
    if kernel == "stock" and run.pattern(level) in "import/translated":
        found += iommu_tasks(run, level, limit, run.machine.accel())
    if kernel == "stock" and run.pattern(level) in SUSPEND_TEST:
        found += suspend_tasks(run, level, SUSPEND_LIMIT, run.machine.accel())
    if not found:
        run.report.one(level, "registered", False,
                       "tests/guest builds no program")
    if level == "guest":
        run.report.add(level, compat_case(
            run.parts.host.programs("tests/guest")))
    for result in env.side_by_side(
            lambda task: tasks.run_task(task, run.folder / task["name"]),
            found, min(SHARDS, run.lab.jobs)):
        take_cases(run, level, result)


def tasks_guest_udmabuf(run, level):
    fragment = fragment_tasks(run, level, NESTED_GUEST_LIMIT, "kvm")
    pattern = run.pattern(level)
    if pattern.startswith(FRAGMENT_SUITE.rstrip("/")):
        return fragment
    found = guest_tasks(run, level, NESTED_GUEST_LIMIT, "kvm", "stock")
    return found if pattern else found + fragment


def tasks_guest_new_udmabuf(run, level):
    return fragment_tasks(run, level, NESTED_GUEST_LIMIT, "kvm", "new")


# what the device relies on in the kernel

def tasks_proofs(run, level):
    return [{"kind": "proofs", "name": level, "params": {
        "programs": [str(p) for p in run.parts.host.programs("docs/proofs")],
        "limit": PROOF_LIMIT}}]


# taking back

def tasks_revoke(run, level):
    """Somebody keeps every buffer; the guest goes on writing in it."""
    pattern = run.pattern(level)
    return [task for task in revoke.tasks_of(
        level, run.driver_guest(NESTED_GUEST_LIMIT, "kvm"),
        run.parts.host.program, run.lab.options.long)
        if pattern in task["name"]]


# end to end

def play_task(run, level, accel, backing, limit, nested=False) -> dict:
    return demo.play_task(
        run.parts, level, run.driver_guest(limit, accel), backing,
        run.parts.media.material(3, CLIP_FRAMES), nested)


def take_play(run, level, result):
    wanted = "copy" if level.endswith("copy") else "udmabuf"
    folder = run.folder / level
    for case in demo.judge(folder, result, wanted,
                           run.parts.media.material(3, CLIP_FRAMES)):
        run.report.add(level, [case])


def run_e2e_copy(run, level):
    task = play_task(run, level, run.machine.accel(), "off", GUEST_LIMIT)
    take_play(run, level, tasks.run_task(task, run.folder / level))


def tasks_e2e_udmabuf(run, level):
    return [play_task(run, level, "kvm", "auto", NESTED_GUEST_LIMIT,
                      run.mode == "nested")]


def migration_task(run, level, accel, udmabuf) -> dict:
    return migrate.task(level, run.driver_guest(migrate.LIMIT, accel),
                        run.parts.host.program, udmabuf)


def run_migration(run, level):
    run_here(run, level, migration_task(run, level, run.machine.accel(),
                                        False))


def tasks_migration_udmabuf(run, level):
    return [migration_task(run, level, "kvm", True)]


def hotplug_task(run, level, accel, udmabuf) -> dict:
    return hotplug.task(level, run.driver_guest(4 * hotplug.LIMIT, accel),
                        run.parts.host.program, udmabuf, run.lab.options.long)


def run_hotplug(run, level):
    run_here(run, level, hotplug_task(run, level, run.machine.accel(), False))


def tasks_hotplug_udmabuf(run, level):
    return [hotplug_task(run, level, "kvm", True)]


def wayland_task(run, level, accel, limit, udmabuf) -> dict:
    return wayland.task(level, run.driver_guest(limit, accel),
                        run.parts.host.program,
                        run.parts.wayland.place() / wayland.CLIENT, udmabuf)


def run_wayland(run, level):
    run_here(run, level, wayland_task(run, level, run.machine.accel(),
                                      GUEST_LIMIT, False))


def tasks_wayland_udmabuf(run, level):
    return [wayland_task(run, level, "kvm", NESTED_GUEST_LIMIT, True)]


LEVELS = [
    Level("lab", "the lab's own logic", [], run_lab),
    Level("style", "checkpatch of QEMU and Linux, the project's rules",
          ["qemu-source", "linux-source"], run_style),
    Level("static", "gcc W=1, sparse, kernel-doc and Coccinelle on the driver",
          ["linux-debug", "static-tools"], run_static),
    Level("unit", "library and wire code, with sanitizers",
          ["host-asan"], run_unit),
    Level("fuzz", "changed copies of the fuzzers' corpora, as many each time",
          ["host-asan", "qemu-asan"], run_fuzz),
    Level("qtest", "the device in QEMU, copy backing", ["qemu"], run_qtest),
    Level("qtest-asan", "the same with sanitizers", ["qemu-asan"],
          run_qtest_asan),
    Level("guest", "the driver, stock kernel",
          ["qemu", "stock", "driver", "host"],
          lambda run, level: run_guest(run, level, "stock", GUEST_LIMIT)),
    Level("package", "the Debian package: DKMS, the names that udev gives",
          ["qemu", "stock", "package", "host"], package.run_all),
    Level("guest-debug", "the driver, debug kernel",
          ["qemu", "stock", "linux-debug", "host"],
          lambda run, level: run_guest(run, level, "debug", DEBUG_LIMIT)),
    Level("guest-new", "the driver, newest kernel of Debian's suites",
          ["qemu", "stock", "linux-new", "host"],
          lambda run, level: run_guest(run, level, "new", GUEST_LIMIT),
          long=True),
    Level("guest-new-debug", "the driver, the same as a debug kernel",
          ["qemu", "stock", "linux-new-debug", "host"],
          lambda run, level: run_guest(run, level, "new-debug", DEBUG_LIMIT),
          long=True),
    Level("kunit", "the driver's logic, in the debug kernel",
          ["qemu", "stock", "linux-debug"], kunit.run),
    Level("e2e-copy", "frames from guest to host, copied",
          ["qemu", "stock", "driver", "host", "media"], run_e2e_copy),
    Level("migration", "a guest moves to another QEMU while it plays",
          ["qemu", "stock", "driver", "host"], run_migration),
    Level("hotplug", "the host pulls the device while a guest uses it",
          ["qemu", "stock", "driver", "host"], run_hotplug),
    Level("wayland", "an unmodified Wayland client, copied",
          ["qemu", "stock", "driver", "host", "wayland-client"], run_wayland),
    Level("libfuzzer", "every fuzz target of library and device, shortly",
          ["host-fuzz", "qemu-fuzz"], fuzz.short_run, long=True),
    Level("proofs", "what the device relies on in the kernel",
          ["qemu", "stock", "host"], None, tasks_proofs, take_cases),
    Level("qtest-udmabuf", "the device in QEMU, real /dev/udmabuf",
          ["qemu", "stock"], None, tasks_qtest_udmabuf, take_cases),
    Level("qtest-asan-udmabuf", "the same with sanitizers",
          ["qemu", "qemu-asan", "stock"], None, tasks_qtest_asan_udmabuf,
          take_cases, long=True),
    Level("guest-udmabuf", "the driver under KVM, real /dev/udmabuf",
          ["qemu", "stock", "driver", "host"], None, tasks_guest_udmabuf,
          take_cases),
    Level("guest-new-udmabuf", "frames in fragmented memory, newest kernel",
          ["qemu", "stock", "linux-new", "host"], None,
          tasks_guest_new_udmabuf, take_cases, long=True),
    Level("revoke", "taking pages back from who keeps them, under KVM",
          ["qemu", "stock", "driver", "host"], None, tasks_revoke, take_cases),
    Level("e2e-udmabuf", "frames under KVM, without a copy",
          ["qemu", "stock", "driver", "host", "media"], None,
          tasks_e2e_udmabuf, take_play),
    Level("migration-udmabuf", "a guest moves with its dma-bufs, under KVM",
          ["qemu", "stock", "driver", "host"], None, tasks_migration_udmabuf,
          take_cases),
    Level("hotplug-udmabuf", "the same with dma-bufs, under KVM",
          ["qemu", "stock", "driver", "host"], None, tasks_hotplug_udmabuf,
          take_cases),
    Level("wayland-udmabuf", "a Wayland client under KVM, without a copy",
          ["qemu", "stock", "driver", "host", "wayland-client"], None,
          tasks_wayland_udmabuf, take_cases),
]


def wanted_levels(options) -> list:
    """(level name, pattern of its cases) in the table's order."""
    asked = {}
    names = [level.name for level in LEVELS]
    for what in options.only or []:
        name, _, pattern = what.partition(":")
        if name == "nested":
            matching = [level.name for level in LEVELS if level.tasks
                        and (options.long or not level.long)]
        else:
            matching = [n for n in names if n == name]
        if not matching:
            raise env.UsageError(f"no level {name} (there are: "
                                 f"{', '.join(names)}, and nested for those "
                                 "that use the host VM)")
        for match in matching:
            asked[match] = pattern
    return [(level.name, asked.get(level.name, "")) for level in LEVELS
            if (level.name in asked if asked
                else options.long or not level.long)]


def list_levels():
    for level in LEVELS:
        env.say(f"{level.name:14} {level.about}"
                + (" (--long)" if level.long else "")
                + (f"; needs {', '.join(level.needs)}" if level.needs
                   else ""))


class Shared:
    """The levels whose tasks need udmabuf, all in one place, a host VM or this
    machine, after the other levels: its tests tell slow from stuck by time."""

    def __init__(self, run, levels):
        self.run, self.levels = run, levels
        self.tasks = {level.name: level.tasks(run, level.name)
                      for level in levels}

    def results(self) -> dict:
        run = self.run
        todo = [task for found in self.tasks.values() for task in found]
        progress = steps.Progress("host VM" if run.mode == "nested"
                                  else "this machine's KVM and udmabuf")
        progress.begin_line()
        how = (inside.run_nested if run.mode == "nested"
               else inside.run_direct)
        found = how(run.lab, run.parts, todo, run.folder,
                    lambda text: progress.note(text[:60]))
        progress.finish("done")
        return found

    def finish(self):
        run, results = self.run, self.results()
        for level in self.levels:
            run.report.begin(level.name, level.about)
            for task in self.tasks[level.name]:
                level.take(run, level.name, results[task["name"]])
            if not self.tasks[level.name]:
                run.report.one(level.name, "registered", False,
                               "nothing to run")
            run.report.end(level.name)
            run.report.times[level.name] = sum(
                results[t["name"]].get("wall", 0)
                for t in self.tasks[level.name])


def skip_shared(run, levels, why):
    for level in levels:
        run.report.begin(level.name, level.about)
        run.report.skip(level.name, "all",
                        f"--mode=direct, and on this machine: {why}")
        run.report.end(level.name)


def run_levels(run, levels, failed):
    """Each level that has its parts; those that need udmabuf together."""
    why = {level.name: missing(run.lab, run.parts, level, failed)
           for level in levels}
    together = [level for level in levels
                if level.tasks and not why[level.name]]
    refused = (together and run.mode == "direct"
               and run.machine.zero_copy())
    for level in levels:
        if level in together:
            continue
        run.report.begin(level.name, level.about)
        if why[level.name]:
            run.report.one(level.name, "build", False, why[level.name])
        else:
            try:
                level.run(run, level.name)
            except (env.LabError, OSError) as error:
                run.report.one(level.name, "run", False, str(error))
        run.report.end(level.name)
    if refused:
        skip_shared(run, together, refused)
    elif together:
        Shared(run, together).finish()


def verb_test(lab, parts, set_up):
    if lab.options.list:
        list_levels()
        return env.EXIT_OK
    names = [name for name, _ in wanted_levels(lab.options)]
    levels = [level for level in LEVELS if level.name in names]
    needed = list(dict.fromkeys(n for lv in levels for n in lv.needs))
    broken = {}

    def on_failure(step, error):
        env.warn(f"tools/lab: {error}")
        broken[step.slug] = f"{step.name} failed"
    failed = set_up(lab, parts.steps(needed), on_failure) or set()
    run = Run(lab, parts, broken)
    run_levels(run, levels, failed)
    if lab.options.json and lab.options.json != "-":
        pathlib.Path(lab.options.json).write_text(
            run.report.as_json() + "\n")
    env.say(f"\nLogs of this run: {run.folder}")
    status = run.report.close()
    if lab.options.json == "-":
        env.say(run.report.as_json())
    return status


def missing(lab, parts, level, failed) -> str:
    """Why the level cannot be run: a part of it that is not there."""
    slugs = {step.slug: step.name for step in parts.steps(level.needs)}
    for slug, name in slugs.items():
        if slug in failed:
            return f"{name} failed"
    if getattr(lab.options, "no_build", False):
        for need in level.needs:
            if not parts.place(need).exists():
                return f"{need} was never built, and --no-build was given"
    return ""
