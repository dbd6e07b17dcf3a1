# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's half of the attack on the taking back of buffers.

    hoarder.py SOCKET APPLICATION

Attaches everything and gives nothing back.  The server disconnects it when
the deadline has passed; it comes back for the next buffer.  That there is a
next one says that the last has been FREED: then it looks in what it kept of
that for what the guest has written since, the secret of
tests/guest/virtbuf-revoke.c, and writes into it.  Ends when the server does:
with 1 when it has seen a secret, with 2 when it never held a buffer.
"""

import mmap
import os
import struct
import sys
import time

import peer

SECRET = (0x5345435245542121).to_bytes(8, "little")
JUNK = b"hoarders"


class Hoard:
    """Writable maps of dma-bufs, oldest first."""

    def __init__(self):
        self.maps, self.held, self.secrets = [], 0, 0

    def add(self, fd, size):
        try:
            memory = mmap.mmap(fd, size, mmap.MAP_SHARED)
        except PermissionError:         # a copy, which is sealed
            memory = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
        self.maps.append(memory)
        self.held += 1

    def pillage(self):
        for memory in self.maps:
            if memory.find(SECRET) >= 0:
                self.secrets += 1
            try:
                memory[:] = JUNK * (len(memory) // len(JUNK))
            except TypeError:           # read-only
                pass
            memory.close()
        self.maps.clear()
        print(f"held {self.held} buffers, saw {self.secrets} secrets",
              flush=True)


class Hoarder(peer.Peer):
    def __init__(self, path, application, hoard):
        self.hoard = hoard
        super().__init__(path, application, True)

    def handle(self, kind, body):
        if kind == peer.ATTACHED:
            self.hoard.pillage()
            _buffer, size = struct.unpack_from("<QQ", body)
            fd = self.fds.pop(0)
            self.hoard.add(fd, size)
            os.close(fd)


def main():
    path, application = sys.argv[1:]
    hoard = Hoard()
    while os.path.exists(path):
        try:
            Hoarder(path, application, hoard).run()
        except OSError:
            pass
        time.sleep(0.02)
    hoard.pillage()
    return 1 if hoard.secrets else 0 if hoard.held else 2


if __name__ == "__main__":
    sys.exit(main())
