"""Which of the series in a sensor file are the batch's: by its vessel where that is known, otherwise none is chosen.

A series is a sensor with the tags or further columns beside it. Series of one sensor are never averaged: they are told
apart, or the file is refused by their names. Which machine wrote a point (`host`, that agents put beside every point)
says nothing of the vessel: where one machine took over from another it is one series; where two wrote at the same time
they may have been two probes. Not here: how tags are read (`sensor_files`).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sheaf.errors import InputError
from sheaf.fermentation.readers.fields import shorten
from sheaf.fermentation.settings import FermentationSettings

_OF_A_VESSEL = re.compile(r"vessel|reactor|ferment|tank|^unit|_unit$|batch|experiment|culture", re.IGNORECASE)
_SHOWN = 6
WRITERS = frozenset({"host", "hostname"})
"""Tags of the machine that wrote."""


@dataclass(frozen=True)
class FoundSeries:
    """One series of a file: its sensor, the text that `STAGED` has for it, its tags, and how many points it has."""

    sensor: str
    text: str | None
    points: int
    tags: Mapping[str, str]


def tags_of(text: str | None) -> dict[str, str]:
    """The `key=value` pairs of a series; commas within them are escaped by a backslash."""
    pairs = re.split(r"(?<!\\),", text) if text else []
    return {key.replace("\\,", ","): value.replace("\\,", ",") for key, _, value in (p.partition("=") for p in pairs)}


def series_text(tags: Mapping[str, str]) -> str | None:
    """Tags as the text of a series."""
    escaped = (f"{key}={value}".replace(",", "\\,") for key, value in sorted(tags.items()))
    return ",".join(escaped) or None


def by_writers(found: Iterable[FoundSeries]) -> dict[tuple[str, str | None], list[FoundSeries]]:
    """Series by their sensor and tags, without those of the machine that wrote."""
    alike: dict[tuple[str, str | None], list[FoundSeries]] = {}
    for one in found:
        rest = {key: value for key, value in one.tags.items() if key not in WRITERS}
        alike.setdefault((one.sensor, series_text(rest)), []).append(one)
    return alike


def without_writers(found: Iterable[FoundSeries]) -> list[FoundSeries]:
    """Series that do not tell which machine wrote them."""
    return [replace(one, tags={key: value for key, value in one.tags.items() if key not in WRITERS}) for one in found]


def other_vessels(
    found: Sequence[FoundSeries], batch: Mapping[str, Any], settings: FermentationSettings, name: str
) -> set[str | None]:
    """The series that belong to other vessels or batches.

    Args:
        found: all series of the file.
        batch: the batch's row.
        settings: `vessels`, `ignore_tags`.
        name: of the file.

    Raises:
        InputError: which series are the batch's cannot be told.
    """
    wanted = _names(batch, settings)
    others: set[str | None] = set()
    chosen = False
    for key, values in _values(found, settings).items():
        if ours := {value for value in values if _is(value, wanted)}:
            chosen = True
            others |= {one.text for one in found if one.tags.get(key, next(iter(ours))) not in ours}
    known = str(batch["vessel_id"]) in settings.vessels
    elsewhere = set(settings.vessels.values()) - wanted
    for key, values in _values([one for one in found if one.text not in others], settings).items():
        if any(_is(value, wanted) for value in values) or not _OF_A_VESSEL.search(key):
            continue
        if len(values) > 1 or (not chosen and (known or any(_is(value, elsewhere) for value in values))):
            names = ", ".join(shorten(value) for value in sorted(wanted)) or "not known"
            raise InputError(
                f"{name} holds series of {key} {listed(values)}, but the batch's is {names}: say which one it is in "
                "fermentation.vessels, or export that one alone."
            )
    refuse_mixed([one for one in found if one.text not in others], settings, name)
    return others


def refuse_mixed(left: Sequence[FoundSeries], settings: FermentationSettings, name: str) -> None:
    """Refuse what would be averaged.

    Args:
        left: the series of one vessel.
        settings: `ignore_tags`.
        name: of the file or database.

    Raises:
        InputError: a sensor has several series that differ in a tag.
    """
    for sensor in sorted({one.sensor for one in left}):
        of_one = [one for one in left if one.sensor == sensor]
        if differing := _differing(of_one, settings):
            told = "; ".join(
                f"{key} ({listed({one.tags.get(key, '') for one in of_one})})" for key in sorted(differing)
            )
            raise InputError(
                f"{name}: {sensor} has {len(of_one)} series that differ in {told}, and they are never mixed: export "
                "one of them, give them names of their own, or list what tells none apart in fermentation.ignore_tags."
            )


def _values(found: Iterable[FoundSeries], settings: FermentationSettings) -> dict[str, set[str]]:
    """The values of each tag, by its name."""
    values: dict[str, set[str]] = {}
    for one in found:
        for key, value in one.tags.items():
            if key not in settings.ignore_tags:
                values.setdefault(key, set()).add(value)
    return dict(sorted(values.items()))


def _names(batch: Mapping[str, Any], settings: FermentationSettings) -> set[str]:
    """What the batch and its vessel are called among the sensors."""
    vessel = batch["vessel_id"]
    names = {vessel, settings.vessels.get(vessel or ""), batch["batch_id"]}
    if settings.sensors:
        names.add(settings.sensors.vessels.get(vessel or ""))
    if vessel in settings.vessels:
        names.discard(vessel)
    return {name for name in names if name}


def _is(value: str, wanted: Iterable[str]) -> bool:
    """Whether a tag names one of the wanted, as its whole value or as one part of a topic."""
    parts = {value, *value.split("/")}
    return any(name in parts for name in wanted)


def _differing(found: Sequence[FoundSeries], settings: FermentationSettings) -> set[str]:
    keys = {key for one in found for key in one.tags} - set(settings.ignore_tags)
    return {key for key in keys if len({one.tags.get(key) for one in found}) > 1}


def listed(values: Iterable[str]) -> str:
    """Some names for an error, the first few of many."""
    shown = sorted(values)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shorten(value) for value in shown[:_SHOWN]) + more
