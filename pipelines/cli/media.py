"""The commands that only media has: one pair on the spot, and the end of a batch that runs."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import opened, show, stop
from pipelines.cli.arguments import AsJson
from sheaf.errors import InputError, SheafError, UsageError
from sheaf.media.methods import Method, Model
from sheaf.names import check_partition

if TYPE_CHECKING:
    from sheaf.media.result import PairOptions, PairResult

PATIENCE_S = 15.0
"""Items end within five seconds, and their results are gathered then."""


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("sync")(sync)
    app.command("cancel")(cancel)


def sync(
    master: Annotated[Path, typer.Argument(metavar="MASTER")],
    dub: Annotated[Path, typer.Argument(metavar="DUB")],
    methods: Annotated[str | None, typer.Option("--methods", metavar="A,B", help=f"Of {', '.join(Method)}.")] = None,
    ai_model: Annotated[
        str | None, typer.Option("--ai-model", metavar="NAME", help=f"For the method ai: {', '.join(Model)}.")
    ] = None,
    repair_to: Annotated[
        Path | None,
        typer.Option(
            "--repair",
            metavar="FILE",
            help="Also write a corrected dub: a new .mka with all its tracks, or .wav with the one compared.",
        ),
    ] = None,
    track: Annotated[
        int | None, typer.Option("--track", metavar="N", min=1, help="Sound track of the dub; otherwise all are tried.")
    ] = None,
    master_track: Annotated[
        int | None, typer.Option("--master-track", metavar="N", min=1, help="Sound track of the master.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find how far a dub is from its master, here and now.

    A negative offset means that the dub is late. With `--repair`, the dub's sound is also written as
    it belongs, cut, moved and brought to the master's speed; both originals stay as they are.

    Examples:

        sheaf sync master.mov dub.wav

        sheaf sync master.mov dub.wav --methods ai,onset --ai-model wav2vec2

        sheaf sync master.mov dub.wav --repair corrected.wav
    """
    from sheaf.media.analysis.pair import analyse_pair
    from sheaf.media.sync.repair import check_target, other_sounds, repair

    for path in (master, dub):
        if not path.is_file():
            raise InputError(f"{path} does not exist or is no file.")
    if repair_to:
        check_target(repair_to)
    stop.say(lambda: "Stopped: the pair was not analysed to the end. Both files are as they were.")
    chosen = {"dub_track": track, "master_track": master_track}
    result = analyse_pair(master, dub, _options(methods, ai_model).model_copy(update=chosen))
    if as_json:
        show.json(result.model_dump(mode="json", exclude={"timeline", "overlay", "snippets"}))
    else:
        show.table(("", ""), _facts(result).items(), "")
    if repair_to:
        stop.say(lambda: f"Stopped: {repair_to} was not written. Both files are as they were.")
        show.say(f"The corrected dub is in {repair(dub, result, repair_to)}.")
        tracks = [track.model_dump() for track in result.dub_tracks]
        if repair_to.suffix.lower() == ".wav" and other_sounds(tracks, result.dub_track):
            show.say(f"It holds track {result.dub_track or 1} alone: a new .mka takes all {len(tracks)}.")


def cancel(
    batch: Annotated[str, typer.Argument(metavar="BATCH")],
    as_json: AsJson = False,
) -> None:
    """End a media batch that is running; what is finished is kept.

    No pair starts any more, and those that run end within seconds. `sheaf run media BATCH` goes on
    with what is left.

    Example:

        sheaf cancel batch_20250828_140600_a1b2c3d4
    """
    from sheaf.media.batch_record import BatchStatus, read_record, request_cancel

    store = opened.store()
    record = read_record(store, check_partition(batch))
    if record.status is not BatchStatus.PROCESSING:
        raise UsageError(f"{batch} is {record.status}: only a batch that is processing can be cancelled.")
    request_cancel(store, batch)
    end = time.monotonic() + PATIENCE_S
    while record.status is BatchStatus.PROCESSING:
        if time.monotonic() > end:
            raise SheafError(f"{batch} does not answer: was it killed? `sheaf run media {batch}` goes on with it.")
        time.sleep(0.2)
        record = read_record(store, batch)
    if as_json:
        show.json(record)
        return
    finished = record.items_total - record.items_cancelled
    show.OUT.print(
        f"{batch} is {record.status}: {finished} of {record.items_total} pairs are finished.", soft_wrap=True
    )


def _options(methods: str | None, ai_model: str | None) -> "PairOptions":
    from sheaf.media.result import PairOptions
    from sheaf.settings import Settings

    media = Settings.load().media
    asked_ai = [Method.AI] if ai_model and Method.AI not in media.methods else []  # who names a model wants it run
    names = [name.strip() for name in methods.split(",")] if methods else [*media.methods, *asked_ai]
    if unknown := [name for name in names if name not in list(Method)]:
        raise UsageError(f"There is no method {unknown[0]!r}: there are {', '.join(Method)}.")
    if ai_model and ai_model not in list(Model):
        raise UsageError(f"There is no AI model {ai_model!r}: there are {', '.join(Model)}.")
    return PairOptions.model_validate({"methods": names, "ai_model": ai_model, "models": media.models})


def _facts(result: "PairResult") -> dict[str, object]:
    """What a sound editor wants to know first."""
    from sheaf.media.words import coverage, places, sure, uncertainty

    facts: dict[str, object] = {}
    if result.offset_seconds is None:
        facts["status"] = "ambiguous" if result.ambiguous_with else "no match"
    else:
        place = "late" if result.offset_seconds < 0 else "early" if result.offset_seconds > 0 else "in sync"
        facts["offset"] = f"{result.offset_seconds:+.6f} s (the dub is {place})"
        facts["precision"] = uncertainty(result.precision, result.offset_uncertainty_seconds)
        facts["timecode"] = f"{result.timecode} at {result.frame_rate}"
    if result.ambiguous_with:
        facts["fits alike"] = places(result.ambiguous_with)
    facts["confidence"] = sure(result.confidence)
    if result.offset_seconds is not None:
        facts |= _how_it_runs(result)
    if result.coverage is not None:
        facts["coverage"] = coverage(result.coverage)
    for which, label in (("master", result.master_track), ("dub", result.dub_track)):
        if label:
            facts[f"{which} track"] = label
    if result.timecode_offset_seconds is not None:
        starts = f"{result.master_ltc or result.master_start} and {result.dub_ltc or result.dub_start}"
        facts["by timecode"] = f"{result.timecode_offset_seconds:+.6f} s ({starts}, {result.timecode_offset_from})"
    if result.contradiction:
        facts["contradiction"] = f"{', '.join(result.contradiction)} alone say another offset"
    if result.warnings:
        facts["warnings"] = "; ".join(result.warnings)
    return facts


def _how_it_runs(result: "PairResult") -> dict[str, object]:
    from sheaf.media.words import speed

    facts: dict[str, object] = {
        "speed": speed(result.rate or 1.0),
        "drift": f"{result.drift_ppm or 0:+.1f} ppm",
        "method": result.method_used,
    }
    if len(result.segments) > 1:
        for number, part in enumerate(result.segments, 1):
            facts[f"segment {number}"] = (
                f"{part.dub_start:.2f} to {part.dub_end:.2f} s of the dub: {part.offset_seconds:+.6f} s"
            )
    for name, channel in result.channels.items():
        facts[f"channel {name}"] = f"{channel.offset_seconds:+.6f} s" if channel.offset_seconds is not None else "none"
    return facts
