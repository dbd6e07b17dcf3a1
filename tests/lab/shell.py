# SPDX-License-Identifier: GPL-2.0-or-later
"""tools/lab shell: a console in a guest, or in the host VM."""

import shlex
import sys

import env
import inside
import probe
import tasks
import vm

GUEST_HELLO = """
uname -srm
ls /sys/class/drm /dev/dri 2>/dev/null
echo 'The driver is loaded. Programs: {programs}'
echo 'exit (or Ctrl-A X) ends the guest.'
exec sh
"""


def guest_shell(lab, parts, accel):
    stock = parts.stock.place()
    debug = lab.options.kernel == "debug"
    programs = (parts.host.programs("tools/guest")
                + parts.host.programs("tests/guest"))
    params = {
        "kernel": str(parts.debug.place() if debug else stock),
        "driver": str(parts.debug.place() if debug
                      else parts.driver.place()),
        "busybox": str(stock / "busybox"), "accel": accel, "limit": 0,
        "programs": [str(p) for p in programs]}
    job = GUEST_HELLO.format(programs=" ".join(p.name for p in programs))
    folder = inside.new_folder(lab, "shell")
    socket = folder / "server"
    env.say(f"The server's socket on this side: {socket}")
    share = [vm.Share(lab.cache / "media", "/media")] if (
        lab.cache / "media").exists() else []
    guest = tasks.make_guest(params, job, shares=share, interactive=True,
                             devices=tasks.device_options(socket, "shell"))
    return vm.Running(parts.qemu.output(), guest, folder).child.wait()


def host_shell(lab, parts):
    folder = inside.new_folder(lab, "shell")
    env.say(f"In the host VM only {folder} and /tmp can be written to")
    environment = {
        "XDG_CACHE_HOME": shlex.quote(str(lab.cache.parent)),
        "QEMU": shlex.quote(str(parts.qemu.output()))}
    host = vm.host_vm(parts.stock.place(), "/bin/bash", environment,
                      [lab.here, lab.cache], folder, 0, interactive=True)
    return vm.Running(parts.qemu.output(), host, folder).child.wait()


def verb_shell(lab, parts, set_up):
    if not sys.stdin.isatty():
        raise env.UsageError("shell needs a terminal")
    needs = ["qemu", "stock"]
    if not lab.options.host:
        needs += ["driver", "host"]
        if lab.options.kernel == "debug":
            needs.append("linux-debug")
    set_up(lab, parts.steps(needs))
    machine = probe.Machine(lab, parts)
    if lab.options.host:
        return host_shell(lab, parts)
    return guest_shell(lab, parts, machine.accel())
