# SPDX-License-Identifier: GPL-2.0-or-later
"""What is run with our QEMU: qtests, tests in a guest, frames end to end.

Each task is a function of plain values, so that the same one runs on this
machine and, told by a job file, inside the host VM.  It works in a folder of
its own and returns plain values: the cases, and what it measured.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import env
import report
import revoke
import vm

HERE = pathlib.Path(__file__).resolve().parent
QTEST_MARK = "/virtio-buf"
ARCH = "/x86_64"

# Which applications the guest's test program expects somebody to have asked
# for; see tests/guest/device.h.
APPLICATION_CONSUMER = "virtbuf-test"
APPLICATION_HOLDER = "virtbuf-test-held"
APPLICATION_WRITER = "virtbuf-test-written"


def as_dicts(cases) -> list:
    return [dataclasses.asdict(case) for case in cases]


def from_dicts(cases) -> list:
    return [report.Case(**case) for case in cases]


# qtest

def qtest_names(qemu, pattern="") -> list:
    """The registered cases of ours, full paths."""
    text = env.output_of([qemu / "qos-test", "-l"], cwd=qemu,
                         env=qtest_env(qemu))
    return [name for name in listed_cases(text)
            if QTEST_MARK in name and pattern in name]


def listed_cases(text) -> list:
    """The paths in what -l of a GLib test prints: lines of their own, or
    comments where GLib writes TAP without being asked to."""
    lines = (line.removeprefix("# ") for line in text.splitlines())
    return [line for line in lines if line.startswith("/")]


# Set for the long forms of tests, here and in guests
LONG_TESTS = "VIRTIO_BUF_LONG_TESTS"


def qtest_env(qemu, long=False) -> dict:
    more = {LONG_TESTS: "1"} if long else {}
    return dict(os.environ, **more,
                QTEST_QEMU_BINARY=str(qemu / "qemu-system-x86_64"),
                G_TEST_DBUS_DAEMON="/bin/true", LC_ALL="C.UTF-8",
                ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:"
                             "detect_stack_use_after_return=0",
                UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1")


def short_qtest(name) -> str:
    """What tells a case apart: after the device's own nodes."""
    return name.rsplit("virtio-buf-tests/", 1)[-1].rsplit(
        "virtio-buf-pci/", 1)[-1].rsplit("/pci-bus/", 1)[-1]


def share_out(names, workers) -> list:
    """Names for each worker: whole groups, about as many for each."""
    groups = {}
    for name in names:
        groups.setdefault(name.rsplit("/", 1)[0], []).append(name)
    shares = [[] for _ in range(min(workers, len(groups)))]
    for group in sorted(groups.values(), key=len, reverse=True):
        min(shares, key=len).extend(group)
    return shares


def group_of(name) -> str:
    return name.rsplit("/", 1)[0]


def run_qtests(qemu, names, single, limit, log, params, watch):
    """One qos-test over these names (their groups unless single): the cases
    it reported, its exit status."""
    command = [str(qemu / "qos-test"), "--tap", "-k"]
    # GLib runs what is directly in a group that -p names.
    paths = names if single else sorted({group_of(n) for n in names})
    for path in paths:
        command += ["-p", path]
    status = "0"
    try:
        env.run(command, log, append=False, cwd=qemu,
                env=qtest_env(qemu, params.get("long")), limit=limit,
                on_line=lambda line: watch and report.CASE.match(line)
                and watch(short_qtest(line)))
    except env.CommandFailed as error:
        status = str(error.status)
    lines = log.read_text(errors="replace").splitlines()
    return ([case for case in report.read_tap(lines, planned=len(names))
             if case.name.startswith("/")], status)


def run_all_qtests(qemu, names, log, params, watch) -> list:
    """A case for each of these names.  One that ends qos-test takes those
    after it along: they are run again without it."""
    single = bool(params.get("pattern"))
    left = names if single else sorted(names, key=group_of)
    deadline = time.monotonic() + params["limit"]
    cases, run = [], 1
    while left:
        limit = deadline - time.monotonic()
        if limit <= 0:
            return cases + [report.Case(
                name, report.FAILED, f"not run: {params['limit']} seconds are "
                f"over, see {log}") for name in left]
        if run > 1:
            log = log.with_name(f"{log.stem.split('.')[0]}.{run}.log")
        found, status = run_qtests(qemu, left, single, limit, log, params,
                                   watch)
        seen = {case.name: case for case in found}
        cases += [seen[name] for name in left if name in seen]
        missing = [name for name in left if name not in seen]
        if status != "0" and not missing and not any(
                case.result == report.FAILED for case in seen.values()):
            cases.append(report.Case("exit status", report.FAILED,
                                     f"qos-test: {status}, see {log}"))
        if missing:
            cases.append(report.Case(
                missing[0], report.FAILED,
                f"not run to its end: {why_it_ended(log)}"))
        left, single, run = missing[1:], True, run + 1
    return cases


def why_it_ended(log) -> str:
    """The line of a log that says why a program died, and where it is."""
    text = log.read_text(errors="replace")
    found = re.search(r"^.*(?:runtime error: |ERROR: |ERROR:|assertion |"
                      r"Bail out!|stopped after ).*$", text, re.MULTILINE)
    return f"{found[0][:160] if found else 'no reason'} ({log})"


def qtest(params, folder, watch=None) -> dict:
    """Every registered case; one that did not come to an end fails by
    name."""
    qemu = pathlib.Path(params["qemu"])
    names = qtest_names(qemu, params.get("pattern", ""))
    if not names:
        return {"cases": as_dicts([report.Case(
            "registered", report.FAILED,
            "qos-test has no case of virtio-buf")])}
    shares = [names] if params.get("pattern") else share_out(
        names, params.get("workers", 1))
    runs = env.side_by_side(
        lambda item: run_all_qtests(
            qemu, item[1], folder / f"qtest-{item[0]}.log", params, watch),
        enumerate(shares), len(shares))
    cases = [dataclasses.replace(case, name=short_qtest(case.name))
             for found in runs for case in found]
    return {"cases": as_dicts(cases)}


# guests

@contextlib.contextmanager
def socket_folder():
    """A short path: addresses of unix sockets are at most 107 bytes long."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="vbuf-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


PORT = "port0"
# In an emulated host VM a program takes seconds to write one frame.
SLOW_HOST = ",release-timeout=20000,hold-timeout=60000"


def device_options(socket, instance, backing="auto", more="") -> list:
    # Behind a port it is PCI Express, and can be reset and pulled alone.
    return ["-object", f"virtio-buf-server,id=s0,path={socket}",
            "-device", f"pcie-root-port,id={PORT},chassis=1,slot=1",
            "-device", f"virtio-buf-pci,bus={PORT},server=s0,"
            f"instance={instance},udmabuf={backing}{more}"]


def make_guest(params, job, **more) -> vm.Guest:
    """A guest with the driver, on the kernel that params name."""
    kernel = pathlib.Path(params["kernel"])
    driver = pathlib.Path(params["driver"])
    modules = []
    if (kernel / "guest.modules").exists():
        modules = vm.stock_modules(kernel, "guest")
    return vm.Guest(
        kernel=kernel / "vmlinuz", busybox=pathlib.Path(params["busybox"]),
        job=job, modules=modules + sorted(driver.glob("*.ko"))
        + (sorted(driver.glob("tests/*.ko")) if "program" in params else []),
        programs=[pathlib.Path(p) for p in params.get("programs", [])],
        accel=params["accel"], limit=params["limit"],
        cpus=params.get("cpus", 2), **more)


class Peers:
    """Host processes beside a guest; all are ended with the block."""

    def __init__(self, folder):
        self.folder, self.children = folder, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for _name, child, _log in self.children:
            if child.poll() is None:
                env.stop_group(child, 2)

    def start(self, name, command):
        log = self.folder / f"{name}.log"
        with open(log, "w") as out:
            out.write("$ " + " ".join(map(str, command)) + "\n")
            out.flush()
            child = subprocess.Popen(
                [str(c) for c in command], stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        self.children.append((name, child, log))
        return child

    def problems(self, limit) -> list:
        """Wait for all to end well; what did not."""
        deadline = time.monotonic() + limit
        found = []
        for name, child, log in self.children:
            try:
                status = child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                status = "still running"
            if status != 0:
                said = (env.tail_of(log, 1) or [""])[0]
                found.append(f"{name}: {status} ({said}; log: {log})")
        return found


def wait_for_socket(path, child, limit=60):
    deadline = time.monotonic() + limit
    while not path.exists():
        if child.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


# kmemleak looks twice: what the first scan finds may still be in a register,
# or waiting for RCU.  It looks before the module goes, while its functions
# have names, and after, for what only its end should have freed.
GUEST_JOB = """
{environment}{program} {arguments}
status=$?
leaks=/sys/kernel/debug/kmemleak
look() {{
    [ -e $leaks ] || return
    echo scan >$leaks; sleep 6; echo scan >$leaks
    [ -s $leaks ] || return
    echo "lab: kmemleak $1"
    head -40 $leaks
    echo clear >$leaks
    status=9
}}
look 'after the tests'
rmmod virtio_buf || {{ echo 'lab: the module cannot be unloaded'; status=9; }}
look 'after rmmod'
exit $status
"""


def cases_of_guest(result, name) -> list:
    """What the test program of that name said, and how its guest ended."""
    said = next((n for n, line in enumerate(result.output)
                 if line.startswith("lab: ")), len(result.output))
    cases = report.read_tap(result.output[:said])
    problem = result.problem()
    if not problem and said < len(result.output):
        problem = " ".join(" ".join(result.output[said:said + 14]).split())
    if not problem and result.status not in (0, 1):
        problem = f"{name}: exit status {result.status}"
    if not problem and result.status and not any(
            c.result == report.FAILED for c in cases):
        problem = f"{name}: exit status {result.status}"
    cases.append(report.Case("guest kernel and exit", report.FAILED
                             if problem else report.OK, problem))
    return cases


def guest_tests(params, folder, watch=None) -> dict:
    """A test program in a guest, with the host programs it wants beside."""
    program = pathlib.Path(params["program"])
    arguments = params.get("arguments", "")
    job = GUEST_JOB.format(
        program=program.name, arguments=arguments,
        environment=f"{LONG_TESTS}=1 " if params.get("long") else "")
    if params.get("stays"):
        job = f"exec {program.name} {arguments}\n"
    with socket_folder() as sockets, Peers(folder) as peers, \
            Peers(folder) as hoarders:
        socket = sockets / "server"
        guest = make_guest(params, job, devices=device_options(
            socket, "test", params.get("backing", "auto"),
            params.get("device", "")) + params.get("devices", []),
            stays=params.get("stays", False),
            boot=params.get("boot", ""), memory=params.get("memory", 1024),
            shares=[vm.Share(folder / path, place) for place, path
                    in params.get("shares", {}).items()])
        running = vm.Running(pathlib.Path(params["qemu"]), guest, folder)
        try:
            if wait_for_socket(socket, running.child):
                if params.get("hoarder"):
                    hoarders.start("hoarder", revoke.hoarder_command(
                        params, socket, APPLICATION_HOLDER))
                for name, application in (
                        ("consumer", APPLICATION_CONSUMER),
                        ("holder", APPLICATION_HOLDER),
                        ("writer", APPLICATION_WRITER)):
                    if f"--{name}" in arguments:
                        peers.start(name, [sys.executable, "-B",
                                           HERE / "peer.py", f"--{name}",
                                           socket, application])
            result = running.wait(
                watch=lambda latest: watch and watch(latest))
            seen = hoarders.problems(30)
        finally:
            running.stop()
    cases = cases_of_guest(result, program.name)
    if params.get("hoarder"):
        cases += revoke.hoarder_cases(folder / "hoarder.log", seen)
    if params.get("part"):
        cases = [dataclasses.replace(case, name=f"{params['part']}: "
                                     f"{case.name}") for case in cases]
    return {"cases": as_dicts(cases), "seconds": result.seconds}


def play(params, folder, watch=None) -> dict:
    """A guest plays files to one application each, a host program takes
    them; returns what went wrong, what the server said of the buffers, and
    what the host programs counted."""
    jobs, share = params["plays"], pathlib.Path(params["media"])
    lines = []
    for item in jobs:
        files = " ".join(f"/media/{name}" for name in item["files"])
        lines.append(f"virtio-buf-play --instance demo --application "
                     f"{item['application']} --mode every --wait-consumer "
                     f"--fps {item['fps']} {files} || exit 1")
    facts = {"problems": [], "info": {}, "stats": {}}
    with socket_folder() as sockets, Peers(folder) as peers:
        socket = sockets / "server"
        guest = make_guest(
            params, "\n".join(lines) + "\n",
            shares=[vm.Share(share, "/media")],
            devices=device_options(socket, "demo",
                                   params.get("backing", "auto"), SLOW_HOST))
        running = vm.Running(pathlib.Path(params["qemu"]), guest, folder)
        try:
            if not wait_for_socket(socket, running.child):
                facts["problems"].append(
                    "QEMU made no socket: "
                    + " ".join(env.tail_of(running.log, 2)))
            else:
                for item in jobs:
                    peers.start(item["application"], [
                        params["cat"], "--socket", socket, "--application",
                        item["application"], "--count", item["count"],
                        "--format", item["format"], "--output",
                        folder / item["output"], "--stats-json",
                        folder / f"{item['application']}.json",
                        "--timeout", params["limit"]])
                look = Look(params["info"], socket, facts)
                result = running.wait(watch=lambda latest: (
                    look.again(), watch and watch(latest)))
                problem = result.problem()
                if problem:
                    facts["problems"].append(problem)
                elif result.status:
                    said = " ".join(result.output[-2:])
                    facts["problems"].append(
                        f"the guest: exit status {result.status} ({said})")
                facts["problems"] += peers.problems(60)
                facts["seconds"] = result.seconds
                for item in jobs:
                    with contextlib.suppress(OSError, ValueError):
                        facts["stats"][item["application"]] = json.loads(
                            (folder / f"{item['application']}.json")
                            .read_text())
        finally:
            running.stop()
    return facts


class Look:
    """virtio-buf-info, once buffers are there."""

    def __init__(self, program, socket, facts):
        self.program, self.socket, self.facts = program, socket, facts

    def again(self):
        if self.facts["info"]:
            return
        done = subprocess.run(
            [self.program, "--socket", str(self.socket), "--json"],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL, timeout=30)
        with contextlib.suppress(ValueError):
            info = json.loads(done.stdout)
            if "backing" in done.stdout:
                self.facts["info"] = info


PROOF_RESULTS = {0: report.OK, 77: report.SKIPPED}


def proofs(params, folder, watch=None) -> dict:
    """Programs that each say whether a fact about this kernel holds."""
    cases = []
    for program in map(pathlib.Path, params["programs"]):
        if watch:
            watch(program.name)
        done = subprocess.run(
            [str(program)], text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            timeout=params["limit"])
        (folder / f"{program.name}.log").write_text(done.stdout)
        result = PROOF_RESULTS.get(done.returncode, report.FAILED)
        wrong = [line for line in done.stdout.splitlines()
                 if not line.startswith("yes: ")]
        cases.append(report.Case(
            program.name, result, "" if result == report.OK else
            f"exit status {done.returncode}: {'; '.join(wrong)}"))
    return {"cases": as_dicts(cases)}


def nothing(_params, _folder, _watch=None) -> dict:
    """For the probe: that a guest comes up at all."""
    return {"cases": []}


def run_of(module):
    """The module's run(); it uses what is here, so it is imported late."""
    def run(params, folder, watch=None):
        return importlib.import_module(module).run(params, folder, watch)
    return run


KINDS = {"qtest": qtest, "guest_tests": guest_tests, "play": play,
         "proofs": proofs, "nothing": nothing,
         **{name: run_of(name) for name in ("hotplug", "migrate", "wayland")}}


def attempt(task, folder, watch) -> dict:
    try:
        return KINDS[task["kind"]](task["params"], folder, watch)
    except (env.LabError, OSError, subprocess.SubprocessError) as error:
        return {"cases": as_dicts([report.Case(
            "run", report.FAILED, str(error).replace("\n", "; "))]),
            "problems": [str(error)]}


def never_spoke(folder) -> bool:
    """A guest was started, and its kernel did not come to its first word."""
    logs = [folder / "console.log", folder / "output.log"]
    return all(log.exists() and not log.stat().st_size for log in logs)


def run_task(task, folder, watch=None) -> dict:
    """One task of a job, its faults turned into a failed result.  A guest of
    emulated SVM that resets before it says anything gets a second boot."""
    folder.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    result = attempt(task, folder, watch)
    if task["params"].get("accel") == "kvm" and never_spoke(folder):
        result = attempt(task, folder, watch)
        result.setdefault("cases", []).extend(as_dicts([report.Case(
            "first boot", report.SKIPPED, "the guest reset before its first "
            "word and was booted again")]))
    result["wall"] = time.monotonic() - begin
    return result
