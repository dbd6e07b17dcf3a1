# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian package of the guest's part, and a Debian 13 that has it.

Owns out/package-* (the .deb and the module that DKMS has made of it) and
installed/, a copy of the Debian 13 root in which the package was installed as
a user would do it.  Its guest runs that root's own udev over that module.
"""

import pathlib
import shutil

import env
import report
import tasks
import vm
from kernel import checks_remove, root_stamp
from steps import Step

NAME = "virtio-buf-dkms"
# What debian/ packs; nothing else of the tree is needed to build it
PACKED = ("debian", "drivers", "include/uapi", "tools/guest/udev",
          "docs/subsystem-ids.txt")
BUILD_PACKAGES = ("debhelper", "dh-dkms")
PLACE = "/installed"
LIMIT = 500

# Names that the guest's links are looked up by; the last one is a path
INSTANCES = (("screen", ""), ("sound", ",subsystem-vendor-id=0x4b56,"
                              "subsystem-id=0x64d4"),
             ("../null", ",subsystem-vendor-id=0xff00,subsystem-id=0x0001"))

# Each check prints one line of TAP; udevd finds, names and loads everything.
JOB = """
root={place}
number=0
check() {{
    name=$1
    shift
    number=$((number + 1))
    if said=$("$@" 2>&1); then
        echo "ok $number - $name"
    else
        echo "# $said" | tr '\\n' ' '
        echo
        echo "not ok $number - $name"
    fi
}}
inside() {{
    chroot $root /usr/bin/env -i SYSTEMD_IGNORE_CHROOT=1 \\
        PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
}}
same() {{
    [ -n "$1" ] && [ "$1" = "$2" ]
}}
links_to() {{
    [ "$(readlink -f "/dev/dri/$1")" = "$(readlink -f "$2")" ] &&
        [ -c "/dev/dri/$1" ]
}}
node_of() {{
    for node in /sys/class/drm/renderD*; do
        [ "$(cat $node/device/virtio*/instance 2>/dev/null)" = "$1" ] &&
            echo "/dev/dri/${{node##*/}}"
    done
}}
for place in dev proc sys; do
    mount -o bind /$place $root/$place
done
mount -t tmpfs run $root/run
mount -t tmpfs tmp $root/tmp
check 'the rules are right' inside udevadm verify --resolve-names=never \\
    /usr/lib/udev/rules.d/60-virtio-buf.rules
check 'the driver is not loaded yet' [ ! -e /sys/module/virtio_buf ]
inside /usr/lib/systemd/systemd-udevd --daemon || echo "# no udevd: $?"
inside udevadm trigger --action=add
check 'udev settles' inside udevadm settle --timeout=200
check 'the driver is loaded for its device' [ -e /sys/module/virtio_buf ]
inside sh -c 'xz -dc {module} >/tmp/module.ko && readelf -n /tmp/module.ko' \\
    >/tmp/notes
check 'it is the one of DKMS' same \\
    "$(tail -c 20 /sys/module/virtio_buf/notes/.note.gnu.build-id |
       od -An -v -tx1 | tr -d ' \\n')" \\
    "$(sed -n 's/.*Build ID: //p' /tmp/notes)"
screen=$(node_of screen)
sound=$(node_of sound)
check 'every device has a node' [ -c "$screen" -a -c "$sound" -a \\
    -c "$(node_of ../null)" ]
check 'a link by instance' links_to by-application/screen "$screen"
check 'a second one' links_to by-application/sound "$sound"
check 'a link by the program of the ids' links_to by-application/KVMFR "$sound"
check 'a link by the ids' links_to by-subsystem/4b56:64d4 "$sound"
check 'a link by ids for everybody' links_to by-subsystem/ff00:0001 \\
    "$(node_of ../null)"
check 'no link for ids that nobody chose' \\
    [ ! -e /dev/dri/by-subsystem/1af4:1100 ]
check 'no link for a path' [ "$(ls /dev/dri/by-application | wc -l)" -eq 3 ]
check 'the null device is in place' [ "$(stat -c %t:%T /dev/null)" = 1:3 ]
virtio-buf-devices --json >/tmp/devices.json || echo "# exit $?"
for name in screen sound; do
    check "virtio-buf-devices names $name" \\
        grep -q "\\"instance\\": \\"$name\\"" /tmp/devices.json
done
check 'virtio-buf-devices asks for limits' \\
    [ "$(grep -c '"max_buffers": [1-9]' /tmp/devices.json)" -eq 3 ]
echo remove >/sys/class/drm/${{sound##*/}}/uevent
check 'udev settles again' inside udevadm settle --timeout=200
check 'links go with the device' [ ! -e /dev/dri/by-subsystem/4b56:64d4 ]
inside udevadm control --exit
check 'the driver can be unloaded' rmmod virtio_buf
echo "1..$number"
"""


class Package:
    def __init__(self, lab, root):
        self.lab, self.root = lab, root
        self.path = lab.cache / "installed"

    def key(self) -> str:
        top = self.lab.top
        return env.digest("package", 2, self.root.key(), root_stamp(self.lab),
                          env.tree_digest(*(top / name for name in PACKED)))

    def place(self) -> pathlib.Path:
        return self.lab.output("package", self.key())

    def build_deb(self, folder) -> pathlib.Path:
        """dpkg-buildpackage over a copy of what it packs."""
        source = folder / "virtio-buf"
        for name in PACKED:
            path = self.lab.top / name
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, source / name,
                                ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(path, source / name)
        env.run(["dpkg-buildpackage", "-b", "-us", "-uc"],
                self.lab.log_path("package"), append=False, cwd=source,
                env=self.lab.build_env())
        found = list(folder.glob(f"{NAME}_*_all.deb"))
        if len(found) != 1:
            raise env.LabError(f"dpkg-buildpackage made {found}")
        return found[0]

    def inside(self, *command, log="package"):
        """Run it in that root; systemd-hwdb, for one, needs /proc."""
        env.run(self.lab.sudo(
            ["unshare", "--mount", "sh", "-c",
             'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"',
             self.path, "/usr/bin/env", "-i", "LC_ALL=C.UTF-8",
             "DEBIAN_FRONTEND=noninteractive",
             "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *command]),
            self.lab.log_path(log), append=log == "package")

    def install(self, progress):
        out = self.place()
        fresh = out.with_name(out.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        deb = self.build_deb(fresh)
        progress.note("a clean root", force=True)
        checks_remove(self.lab, self.path)
        env.output_of(self.lab.sudo(["cp", "-a", "--reflink=auto",
                                     self.root.path, self.path]))
        env.output_of(self.lab.sudo(["cp", deb, self.path]))
        progress.note("installing", force=True)
        self.inside("dpkg", "-i", f"/{deb.name}")
        self.inside("dkms", "status", log="package-status")
        shutil.copyfile(self.lab.log_path("package-status"), fresh / "status")
        for path in self.modules():
            shutil.copyfile(path, fresh / path.name)
            if path.suffix == ".xz":
                env.run(["xz", "-d", fresh / path.name],
                        self.lab.log_path("package"))
        shutil.rmtree(fresh / "virtio-buf", ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)
        fresh.rename(out)
        self.lab.prune_outputs("package")

    def modules(self) -> list:
        release = self.root.release()
        return sorted((self.path / "usr/lib/modules" / release / "updates")
                      .rglob("virtio-buf.ko*"))

    def module(self) -> str:
        """The path of DKMS's module in the root."""
        found = self.modules()
        if not found:
            raise env.LabError(f"DKMS installed no module in {self.path}")
        return f"/{found[0].relative_to(self.path)}"

    def steps(self) -> list:
        return self.root.steps() + [
            Step("Debian package, installed", "package", self.key,
                 self.install, estimate=0.8, packages=BUILD_PACKAGES)]


def installed_cases(package) -> list:
    """That dpkg and DKMS have done their part."""
    status = (package.place() / "status").read_text()
    wanted = f", {package.root.release()}, x86_64: installed"
    good = any(line.startswith("virtio-buf/") and wanted in line
               for line in status.splitlines())
    return [report.Case("installs, and DKMS builds it",
                        report.OK if good else report.FAILED,
                        "" if good else " ".join(status.split()))]


def named_devices() -> list:
    options = []
    for number, (instance, more) in enumerate(INSTANCES):
        options += ["-device", f"virtio-buf-pci,instance={instance}{more},"
                    f"addr=0x{0x10 + number:x}"]
    return options


def boot(run, folder):
    """Boot the root's own kernel; its udev does the rest."""
    package, stock = run.parts.package, run.parts.stock.place()
    guest = vm.Guest(
        kernel=stock / "vmlinuz", busybox=stock / "busybox",
        job=JOB.format(place=PLACE, module=package.module()),
        modules=vm.stock_modules(stock, "guest"),
        programs=[run.parts.host.program("virtio-buf-devices")],
        shares=[vm.Share(package.path, PLACE)], devices=named_devices(),
        accel=run.machine.accel(), limit=LIMIT)
    return vm.run(run.parts.qemu.output(), guest, folder)


def run_names(run, level):
    """The package in a guest: found, named, loaded; then some of the suite."""
    pattern = run.pattern(level)
    cases = installed_cases(run.parts.package)
    result = boot(run, run.folder / f"{level}-udev")
    said = [line for line in result.output if not line.startswith("lab: ")]
    cases += report.read_tap(said)
    problem = result.problem()
    cases.append(report.Case("guest kernel and exit", report.FAILED if problem
                             else report.OK, problem))
    run.report.add(level, [c for c in cases if pattern in c.name])


def suite_task(run, level, program) -> dict:
    """The guest suite's first part over DKMS's module."""
    params = run.driver_guest(LIMIT, run.machine.accel())
    params.update(driver=str(run.parts.package.place()), program=str(program),
                  programs=[str(program)], part="suite",
                  arguments="--consumer --holder --filter 'register/*'")
    return {"kind": "guest_tests", "name": f"{level}-suite", "params": params}


def run_suite(run, level):
    task = suite_task(run, level, run.parts.host.program("virtbuf-test"))
    result = tasks.run_task(task, run.folder / task["name"])
    run.report.add(level, [c for c in tasks.from_dicts(result["cases"])
                           if run.pattern(level) in c.name])


def run_all(run, level):
    pattern = run.pattern(level)
    if not pattern.startswith("suite"):
        run_names(run, level)
    if not pattern or pattern.startswith("suite"):
        run_suite(run, level)
