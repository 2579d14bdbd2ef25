"""A corrected dub: its sound laid on the master's clock, the original untouched.

Each piece is cut out of the dub to the sample, brought to the master's speed (pitch goes with it, as
it did when the speed was changed), and put where it belongs; what the dub lacks is silence. The result
is as long as the master.
"""

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from sheaf.errors import UsageError
from sheaf.media.errors import TimedOutError, ToolError
from sheaf.media.result import PairResult, Segment
from sheaf.media.sync.decode import PRESENTATION_TIME, joined, sounds
from sheaf.media.sync.ffmpeg import reading
from sheaf.media.sync.probe import Track, probe

LEAST_COVERAGE = 0.5
"""Share of the dub that has to be explained before it is laid out anew: what isn't would become silence."""


def repair(dub: Path, result: PairResult, target: Path, *, timeout_seconds: float = 600.0) -> Path:
    """Write the dub corrected, as 24-bit PCM with its sample rates and channels.

    Args:
        dub: the file that `result` is about.
        result: of `analyse_pair`, with an offset.
        target: a new file: a `.mka` holds every sound track of the dub, a `.wav` the one that was compared.

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
    wave = target.suffix.lower() == ".wav"
    chosen = [one for one in sounds(found.tracks) if not wave or _compared(result.dub_track) in one]
    partial = target.with_name(f".partial-{target.name}")
    command = [*reading(dub, found.start), "-loglevel", "error"]
    command += [*_laid(found.tracks, chosen, result.segments, result.master_seconds), "-c:a", "pcm_s24le"]
    large = ["-rf64", "auto"] if wave else []  # surround of hours exceeds 4 GB
    command += [*large, "-bitexact", "-y", f"file:{partial.absolute()}"]
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


def other_sounds(tracks: Sequence[Mapping[str, Any]], compared: str | None) -> list[int]:
    """The first track, from 1, of each sound of a dub that was not compared.

    Args:
        tracks: `dub_tracks` of a pair.
        compared: its `dub_track`.
    """
    known = _known(tracks)
    return [one[0] + 1 for one in sounds(known) if _compared(compared) not in one]


def repair_command(dub: str, result: Mapping[str, Any]) -> str | None:
    """The command for a shell that does the same with any ffmpeg, for all tracks; None where `repair` would refuse.

    Args:
        dub: the file as the batch names it.
        result: `segments`, `master_seconds`, `dub_tracks`, `coverage` of a pair.
    """
    if not result["segments"] or not result["dub_tracks"] or (result["coverage"] or 0) < LEAST_COVERAGE:
        return None
    tracks = _known(result["dub_tracks"])
    chosen = sounds(tracks)
    laid = _laid(tracks, chosen, [Segment(**piece) for piece in result["segments"]], result["master_seconds"])
    ending, large = ("mka", []) if len(chosen) > 1 else ("wav", ["-rf64", "auto"])
    name = f"{PureWindowsPath(dub).stem}_in_sync.{ending}"
    return shlex.join(["ffmpeg", "-i", dub, *laid, "-c:a", "pcm_s24le", *large, name])


def _known(tracks: Sequence[Mapping[str, Any]]) -> list[Track]:
    return [Track(index, "", **one) for index, one in enumerate(tracks)]


def _compared(label: str | None) -> int:
    """The index of the track that was compared, by how results call it; the first of several that are channels."""
    return int(label.split()[0]) - 1 if label else 0


def _laid(
    tracks: Sequence[Track], chosen: Sequence[Sequence[int]], segments: list[Segment], master_seconds: float
) -> list[str]:
    """The arguments of ffmpeg that lay sounds of a file on the master's clock."""
    chains, rest = [], []
    for number, sound in enumerate(chosen):
        first = tracks[sound[0]]
        source, name = f"[0:a:{sound[0]}]", str(number) if number else ""
        if len(sound) > 1:
            chains.append(joined(sound, f"aresample={first.sample_rate}:{PRESENTATION_TIME}", f"all{name}"))
            source = f"[all{name}]"
        chains.append(_filter(segments, master_seconds, first.sample_rate, source, name))
        rest += ["-map", f"[out{name}]"]
        for key in ("language", "title") if len(chosen) > 1 else ():
            if said := getattr(first, key):
                rest += [f"-metadata:s:a:{number}", f"{key}={said}"]
    return ["-filter_complex", ";".join(chains), *rest]


def _filter(segments: list[Segment], master_seconds: float, rate: int, source: str, name: str) -> str:
    """The ffmpeg filter that lays the pieces of one sound on the master's clock, in whole samples, as `[out<name>]`."""
    length = round(master_seconds * rate)
    count = len(segments)
    copies = "".join(f"[in{name}_{index}]" for index in range(count))
    parts = [f"{source}aresample={rate}:{PRESENTATION_TIME},asplit={count}{copies}"]
    for index, piece in enumerate(segments):
        start, end = round(piece.dub_start * rate), round(piece.dub_end * rate)
        place = max(round((piece.offset_seconds + piece.rate * piece.dub_start) * rate), 0)
        speed = [] if piece.rate == 1 else [f"{step}={hz}" for step, hz in _played_at(piece.rate, rate)]
        steps = [f"atrim=start_sample={start}:end_sample={end}", "asetpts=PTS-STARTPTS", *speed, f"aresample={rate}"]
        parts.append(f"[in{name}_{index}]{','.join(steps)},adelay={place}S:all=1[p{name}_{index}]")
    pieces = "".join(f"[p{name}_{index}]" for index in range(count))
    mixed = f"{pieces}amix=inputs={count}:normalize=0:duration=longest" if count > 1 else f"[p{name}_0]anull"
    parts.append(f"{mixed},apad=whole_len={length},atrim=end_sample={length}[out{name}]")
    return ";".join(parts)


def _played_at(speed: float, rate: int) -> list[tuple[str, int]]:
    """Resample to one whole rate and call it another, so that their ratio is the speed to a billionth."""
    finer = min(range(rate, 2 * rate), key=lambda hz: abs(round(hz / speed) * speed / hz - 1))
    return [("aresample", finer), ("asetrate", round(finer / speed))]
