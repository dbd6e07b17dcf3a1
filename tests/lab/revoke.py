# SPDX-License-Identifier: GPL-2.0-or-later
"""The level revoke: buffers are taken back from those who keep them.

virtbuf-revoke in the guest shares one buffer after the other, takes it back and
goes on writing in its pages; virtio-buf-hoarder on the host keeps each in
another way.  One guest has a short deadline and many rounds.  The long form has
two more: one where only the reset of the device takes pages back, and one that
goes into another kernel while a buffer is held.
"""

import random

import report

PROGRAM = "virtbuf-revoke"
HOARDER = "virtio-buf-hoarder"

ROUNDS, LONG_ROUNDS = 110, 1000
# Each takes the driver's patience with the host, which is two seconds.
RESETS = 60
SHORT_DEADLINE = ",release-timeout=50"
NO_DEADLINE = ",release-timeout=0"

# The second kernel is the first one again, with one more option.
STAGE = "virtbuf.stage=2"
KERNEL_PLACE, INITRD_PLACE = "/kernel", "/own"
KEXEC_MEMORY = 512              # MiB; it is filled
KEXEC = (f"--rounds 2 --only unbind $(grep -q {STAGE} /proc/cmdline && "
         f"echo --fill || echo --kexec {KERNEL_PLACE}/vmlinuz "
         f"--initrd {INITRD_PLACE}/initramfs --append {STAGE})")


def tasks_of(level, guest, programs, long=False) -> list:
    """The level's tasks; `guest` are the parameters of a guest with the driver,
    `programs` gives the path of a program by its name."""
    program = str(programs(PROGRAM))
    common = dict(guest, program=program, programs=[program],
                  hoarder=str(programs(HOARDER)))
    rounds = LONG_ROUNDS if long else ROUNDS
    found = []
    parts = [("deadline", f"--rounds {rounds}" if long else
              f"--rounds {rounds} --only unregister", SHORT_DEADLINE, "", {})]
    if long:
        parts += [
            ("reset", f"--rounds {RESETS} --only unbind", NO_DEADLINE, "", {}),
            ("kexec", KEXEC, NO_DEADLINE, "mapping",
             {"shares": {KERNEL_PLACE: guest["kernel"], INITRD_PLACE: ""},
              "memory": KEXEC_MEMORY})]
    for name, arguments, device, only, more in parts:
        seed = random.randrange(1 << 31)
        found.append({
            "kind": "guest_tests", "name": f"{level}-{name}",
            "params": dict(common, part=name, device=device, seed=seed,
                           only=only, arguments=f"{arguments} --seed {seed}",
                           **more)})
    return found


def hoarder_command(params, socket, application) -> list:
    command = [params["hoarder"], "--seed", params["seed"]]
    if params["only"]:
        command += ["--only", params["only"]]
    return command + [socket, application]


def hoarder_cases(log, problems) -> list:
    """What a hoarder says: a case for each way to keep a buffer, with the
    number of rounds as its reason."""
    cases = report.read_tap(log.read_text(errors="replace").splitlines()[1:])
    for case in cases:
        case.name, _, count = case.name.partition(": ")
        if count and not case.reason:
            case.reason = count
    if problems and not any(c.result == report.FAILED for c in cases):
        cases.append(report.Case("hoarder", report.FAILED,
                                 " ".join(problems)))
    return cases
