# SPDX-License-Identifier: MIT
"""Reads docs/subsystem-ids.txt, the list of reserved PCI subsystem ids."""

import re

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
