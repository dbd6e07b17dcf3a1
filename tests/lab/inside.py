# SPDX-License-Identifier: GPL-2.0-or-later
"""Both ends of the host VM: sending tasks into it, and doing them there.

A job is a folder: job.json with the tasks, and for each task a folder with
its logs and result.json.  The host VM has this machine's files, read-only
but for the job's folder, so the lab's own code runs in it.
"""

import ctypes
import json
import os
import pathlib
import shlex
import sys
import threading
import time

import env
import tasks
import vm

# The host VM's own way up and down, on top of what its tasks may take.
BOOT_LIMIT = 180
HOST_BOOTS = 3
# Of x86_64
MEMBARRIER, MEMBARRIER_CMD_GLOBAL = 324, 1


def wait_for_processors():
    """Again and again: the kernel tells of one that stands still only when
    somebody waits for it, as membarrier(2) does."""
    libc = ctypes.CDLL(None)
    while True:
        time.sleep(5)
        libc.syscall(MEMBARRIER, MEMBARRIER_CMD_GLOBAL, 0, 0)


def run_job(folder):
    """Inside the host VM: every task, each result as soon as it is there."""
    threading.Thread(target=wait_for_processors, daemon=True).start()
    for task in json.loads((folder / "job.json").read_text()):
        env.say(f"lab: task {task['name']}")
        last = []

        def tell(line, name=task["name"], last=last):
            """Each news once, for the progress line outside."""
            if last != [line]:
                last[:] = [line]
                env.say(f"lab: {name}: {line}")
        result = tasks.run_task(task, folder / task["name"], tell)
        path = folder / task["name"] / "result.json"
        path.write_text(json.dumps(result))


def boot_host(lab, parts, task_list, folder, name, watch) -> vm.Result:
    """Boot a host VM that does the tasks."""
    (folder / "job.json").write_text(json.dumps(task_list))
    limit = BOOT_LIMIT + sum(t["params"]["limit"] + 30 for t in task_list)
    command = (f"/usr/bin/python3 -B "
               f"{shlex.quote(str(lab.here / 'inside.py'))} "
               f"{shlex.quote(str(folder))}")
    host = vm.host_vm(
        parts.stock.place(), command,
        {"XDG_CACHE_HOME": shlex.quote(str(lab.cache.parent))},
        [lab.here, lab.cache], folder, limit)

    def see(latest):
        if watch and latest:
            watch(latest.removeprefix("lab: "))
    return vm.run(parts.qemu.output(), host, folder / name, see)


def run_nested(lab, parts, task_list, folder, watch=None) -> dict:
    """The tasks in a host VM; task name to result.  One whose emulation stands
    still is booted again for what it has not done."""
    folder.mkdir(parents=True, exist_ok=True)
    left, found, notes = list(task_list), {}, []
    for boot in range(1, HOST_BOOTS + 1):
        result = boot_host(lab, parts, left, folder,
                           "host-vm" if boot == 1 else f"host-vm-{boot}", watch)
        for task in left:
            path = folder / task["name"] / "result.json"
            if path.exists():
                found[task["name"]] = json.loads(path.read_text())
        left = [task for task in left if task["name"] not in found]
        if not (left and result.stalled):
            break
        notes.append({"name": f"host VM, boot {boot}",
                      "result": tasks.report.SKIPPED, "reason":
                      f"{result.fault}; {len(left)} tasks were left"})
    for task in left:
        why = result.problem() or "the host VM did not come to it"
        said = " / ".join(result.output[-3:])
        found[task["name"]] = {
            "cases": tasks.as_dicts([tasks.report.Case(
                "host VM", tasks.report.FAILED, f"{why}; it said: {said}")]),
            "problems": [f"{why}; it said: {said}"]}
    if result.complaints:
        notes.append({"name": "host VM kernel", "result": tasks.report.FAILED,
                      "reason": result.complaints[0]})
    next(iter(found.values())).setdefault("cases", []).extend(notes)
    return found


def run_direct(_lab, _parts, task_list, folder, watch=None) -> dict:
    """The same tasks on this machine."""
    return {task["name"]: tasks.run_task(task, folder / task["name"], watch)
            for task in task_list}


def is_running(name) -> bool:
    """Whether the lab that made a folder of this name, NAME-PID-NUMBER, may
    still write into it."""
    return pathlib.Path("/proc", name.split("-")[-2]).exists()


def new_folder(lab, name):
    """A folder for one run's logs; of the runs that are over, the newest few
    are kept."""
    import checks
    base = lab.folder("run")
    old = sorted((p for p in base.iterdir() if p.name.startswith(name + "-")
                  and not is_running(p.name)),
                 key=lambda p: p.stat().st_mtime, reverse=True)
    for path in old[4:]:
        checks.remove(lab, path)
    for number in range(1, 10**6):
        path = base / f"{name}-{os.getpid()}-{number}"
        try:
            path.mkdir()
            return path
        except FileExistsError:
            continue
    raise env.LabError(f"no name left in {base}")


if __name__ == "__main__":
    run_job(pathlib.Path(sys.argv[1]))
