# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual machines: a guest of our QEMU, and the host VM that can hold one.

A guest boots a kernel with an initramfs made for it, runs one job, prints
its output to its own serial port and powers off.  Every run has a time
limit, a console log that is kept, and fails when its kernel complained.
The host VM is such a guest, too: emulated, with KVM and udmabuf, and with
this machine's files as its root, so that what was built here runs there.
"""

import dataclasses
import os
import pathlib
import re
import shlex
import subprocess
import time

import env
import initramfs

# What a kernel says when something is wrong with it, or with our driver.
COMPLAINT = re.compile(
    r"\bBUG: |\bWARNING: |\bKASAN: |\bUBSAN: |\bOops: |kernel BUG at|"
    r"Kernel panic|general protection fault|Unable to handle kernel|"
    r"possible (?:circular|recursive) locking|inconsistent lock state|"
    r"suspicious RCU usage|sleeping function called|ODEBUG: |"
    r"kmemleak: \d+ new|blocked for more than|stall(?:s|ed)? (?:on|detected)|"
    r"workqueue lockup|soft lockup|DMA-API: .*(?:error|fail|leak|without|not)|"
    r"refcount_t: |list_(?:add|del) corruption|trace for:")
# Said by healthy kernels, too.
HARMLESS = re.compile(r"DMA-API: preallocated|DMA-API: debugging enabled|"
                      r"Spectre|RETBleed|MDS|kernel log:|"
                      r"NMI watchdog: Perf|Unprivileged eBPF")

# QEMU's words when KVM gives up on a guest, which then just stands still.
KVM_FAULT = re.compile(r"KVM internal error.*|KVM: entry failed.*|"
                       r"error: kvm run failed.*")

# A processor that nests guests under emulated SVM sometimes stands still for
# good; others say so after a minute, with its time in ticks of 4 ms.
STALL = re.compile(r"detected by \d+, t=(?:[2-9]\d{4}|\d{6,}) jiffies")

STATUS = re.compile(r"^lab: exit status (\d+)$")


@dataclasses.dataclass
class Share:
    """A folder of the machine in the guest, over 9p."""

    path: pathlib.Path
    place: str
    writable: bool = False

    def options(self, tag) -> list:
        line = (f"local,path={self.path},mount_tag={tag},id={tag},"
                "security_model=none,multidevs=remap")
        return ["-virtfs", line + ("" if self.writable else ",readonly=on")]

    def mount_options(self) -> str:
        return "rw,cache=none" if self.writable else "ro,cache=loose"


@dataclasses.dataclass
class Guest:
    kernel: pathlib.Path
    busybox: pathlib.Path
    job: str
    modules: list = dataclasses.field(default_factory=list)
    programs: list = dataclasses.field(default_factory=list)
    files: dict = dataclasses.field(default_factory=dict)
    shares: list = dataclasses.field(default_factory=list)
    devices: list = dataclasses.field(default_factory=list)
    boot: str = ""
    accel: str = "tcg"
    memory: int = 1024          # MiB
    cpus: int = 2
    limit: float = 300          # seconds
    interactive: bool = False
    stays: bool = False         # after its job's end, too: it is stopped
    nests: bool = False         # guests of its own


@dataclasses.dataclass
class Result:
    status: object              # the job's exit status, None without one
    output: list
    complaints: list
    console: pathlib.Path
    seconds: float
    fault: str = ""             # why there is no status
    stalled: bool = False       # the fault is of the emulation, see STALL

    def problem(self) -> str:
        """What went wrong with the run itself, or nothing."""
        if self.fault:
            return self.fault
        if self.complaints:
            return (f"the guest's kernel complained: {self.complaints[0]} "
                    f"(see {self.console})")
        return ""


class Running:
    """A started guest; wait() or stop() it."""

    def __init__(self, qemu, guest, folder):
        self.guest, self.folder = guest, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.console = folder / "console.log"
        self.output = folder / "output.log"
        self.log = folder / "qemu.log"
        initrd = folder / "initramfs"
        shares = [(f"share{i}", s.place, s.mount_options())
                  for i, s in enumerate(guest.shares)]
        initramfs.build(initrd, guest.busybox, guest.modules, guest.programs,
                        guest.files, shares, guest.job, guest.interactive)
        self.command = self.command_line(qemu, initrd)
        for path in (self.console, self.output):
            path.write_bytes(b"")
        self.begin = time.monotonic()
        if guest.interactive:
            self.child = subprocess.Popen(self.command)
            return
        with open(self.log, "w") as out:
            out.write("$ " + " ".join(self.command) + "\n")
            out.flush()
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True)
        env.RUNNING.add(self.child)

    def command_line(self, qemu, initrd) -> list:
        guest = self.guest
        boot = ("console=ttyS0 rdinit=/init panic=-1 mitigations=off "
                f"random.trust_cpu=on {guest.boot or 'loglevel=5'}")
        line = [str(qemu / "qemu-system-x86_64"), "-L", str(qemu),
                "-nodefaults", "-display", "none", "-no-reboot",
                "-machine", "q35,memory-backend=mem",
                "-object", f"memory-backend-memfd,id=mem,share=on,"
                           f"size={guest.memory}M",
                "-m", f"{guest.memory}M", "-smp", str(guest.cpus),
                "-accel", guest.accel,
                "-cpu", "host" if guest.accel == "kvm" else "max",
                "-kernel", str(guest.kernel), "-initrd", str(initrd),
                "-append", boot]
        if guest.interactive:
            line += ["-serial", "mon:stdio"]
        else:
            line += ["-serial", f"file:{self.console}",
                     "-serial", f"file:{self.output}"]
        for i, share in enumerate(guest.shares):
            line += share.options(f"share{i}")
        return line + guest.devices

    def lines(self) -> list:
        """The job's output so far, complete lines only."""
        text = self.output.read_text(errors="replace").replace("\r\n", "\n")
        # Of a line that updated itself, what it said in the end.
        return [line.rstrip("\r").rsplit("\r", 1)[-1].replace("\x1b[K", "")
                for line in text.split("\n")[:-1]]

    def latest(self) -> str:
        """What the job said last, a line in progress included."""
        text = self.output.read_text(errors="replace")
        said = [part.replace("\x1b[K", "").strip()
                for part in re.split(r"[\r\n]+", text[-2000:])]
        return next((part for part in reversed(said) if part), "")

    def wait(self, limit=None, watch=None) -> Result:
        """Wait for its end; watch(latest) is called now and then."""
        deadline = self.begin + (limit or self.guest.limit)
        fault, stalled = "", False
        while True:
            try:
                self.child.wait(0.2 if not watch else 0.5)
                break
            except subprocess.TimeoutExpired:
                pass
            if watch:
                watch(self.latest())
            if self.guest.stays and STATUS.match((self.lines() or [""])[-1]):
                break
            stands = KVM_FAULT.search(self.log.read_text(errors="replace"))
            if stands:
                fault = stands[0]
                break
            stalled = self.guest.nests and bool(STALL.search(
                self.console.read_text(errors="replace")))
            if stalled:
                fault = "an emulated processor stands still"
                break
            if time.monotonic() > deadline:
                fault = (f"the guest was still running after "
                         f"{limit or self.guest.limit:.0f} seconds")
                break
        self.stop()
        lines = self.lines()
        status = None
        if lines and STATUS.match(lines[-1]):
            status = int(STATUS.match(lines.pop())[1])
        elif not fault:
            fault = (f"the guest ended without an exit status (QEMU: "
                     f"{self.child.returncode})")
        complaints = complaints_in(
            self.console.read_text(errors="replace"))
        if fault:
            fault += f"; console: {self.console}, QEMU: {self.log}"
            said = env.tail_of(self.log, 3)[-1:]
            if said and not said[0].startswith("$"):
                fault += f" ({said[0]})"
        return Result(status, lines, complaints, self.console,
                      time.monotonic() - self.begin, fault, stalled)

    def stop(self):
        if self.child.poll() is None:
            env.stop_group(self.child)
        env.RUNNING.discard(self.child)
        with_initrd = self.folder / "initramfs"
        if with_initrd.exists():
            with_initrd.unlink()


def complaints_in(console) -> list:
    found = []
    for line in console.replace("\r", "").split("\n"):
        if COMPLAINT.search(line) and not HARMLESS.search(line):
            found.append(re.sub(r"^\[[^\]]*\]\s*", "", line).strip())
    return found


def run(qemu, guest, folder, watch=None) -> Result:
    running = Running(qemu, guest, folder)
    try:
        return running.wait(watch=watch)
    except BaseException:
        running.stop()
        raise


def stock_modules(stock, kind) -> list:
    """The stock kernel's modules for a guest or a host VM, in order."""
    return [stock / name
            for name in (stock / f"{kind}.modules").read_text().split()]


# Of 2 MiB, which only a kernel that boots has for sure: the RAM of the qtest
# with hugetlb, and some.
HUGE_PAGES = 136

HOST_JOB = """
root=/mnt
mount -t proc proc $root/proc
mount -t sysfs sys $root/sys
mount --move /dev $root/dev 2>/dev/null || mount -t devtmpfs dev $root/dev
[ -d $root/dev/shm ] || mkdir $root/dev/shm
grep -q " $root/dev/shm " /proc/mounts || mount -t tmpfs shm $root/dev/shm
mkdir /keep
{keep}
mount -t tmpfs tmp $root/tmp
mount -t tmpfs run $root/run
{give}
for device in kvm udmabuf; do
    [ -e $root/dev/$device ] || echo "lab: the host VM has no /dev/$device"
done
exec chroot $root /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \\
    HOME=/tmp LC_ALL=C.UTF-8 TERM=${{TERM:-dumb}} {environment} {command}
"""


def hidden_by_scratch(paths) -> list:
    """Those of `paths` that the host VM's own /tmp and /run would hide, none
    of them inside of another."""
    found = []
    for path in sorted(pathlib.Path(p).resolve() for p in paths):
        inside = any(path.is_relative_to(other) for other in found)
        if path.parts[1:2] in (("tmp",), ("run",)) and not inside:
            found.append(path)
    return found


def host_vm(stock, command, environment, needed, writable, limit, memory=4096,
            interactive=False) -> Guest:
    """A host VM that runs a command on this machine's files; `needed` are
    folders that have to be there, wherever they are, `writable` is the one
    folder that it may write to."""
    keep, give = [], []
    for number, path in enumerate(hidden_by_scratch([*needed, writable])):
        place = shlex.quote(f"/mnt{path}")
        keep.append(f"mkdir /keep/{number}\n"
                    f"mount -o rbind {place} /keep/{number}")
        give.append(f"mkdir -p {place}\n"
                    f"mount -o rbind /keep/{number} {place}")
    job = HOST_JOB.format(
        command=command, keep="\n".join(keep), give="\n".join(give),
        environment=" ".join(f"{k}={v}" for k, v in environment.items()))
    shares = [Share(pathlib.Path("/"), "/mnt"),
              Share(writable, f"/mnt{writable}", writable=True)]
    return Guest(kernel=stock / "vmlinuz", busybox=stock / "busybox", job=job,
                 modules=stock_modules(stock, "host"), shares=shares,
                 boot=f"loglevel=5 hugepages={HUGE_PAGES}",
                 accel="tcg,thread=multi", memory=memory,
                 cpus=min(2, os.cpu_count() or 1), limit=limit,
                 interactive=interactive, nests=True)
