"""The dialects that records of a match are written in: what readers, ranks and the search for twins share.

A dialect is named here and read by one of the readers (`json_lines`, `text_logs`, `sqlite`); nobody else knows it.
Here: which there are, how exact and how independent each is, and what a JSON object is by its keys. Not here: what
a record means.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Dialect:
    """One way to write records.

    Attributes:
        name: as in the column `dialect` of the events.
        copy_of: the dialect of the log that it is written from, so that both tell of an event once.
        exact_us: how far its times may be from another logger's of the same event, in µs; None where that
            depends on the event.
        hears: whether it tells of shots and impacts by itself; of two that do, twins are looked for.
    """

    name: str
    copy_of: str = ""
    exact_us: int | None = None
    hears: bool = True

    @property
    def logger(self) -> str:
        """Who wrote it, or what it was copied from."""
        return self.copy_of or self.name


DIALECTS = {
    one.name: one
    for one in (
        Dialect("bridge_log"),
        Dialect("bridge_csv", copy_of="bridge_log"),
        Dialect("event_export", copy_of="bridge_log"),
        Dialect("timer_backup"),
        Dialect("database:timer_events"),
        Dialect("database:sensor_events"),
        Dialect("database:impacts"),
        Dialect("modular_log"),
        Dialect("console", exact_us=1_100_000),  # stamped to the second
        Dialect("debug_log", hears=False),
    )
}
"""All of them. The earlier, the rather a record is kept where several tell of one event, by exactness and content."""


def dialect_of(item: Mapping[str, Any]) -> str | None:
    """The dialect of a JSON object by its keys; `schema` where it describes others, None where they say nothing."""
    if "timestamp_iso" in item:
        if "event_type" in item:
            return "event_export"
        if isinstance(item.get("data"), dict) and "details" not in item:
            return "debug_log"
        return "bridge_log" if "type" in item or "details" in item else None
    if "timestamp" in item and "event_type" in item:
        return "timer_backup"
    if "ts_ms" in item and "msg" in item:
        return "modular_log"
    if "datetime" in item and "details" in item:
        return "bridge_log"
    return "schema" if item.get("_type") == "schema" else None
