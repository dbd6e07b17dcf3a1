# SPDX-License-Identifier: GPL-2.0-or-later
"""How guests can be run here: found out by doing it.

/dev/kvm may be there and still not run a stock kernel (nested or limited
machines), so the probe boots one, with a time limit.  What it found is kept
until the machine is booted anew or QEMU or the kernel change.
"""

import json
import os
import pathlib

import env
import inside
import vm

LIMIT = 60


def usable(path) -> str:
    """Why a device cannot be opened, or nothing."""
    if not os.path.exists(path):
        return f"there is no {path}"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{path}: {error.strerror}"
    return ""


class Machine:
    """What this machine can do: kvm and udmabuf are reasons why not, or
    empty."""

    def __init__(self, lab, parts):
        self.lab, self.parts = lab, parts
        self.udmabuf = usable("/dev/udmabuf")
        self._kvm = None

    @property
    def kvm(self) -> str:
        if self._kvm is None:
            self._kvm = usable("/dev/kvm") or self.try_kvm()
        return self._kvm

    def try_kvm(self) -> str:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text()
        qemu, stock = self.parts.qemu.output(), self.parts.stock.place()
        key = env.digest(boot, qemu.name, stock.name)
        known = self.lab.folder("stamps") / "kvm-probe.json"
        try:
            found = json.loads(known.read_text())
            if found["key"] == key:
                return found["why"]
        except (OSError, ValueError, KeyError):
            pass
        env.say("Trying /dev/kvm with a stock kernel")
        guest = vm.Guest(kernel=stock / "vmlinuz", busybox=stock / "busybox",
                         job="exit 0\n", accel="kvm", memory=512, limit=LIMIT)
        result = vm.run(qemu, guest, inside.new_folder(self.lab, "probe"))
        why = ""
        if result.status != 0:
            why = ("/dev/kvm is there but does not run a stock kernel: "
                   + (result.fault.partition("; console")[0]
                      or f"exit status {result.status}"))
        known.write_text(json.dumps({"key": key, "why": why}))
        return why

    def accel(self) -> str:
        return "tcg" if self.kvm else "kvm"

    def zero_copy(self) -> str:
        """Why guests on this machine itself cannot share without a copy."""
        return self.udmabuf or self.kvm


def choose_mode(options, machine) -> str:
    if options.mode != "auto":
        return options.mode
    return "nested" if machine.zero_copy() else "direct"
