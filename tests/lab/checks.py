# SPDX-License-Identifier: GPL-2.0-or-later
"""What this machine must have before anything long starts: room, rights."""

import os
import shutil
import subprocess

import env
import steps

# GiB that each step's results take in the cache, measured; what is not
# named here is small.
NEEDS = {
    "qemu-source": 0.8,
    "qemu-compile": 0.6,
    "qemu-asan-source": 0.7,
    "qemu-asan-compile": 2.2,
    "qemu-fuzz-source": 0.7,
    "qemu-fuzz-compile": 2.5,
    "root": 1.5,
    "package": 1.5,
    "linux-source": 1.9,
    "linux-debug-compile": 1.6,
    "media": 0.5,
}
SPARE = 2.0
MEMORY = 3.5


def check_room(lab, wanted):
    needed = sum(NEEDS.get(step.slug, 0.0)
                 for step in steps.pending(lab, wanted))
    if needed:
        needed += SPARE
    place = lab.folder()
    free = shutil.disk_usage(place).free / 2**30
    if free < needed:
        raise env.SetupError(
            f"{place} needs {needed:.1f} GiB more and its file system has "
            f"{free:.1f} GiB free. Free some, or set XDG_CACHE_HOME to a "
            "folder elsewhere")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    if memory < MEMORY:
        raise env.SetupError(
            f"this machine has {memory:.1f} GiB of memory; the lab needs "
            f"{MEMORY} GiB (a host VM with a guest in it)")


def check_rights(lab, wanted):
    """The Debian 13 root is made with mmdebstrap, which takes root."""
    if any(step.slug == "root" for step in steps.pending(lab, wanted)):
        if not lab.can_be_root():
            raise env.SetupError(
                "making the Debian 13 root (for its kernel and headers) takes "
                "root's rights, and there is no sudo. Install sudo, or run "
                "tools/lab as root")


def size_of(path) -> int:
    done = subprocess.run(["du", "-s", "-B1", "-x", str(path)], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        return int(done.stdout.split()[0])
    except (IndexError, ValueError):
        return 0


def remove(lab, path):
    """The root belongs to root, whoever runs the lab."""
    shutil.rmtree(path, ignore_errors=True)
    if path.exists() and not lab.is_root:
        env.output_of(lab.sudo(["rm", "-rf", "--one-file-system", path]))
