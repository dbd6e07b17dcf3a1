# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: verbs, options, exit codes.

Owns the order in which the other modules are asked; knows no build and no
test itself.
"""

import argparse
import os
import pathlib
import signal
import sys

import apt
import checks
import env
import steps
from parts import Parts

DESCRIPTION = """\
The one entrance of virtio-buf: it sets up what it needs on Debian 12 or 13
(packages, QEMU, kernels; everything else in the cache folder), then builds,
shows, tests."""

EPILOG = """\
exit codes:
  0  everything went well
  1  a test or a build failed
  2  the command line is wrong
  3  this machine lacks something (packages, disk, rights): the message names
     the cure; it comes before anything long is started

environment:
  XDG_CACHE_HOME  the cache is $XDG_CACHE_HOME/virtio-buf (default ~/.cache)
  QEMU_SRC        a QEMU 10.0 source tree to use instead of Debian's (copied)
  LINUX_SRC       a Linux 6.12 or newer tree for the debug kernel (copied)

tools/lab VERB --help describes each verb; docs/lab.rst the whole lab."""


def options_for_all(parser):
    parser.add_argument("--no-install", action="store_true",
                        help="install no packages; say what is missing")
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="name the steps that are up to date, too")


def option_mode(parser):
    parser.add_argument(
        "--mode", choices=("auto", "direct", "nested"), default="auto",
        help="direct: guests run on this machine; nested: inside a host VM "
        "that has KVM and udmabuf under emulation; auto (the default): "
        "direct when this machine's KVM and udmabuf work, else nested")


def option_no_build(parser):
    parser.add_argument("--no-build", action="store_true",
                        help="use what the last builds left")


def make_parser():
    parser = argparse.ArgumentParser(
        prog="tools/lab", description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    demo = verbs.add_parser(
        "demo", help="a guest plays pictures and a clip, a host process "
        "receives them; the frames land in a folder",
        allow_abbrev=False)
    option_mode(demo)
    option_no_build(demo)
    demo.add_argument("--output", default="virtio-buf-demo", metavar="DIR",
                      help="where the received frames go (default: "
                      "%(default)s)")
    demo.add_argument("--input", action="append", default=[], metavar="FILE",
                      type=pathlib.Path, help="play this picture, or the "
                      "first second of this clip, whatever ffmpeg reads, and "
                      "not photographs of a Debian package (may be repeated)")

    test = verbs.add_parser(
        "test", help="run every test there is", allow_abbrev=False,
        description="Runs the tests, cheapest first, and closes with the "
        "line 'N passed, N failed, N skipped'.")
    option_mode(test)
    option_no_build(test)
    test.add_argument("--long", action="store_true",
                      help="with the tests that take long")
    test.add_argument("--only", action="append", metavar="WHAT",
                      help="only the levels of that name, or the cases whose "
                      "name holds WHAT after a colon: unit, qtest:register "
                      "(may be repeated)")
    test.add_argument("--json", metavar="FILE",
                      help="write a summary to FILE ('-': standard output, "
                      "after everything else)")
    test.add_argument("--list", action="store_true",
                      help="name the levels and what each one needs")

    build = verbs.add_parser(
        "build", help="build parts without running anything",
        allow_abbrev=False,
        description="Builds the named parts, or all but those for fuzzing.")
    build.add_argument("part", nargs="*", metavar="PART",
                       help="of: " + ", ".join(Parts.all_names()))

    fuzz = verbs.add_parser(
        "fuzz", help="feed what was never thought of to the device, its "
        "server and the library", allow_abbrev=False,
        description="Runs libFuzzer (clang) over each target, with its corpus "
        "of tests/fuzz/corpus and what earlier runs have added. What it finds "
        "is kept, with the command that shows it again.")
    option_no_build(fuzz)
    fuzz.add_argument("--minutes", type=float, default=10, metavar="N",
                      help="for all targets together (default: %(default)s)")
    fuzz.add_argument("--target", action="append", default=[],
                      metavar="NAME", help="only this one (may be repeated)")
    fuzz.add_argument("--list", action="store_true",
                      help="name the targets")
    fuzz.add_argument("--json", metavar="FILE",
                      help="write a summary to FILE ('-': standard output, "
                      "after everything else)")

    shell = verbs.add_parser(
        "shell", help="a console in a guest with the driver loaded",
        allow_abbrev=False)
    option_mode(shell)
    option_no_build(shell)
    shell.add_argument("--host", action="store_true",
                       help="a console in the nested host VM instead")
    shell.add_argument("--kernel", choices=("stock", "debug"),
                       default="stock", help="the guest's kernel")

    clean = verbs.add_parser(
        "clean", help="remove builds and results from the cache",
        allow_abbrev=False,
        description="Removes builds, results and logs; keeps sources, "
        "downloads, the Debian 13 root and the compiler cache.")
    clean.add_argument("--all", action="store_true",
                       help="remove the whole cache")

    for verb in verbs.choices.values():
        options_for_all(verb)
    return parser


def set_up(lab, wanted, on_failure=None):
    """Packages, room, then every step of `wanted`; the slugs of those that
    failed, when on_failure takes the errors."""
    if getattr(lab.options, "no_build", False):
        return set()
    apt.check_system(lab)
    checks.check_rights(lab, wanted)
    checks.check_room(lab, wanted)
    left = steps.pending(lab, wanted)
    apt.ensure_packages(lab, [p for step in left for p in step.packages])
    minutes = sum(step.estimate for step in left)
    if minutes >= 1:
        env.say(f"{len(left)} of {len(wanted)} steps to do, about "
                f"{minutes:.0f} minutes on two cores; logs in "
                f"{lab.cache / 'log'}")
    return steps.run_steps(lab, wanted, on_failure=on_failure)


def verb_build(lab):
    parts = Parts(lab)
    names = lab.options.part or Parts.names()
    unknown = [n for n in names if n not in Parts.all_names()]
    if unknown:
        raise env.UsageError(f"no such part: {', '.join(unknown)} "
                             f"(there are: {', '.join(Parts.all_names())})")
    set_up(lab, parts.steps(names))
    for name in names:
        place = parts.place(name)
        if place:
            env.say(f"{name}: {place}")
    return env.EXIT_OK


def verb_test(lab):
    import levels
    return levels.verb_test(lab, Parts(lab), set_up)


def verb_demo(lab):
    import demo
    return demo.verb_demo(lab, Parts(lab), set_up)


def verb_fuzz(lab):
    import fuzz
    return fuzz.verb_fuzz(lab, Parts(lab), set_up)


def verb_shell(lab):
    import shell
    return shell.verb_shell(lab, Parts(lab), set_up)


def verb_clean(lab):
    if not lab.cache.exists():
        env.say(f"{lab.cache}: nothing there")
        return env.EXIT_OK
    names = (["."] if lab.options.all else
             ["build", "out", "installed", "stamps", "log", "run", "media"])
    for name in names:
        path = (lab.cache / name).resolve()
        if not path.exists():
            continue
        size = checks.size_of(path)
        env.say(f"removing {path} ({size / 1e9:.1f} GB)")
        checks.remove(lab, path)
    return env.EXIT_OK


def main(argv=None):
    options = make_parser().parse_args(argv)
    lab = env.Lab(options)

    def ended(number, _frame):
        raise KeyboardInterrupt(signal.Signals(number).name)
    signal.signal(signal.SIGTERM, ended)
    signal.signal(signal.SIGHUP, ended)
    verb = {"demo": verb_demo, "test": verb_test, "build": verb_build,
            "fuzz": verb_fuzz, "shell": verb_shell,
            "clean": verb_clean}[options.verb]
    try:
        return verb(lab)
    except env.LabError as error:
        sys.stdout.flush()
        env.warn(f"tools/lab: {error}")
        return error.code
    except KeyboardInterrupt:
        env.warn("tools/lab: interrupted")
        return 128 + signal.SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return env.EXIT_FAILED
