#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks docs/subsystem-ids.txt, that the check notices mistakes, and what
udev's database is made of it. TAP."""

import fnmatch
import importlib
import pathlib
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
LIST = TOP / "docs/subsystem-ids.txt"
sys.path.insert(0, str(TOP / "tools/guest/udev"))
sys.dont_write_bytecode = True
parse = importlib.import_module("subsystem_ids").parse
make_hwdb = importlib.import_module("make-hwdb")


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


def globs_are_exact(first: int, last: int) -> list:
    globs = make_hwdb.patterns(first, last)
    return [f"{number:04X} by {globs}" for number in range(0x10000)
            if any(fnmatch.fnmatchcase(f"{number:04X}", g) for g in globs)
            != (first <= number <= last)]


def hwdb_cases():
    for first, last in ((0, 0), (0, 0xff), (0x64d4, 0x64d4), (0, 0xffff),
                        (1, 0x100), (0xfff, 0x1234)):
        yield (f"globs of {first:04x}-{last:04x}",
               globs_are_exact(first, last)[:3])
    for name, wanted in (("KVMFR", "KVMFR"), ("org.example.play",
                                              "org.example.play"),
                         ("../../sda", "_.._sda"), ("a b/c", "a_b_c"),
                         (".", "_"), ("x'$(y)\n", "x___y__")):
        got = make_hwdb.link_name(name)
        yield f"link of {name!r}", [] if got == wanted else [got]
    text = make_hwdb.hwdb(parse(LIST.read_text(encoding="utf-8"))[0])
    modalias = ("pci:v00001AF4d0000107Fsv00004B56sd000064D4"
                "bc00scFFi00")
    yield "a reserved id has a name", (
        [] if any(fnmatch.fnmatchcase(modalias, line)
                  for line in text.splitlines() if line.startswith("pci:"))
        and " ID_VIRTIO_BUF_APPLICATION=KVMFR\n" in text else [text])
    for what, vendor in (("what nobody has chosen", "00001AF4sd"),
                         ("what is for everybody", "0000FF00")):
        yield f"{what} has none", ([text] if f"sv{vendor}" in text else [])


def main() -> int:
    results = list(cases()) + list(hwdb_cases())
    print(f"1..{len(results)}")
    for number, (name, wrong) in enumerate(results, 1):
        for line in wrong:
            print(f"# {line}")
        print(f"{'not ok' if wrong else 'ok'} {number} - {name}")
    return any(wrong for _name, wrong in results)


if __name__ == "__main__":
    sys.exit(main())
