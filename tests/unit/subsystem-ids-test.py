#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks docs/subsystem-ids.txt, and that the check notices mistakes. TAP."""

import pathlib
import re
import sys

LIST = pathlib.Path(__file__).resolve().parents[2] / "docs/subsystem-ids.txt"
ENTRY = re.compile(r"(?P<vendor>[0-9a-f]{4}):(?P<first>[0-9a-f]{4})"
                   r"(?:-(?P<last>[0-9a-f]{4}))?[ \t]+"
                   r"(?P<status>\w+)[ \t]+(?P<name>\S.*\S|\S)")
STATUSES = ("default", "development", "historic", "reserved")


def parse(text: str) -> tuple[list, list]:
    """Returns the entries (first id, last id, status, name), ids as 32-bit
    numbers, and what is wrong."""
    entries, wrong = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        match = ENTRY.fullmatch(line)
        if not match:
            wrong.append(f"line {number}: not VVVV:DDDD[-DDDD] STATUS NAME")
            continue
        vendor = int(match["vendor"], 16) << 16
        first = vendor | int(match["first"], 16)
        last = vendor | int(match["last"] or match["first"], 16)
        if match["status"] not in STATUSES:
            wrong.append(f"line {number}: no such status: {match['status']}")
        if last < first:
            wrong.append(f"line {number}: the range ends before it starts")
        if entries and first <= entries[-1][1]:
            wrong.append(f"line {number}: not above the entry before it")
        entries.append((first, last, match["status"], match["name"]))
    if not text.endswith("\n"):
        wrong.append("the last line does not end")
    return entries, wrong


def find(entries: list, vendor: int, device: int) -> str:
    """The status of an id; empty when it is free."""
    number = vendor << 16 | device
    return next((status for first, last, status, _name in entries
                 if first <= number <= last), "")


def cases():
    """Yields a name and what is wrong."""
    text = LIST.read_text(encoding="utf-8")
    entries, wrong = parse(text)
    yield "the list is well-formed", wrong
    yield "the first line says what it is", (
        [] if text.startswith("# PCI subsystem ids of virtio-buf") else ["no"])
    for status, vendor, device in (("default", 0x1af4, 0x1100),
                                   ("historic", 0x4b56, 0x64d4),
                                   ("development", 0xff00, 0x0000),
                                   ("development", 0xff00, 0x00ff),
                                   ("", 0xff00, 0x0100)):
        found = find(entries, vendor, device)
        yield f"{vendor:04x}:{device:04x} is {status or 'free'}", (
            [] if found == status else [f"it is {found or 'free'}"])
    for mistake, bad in (("overlap", "0001:0000-000f reserved a\n"
                                     "0001:000f reserved b\n"),
                         ("order", "0002:0000 reserved a\n"
                                   "0001:0000 reserved b\n"),
                         ("twice", "0001:0000 reserved a\n"
                                   "0001:0000 reserved a\n"),
                         ("backwards", "0001:0002-0001 reserved a\n"),
                         ("status", "0001:0002 mine a\n"),
                         ("name", "0001:0002 reserved\n"),
                         ("capitals", "000A:0002 reserved a\n"),
                         ("digits", "001:0002 reserved a\n"),
                         ("range over vendors", "0001:0000-0002:0000 "
                                                "reserved a\n"),
                         ("no end", "0001:0002 reserved a")):
        yield f"a mistake is noticed: {mistake}", (
            [] if parse(bad)[1] else ["it was taken"])


def main() -> int:
    results = list(cases())
    print(f"1..{len(results)}")
    for number, (name, wrong) in enumerate(results, 1):
        for line in wrong:
            print(f"# {line}")
        print(f"{'not ok' if wrong else 'ok'} {number} - {name}")
    return any(wrong for _name, wrong in results)


if __name__ == "__main__":
    sys.exit(main())
