# SPDX-License-Identifier: GPL-2.0-or-later
"""Steps: what is done once, kept, and resumed.

A step has a name, a key and an action.  The key is a hash of everything
that its result depends on; it is written to the step's stamp as the very
last thing, so an interrupted step runs again and a finished one does not.
Steps that share files share a lock (flock, freed by the kernel when a lab
dies), so that several labs may use one cache at the same time.
"""

import contextlib
import dataclasses
import fcntl
import re
import sys
import time
import typing

import env

NINJA = re.compile(r"^\[(\d+)/(\d+)\]")
KBUILD = re.compile(r"^\s+(CC|AS|LD|AR|HOSTCC|HOSTLD)\s")


def clock(seconds) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


class Progress:
    """Where a step is: one line that updates itself on a terminal, else a
    new line every now and then."""

    def __init__(self, label, stream=sys.stdout, interval=15.0):
        self.label, self.stream, self.interval = label, stream, interval
        self.tty = stream.isatty()
        self.begin = time.monotonic()
        self.last = 0.0
        self.text = ""
        self.count = 0
        self.total = 0

    def line(self, ending=""):
        how_far = f" {self.text}" if self.text else ""
        return (f"{self.label}{how_far}{ending} "
                f"({clock(time.monotonic() - self.begin)})")

    def note(self, text, force=False):
        """Say what the step is at; rarely enough to be readable in a log."""
        self.text = text
        now = time.monotonic()
        if not force and now - self.last < (0.2 if self.tty
                                            else self.interval):
            return
        self.last = now
        if self.tty:
            self.stream.write("\r\x1b[K" + self.line())
        else:
            self.stream.write(self.line() + "\n")
        self.stream.flush()

    def begin_line(self):
        if self.tty:
            self.note("", force=True)
        else:
            self.last = time.monotonic()

    def finish(self, ending):
        self.text = ""
        self.stream.write(("\r\x1b[K" if self.tty else "")
                          + self.line(": " + ending) + "\n")
        self.stream.flush()

    def watch(self, line):
        """Take how far a build is from a line of its output."""
        found = NINJA.match(line)
        if found:
            self.note(f"{found[1]}/{found[2]}")
        elif KBUILD.match(line):
            self.count += 1
            about = f"/~{self.total}" if self.total >= self.count else ""
            self.note(f"{self.count}{about}")


@dataclasses.dataclass
class Step:
    name: str
    slug: str
    key: typing.Callable
    action: typing.Callable
    lock: str = ""
    estimate: float = 0.0       # minutes on two cores, when nothing is cached
    needs: set = dataclasses.field(default_factory=set)     # slugs
    packages: tuple = ()        # beyond those that every lab has


class Stamps:
    def __init__(self, folder):
        self.folder = folder

    def get(self, slug) -> str:
        try:
            return (self.folder / slug).read_text().strip()
        except OSError:
            return ""

    def put(self, slug, key):
        path = self.folder / slug
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + ".new")
        new.write_text(key + "\n")
        new.replace(path)

    def drop(self, slug):
        with contextlib.suppress(FileNotFoundError):
            (self.folder / slug).unlink()


@contextlib.contextmanager
def locked(lab, name, waiting=None):
    """Hold the lock of that name among all labs that use this cache."""
    path = lab.folder("locks") / name
    with open(path, "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                waiting("waiting for another lab")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def run_steps(lab, steps, stream=sys.stdout, on_failure=None):
    """Bring every step up to date, in order; a failure's message names the
    step.  With on_failure(step, error) the steps that do not depend on the
    failed one go on."""
    failed = set()
    for index, step in enumerate(steps, 1):
        label = f"[{index}/{len(steps)}] {step.name}"
        if failed & step.needs:
            failed.add(step.slug)
            continue
        try:
            run_step(lab, step, label, stream)
        except env.SetupError:
            raise
        except env.LabError as error:
            if not on_failure:
                raise
            failed.add(step.slug)
            on_failure(step, error)
    return failed


def run_step(lab, step, label, stream):
    stamps = Stamps(lab.folder("stamps"))
    if stamps.get(step.slug) == step.key():
        if lab.verbose:
            env.say(f"{label}: up to date")
        return
    progress = Progress(label, stream)
    progress.begin_line()
    with locked(lab, step.lock or step.slug,
                lambda text: progress.note(text, force=True)):
        key = step.key()
        if stamps.get(step.slug) == key:
            progress.finish("up to date (another lab did it)")
            return
        stamps.drop(step.slug)
        try:
            step.action(progress)
        except (env.LabError, OSError) as error:
            progress.finish("FAILED")
            kind = (type(error) if isinstance(error, env.SetupError)
                    else env.LabError)
            raise kind(f"{step.name} failed: {error}") from error
        except BaseException:
            progress.finish("interrupted; the next run goes on from here")
            raise
        # Asked again: the action may have met newer inputs, and says so.
        stamps.put(step.slug, step.key())
    progress.finish("done")


def pending(lab, steps) -> list:
    """The steps that are not up to date."""
    stamps = Stamps(lab.folder("stamps"))
    return [s for s in steps if stamps.get(s.slug) != s.key()]
