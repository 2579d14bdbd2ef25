"""The command that only media has: one pair on the spot."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines import show
from sheaf.errors import InputError, UsageError
from sheaf.media.result import Method, Model, PairOptions, PairResult
from sheaf.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("sync")(sync)


def sync(
    master: Annotated[Path, typer.Argument(metavar="MASTER")],
    dub: Annotated[Path, typer.Argument(metavar="DUB")],
    methods: Annotated[str | None, typer.Option("--methods", metavar="A,B", help=f"Of {', '.join(Method)}.")] = None,
    ai_model: Annotated[
        str | None, typer.Option("--ai-model", metavar="NAME", help=f"For the method ai: {', '.join(Model)}.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find how far a dub is from its master, here and now.

    A negative offset means that the dub is late.

    Example:

        sheaf sync master.mov dub.wav

        sheaf sync master.mov dub.wav --methods ai,onset --ai-model wav2vec2
    """
    from sheaf.media.analysis import analyse_pair

    for path in (master, dub):
        if not path.is_file():
            raise InputError(f"{path} does not exist or is no file.")
    result = analyse_pair(master, dub, _options(methods, ai_model))
    if as_json:
        show.json(result.model_dump(mode="json", exclude={"timeline", "overlay"}))
    else:
        show.table(("", ""), _facts(result).items(), "")


def _options(methods: str | None, ai_model: str | None) -> PairOptions:
    media = Settings.load().media
    names = [name.strip() for name in methods.split(",")] if methods else list(media.methods)
    if unknown := [name for name in names if name not in list(Method)]:
        raise UsageError(f"There is no method {unknown[0]!r}: there are {', '.join(Method)}.")
    if ai_model and ai_model not in list(Model):
        raise UsageError(f"There is no AI model {ai_model!r}: there are {', '.join(Model)}.")
    return PairOptions.model_validate({"methods": names, "ai_model": ai_model, "models": media.models})


def _facts(result: PairResult) -> dict[str, object]:
    """What a sound editor wants to know first."""
    if result.offset_seconds is None:
        return {"status": "no match", "confidence": f"{result.confidence:.2f}", "warnings": "; ".join(result.warnings)}
    late = "late" if result.offset_seconds < 0 else "early"
    facts: dict[str, object] = {
        "offset": f"{result.offset_seconds:+.6f} s (the dub is {late})",
        "timecode": f"{result.timecode} at {result.frame_rate}",
        "confidence": f"{result.confidence:.2f}",
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
    if result.warnings:
        facts["warnings"] = "; ".join(result.warnings)
    return facts
