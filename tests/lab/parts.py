# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be built, by name: each part's steps and where its result is."""

from apt import PrivateApt
from kernel import DebugKernel, Driver, Root, StockKernel
from qemu import Qemu


class Parts:
    def __init__(self, lab):
        self.lab = lab
        self.apt = PrivateApt(lab)
        self.qemu = Qemu(lab, self.apt)
        self.root = Root(lab, self.apt)
        self.stock = StockKernel(lab, self.root)
        self.driver = Driver(lab, self.root)
        self.debug = DebugKernel(lab, self.apt)
        # name: (steps, place of the result)
        self.table = {
            "qemu": (lambda: self.qemu.steps(["qemu"]),
                     lambda: self.qemu.output("qemu")),
            "qemu-asan": (lambda: self.qemu.steps(["qemu-asan"]),
                          lambda: self.qemu.output("qemu-asan")),
            "stock": (self.stock.steps, self.stock.place),
            "driver": (self.driver.steps, self.driver.place),
            "linux-debug": (self.debug.steps, self.debug.place),
            "qemu-source": (self.qemu.source_steps, lambda: self.qemu.src),
            "linux-source": (self.debug.source_steps,
                             lambda: self.debug.src),
        }

    @staticmethod
    def names() -> list:
        return ["qemu", "qemu-asan", "stock", "driver", "linux-debug",
                "qemu-source", "linux-source"]

    def steps(self, names) -> list:
        """Each step once, in an order in which they can be done."""
        found = {}
        for name in names:
            for step in self.table[name][0]():
                found.setdefault(step.slug, step)
        return list(found.values())

    def place(self, name):
        return self.table[name][1]()
