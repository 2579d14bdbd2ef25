"""The files of particular instruments and tools: DASware (DASGIP), and what InfluxDB writes as text.

Here: text in which several tables follow each other. Not here: one plain table, such as a Pioreactor's
(`delimited`), line protocol (`line_protocol`).
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from sheaf.fermentation.readers.delimited import most_lines, text_lines
from sheaf.fermentation.readers.dialect import cells, decimal_of, plain_name
from sheaf.fermentation.readers.series import series_text
from sheaf.fermentation.readers.staging import BATCH_ROWS, VALUE_FIELDS, FileError, Point, points, sensor_of

_TRACKS = re.compile(r'"?\[TrackData(\d*)\]"?')
_BLOCK = re.compile(r'"?\[[A-Za-z][^\]]*\]"?')
_TABLE_OF_FLUX = re.compile(r"(?:Result|Table): ")
_GREETING = 6
"""Lines within which the first table begins that the command of InfluxDB 1 prints."""
_LINE_PROTOCOL = re.compile(r"[^\s,]+(?:,[^\s,=]+=[^\s,=]+)* [^\s,=]+=\S.* \d{10,19}")
_IN_FRONT = re.compile(r"^Unit \d+\.", re.IGNORECASE)
DASWARE = {
    "pH.PV": "pH",
    "DO.PV": "DO",
    "T.PV": "temp",
    "F.PV": "flow_in",
    "F.Out": "flow_out",
    "XO2.Out": "o2",
    "XCO2.Out": "co2",
    "ODAU.PV": "OD",
    "AU": "OD",
}
"""What DASware calls a track, without the unit's number, to the role it has in the plan."""


def kind_of(text: str) -> str:
    """Which of these formats the first lines of a file are in, empty for none.

    `dasware`, `annotated`, `influx_cli` (InfluxDB 1), `influx_flux` (2), or `line_protocol`, which is not read here.
    """
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if re.fullmatch(r'"?\[Info\]"?', first) or any(_TRACKS.fullmatch(line.strip()) for line in text.splitlines()):
        return "dasware"
    if re.match(r"#(?:datatype|group|default)\b", first) or {"_time", "_field"} <= set(cells(first, ",", True)):
        return "annotated"
    if _TABLE_OF_FLUX.match(first):
        return "influx_flux"
    if any(line.startswith("name: ") for line in text.splitlines()[:_GREETING]):
        return "influx_cli"
    lines = (line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return "line_protocol" if _LINE_PROTOCOL.fullmatch(next(lines, "")) else ""


def read_instrument(
    path: Path, kind: str, encoding: str, names: frozenset[str], of_role: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    """The points of a file as batches of `STAGED`.

    Args:
        path: the file.
        kind: of `kind_of`.
        encoding: of its text.
        names: accepted sensor names.
        of_role: the plan's sensor by role.

    Raises:
        FileError: it has none of the tables that such a file has.
    """
    most = most_lines(path.stat().st_size)
    numbered = enumerate(text_lines(path, encoding), start=1)
    if kind == "dasware":
        found = _dasware(numbered, names, of_role)
    else:
        found = {"annotated": _annotated, "influx_cli": _influx_cli, "influx_flux": _flux_table}[kind](numbered, names)
    rows: list[Point] = []
    for point in found:
        if point.line > most:
            raise FileError(f"unpacks to more than {most} lines, too many for its size; export it again")
        rows.append(point)
        if len(rows) >= BATCH_ROWS:
            yield points(rows)
            rows = []
    if rows:
        yield points(rows)


Lines = Iterator[tuple[int, str]]


def _dasware(lines: Lines, names: frozenset[str], of_role: Mapping[str, str]) -> Iterator[Point]:
    """`[TrackData<n>]` of each unit: a header `Timestamp; Duration; Unit 1.pH1.PV [pH]; …`, then rows with empty cells.

    Its times are those of the clock on the wall.
    """
    unit, header, waiting, decimal, delimiter = "", None, False, "", ";"
    tracks: list[tuple[str, str | None]] = []
    seen = False
    for number, line in lines:
        block = _TRACKS.fullmatch(line.strip())
        if block or _BLOCK.fullmatch(line.strip()):
            unit, header, waiting = (block[1] if block else ""), None, bool(block)
            seen = seen or bool(block)
            continue
        if not line.strip():
            continue
        if waiting:
            delimiter = max(";,\t", key=line.count)
            header, waiting = cells(line, delimiter, True), False
            tracks = [_track(name, unit, names, of_role) for name in header]
            continue
        if header is None:
            continue
        row = cells(line, delimiter, True) if line.count('"') % 2 == 0 else []
        if len(row) < 2 or len(row) > len(header):
            yield Point(number, problem="wrong_fields")
            continue
        decimal = decimal or _decimal(row[1:], delimiter)
        for (sensor, shown), value in zip(tracks, row, strict=False):
            if sensor and value:
                text = value.replace(",", ".") if decimal == "," else value
                series = series_text({"unit": unit}) if unit else None
                yield Point(number, time_text=row[0], sensor=sensor, series=series, value=text, unit=shown)
    if not seen:
        raise FileError("is of DASware but has no [TrackData]: export the tracks as well")


def _decimal(values: Sequence[str], delimiter: str) -> str:
    """The decimal sign, once a number shows one."""
    shown = any(re.fullmatch(r"[-+]?\d*[.,]\d+", value) for value in values)
    return decimal_of([[value] for value in values], delimiter, "a track of DASware") if shown else ""


def _track(name: str, unit: str, names: frozenset[str], of_role: Mapping[str, str]) -> tuple[str, str | None]:
    """The sensor of a track and its unit; empty for one that is no sensor of the plan."""
    found = re.search(r"\[([^\]]*)\]\s*$", name)
    shown = found[1] if found and found[1] else None
    full = plain_name(name)
    short = _IN_FRONT.sub("", full)
    bare = re.sub(rf"(?<=[A-Za-z0-9]) ?{re.escape(unit)}(?=\.|$)", "", short, count=1) if unit else short
    sensor = next((each for each in (full, short, bare) if each in names), "") or of_role.get(DASWARE.get(bare, ""), "")
    return sensor, shown


_OF_THE_QUERY = {"", "result", "table", "_start", "_stop", "_time", "_value", "_field", "_measurement"}


def _annotated(lines: Lines, names: frozenset[str]) -> Iterator[Point]:
    """Flux's CSV: annotations, a header, rows; then an empty line and the next table, with columns of its own."""
    header: list[str] | None = None
    silent: dict[str, int] = {}
    for number, line in lines:
        if not line.strip() or line.startswith("#"):
            header = None
            continue
        row = next(csv.reader([line]), [])
        if header is None:
            header = row
            if "_time" not in header:
                raise FileError(f"has a table without a column '_time' in line {number}: {', '.join(header)[:200]}")
            continue
        if len(row) != len(header):
            yield Point(number, problem="wrong_fields")
            continue
        yield from _of_flux(number, dict(zip(header, row, strict=True)), names, silent)
    yield from _without_a_value(silent)


def _of_flux(number: int, given: Mapping[str, str], names: frozenset[str], silent: dict[str, int]) -> Iterator[Point]:
    """One row of a table of Flux."""
    tags = {key: value for key, value in given.items() if key not in _OF_THE_QUERY and value}
    if "_value" in given:
        fields = {given.get("_field", "value"): given["_value"]}
    else:  # pivoted: a column for each field
        fields = {key: tags.pop(key) for key in [*tags] if key in names or key in VALUE_FIELDS}
    yield from _of_measurement(number, given["_time"], given.get("_measurement", ""), tags, fields, names, silent)


def _of_measurement(
    number: int,
    time: str,
    measurement: str,
    tags: Mapping[str, str],
    fields: Mapping[str, str],
    names: frozenset[str],
    silent: dict[str, int],
) -> Iterator[Point]:
    """The points of one row; `silent` has the line of each sensor's first, until one of them has a value."""
    sensor, used = sensor_of(measurement, tags, names)
    series = series_text({key: value for key, value in tags.items() if key not in used})
    if sensor in names and not any(name in VALUE_FIELDS for name in fields):
        silent.setdefault(sensor, number)
    for field, value in fields.items():
        if sensor in names and field not in VALUE_FIELDS and field not in names:
            continue  # other fields of a sensor's own measurement are statistics
        of = sensor if field in VALUE_FIELDS else field
        silent[of] = 0
        if value:
            yield Point(number, time_text=time, sensor=of, series=series, value=value)


def _without_a_value(silent: Mapping[str, int]) -> Iterator[Point]:
    """Sensors of which only other fields came: the name of theirs may be misspelt."""
    for sensor, line in silent.items():
        if line:
            yield Point(line, sensor=sensor, problem="missing_value")


def _flux_table(lines: Lines, names: frozenset[str]) -> Iterator[Point]:
    """What `influx query` prints: `Table: keys: […]`, a header `_time:time  _value:float`, dashes, rows; the next."""
    header: list[str] | None = None
    silent: dict[str, int] = {}
    for number, line in lines:
        text = line.strip()
        if _TABLE_OF_FLUX.match(text):
            header = None
        elif not text or set(text) <= set("- "):
            continue
        elif header is None:
            header = [name.rpartition(":")[0] for name in text.split()]
            if "_time" not in header:
                raise FileError(f"has a table without a column '_time' in line {number}: {text[:200]}")
        else:
            row = re.split(r"\s{2,}", text)
            row = row if len(row) == len(header) else text.split()
            if len(row) != len(header):
                yield Point(number, problem="wrong_fields")
                continue
            yield from _of_flux(number, dict(zip(header, row, strict=True)), names, silent)
    yield from _without_a_value(silent)


def _influx_cli(lines: Lines, names: frozenset[str]) -> Iterator[Point]:
    """What `influx` prints: `name: pH`, perhaps `tags: vessel=v1`, a header, dashes, rows; then the next series."""
    measurement, tags, header = None, {}, None
    silent: dict[str, int] = {}
    for number, line in lines:
        text = line.strip()
        if not text or set(text) <= set("- "):
            continue
        if text.startswith("name: "):
            measurement, tags, header = text[6:].strip(), {}, None
        elif measurement is None:
            continue  # its greeting
        elif text.startswith("tags: "):
            tags = dict(part.split("=", 1) for part in text[6:].split(", ") if "=" in part)
        elif header is None:
            header = [(found[0], found.start()) for found in re.finditer(r"\S+", line)]
            if header[0][0] != "time":
                raise FileError(f"has a table without a column 'time' in line {number}: {text[:200]}")
        else:
            row = text.split()
            if len(row) != len(header):
                row = _below(line, [start for _, start in header])
            if row is None:
                yield Point(number, problem="wrong_fields")
                continue
            given = {name: value for (name, _), value in zip(header[1:], row[1:], strict=True) if value}
            fields = {key: value for key, value in given.items() if key in VALUE_FIELDS or key in names}
            own = {key: value for key, value in given.items() if key not in fields}
            yield from _of_measurement(number, row[0], measurement, {**tags, **own}, fields, names, silent)
    yield from _without_a_value(silent)


def _below(line: str, starts: Sequence[int]) -> list[str] | None:
    """The cells of a line that stand below the names of the header, some of them empty; None where one reaches over."""
    if any(line[start - 1 : start].strip() for start in starts[1:]):
        return None
    return [line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
