"""The fast way through a bridge's main log: a whole block of clean lines at once, in columns.

Takes only what it is sure to read as `records` would line by line; anything else, one odd line in
the block included, is left to `records`.
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

import numpy as np
import orjson
import pyarrow as pa

from sheaf.matches.readers.clocks import Clock
from sheaf.matches.readers.log_blocks import Block
from sheaf.matches.readers.records import meanings

_TEXT = ("type", "device", "device_id", "device_position", "details", "session_id")
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("timestamp_iso", *_TEXT)),
        ("seq", pa.int64()),
        ("event_type", pa.string()),  # an export has it, a log has not
    ]
)

_NO_JSON = (b"NaN", b"Inf")
"""With what numbers begin that some parsers take and JSON has not, but for a sign."""
_LONG = 300


def bridge_columns(block: Block, clock: Clock, max_line: int) -> dict[str, pa.Array] | None:
    """Columns of `staging.SCHEMA` for a block of nothing but good lines; None for any other block."""
    import pyarrow.json as pj

    if names_no_number(block.data):
        return None  # pyarrow takes it for one
    bytes_ = np.frombuffer(block.data, np.uint8)
    ends = np.flatnonzero(bytes_ == ord("\n"))
    if not len(ends):
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    # One object per line and one line per object: each line begins and ends with a brace.
    if (bytes_[starts] != ord("{")).any() or (bytes_[ends - 1] != ord("}")).any() or (ends - starts).max() > max_line:
        return None
    # Only a long line can be nested deeper, or hold a number of more digits, than the reader of single lines takes.
    if any(not _is_json(block.data[starts[long] : ends[long]]) for long in np.flatnonzero(ends - starts > _LONG)):
        return None
    offsets = np.append(starts, ends[-1] + 1).astype(np.int32)
    raw = pa.StringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(block.data))
    try:
        raw.validate(full=True)
        table = pj.read_json(
            pa.BufferReader(block.data),
            pj.ReadOptions(use_threads=False, block_size=len(block.data) + 1),
            pj.ParseOptions(explicit_schema=_SCHEMA, unexpected_field_behavior="ignore"),
        ).combine_chunks()
    except pa.ArrowInvalid:
        return None
    found = {name: table[name].chunk(0) for name in table.schema.names} if table.num_rows == len(ends) else {}
    if not found or found["details"].null_count or found["event_type"].null_count < len(ends):
        return None
    times = clock.iso_column(found["timestamp_iso"])
    if times is None:
        return None
    return {
        "line": pa.array(np.arange(block.first, block.first + len(ends))),
        "byte_offset": pa.array(starts + block.offset),
        "ts": times,
        "ambiguous_time": pa.repeat(False, len(ends)),
        "dialect": pa.repeat("bridge_log", len(ends)),
        "source_type": found["type"],
        **{name: found[name] for name in (*_TEXT[1:], "seq")},
        **meanings(found["device"], found["details"]),
        "raw": _without_end(raw),
    }


def names_no_number(data: bytes) -> bool:
    """Whether NaN or Inf stands in a text; `in` takes five times as long to say no."""
    text = np.frombuffer(data, np.uint8)
    for word in _NO_JSON:
        begins = np.flatnonzero(text[:-2] == word[0])
        if ((text[begins + 1] == word[1]) & (text[begins + 2] == word[2])).any():
            return True
    return False


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _without_end(raw: pa.StringArray) -> pa.StringArray:
    import pyarrow.compute as pc

    return pc.utf8_rtrim(raw, "\n")
