#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-buf-devices on a made-up machine: sysfs, /proc and /dev in a folder.

Usage: devices-test.py PROGRAM; prints TAP. What the driver says needs the
driver: that is tested in a guest."""

import ctypes
import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

FDINFO = """pos:\t0
drm-driver:\tvirtio_buf
drm-client-id:\t5
drm-pdev:\t0000:00:03.0
drm-virtbuf-registered:\t2048 KiB
drm-virtbuf-buffers:\t2
drm-virtbuf-pending:\t1
drm-virtbuf-properties:\t48
"""
EVIL = 'a"\x1b[2J'


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def node(root, parent, name, attributes, virtio=None):
    """A DRM device below a PCI device."""
    device = root / "sys/devices" / parent
    for key, value in attributes.items():
        write(device / key, f"{value}\n")
    if virtio:
        write(device / virtio[0] / "device", "0x003f\n")
        write(device / virtio[0] / "instance", f"{virtio[1]}\n")
    (device / "drm" / name).mkdir(parents=True)
    (device / "drm" / name / "device").symlink_to(device)
    drm = root / "sys/class/drm"
    drm.mkdir(parents=True, exist_ok=True)
    (drm / name).symlink_to(device / "drm" / name)


def machine(root, instance="screen", ours=True):
    node(root, "0000:00:02.0", "renderD128",
         {"vendor": "0x8086", "device": "0x1234",
          "subsystem_vendor": "0x8086", "subsystem_device": "0x1"})
    if ours:
        node(root, "0000:00:03.0", "renderD129",
             {"vendor": "0x1af4", "device": "0x107f",
              "subsystem_vendor": "0x4b56", "subsystem_device": "0x64d4"},
             ("virtio1", instance))
    write(root / "proc/7/comm", "player\n")
    write(root / "proc/7/fdinfo/3", FDINFO)
    write(root / "proc/8/fdinfo/3", FDINFO.replace("03.0", "09.0"))
    (root / "dev/dri").mkdir(parents=True)
    return root


class Run:
    def __init__(self, root, *options):
        done = subprocess.run([sys.argv[1], "--root", str(root), *options],
                              text=True, capture_output=True, timeout=30)
        self.status, self.out, self.err = (done.returncode, done.stdout,
                                           done.stderr)

    def devices(self):
        return json.loads(self.out)["devices"]


class Opened:
    """Which files of a folder were opened: inotify's IN_OPEN."""

    IN_OPEN = 0x20
    EVENT = struct.Struct("iIII")

    def __init__(self, folder):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert libc.inotify_add_watch(self.fd, os.fsencode(folder),
                                      self.IN_OPEN) > 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def names(self):
        found = set()
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            data = b""
        while data:
            size = self.EVENT.size + self.EVENT.unpack_from(data)[3]
            found.add(data[self.EVENT.size:size].rstrip(b"\0").decode())
            data = data[size:]
        return found


def test_json(root):
    run = Run(machine(root), "--json", "--no-open")
    assert run.status == 0, run.err
    assert run.devices() == [{
        "node": "/dev/dri/renderD129", "instance": "screen",
        "parent": "0000:00:03.0", "virtio": "virtio1",
        "subsystem": "4b56:64d4", "consumers": None, "features": None,
        "limits": None, "error": None,
        "clients": [{"pid": 7, "program": "player", "buffers": 2,
                     "bytes": 2 << 20, "pending": 1, "property_bytes": 48}],
    }], run.out


def test_table(root):
    run = Run(machine(root), "--no-open")
    assert run.status == 0, run.err
    assert run.out == (
        "/dev/dri/renderD129  screen  subsystem 4b56:64d4  at 0000:00:03.0\n"
        "      PID  BUFFERS  REGISTERED  PENDING  PROGRAM\n"
        "        7        2     2.0 MiB        1  player\n"), run.out


def test_foreign_names_are_escaped(root):
    machine(root, instance=EVIL)
    write(root / "proc/7/comm", EVIL + "\n")
    run = Run(root, "--no-open")
    assert "\x1b" not in run.out and run.out.count("\\x1b[2J") == 2, run.out
    device = Run(root, "--no-open", "--json").devices()[0]
    assert device["instance"] == EVIL, device
    assert device["clients"][0]["program"] == EVIL, device


def test_no_instance_name(root):
    machine(root, instance="")
    assert "(no instance name)" in Run(root, "--no-open").out
    assert Run(root, "--no-open", "--json").devices()[0]["instance"] is None


def test_a_node_that_is_not_there(root):
    run = Run(machine(root))
    assert run.status == 0, run.err
    assert "limits are not known" in run.out, run.out
    assert "No such file" in run.out, run.out
    assert Run(root, "--json").devices()[0]["error"]


def test_a_node_that_is_none(root):
    machine(root)
    write(root / "dev/dri/renderD129", "")
    run = Run(root, "--json")
    assert run.status == 0 and run.devices()[0]["limits"] is None, run.out


def test_only_our_nodes_are_opened(root):
    machine(root)
    for name in ("renderD128", "renderD129"):
        write(root / "dev/dri" / name, "")
    with Opened(root / "dev/dri") as opened:
        Run(root)
        assert opened.names() == {"renderD129"}, opened.names()
    with Opened(root / "dev/dri") as opened:
        Run(root, "--no-open")
        assert opened.names() == set()


def test_no_device_of_ours(root):
    run = Run(machine(root, ours=False), "--json")
    assert run.status == 3 and run.devices() == [], run.out
    assert "no virtio-buf device" in run.err, run.err


def test_no_drm(root):
    (root / "proc").mkdir()
    run = Run(root)
    assert (run.status, run.out) == (3, ""), run.out


def test_no_proc(root):
    machine(root)
    for path in sorted(root.glob("proc/**/*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / "proc").rmdir()
    run = Run(root)
    assert run.status == 1 and "/proc" in run.err, run.err


def test_wrong_usage(root):
    assert Run(root, "--nonsense").status == 2
    run = Run(root, "word")
    assert run.status == 2 and "word" in run.err, run.err


def test_help_and_version(root):
    run = Run(root, "--help")
    assert run.status == 0 and "Usage: virtio-buf-devices" in run.out
    run = Run(root, "--version")
    assert run.status == 0 and run.out.startswith("virtio-buf-devices "), run


def main():
    tests = [(name[5:], function) for name, function in globals().items()
             if name.startswith("test_")]
    print(f"1..{len(tests)}")
    failed = False
    for number, (name, function) in enumerate(tests, 1):
        with tempfile.TemporaryDirectory() as folder:
            try:
                function(pathlib.Path(folder))
                result = "ok"
            except Exception as error:
                result, failed = "not ok", True
                print(f"# {type(error).__name__}: {error}".replace("\n", " "))
        print(f"{result} {number} - {name.replace('_', ' ')}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
