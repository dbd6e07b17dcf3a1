# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-buf-wayland with a device that is not there, and clients that speak
the wire themselves: pools that grow, that cannot be changed or are no whole
pages, several pictures in one, and clients that lie.

    wayland-test.py PROGRAM     writes TAP
"""

import array
import contextlib
import fcntl
import os
import socket
import struct
import subprocess
import sys
import tempfile

F_ADD_SEALS, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW = 1033, 1, 2, 4
LIMIT = 60


class Died(Exception):
    """The compositor ended the connection; what it said."""


class Client:
    """Objects are numbered by hand: 1 display, 2 registry, 3 sync."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(LIMIT)
        self.socket.connect(path)
        self.data, self.next, self.events = b"", 3, []
        self.globals = {}
        self.send(1, 1, struct.pack("<I", 2))
        self.sync()
        for object_, opcode, body in self.events:
            if (object_, opcode) == (2, 0):
                name, length = struct.unpack_from("<II", body)
                self.globals[body[8:8 + length - 1].decode()] = name
        self.compositor = self.bind("wl_compositor", 4)
        self.shm = self.bind("wl_shm", 1)

    def new_id(self):
        self.next += 1
        return self.next - 1

    def send(self, object_, opcode, body=b"", fd=None):
        data = struct.pack("<II", object_, (8 + len(body)) << 16 | opcode)
        extra = [] if fd is None else [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                                        array.array("i", [fd]))]
        # Who was disconnected reads why.
        with contextlib.suppress(ConnectionError):
            self.socket.sendmsg([data + body], extra)

    def bind(self, name, version):
        new = self.new_id()
        text = name.encode() + b"\0"
        self.send(2, 0, struct.pack("<II", self.globals[name], len(text))
                  + text + b"\0" * (-len(text) % 4)
                  + struct.pack("<II", version, new))
        return new

    def read(self):
        """Whole events: object, opcode, body."""
        try:
            new = self.socket.recv(65536)
        except ConnectionError:
            new = b""
        if not new:
            raise Died("no error")
        self.data += new
        while len(self.data) >= 8:
            object_, word = struct.unpack_from("<II", self.data)
            if len(self.data) < word >> 16:
                break
            body, self.data = (self.data[8:word >> 16],
                               self.data[word >> 16:])
            self.events.append((object_, word & 0xffff, body))
            if (object_, word & 0xffff) == (1, 0):
                code = struct.unpack_from("<I", body, 4)[0]
                raise Died(f"error {code}")

    def wait(self, object_, opcode):
        while True:
            for event in self.events:
                if event[:2] == (object_, opcode):
                    self.events.remove(event)
                    return event[2]
            self.read()

    def sync(self):
        new = self.new_id()
        self.send(1, 0, struct.pack("<I", new))
        self.wait(new, 0)

    def pool(self, size, file_size=None, seals=F_SEAL_SHRINK):
        fd = os.memfd_create("pool", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
        os.ftruncate(fd, size if file_size is None else file_size)
        fcntl.fcntl(fd, F_ADD_SEALS, seals)
        new = self.new_id()
        self.send(self.shm, 0, struct.pack("<Ii", new, size), fd)
        self.fd = fd
        return new

    def buffer(self, pool, offset, width, height, stride, form=1):
        new = self.new_id()
        self.send(pool, 0, struct.pack("<IiiiiI", new, offset, width, height,
                                       stride, form))
        return new

    def surface(self):
        new = self.new_id()
        self.send(self.compositor, 0, struct.pack("<I", new))
        return new

    def show(self, surface, buffer, rect=None):
        self.send(surface, 1, struct.pack("<Iii", buffer, 0, 0))
        if rect:
            self.send(surface, 9, struct.pack("<iiii", *rect))
        self.send(surface, 6)


class Compositor:
    def __init__(self, program):
        self.folder = tempfile.TemporaryDirectory(prefix="vbuf-")
        self.node = os.path.join(self.folder.name, "node")
        os.mkfifo(self.node)
        self.child = subprocess.Popen(
            [program, "--device", self.node, "--socket", "w"],
            stdout=subprocess.PIPE, text=True, env=dict(
                os.environ, XDG_RUNTIME_DIR=self.folder.name))
        self.lines = []
        self.expect("WAYLAND_DISPLAY=w")

    def client(self):
        return Client(os.path.join(self.folder.name, "w"))

    def expect(self, wanted):
        """Its next line."""
        line = self.child.stdout.readline().rstrip("\n")
        if line != wanted:
            raise AssertionError(f"it said {line!r}, not {wanted!r}")

    def end(self):
        """Ends well; what it had not been asked for."""
        self.child.terminate()
        rest, _ = self.child.communicate(timeout=LIMIT)
        self.folder.cleanup()
        if self.child.returncode:
            raise AssertionError(f"exit status {self.child.returncode}")
        return rest.splitlines()


def whole_pages(compositor):
    """A pool that is no page multiple grows; a frame is asked for and comes."""
    client = compositor.client()
    pool = client.pool(64 * 50 * 4)
    surface = client.surface()
    frame = client.new_id()
    client.send(surface, 3, struct.pack("<I", frame))
    client.show(surface, client.buffer(pool, 0, 64, 50, 256), (0, 10, 64, 5))
    compositor.expect("udmabuf of 16384")
    compositor.expect("register 1: 16384 bytes, stream 1")
    compositor.expect("update 1: 12800 at 0, 1 rectangles")
    client.wait(frame, 0)
    assert os.fstat(client.fd).st_size == 16384


def cannot_grow(compositor):
    client = compositor.client()
    pool = client.pool(12800, seals=F_SEAL_SHRINK | F_SEAL_GROW)
    client.show(client.surface(), client.buffer(pool, 0, 64, 50, 256))
    compositor.expect("pages of 16384")
    compositor.expect("register 1: 16384 bytes, stream 1")
    compositor.expect("update 1: 12800 at 0, 0 rectangles")


def cannot_be_sealed(compositor):
    client = compositor.client()
    pool = client.pool(16384, seals=F_SEAL_SEAL)
    client.show(client.surface(), client.buffer(pool, 0, 64, 64, 256))
    compositor.expect("pages of 16384")
    compositor.expect("register 1: 16384 bytes, stream 1")
    compositor.expect("update 1: 16384 at 0, 0 rectangles")


def two_in_one_pool(compositor):
    """They share one buffer, and the first is released for the second."""
    client = compositor.client()
    pool, surface = client.pool(32768), client.surface()
    one = client.buffer(pool, 0, 64, 64, 256)
    other = client.buffer(pool, 16384, 64, 64, 256)
    client.show(surface, one)
    compositor.expect("udmabuf of 32768")
    compositor.expect("register 1: 32768 bytes, stream 1")
    compositor.expect("update 1: 16384 at 0, 0 rectangles")
    client.sync()
    client.show(surface, other)
    compositor.expect("update 1: 16384 at 16384, 0 rectangles")
    client.wait(one, 0)
    client.show(surface, one)
    compositor.expect("update 1: 16384 at 0, 0 rectangles")
    client.wait(other, 0)


def pool_grows(compositor):
    """A new buffer of the stream, when the old one has been let go."""
    client = compositor.client()
    pool, surface = client.pool(16384), client.surface()
    client.show(surface, client.buffer(pool, 0, 64, 64, 256))
    compositor.expect("udmabuf of 16384")
    compositor.expect("register 1: 16384 bytes, stream 1")
    compositor.expect("update 1: 16384 at 0, 0 rectangles")
    client.sync()
    os.ftruncate(client.fd, 65536)
    client.send(pool, 2, struct.pack("<i", 65536))
    client.show(surface, client.buffer(pool, 32768, 64, 64, 256))
    compositor.expect("unregister 1")
    compositor.expect("unregister 1: freed")
    compositor.expect("udmabuf of 65536")
    compositor.expect("register 2: 65536 bytes, stream 1")
    compositor.expect("update 2: 16384 at 32768, 0 rectangles")


def other_size(compositor):
    client = compositor.client()
    pool, surface = client.pool(16384), client.surface()
    client.show(surface, client.buffer(pool, 0, 64, 64, 256))
    compositor.expect("udmabuf of 16384")
    compositor.expect("register 1: 16384 bytes, stream 1")
    compositor.expect("update 1: 16384 at 0, 0 rectangles")
    client.show(surface, client.buffer(pool, 0, 32, 32, 128))
    compositor.expect("unregister 1")
    compositor.expect("unregister 1: freed")
    compositor.expect("udmabuf of 16384")
    compositor.expect("register 2: 16384 bytes, stream 1")
    compositor.expect("update 2: 4096 at 0, 0 rectangles")


def gone_while_shown(compositor):
    """Buffer, pool and client go; the memory is taken back."""
    client = compositor.client()
    pool, surface = client.pool(16384), client.surface()
    buffer = client.buffer(pool, 0, 64, 64, 256)
    client.show(surface, buffer)
    compositor.expect("udmabuf of 16384")
    compositor.expect("register 1: 16384 bytes, stream 1")
    compositor.expect("update 1: 16384 at 0, 0 rectangles")
    client.send(buffer, 0)
    client.send(pool, 1)
    client.sync()
    compositor.expect("unregister 1")
    client.socket.close()
    other = compositor.client()
    other.show(other.surface(), other.buffer(other.pool(4096), 0, 32, 32,
                                             128))
    compositor.expect("unregister 1: freed")
    compositor.expect("udmabuf of 4096")


def must_die(client, *said):
    try:
        client.sync()
    except Died as end:
        assert str(end) in said, str(end)
        return
    raise AssertionError("a lie was believed")


def lies(compositor):
    """Each ends its client, and nobody else."""
    for buffer in ((0, 64, 65, 256), (-1, 64, 64, 256), (4096, 64, 64, 256),
                   (0, 64, 64, 255), (0, 0, 64, 256), (0, 64, -1, 256),
                   (0, 1 << 29, 1, -(1 << 31)), (0, 64, 1 << 30, 256),
                   (0x7fffffff, 64, 64, 256)):
        client = compositor.client()
        client.buffer(client.pool(16384), *buffer)
        must_die(client, "error 1")
    client = compositor.client()
    client.buffer(client.pool(16384), 0, 64, 64, 256, 0x34325258)
    must_die(client, "error 0")
    for size, file_size in ((16384, 4096), (0, 4096), (-4096, 4096)):
        client = compositor.client()
        client.pool(size, file_size)
        must_die(client, "error 2")
    for size in (8192, 0, -1, 1 << 30):
        client = compositor.client()
        client.send(client.pool(16384), 2, struct.pack("<i", size))
        must_die(client, "error 2")
    # A request that there is not, an object that there is not
    client = compositor.client()
    client.send(client.shm, 99)
    must_die(client, "error 1", "error 3")
    client = compositor.client()
    client.send(999, 0)
    must_die(client, "error 0", "error 1")
    compositor.client().sync()


def damage_is_clipped(compositor):
    client = compositor.client()
    pool, surface = client.pool(16384), client.surface()
    for rect in ((-5, -5, 10, 10), (60, 60, 1 << 30, 1 << 30),
                 (-(1 << 31), 0, 0x7fffffff, 5), (64, 0, 9, 9),
                 (0, 0, -1, 5)):
        client.send(surface, 9, struct.pack("<iiii", *rect))
    client.show(surface, client.buffer(pool, 0, 64, 64, 256))
    compositor.expect("udmabuf of 16384")
    compositor.expect("register 1: 16384 bytes, stream 1")
    compositor.expect("update 1: 16384 at 0, 2 rectangles")


TESTS = [whole_pages, cannot_grow, cannot_be_sealed, two_in_one_pool,
         pool_grows, other_size, gone_while_shown, lies, damage_is_clipped]


def main():
    failed = 0
    print(f"TAP version 13\n1..{len(TESTS)}")
    for number, test in enumerate(TESTS, 1):
        why = ""
        compositor = Compositor(sys.argv[1])
        try:
            test(compositor)
        except (AssertionError, Died, OSError) as error:
            why = f"{type(error).__name__}: {error}"
        try:
            compositor.end()
        except (AssertionError, subprocess.TimeoutExpired) as error:
            why = why or str(error)
        failed += bool(why)
        print(f"{'not ok' if why else 'ok'} {number} - {test.__name__}"
              + (f"\n# {why}" if why else ""), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
