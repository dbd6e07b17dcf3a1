# SPDX-License-Identifier: GPL-2.0-or-later
"""The level hotplug: the host takes the device from a guest that uses it.

virtbuf-test says when it may come (see pulled_by_the_host() of
tests/guest/unplug.c); the device is pulled by QMP, while programs update
buffers and somebody on the host keeps one, and another is plugged in.
"""

import contextlib
import pathlib
import sys
import time

import env
import qmp
import report
import tasks
import vm

TEST = "unplug/pulled-by-the-host"
INSTANCE = "test"
# Of the device: the tests fill it, so it has room for little
PROPERTIES = {"id": "buf", "max-buffers": 64}
LIMIT = 120                     # seconds, for each step


def wait_for_line(running, wanted):
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if wanted in running.lines():
            return
        if running.child.poll() is not None:
            raise env.LabError(f"the guest ended before it said: {wanted}")
        time.sleep(0.1)
    raise env.LabError(f"after {LIMIT} seconds the guest has not said: "
                       + wanted)


def pull(running, monitor, number, backing):
    """Once the guest is ready; it has to let go, and to find a new one."""
    wait_for_line(running, f"# pull {number}")
    monitor.do("device_del", id=PROPERTIES["id"])
    monitor.wait("DEVICE_DELETED", device=PROPERTIES["id"])
    wait_for_line(running, f"# gone {number}")
    monitor.do("device_add", driver="virtio-buf-pci", server="s0",
               bus=tasks.PORT, instance=INSTANCE, udmabuf=backing,
               **PROPERTIES)


def pull_all(running, monitor, count, backing) -> list:
    cases = []
    for number in range(count):
        why = ""
        try:
            pull(running, monitor, number, backing)
        except (env.LabError, OSError) as error:
            why = str(error) or type(error).__name__
        cases.append(report.Case(f"device_del {number + 1}", report.FAILED
                                 if why else report.OK, why))
        if why:
            break
    return cases


def cases_of(params, folder) -> list:
    program = pathlib.Path(params["program"])
    more = "".join(f",{name}={value}" for name, value in PROPERTIES.items())
    job = (f"exec {program.name} --holder --pulled {params['pulls']} "
           f"--time-limit {params['limit']} --filter '{TEST}'\n")
    with contextlib.ExitStack() as stack:
        sockets = stack.enter_context(tasks.socket_folder())
        server = sockets / "server"
        guest = tasks.make_guest(
            params, job, devices=[
                *tasks.device_options(server, INSTANCE, params["backing"],
                                      more),
                "-qmp", f"unix:{sockets}/qmp,server=on,wait=off"])
        running = vm.Running(pathlib.Path(params["qemu"]), guest, folder)
        stack.callback(running.stop)
        peers = stack.enter_context(tasks.Peers(folder))
        if not tasks.wait_for_socket(server, running.child):
            raise env.LabError("QEMU made no socket: "
                               + " ".join(env.tail_of(running.log, 2)))
        peers.start("holder", [sys.executable, "-B",
                               tasks.HERE / "peer.py", "--holder", server,
                               tasks.APPLICATION_HOLDER])
        monitor = qmp.Monitor(sockets / "qmp", LIMIT)
        stack.callback(monitor.close)
        pulled = pull_all(running, monitor, params["pulls"],
                          params["backing"])
        return pulled + tasks.cases_of_guest(running.wait(), program.name)


def run(params, folder, _watch=None) -> dict:
    """The task, here or in the host VM."""
    return {"cases": tasks.as_dicts(cases_of(params, folder))}


def task(level, guest, programs, udmabuf, long=False) -> dict:
    """The level's task; `guest` are the parameters of a guest with the driver,
    `programs` gives the path of a program by its name."""
    program = str(programs("virtbuf-test"))
    params = dict(guest, program=program, programs=[program],
                  backing="auto" if udmabuf else "off",
                  pulls=20 if long else 3)
    return {"kind": "hotplug", "name": level, "params": params}
