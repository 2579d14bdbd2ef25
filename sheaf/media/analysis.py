"""One pair from files to answer: decode, propose, verify, model, report.

`analyse_pair` is the whole path in order; the modules it calls are each one step of the signal
processing and can be read alone.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from sheaf.media import timecode
from sheaf.media.candidates import Candidate, merge, nominal_speed, search
from sheaf.media.channels import channel_offsets
from sheaf.media.confidence import confidence
from sheaf.media.decode import Recording, decode
from sheaf.media.embeddings import Embedded, search_embeddings
from sheaf.media.features import FEATURES, hop_seconds, spectrum
from sheaf.media.judge import Judge, main_line
from sheaf.media.lines import Line
from sheaf.media.overlay import overlay
from sheaf.media.probe import probe
from sheaf.media.result import (
    ACCEPTED,
    Method,
    MethodResult,
    PairOptions,
    PairResult,
    Segment,
    Status,
)
from sheaf.media.segments import segment
from sheaf.media.waveform import search_waveform

FRAME = 1 / 24
"""Two offsets closer than this (s) are the same answer."""


def analyse_pair(master: Path, dub: Path, options: PairOptions | None = None) -> PairResult:
    """Find how a dub lies against its master.

    The same two files and options always give the same answer, in whatever order the methods are
    named, and whatever the level or polarity of either file.

    Example:
        >>> analyse_pair(Path("master.wav"), Path("dub.wav")).offset_seconds  # doctest: +SKIP
        -15.023

    Raises:
        MediaError: one of its kinds, when a file cannot be read, holds no sound, or time runs out.
    """
    options = options or PairOptions()
    started = time.monotonic()
    deadline = started + options.timeout_seconds
    with recordings(master, dub, deadline, options.max_seconds) as (reference, heard):
        result = _analyse(reference, heard, options, deadline)
    result.analysis_seconds = round(time.monotonic() - started, 3)
    return result


@contextmanager
def recordings(master: Path, dub: Path, deadline: float, max_seconds: float) -> Iterator[tuple[Recording, Recording]]:
    """Both files decoded, side by side."""

    def load(path: Path) -> Recording:
        return decode(path, probe(path), deadline=deadline, max_seconds=max_seconds)

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(load, path) for path in (master, dub)]
        errors = [error for job in jobs if (error := job.exception())]
        decoded = [job.result() for job in jobs if not job.exception()]
    try:
        if errors:
            raise errors[0]
        yield decoded[0], decoded[1]
    finally:
        for recording in decoded:
            recording.close()


def _analyse(master: Recording, dub: Recording, options: PairOptions, deadline: float) -> PairResult:
    methods = [method for method in Method if method in options.methods]
    proposals, embedded = propose(master, dub, methods, options)
    judge = Judge(master, dub, deadline)
    lines, evidence = judge.weigh(merge(c for found in proposals.values() for c in found))
    certainty = confidence(evidence)
    pieces = segment(master, dub, lines) if certainty >= ACCEPTED else []
    result = PairResult(
        status=Status.COMPLETED if pieces else Status.NO_MATCH,
        confidence=certainty,
        requested_model=embedded.requested if embedded else None,
        model_available=embedded.available if embedded else None,
        master_seconds=round(master.seconds, 4),
        dub_seconds=round(dub.seconds, 4),
        warnings=[*_complaints("master", master), *_complaints("dub", dub)],
    )
    for method in methods:
        alone, evidence = judge.weigh(proposals[method][:2])
        sure = confidence(evidence)
        offset = round(main_line(alone).offset, 6) if sure >= ACCEPTED else None
        result.method_results.append(MethodResult(method=method, offset_seconds=offset, confidence=sure))
    result.method_used = _method_used(result.method_results, proposals, pieces, embedded)
    if pieces:
        main = _longest(pieces)
        line = next(line for line in lines if round(line.offset, 6) == main.offset_seconds)
        _fill_offset(result, main, line, master, dub)
        result.segments = pieces
        result.channels = channel_offsets(master, dub, line)
        result.overlay = overlay(master, dub, line)
    result.timeline = judge.timeline(lines)
    return result


def propose(
    master: Recording, dub: Recording, methods: list[Method], options: PairOptions
) -> tuple[dict[Method, list[Candidate]], Embedded | None]:
    """Candidates of each method; the band energies are computed once for all that use them."""
    found: dict[Method, list[Candidate]] = {}
    embedded = None
    hop = hop_seconds(max(master.seconds, dub.seconds))
    needed = any(method is not Method.CORRELATION for method in methods)
    spectra = [spectrum(recording, hop) for recording in (master, dub)] if needed else []
    for method in methods:
        if method in FEATURES:
            view = FEATURES[method]
            found[method] = search(view(spectra[0].energies), view(spectra[1].energies), hop)
        elif method is Method.CORRELATION:
            found[method] = search_waveform(master, dub)
        else:
            embedded = search_embeddings(master, dub, spectra[0], spectra[1], options)
            found[method] = embedded.candidates
    return found, embedded


def _longest(pieces: list[Segment]) -> Segment:
    """The longest piece, the earliest of equals."""
    return max(pieces, key=lambda piece: (round(piece.dub_end - piece.dub_start, 3), -piece.dub_start))


def _fill_offset(result: PairResult, main: Segment, line: Line, master: Recording, dub: Recording) -> None:
    offset = main.offset_seconds + 0.0
    picture = next((r.probe.frame_rate for r in (master, dub) if r.probe and r.probe.frame_rate), None)
    rate = picture or timecode.RATES["23.976"]
    native = dub.probe.tracks[0].sample_rate if dub.probe else 48000
    result.offset_seconds = offset
    result.offset_samples = round(offset * native)
    result.offset_frames = timecode.frame_offsets(offset)
    result.timecode = timecode.timecode(offset, rate)
    result.frame_rate = str(rate)
    result.rate = main.rate
    result.drift_ppm = round((line.rate - nominal_speed(line.rate)) * 1e6, 3)


def _method_used(
    results: list[MethodResult],
    proposals: dict[Method, list[Candidate]],
    pieces: list[Segment],
    embedded: Embedded | None,
) -> str:
    """`MFCC` for one method, `Consensus (mfcc primary)` for several; the primary one had the clearest candidate."""
    if len(results) == 1:
        method = results[0].method
        return embedded.label if embedded else "MFCC" if method is Method.MFCC else method.capitalize()
    offsets = [piece.offset_seconds for piece in pieces]
    agreeing = [
        item.method
        for item in results
        if item.offset_seconds is not None and any(abs(item.offset_seconds - o) < FRAME for o in offsets)
    ]
    if not agreeing:
        return f"Consensus ({', '.join(item.method for item in results)})"
    primary = max(agreeing, key=lambda method: proposals[method][0].strength)
    return f"Consensus ({embedded.label if embedded and primary is Method.AI else primary} primary)"


def _complaints(which: str, recording: Recording) -> list[str]:
    return [f"{which}: {line}" for line in recording.warnings[:2]]
