#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Makes udev's hardware database of docs/subsystem-ids.txt: which program has
reserved the subsystem ids of a virtio-buf device."""

import pathlib
import sys

import subsystem_ids

HEAD = """\
# Made of docs/subsystem-ids.txt by make-hwdb.py: which program a virtio-buf
# device is meant for, by its PCI subsystem ids.
"""
MODALIAS = "pci:v00001AF4d0000107Fsv0000{:04X}sd0000{}*"
# What is for everybody, or what nobody has chosen, names no program.
NAMED = ("historic", "reserved")


def patterns(first: int, last: int) -> list:
    """Globs of four digits that match first to last and nothing else."""
    found = []
    while first <= last:
        free = 0
        while (free < 4 and first % 16 ** (free + 1) == 0
               and first + 16 ** (free + 1) - 1 <= last):
            free += 1
        found.append(f"{first:04X}"[:4 - free] + "?" * free)
        first += 16 ** free
    return found


def link_name(name: str) -> str:
    """What a file can be called: one word, no path, not hidden."""
    safe = "".join(c if c.isalnum() or c in "._-+" else "_" for c in name)
    return safe.lstrip(".") or "_"


def hwdb(entries) -> str:
    text = HEAD
    for first, last, status, name in entries:
        if status not in NAMED:
            continue
        text += "\n" + "".join(
            MODALIAS.format(first >> 16, glob) + "\n"
            for glob in patterns(first & 0xffff, last & 0xffff))
        text += f" ID_VIRTIO_BUF_APPLICATION={link_name(name)}\n"
    return text


def main() -> int:
    if len(sys.argv) != 3:
        print("usage: make-hwdb.py SUBSYSTEM-IDS HWDB", file=sys.stderr)
        return 2
    entries, wrong = subsystem_ids.parse(pathlib.Path(sys.argv[1]).read_text())
    for text in wrong:
        print(f"{sys.argv[1]}: {text}", file=sys.stderr)
    if wrong:
        return 1
    pathlib.Path(sys.argv[2]).write_text(hwdb(entries))
    return 0


if __name__ == "__main__":
    sys.exit(main())
