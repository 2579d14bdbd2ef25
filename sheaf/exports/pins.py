"""Tags: names that people give to versions which have to stay, such as `@paper`.

One small document for each series, `tags.json`, replaced only if nobody has changed it since it was read. A version
that has a tag is not deleted; of a pin and a deletion that meet, at most one is done. Not here: which generations
exports keep (`kept`), for that every published version is enough.
"""

from collections.abc import Callable
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from sheaf import activity, clock
from sheaf.errors import NotFoundError, UsageError
from sheaf.exports.records import Status, read_record, to_json
from sheaf.names import ExportId, SeriesId, check_tag, did_you_mean
from sheaf.store import documents
from sheaf.store.store import Store


class Pin(BaseModel):
    """What a tag names, and who said so."""

    version: int
    who: str
    at: datetime


class Pins(BaseModel):
    """The tags of a series, by name."""

    model_config = ConfigDict(extra="ignore")

    tags: dict[str, Pin]


def read_pins(store: Store, series: SeriesId) -> dict[str, Pin]:
    """The tags of a series.

    Raises:
        DamagedError: they cannot be read.
    """
    return _read(store, series)[1]


def tagged(store: Store, series: SeriesId, tag: str) -> ExportId:
    """The version that a tag names.

    Raises:
        NotFoundError: there is no such tag.
    """
    pins = read_pins(store, series)
    if tag not in pins:
        known = ", ".join(f"@{name}" for name in pins) or "none"
        raise NotFoundError(f"{series} has no tag @{tag}: there are {known}.{did_you_mean(tag, pins)}")
    return ExportId(series, pins[tag].version)


def tags_of(pins: dict[str, Pin], version: int) -> list[str]:
    """The tags that name a version."""
    return sorted(tag for tag, pin in pins.items() if pin.version == version)


def pin(store: Store, export: ExportId, tag: str, who: str) -> Pin:
    """Give a version a tag; it stays until the tag is taken away.

    Raises:
        UsageError: the tag cannot be one, names another version already, or the export is not complete.
        NotFoundError: there is no such export.
    """
    check_tag(tag)
    _need_complete(store, export)
    made = Pin(version=export.version, who=who, at=clock.now())

    def with_it(pins: dict[str, Pin]) -> dict[str, Pin] | None:
        if tag not in pins:
            return {**pins, tag: made}
        if pins[tag].version != export.version:
            named = f"{export.series}/v{pins[tag].version}"
            raise UsageError(f"@{tag} names {named}: a tag never moves. Take another, or unpin that one first.")
        return None

    if not _change(store, export.series, with_it):
        return read_pins(store, export.series)[tag]
    try:
        _need_complete(store, export)  # it may have been deleted meanwhile
    except (NotFoundError, UsageError):
        _change(store, export.series, lambda pins: {name: pin for name, pin in pins.items() if name != tag})
        raise
    activity.log(store, "export pinned", export, who, f"@{tag}")
    return made


def unpin(store: Store, series: SeriesId, tag: str, who: str) -> ExportId:
    """Take a tag away; the version stays, but may be deleted from now on.

    Returns:
        The version that had it.

    Raises:
        NotFoundError: there is no such tag.
    """
    export = tagged(store, series, tag)
    if _change(
        store, series, lambda pins: {name: pin for name, pin in pins.items() if name != tag} if tag in pins else None
    ):
        activity.log(store, "export unpinned", export, who, f"@{tag}")
    return export


def refuse_pinned(store: Store, export: ExportId) -> None:
    """Let nobody delete what is pinned.

    Raises:
        UsageError: it has a tag.
        DamagedError: whether it has one cannot be known.
    """
    if tags := tags_of(read_pins(store, export.series), export.version):
        named = ", ".join(f"@{tag}" for tag in tags)
        raise UsageError(f"{export} is pinned as {named}: run `sheaf unpin {export.series}/@{tags[0]}` first.")


def _need_complete(store: Store, export: ExportId) -> None:
    status = read_record(store, export).status
    if status is not Status.COMPLETED:
        raise UsageError(f"{export} is {status}: only what is completed can be pinned.")


def _read(store: Store, series: SeriesId) -> tuple[bytes | None, dict[str, Pin]]:
    try:
        data = store.get(series.tags_path)
    except NotFoundError:
        return None, {}
    return data, documents.parse(Pins, data, store, series.tags_path).tags


def _change(store: Store, series: SeriesId, change: Callable[[dict[str, Pin]], dict[str, Pin] | None]) -> bool:
    """Replace the tags, whoever else does; False where there was nothing to change."""
    while True:
        before, pins = _read(store, series)
        after = change(pins)
        if after is None:
            return False
        if store.swap(series.tags_path, before, to_json(Pins(tags=after))):
            return True
