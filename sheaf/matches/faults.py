"""What can be wrong with a line, a value or a file of a match: a code that stays, and a sentence for people.

Not here: finding it (`json_lines`, `text_logs`, `sqlite`, `ingest`).
"""

BAD_TIME = "bad_time"
NO_DATE = "no_date_in_file_name"
UNKNOWN = "unknown_record"
CORRUPT_JSON = "corrupt_json"
NO_OBJECT = "not_an_object"
CORRUPT_CSV = "corrupt_csv"
NO_CONSOLE_LINE = "not_a_console_line"
TOO_LONG = "line_too_long"
NULS = "nul_bytes"
BAD_ENCODING = "bad_encoding"
NO_NUMBER = "not_a_number"
NAIVE_TIME = "naive_time"
UNREADABLE_DATABASE = "unreadable_database"
ORPHANED_LOG = "write_ahead_log_alone"
BROKEN_GZIP = "broken_gzip"
BAD_SQUAD = "bad_squad_row"
NOT_FINITE = "not_finite_number"
HALF_CHARACTER = "half_a_character"

SENTENCES = {
    BAD_TIME: "The time cannot be read: write it as 2025-09-14T10:00:00.250Z or, in local time, 9/14/25 10:00:00.25am.",
    NO_DATE: "It has a time of day only: put the date into the file's name, such as bridge_20250914.ndjson.",
    UNKNOWN: "It is a JSON object, but none that a timer, a sensor or the bridge writes.",
    CORRUPT_JSON: "It is no valid JSON.",
    NO_OBJECT: "It is JSON, but no object: write one event as one object on one line.",
    CORRUPT_CSV: "It is no row of the six columns Datetime, Type, Device, DeviceID, DevicePosition, Details.",
    NO_CONSOLE_LINE: "It is no line of a console log, such as `[2025-09-14 10:00:00] INFO: …`.",
    TOO_LONG: "It is longer than the setting max_line_bytes allows.",
    NULS: "It holds NUL bytes, as after a power cut.",
    BAD_ENCODING: "It is no UTF-8.",
    NOT_FINITE: "It holds NaN, Infinity or a number beyond 1e308, which JSON has not; they were replaced by null.",
    HALF_CHARACTER: "A text of it holds half of a character (a lone surrogate); the text was replaced by null.",
    NO_NUMBER: "A number of it is none, and was left empty.",
}
"""What is wrong with a line; the sentences about files name the file."""

SALVAGED = "NUL bytes before it were dropped, as a power cut leaves them."
READ_AS_UTC = (
    "Its times carry no zone and the match has no timezone: they were read as UTC. Set timezone in match.yaml."
)
