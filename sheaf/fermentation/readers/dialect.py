"""The dialect of a delimited sensor file: encoding, delimiter, decimal sign, header, and what each column is.

It is found once, from the first lines, and never guessed between two readings that both make sense. What was found is
told in the errors of the file. Not here: reading the file (`delimited`, `instruments`).
"""

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sheaf.fermentation.readers.fields import shorten
from sheaf.fermentation.readers.staging import FileError
from sheaf.fermentation.units import is_unit

_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_LOOKED_AT = 60  # lines, for the header
_TIMES = {
    "time",
    "timestamp",
    "datetime",
    "date_time",
    "date time",
    "_time",
    "zeit",
    "zeitstempel",
    "date/time",
    "t_stamp",
}
_DATES = {"date", "datum"}
_CLOCKS = {"time", "zeit", "uhrzeit", "clock"}
_SENSORS = (
    "sensor",
    "tag",
    "tagname",
    "sensor_name",
    "variable",
    "parameter",
    "signal",
    "measurement",
    "_measurement",
    "name",
)
_VALUES = ("value", "_value", "reading", "wert", "val")
_UNITS = ("unit", "units", "einheit")
_NO_TAGS = {"result", "table", "_start", "_stop", "line", "row", "index", "id", ""}
_TAGS = re.compile(
    r"vessel|reactor|ferment|tank|unit|channel|angle|probe|batch|experiment|culture|host|topic", re.IGNORECASE
)
_REMARK = re.compile(r"time|hours|date|comment|remark|note|event", re.IGNORECASE)
_UNIT = re.compile(r"\s*[\[(]\s*([^\])]*?)\s*[\])]\s*$")
_COMMA = re.compile(r"[-+]?\d*,\d+(?:[eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:[.,]\d{3})+")
_WHOLE = re.compile(r"[-+]?[1-9]\d*")
_WHOLE_WRITTEN_OUT = re.compile(r"\d+[.,]0+")
_POINT = re.compile(r"[-+]?\d*\.\d+(?:[eE][-+]?\d+)?")
_LETTERS = frozenset("°µ²³·%äöüÄÖÜßéèêáàóôñçåøæÅØÆ±–")
"""What instruments write beyond ASCII; another letter, where it is not UTF-8, says that nobody knows the encoding."""


@dataclass(frozen=True)
class Column:
    """One column of a wide table that holds a sensor: its position, the sensor's name, the unit in its header."""

    at: int
    sensor: str
    unit: str | None


@dataclass(frozen=True)
class Dialect:
    """How a delimited file is written.

    Attributes:
        encoding: of its text.
        delimiter: between fields.
        decimal: `.` or `,`.
        quoted: whether fields stand in quotes.
        header: names as found.
        header_line: line of the header, from 1.
        time: positions of the time: one column, or date and time of day.
        zone: offset such as `+02:00`, where the header says one.
        sensor, value, unit: positions of these columns in a long table; `value` is None in a wide one.
        columns: sensors of a wide table.
        tags: positions of columns that tell series apart, with their names.
        left_out: columns of a wide table that are no known sensor, by name.
    """

    encoding: str
    delimiter: str
    decimal: str
    quoted: bool
    header: tuple[str, ...]
    header_line: int
    time: tuple[int, ...]
    zone: str | None = None
    sensor: int | None = None
    value: int | None = None
    unit: int | None = None
    columns: tuple[Column, ...] = ()
    tags: tuple[tuple[int, str], ...] = ()
    left_out: tuple[str, ...] = ()

    def told(self) -> str:
        """What was found, as a clause."""
        quotes = ", quoted" if self.quoted else ""
        names = ", ".join(shorten(name).strip("'\"") for name in self.header[:12])
        more = ", …" if len(self.header) > 12 else ""
        return (
            f"{self.encoding}, {_DELIMITERS[self.delimiter]} between fields{quotes}, decimal {self.decimal!r}, "
            f"header in line {self.header_line}: {names}{more}"
        )


def decoded(head: bytes) -> tuple[str, str]:
    """The encoding of a file and its first bytes as text.

    Raises:
        FileError: it is in no encoding that can be told.
    """
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if head.startswith(mark):
            return encoding, head.decode(encoding, errors="ignore")
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):  # without the mark
        half = head[first::2]
        if half and half.count(0) > len(half) / 2:
            return encoding, head.decode(encoding, errors="ignore")
    whole = head[: head.rfind(b"\n") + 1] or head
    try:
        return "utf-8", whole.decode("utf-8")
    except UnicodeDecodeError:
        text = whole.decode("cp1252", errors="replace")
        if {letter for letter in text if ord(letter) > 127} <= _LETTERS:
            return "cp1252", text
        raise FileError("is not UTF-8 text: save it as UTF-8") from None


def sniff(text: str, encoding: str, names: frozenset[str]) -> Dialect:
    """Find the dialect from the first lines of a file.

    Args:
        text: the first lines.
        encoding: what they were decoded with.
        names: accepted sensor names.

    Raises:
        FileError: there is no header, or no one reading of it; says what was found.
    """
    lines = text.splitlines()
    quoted = _is_quoted(lines)
    for number, line in enumerate(lines[:_LOOKED_AT], start=1):
        if not line.strip() or line.startswith("#"):
            continue
        for delimiter in sorted(_DELIMITERS, key=lambda sign: -line.count(sign)):
            header = cells(line, delimiter, quoted)
            if len(header) > 1 and _time_columns([_plain(name) for name in header]):
                rows = [cells(row, delimiter, quoted) for row in lines[number:] if row.strip()]
                return _with_columns(encoding, delimiter, quoted, header, number, rows, names)
    first = next((line for line in lines if line.strip()), "")
    raise FileError(
        f"has no header with a column 'time' ({encoding}; the first line is {shorten(first)}): the columns are time, "
        "sensor, value and, if wanted, unit; or time and one for each sensor"
    )


def cells(line: str, delimiter: str, quoted: bool) -> list[str]:
    """The fields of one line, without the quotes around them."""
    if not quoted:
        return [cell.strip() for cell in line.rstrip("\r\n").split(delimiter)]
    return [cell.strip() for cell in next(csv.reader([line.rstrip("\r\n")], delimiter=delimiter), [])]


def plain_name(name: str) -> str:
    """A name from a header without the unit behind it."""
    return _UNIT.sub("", name.strip()).strip()


def unit_in(name: str) -> str | None:
    """The unit behind a name from a header."""
    unit = _UNIT.search(name)
    return (unit[1] or None) if unit else None


def decimal_of(columns: Iterable[Sequence[str]], delimiter: str, what: str) -> str:
    """The decimal sign of some columns of numbers.

    Args:
        columns: of each its values as they are written.
        delimiter: between fields; programs take semicolons where the comma is the decimal sign.
        what: names the file's dialect in the error.

    Raises:
        FileError: they may as well have signs between thousands.
    """
    columns = list(columns)
    values = [value for column in columns for value in column]
    if any(_POINT.fullmatch(value) for value in values):
        if delimiter == ";":  # where points may stand between thousands
            for column in columns:
                _refuse_thousands(column, _POINT, delimiter, what)
        return "."
    if any(_COMMA.fullmatch(value) for value in values):
        _refuse_thousands(values, _COMMA, delimiter, what)
        return ","
    return "."


def _refuse_thousands(values: Sequence[str], sign: re.Pattern[str], delimiter: str, what: str) -> None:
    """Where thousands are set apart, some numbers are below a thousand and show no sign."""
    shown = [value for value in values if sign.fullmatch(value)]
    if not shown or (delimiter == ";" and not any(_WHOLE.fullmatch(value) for value in values)):
        return
    if all(_THOUSANDS.fullmatch(value) and not value.lstrip("+-").startswith("0") for value in shown):
        raise FileError(
            f"has numbers such as {shown[0]} ({what}), which may be thousands or decimals: save it with decimal points "
            "and nothing between thousands"
        )


def _is_quoted(lines: Sequence[str]) -> bool:
    """Whether quotes enclose whole fields; a stray one is part of a text."""
    return any(re.search(r'(?:^|[,;\t|])\s*"[^"]*"\s*(?:$|[,;\t|])', line) for line in lines)


def _plain(name: str) -> str:
    return plain_name(name).casefold()


def _time_columns(header: Sequence[str]) -> tuple[int, ...]:
    dates = [at for at, name in enumerate(header) if name in _DATES]
    clocks = [at for at, name in enumerate(header) if name in _CLOCKS]
    if len(dates) == 1 and len(clocks) == 1:
        return dates[0], clocks[0]
    utc = [at for at, name in enumerate(header) if name in {f"{time}_utc" for time in _TIMES}]
    found = utc or [at for at, name in enumerate(header) if name in _TIMES]
    return tuple(found[:1])


def _zone(header: str) -> str | None:
    """The offset that the header of a time says: `Time (UTC)`, `GMT+2`, `UTC-03:30`."""
    told = re.search(r"(?<![a-z])(?:utc|gmt)\s*(?:([-+−])\s*(\d{1,2})(?::?(\d{2}))?)?", header, re.IGNORECASE)
    if told is None:
        return None
    sign = "-" if told[1] in ("-", "−") else "+"
    return f"{sign}{int(told[2] or 0):02d}:{told[3] or '00'}"


def _with_columns(
    encoding: str,
    delimiter: str,
    quoted: bool,
    header: Sequence[str],
    line: int,
    rows: Sequence[Sequence[str]],
    names: frozenset[str],
) -> Dialect:
    plain = [_plain(name) for name in header]
    time = _time_columns(plain)
    where = f"{encoding}, {_DELIMITERS[delimiter]} between fields, header in line {line}: {', '.join(header)[:300]}"
    for name in ("time", "sensor", "value"):
        if plain.count(name) > 1:
            raise FileError(f"has the column {name!r} twice: keep one ({where})")
    named = next((name for name in _SENSORS if name in plain), None)
    valued = next((name for name in _VALUES if name in plain), None)
    united = next((name for name in _UNITS if name in plain), None)
    zone = _zone(" ".join(header[at] for at in time))

    def values(at: int) -> list[str]:
        return [row[at] for row in rows if at < len(row) and row[at]]

    wide = _wide(header, names)
    if wide and valued is None and rows and _is_of_units(rows[0], time):
        wide = tuple(
            Column(column.at, column.sensor, rows[0][column.at].strip("[]()") or None)
            if column.at < len(rows[0])
            else column
            for column in wide
        )
        rows, line = rows[1:], line + 1
    if valued is not None and (named is not None or not wide):
        if named is None:
            raise FileError(
                f"has no column 'sensor': the columns are time, sensor, value and, if wanted, unit; or time and one "
                f"for each sensor ({where})"
            )
        used = {*time, plain.index(named), plain.index(valued), *([plain.index(united)] if united else [])}
        return Dialect(
            encoding,
            delimiter,
            decimal_of([values(plain.index(valued))], delimiter, where),
            quoted,
            tuple(header),
            line,
            time,
            zone,
            plain.index(named),
            plain.index(valued),
            plain.index(united) if united else None,
            tags=tuple(
                (at, header[at])
                for at in range(len(header))
                if at not in used and may_tell_apart(header[at]) and not _has_decimals(values(at))
            ),
        )
    if not wide:
        missing = "value" if named is not None else "sensor"
        raise FileError(
            f"has no column {missing!r}, and none that is a known sensor: the columns are time, sensor, value and, if "
            f"wanted, unit; or time and one for each sensor, by its name in the plan or an alias ({where})"
        )
    used = {*time, *(column.at for column in wide)}
    others = [at for at in range(len(header)) if at not in used and plain[at] not in _NO_TAGS]
    tags = [at for at in others if _is_tag(header[at], values(at))]
    return Dialect(
        encoding,
        delimiter,
        decimal_of([values(column.at) for column in wide], delimiter, where),
        quoted,
        tuple(header),
        line,
        time,
        zone,
        columns=wide,
        tags=tuple((at, header[at]) for at in tags),
        left_out=tuple(header[at] for at in others if at not in tags),
    )


def _wide(header: Sequence[str], names: frozenset[str]) -> tuple[Column, ...]:
    """The columns that are sensors, by the name as it stands, without its unit, or without regard to case.

    Raises:
        FileError: two are the same.
    """
    folded: Mapping[str, str] = {name.casefold(): name for name in names}
    found: list[Column] = []
    for at, name in enumerate(header):
        sensor = next((folded[key] for key in (name.casefold(), _plain(name)) if key in folded), None)
        if sensor is not None:
            if any(column.sensor == sensor for column in found):
                raise FileError(f"has two columns of {sensor}: keep one, or give the other a name of its own")
            found.append(Column(at, sensor, unit_in(name) if name.casefold() not in folded else None))
    return tuple(found)


def _is_of_units(row: Sequence[str], time: Sequence[int]) -> bool:
    """Whether the row below the header says the units of its columns: no time, and units only."""
    said = [cell.strip("[]()") for at, cell in enumerate(row) if cell and at not in time]
    return bool(said) and not any(re.search(r"\d", row[at]) for at in time if at < len(row)) and all(map(is_unit, said))


def may_tell_apart(name: str) -> bool:
    """Whether a column beside the points may tell series apart: not further times, remarks, or numbers of rows."""
    return _plain(name) not in _NO_TAGS and not _REMARK.search(name)


def named_like_a_tag(name: str) -> bool:
    """Whether a column is called like what tells vessels, probes or channels apart."""
    return bool(_TAGS.search(name))


def _has_decimals(values: Sequence[str]) -> bool:
    """Whether a column holds measured numbers; whole ones may be channels, also where they are written as `1.0`."""
    return any(
        (_POINT.fullmatch(value) or _COMMA.fullmatch(value)) and not _WHOLE_WRITTEN_OUT.fullmatch(value)
        for value in values
    )


def _is_tag(name: str, values: Sequence[str]) -> bool:
    """Whether a column that is no sensor tells series apart: a text that repeats, or what is called like a tag."""
    if not values or not may_tell_apart(name):
        return False
    numbers = all(re.fullmatch(r"[-+]?[\d.,]+(?:[eE][-+]?\d+)?", value) for value in values)
    return named_like_a_tag(name) if numbers else True
