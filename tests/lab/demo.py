# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo: a guest plays pictures and a clip, host programs receive them,
and every pixel is compared.

The same play and the same judgement serve the end-to-end test levels.
"""

import pathlib
import shutil
import time

import env
import inside
import media
import probe
import report
import steps

DIRECT_LIMIT = 900
NESTED_LIMIT = 1800
PARTS = ["qemu", "stock", "driver", "host", "media"]


def play_task(parts, name, guest, backing, material, nested=False) -> dict:
    """A guest plays the pictures to one host program and the clip to
    another."""
    # A PNG takes an emulated host's CPU many seconds, and this one's none.
    kind = "raw" if nested else "png"
    plays = []
    if material.pictures:
        plays.append({
            "application": "pictures", "files": material.pictures,
            "count": len(material.pictures), "format": kind, "fps": 10,
            "output": f"picture-%03d.{kind}"})
    if material.clip:
        plays.append({
            "application": "clip", "files": [material.clip],
            "count": material.clip_frames, "format": "y4m", "fps": 25,
            "output": "clip.y4m"})
    params = dict(guest)
    params.update(
        programs=[str(parts.host.program("virtio-buf-play"))],
        cat=str(parts.host.program("virtio-buf-cat")),
        info=str(parts.host.program("virtio-buf-info")),
        media=str(material.folder), backing=backing, plays=plays)
    return {"kind": "play", "name": name, "params": params}


def judge(folder, facts, backing, material) -> list:
    """The cases of one play: that it ran, how the memory was shared, and
    each frame's pixels."""
    problems = facts.get("problems", [])
    cases = [report.Case(**case) for case in facts.get("cases", [])
             if case["result"] == report.SKIPPED]
    cases += [report.Case("guest and host programs ran",
                         report.FAILED if problems else report.OK,
                         "; ".join(problems).replace("\n", " "))]
    # Before a consumer attaches, info says what REGISTER foresaw.
    seen = backings(facts.get("info", {}))
    cases.append(report.Case(
        "virtio-buf-info showed the buffers",
        report.OK if seen == {backing} else report.FAILED,
        f"their backing: {', '.join(sorted(seen)) or 'none were seen'}"))
    for name, count in (("pictures", len(material.pictures)),
                        ("clip", material.clip_frames)):
        if count:
            cases.append(judge_backing(name, count, backing,
                                       facts.get("stats", {}).get(name, {})))
    for number, name in enumerate(material.pictures):
        cases.append(judge_frame(
            name, lambda n=name: media.pixels(material.folder / n)[0],
            lambda n=number: media.pixels(
                received(folder, "picture-*", n))[0]))
    if material.clip:
        cases += judge_clip(folder, material)
    return cases


def judge_clip(folder, material) -> list:
    cases, frames = [], material.clip_frames
    played = media.y4m_frames(material.folder / material.clip)
    try:
        got = media.y4m_frames(folder / "clip.y4m")
    except (OSError, env.LabError) as error:
        got, why = [], str(error)
    else:
        why = f"{len(got)} frames were received"
    for number in range(frames):
        if number >= len(got):
            cases.append(report.Case(f"clip frame {number}", report.FAILED,
                                     why))
            continue
        cases.append(judge_frame(f"clip frame {number}",
                                 lambda n=number: played[n],
                                 lambda n=number: got[n]))
    if len(got) > frames:
        cases.append(report.Case("clip's end", report.FAILED, why))
    return cases


def judge_backing(name, count, backing, stats) -> report.Case:
    """How the frames' memory was shared, as the host program saw it."""
    field = {"udmabuf": "frames_from_dmabuf",
             "copy": "frames_from_copy"}[backing]
    good = stats.get(field) == count and stats.get("frames") == count
    return report.Case(
        f"all frames of {name} came through {backing}",
        report.OK if good else report.FAILED,
        "" if good else "virtio-buf-cat counted: "
        + (", ".join(f"{k} {v}" for k, v in stats.items()
                     if k.startswith("frames")) or "nothing"))


def judge_frame(name, played, got) -> report.Case:
    try:
        why = media.first_difference(played(), got())
    except (OSError, env.LabError) as error:
        why = str(error)
    return report.Case(f"{name} is equal in every pixel",
                       report.FAILED if why else report.OK, why)


def received(folder, pattern, number) -> pathlib.Path:
    """The file of that number (from 0) in order of names."""
    found = sorted(folder.glob(pattern))
    if number >= len(found):
        raise env.LabError(f"only {len(found)} pictures were received")
    return found[number]


def backings(info) -> set:
    """The words that virtio-buf-info has for the buffers' backing."""
    found = set()
    if isinstance(info, dict):
        for key, value in info.items():
            if key == "backing" and isinstance(value, str):
                found.add({"dma-buf": "udmabuf"}.get(value, value))
            else:
                found |= backings(value)
    elif isinstance(info, list):
        for value in info:
            found |= backings(value)
    return found


def collect(lab, folder, target):
    """Put what was received where the user sees it, the clip as PNGs, too."""
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob("*.png"):
        if old.name.startswith(("picture-", "clip-")):
            old.unlink()
    for path in sorted(folder.glob("picture-*")):
        if path.suffix == ".png":
            shutil.copy2(path, target)
        else:
            media.raw_to_png(path, target / f"{path.stem}.png",
                             lab.log_path("demo"))
    clip = folder / "clip.y4m"
    if clip.exists():
        env.run(media.FFMPEG + ["-i", clip, target / "clip-%03d.png"],
                lab.log_path("demo"))
    return sorted(target.glob("*.png"))


def what(material) -> str:
    """"12 pictures and 28 frames of a clip"."""
    words = []
    if material.pictures:
        words.append("one picture" if len(material.pictures) == 1
                     else f"{len(material.pictures)} pictures")
    if material.clip:
        words.append(f"{material.clip_frames} frames of a clip")
    return " and ".join(words)


def verb_demo(lab, parts, set_up):
    for path in lab.options.input:
        if not path.is_file():
            raise env.UsageError(f"--input {path}: there is no such file")
    set_up(lab, parts.steps([part for part in PARTS if part != "media"
                             or not lab.options.input]))
    machine = probe.Machine(lab, parts)
    mode = probe.choose_mode(lab.options, machine)
    folder = inside.new_folder(lab, "demo")
    stock = parts.stock.place()
    if mode == "nested":
        accel, backing, where = "kvm", "udmabuf", (
            "a host VM with KVM and udmabuf, emulated on this machine")
        if lab.options.mode == "auto":
            env.say(f"This machine: {machine.zero_copy()}; so the guest runs "
                    "inside a host VM that has both")
    else:
        accel = machine.accel()
        backing = "copy" if machine.zero_copy() else "udmabuf"
        where = "this machine"
    guest = {"qemu": str(parts.qemu.output()), "kernel": str(stock),
             "driver": str(parts.driver.place()),
             "busybox": str(stock / "busybox"), "accel": accel,
             "limit": NESTED_LIMIT if mode == "nested" else DIRECT_LIMIT,
             "cpus": 1 if mode == "nested" else 2}
    if lab.options.input:
        material = media.material_of(lab.options.input, folder / "material",
                                     lab.log_path("demo"))
    else:
        material = parts.media.material()
    task = play_task(parts, "play", guest, "auto", material, mode == "nested")
    env.say(f"A guest under -accel {accel} on {where} plays {what(material)},"
            " 1920x1080")
    progress = steps.Progress("playing")
    how = inside.run_nested if mode == "nested" else inside.run_direct
    begin = time.monotonic()
    result = how(lab, parts, [task], folder,
                 lambda text: progress.note(text[:60]))["play"]
    progress.finish(f"{time.monotonic() - begin:.0f} s")
    cases = judge(folder / "play", result, backing, material)
    shown = collect(lab, folder / "play", pathlib.Path(lab.options.output))
    return conclude(cases, shown, material.total(), accel, backing, folder,
                    machine.zero_copy() if backing == "copy" else "")


def conclude(cases, shown, total, accel, backing, folder,
             why_copy) -> int:
    equal = sum(c.result == report.OK for c in cases
                if "is equal" in c.name)
    bad = [c for c in cases if c.result == report.FAILED]
    for case in bad[:8]:
        env.say(f"FAILED {case.name}: {case.reason}")
    how = ("the host programs read the guest's own pages"
           if backing == "udmabuf"
           else f"copied once by QEMU ({why_copy}; --mode=nested shows them "
           "without a copy)")
    env.say(f"{equal} of {total} frames equal, received through {backing} "
            f"under {accel}, {how}")
    if shown:
        env.say(f"{len(shown)} frames are in {shown[0].parent}/")
    if bad:
        env.say(f"Logs of this run: {folder}")
        return env.EXIT_FAILED
    return env.EXIT_OK
