"""One pair from files to answer: decode, propose, verify, model, report.

`analyse_pair` is the whole path in order; the modules it calls are each one step of the signal
processing and can be read alone.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from sheaf.media.errors import MissingTrackError, SilentError, TooShortError, UnreadableError
from sheaf.media.methods import Method
from sheaf.media.result import ACCEPTED, MethodResult, PairOptions, PairResult, Precision, Segment, SoundTrack, Status
from sheaf.media.sync import timecode
from sheaf.media.sync.candidates import Candidate, agreements, merge, nominal_speed, search
from sheaf.media.sync.channels import channel_offsets
from sheaf.media.sync.confidence import confidence
from sheaf.media.sync.decode import Recording, decode, in_order, other_mixes
from sheaf.media.sync.decode import load as load_sound
from sheaf.media.sync.embeddings import Embedded, search_embeddings
from sheaf.media.sync.features import FEATURES, hop_seconds, spectral, spectrum
from sheaf.media.sync.frames import FrameFit, elsewhere, fit_at, fit_frames, refine, rivals
from sheaf.media.sync.judge import Judge, main_line
from sheaf.media.sync.lines import Line
from sheaf.media.sync.ltc import find_ltc
from sheaf.media.sync.overlay import best_moment, overlay
from sheaf.media.sync.probe import Probe, Track, probe
from sheaf.media.sync.segments import segment
from sheaf.media.sync.snippets import snippets
from sheaf.media.sync.stretches import Stretches
from sheaf.media.sync.waveform import search_waveform

FRAME = 1 / 24
"""Two offsets closer than this (s) are the same answer."""

_MOST_TRIES = 32
"""Channels of a sound that are tried by themselves, and sounds of a file besides the first."""
_MOST_CROSSED = 8
"""Channels of one sound with channels of the other."""


def analyse_pair(master: Path, dub: Path, options: PairOptions | None = None) -> PairResult:
    """Find how a dub lies against its master.

    The same two files and options always give the same answer, in whatever order the methods are
    named, and whatever the level or polarity of either file. Where the sound that players choose gives no match,
    channels of its own and other tracks are tried.

    Example:
        >>> analyse_pair(Path("master.wav"), Path("dub.wav")).offset_seconds  # doctest: +SKIP
        -15.023

    Raises:
        MediaError: one of its kinds, when a file cannot be read, holds no sound, or time runs out.
    """
    options = options or PairOptions()
    started = time.monotonic()
    result = _first_answer(master, dub, options, started + options.timeout_seconds)
    result.analysis_seconds = round(time.monotonic() - started, 3)
    return result


def _first_answer(master: Path, dub: Path, options: PairOptions, deadline: float) -> PairResult:
    """What the sound says that players choose; else channels of it, and then other tracks."""
    with recordings(master, dub, options, deadline) as (first, second):
        result = _compare(first, second, options, deadline)
        if _answered(result):
            return result
        for other in _other_sounds(dub, second, options.dub_track, options, deadline):
            again = _compare(first, other, options, deadline)
            if _answered(again):
                return again
        for other in _other_sounds(master, first, options.master_track, options, deadline):
            again = _compare(other, second, options, deadline)
            if _answered(again):
                return again
    return result


def _compare(master: Recording, dub: Recording, options: PairOptions, deadline: float) -> PairResult:
    """What two sounds say, or else channels of them."""
    result = _analyse(master, dub, options, deadline)
    return result if _answered(result) else _other_channels(master, dub, options, deadline) or result


def _answered(result: PairResult) -> bool:
    return result.offset_seconds is not None or bool(result.ambiguous_with)


@contextmanager
def recordings(master: Path, dub: Path, options: PairOptions, deadline: float) -> Iterator[tuple[Recording, Recording]]:
    """Both files decoded, side by side.

    Raises:
        MissingTrackError: a file has no track of the number that is asked for.
    """

    def load(path: Path, track: int | None) -> Recording:
        if track is None:
            return _without_code(load_sound(path, deadline=deadline, max_seconds=options.max_seconds))
        found = probe(path)
        if track > len(found.tracks):
            raise MissingTrackError(f"{path} has no sound track {track}: it has {len(found.tracks)}.")
        return _decoded(path, found, range(track - 1, track), options, deadline)

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(load, master, options.master_track), pool.submit(load, dub, options.dub_track)]
        errors = [error for job in jobs if (error := job.exception())]
        decoded = [job.result() for job in jobs if not job.exception()]
    try:
        if errors:
            raise errors[0]
        yield decoded[0], decoded[1]
    finally:
        for recording in decoded:
            recording.close()


def _decoded(path: Path, found: Probe, sound: range, options: PairOptions, deadline: float) -> Recording:
    return _without_code(decode(path, found, sound=sound, deadline=deadline, max_seconds=options.max_seconds))


def _without_code(heard: Recording) -> Recording:
    """A recording of which the timecode is known that is recorded on one of its channels."""
    heard.ltc = find_ltc(heard)
    return heard.without(heard.ltc.channel) if heard.ltc else heard


def _other_sounds(
    path: Path, heard: Recording, asked: int | None, options: PairOptions, deadline: float
) -> Iterator[Recording]:
    """The sounds of a file that were not heard yet; what nobody asked for need not be of use."""
    if asked or heard.probe is None:
        return
    others = [sound for sound in in_order(heard.probe) if sound != heard.sound]
    for sound in others[:_MOST_TRIES]:
        try:
            other = _decoded(path, heard.probe, sound, options, deadline)
        except (SilentError, TooShortError, UnreadableError):
            continue
        try:
            yield other
        finally:
            other.close()


def _other_channels(master: Recording, dub: Recording, options: PairOptions, deadline: float) -> PairResult | None:
    """The first match of a channel that the programme hides; None where there is none."""
    of_dub, of_master = (other_mixes(one)[:_MOST_TRIES] for one in (dub, master))
    tries = [(mix, ("", master.weights)) for mix in of_dub] + [(("", dub.weights), mix) for mix in of_master]
    tries += [(first, second) for second in of_master for first in of_dub][:_MOST_CROSSED]
    for (role_d, weights_d), (role_m, weights_m) in tries:
        result = _analyse(master.heard_as(weights_m), dub.heard_as(weights_d), options, deadline)
        if _answered(result):
            for which, heard, role in (("master", master, role_m), ("dub", dub, role_d)):
                if role:
                    name = f"channel {role}"
                    if len(heard.sound) > 1:
                        track = _tracks(heard)[heard.sound[heard.channels.index(role)]].label
                        setattr(result, f"{which}_track", track)
                        name = f"track {track}"
                    result.warnings.append(f"{which}: its {name} was compared, the whole gave no match")
            return result
    return None


@dataclass(frozen=True)
class _Found:
    """What was found of a pair.

    Attributes:
        lines: of the waveform; empty where only longer stretches agree, on `frame`.
        places: every offset that fits alike.
    """

    confidence: float
    lines: list[Line]
    frame: FrameFit | None
    pieces: list[Segment]
    places: list[float]
    coverage: float


def _analyse(master: Recording, dub: Recording, options: PairOptions, deadline: float) -> PairResult:
    methods = [method for method in Method if method in options.methods]
    proposals, embedded, heard = propose(master, dub, methods, options)
    judge = Judge(master, dub, heard, deadline)
    found = _to_the_sample(judge, heard, proposals, master, dub) or _to_a_frame(heard, proposals, master, dub)
    sure = found.confidence >= ACCEPTED
    result = PairResult(
        status=Status.COMPLETED if sure else Status.NO_MATCH,
        confidence=found.confidence,
        coverage=round(found.coverage, 3) if found.pieces else None,
        ambiguous_with=found.places if len(found.places) > 1 else [],
        requested_model=embedded.requested if embedded else None,
        model_available=embedded.available if embedded else None,
        master_seconds=round(master.seconds, 4),
        dub_seconds=round(dub.seconds, 4),
        warnings=[*_complaints("master", master), *_complaints("dub", dub), *_missing_model(embedded, options)],
    )
    _describe_files(result, master, dub)
    pieces = found.pieces if sure else []
    for method in methods:
        result.method_results.append(_alone(judge, heard, method, proposals[method], pieces))
    result.contradiction = [
        item.method
        for item in result.method_results
        if pieces and item.offset_seconds is not None and not _same_place(item.offset_seconds, pieces)
    ]
    result.method_used = _method_used(result.method_results, proposals, pieces, embedded)
    if pieces:
        main = _longest(pieces)
        line = next((line for line in found.lines if round(line.offset, 6) == main.offset_seconds), None)
        _fill_offset(result, main, master, dub)
        result.segments = pieces
        if line:
            result.precision, result.offset_uncertainty_seconds = Precision.SAMPLE, line.uncertainty
            result.channels = channel_offsets(master, dub, line)
        elif found.frame:
            result.precision = Precision.FRAME
            result.offset_uncertainty_seconds = round(found.frame.uncertainty, 4)
        middle = best_moment(main, line)
        result.overlay = overlay(master, dub, main, middle)
        result.snippets = snippets(master, dub, main, middle) if options.listen else None
    result.timeline = judge.timeline(found.lines if sure else [])
    return result


def _to_the_sample(
    judge: Judge,
    heard: Stretches,
    proposals: dict[Method, list[Candidate]],
    master: Recording,
    dub: Recording,
) -> _Found | None:
    """What the waveforms agree on; None where they don't."""
    proposed = merge(one for found in proposals.values() for one in found)
    lines, evidence = judge.weigh([*_by_timecode(master, dub, proposed), *proposed])
    if not lines:
        return None
    pieces = segment(master, dub, lines, heard)
    coverage = heard.share(pieces, [vote.time for line in lines for vote in line.votes])
    sure = confidence(evidence, coverage)
    if sure < ACCEPTED:
        return None
    line = main_line(lines)
    agreed = agreements(proposals.values())
    fit = fit_at(heard, Candidate(line.offset, line.rate, 0.0), agreed)
    also = judge.also_at(line, fit.stretches, elsewhere(fit, agreed)) if fit else []
    places = sorted(round(offset, 6) + 0.0 for offset in (line.offset, *(one.offset for one in also)))
    return _Found(_shared(sure, places), lines, None, pieces, places, coverage)


def _to_a_frame(
    heard: Stretches, proposals: dict[Method, list[Candidate]], master: Recording, dub: Recording
) -> _Found:
    """What longer stretches agree on."""
    agreed = agreements(found for method, found in proposals.items() if method is not Method.CORRELATION)
    fit = fit_frames(heard, agreed)
    if fit is None:
        return _Found(0.0, [], None, [], [], 0.0)
    sure = fit.confidence
    if sure < ACCEPTED:
        return _Found(sure, [], None, [], [], 0.0)
    also = rivals(heard, fit, agreed)
    places = sorted(round(offset, 3) + 0.0 for offset in (fit.offset, *(one.offset for one in also)))
    if not also:
        fit = refine(master, dub, fit)
    pieces = [fit.piece(master.seconds, dub.seconds)]
    return _Found(_shared(sure, places), [], fit, pieces, places, heard.share(pieces, []))


def _shared(sure: float, places: list[float]) -> float:
    """The probability of one of several places that fit alike: none of them is an answer."""
    return sure if len(places) == 1 else round(min(sure / len(places), ACCEPTED - 0.0001), 4)


def propose(
    master: Recording, dub: Recording, methods: list[Method], options: PairOptions
) -> tuple[dict[Method, list[Candidate]], Embedded | None, Stretches]:
    """Candidates of each method, and the stretches that judge them; the mel spectra are computed once for all."""
    found: dict[Method, list[Candidate]] = {}
    embedded = None
    hop = hop_seconds(max(master.seconds, dub.seconds))
    spectra = [spectrum(recording, hop) for recording in (master, dub)]
    changes = [spectral(one) for one in spectra]
    for method in methods:
        if method in FEATURES:
            views = changes if method is Method.SPECTRAL else [FEATURES[method](one) for one in spectra]
            found[method] = search(views[0], views[1], hop)
        elif method is Method.CORRELATION:
            found[method] = search_waveform(master, dub)
        else:
            embedded = search_embeddings(master, dub, spectra[0], spectra[1], options)
            found[method] = embedded.candidates
    return found, embedded, Stretches(changes[0], changes[1], hop)


def _alone(
    judge: Judge, heard: Stretches, method: Method, found: list[Candidate], pieces: list[Segment]
) -> MethodResult:
    """What a method gives by itself: to the sample, or else to a frame."""
    lines, evidence = judge.weigh(found[:2])
    sure = confidence(evidence, 1.0)
    if sure >= ACCEPTED:
        return MethodResult(method=method, offset_seconds=round(main_line(lines).offset, 6), confidence=sure)
    fit = None if method is Method.CORRELATION else fit_frames(heard, agreements([found])[:2])
    if fit and fit.confidence >= ACCEPTED:
        return MethodResult(method=method, offset_seconds=round(fit.offset, 3), confidence=fit.confidence)
    return MethodResult(method=method, offset_seconds=None, confidence=max(sure, fit.confidence if fit else 0.0))


def _same_place(offset: float, pieces: list[Segment]) -> bool:
    return any(abs(offset - piece.offset_seconds) < max(FRAME, 0.11) for piece in pieces)


def _longest(pieces: list[Segment]) -> Segment:
    """The longest piece, the earliest of equals."""
    return max(pieces, key=lambda piece: (round(piece.dub_end - piece.dub_start, 1), -piece.dub_start))


@dataclass(frozen=True)
class _Start:
    """When a recording starts by what is written in its file: as timecode, and in seconds since midnight."""

    written: str
    seconds: float | None
    source: str


def _start(recording: Recording, rate: Fraction | None, *, drop: bool) -> _Start | None:
    """What a timecode track or a broadcast wave says; a file without picture counts as the other one does."""
    found = recording.probe
    if found is None:
        return None
    seconds = timecode.start_seconds(found)
    if seconds is None and found.timecode and rate:
        seconds = timecode.counted(found.timecode, rate)
    if found.timecode:
        return _Start(found.timecode, seconds, "timecode track")
    if seconds is None:
        return None
    return _Start(timecode.timecode(seconds, rate or timecode.RATES["25"], drop=drop), seconds, "broadcast wave")


@dataclass(frozen=True)
class _TimeOfDay:
    """When a recording starts, s after its day began, what says so, and how long a day is by that, s."""

    seconds: float
    source: str
    day: float = 86400.0

    def until(self, other: "_TimeOfDay") -> float:
        """To the start of another recording, s."""
        return timecode.apart(self.seconds, other.seconds, self.day)


def _time_of_day(recording: Recording, rate: Fraction | None) -> _TimeOfDay | None:
    """Timecode that was recorded beside the sound counts first."""
    code = recording.ltc
    if code:
        return _TimeOfDay(code.start_seconds, f"LTC on {code.channel}", timecode.day_seconds(code.rate, drop=code.drop))
    start = _start(recording, rate, drop=False)
    if start is None or start.seconds is None:
        return None
    counts = (recording.probe.frame_rate if recording.probe else None) or rate
    if start.source == "broadcast wave" or counts is None:
        return _TimeOfDay(start.seconds, start.source)
    return _TimeOfDay(start.seconds, start.source, timecode.day_seconds(counts, drop=";" in start.written))


def _picture(master: Recording, dub: Recording) -> tuple[Fraction | None, bool]:
    """Frames per second of the first picture, or else of timecode sound, and whether timecode leaves out numbers."""
    pictures = [one.probe for one in (master, dub) if one.probe and one.probe.frame_rate]
    codes = [one.ltc for one in (master, dub) if one.ltc]
    rate = pictures[0].frame_rate if pictures else codes[0].rate if codes else None
    drops = any(found.timecode and ";" in found.timecode for found in pictures) or any(code.drop for code in codes)
    return rate, drops and rate in timecode.DROPPING


def _by_timecode(master: Recording, dub: Recording, proposed: list[Candidate]) -> list[Candidate]:
    """The offset that timecodes say, where no method proposes it, as one more place to look at; the sound decides."""
    rate, _ = _picture(master, dub)
    first, second = _time_of_day(master, rate), _time_of_day(dub, rate)
    if first is None or second is None:
        return []
    offset = first.until(second)
    inside = -dub.seconds < offset < master.seconds
    known = any(one.rate == 1 and abs(one.offset - offset) < FRAME for one in proposed)
    return [Candidate(offset, 1.0, 0.0, uncertainty=FRAME)] if inside and not known else []


def _describe_files(result: PairResult, master: Recording, dub: Recording) -> None:
    """Which tracks were compared, and what time codes say by themselves."""
    rate, drop = _picture(master, dub)
    for which, recording in (("master", master), ("dub", dub)):
        found = recording.probe
        setattr(result, f"{which}_track", _label(recording))
        if start := _start(recording, rate, drop=drop):
            setattr(result, f"{which}_start", start.written)
        if recording.ltc:
            setattr(result, f"{which}_ltc", recording.ltc.start)
        if found and found.variable:
            result.warnings.append(
                f"{which}: its picture has a variable frame rate, timecode counts at {found.frame_rate} a second"
            )
    result.dub_sample_rate = dub.track.sample_rate if dub.track else None
    result.dub_tracks = [SoundTrack.model_validate(one, from_attributes=True) for one in _tracks(dub)]
    first, second = _time_of_day(master, rate), _time_of_day(dub, rate)
    if first and second:
        result.timecode_offset_seconds = round(first.until(second), 6)
        result.timecode_offset_from = ", ".join(dict.fromkeys((first.source, second.source)))


def _label(recording: Recording) -> str | None:
    """Which track of its file it is, or which of them; None where it is all."""
    tracks, sound = _tracks(recording), recording.sound
    if len(tracks) <= len(sound):
        return None
    return tracks[sound[0]].label if len(sound) == 1 else f"{sound[0] + 1} to {sound[-1] + 1}"


def _tracks(recording: Recording) -> tuple[Track, ...]:
    return recording.probe.tracks if recording.probe else ()


def _fill_offset(result: PairResult, main: Segment, master: Recording, dub: Recording) -> None:
    offset = main.offset_seconds + 0.0
    rate, drop = _picture(master, dub)
    rate = rate or timecode.RATES["23.976"]
    native = dub.track.sample_rate if dub.track else 48000
    result.offset_seconds = offset
    result.offset_samples = round(offset * native)
    result.offset_frames = timecode.frame_offsets(offset)
    result.timecode = timecode.timecode(offset, rate, drop=drop)
    result.frame_rate = str(rate)
    result.rate = main.rate
    result.drift_ppm = round((main.rate - nominal_speed(main.rate)) * 1e6, 3)


def _missing_model(embedded: Embedded | None, options: PairOptions) -> list[str]:
    """What was asked for and did not run is said where results are read."""
    if embedded is None and options.ai_model:
        return [f"{options.ai_model} was not used: the method ai, which runs it, is not among the methods"]
    if embedded is None or embedded.available:
        return []
    return [f"{embedded.requested} {embedded.reason}: the built-in spectral embedding was used instead"]


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
    fallback = f"; {embedded.label}" if embedded and not embedded.available else ""
    agreeing = [
        item.method for item in results if item.offset_seconds is not None and _same_place(item.offset_seconds, pieces)
    ]
    if not agreeing:
        return f"Consensus ({', '.join(item.method for item in results)}{fallback})"
    primary = max(agreeing, key=lambda method: proposals[method][0].strength)
    if embedded and primary is Method.AI:
        return f"Consensus ({embedded.label} primary)"
    return f"Consensus ({primary} primary{fallback})"


def _complaints(which: str, recording: Recording) -> list[str]:
    return [f"{which}: {line}" for line in recording.warnings[:2]]
