"""A corrected dub: its sound laid on the master's clock, the original untouched.

Each piece is cut out of the dub to the sample, brought to the master's speed (pitch goes with it, as
it did when the speed was changed), and put where it belongs; what the dub lacks is silence. The result
is as long as the master.
"""

import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from sheaf.errors import UsageError
from sheaf.media.errors import TimedOutError, ToolError
from sheaf.media.result import PairResult, Segment
from sheaf.media.sync.decode import PRESENTATION_TIME, joined, laid_apart
from sheaf.media.sync.ffmpeg import reading
from sheaf.media.sync.probe import probe

LEAST_COVERAGE = 0.5
"""Share of the dub that has to be explained before it is laid out anew: what isn't would become silence."""


def repair(dub: Path, result: PairResult, target: Path, *, timeout_seconds: float = 600.0) -> Path:
    """Write the dub's sound that was compared, corrected, as 24-bit PCM with the dub's sample rate and channels.

    Args:
        dub: the file that `result` is about.
        result: of `analyse_pair`, with an offset.
        target: a new `.wav` or `.mka` file.

    Returns:
        `target`.

    Raises:
        UsageError: there is no offset to correct, too little of the dub is explained, or the target cannot be used.
        MediaError: the dub cannot be read, or ffmpeg failed.
    """
    if result.offset_seconds is None:
        raise UsageError(f"{dub.name} cannot be corrected: no match with its master was found.")
    if result.coverage is not None and result.coverage < LEAST_COVERAGE:
        raise UsageError(
            f"{dub.name} is not corrected: only {result.coverage:.0%} of its sound is found in the master, "
            "the rest would become silence."
        )
    check_target(target)
    found = probe(dub)
    track = int(result.dub_track.split()[0]) - 1 if result.dub_track else found.best_tracks[0].index
    rate = found.tracks[track].sample_rate
    partial = target.with_name(f".partial-{target.name}")
    chain = repair_filter(result.segments, result.master_seconds, rate, f"[0:a:{track}]")
    if result.dub_track is None and laid_apart(found):
        all_tracks = joined(found, f"aresample={rate}:{PRESENTATION_TIME}")
        chain = f"{all_tracks};{repair_filter(result.segments, result.master_seconds, rate, '[all]')}"
    command = [*reading(dub, found.start), "-loglevel", "error", "-filter_complex", chain, "-map", "[out]"]
    large = ["-rf64", "auto"] if target.suffix.lower() == ".wav" else []  # surround of hours exceeds 4 GB
    command += ["-c:a", "pcm_s24le", *large, "-bitexact", "-y", f"file:{partial.absolute()}"]
    try:
        ran = subprocess.run(  # noqa: S603 - a fixed command; paths are single arguments with a protocol in front
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_seconds, check=False
        )
        if ran.returncode:
            reason = ran.stderr.decode("utf-8", "replace").strip().splitlines()
            raise ToolError(f"{dub} could not be corrected: {reason[-1] if reason else 'ffmpeg gave no reason'}.")
        partial.replace(target)
    except subprocess.TimeoutExpired as error:
        raise TimedOutError(f"{dub} was not corrected within {timeout_seconds:g} s.") from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def check_target(target: Path) -> None:
    """Refuse a place where a corrected dub cannot be written.

    Raises:
        UsageError: it exists, its folder doesn't, or it is no `.wav` or `.mka`.
    """
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} exists already: name a new file.")
    if target.suffix.lower() not in (".wav", ".mka"):
        raise UsageError(f"{target} must end in .wav or .mka.")
    if not target.parent.is_dir():
        raise UsageError(f"There is no folder {target.parent}: make it first.")


def repair_filter(segments: list[Segment], master_seconds: float, rate: int, source: str = "[0:a:0]") -> str:
    """The ffmpeg filter that lays the pieces of a sound track on the master's clock, in whole samples."""
    length = round(master_seconds * rate)
    count = len(segments)
    copies = "".join(f"[in{index}]" for index in range(count))
    parts = [f"{source}aresample={rate}:{PRESENTATION_TIME},asplit={count}{copies}"]
    for index, piece in enumerate(segments):
        start, end = round(piece.dub_start * rate), round(piece.dub_end * rate)
        place = max(round((piece.offset_seconds + piece.rate * piece.dub_start) * rate), 0)
        speed = [] if piece.rate == 1 else [f"{name}={hz}" for name, hz in _played_at(piece.rate, rate)]
        steps = [f"atrim=start_sample={start}:end_sample={end}", "asetpts=PTS-STARTPTS", *speed, f"aresample={rate}"]
        parts.append(f"[in{index}]{','.join(steps)},adelay={place}S:all=1[p{index}]")
    pieces = "".join(f"[p{index}]" for index in range(count))
    mixed = f"{pieces}amix=inputs={count}:normalize=0:duration=longest" if count > 1 else "[p0]anull"
    parts.append(f"{mixed},apad=whole_len={length},atrim=end_sample={length}[out]")
    return ";".join(parts)


def repair_command(dub: str, result: Mapping[str, Any]) -> str | None:
    """The command for a shell that does the same with any ffmpeg; None where `repair` would refuse.

    Args:
        dub: the file as the batch names it.
        result: `segments`, `master_seconds`, `dub_sample_rate`, `dub_track`, `coverage` of a pair.
    """
    if not result["segments"] or not result["dub_sample_rate"] or (result["coverage"] or 0) < LEAST_COVERAGE:
        return None
    track = int(result["dub_track"].split()[0]) - 1 if result["dub_track"] else 0
    pieces = [Segment(**piece) for piece in result["segments"]]
    chain = repair_filter(pieces, result["master_seconds"], result["dub_sample_rate"], f"[0:a:{track}]")
    name = PureWindowsPath(dub).stem + "_in_sync.wav"
    words = ["ffmpeg", "-i", dub, "-filter_complex", chain, "-map", "[out]", "-c:a", "pcm_s24le", "-rf64", "auto", name]
    return shlex.join(words)


def _played_at(speed: float, rate: int) -> list[tuple[str, int]]:
    """Resample to one whole rate and call it another, so that their ratio is the speed to a billionth."""
    finer = min(range(rate, 2 * rate), key=lambda hz: abs(round(hz / speed) * speed / hz - 1))
    return [("aresample", finer), ("asetrate", round(finer / speed))]
