"""`events_ndjson`: a schema record, then one JSON object for each event."""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa

from sheaf import duck
from sheaf.ahead import ahead
from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.matches.analysis.events_stream import counts, events, warnings
from sheaf.matches.readers.clocks import utc_text
from sheaf.matches.readers.json_blocks import names_no_number
from sheaf.matches.vocabulary import EVENT_TYPES

VERSION = "1.0.0"
_CHUNK = 1024 * 1024
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
    chosen = events(draft.tables, draft.filter.events, without=without)
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
    longest = _strictly(path)
    with duck.connect(memory_limit="128MB", threads=1, temp_directory=str(folder.parent)) as connection:
        try:
            ((total, whole, known),) = connection.execute(
                """
                SELECT count(*), count(*) FILTER (try_cast(timestamp_iso AS TIMESTAMP) IS NOT NULL),
                       count(*) FILTER (event_type IN (SELECT unnest(?)))
                FROM read_json(?, format = 'newline_delimited', maximum_object_size = ?, columns = {
                    _type: 'VARCHAR', timestamp_iso: 'VARCHAR', event_type: 'VARCHAR', raw_data: 'JSON'
                }) WHERE _type IS NULL
                """,
                [list(EVENT_TYPES), str(path), max(longest, _CHUNK)],
            ).fetchall()
        except duckdb.Error as error:
            raise VerificationError(f"{name} holds a line that is no JSON: {str(error).splitlines()[0]}") from error
    if (total, whole, known) != (rows, rows, rows):
        raise VerificationError(f"{name} holds {min(total, whole, known)} whole events, but {rows} were written.")


def _strictly(path: Path) -> int:
    """Read what DuckDB takes for numbers, and JSON does not, with a parser that takes neither.

    Returns:
        Bytes of the longest line; DuckDB holds several times as many as it is told that a line may have.
    """
    longest = 0
    with path.open("rb") as file:
        while lines := file.read(_CHUNK) + file.readline():
            ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n"))
            longest = max(longest, int(np.diff(ends, prepend=-1, append=len(lines)).max()))
            if not names_no_number(lines):
                continue
            for line in lines.split(b"\n"):
                if not names_no_number(line):
                    continue
                try:
                    orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise VerificationError(f"{path.name} holds a line that is no JSON: {error}.") from error
    return longest


def _lines(batch: pa.RecordBatch, match: str, with_raw: bool) -> memoryview:
    """The JSON lines of a batch, put together column by column."""
    import pyarrow.compute as pc

    time = utc_text(batch.column("ts"))
    parts: list[pa.Array | str] = [f'{{"_schema_version":"{VERSION}","timestamp_iso":"', time, '"']
    for name in ("event_type", "device", "device_id", "device_position", "details", "session_id", "seq", "run_id"):
        parts.extend([f',"{name}":', _json(batch.column(name))])
    parts.append(f',"match_id":{orjson.dumps(match).decode()}')
    for name in ("stage", "bay", "string", "shooter", "target"):
        parts.extend([f',"{name}":', _json(batch.column(name))])
    for name in ("source_file", "source_line"):
        parts.extend([f',"_{name}":', _json(batch.column(name))])
    if with_raw:
        parts.extend([',"raw_data":', pc.coalesce(batch.column("raw"), pa.scalar("null"))])
    lines = pc.binary_join_element_wise(*parts, "}\n", "")
    return _text_of(lines)


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


def _text_of(lines: pa.Array) -> memoryview:
    """The bytes of all strings, one after the other, without copying them one by one."""
    _, offsets, data = lines.buffers()
    places = memoryview(offsets).cast("i")
    first, last = places[lines.offset], places[lines.offset + len(lines)]
    return memoryview(data)[first:last]
