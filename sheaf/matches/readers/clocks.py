"""From what a source writes for a time to microseconds since 1970 UTC, and from there to text.

Naive times are read in the zone of the match. Where a local time exists twice (end of daylight
saving) the reading that does not go back behind the file's previous time is taken, and flagged.
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from sheaf.clock import microseconds

if TYPE_CHECKING:
    import pyarrow as pa

_LATEST = 7_258_118_400_000_000  # 2200-01-01: later is a broken clock, or not a time at all
BEYOND_US = 4_102_444_800_000_000
"""2100-01-01: a clock that shows this or later was never set; one that counts seconds in four bytes ends in 2106."""
_TWELVE_HOURS = re.compile(
    r"(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>\d{2}|\d{4})"
    r" (?P<hour>\d{1,2}):(?P<minute>\d{2}):(?P<second>\d{2})(?:\.(?P<fraction>\d{1,6}))? ?(?P<half>[ap])m",
    re.I,
)
_ZULU = re.compile(r" ?(Z|UTC|GMT)$", re.I)
_NUMBER = re.compile(r"\d{9,20}(\.\d+)?")
_HMS_ALIKE = r"^\d\d:\d\d:\d\d(\.\d{1,6})?$"
_HMS = re.compile(r"(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d{1,6}))?")

Moment = tuple[int, bool]
"""Microseconds since 1970 UTC, and whether the local time was ambiguous."""


class Clock:
    """Reads the times of one file; remembers the `last` one to tell the two 1:30 of an autumn night apart.

    `naive` counts the times that carry no zone.
    """

    def __init__(self, zone: ZoneInfo, last: int | None = None) -> None:
        self.zone = zone
        self.naive = 0
        self.last = last

    def iso(self, value: object) -> Moment | None:
        """ISO 8601, with or without a zone, or a number since 1970; None when it is no usable time."""
        if not isinstance(value, str):
            return self.number(value)
        text = value.strip()
        if _NUMBER.fullmatch(text):
            return self.number(float(text) if "." in text else int(text))
        try:
            return self._moment(datetime.fromisoformat(_ZULU.sub("+00:00", text)))
        except (ValueError, OverflowError):
            return None

    def number(self, value: object) -> Moment | None:
        """Seconds since 1970, or milli-, micro- or nanoseconds: which it is follows from how large the number is."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e20:
            return None
        if value >= 1e17:
            return self._checked(int(value // 1000), False)
        per_unit = 1_000_000 if value < 1e11 else 1000 if value < 1e14 else 1
        return self._checked(round(value * per_unit), False)

    def iso_column(self, texts: "pa.StringArray") -> "pa.Int64Array | None":
        """As `iso`, for many; None when they need to be looked at one by one.

        That is so when some carry a zone and some do not, when one is no time, or when the zone's
        clock was changed on that day.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        naive = 0
        try:
            try:
                moments = texts.cast(pa.timestamp("us", "UTC"))
            except pa.ArrowInvalid:
                moments = pc.assume_timezone(texts.cast(pa.timestamp("us")), self.zone.key)
                naive = len(texts)
        except pa.ArrowInvalid:
            return None
        times = moments.cast(pa.int64())
        span = pc.min_max(times).as_py()
        if times.null_count or span["min"] is None or span["min"] < 0 or span["max"] >= _LATEST:
            return None
        self.last = times[-1].as_py()
        self.naive += naive
        return times

    def time_of_day_column(self, day: date, texts: "pa.StringArray") -> "pa.Int64Array | None":
        """As `time_of_day`, for many; None when they need to be looked at one by one."""
        import pyarrow.compute as pc

        if texts.null_count or not pc.all(pc.match_substring_regex(texts, _HMS_ALIKE)).as_py():
            return None
        return self.iso_column(pc.binary_join_element_wise(day.isoformat(), texts, "T"))

    def twelve_hours(self, text: object) -> Moment | None:
        """`9/9/25 8:44:01.22am`: month, day, year; always local."""
        found = _TWELVE_HOURS.fullmatch(text.strip()) if isinstance(text, str) else None
        if found is None:
            return None
        month, day, year, hour, minute, second = (int(part) for part in found.groups()[:6])
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if found[8].lower() == "p" else 0)
        try:
            local = datetime(year + 2000 if year < 100 else year, month, day, hour, minute, second, _fraction(found[7]))
            return self._moment(local)
        except (ValueError, OverflowError):
            return None

    def twelve_hours_column(self, texts: "pa.StringArray") -> "pa.Int64Array | None":
        """As `twelve_hours`, for many; None when they need to be looked at one by one."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pc.extract_regex(texts, f"(?i)^{_TWELVE_HOURS.pattern}$")
        if found.null_count:
            return None
        month, day, year, hour, minute, second, fraction, half = found.flatten()
        hour = hour.cast(pa.int32())
        span = pc.min_max(hour).as_py()
        if span["min"] is None or not 1 <= span["min"] <= span["max"] <= 12:
            return None
        afternoon = pc.equal(pc.utf8_lower(half), "p")
        hour = pc.add(pc.if_else(pc.equal(hour, 12), 0, hour), pc.if_else(afternoon, 12, 0))
        year = pc.if_else(pc.equal(pc.binary_length(year), 2), pc.binary_join_element_wise("20", year, ""), year)
        month, day, hour = (pc.utf8_lpad(part.cast(pa.string()), 2, "0") for part in (month, day, hour))
        fraction = pc.utf8_rpad(pc.coalesce(fraction, ""), 6, "0")
        days = pc.binary_join_element_wise(year, month, day, "-")
        times = pc.binary_join_element_wise(hour, minute, second, ":")
        return self.iso_column(
            pc.binary_join_element_wise(pc.binary_join_element_wise(days, times, "T"), fraction, ".")
        )

    def time_of_day(self, day: date, text: object) -> Moment | None:
        """`HH:MM:SS.mmm` on a day known from elsewhere; always local."""
        found = _HMS.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            return None
        try:
            hour, minute, second = (int(part) for part in found.groups()[:3])
            return self._moment(datetime(day.year, day.month, day.day, hour, minute, second, _fraction(found[4])))
        except (ValueError, OverflowError):
            return None

    def epoch(self, value: object) -> Moment | None:
        """Nanoseconds since 1970; 13 digits are milliseconds and 16 microseconds."""
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            return None
        digits = len(str(value))
        us = value // 1000 if digits > 16 else value if digits > 13 else value * 1000
        return self._checked(us, False)

    def _moment(self, when: datetime) -> Moment | None:
        if when.tzinfo is not None:
            return self._checked(microseconds(when), False)
        ahead = _ahead(self.zone, when.replace(minute=0, second=0, microsecond=0))
        if ahead is not None:
            moment = self._checked(microseconds(when.replace(tzinfo=UTC)) - ahead, False)
            self.naive += moment is not None
            return moment
        first, second = (microseconds(when.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)) for fold in (0, 1))
        ambiguous = second > first  # else unique, or in the gap of spring, where fold=0 is as if no clock had changed
        late = ambiguous and self.last is not None and first < self.last - 2_000_000
        moment = self._checked(second if late else first, ambiguous)
        self.naive += moment is not None
        return moment

    def _checked(self, us: int, ambiguous: bool) -> Moment | None:
        if not 0 <= us < _LATEST:
            return None
        self.last = us
        return us, ambiguous


@lru_cache
def _ahead(zone: ZoneInfo, hour: datetime) -> int | None:
    """By how many microseconds a zone is ahead of UTC all through an hour; None where its clocks are changed in it."""
    ends = (hour.replace(tzinfo=zone), hour.replace(tzinfo=zone) + timedelta(hours=1))
    ahead = {end.replace(fold=fold).utcoffset() for end in ends for fold in (0, 1)}
    only = ahead.pop()
    return None if ahead or only is None else only // timedelta(microseconds=1)


def utc_text(times: "pa.Array") -> "pa.Array":
    """`2025-09-14T10:00:00.279Z`; the fraction, in the unit of the times, only where it is not zero."""
    import pyarrow as pa
    import pyarrow.compute as pc

    unit = times.type.unit
    # Without their zone, which is UTC anyway, times become text twenty times as fast.
    text = pc.binary_replace_slice(times.cast(pa.timestamp(unit)).cast(pa.string()), 10, 11, "T")
    text = pc.replace_substring(text, ".000" if unit == "ms" else ".000000", "")
    return pc.binary_join_element_wise(text, "Z", "")


def _fraction(digits: str | None) -> int:
    return int((digits or "0").ljust(6, "0")[:6])
