# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests of the lab's own logic; prints TAP.  Nothing is built or booted."""

import argparse
import contextlib
import io
import json
import os
import pathlib
import sys
import tempfile
import time
import unittest
import unittest.mock

import apt
import demo
import env
import fuzz
import initramfs
import inside
import kernel
import kunit
import levels
import media
import migrate
import overlay
import report
import static
import steps
import tasks
import vm

DEB822 = """\
# a comment of the image's maker
Types: deb
# http://old.example/
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBGPL0BUBEADmW5NdOOHwPIJlgPu6JDcKw/NZJPR8lsD3K87ZM18gzyQZJD+w
 -----END PGP PUBLIC KEY BLOCK-----
"""


def a_lab(folder):
    os.environ["XDG_CACHE_HOME"] = str(folder)
    return env.Lab(argparse.Namespace(no_build=False, verbose=False,
                                      no_install=True))


class Scratch(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.folder = pathlib.Path(place.name)
        before = os.environ.get("XDG_CACHE_HOME")
        self.addCleanup(lambda: os.environ.pop("XDG_CACHE_HOME", None)
                        if before is None
                        else os.environ.update(XDG_CACHE_HOME=before))


class AptEntries(unittest.TestCase):
    def test_deb822_keeps_all_but_what_chooses_the_suite(self):
        text = apt.Entry(DEB822, True).for_suites(["trixie", "x-backports"])
        self.assertEqual(text.splitlines(), [
            "Types: deb deb-src", "URIs: http://mirror.example/debian",
            "Suites: trixie x-backports", "Components: main", "Signed-By:",
            " -----BEGIN PGP PUBLIC KEY BLOCK-----", " .",
            " mQINBGPL0BUBEADmW5NdOOHwPIJlgPu6JDcKw/NZJPR8lsD3K87ZM18gzyQZJD"
            "+w",
            " -----END PGP PUBLIC KEY BLOCK-----"])

    def test_deb822_with_suites_over_two_lines(self):
        text = apt.Entry("Types: deb\nURIs: file:/x\nSuites: a\n b\n"
                         "Components: main\nTrusted: yes\n", True)
        self.assertEqual(text.for_suites(["trixie"]),
                         "Types: deb deb-src\nURIs: file:/x\n"
                         "Suites: trixie\nComponents: main\nTrusted: yes\n")

    def test_deb822_that_was_switched_off_is_on(self):
        text = apt.Entry("Types: deb\nURIs: u\nSuites: a\nComponents: b\n"
                         "Enabled: no\n", True).for_suites(["trixie"])
        self.assertNotIn("Enabled", text)

    def test_one_line_keeps_its_options(self):
        entry = apt.Entry("deb [signed-by=/k.gpg arch=amd64] "
                          "http://mirror.example/debian bookworm main x\n",
                          False)
        self.assertEqual(
            entry.for_suites(["trixie"]),
            "deb [signed-by=/k.gpg arch=amd64] http://mirror.example/debian "
            "trixie main\n"
            "deb-src [signed-by=/k.gpg arch=amd64] "
            "http://mirror.example/debian trixie main\n")

    def test_one_line_without_options(self):
        self.assertEqual(apt.parse_one_line("deb-src u://h/p s main"),
                         ("", "u://h/p"))

    def test_what_is_no_entry_is_refused(self):
        with self.assertRaises(env.SetupError):
            apt.parse_one_line("mirror bookworm main")

    def test_stanzas_are_counted_as_apt_counts_them(self):
        found = apt.stanzas("# only a comment\n\nTypes: a\n\n\nTypes: b\n# c")
        self.assertEqual(found, ["Types: a\n", "Types: b\n# c\n"])

    def test_debian_is_told_from_security_and_from_others(self):
        targets = "\n".join((
            "/l/vendor.list:1|bookworm|bookworm|Vendor|main",
            "/l/x.sources:1|nodistro|$(CODENAME)|$(LABEL)|main",
            "/l/x.sources:2|bookworm|bookworm|Debian|contrib",
            "/l/d.sources:1|bookworm-updates|bookworm-updates|Debian|main",
            "/l/d.sources:3|bookworm-security|bookworm-security|"
            "Debian-Security|main",
            "/l/d.sources:2|bookworm|bookworm|Debian|main"))
        self.assertEqual(apt.choose_entries(targets, "bookworm"),
                         ("/l/d.sources:2", "/l/d.sources:3"))

    def test_lists_that_were_never_downloaded(self):
        targets = ("/l/d.sources:1|trixie|$(CODENAME)|$(LABEL)|main\n"
                   "/l/d.sources:1|trixie-updates|$(CODENAME)|$(LABEL)|main")
        self.assertEqual(apt.choose_entries(targets, "trixie"),
                         ("/l/d.sources:1", None))

    def test_suite_named_stable(self):
        targets = "/l/d.list:4|stable|trixie|Debian|main"
        self.assertEqual(apt.choose_entries(targets, "trixie")[0],
                         "/l/d.list:4")

    def test_no_debian_at_all(self):
        self.assertEqual(apt.choose_entries("", "trixie"), (None, None))


class SourcePackages(Scratch):
    def test_a_partial_download_is_not_taken(self):
        dsc = self.folder / "x_1.dsc"
        dsc.write_text("Checksums-Sha256:\n " + "0" * 64 + " 4 x.tar.xz\n")
        self.assertFalse(apt.all_of_source(dsc))
        (self.folder / "x.tar.xz").write_bytes(b"abc")
        self.assertFalse(apt.all_of_source(dsc))
        (self.folder / "x.tar.xz").write_bytes(b"abcd")
        self.assertTrue(apt.all_of_source(dsc))


class Tap(unittest.TestCase):
    def results(self, text, **more):
        return [(c.name, c.result)
                for c in report.read_tap(text.splitlines(), **more)]

    def test_ok_not_ok_and_skip(self):
        text = ("TAP version 13\n1..3\nok 1 a\n# why\nnot ok 2 - b\n"
                "ok 3 c # SKIP no device\n")
        cases = report.read_tap(text.splitlines())
        self.assertEqual([(c.name, c.result, c.reason) for c in cases],
                         [("a", "ok", ""), ("b", "not ok", "why"),
                          ("c", "skip", "no device")])

    def test_zero_plan_is_a_failure(self):
        self.assertEqual(self.results("1..0\n"), [("plan", "not ok")])

    def test_zero_plan_with_a_reason_is_a_skip(self):
        self.assertEqual(self.results("1..0 # no udmabuf\n"),
                         [("plan", "skip")])

    def test_nothing_at_all_is_a_failure(self):
        self.assertEqual(self.results(""), [("plan", "not ok")])

    def test_a_run_that_was_cut_short_is_a_failure(self):
        self.assertEqual(self.results("1..2\nok 1 a\n"),
                         [("a", "ok"), ("plan", "not ok")])
        self.assertEqual(self.results("ok 1 a\n"),
                         [("a", "ok"), ("plan", "not ok")])

    def test_more_cases_than_planned_is_a_failure(self):
        self.assertEqual(self.results("1..1\nok 1 a\nok 2 b\n")[-1],
                         ("plan", "not ok"))

    def test_fewer_than_the_caller_knows_is_a_failure(self):
        self.assertEqual(self.results("1..1\nok 1 a\n", planned=2)[-1],
                         ("plan", "not ok"))

    def test_skip_without_a_reason_is_a_failure(self):
        self.assertEqual(self.results("1..1\nok 1 a # SKIP\n"),
                         [("a", "not ok")])

    def test_bail_out(self):
        self.assertIn(("bail out", "not ok"),
                      self.results("1..2\nok 1 a\nBail out! no device\n"))

    def test_subtests_are_their_parents(self):
        self.assertEqual(
            self.results("1..1\n    ok 1 inner\n    1..1\nok 1 outer\n"),
            [("outer", "ok")])


class Counting(unittest.TestCase):
    def closed(self, cases):
        out = io.StringIO()
        total = report.Report(out)
        total.begin("unit")
        total.add("unit", cases)
        total.end("unit")
        return total.close(), out.getvalue().splitlines()[-1]

    def test_the_closing_line(self):
        status, line = self.closed([
            report.Case("a", report.OK), report.Case("b", report.SKIPPED, "w"),
            report.Case("c", report.FAILED, "w")])
        self.assertEqual(line, "1 passed, 1 failed, 1 skipped")
        self.assertEqual(status, 1)

    def test_all_good(self):
        self.assertEqual(self.closed([report.Case("a", report.OK)]),
                         (0, "1 passed, 0 failed, 0 skipped"))

    def test_nothing_run_is_no_success(self):
        self.assertEqual(self.closed([]),
                         (1, "0 passed, 0 failed, 0 skipped"))
        self.assertEqual(
            self.closed([report.Case("a", report.SKIPPED, "w")])[0], 1)

    def test_json_has_every_case(self):
        total = report.Report(io.StringIO())
        total.begin("unit")
        total.add("unit", [report.Case("a", report.OK)])
        total.end("unit")
        got = json.loads(total.as_json())
        self.assertEqual((got["passed"], got["failed"]), (1, 0))
        self.assertEqual(got["levels"]["unit"]["cases"][0]["name"], "a")

    def test_a_unit_test_that_dies_fails(self):
        cases = levels.unit_cases(
            "x", {"result": "ERROR", "returncode": 1,
                  "stdout": "1..1\nok 1 a\n"}, "tap", "log")
        self.assertEqual([c.result for c in cases], ["ok", "not ok"])
        cases = levels.unit_cases(
            "x", {"result": "FAIL", "returncode": 1}, "exitcode", "log")
        self.assertEqual([c.result for c in cases], ["not ok"])


class Migration(unittest.TestCase):
    def test_progress_is_no_complaint(self):
        progress = " 9.9 fps, 126 frames, 64x48 YU12, zero-copy"
        self.assertEqual(migrate.words(["opy", progress, "", progress]), [])
        self.assertEqual(migrate.words([]), [])
        self.assertEqual(migrate.words(["", progress, "cannot update", ""]),
                         ["cannot update"])


class GuestSuites(unittest.TestCase):
    def test_suites_and_single_tests(self):
        self.assertEqual(levels.filter_of(("memory", "sleep/held")),
                         "memory/*,sleep/held")

    def test_shards(self):
        task = {"name": "guest", "params": {"arguments": "--x", "cpus": 2}}
        self.assertEqual(levels.in_shards(task, 1), [task])
        one, two = levels.in_shards(task, 2)
        self.assertEqual([one["name"], two["name"]], ["guest-1", "guest-2"])
        self.assertEqual(one["params"], {"arguments": "--x --shard 1/2",
                                         "cpus": 2})
        self.assertEqual(two["params"]["arguments"], "--x --shard 2/2")

    def test_side_by_side(self):
        self.assertEqual(env.side_by_side(str, [3, 1, 2], 2),
                         ["3", "1", "2"])
        with self.assertRaises(ZeroDivisionError):
            env.side_by_side(lambda n: 1 // n, [0, 1], 2)

    def test_a_missing_32_bit_program_fails(self):
        plain = [pathlib.Path("/out/virtbuf-test")]
        both = plain + [pathlib.Path("/out/virtbuf-test-32")]
        self.assertEqual(
            [c.result for c in levels.compat_case(plain)], ["not ok"])
        self.assertEqual(levels.compat_case(both), [])


class Steps(Scratch):
    def setUp(self):
        super().setUp()
        self.lab = a_lab(self.folder)
        self.ran = []
        self.out = io.StringIO()

    def step(self, slug, key="1", fails=None):
        def action(_progress):
            self.ran.append(slug)
            if fails:
                raise fails
        return steps.Step(slug, slug, lambda: key, action)

    def go(self, *todo, **more):
        return steps.run_steps(self.lab, todo, self.out, **more)

    def test_what_is_done_is_not_done_again(self):
        self.go(self.step("a"), self.step("b"))
        self.go(self.step("a"), self.step("b"))
        self.assertEqual(self.ran, ["a", "b"])

    def test_another_key_does_it_again(self):
        self.go(self.step("a"))
        self.go(self.step("a", key="2"))
        self.assertEqual(self.ran, ["a", "a"])

    def test_an_interrupted_step_is_resumed(self):
        with self.assertRaises(KeyboardInterrupt):
            self.go(self.step("a"), self.step("b", fails=KeyboardInterrupt()),
                    self.step("c"))
        self.go(self.step("a"), self.step("b"), self.step("c"))
        self.assertEqual(self.ran, ["a", "b", "b", "c"])

    def test_a_stamp_does_not_outlive_a_failed_rebuild(self):
        self.go(self.step("a"))
        with self.assertRaises(env.LabError):
            self.go(self.step("a", key="2", fails=env.LabError("no")))
        self.go(self.step("a"))
        self.assertEqual(self.ran, ["a", "a", "a"])

    def test_a_failure_names_the_step(self):
        with self.assertRaisesRegex(env.LabError, "a failed: no"):
            self.go(self.step("a", fails=env.LabError("no")))

    def test_what_does_not_depend_on_a_failure_goes_on(self):
        after = self.step("b")
        after.needs = {"a"}
        failed = self.go(self.step("a", fails=env.LabError("no")), after,
                         self.step("c"), on_failure=lambda *_: None)
        self.assertEqual((failed, self.ran), ({"a", "b"}, ["a", "c"]))

    def test_missing_rights_stop_everything(self):
        with self.assertRaises(env.SetupError):
            self.go(self.step("a", fails=env.SetupError("no")),
                    on_failure=lambda *_: None)

    def test_progress_of_ninja_and_kbuild(self):
        progress = steps.Progress("x", self.out, interval=0)
        progress.watch("[12/1463] Compiling C object a.o")
        self.assertIn("x 12/1463 (00:00)", self.out.getvalue())
        progress.watch("  CC      mm/slub.o")
        self.assertIn("x 1 (00:00)", self.out.getvalue())


class Commands(Scratch):
    def test_a_failure_shows_the_logs_end(self):
        log = self.folder / "log"
        with self.assertRaises(env.CommandFailed) as caught:
            env.run(["sh", "-c", "echo the reason; exit 7"], log)
        self.assertEqual(caught.exception.status, 7)
        self.assertIn("the reason", str(caught.exception))
        self.assertIn(str(log), str(caught.exception))

    def test_a_time_limit_ends_the_whole_family(self):
        log = self.folder / "log"
        with self.assertRaisesRegex(env.CommandFailed, "stopped after"):
            env.run(["sh", "-c", "sleep 60 & echo $!; wait"], log, limit=0.3)
        child = int(log.read_text().splitlines()[1])
        deadline = time.monotonic() + 5
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # Gone, or waiting for init to notice.
            while ") Z" not in pathlib.Path(f"/proc/{child}/stat").read_text():
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.02)


class Overlay(Scratch):
    def setUp(self):
        super().setUp()
        self.root = self.folder / "tree"
        self.root.mkdir()
        (self.root / "Makefile").write_text("one\ntwo\n")
        self.patch = self.folder / "a.patch"
        self.patch.write_text("--- a/Makefile\n+++ b/Makefile\n"
                              "@@ -1,2 +1,3 @@\n one\n two\n+three\n")
        self.tree = overlay.Tree(self.root)
        self.log = self.folder / "log"

    def text(self, name="Makefile"):
        return (self.root / name).read_text()

    def test_patch_and_new_file_come_and_go(self):
        self.tree.apply({"sub/new.c": b"new\n"}, [self.patch], self.log)
        self.assertEqual(self.text(), "one\ntwo\nthree\n")
        self.assertEqual(self.text("sub/new.c"), "new\n")
        self.tree.apply({}, [], self.log)
        self.assertEqual(self.text(), "one\ntwo\n")
        self.assertFalse((self.root / "sub/new.c").exists())

    def test_a_second_run_writes_nothing(self):
        self.tree.apply({"new.c": b"n"}, [self.patch], self.log)
        before = [(self.root / n).stat().st_mtime_ns
                  for n in ("Makefile", "new.c")]
        self.tree.apply({"new.c": b"n"}, [self.patch], self.log)
        self.assertEqual(before, [(self.root / n).stat().st_mtime_ns
                                  for n in ("Makefile", "new.c")])

    def test_a_changed_patch_starts_from_the_pristine_file(self):
        self.tree.apply({}, [self.patch], self.log)
        self.patch.write_text(self.patch.read_text().replace("three", "3"))
        self.tree.apply({}, [self.patch], self.log)
        self.assertEqual(self.text(), "one\ntwo\n3\n")

    def test_an_addition_comes_after_the_patch(self):
        self.tree.apply({"Makefile": lambda old: old + b"end\n"},
                        [self.patch], self.log)
        self.assertEqual(self.text(), "one\ntwo\nthree\nend\n")

    def test_a_patch_that_does_not_apply_says_so(self):
        (self.root / "Makefile").write_text("other\n")
        with self.assertRaises(env.CommandFailed):
            self.tree.apply({}, [self.patch], self.log)

    def test_a_second_tree_knows_what_was_changed_in_the_first(self):
        self.tree.apply({"new.c": b"n"}, [self.patch], self.log)
        other = self.folder / "other"
        overlay.copy_kept(self.root, other)
        overlay.Tree(other).apply({}, [], self.log)
        self.assertEqual((other / "Makefile").read_text(), "one\ntwo\n")
        self.assertFalse((other / "new.c").exists())
        self.assertEqual(self.text(), "one\ntwo\nthree\n")

    def test_the_kernels_header_as_qemu_takes_it(self):
        self.assertEqual(
            overlay.portable("#include <linux/types.h>\n__le32 a; __u8 b; "
                             "__le64 c;\n} __attribute__((packed));\n"),
            '#include "standard-headers/linux/types.h"\nuint32_t a; '
            "uint8_t b; uint64_t c;\n} QEMU_PACKED;\n")


class Guests(Scratch):
    def test_complaints_of_a_kernel(self):
        for line in ("[    1.2] BUG: KASAN: slab-use-after-free in f+0x1",
                     "[    1.2] WARNING: CPU: 0 PID: 1 at x.c:3 f+0x1/0x2",
                     "[    1.2] WARNING: possible circular locking detected",
                     "[    1.2] UBSAN: shift-out-of-bounds in x.c:3",
                     "[    1.2] kmemleak: 3 new suspected memory leaks",
                     "[    1.2] Kernel panic - not syncing: x"):
            self.assertEqual(len(vm.complaints_in(line)), 1, line)

    def test_what_healthy_kernels_say(self):
        for line in ("[    0.1] DMA-API: preallocated 65536 debug entries",
                     "[    0.1] kasan: KernelAddressSanitizer initialized",
                     "[    0.1] Spectre V2 : WARNING: Unprivileged eBPF",
                     "[    0.1] Linux version 6.12"):
            self.assertEqual(vm.complaints_in(line), [], line)

    def test_modules_come_after_what_they_need(self):
        text = ("a/top.ko.xz: b/mid.ko.xz c/low-one.ko.xz\n"
                "b/mid.ko.xz: c/low-one.ko.xz\nc/low-one.ko.xz:\n")
        self.assertEqual(kernel.module_order(text, ["top", "builtin"]),
                         ["c/low-one.ko.xz", "b/mid.ko.xz", "a/top.ko.xz"])

    def test_a_guest_that_never_spoke_boots_once_more(self):
        boots = []

        def silent(_params, folder, _watch):
            boots.append(1)
            (folder / "console.log").write_text("")
            (folder / "output.log").write_text("x" if boots[1:] else "")
            return {"cases": []}
        with tempfile.TemporaryDirectory() as folder, \
                unittest.mock.patch.dict(tasks.KINDS, {"silent": silent}):
            for accel, count in (("tcg", 1), ("kvm", 2)):
                boots.clear()
                result = tasks.run_task(
                    {"kind": "silent", "name": "x",
                     "params": {"accel": accel}}, pathlib.Path(folder))
                self.assertEqual(len(boots), count)
                self.assertEqual([c["result"] for c in result["cases"]],
                                 [report.SKIPPED] * (count - 1))

    def test_a_processor_that_stands_still(self):
        line = "[  231.26] rcu: \t(detected by 1, t=%d jiffies, g=1, q=8)"
        self.assertTrue(vm.STALL.search(line % 21014))
        self.assertTrue(vm.STALL.search(line % 152525))
        self.assertFalse(vm.STALL.search(line % 5256))

    def nested(self, stalls, faulty=()):
        """Results of two tasks; one boot does one, as many boots stall."""
        boots = []

        def boot(_lab, _parts, left, folder, name, _watch):
            boots.append(name)
            stalled = len(boots) <= stalls
            for task in left[:1] if stalled else left:
                if task["name"] not in faulty:
                    (folder / task["name"]).mkdir()
                    (folder / task["name"] / "result.json").write_text(
                        '{"cases": []}')
            return vm.Result(0, [], [], None, 1.0, "it stands still"
                             if stalled else "", stalled)
        with tempfile.TemporaryDirectory() as folder, \
                unittest.mock.patch.object(inside, "boot_host", boot):
            found = inside.run_nested(
                None, None, [{"name": "a"}, {"name": "b"}],
                pathlib.Path(folder))
        return boots, [case["result"] for name in ("a", "b")
                       for case in found[name]["cases"]]

    def test_a_host_vm_that_stands_still_boots_again(self):
        self.assertEqual(self.nested(0), (["host-vm"], []))
        self.assertEqual(self.nested(1), (["host-vm", "host-vm-2"],
                                          [report.SKIPPED]))
        boots, results = self.nested(9, faulty=("a", "b"))
        self.assertEqual(len(boots), inside.HOST_BOOTS)
        self.assertEqual(sorted(results), sorted(
            [report.FAILED] * 2 + [report.SKIPPED] * inside.HOST_BOOTS))
        self.assertEqual(self.nested(0, faulty=("a",)),
                         (["host-vm"], [report.FAILED]))

    def test_folders_of_running_labs_stay(self):
        lab = a_lab(self.folder)
        mine = inside.new_folder(lab, "test")
        over = 2 ** 22 + 1      # above the largest pid that Linux gives
        for number in range(8):
            (mine.parent / f"test-{over}-{number}").mkdir()
        inside.new_folder(lab, "test")
        left = [p.name for p in mine.parent.iterdir()]
        self.assertIn(mine.name, left)
        self.assertEqual(sum(str(over) in name for name in left), 4)

    def test_a_finding_is_kept_and_told(self):
        program = self.folder / "target"
        program.write_text(
            "#!/bin/sh\n"
            "for arg; do case $arg in -artifact_prefix=*)\n"
            "echo x > ${arg#*=}crash-1;; esac; done\n"
            "echo '==1==ERROR: AddressSanitizer: heap-use-after-free'\n"
            "exit 77\n")
        program.chmod(0o755)
        target = fuzz.Target("target", [program], self.folder, 1, 64)
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            found, = fuzz.run_targets(a_lab(self.folder), [target],
                                      self.folder / "run", lambda t: [])
        crash = self.folder / "run" / "target" / "crash-1"
        self.assertIn("heap-use-after-free", found["problem"])
        self.assertEqual(found["findings"], [str(crash)])
        self.assertIn(f"again: {program} {crash}", output.getvalue())
        self.assertTrue(crash.exists())

    def test_folders_that_the_host_vm_would_hide(self):
        self.assertEqual(
            [str(p) for p in vm.hidden_by_scratch(
                ["/tmp/cache/run/1", "/home/me/clone", "/tmp/cache",
                 "/run/user/0/clone", "/tmpfs"])],
            ["/run/user/0/clone", "/tmp/cache"])
        self.assertEqual(vm.hidden_by_scratch(["/srv/tmp"]), [])

    def test_the_archive_is_read_by_cpio_readers(self):
        archive = initramfs.Archive()
        archive.file("dir/name", "text\n", 0o755)
        archive.device("dev/null", 1, 3)
        path = self.folder / "a"
        archive.write(path)
        data = path.read_bytes()
        self.assertTrue(data.startswith(b"070701"))
        self.assertEqual(len(data) % 4, 0)
        names, at = {}, 0
        while True:
            field = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16)
                     for i in range(13)]
            name = data[at + 110:at + 110 + field[11] - 1].decode()
            body = at + (110 + field[11] + 3) // 4 * 4
            if name == "TRAILER!!!":
                break
            names[name] = (oct(field[1]), data[body:body + field[6]],
                           field[9:11])
            at = body + (field[6] + 3) // 4 * 4
        self.assertEqual(names["dir/name"], ("0o100755", b"text\n", [0, 0]))
        self.assertEqual(names["dir"][0], "0o40755")
        self.assertEqual(names["dev/null"], ("0o20600", b"", [1, 3]))


class Qtests(Scratch):
    def test_every_name_is_shared_out_once_and_groups_stay_whole(self):
        names = [f"/{g}/{n}" for g in "abc" for n in range(4)] + ["/d/0"]
        shares = tasks.share_out(names, 2)
        self.assertEqual(sorted(sum(shares, [])), sorted(names))
        for group in "abcd":
            self.assertEqual(sum(any(n.startswith(f"/{group}/") for n in s)
                                 for s in shares), 1)
        self.assertEqual(len(tasks.share_out(["/a/1"], 2)), 1)

    def run_stand_in(self, names, fatal, limit=60, **params):
        """A qos-test whose `fatal` cases end it; what is said of `names`."""
        program = self.folder / "qos-test"
        program.write_text(
            "#!/usr/bin/python3\n"
            "import os, sys\n"
            f"names, fatal = {names!r}, {fatal!r}\n"
            "if sys.argv[1] == '-l':\n"
            "    print('\\n'.join(names)); sys.exit()\n"
            f"open({str(self.folder / 'runs')!r}, 'a').write("
            "os.environ.get('VIRTIO_BUF_LONG_TESTS', 'x'))\n"
            "for path in sys.argv[4::2]:\n"
            "    for n in names:\n"
            "        if path in (n, n.rsplit('/', 1)[0]):\n"
            "            if n in fatal:\n"
            "                print('ERROR: ' + n, flush=True); os.abort()\n"
            "            print('ok 1', n, flush=True)\n"
            "print('1..1')\n")
        program.chmod(0o755)
        result = tasks.qtest(
            {"qemu": str(self.folder), "limit": limit, **params}, self.folder)
        return {c.name: (c.result, c.reason)
                for c in tasks.from_dicts(result["cases"])}

    NAMES = [f"/virtio-buf/virtio-buf-tests/{g}/{n}"
             for g in "ba" for n in range(3)]

    def test_a_case_that_ends_the_program_is_the_only_one_lost(self):
        fatal = [self.NAMES[4], self.NAMES[0]]
        found = self.run_stand_in(self.NAMES, fatal)
        self.assertEqual(sorted(found),
                         ["a/0", "a/1", "a/2", "b/0", "b/1", "b/2"])
        self.assertEqual([n for n in sorted(found) if found[n][0] == "not ok"],
                         ["a/1", "b/0"])
        self.assertIn("ERROR: " + fatal[0], found["a/1"][1])
        self.assertIn("ERROR: " + fatal[1], found["b/0"][1])
        self.assertEqual((self.folder / "runs").read_text(), "xxx")

    def test_nothing_is_run_again_without_need(self):
        found = self.run_stand_in(self.NAMES, [], pattern="/a/")
        self.assertEqual({n: r for n, (r, _) in found.items()},
                         {"a/0": "ok", "a/1": "ok", "a/2": "ok"})
        self.assertEqual((self.folder / "runs").read_text(), "x")

    def test_cases_that_are_all_fatal_come_to_an_end(self):
        found = self.run_stand_in(self.NAMES, self.NAMES, workers=2)
        self.assertEqual({r for r, _ in found.values()}, {"not ok"})
        self.assertEqual(len(found), 6)

    def test_without_time_left_the_rest_fails(self):
        found = self.run_stand_in(self.NAMES, [], limit=0)
        self.assertEqual({r for r, _ in found.values()}, {"not ok"})
        self.assertIn("not run: 0 seconds are over", found["a/0"][1])

    def test_cases_are_found_in_either_kind_of_list(self):
        self.assertEqual(tasks.listed_cases("/x/a/one\n/x/b/two\n"),
                         ["/x/a/one", "/x/b/two"])
        self.assertEqual(tasks.listed_cases(
            "TAP version 14\n# random seed: R02\n1..2\n# Start of x tests\n"
            "# /x/a/one\n# /x/b/two\n# End of x tests\n"),
                         ["/x/a/one", "/x/b/two"])

    def test_long_forms_are_told_to_the_tests(self):
        self.run_stand_in(self.NAMES, [], long=True)
        self.assertEqual((self.folder / "runs").read_text(), "1")


class Frames(Scratch):
    def test_a_clip_is_read_frame_by_frame(self):
        path = self.folder / "c.y4m"
        path.write_bytes(b"YUV4MPEG2 W3 H2 F25:1\n"
                         + b"FRAME\n" + bytes(range(10))
                         + b"FRAME Ip\n" + bytes(10))
        self.assertEqual(media.y4m_frames(path),
                         [bytes(range(10)), bytes(10)])
        path.write_bytes(path.read_bytes()[:-1])
        with self.assertRaisesRegex(env.LabError, "frame 1 is cut short"):
            media.y4m_frames(path)

    def test_one_wrong_byte_is_found(self):
        self.assertEqual(media.first_difference(b"abc", b"abc"), "")
        self.assertEqual(media.first_difference(b"abc", b"abd"),
                         "byte 2: 99 was played, 100 received")
        self.assertIn("3 bytes were played",
                      media.first_difference(b"abc", b"ab"))

    def test_input_that_is_no_picture_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "notes.txt")
            path.write_text("no picture")
            with self.assertRaisesRegex(env.UsageError, "notes.txt: ffmpeg"):
                media.material_of([path], pathlib.Path(folder, "material"),
                                  pathlib.Path(folder, "log"))

    def test_what_is_played_is_said(self):
        self.assertEqual(demo.what(media.Material("", ["a"])), "one picture")
        self.assertEqual(
            demo.what(media.Material("", ["a", "b"], "clip.y4m", 28)),
            "2 pictures and 28 frames of a clip")

    def test_a_play_without_frames_fails(self):
        case = demo.judge_frame("x", lambda: b"a", lambda: media.y4m_frames(
            self.folder / "absent"))
        self.assertEqual(case.result, report.FAILED)

    def test_backings_are_found_wherever_they_stand(self):
        self.assertEqual(demo.backings(
            {"buffers": [{"backing": "dma-buf"}, {"backing": "copy"}]}),
            {"udmabuf", "copy"})
        self.assertEqual(demo.backings({}), set())


class MovedFrames(Scratch):
    def test_each_frame_follows_the_one_before(self):
        played = [b"a", b"b", b"c"]
        wrong = migrate.order_fault
        self.assertEqual(wrong(played, [b"b", b"c", b"a", b"b"], 4), "")
        self.assertIn("3 frames", wrong(played, [b"b", b"c", b"a"], 4))
        self.assertIn("frame 1 is out of order",
                      wrong(played, [b"a", b"c", b"a"], 3))
        self.assertIn("frame 1 is out of order", wrong(played, [b"a"] * 2, 2))
        self.assertIn("frame 1 is none of those",
                      wrong(played, [b"a", b"x", b"c"], 3))

    def test_no_two_frames_of_the_clip_are_alike(self):
        migrate.write_clip(self.folder / "clip.y4m")
        frames = media.y4m_frames(self.folder / "clip.y4m")
        self.assertEqual(len(set(frames)), migrate.CLIP_FRAMES)


class KernelTools(unittest.TestCase):
    """What the kernel's own tools and tests say, read."""

    KUNIT = """KTAP version 1
1..1
    KTAP version 1
    # Subtest: ranges
    1..3
    ok 1 joins
        KTAP version 1
        # Subtest: splits
    # splits: EXPECTATION FAILED at tests/ranges.c:7
    Expected count == 2, but
        not ok 1 first
    not ok 2 splits
    ok 3 slow # SKIP not on this machine
not ok 1 ranges""".splitlines()

    def test_kunit_results(self):
        cases = kunit.read(["suite ranges", *self.KUNIT],
                           {"ranges": ["joins", "splits", "slow"]})
        self.assertEqual([c.result for c in cases],
                         [report.OK, report.FAILED, report.SKIPPED])
        self.assertIn("ranges.c:7", cases[1].reason)
        self.assertEqual(cases[2].reason, "not on this machine")

    def test_kunit_cases_that_did_not_run_fail(self):
        cases = kunit.read(["suite ranges", *self.KUNIT],
                           {"ranges": ["joins", "new"], "other": ["gone"]})
        self.assertEqual([c.result for c in cases],
                         [report.OK, report.FAILED, report.FAILED])

    def test_kunit_without_cases_fails(self):
        self.assertEqual(kunit.read([], {})[0].result, report.FAILED)

    def test_warnings_of_compilers(self):
        name = f"{static.DRIVER}/virtbuf_vq.c"
        said = static.what_was_said([
            f"../{name}:12:5: warning: unused variable 'x'",
            f"/build/linux/{name}:7: WARNING: NULL check",
            "  CC [M]  drivers/gpu/drm/virtio-buf/virtbuf_vq.o",
            "../drivers/gpu/drm/drm_drv.c:1:1: warning: not ours"])
        self.assertEqual(list(said), [name])
        self.assertEqual(len(said[name]), 2)

    def test_what_was_not_checked_fails(self):
        cases = static.of_files("sparse", ["a.c", "b.c"], [], {"a.c"})
        self.assertEqual([c.result for c in cases],
                         [report.OK, report.FAILED])

    def test_headers_are_named(self):
        header = f"{static.DRIVER}/virtbuf_drv.h"
        cases = static.of_files("sparse", [], [f"{header}:3:1: error: x"],
                                set())
        self.assertEqual([c.name for c in cases], [f"sparse {header}"])
        self.assertEqual(cases[0].result, report.FAILED)


class TapResult(unittest.TestResult):
    """Prints each test as a TAP line."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def line(self, result, test, why=""):
        self.number += 1
        for text in why.splitlines()[-6:]:
            print(f"# {text}")
        print(f"{result} {self.number} {type(test).__name__}: "
              f"{test._testMethodName.removeprefix('test_')}")

    def addSuccess(self, test):
        self.line("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.line("not ok", test, self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.line("not ok", test, self.errors[-1][1])


def main():
    tests = unittest.defaultTestLoader.loadTestsFromModule(
        sys.modules[__name__])
    print(f"1..{tests.countTestCases()}")
    result = TapResult()
    tests.run(result)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
