# SPDX-License-Identifier: GPL-2.0-or-later
"""What every part of the lab knows: the checkout, the cache, this machine.

Owns the cache folder's layout, the errors with their exit codes, and the
one way to run a command (always logged, always with its output's end shown
when it fails).  Nothing here knows what is built or tested.
"""

import concurrent.futures
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_SETUP = 3

TAIL_LINES = 30
KEPT_OUTPUTS = 4


class LabError(Exception):
    """A message for the user and the exit code that goes with it."""

    code = EXIT_FAILED


class SetupError(LabError):
    """This machine cannot do it: the message names the cure."""

    code = EXIT_SETUP


class UsageError(LabError):
    code = EXIT_USAGE


class CommandFailed(LabError):
    """A logged command ended with an error."""

    def __init__(self, cmd, status, log=None, tail=()):
        self.cmd, self.status = cmd, status
        self.log, self.tail = log, list(tail)
        text = f"{' '.join(map(str, cmd))}: exit status {status}"
        if self.tail:
            text += "\n" + "\n".join("    " + line for line in self.tail)
        if log:
            text += f"\nThe whole log: {log}"
        super().__init__(text)


def digest(*parts) -> str:
    """A key of strings, numbers, lists, and the contents of Path parts."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, pathlib.Path):
            part = part.read_bytes() if part.exists() else b"absent"
        elif not isinstance(part, bytes):
            part = repr(part).encode()
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:20]


def tree_files(*roots) -> list:
    """All files under the roots that exist, sorted, without build leavings."""
    found = []
    for root in roots:
        if root.is_file():
            found.append(root)
        elif root.is_dir():
            found += [p for p in root.rglob("*") if p.is_file()
                      and "__pycache__" not in p.parts
                      and not p.name.endswith((".swp", "~", ".o", ".orig"))]
    return sorted(found)


def tree_digest(*roots) -> str:
    """Of names and contents, wherever the trees are."""
    return digest(*[x for root in roots for path in tree_files(root)
                    for x in (str(path.relative_to(root.parent)), path)])


def tail_of(path, count=TAIL_LINES) -> list:
    try:
        with open(path, errors="replace") as stream:
            return [line.rstrip("\n") for line in stream][-count:]
    except OSError:
        return []


class Lab:
    """One invocation: its options, folders, and the machine it runs on."""

    def __init__(self, options):
        self.options = options
        self.top = pathlib.Path(__file__).resolve().parents[2]
        self.here = self.top / "tests" / "lab"
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser(
            "~/.cache")
        self.cache = pathlib.Path(base) / "virtio-buf"
        self.verbose = getattr(options, "verbose", False)
        self.jobs = os.cpu_count() or 1
        self.is_root = os.geteuid() == 0
        self.os_release = read_os_release()

    def folder(self, *names) -> pathlib.Path:
        path = self.cache.joinpath(*names)
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def codename(self) -> str:
        return self.os_release.get("VERSION_CODENAME", "")

    def output(self, name, key) -> pathlib.Path:
        """Where the result of that name and key is; with --no-build the
        newest of that name, when there is none with this key."""
        exact = self.folder("out") / f"{name}-{key}"
        if exact.exists() or not getattr(self.options, "no_build", False):
            return exact
        found = outputs(exact.parent, name)
        return found[0] if found else exact

    def prune_outputs(self, name):
        """Keep the newest few: older labs may still run what is in them.
        Called with the lock held that results of that name are made under,
        so what is half-made is a leftover."""
        folder = self.folder("out")
        for path in (outputs(folder, name)[KEPT_OUTPUTS:]
                     + list(folder.glob(f"{name}-*.new"))):
            shutil.rmtree(path, ignore_errors=True)

    def log_path(self, name) -> pathlib.Path:
        return self.folder("log") / (name.replace("/", "-") + ".log")

    def build_env(self, **more) -> dict:
        """The environment of compilers: this system's tools, our ccache."""
        env = dict(os.environ)
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "MAKEFLAGS",
                     "CFLAGS", "LDFLAGS", "CPPFLAGS", "CC", "ARCH"):
            env.pop(name, None)
        env["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
        env["LC_ALL"] = "C.UTF-8"
        env["CCACHE_DIR"] = str(self.cache / "ccache")
        env["CCACHE_MAXSIZE"] = "4G"
        env.update(more)
        return env

    def sudo(self, cmd) -> list:
        """cmd with root's rights; check_root() has made sure they exist."""
        return list(cmd) if self.is_root else ["sudo", "--"] + list(cmd)

    def can_be_root(self) -> bool:
        return self.is_root or shutil.which("sudo") is not None


def outputs(folder, name) -> list:
    """The results of that name, the newest first."""
    found = [p for p in folder.iterdir()
             if re.fullmatch(re.escape(name) + "-[0-9a-f]{20}", p.name)]
    return sorted(found, key=lambda p: p.stat().st_mtime, reverse=True)


def read_os_release() -> dict:
    values = {}
    try:
        with open("/etc/os-release") as stream:
            for line in stream:
                name, sep, value = line.strip().partition("=")
                if sep:
                    values[name] = value.strip("\"'")
    except OSError:
        pass
    return values


def output_of(cmd, **more) -> str:
    """The stripped output of a short command; CommandFailed with its error."""
    done = subprocess.run([str(c) for c in cmd], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, **more)
    if done.returncode:
        raise CommandFailed(cmd, done.returncode,
                            tail=done.stderr.splitlines()[-TAIL_LINES:])
    return done.stdout.strip()


# What run() and guests have started, in whichever thread.
RUNNING = set()


def stop_all():
    for child in list(RUNNING):
        stop_group(child)


def side_by_side(do, items, workers) -> list:
    """do(item) of all, in their order; if one raises, all are stopped."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        try:
            return list(pool.map(do, items))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            stop_all()
            raise


def run(cmd, log, on_line=None, limit=None, append=True, **more):
    """Run cmd, all its output into log; on_line sees each line of it.

    limit is in seconds.  The child is ended with us: it gets its own
    process group so that its whole family goes.
    """
    cmd = [str(c) for c in cmd]
    start = time.monotonic()
    with open(log, "ab" if append else "wb", buffering=0) as out:
        out.write(f"$ {' '.join(cmd)}\n".encode())
        child = subprocess.Popen(cmd, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT,
                                 start_new_session=True, **more)
        RUNNING.add(child)
        late = threading.Event()

        def expired():
            late.set()
            stop_group(child)
        timer = threading.Timer(limit, expired) if limit else None
        if timer:
            timer.start()
        try:
            for raw in child.stdout:
                out.write(raw)
                if on_line:
                    on_line(raw.decode(errors="replace").rstrip("\n"))
            status = child.wait()
        except BaseException:
            stop_group(child)
            raise
        finally:
            if timer:
                timer.cancel()
            RUNNING.discard(child)
            child.stdout.close()
        if late.is_set():
            status = f"stopped after {limit} seconds"
            out.write(status.encode() + b"\n")
    if status:
        raise CommandFailed(cmd, status, log, tail_of(log))
    return time.monotonic() - start


def stop_group(child, patience=5):
    """End a child that was started with start_new_session, and its family."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            pass
        except PermissionError:
            # It runs as root, through sudo.
            subprocess.run(["sudo", "-n", "kill", f"-{int(number)}", "--",
                            f"-{child.pid}"], stderr=subprocess.DEVNULL)
        try:
            child.wait(patience)
            break
        except subprocess.TimeoutExpired:
            continue


def say(text=""):
    print(text, flush=True)


def warn(text):
    print(text, file=sys.stderr, flush=True)
