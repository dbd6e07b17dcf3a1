# SPDX-License-Identifier: GPL-2.0-or-later
"""The initramfs of every guest: busybox, modules, programs, one job.

Writes cpio archives (the kernel's "newc" format) itself: it takes thirty
lines, needs neither root for the device nodes nor another package.
"""

import os
import pathlib
import re
import stat

import env

# The job's output goes to the second serial port, so that no line of it is
# torn by a kernel message; its exit status is the last line there.
INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/bin:/usr/sbin LC_ALL=C
mount -t proc proc /proc
mount -t sysfs sys /sys
grep -q ' /dev ' /proc/mounts || mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mount -t debugfs debug /sys/kernel/debug 2>/dev/null
exec 0</dev/null 1>{output} 2>&1
failed=0
while read -r module; do
    insmod "/lab/modules/$module" && continue
    echo "lab: cannot load $module"
    failed=1
done </lab/modules/order
while read -r tag place options; do
    mkdir -p "$place" 2>/dev/null
    mount -t 9p -o "trans=virtio,version=9p2000.L,msize=512000,$options" \\
        "$tag" "$place" && continue
    echo "lab: cannot mount $tag"
    failed=1
done </lab/shares
if [ $failed -eq 0 ]; then
    {job}
    failed=$?
fi
echo "lab: exit status $failed"
sync
poweroff -f
"""

OUTPUT = "/dev/ttyS1"


class Archive:
    def __init__(self):
        self.entries = {}

    def folder(self, path):
        path = path.strip("/")
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.folder(parent)
        self.entries.setdefault(path, (stat.S_IFDIR | 0o755, b"", 0))

    def file(self, path, data, mode=0o644):
        if isinstance(data, pathlib.Path):
            mode = 0o755 if os.access(data, os.X_OK) else 0o644
            data = data.read_bytes()
        elif isinstance(data, str):
            data = data.encode()
        self.folder(os.path.dirname(path))
        self.entries[path.strip("/")] = (stat.S_IFREG | mode, data, 0)

    def link(self, path, target):
        self.folder(os.path.dirname(path))
        self.entries[path.strip("/")] = (stat.S_IFLNK | 0o777,
                                         target.encode(), 0)

    def device(self, path, major, minor):
        self.folder(os.path.dirname(path))
        self.entries[path.strip("/")] = (stat.S_IFCHR | 0o600, b"",
                                         (major, minor))

    def write(self, path):
        with open(path, "wb") as out:
            for number, name in enumerate(sorted(self.entries), 1):
                mode, data, device = self.entries[name]
                self._entry(out, number, name, mode, data, device or (0, 0))
            self._entry(out, 0, "TRAILER!!!", 0, b"", (0, 0))

    @staticmethod
    def _entry(out, number, name, mode, data, device):
        raw = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, device[0],
                  device[1], len(raw), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields)
        out.write(head + raw + b"\0" * (-(len(head) + len(raw)) % 4))
        out.write(data + b"\0" * (-len(data) % 4))


def libraries(program) -> list:
    """The shared libraries that a program of this machine loads."""
    try:
        text = env.output_of(["ldd", program])
    except env.CommandFailed:
        return []       # statically linked
    if "not found" in text:
        raise env.LabError(f"{program} lacks a library:\n{text}")
    return [pathlib.Path(p) for p in
            re.findall(r"(/\S+) \(0x[0-9a-f]+\)", text)]


def build(path, busybox, modules, programs, files, shares, job,
          interactive=False):
    """Write the archive: modules in load order, programs with libraries
    into /usr/bin, files {place: Path or text}, shares (tag, place, options),
    job a shell script."""
    archive = Archive()
    for name in ("proc", "sys", "dev", "tmp", "run", "bin", "sbin",
                 "usr/bin", "usr/sbin", "root", "mnt", "lib", "lib64"):
        archive.folder(name)
    archive.device("dev/console", 5, 1)
    archive.device("dev/null", 1, 3)
    archive.file("bin/busybox", busybox)
    text = INIT.format(
        output="/dev/console" if interactive else OUTPUT,
        job="setsid cttyhack sh /lab/job" if interactive else "sh /lab/job")
    archive.file("init", text, 0o755)
    archive.file("lab/job", job)
    archive.file("lab/modules/order",
                 "".join(m.name + "\n" for m in modules))
    for module in modules:
        archive.file(f"lab/modules/{module.name}", module)
    archive.file("lab/shares", "".join(
        f"{tag} {place} {options}\n" for tag, place, options in shares))
    for program in programs:
        archive.file(f"usr/bin/{program.name}", program)
        for library in libraries(program):
            archive.file(str(library), library.resolve())
    for place, data in files.items():
        archive.file(place, data)
    archive.write(path)
