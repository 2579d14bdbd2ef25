"""The SQL that turns one value as it arrived into its type, and says what is wrong with it.

Here: numbers, flags, texts and times of one column. Not here: what rows must be to each other (`ingest`).
"""

import pyarrow as pa

from sheaf.occurrences.source_tables import SHARE

SQL_TYPES = {
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.string(): "VARCHAR",
    pa.timestamp("us"): "TIMESTAMP",
}
FIRST_YEAR, LAST_YEAR = 1800, 2199  # photography is younger than this, and clocks that run ahead are broken
_WHOLE_NUMBER = r"[+-]?\d{1,19}(\.0*)?"
_OFFSET = r":\d\d(\.\d+)?\s*(Z|z|[+-]\d\d(:?\d\d)?)$"


def typed(column: pa.Field, arrived: pa.DataType, raw: str) -> tuple[str, list[tuple[str, str]]]:
    """How to read one column.

    Args:
        column: as its table wants it.
        arrived: the type it has in the file.
        raw: SQL that names the value as it arrived.

    Returns:
        SQL for the typed value (null where it cannot be read), and faults: pairs of a condition on the
        typed column in `c` and the raw value, and the reason to give.
    """
    name, given = f'c."{column.name}"', _given(arrived, raw)
    unreadable = f"{name} IS NULL AND {given} IS NOT NULL"
    if pa.types.is_integer(column.type):
        return _whole_number(arrived, raw), [(unreadable, f"{column.name} is not a whole number")]
    if pa.types.is_boolean(column.type):
        return f"TRY_CAST({given} AS BOOLEAN)", [(unreadable, f"{column.name} is neither true nor false")]
    if pa.types.is_floating(column.type):
        return _number(column, given)
    if pa.types.is_timestamp(column.type):
        year = f"{name} < '{FIRST_YEAR}-01-01'::TIMESTAMP OR {name} >= '{LAST_YEAR + 1}-01-01'::TIMESTAMP"
        return _time(arrived, raw), [
            (unreadable, f"{column.name} is not a date with a time"),
            (year, f"{column.name} is before {FIRST_YEAR} or after {LAST_YEAR}"),
        ]
    if pa.types.is_nested(arrived):
        raw = f"to_json({raw})"
    text = f"replace(CAST({raw} AS VARCHAR), chr(0), '')"  # no database or XML file can hold a NUL
    if column.name in ("bbox", "parents_json"):
        text = f"nullif(trim({text}), 'null')"
        text = f"CASE WHEN json_valid({text}) THEN CAST(json({text}) AS VARCHAR) ELSE {text} END"  # without spaces
    return f"nullif({text}, '')", []


def _given(arrived: pa.DataType, raw: str) -> str:
    """The raw value as text, null when it is empty."""
    return f"nullif(trim({raw}), '')" if pa.types.is_string(arrived) else f"CAST({raw} AS VARCHAR)"


def _whole_number(arrived: pa.DataType, raw: str) -> str:
    if pa.types.is_integer(arrived):
        return f"TRY_CAST({raw} AS BIGINT)"
    given = _given(arrived, raw)
    return f"CASE WHEN regexp_full_match({given}, '{_WHOLE_NUMBER}') THEN TRY_CAST({given} AS BIGINT) END"


def _number(column: pa.Field, given: str) -> tuple[str, list[tuple[str, str]]]:
    name, value = f'c."{column.name}"', f"TRY_CAST({given} AS DOUBLE)"
    if (column.metadata or {}).get(b"unit") != SHARE.encode():
        return f"CASE WHEN {given} IS NOT NULL THEN coalesce({value}, 'nan'::DOUBLE) END", []
    return value, [
        (f"{given} IS NOT NULL AND NOT coalesce(isfinite({name}), false)", f"{column.name} is not a finite number"),
        (f"{name} < 0 OR {name} > 1", f"{column.name} is not between 0 and 1"),
    ]


def _time(arrived: pa.DataType, raw: str) -> str:
    """Wall time: an offset is resolved in the zone of the source, which is the session's."""
    if pa.types.is_timestamp(arrived):
        return f"TRY_CAST({raw} AS TIMESTAMP)"
    given = _given(arrived, raw)
    return (
        f"CASE WHEN regexp_matches({given}, '{_OFFSET}') THEN CAST(TRY_CAST({given} AS TIMESTAMPTZ) AS TIMESTAMP)"
        f" ELSE TRY_CAST({given} AS TIMESTAMP) END"
    )
