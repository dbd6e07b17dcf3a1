# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that plays a clip moves to another QEMU, with copies or dma-bufs.

The driver is loaded, its buffers are registered and updates go on all the time;
one host program gets frames at the source, another at the destination.  Frames
have to come in order, every byte is compared, and both QEMUs are asked how the
buffers are backed.
"""

import contextlib
import pathlib
import random
import re
import subprocess
import time

import env
import media
import qmp
import report
import tasks
import vm

APPLICATION = "moving"
WIDTH, HEIGHT = 64, 48
CLIP_FRAMES = 16
CLIP = "clip.y4m"
FPS = 10
# Of these the destination's consumer gets more than one round
FRAMES_BEFORE, FRAMES_AFTER = 5, 20
MEMORY = 512                    # MiB
LIMIT = 120                     # seconds, for each step
STEPS = 6                       # that may take so long
PROGRESS = re.compile(r" *[\d.]+ fps, \d+ frames, ")

JOB = (f"exec virtio-buf-play --instance demo --application {APPLICATION} "
       f"--mode every --fps {FPS} --loop 0 /{CLIP}\n")


def write_clip(path):
    """Frames of noise, the same in each run, no two of them alike."""
    noise = random.Random(1)
    size = WIDTH * HEIGHT * 3 // 2
    with open(path, "wb") as out:
        out.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FPS}:1 Ip A1:1 C420jpeg\n"
                  .encode())
        for _ in range(CLIP_FRAMES):
            out.write(b"FRAME\n" + noise.randbytes(size))


def move(monitor, channel):
    """Live migration, to its end."""
    monitor.do("migrate-set-parameters", **{"max-bandwidth": 1 << 30})
    monitor.do("migrate", uri=f"unix:{channel}")
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        answer = monitor.do("query-migrate")
        if answer.get("status") == "completed":
            return
        if answer.get("status") in ("failed", "cancelled"):
            raise env.LabError(answer.get("error-desc", answer["status"]))
        time.sleep(0.1)
    raise env.LabError(f"not done after {LIMIT} seconds")


def consume(params, peers, name, server, count):
    """A host program that takes frames."""
    return peers.start(name, [
        params["cat"], "--socket", server, "--application", APPLICATION,
        "--count", count, "--format", "y4m", "--output",
        peers.folder / f"{name}.y4m", "--timeout", LIMIT])


def order_fault(played, got, count) -> str:
    """What is wrong with frames that were played again and again."""
    if len(got) != count:
        return f"{len(got)} frames, not {count}"
    for number, frame in enumerate(got):
        if frame not in played:
            return f"frame {number} is none of those that were played"
    first = played.index(got[0])
    for number, frame in enumerate(got):
        if frame != played[(first + number) % len(played)]:
            return f"frame {number} is out of order"
    return ""


def judge(name, child, path, played, count) -> report.Case:
    try:
        status = child.wait(LIMIT)
        why = (f"virtio-buf-cat: exit status {status}" if status
               else order_fault(played, media.y4m_frames(path), count))
    except (OSError, env.LabError, subprocess.TimeoutExpired) as error:
        why = str(error)
    return report.Case(name, report.FAILED if why else report.OK, why)


def words(lines) -> list:
    """What was said besides the player's progress, which updates its line; at
    the destination the first is what was left of one when the guest came."""
    return [line for line in lines[1:]
            if line.strip() and not PROGRESS.match(line)]


def kernel_case(name, running) -> report.Case:
    found = (vm.complaints_in(running.console.read_text(errors="replace"))
             + words(running.lines()))
    why = found[0] if found else ""
    return report.Case(name, report.FAILED if why else report.OK, why)


def backing_case(name, monitor, wanted) -> report.Case:
    """What the management is told of the buffers that are there."""
    found = {buffer["backing"] for device in monitor.do("query-virtio-buf")
             for buffer in device["buffers"]}
    why = ("" if found == {wanted}
           else f"{', '.join(sorted(found)) or 'no buffer'}, not {wanted}")
    return report.Case(name, report.FAILED if why else report.OK, why)


def connect(path, stack) -> qmp.Monitor:
    monitor = qmp.Monitor(path, LIMIT)
    stack.callback(monitor.close)
    return monitor


def start(params, folder, server, more, ready, stack):
    """A QEMU with the guest's machine, once the socket `ready` is there."""
    guest = tasks.make_guest(
        params, JOB, files={CLIP: folder.parent / CLIP}, memory=MEMORY,
        devices=tasks.device_options(server, "demo", params["backing"],
                                     tasks.SLOW_HOST)
        + ["-qmp", f"unix:{server}.qmp,server=on,wait=off"] + more)
    running = vm.Running(pathlib.Path(params["qemu"]), guest, folder)
    stack.callback(running.stop)
    if not tasks.wait_for_socket(ready, running.child):
        raise env.LabError(f"QEMU has not made {ready.name}: "
                           + " ".join(env.tail_of(running.log, 2)))
    return running


def cases_of(params, folder) -> list:
    """The guest, its move, and what came before and after."""
    write_clip(folder / CLIP)
    played = media.y4m_frames(folder / CLIP)
    wanted = params["wanted"]
    with contextlib.ExitStack() as stack:
        sockets = stack.enter_context(tasks.socket_folder())
        source = start(params, folder / "source", sockets / "source", [],
                       sockets / "source", stack)
        peers = stack.enter_context(tasks.Peers(folder))
        cases = [judge("frames come at the source", consume(
            params, peers, "before", sockets / "source", FRAMES_BEFORE),
            folder / "before.y4m", played, FRAMES_BEFORE)]
        # Its buffers are attached while the guest moves
        consume(params, peers, "meanwhile", sockets / "source", 1 << 30)
        destination = start(
            params, folder / "destination", sockets / "destination",
            ["-incoming", f"unix:{sockets}/channel"], sockets / "channel",
            stack)
        after = consume(params, peers, "after", sockets / "destination",
                        FRAMES_AFTER)
        monitor = connect(sockets / "source.qmp", stack)
        cases.append(backing_case(f"backed at the source: {wanted}", monitor,
                                  wanted))
        move(monitor, sockets / "channel")
        cases.append(report.Case("the guest moves", report.OK))
        cases.append(judge("frames come at the destination", after,
                           folder / "after.y4m", played, FRAMES_AFTER))
        cases.append(backing_case(
            f"backed at the destination: {wanted}",
            connect(sockets / "destination.qmp", stack), wanted))
        cases.append(kernel_case("the guest says nothing", source))
        cases.append(kernel_case("nor where it has moved to", destination))
    return cases


def run(params, folder, _watch=None) -> dict:
    """The task, here or in the host VM."""
    return {"cases": tasks.as_dicts(cases_of(params, folder))}


def task(level, guest, programs, udmabuf) -> dict:
    """The level's task; `guest` are the parameters of a guest with the driver,
    `programs` gives the path of a program by its name."""
    params = dict(guest, programs=[str(programs("virtio-buf-play"))],
                  cat=str(programs("virtio-buf-cat")),
                  limit=STEPS * LIMIT,
                  backing="auto" if udmabuf else "off",
                  wanted="dmabuf" if udmabuf else "copy")
    return {"kind": "migrate", "name": level, "params": params}
