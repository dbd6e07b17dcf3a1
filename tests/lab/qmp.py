# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's monitor: commands, and the events that they lead to."""

import json
import socket

import env


class Monitor:
    """A QMP socket: one command at a time.  `limit`: seconds that QEMU may
    take for an answer, or for an event that is waited for."""

    def __init__(self, path, limit):
        self.events = []        # those that came while an answer was due
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(limit)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("r", encoding="utf-8")
        self.lines.readline()   # the greeting
        self.do("qmp_capabilities")

    def do(self, command, **arguments):
        self.socket.sendall(json.dumps(
            {"execute": command, "arguments": arguments}).encode())
        for line in self.lines:
            answer = json.loads(line)
            if "error" in answer:
                raise env.LabError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
            self.events.append(answer)
        raise env.LabError(f"{command}: QEMU has hung up")

    def wait(self, event, **wanted):
        """Take the next event of that name that says what is wanted."""
        while True:
            while self.events:
                found = self.events.pop(0)
                data = found.get("data", {})
                if found.get("event") == event and all(
                        data.get(k) == v for k, v in wanted.items()):
                    return
            line = self.lines.readline()
            if not line:
                raise env.LabError(f"{event}: QEMU has hung up")
            self.events.append(json.loads(line))

    def close(self):
        self.lines.close()
        self.socket.close()
