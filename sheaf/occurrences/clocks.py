"""Which zone a station's clock is in, and what its offset from UTC was when.

Here: zones from coordinates, the spans of time in which an offset holds, and SQL that uses them. Not here:
reading times (`readers/fields`).

A wall time in the hour that clocks go through twice, or not at all, could mean two moments or none: it keeps no offset.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, available_timezones

from sheaf.occurrences.input_tables import DATE_ONLY

if TYPE_CHECKING:
    import duckdb

_MARGIN = timedelta(days=2)
_FIRST, _LAST = datetime(1970, 1, 1), datetime(2100, 1, 1)


def zone_at(latitude: float, longitude: float) -> str | None:
    """The IANA zone of a place; on the open sea one of whole hours."""
    import tzfpy

    found = tzfpy.get_tz(longitude, latitude)
    return found if found in available_timezones() else None


def spans(zone: str, first: datetime, last: datetime) -> Iterator[tuple[datetime, datetime, int]]:
    """The offsets of a zone, in minutes, and when in UTC they hold; without zones in all times."""
    known = ZoneInfo(zone)

    def offset(at: datetime) -> int:
        found = known.utcoffset(at.replace(tzinfo=UTC).astimezone(known))
        return round(found.total_seconds() / 60) if found else 0

    start, end = first - _MARGIN, last + _MARGIN
    day, begun, before = start, start, offset(start)
    while day < end:
        following = min(day + timedelta(days=1), end)
        if offset(following) != before:
            low, high = day, following
            while high - low > timedelta(seconds=1):
                middle = (low + (high - low) / 2).replace(microsecond=0)
                low, high = (middle, high) if offset(middle) == before and middle > low else (low, max(middle, low))
                if high <= low:
                    high = low + timedelta(seconds=1)
            yield begun, high, before
            begun, before = high, offset(following)
        day = following
    yield begun, end, before


def make_spans(
    database: "duckdb.DuckDBPyConnection", zones: Iterable[str], first: datetime | None, last: datetime | None
) -> None:
    """Make the table `zone_span`: for each zone the spans of an offset, in UTC and as its clocks show them."""
    database.execute(
        """CREATE TABLE zone_span (zone VARCHAR, minutes SMALLINT, utc_from TIMESTAMP, utc_until TIMESTAMP,
            wall_from TIMESTAMP, wall_until TIMESTAMP)"""
    )
    if first is None or last is None:
        return
    first, last = max(first, _FIRST), min(last, _LAST)  # beyond them a clock was wrong, and has no offset
    for zone in sorted(set(zones)):
        found = list(spans(zone, first, last))
        for index, (start, end, minutes) in enumerate(found):
            before = found[index - 1][2] if index else minutes
            after = found[index + 1][2] if index + 1 < len(found) else minutes
            database.execute(
                "INSERT INTO zone_span VALUES (?, ?, ?, ?, ?, ?)",
                [
                    *(zone, minutes, start, end),
                    start + timedelta(minutes=max(before, minutes)),
                    end + timedelta(minutes=min(minutes, after)),
                ],
            )


def joined(alias: str, zone: str, time: str, offset: str) -> str:
    """SQL that joins the span a time lies in, as `alias`.

    Args:
        zone, time, offset: SQL of the station's zone, of the time, and of the offset that was written with it.
    """
    return (
        f"LEFT JOIN zone_span {alias} ON {alias}.zone = {zone} AND"
        f" CASE WHEN {offset} IS NULL THEN {time} >= {alias}.wall_from AND {time} < {alias}.wall_until"
        f" WHEN {offset} = 0 THEN {time} >= {alias}.utc_from AND {time} < {alias}.utc_until ELSE false END"
    )


def wall(alias: str, time: str, offset: str) -> str:
    """SQL of what the station's clock showed: UTC is turned into its time, another offset is its own."""
    known = f"{offset} = 0 AND {alias}.minutes IS NOT NULL"
    return f"CASE WHEN {known} THEN {time} + to_minutes({alias}.minutes) ELSE {time} END"


def seconds(first: str, first_minutes: str, last: str, last_minutes: str) -> str:
    """SQL of how long it is between two times, also when clocks were turned: by UTC where both offsets are known."""
    turned = f"nullif({last_minutes}, {DATE_ONLY}) - nullif({first_minutes}, {DATE_ONLY})"
    return f"(date_diff('second', {first}, {last}) - 60 * coalesce({turned}, 0))"


def outermost(which: str, time: str, minutes: str) -> str:
    """SQL of the first (`arg_min`) or last (`arg_max`) of many times with its offset, as `at` and `minutes`.

    By UTC where all offsets are known, else as the clocks showed them.
    """
    one, known = f"struct_pack(at := {time}, minutes := {minutes})", f"nullif({minutes}, {DATE_ONLY})"
    return (
        f"CASE WHEN count({known}) = count({time}) THEN {which}({one}, {time} - to_minutes({known}))"
        f" ELSE {which}({one}, {time}) END"
    )


def minutes(alias: str, offset: str) -> str:
    """SQL of the offset of that time, in minutes; null where nobody can know."""
    zone = f"coalesce({alias}.minutes, {offset})"
    return f"CASE WHEN {offset} IS NULL OR {offset} = 0 THEN {zone} ELSE {offset} END::SMALLINT"
