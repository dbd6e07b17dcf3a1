# SPDX-License-Identifier: GPL-2.0-or-later
"""Our files in a source tree of QEMU or Linux, and out of it again.

A tree is unpacked once and then kept; before a file of it is first changed,
its pristine form is put aside.  Every run computes what each touched file
must hold and writes only what differs, so that ninja and make see exactly
what has changed.  What an earlier run put there and this one does not is
taken out again.
"""

import json
import pathlib
import re
import shutil
import tempfile

import env

# What the kernel's header becomes in QEMU's tree: the same as QEMU's
# scripts/update-linux-headers.sh makes of it (its cp_portable function).
PORTABLE = (
    (r"__aligned_u64", "__u64 __attribute__((aligned(8)))"),
    (r"__u(\d+)", r"uint\1_t"),
    (r"(?<![\w])u(8|16|32|64)\b", r"uint\1_t"),
    (r"__s(\d+)", r"int\1_t"),
    (r"__[lb]e(\d+)", r"uint\1_t"),
    (r"<linux/([^>]*)>", r'"standard-headers/linux/\1"'),
    (r"__bitwise", ""),
    (r"__attribute__\(\(packed\)\)", "QEMU_PACKED"),
    (r"__inline__", "inline"),
)


def portable(text) -> str:
    for pattern, new in PORTABLE:
        text = re.sub(pattern, new, text)
    return text


def patched_files(patch_text) -> list:
    """The paths that a patch with a/ and b/ prefixes changes."""
    return re.findall(r"^\+\+\+ b/(\S+)", patch_text, re.MULTILINE)


class Tree:
    """One kept source tree with our files in it."""

    def __init__(self, root):
        self.root = root
        self.aside = root.with_name(root.name + ".pristine")
        self.manifest = root.with_name(root.name + ".overlay.json")

    def pristine(self, name) -> bytes:
        """What the file held before we came; None when it did not exist."""
        kept = self.aside / name
        if kept.exists():
            return kept.read_bytes()
        if name in self.listed():
            return None
        path = self.root / name
        return path.read_bytes() if path.exists() else None

    def listed(self) -> dict:
        try:
            return json.loads(self.manifest.read_text())
        except OSError:
            return {}

    def apply(self, files, patches, log):
        """Make the tree hold `files` ({path: bytes}) and the patches; a
        value that is callable gets the (patched) old contents."""
        wanted = {k: v for k, v in files.items() if not callable(v)}
        with tempfile.TemporaryDirectory() as scratch:
            scratch = pathlib.Path(scratch)
            touched = []
            for patch in patches:
                touched += patched_files(patch.read_text())
            for name in touched:
                path = scratch / name
                path.parent.mkdir(parents=True, exist_ok=True)
                old = self.pristine(name)
                if old is not None:
                    path.write_bytes(old)
            for patch in patches:
                env.run(["patch", "-p1", "-N", "--no-backup-if-mismatch",
                         "-d", scratch, "-i", patch], log)
            for name in touched:
                if (scratch / name).exists():
                    wanted[name] = (scratch / name).read_bytes()
        for name, change in files.items():
            if callable(change):
                old = wanted.get(name)
                if old is None:
                    old = self.pristine(name) or b""
                wanted[name] = change(old)
        self.write(wanted)

    def write(self, wanted):
        before = self.listed()
        kept_aside = {}
        for name in sorted(set(before) | set(wanted)):
            old = self.pristine(name)
            kept_aside[name] = old is not None
            if old is not None and not (self.aside / name).exists():
                path = self.aside / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(old)
        # The list is written before the files: an interrupted run is undone
        # or completed by the next one.
        new = self.manifest.with_name(self.manifest.name + ".new")
        new.write_text(json.dumps(
            {**before, **{n: kept_aside[n] for n in wanted}}, indent=1))
        new.replace(self.manifest)
        for name in wanted:
            path = self.root / name
            if path.exists() and path.read_bytes() == wanted[name]:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(wanted[name])
        for name in set(before) - set(wanted):
            path = self.root / name
            if kept_aside[name]:
                path.write_bytes((self.aside / name).read_bytes())
            elif path.exists():
                path.unlink()
        new.write_text(json.dumps({n: kept_aside[n] for n in wanted},
                                  indent=1))
        new.replace(self.manifest)


def copy_tree(source, target):
    """A private copy of a source tree that the user named."""
    fresh = target.with_name(target.name + ".new")
    forget(target)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    shutil.copytree(source, fresh, symlinks=True, dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns(".git", "*.o"))
    fresh.rename(target)


def copy_kept(source, target):
    """A second tree like a kept one, with what is known about it."""
    forget(target)
    fresh = target.with_name(target.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    old, new = Tree(source), Tree(target)
    if old.aside.exists():
        shutil.copytree(old.aside, new.aside)
    if old.manifest.exists():
        shutil.copyfile(old.manifest, new.manifest)
    shutil.copytree(source, fresh, symlinks=True)
    fresh.rename(target)


def forget(target):
    """Remove a tree and what is known about it."""
    tree = Tree(target)
    for path in (target, tree.aside):
        shutil.rmtree(path, ignore_errors=True)
    if tree.manifest.exists():
        tree.manifest.unlink()
