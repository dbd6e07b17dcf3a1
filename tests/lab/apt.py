# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages: what must be installed, and files of other suites.

Owns a private apt configuration inside the cache.  Its sources are copies
of this machine's own Debian entry with another suite in it: the mirror, the
keys, proxies and passwords stay what the machine's owner chose, and the
system's package lists are never touched.
"""

import os
import pathlib
import re
import shutil
import subprocess

import env

# What the lab runs or links on this machine, by Debian's names, which are
# the same in Debian 12 and 13.
PACKAGES = """
    bc bison ccache dpkg-dev ffmpeg flex gcc libattr1-dev libc6-dev
    libc6-dev-i386 libdrm-dev libelf-dev libfdt-dev libglib2.0-dev
    libpixman-1-dev libpng-dev libssl-dev libwayland-dev make mmdebstrap
    ninja-build patch perl pkg-config python3-venv qemu-system-data seabios
    wayland-protocols xz-utils zlib1g-dev
""".split()

# Each Debian that the lab runs on, and what it has beyond those: gcc's own
# library for 32-bit programs, which gcc-multilib would bring as well, but not
# beside a cross compiler. Debian 12's meson is too old, see qemu.py.
SUPPORTED = {"bookworm": ["lib32gcc-12-dev"],
             "trixie": ["lib32gcc-14-dev", "meson"]}

# For fuzzing: the compiler, and its runtime libraries, which have its version
CLANG = {"bookworm": ("clang", "libclang-rt-14-dev"),
         "trixie": ("clang", "libclang-rt-19-dev")}

# Debian 13's files, and where else a version of them is found when the
# mirror lacks one of them.
SUITE = "trixie"


class Entry:
    """One Debian entry of this machine's apt sources, as text."""

    def __init__(self, text, deb822):
        self.text, self.deb822 = text, deb822

    def for_suites(self, suites, types=("deb", "deb-src")) -> str:
        """A verbatim copy but for types, suites and components."""
        if self.deb822:
            return self._deb822(suites, types)
        options, uri = parse_one_line(self.text)
        head = f"[{options}] " if options else ""
        return "".join(f"{kind} {head}{uri} {suite} main\n"
                       for kind in types for suite in suites)

    def _deb822(self, suites, types):
        new = {"types": " ".join(types), "suites": " ".join(suites),
               "components": "main"}
        lines, dropping = [], False
        for line in self.text.splitlines():
            if line.startswith("#"):
                continue
            if line[:1] in (" ", "\t"):
                if not dropping:
                    lines.append(line)
                continue
            field = line.partition(":")[0].strip()
            dropping = field.lower() in new or field.lower() == "enabled"
            if field.lower() in new:
                lines.append(f"{field}: {new.pop(field.lower())}")
            elif not dropping:
                lines.append(line)
        lines += [f"{name.title()}: {value}" for name, value in new.items()]
        return "\n".join(lines) + "\n"


def parse_one_line(text):
    """The options and the URI of a one-line entry."""
    found = re.match(r"\s*deb(?:-src)?\s+(?:\[([^\]]*)\]\s+)?(\S+)\s", text)
    if not found:
        raise env.SetupError(f"cannot read this apt source: {text.strip()}")
    return (found[1] or "").strip(), found[2]


def stanzas(text) -> list:
    """The stanzas of a deb822 file, numbered from 0, comments kept."""
    result, current = [], []
    for line in text.splitlines():
        if line.strip():
            current.append(line)
        elif current:
            result.append(current)
            current = []
    if current:
        result.append(current)
    # apt does not count what holds comments only.
    return ["\n".join(lines) + "\n" for lines in result
            if not all(line.startswith("#") for line in lines)]


def entry_at(place) -> Entry:
    """The entry at FILE:NUMBER as apt-get indextargets names it."""
    name, _, number = place.rpartition(":")
    text = pathlib.Path(name).read_text()
    if name.endswith(".sources"):
        return Entry(stanzas(text)[int(number) - 1], True)
    return Entry(text.splitlines()[int(number) - 1] + "\n", False)


def choose_entries(targets, codename):
    """Where this machine's Debian and its security entries stand.

    targets are lines PLACE|RELEASE|CODENAME|LABEL|COMPONENT; the middle two
    stay unexpanded when the lists were never downloaded.
    """
    plain, security = {}, {}
    for line in targets.splitlines():
        place, release, code, label, component = line.split("|")
        if component != "main" or not place:
            continue
        if label.startswith("$("):
            label = ""
        if label not in ("", "Debian", "Debian-Security"):
            continue
        if release.endswith("-security"):
            security.setdefault(place, label)
        elif (release == codename or code == codename) and "-" not in release:
            plain.setdefault(place, label)
    # With several (a local archive with Debian's suite names), prefer the one
    # that calls itself Debian.
    ordered = sorted(plain, key=lambda place: plain[place] != "Debian")
    return (ordered[0] if ordered else None,
            next(iter(security), None))


# Where newer kernels than Debian 13's are, the nearest first
NEWER_SUITES = (f"{SUITE}-backports", "sid", "experimental")


class PrivateApt:
    """Files of Debian 13, or of the suites that are named."""

    def __init__(self, lab, folder="apt", suites=()):
        self.lab, self.suites = lab, list(suites)
        self.root = lab.cache / folder
        self.conf = self.root / "apt.conf"

    def sources(self) -> dict:
        """File name to contents of the private sources, best first."""
        targets = env.output_of(
            ["apt-get", "indextargets", "--no-release-info", "--format",
             "$(SOURCESENTRY)|$(RELEASE)|$(CODENAME)|$(LABEL)|$(COMPONENT)",
             "Created-By: Packages"])
        code = self.lab.codename
        plain, security = choose_entries(targets, code)
        if not plain:
            raise env.SetupError(
                f"found no apt source for Debian's own {code} main; the lab "
                "copies that entry to fetch Debian 13's packages. Add one to "
                "/etc/apt/sources.list.d")
        suites = self.suites or [SUITE]
        if code != SUITE and not self.suites:
            suites.append(f"{code}-backports")
        files = {}
        places = [("debian", plain, suites)]
        if security and not self.suites:
            places.append(("security", security, [f"{SUITE}-security"]))
        for name, place, names in places:
            entry = entry_at(place)
            ending = "sources" if entry.deb822 else "list"
            files[f"{name}.{ending}"] = entry.for_suites(names)
        return files

    def env(self) -> dict:
        return dict(os.environ, APT_CONFIG=str(self.conf), LC_ALL="C.UTF-8")

    def prepare(self, progress=None, refresh=False):
        """Make the configuration and fetch its package lists."""
        ready = self.root / "ready"
        files = self.sources()
        key = env.digest(sorted(files.items()))
        if (not refresh and ready.exists()
                and ready.read_text().strip() == key):
            return
        if progress:
            progress.note("package lists of "
                          + ", ".join(self.suites or ["Debian 13"]),
                          force=True)
        shutil.rmtree(self.root / "etc", ignore_errors=True)
        for name in ("etc", "lists/partial", "cache/archives/partial"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (self.root / "etc" / name).write_text(text)
        self.conf.write_text(
            'Dir::Etc::sourcelist "/dev/null";\n'
            f'Dir::Etc::sourceparts "{self.root}/etc";\n'
            f'Dir::State::lists "{self.root}/lists";\n'
            f'Dir::Cache "{self.root}/cache";\n'
            'Acquire::Languages "none";\n'
            'Acquire::Retries "3";\n'
            # The cache may lie where the _apt user cannot enter.
            + ('APT::Sandbox::User "root";\n' if self.lab.is_root else ""))
        env.run(["apt-get", "-q", "update"], self.lab.log_path("apt"),
                env=self.env())
        ready.write_text(key + "\n")

    def newest(self, pattern, progress=None) -> str:
        """The package whose name fits and that has the highest version in
        it, such as linux-source-7.3 of linux-source-7.2 and -7.3."""
        self.prepare(progress)
        text = env.output_of(["apt-cache", "pkgnames"], env=self.env())
        names = [n for n in text.split() if re.fullmatch(pattern, n)]
        if not names:
            raise env.LabError(f"no package {pattern} in "
                               f"{', '.join(self.suites)}")
        return max(names, key=lambda n: [int(x) for x in
                                         re.findall(r"\d+", n)])

    def versions(self, name, source=False) -> list:
        """The versions on offer, the newest first."""
        text = env.output_of(["apt-cache", "madison", name], env=self.env())
        found = []
        for line in text.splitlines():
            _name, version, where = [x.strip() for x in line.split("|")]
            if where.endswith("Sources") == source and version not in found:
                found.append(version)
        return found

    def fetch(self, name, progress=None, source=False, wanted=None):
        """Download a package into the cache's debs folder, in the first of
        its versions that the mirror really has; return (path, version), the
        path being the .deb or the .dsc."""
        self.prepare(progress)
        folder = self.lab.folder("debs")
        log = self.lab.log_path("apt")
        for attempt in ("as listed", "with new lists"):
            if attempt != "as listed":
                self.prepare(progress, refresh=True)
            for version in self.versions(name, source):
                if wanted and not re.match(wanted, version):
                    continue
                done = self.downloaded(folder, name, version, source)
                if done:
                    return done, version
                if progress:
                    progress.note(f"downloading {name} {version}", force=True)
                how = (["source", "--download-only"] if source
                       else ["download"])
                try:
                    env.run(["apt-get", "-q"] + how + [f"{name}={version}"],
                            log, cwd=folder, env=self.env())
                except env.CommandFailed:
                    continue
                done = self.downloaded(folder, name, version, source)
                if done:
                    return done, version
        raise env.SetupError(
            f"no version of Debian's package {name} could be downloaded from "
            "this machine's mirror; is the network up? Log: " + str(log))

    @staticmethod
    def downloaded(folder, name, version, source):
        """The complete file, if it is there: apt renames it at the end."""
        bare = re.sub(r"^\d+:", "", version)
        quoted = version.replace(":", "%3a")
        patterns = ([f"{name}_{bare}.dsc"] if source
                    else [f"{name}_{quoted}_*.deb"])
        for pattern in patterns:
            for path in folder.glob(pattern):
                if not source or all_of_source(path):
                    return path
        return None

    def unpack(self, name, target, progress=None, wanted=None) -> str:
        """Unpack (not install) a package into target; its version."""
        deb, version = self.fetch(name, progress, wanted=wanted)
        fresh = target.with_name(target.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        env.run(["dpkg-deb", "-x", deb, fresh], self.lab.log_path("apt"))
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
        return version


def all_of_source(dsc) -> bool:
    """Whether each file that a .dsc lists is there in its full size."""
    listed = re.findall(r"^ [0-9a-f]{64} (\d+) (\S+)$", dsc.read_text(),
                        re.MULTILINE)
    return bool(listed) and all(
        (dsc.parent / name).exists()
        and (dsc.parent / name).stat().st_size == int(size)
        for size, name in listed)


def installed(names) -> set:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n"]
        + list(names), text=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL)
    return {line.split()[1] for line in done.stdout.splitlines()
            if line.startswith("installed ")}


def check_system(lab):
    """Refuse what cannot work, before anything long starts."""
    code = lab.codename
    if code not in SUPPORTED:
        raise env.SetupError(
            "the lab runs on Debian 12 (bookworm) and 13 (trixie); this is "
            f"{lab.os_release.get('PRETTY_NAME', 'an unknown system')}. Run "
            "it in a container or virtual machine with one of them")
    if os.uname().machine != "x86_64":
        raise env.SetupError(
            f"the lab needs an x86_64 machine; this is {os.uname().machine}")


def clang_packages(lab) -> tuple:
    return CLANG.get(lab.codename, ())


def ensure_packages(lab, more=()):
    """Install what is missing, or say what is."""
    names = PACKAGES + SUPPORTED[lab.codename] + list(more)
    missing = sorted(set(names) - installed(names))
    if not missing:
        return
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends"]
    by_hand = "apt-get install --no-install-recommends " + " ".join(missing)
    if lab.options.no_install:
        raise env.SetupError(
            f"these packages are missing: {' '.join(missing)}\n"
            f"Install them: {by_hand}")
    if not lab.can_be_root():
        raise env.SetupError(
            f"these packages are missing: {' '.join(missing)}\n"
            "and there is no sudo to install them with. "
            f"As root: {by_hand}")
    env.say(f"Installing {len(missing)} packages: {' '.join(missing)}")
    log = lab.log_path("packages")
    settings = ["env", "DEBIAN_FRONTEND=noninteractive"]
    try:
        env.run(lab.sudo(settings + command + missing), log)
    except env.CommandFailed:
        # Never downloaded or outdated lists look alike: fetch them, again.
        env.run(lab.sudo(["apt-get", "-q", "update"]), log)
        try:
            env.run(lab.sudo(settings + command + missing), log)
        except env.CommandFailed as error:
            raise env.SetupError(f"cannot install packages: {error}") \
                from error
