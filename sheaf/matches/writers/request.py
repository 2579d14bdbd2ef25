"""What can be asked of an export of a match: which events, and how they are written."""

from typing import Literal

from pydantic import field_validator

from sheaf.exports.options import Options
from sheaf.matches.vocabulary import EVENT_TYPES, SOURCE_TYPES

PARTITION_COLUMNS = (
    *("event_type", "device", "device_id", "device_position", "session_id"),
    *("run_id", "match_id", "source_file", "stage", "bay", "shooter", "target"),
)


class EventFilter(Options):
    """Which events an export holds.

    Attributes:
        events: canonical event types or types of the sources; all when empty.
    """

    events: tuple[str, ...] | None = None

    @field_validator("events")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if name not in EVENT_TYPES and name not in SOURCE_TYPES:
                raise ValueError(f"{name!r} is no event type; known are {', '.join((*EVENT_TYPES, *SOURCE_TYPES))}")
        return names or None


class NdjsonOptions(Options):
    """How events are written.

    Attributes:
        include_raw_data: whether each event carries its record as it came.
    """

    include_raw_data: bool = True


class ParquetOptions(Options):
    """How the events are stored.

    Attributes:
        compression: codec of all columns.
        partition_by: `date` (local date of the match), `session`, or a column; none writes one file.
    """

    compression: Literal["gzip", "brotli", "lz4", "zstd", "snappy", "none"] = "gzip"
    partition_by: str | None = None

    @field_validator("partition_by")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value in (None, "", "none"):
            return None
        if value not in ("date", "session", *PARTITION_COLUMNS):
            raise ValueError(f"use date, session or one of the columns {', '.join(PARTITION_COLUMNS)}")
        return value


class ArchiveOptions(Options):
    """What goes in.

    Attributes:
        logs_only: leave out databases and exports.
    """

    logs_only: bool = False
