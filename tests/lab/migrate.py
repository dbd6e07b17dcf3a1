# SPDX-License-Identifier: GPL-2.0-or-later
"""The level migration: a guest that plays a clip moves to another QEMU.

The driver is loaded, its buffers are registered and updates go on all the time;
one host program gets frames at the source, another at the destination.  Frames
have to come in order, and every byte is compared.
"""

import contextlib
import random
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


def kernel_case(name, running) -> report.Case:
    found = vm.complaints_in(running.console.read_text(errors="replace"))
    said = running.lines()
    why = found[0] if found else said[0] if said else ""
    return report.Case(name, report.FAILED if why else report.OK, why)


def start(params, folder, server, more, ready, stack):
    """A QEMU with the guest's machine, once the socket `ready` is there."""
    guest = tasks.make_guest(
        params, JOB, files={CLIP: folder.parent / CLIP}, memory=MEMORY,
        devices=tasks.device_options(server, "demo", "off") + more)
    running = vm.Running(params["qemu"], guest, folder)
    stack.callback(running.stop)
    if not tasks.wait_for_socket(ready, running.child):
        raise env.LabError(f"QEMU has not made {ready.name}: "
                           + " ".join(env.tail_of(running.log, 2)))
    return running


def cases_of(params, folder) -> list:
    """The guest, its move, and what came before and after."""
    write_clip(folder / CLIP)
    played = media.y4m_frames(folder / CLIP)
    with contextlib.ExitStack() as stack:
        sockets = stack.enter_context(tasks.socket_folder())
        source = start(params, folder / "source", sockets / "source",
                       ["-qmp", f"unix:{sockets}/qmp,server=on,wait=off"],
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
        monitor = qmp.Monitor(sockets / "qmp", LIMIT)
        stack.callback(monitor.close)
        move(monitor, sockets / "channel")
        cases.append(report.Case("the guest moves", report.OK))
        cases.append(judge("frames come at the destination", after,
                           folder / "after.y4m", played, FRAMES_AFTER))
        cases.append(kernel_case("the guest says nothing", source))
        cases.append(kernel_case("nor where it has moved to", destination))
    return cases


def run_level(run, level):
    """The level; its guest is this machine's."""
    params = dict(run.driver_guest(LIMIT, run.machine.accel()),
                  programs=[str(run.parts.host.program("virtio-buf-play"))],
                  cat=str(run.parts.host.program("virtio-buf-cat")))
    params["qemu"] = run.parts.qemu.output()
    folder = run.folder / level
    folder.mkdir()
    try:
        cases = cases_of(params, folder)
    except (env.LabError, OSError) as error:
        cases = [report.Case("run", report.FAILED,
                             f"{error}; logs: {folder}")]
    run.report.add(level, cases)
