# SPDX-License-Identifier: GPL-2.0-or-later
"""The level wayland: an unmodified Wayland client, seen on the host.

weston-simple-shm in the guest draws into shared memory and knows nothing of
the host; virtio-buf-wayland is its compositor.  On the host virtio-buf-cat
takes what it is told of.  The client's pictures follow from one number, the
time of the frame, so that each byte of a frame can be told from the rest.
"""

import pathlib
import re
import shutil
import struct

import env
import report
import tasks
import vm
from steps import Step

PACKAGE, CLIENT = "weston", "weston-simple-shm"
COMPOSITOR = "virtio-buf-wayland"
APPLICATION = "wayland"
SIDE, PADDING = 250, 20
FRAMES = 12
# As virtio-buf-wayland says it; nothing else may be in the way of a copy
SHARED = re.compile(r"stream \d+: (\d+)x(\d+), (\d+) bytes, (\S+) "
                    r"\(reason (\d+)\)")

# A pixel is a multiple of this; the multiple can be found again, as it is odd.
STEP = 0x0080401
INVERSE = pow(STEP, -1, 1 << 24)


def picture(time) -> list:
    """What the client draws at a time in milliseconds: its rows, as XRGB8888
    without the X."""
    half = PADDING + (SIDE - 2 * PADDING) // 2
    outer = half - 8
    inner = outer - 32
    rows = []
    for y in range(SIDE):
        row = [0xffffff] * SIDE
        if PADDING <= y < SIDE - PADDING:
            for x in range(PADDING, SIDE - PADDING):
                square = (x - half) ** 2 + (y - half) ** 2
                if square < inner * inner:
                    number = square // 32 + time // 64
                elif square < outer * outer:
                    number = y + time // 32
                else:
                    number = x + time // 16
                row[x] = number * STEP & 0xffffff
        rows.append(row)
    return rows


def pixels(frame) -> list:
    """Rows of a raw frame."""
    numbers = struct.unpack(f"<{SIDE * SIDE}I", frame)
    return [[n & 0xffffff for n in numbers[y * SIDE:(y + 1) * SIDE]]
            for y in range(SIDE)]


def time_of(rows) -> int:
    """The time at which the client drew that, to 16 ms; it follows from the
    first pixel that is not padding."""
    number = rows[PADDING][PADDING] * INVERSE & 0xffffff
    return (number - PADDING & 0xffffff) * 16


def frame_cases(raw, frames) -> list:
    """Each frame is what the client drew, and they are not all the same."""
    size = SIDE * SIDE * 4
    if len(raw) != size * frames:
        return [report.Case("frames", report.FAILED,
                            f"{len(raw)} bytes, not {frames} of {size}")]
    wrong, times = [], []
    for n in range(frames):
        rows = pixels(raw[n * size:(n + 1) * size])
        times.append(time_of(rows))
        expected = picture(times[-1])
        bad = sum(a != b for got, want in zip(rows, expected)
                  for a, b in zip(got, want))
        if bad:
            wrong.append(f"frame {n}: {bad} pixels differ")
    cases = [report.Case("every pixel is the client's", report.FAILED
                         if wrong else report.OK, "; ".join(wrong[:3]))]
    # The first frame is of time 0.
    moves = times == sorted(times) and len(set(times)) >= frames // 2
    cases.append(report.Case("the picture moves", report.OK if moves
                             else report.FAILED, "" if moves else str(times)))
    return cases


def run(params, folder, _watch=None) -> dict:
    """The client in a guest, until the host has its frames."""
    job = (f"export XDG_RUNTIME_DIR=/run\n{COMPOSITOR} --instance demo "
           f"--verbose --application {APPLICATION} {CLIENT}\n")
    raw, stats = folder / "frames.raw", folder / "stats.json"
    with tasks.socket_folder() as sockets, tasks.Peers(folder) as peers:
        socket = sockets / "server"
        guest = tasks.make_guest(params, job, devices=tasks.device_options(
            socket, "demo", params["backing"], tasks.SLOW_HOST))
        running = vm.Running(pathlib.Path(params["qemu"]), guest, folder)
        try:
            if tasks.wait_for_socket(socket, running.child):
                peers.start("cat", [
                    params["cat"], "--socket", socket, "--application",
                    APPLICATION, "--count", FRAMES, "--format", "raw",
                    "--output", raw, "--stats-json", stats, "--timeout",
                    params["limit"]])
            problems = peers.problems(params["limit"])
            output = running.lines()
            complaints = vm.complaints_in(
                running.console.read_text(errors="replace"))
        finally:
            running.stop()
    problems += complaints[:1]
    cases = [report.Case("frames arrive", report.FAILED if problems
                         else report.OK, "; ".join(problems)
                         + ("; guest: " + " ".join(output[-2:])
                            if problems else ""))]
    if raw.exists():
        cases += frame_cases(raw.read_bytes(), FRAMES)
    cases += backing_cases(output, params["wanted"])
    return {"cases": tasks.as_dicts(cases)}


def backing_cases(output, wanted) -> list:
    found = [m for m in map(SHARED.match, output) if m]
    wrong = [m[0] for m in found if m[4] != wanted]
    why = "; ".join(wrong) if found else "the compositor shared nothing"
    return [report.Case(f"shared: {wanted}", report.FAILED
                        if wrong or not found else report.OK,
                        why if wrong or not found else "")]


def task(level, guest, programs, client, udmabuf) -> dict:
    """The level's task; `guest` are the parameters of a guest with the driver,
    `programs` gives the path of a program by its name."""
    params = dict(guest, programs=[str(programs(COMPOSITOR)), str(client)],
                  cat=str(programs("virtio-buf-cat")),
                  backing="auto" if udmabuf else "off",
                  wanted="zero-copy" if udmabuf else "copy")
    return {"kind": "wayland", "name": level, "params": params}


class Client:
    """The client, out of this Debian's package, without its dependencies."""

    def __init__(self, lab):
        self.lab = lab

    def key(self) -> str:
        return env.digest("wayland-client", 1, self.lab.codename)

    def place(self):
        return self.lab.output("wayland-client", self.key())

    def make(self, _progress):
        out = self.place()
        fresh = out.with_name(out.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        log = self.lab.log_path("wayland-client")
        env.run(["apt-get", "download", PACKAGE], log, append=False,
                cwd=fresh)
        package, = fresh.glob("*.deb")
        env.run(["dpkg-deb", "-x", package, fresh / "root"], log)
        shutil.copy2(fresh / "root/usr/bin" / CLIENT, fresh / CLIENT)
        shutil.rmtree(fresh / "root")
        shutil.rmtree(out, ignore_errors=True)
        fresh.rename(out)
        self.lab.prune_outputs("wayland-client")

    def steps(self) -> list:
        return [Step("A Wayland client", "wayland-client", self.key,
                     self.make, estimate=0.1)]
