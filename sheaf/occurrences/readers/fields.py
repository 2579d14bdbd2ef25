"""The SQL that turns one value as it arrived into its type, and says what is wrong with it.

Here: numbers, flags, texts and times of one column. Not here: what rows must be to each other (`ingest`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from string import Template

import pyarrow as pa

from sheaf import sql
from sheaf.occurrences.input_tables import DATE_ONLY, SHARE

SQL_TYPES = {
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.string(): "VARCHAR",
    pa.timestamp("us"): "TIMESTAMP",
    pa.int16(): "SMALLINT",
}
FIRST_YEAR, LAST_YEAR = 1800, 2199  # photography is younger than this, and clocks that run ahead are broken
UNLIKELY_BEFORE = 1990  # of digital cameras; a clock that was reset begins at 1970 or 1980
_AXES = {"latitude": "NS", "longitude": "EW"}
_WHOLE_NUMBER = r"[+-]?\d{1,19}(\.0*)?"
# beside what DuckDB reads by itself: cameras write the first into their images, ISO 8601 calls the others basic
_OTHER_TIMES = [
    *("%Y:%m:%d %H:%M:%S", "%Y:%m:%d %H:%M:%S.%g", "%Y:%m:%d %H:%M"),
    *("%Y%m%dT%H%M%S", "%Y%m%dT%H%M%S.%g", "%Y%m%dT%H%M", "%Y%m%d"),
]
_WRITTEN_OFFSET = r"\s*([Zz]|[+-]\d\d(:?\d\d)?)$"
# DuckDB leaves out what follows a time: what is more than digits and an offset of this world is read by its parts
_NOT_PLAIN = r"[^-+0-9:/. TtZz]|[Zz].|[T :]\S*[+-](1[5-9]|[2-9]\d|\d\d:?\d\d\D|\d$)"
_PARTS = (
    r"(?i)^(\d{4,}[-/: ]?\d\d?[-/: ]?\d\d?[T ]\s*\d\d?:?\d\d(?::?\d\d(?:[.,]\d*)?)?)\s*(?:([ap])\.?m\b\.?)?\s*"
    r"(?:(?:UTC|GMT)?\s*(Z|[+-](?:0?\d|1[0-4])(?::?[0-5]\d)?)?(?:\s*\[[\w/+-]*\])?|(Zulu|[a-z_]+(?:/[\w+-]+)+))$"
)
# Lists of one, so that what they hold is found once. In the hour that clocks go through twice, or leave out, a zone
# has no offset.
_MACROS = r"""
CREATE MACRO is_zone(name) AS contains($zones, ' ' || lower(name) || ' ');
CREATE MACRO time_parts(text) AS regexp_extract(text, '$parts', ['shown', 'half', 'written', 'zone']);
CREATE MACRO worded_clock(text) AS list_transform([time_parts(text)], lambda p: list_transform(
    [$shown], lambda s: CASE WHEN p.zone <> '' AND NOT is_zone(p.zone) THEN NULL WHEN p.half = '' THEN s
    WHEN lower(p.half) = 'p' OR hour(s) <= 12
        THEN s + to_hours((hour(s) % 12 + if(lower(p.half) = 'p', 12, 0) - hour(s))::BIGINT) END)[1])[1];
CREATE MACRO zone_minutes(zone, shown) AS list_transform([timezone(zone, shown)], lambda m: CASE
    WHEN shown = timezone(zone, m) AND shown <> timezone(zone, m + INTERVAL 1 HOUR)
        AND shown <> timezone(zone, m - INTERVAL 1 HOUR) THEN epoch(shown - timezone('UTC', m)) // 60 END)[1];
CREATE MACRO worded_offset(text) AS list_transform([time_parts(text)], lambda p: CASE
    WHEN p.zone <> '' THEN CASE WHEN is_zone(p.zone)
        THEN list_transform([worded_clock(text)], lambda s: zone_minutes(p.zone, s))[1] END
    WHEN upper(p.written) IN ('', 'Z') THEN CASE WHEN regexp_matches(text, '(?i)(Z|UTC|GMT)$') THEN 0 END
    ELSE TRY_CAST(regexp_extract(p.written, '^[+-]\d\d?') AS INTEGER) * 60 + coalesce(
        TRY_CAST(left(p.written, 1) || regexp_extract(p.written, '^...?:?(\d\d)$', 1) AS INTEGER), 0) END)[1];
"""


@dataclass(frozen=True)
class Fault:
    """Why a row is rejected, or a value is lost: a name that stays, and a sentence."""

    code: str
    reason: str


@dataclass(frozen=True)
class Typed:
    """How to read one column.

    Attributes:
        value: SQL of the typed value on the row `a` as it arrived; null where it cannot be used.
        given: SQL that is null where nothing arrived.
        faults: what can be wrong where something was given and cannot be used, as conditions on `a`; the
            last one is meant where no other holds.
        odd: what can be said of a value that is used as it is.
    """

    value: str
    given: str
    faults: tuple[tuple[str, Fault], ...] = ()
    odd: tuple[tuple[str, Fault], ...] = ()


def typed(column: pa.Field, arrived: pa.DataType, now: datetime) -> Typed:
    """How to read one column.

    Args:
        column: as its table wants it.
        arrived: the type it has in the file.
        now: what is later than tomorrow is a clock that runs ahead.
    """
    name, raw = column.name, f'a."{column.name}"'
    text = _as_text(arrived, raw)
    given = text if pa.types.is_string(arrived) else raw
    if pa.types.is_integer(column.type):
        fault = Fault("not_a_whole_number", f"{name} is not a whole number")
        return Typed(_whole_number(arrived, raw), given, (("true", fault),))
    if pa.types.is_boolean(column.type):
        fault = Fault("not_a_truth_value", f"{name} is neither true nor false")
        return Typed(raw if arrived == column.type else f"TRY_CAST({text} AS BOOLEAN)", given, (("true", fault),))
    if pa.types.is_floating(column.type):
        if pa.types.is_string(arrived) and name in _AXES:
            return _number(column, given, degrees(text, name))
        return _number(column, given, raw if arrived == column.type else f"TRY_CAST({text} AS DOUBLE)")
    if pa.types.is_timestamp(column.type):
        return _time(name, arrived, text, given, raw, now)
    if pa.types.is_nested(arrived):
        raw = f"to_json({raw})"
    text = f"replace(CAST({raw} AS VARCHAR), chr(0), '')"  # no database or XML file can hold a NUL
    if name in ("bbox", "parents_json"):
        text = f"nullif(trim({text}), 'null')"
        text = f"CASE WHEN json_valid({text}) THEN CAST(json({text}) AS VARCHAR) ELSE {text} END"  # without spaces
    return Typed(f"nullif({text}, '')", "NULL")


def macros(zones: Iterable[str]) -> str:
    """SQL of what `clock` and `offset` use, for the zones that the database knows."""
    known = " ".join(["", *sorted(zone.lower() for zone in zones if "/" in zone or zone == "Zulu"), ""])
    shown = _plain_clock("replace(p.shown, ',', '.')")
    return Template(_MACROS).safe_substitute(zones=sql.literal(known), parts=_PARTS, shown=shown)


def clock(text: str) -> str:
    """SQL of what a clock showed, of a time as text; null where it is none. Needs `macros`."""
    worded = f"regexp_matches({text}, '{_NOT_PLAIN}')"
    return f"CASE WHEN {worded} THEN worded_clock({text}) ELSE {_plain_clock(text)} END"


def _plain_clock(text: str) -> str:
    bare = f"regexp_replace({text}, '{_WRITTEN_OFFSET}', '')"
    return (
        f"coalesce(TRY_CAST({text} AS TIMESTAMP), TRY_CAST({bare} AS TIMESTAMP), try_strptime({bare}, {_OTHER_TIMES}))"
    )


def offset(time: str, arrived: pa.DataType) -> str:
    """SQL of the offset from UTC, in minutes, that was written with a time; null where there is none.

    Args:
        time: name of the column.
        arrived: the type it has in the file.
    """
    if pa.types.is_timestamp(arrived):
        return "CAST(0 AS SMALLINT)" if arrived.tz else "CAST(NULL AS SMALLINT)"
    if pa.types.is_date(arrived):
        return f"CAST({DATE_ONLY} AS SMALLINT)"
    if not pa.types.is_string(arrived):
        return "CAST(NULL AS SMALLINT)"
    return written_offset(f"""trim(a."{time}")""")


def written_offset(text: str) -> str:
    """SQL of the same, of a time as text; a date has that of a whole day. Needs `macros`."""
    # by place, which is quicker than a pattern: …+02:00, …+0200, …+02
    at = [f"substr({text}, -{width}, 1) IN ('+', '-')" for width in (6, 5, 3)]
    hours = [f"CAST(TRY_CAST(substr({text}, -{width}, 3) AS INTEGER) * 60 AS SMALLINT)" for width in (6, 5, 3)]
    minutes = f"TRY_CAST(substr({text}, -{{}}, 1) || right({text}, 2) AS SMALLINT)"
    return (
        f"CASE WHEN {text} IS NULL THEN NULL WHEN {_is_date(text)} THEN {DATE_ONLY}"
        f" WHEN length({text}) < 14 OR (length({text}) = 19 AND substr({text}, 17, 1) = ':') THEN NULL"
        f" WHEN regexp_matches({text}, '{_NOT_PLAIN}') THEN worded_offset({text})"
        f" WHEN right({text}, 1) IN ('Z', 'z') THEN 0"
        f" WHEN {at[0]} THEN {hours[0]} + {minutes.format(6)} WHEN {at[1]} THEN {hours[1]} + {minutes.format(5)}"
        f" WHEN {at[2]} THEN {hours[2]} END::SMALLINT"
    )


def _is_date(text: str) -> str:
    return f"length({text}) <= {len('2024-06-15')}"


def _as_text(arrived: pa.DataType, raw: str) -> str:
    """The raw value as text, null when it is empty."""
    return f"nullif(trim({raw}), '')" if pa.types.is_string(arrived) else f"CAST({raw} AS VARCHAR)"


def _whole_number(arrived: pa.DataType, raw: str) -> str:
    if pa.types.is_integer(arrived):
        return f"TRY_CAST({raw} AS BIGINT)"
    text = _as_text(arrived, raw)
    return f"CASE WHEN regexp_full_match({text}, '{_WHOLE_NUMBER}') THEN TRY_CAST({text} AS BIGINT) END"


def _number(column: pa.Field, given: str, value: str) -> Typed:
    if (column.metadata or {}).get(b"unit") != SHARE.encode():  # coordinates are judged in pairs, in `corrections`
        return Typed(f"CASE WHEN {given} IS NOT NULL THEN coalesce({value}, 'nan'::DOUBLE) END", given)
    return Typed(
        f"CASE WHEN {value} BETWEEN 0 AND 1 THEN {value} END",
        given,
        (
            (f"isfinite({value})", Fault("out_of_range", f"{column.name} is not between 0 and 1")),
            ("true", Fault("not_a_number", f"{column.name} is not a finite number")),
        ),
    )


def degrees(text: str, axis: str) -> str:
    """A coordinate, also as people write it: `59,91`, `33.9 S`, `59° 54' 50" N`; letters of the other axis are none."""
    letters = _AXES[axis]
    number, quote = r"\d+(?:[.,]\d+)?", "''"  # a quote as it stands in a text of SQL
    degree, minute, second = r"\s*[°º\s]\s*", rf"\s*(?:{quote}|[′’\s])\s*", rf'\s*(?:{quote * 2}|["″”\s])\s*'
    rest = rf"(?:{degree}(?:({number})(?:{minute}(?:({number})(?:{second})?)?)?)?)?"
    written = rf"^([{letters}])?\s*([+-]?{number}){rest}\s*([{letters}])?$"
    before, whole, *below, after = (f"regexp_extract(upper({text}), '{written}', {group})" for group in range(1, 6))
    whole_, minutes, seconds = (
        f"TRY_CAST(replace(nullif({part}, ''), ',', '.') AS DOUBLE)" for part in (whole, *below)
    )
    size = f"abs({whole_}) + coalesce({minutes}, 0) / 60 + coalesce({seconds}, 0) / 3600"
    usable = f"coalesce({minutes}, 0) < 60 AND coalesce({seconds}, 0) < 60 AND length({before} || {after}) < 2"
    negative = f"starts_with({whole}, '-') OR {before} || {after} = '{letters[1]}'"
    signed = f"CASE WHEN {usable} THEN CASE WHEN {negative} THEN -({size}) ELSE {size} END END"
    return f"coalesce(TRY_CAST({text} AS DOUBLE), {signed})"


def _time(name: str, arrived: pa.DataType, text: str, given: str, raw: str, now: datetime) -> Typed:
    """What the clock showed; its offset is a value of its own."""
    value = f"TRY_CAST({raw} AS TIMESTAMP)"
    odd = []
    if pa.types.is_string(arrived):
        value = clock(text)
    if pa.types.is_string(arrived) or pa.types.is_date(arrived):
        odd.append(
            (_is_date(text), Fault("no_time_of_day", f"{name} is a date without a time: it is published as one"))
        )
    first, last = f"'{FIRST_YEAR}-01-01'::TIMESTAMP", f"'{LAST_YEAR + 1}-01-01'::TIMESTAMP"
    used = f"CASE WHEN {value} >= {first} AND {value} < {last} THEN {value} END"
    late = (now + timedelta(days=2)).strftime("%Y-%m-%d")
    reason = f"{name} is before {UNLIKELY_BEFORE} or after today: the clock was wrong; published as it is"
    unlikely = f"{value} < '{UNLIKELY_BEFORE}-01-01'::TIMESTAMP OR {value} >= '{late}'::TIMESTAMP"
    odd.append((unlikely, Fault("unlikely_date", reason)))
    return Typed(
        used,
        given,
        (
            (f"{value} IS NOT NULL", Fault("out_of_range", f"{name} is before {FIRST_YEAR} or after {LAST_YEAR}")),
            ("true", Fault("not_a_time", f"{name} is not a date with a time")),
        ),
        tuple(odd),
    )
