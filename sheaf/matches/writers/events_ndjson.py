"""`events_ndjson`: a schema record, then one JSON object for each event."""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pyarrow as pa

from sheaf import duck
from sheaf.ahead import ahead
from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.matches.analysis.events_stream import OF_RUNS, counts, events, warnings
from sheaf.matches.readers.clocks import utc_text
from sheaf.matches.readers.json_blocks import names_no_number
from sheaf.matches.vocabulary import EVENT_TYPES
from sheaf.matches.writers.csv_text import bytes_of

if TYPE_CHECKING:
    import duckdb

VERSION = "1.0.0"
_AT_ONCE = 8 * 1024
_CHUNK = 512 * 1024  # what is larger, the C library asks the system for each time
_LINE = 1024 * 1024
_MOST = 2**40
_WHAT = ("event_type", "device", "device_id", "device_position", "details", "session_id")
FIELDS = {
    "timestamp_iso": "When it happened, ISO 8601 in UTC",
    "event_type": "Type of event (shot_detected, impact_detected, …)",
    "device": "Device type (Timer, Sensor, Bridge)",
    "device_id": "Device identifier",
    "device_position": "Physical position of the device",
    "details": "Event details",
    "session_id": "Session identifier",
    "seq": "Sequence number of the process that wrote it",
    "run_id": "The run it belongs to",
    "match_id": "The match it belongs to",
    "stage": "Stage of its run",
    "bay": "Bay of its run",
    "string": "Number of its run at that stage and bay",
    "shooter": "Who shot the run",
    "target": "Target of the sensor of an impact",
    "_source_file": "File it was read from, below the match folder",
    "_source_line": "Line in that file",
    "raw_data": "The record as it came (if included)",
}


def write(draft: Draft) -> Written:
    """Write `match_<id>_raw.jsonl`."""
    name = f"match_{draft.partition}_raw.jsonl"
    with (draft.folder / name).open("wb") as file:
        rows = write_to(draft, file.write)
    return Written(rows, {name: rows}, counts(draft.tables), warnings(draft.tables))


def write_to(draft: Draft, write: Callable[[bytes | memoryview], object]) -> int:
    """Give out the events the filter wants, in order; returns how many there are."""
    with_raw = draft.options.include_raw_data
    fields = {name: text for name, text in FIELDS.items() if with_raw or name != "raw_data"}
    head = {
        "_type": "schema",
        "_version": VERSION,
        "_timestamp": draft.now.isoformat().replace("+00:00", "Z"),
        "_description": "LeadVille Impact Bridge export data",
        "fields": fields,
    }
    write(orjson.dumps(head) + b"\n")
    without = ("byte_offset", "dialect") if with_raw else ("byte_offset", "dialect", "raw")
    chosen = events(draft.tables, draft.filter.events, without=without, at_once=_AT_ONCE)
    rows = 0
    for count, lines in ahead((batch.num_rows, _lines(batch, draft.partition, with_raw)) for batch in chosen):
        write(lines)
        rows += count
    return rows


def verify(folder: Path, written: Written) -> None:
    """Read every line back: one schema record, then as many whole events as were written, of nothing but JSON."""
    import duckdb

    ((name, rows),) = written.rows.items()
    path = folder / name
    with path.open("rb") as file:
        if orjson.loads(file.readline()).get("_type") != "schema":
            raise VerificationError(f"{name} does not start with its schema record.")
    _confirm_numbers(path)
    with duck.connect(memory_limit="128MB", threads=1, temp_directory=str(folder.parent)) as connection:
        try:
            try:
                found = _read_back(connection, path, _LINE)
            except duckdb.InvalidInputException:  # a longer line, or it is no JSON
                found = _read_back(connection, path, max(_longest(path), _LINE))
        except duckdb.Error as error:
            raise VerificationError(f"{name} holds a line that is no JSON: {str(error).splitlines()[0]}") from error
    if found != (rows, rows, rows):
        raise VerificationError(f"{name} holds {min(found)} whole events, but {rows} were written.")


def _read_back(connection: "duckdb.DuckDBPyConnection", path: Path, longest: int) -> tuple[int, int, int]:
    """How many lines but the first are JSON, have a time, have a known type.

    Args:
        longest: bytes a line may have; several times as many are held.
    """
    query = """
        SELECT count(*), count(*) FILTER (try_cast(timestamp_iso AS TIMESTAMP) IS NOT NULL),
               count(*) FILTER (event_type IN (SELECT unnest(?)))
        FROM read_json(?, format = 'newline_delimited', maximum_object_size = ?, columns = {
            _type: 'VARCHAR', timestamp_iso: 'VARCHAR', event_type: 'VARCHAR'
        }) WHERE _type IS NULL
        """
    (found,) = connection.execute(query, [list(EVENT_TYPES), str(path), longest]).fetchall()
    return found


def _longest(path: Path) -> int:
    """Bytes of the longest line."""
    with path.open("rb") as file:
        return max(map(len, file))


def _confirm_numbers(path: Path) -> None:
    """Read what DuckDB takes for numbers, and JSON does not, with a parser that takes neither."""
    with path.open("rb") as file:
        while lines := file.read(_CHUNK) + file.readline():
            if not names_no_number(lines):
                continue
            for line in lines.split(b"\n"):
                if not names_no_number(line):
                    continue
                try:
                    orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise VerificationError(f"{path.name} holds a line that is no JSON: {error}.") from error


def _lines(batch: pa.RecordBatch, match: str, with_raw: bool) -> memoryview:
    """The JSON lines of a batch, put together column by column."""
    import pyarrow.compute as pc

    what = {name: batch.column(name) for name in _WHAT}
    only = pa.DictionaryArray.from_arrays(np.zeros(batch.num_rows, np.int32), pa.array([match]))
    of_run = {name: batch.column(name) for name in (*OF_RUNS, "target")}
    where = {"run_id": batch.column("run_id"), "match_id": only, **of_run, "_source_file": batch.column("source_file")}
    parts: list[pa.Array | str] = [
        f'{{"_schema_version":"{VERSION}","timestamp_iso":"',
        utc_text(batch.column("ts")),
        '"',
        _together(what, what.values()),
        ',"seq":',
        _json(batch.column("seq")),
        _together(where, [batch.column(name) for name in ("run_no", "target", "source_file")]),
        ',"_source_line":',
        _json(batch.column("source_line")),
    ]
    if with_raw:
        parts.extend([',"raw_data":', pc.coalesce(batch.column("raw"), pa.scalar("null"))])
    lines = pc.binary_join_element_wise(*parts, "}\n", "")
    return bytes_of(lines)


def _together(columns: Mapping[str, pa.Array], by: Iterable[pa.Array]) -> pa.Array:
    """Some neighbouring fields of each line; their text is made once for all lines that are alike in `by`."""
    import pyarrow.compute as pc

    alike = pa.array(_alike(by)).dictionary_encode()
    place = alike.indices.to_numpy()
    first = np.empty(len(alike.dictionary), np.int64)
    first[place[::-1]] = np.arange(len(place))[::-1]
    rows = pa.array(first)
    parts = [part for name, column in columns.items() for part in (f',"{name}":', _json(column.take(rows)))]
    return pc.binary_join_element_wise(*parts, "").take(alike.indices)


def _alike(columns: Iterable[pa.Array]) -> np.ndarray:
    """A number for each row, the same for rows that are the same in all columns."""
    codes, most = np.zeros(1, np.int64), 1
    for column in columns:
        encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        values = len(encoded.dictionary)
        if most * (values + 1) > _MOST:
            again = pa.array(codes).dictionary_encode()
            codes, most = again.indices.to_numpy().astype(np.int64), len(again.dictionary)
        codes = codes * (values + 1) + encoded.indices.fill_null(values).to_numpy()
        most *= values + 1
    return codes


def _json(column: pa.Array) -> pa.Array:
    """Each value as JSON text."""
    if pa.types.is_dictionary(column.type):
        column = _quoted(column.dictionary).take(column.indices)
    elif pa.types.is_string(column.type):
        column = _quoted(column)
    return column.cast(pa.string()).fill_null("null")


def _quoted(texts: pa.StringArray) -> pa.StringArray:
    """Texts in quotes; the few that need more are converted one by one."""
    import pyarrow.compute as pc

    quoted = pc.binary_join_element_wise('"', texts, '"', "")
    odd = pc.match_substring_regex(texts, r'[\x00-\x1f"\\]')
    if not pc.any(odd).as_py():
        return quoted
    escaped = [orjson.dumps(text).decode() for text in texts.filter(odd).to_pylist()]
    return pc.replace_with_mask(quoted, odd, pa.array(escaped, pa.string()))
