# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be built, by name: each part's steps and where its result is."""

import static
import wayland
from apt import NEWER_SUITES, PrivateApt
from host import Host
from kernel import (Driver, Root, StockKernel, debug_kernel,
                    newest_kernel)
from media import Media
from package import Package
from qemu import Qemu


class Parts:
    def __init__(self, lab):
        self.lab = lab
        self.apt = PrivateApt(lab)
        self.qemu = Qemu(lab, self.apt)
        self.root = Root(lab, self.apt)
        self.stock = StockKernel(lab, self.root)
        self.driver = Driver(lab, self.root)
        self.debug = debug_kernel(lab, self.apt)
        newer = PrivateApt(lab, "apt-newer", NEWER_SUITES)
        self.new = newest_kernel(lab, newer, debug=False)
        self.new_debug = newest_kernel(lab, newer, debug=True)
        self.package = Package(lab, self.root)
        self.host = Host(lab, self.qemu)
        self.media = Media(lab, self.apt)
        self.wayland = wayland.Client(lab)
        # name: (steps, place of the result)
        self.table = {
            "qemu": (lambda: self.qemu.steps(["qemu"]),
                     lambda: self.qemu.output("qemu")),
            "qemu-asan": (lambda: self.qemu.steps(["qemu-asan"]),
                          lambda: self.qemu.output("qemu-asan")),
            "host": (lambda: self.host.steps("host"), self.host.place),
            "qemu-fuzz": (lambda: self.qemu.steps(["qemu-fuzz"]),
                          lambda: self.qemu.output("qemu-fuzz")),
            "host-asan": (lambda: self.host.steps("host-asan"),
                          lambda: self.host.folder("host-asan")),
            "host-fuzz": (lambda: self.host.steps("host-fuzz"),
                          lambda: self.host.folder("host-fuzz")),
            "stock": (self.stock.steps, self.stock.place),
            "driver": (self.driver.steps, self.driver.place),
            "package": (self.package.steps, self.package.place),
            "linux-debug": (self.debug.steps, self.debug.place),
            "linux-new": (self.new.steps, self.new.place),
            "linux-new-debug": (self.new_debug.steps, self.new_debug.place),
            "media": (self.media.steps, lambda: self.media.path),
            "wayland-client": (self.wayland.steps, self.wayland.place),
            "qemu-source": (self.qemu.source_steps, lambda: self.qemu.src),
            "linux-source": (self.debug.source_steps,
                             lambda: self.debug.src),
            "static-tools": (static.tool_steps, static.tool_place),
        }

    @staticmethod
    def names() -> list:
        """What tools/lab build makes when nothing is named, without what
        only tools/lab fuzz and --long need."""
        return ["qemu", "qemu-asan", "host", "host-asan", "stock", "driver",
                "package", "linux-debug", "media", "qemu-source",
                "linux-source", "static-tools", "wayland-client"]

    @classmethod
    def all_names(cls) -> list:
        return cls.names() + ["qemu-fuzz", "host-fuzz", "linux-new",
                              "linux-new-debug"]

    def steps(self, names) -> list:
        """Each step once, in an order in which they can be done."""
        found = {}
        for name in names:
            before = set()
            for step in self.table[name][0]():
                step = found.setdefault(step.slug, step)
                step.needs |= before
                before.add(step.slug)
        return list(found.values())

    def place(self, name):
        return self.table[name][1]()
