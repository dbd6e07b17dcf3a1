# SPDX-License-Identifier: GPL-2.0-or-later
"""A consumer of the guest's tests, straight from the protocol's text.

    peer.py --consumer SOCKET APPLICATION   reads every update and releases it,
                                            but not if it has CHECKSUM as a
                                            property and other contents
    peer.py --holder SOCKET APPLICATION     attaches everything, releases
                                            nothing, and answers a REMOVE only
                                            after HOLD seconds
    peer.py --writer SOCKET APPLICATION     attaches to write, and turns over
                                            each bit of an update's payload

Uses neither libvirtio-buf nor anything but Python, on purpose: it is a
second reading of docs/interop/virtio-buf.rst.  Ends when the server does.
"""

import array
import mmap
import os
import select
import socket
import struct
import sys
import time
import zlib

MAGIC, MAJOR, MINOR = 0x46554256, 1, 0
HELLO, SUBSCRIBE, ATTACH, DETACH, RELEASE, REMOVED, WRITTEN = range(1, 8)
ERROR, BUFFER, SUBSCRIBED, ATTACHED, UPDATE, REMOVE, LOST, RESET = (
    64, 66, 67, 68, 70, 72, 73, 74)
# Flags of SUBSCRIBE and ATTACH
SUBSCRIBE_WRITER, ATTACH_WRITER = 2, 1
NAME_SIZE = 64
CREDIT = 256
# The Adler-32 of an update's payload, in decimal; see tests/guest/content.c
CHECKSUM = b"virtbuf-test.adler32"
FRAME = struct.Struct("<QIIQQQQQHHI")
KEYFRAME, CLOCK_STREAM = 1, 1
STEP = 1000000          # nanoseconds from frame to frame
# Long enough to be seen as pending, shorter than the server's patience, which
# would end in a disconnection in the middle of the next test.
HOLD = 1.0


def properties(records) -> dict:
    """Name to value."""
    found, place = {}, 0
    while place < len(records):
        name, _flags, value = struct.unpack_from("<HHI", records, place)
        text = records[place + 8:place + 8 + name + value]
        found[text[:name]] = text[name:]
        place += (8 + name + value + 7) & ~7
    return found


class Peer:
    def __init__(self, path, application, role):
        self.holder = role == "--holder"
        self.writer = role == "--writer"
        self.serials = {}       # of what was written, by buffer
        self.maps = {}
        self.answers = []       # (when, buffer): REMOVED that is due then
        self.fds = []
        self.data = b""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self.send(HELLO, struct.pack("<IHHQ", MAGIC, MAJOR, MINOR, 0))
        self.send(SUBSCRIBE, struct.pack(
            "<IIII", SUBSCRIBE_WRITER if self.writer else 0,
            0 if self.writer else CREDIT, 1, 0)
                  + application.encode().ljust(NAME_SIZE, b"\0"))

    def send(self, kind, body):
        self.socket.sendall(struct.pack("<II", kind, 8 + len(body)) + body)

    def receive(self):
        """The next message's type and body; None at the end."""
        while True:
            if len(self.data) >= 8:
                kind, size = struct.unpack_from("<II", self.data)
                if not 8 <= size <= 65536:
                    raise ValueError(f"message of {size} bytes")
                if len(self.data) >= size:
                    body, self.data = self.data[8:size], self.data[size:]
                    return kind, body
            self.answer()
            if not select.select([self.socket], [], [], 0.1)[0]:
                continue
            data, ancillary, flags, _ = self.socket.recvmsg(
                65536, socket.CMSG_SPACE(64), socket.MSG_CMSG_CLOEXEC)
            if flags & socket.MSG_CTRUNC:
                raise ValueError("truncated control message")
            for level, kind, raw in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds = array.array("i")
                    fds.frombytes(raw[:len(raw) - len(raw) % fds.itemsize])
                    self.fds += fds
            if not data:
                return None
            self.data += data

    def answer(self):
        """Say REMOVED where it is due."""
        while self.answers and self.answers[0][0] <= time.monotonic():
            _when, buffer = self.answers.pop(0)
            if buffer in self.maps:
                self.drop(buffer)
                self.send(REMOVED, struct.pack("<Q", buffer))

    def drop(self, buffer):
        memory = self.maps.pop(buffer, None)
        if memory is not None:
            memory.close()

    def read(self, memory, frame):
        """Whether the contents are what the guest says they are."""
        # One byte of each page, as a reader would touch them.
        sum(memory[::4096])
        fields = FRAME.unpack_from(frame)
        offset, size = fields[3:5]
        place = FRAME.size + 16 * (fields[8] + fields[9])
        wanted = properties(frame[place:place + fields[10]]).get(CHECKSUM)
        if wanted is None:
            return True
        seen = zlib.adler32(memory[offset:offset + size])
        if seen != int(wanted):
            print(f"the checksum is {seen}, not {int(wanted)}", flush=True)
        return seen == int(wanted)

    def write(self, buffer, frame):
        """Turns the payload over and says so; see tests/guest/writer.c"""
        memory = self.maps[buffer]
        offset, size = FRAME.unpack_from(frame)[3:5]
        memory[offset:offset + size] = bytes(
            byte ^ 0xff for byte in memory[offset:offset + size])
        serial = self.serials[buffer] = self.serials.get(buffer, 0) + 1
        title = struct.pack("<HHI", 5, 0, 7) + b"titlewritten\0\0\0\0"
        self.send(WRITTEN, struct.pack("<Q", buffer) + FRAME.pack(
            serial, KEYFRAME, CLOCK_STREAM, offset, size, serial * STEP, STEP,
            time.monotonic_ns(), 1, 1, len(title))
            + struct.pack("<IIIIQQ", 1, 2, 3, 4, offset, size) + title)

    def handle(self, kind, body):
        if kind == ATTACHED:
            buffer, size = struct.unpack_from("<QQ", body)
            fd = self.fds.pop(0)
            self.maps[buffer] = mmap.mmap(
                fd, size, mmap.MAP_SHARED, mmap.PROT_READ
                | (mmap.PROT_WRITE if self.writer else 0))
            os.close(fd)
        elif kind == BUFFER and self.writer:
            buffer, = struct.unpack_from("<Q", body)
            self.send(ATTACH, struct.pack("<QQII", buffer, 0, ATTACH_WRITER,
                                          0))
        elif kind == UPDATE and self.writer:
            buffer, = struct.unpack_from("<Q", body)
            serial, = struct.unpack_from("<Q", body, 16)
            self.write(buffer, body[16:])
            self.send(RELEASE, struct.pack("<QQ", buffer, serial))
        elif kind == UPDATE and not self.holder:
            buffer, = struct.unpack_from("<Q", body)
            if self.read(self.maps[buffer], body[16:]):
                serial, = struct.unpack_from("<Q", body, 16)
                self.send(RELEASE, struct.pack("<QQ", buffer, serial))
        elif kind == REMOVE:
            buffer, = struct.unpack_from("<Q", body)
            due = time.monotonic() + (HOLD if self.holder else 0)
            self.answers.append((due, buffer))
            self.answer()
        elif kind == RESET:
            for buffer in list(self.maps):
                self.drop(buffer)
        elif kind == ERROR:
            print("error:", body[8:].split(b"\0")[0].decode(), flush=True)

    def run(self):
        while (message := self.receive()) is not None:
            print(time.monotonic(), message[0], len(message[1]), flush=True)
            self.handle(*message)


def main():
    role, path, application = sys.argv[1:]
    while True:
        try:
            Peer(path, application, role).run()
        except OSError as error:
            print(error, flush=True)
        # The server disconnects a holder that misses a deadline: the tests
        # go on, so it comes back.
        if not os.path.exists(path):
            return 0
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
