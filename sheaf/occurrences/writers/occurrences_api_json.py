r"""The series `occurrences_api_json`: one array of objects as the API of Antenna gives them.

Here: the objects, built as text by SQL, because a million of them are gigabytes. Not here: choosing
occurrences (`selection`). Characters beyond ASCII are written as `\u` escapes.
"""

import codecs
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import orjson

from sheaf import sql
from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.occurrences import schema
from sheaf.occurrences.input_tables import DATE_ONLY
from sheaf.occurrences.writers.occurrences_simple_csv import DURATION, TIMED, pixels
from sheaf.occurrences.writers.selection import remarks, select

if TYPE_CHECKING:
    from sheaf.occurrences.writers.selection import Selection

_ROWS = 4096  # occurrences held in memory at once: their objects are large


def _object(**values: str) -> str:
    """SQL of a JSON object; values are SQL of JSON text, null where they are null."""
    parts = []
    for index, (key, value) in enumerate(values.items()):
        parts += [f"""'{"," if index else "{"}"{key}":'""", f"coalesce({value}, 'null')"]
    return f"concat({', '.join(parts)}, '}}')"


def _text(value: str) -> str:
    return f"CAST(to_json({value}) AS VARCHAR)"


def _plain(value: str) -> str:
    """Numbers and truth values."""
    return f"CAST({value} AS VARCHAR)"


def _time(value: str) -> str:
    return f"""strftime({value}, '"%Y-%m-%dT%H:%M:%S"')"""


def _seen_at(value: str, offset: str) -> str:
    """A time, or the date where only that is known."""
    return f"""CASE WHEN {offset} = {DATE_ONLY} THEN strftime({value}, '"%Y-%m-%d"') ELSE {_time(value)} END"""


def _link(kind: str, value: str) -> str:
    return f"""'"$api/{kind}/' || {value} || '/"'"""


def _list(value: str, order: str = "") -> str:
    return f"'[' || string_agg({value}, ','{' ORDER BY ' + order if order else ''}) || ']'"


_TAXON = _object(
    id=_plain("id"),
    name=_text("name"),
    rank=_text("rank"),
    details=_link("taxa", "id"),
    gbif_taxon_key=_plain("gbif_taxon_key"),
    fieldguide_id=_text("fieldguide_id"),
    inat_taxon_id=_plain("inat_taxon_id"),
    cover_image_url="NULL",
    cover_image_credit="NULL",
    parent="parents->-1",
    parents="parents",
)
_DETERMINATION = _object(
    id=_plain("id"),
    name=_text("name"),
    parent="parents->-1",
    parents="parents",
    rank=_text("rank"),
    details=_link("taxa", "id"),
)
_ALGORITHM = _object(
    id=_plain("id"),
    details=_link("ml/algorithms", "id"),
    name=_text("name"),
    key=_text("key"),
    version=_plain("version"),
    version_name=_text("version_name"),
    created_at=_time("created_at"),
    updated_at=_time("updated_at"),
)
_EVENT = _object(id=_plain("id"), name=_text("name"), details=_link("events", "id"), date_label=_text("date_label"))
_DEPLOYMENT = _object(id=_plain("id"), name=_text("name"), details=_link("deployments", "id"))

# Objects that many occurrences share are made once.
_SHARED = {
    "taxon_json": f"SELECT id, {_TAXON} AS json, {_DETERMINATION} AS determination FROM taxa",
    "algorithm_json": f"SELECT id, {_ALGORITHM} AS json FROM algorithms",
    "event_json": f"SELECT id, {_EVENT} AS json FROM events",
    "deployment_json": f"SELECT id, {_DEPLOYMENT} AS json FROM deployments",
}
_PREDICTION = _object(
    id=_plain("c.id"),
    details=_link("classifications", "c.id"),
    taxon="t.json",
    score=_plain("c.score"),
    terminal=_plain("c.terminal"),
    algorithm="a.json",
    applied_to=_plain("c.applied_to_id"),
    created_at=_time("c.created_at"),
)
_DETECTION = _object(
    id=_plain("d.id"),
    details=_link("detections", "d.id"),
    timestamp=_seen_at("d.timestamp", "d.timestamp_offset"),
    url=_text("d.url"),
    capture=_plain("d.capture_id"),
    width=pixels("d.width"),
    height=pixels("d.height"),
    bbox="CASE WHEN json_valid(d.bbox) THEN d.bbox ELSE CAST(to_json(d.bbox) AS VARCHAR) END",
    occurrence=_plain("d.occurrence_id"),
    classifications="coalesce(c.json, '[]')",
)
_USER = _object(id=_plain("i.user_id"), name=_text("i.user_name"), image="NULL", details=_link("users", "i.user_id"))
_IDENTIFICATION = _object(
    id=_plain("i.id"),
    details=_link("identifications", "i.id"),
    taxon="t.json",
    user=f"CASE WHEN i.user_id IS NOT NULL THEN {_USER} END",
    withdrawn=_plain("i.withdrawn"),
    comment=_text("i.comment"),
    created_at=_time("i.created_at"),
)
_SECONDS = "date_diff('second', o.first_appearance, o.last_appearance)"
_OCCURRENCE = _object(
    id=_plain("o.id"),
    details=_link("occurrences", "o.id"),
    event="e.json",
    deployment="s.json",
    first_appearance_timestamp=_seen_at("o.first_appearance", "o.first_offset"),
    first_appearance_time=(
        f"""CASE WHEN o.first_offset IS DISTINCT FROM {DATE_ONLY} THEN strftime(o.first_appearance, '"%H:%M:%S"') END"""
    ),
    duration=(
        f"""CASE WHEN {TIMED} THEN '"P' || {_SECONDS} // 86400 || 'DT' ||"""
        f""" strftime(make_timestamp(({_SECONDS} % 86400) * 1000000), '%HH%MM%SS"') END"""
    ),
    duration_label=_text(DURATION),
    determination="t.determination",
    detections_count=_plain("o.detections_count"),
    detection_images="coalesce(d.images, '[]')",
    determination_score=_plain("o.determination_score"),
    determination_details=_object(
        taxon="t.json",
        identification="i.best",
        prediction="CASE WHEN o.identification_id IS NULL THEN p.best END",
        score=_plain("o.determination_score"),
    ),
    best_machine_prediction=(
        "CASE WHEN o.prediction_id IS NOT NULL THEN "
        + _object(taxon="p.best_taxon", algorithm="p.best_algorithm", score=_plain("o.prediction_score"))
        + " END"
    ),
    identifications="coalesce(i.json, '[]')",
    created_at=_time("o.created_at"),
    updated_at=_time("o.updated_at"),
    determination_id=_plain("o.determination_id"),
    detections="coalesce(d.json, '[]')",
    predictions="coalesce(p.json, '[]')",
)
_NEWEST_FIRST = "d.timestamp DESC NULLS LAST, d.id DESC"
_QUERY = f"""
WITH o AS (
    SELECT * FROM chosen WHERE position >= $start AND position < $end
), prediction AS (
    SELECT c.position, c.detection_id, c.id, t.json AS taxon, a.json AS algorithm, {_PREDICTION} AS json,
        row_number() OVER (PARTITION BY c.position, c.algorithm_id
            ORDER BY c.terminal DESC, c.score DESC NULLS LAST, c.id DESC) = 1 AS best_of_algorithm
    FROM predictions c
    LEFT JOIN taxon_json t ON t.id = c.taxon_id LEFT JOIN algorithm_json a ON a.id = c.algorithm_id
    WHERE c.position >= $start AND c.position < $end
), c AS (
    SELECT detection_id, {_list("json", "id")} AS json FROM prediction GROUP BY detection_id
), d AS (
    SELECT d.position, {_list(_DETECTION, _NEWEST_FIRST)} AS json,
        {_list(_text("d.url"), _NEWEST_FIRST)} AS images
    FROM detections d LEFT JOIN c ON c.detection_id = d.id
    WHERE d.position >= $start AND d.position < $end GROUP BY d.position
), p AS (
    SELECT p.position, '[' || string_agg(p.json, ',' ORDER BY p.id) FILTER (p.best_of_algorithm) || ']' AS json,
        any_value(p.json) FILTER (p.id = o.prediction_id) AS best,
        any_value(p.taxon) FILTER (p.id = o.prediction_id) AS best_taxon,
        any_value(p.algorithm) FILTER (p.id = o.prediction_id) AS best_algorithm
    FROM prediction p JOIN o ON o.position = p.position GROUP BY p.position
), identification AS (
    SELECT i.position, i.id, i.created_at, {_IDENTIFICATION} AS json
    FROM identifications i LEFT JOIN taxon_json t ON t.id = i.taxon_id
    WHERE i.position >= $start AND i.position < $end
), i AS (
    SELECT i.position, {_list("i.json", "i.created_at DESC NULLS LAST, i.id DESC")} AS json,
        any_value(i.json) FILTER (i.id = o.identification_id) AS best
    FROM identification i JOIN o ON o.position = i.position GROUP BY i.position
)
SELECT ',' || chr(10) || {_OCCURRENCE}
FROM o LEFT JOIN event_json e ON e.id = o.event_id LEFT JOIN deployment_json s ON s.id = o.deployment_id
LEFT JOIN taxon_json t ON t.id = o.determination_id LEFT JOIN d ON d.position = o.position
LEFT JOIN p ON p.position = o.position LEFT JOIN i ON i.position = o.position
ORDER BY o.position
"""
_TABLES = (
    schema.EVENTS,
    schema.DEPLOYMENTS,
    schema.ALGORITHMS,
    schema.DETECTIONS,
    schema.PREDICTIONS,
    schema.IDENTIFICATIONS,
)


def write_json(draft: Draft) -> Written:
    """Write `{slug}_export-v{n}.json`."""
    rows = 0
    with select(draft, _TABLES) as chosen:
        api = sql.literal(orjson.dumps(chosen.dataset["api_url"]).decode()[1:-1])[1:-1]  # within other texts
        for name, query in _SHARED.items():
            chosen.database.execute(f"CREATE TABLE {name} AS {query.replace('$api', api)}")
        query = Template(_QUERY)
        queries = [query.substitute(api=api, start=start, end=end) for start, end in _small_ranges(chosen)]
        path = draft.folder / f"{chosen.dataset['slug']}_export-v{draft.version}.json"
        with path.open("wb") as file:
            file.write(b"[")
            for lines in chosen.lines(queries):
                file.write(ascii_json(bytes(lines.data if rows else lines.data[2:])))  # no comma before the first
                rows += lines.count
            file.write(b"]\n")
    return Written(rows, {path.name: rows}, warnings=remarks(draft))


def _small_ranges(chosen: "Selection") -> Iterator[tuple[int, int]]:
    end = chosen.rows("SELECT count(*) FROM occurrences")[0][0]
    for start in range(0, end, _ROWS):
        yield start, min(start + _ROWS, end)


def ascii_json(data: bytes) -> bytes:
    r"""JSON with every character beyond ASCII as an escape; such characters stand in strings only.

    Example:
        >>> ascii_json('"Été"'.encode())
        b'"\\u00c9t\\u00e9"'
    """
    return data if data.isascii() else data.decode().encode("ascii", "sheaf_json_escape")


def _escape(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    units = error.object[error.start : error.end].encode("utf-16-be").hex()
    return "".join(f"\\u{units[index : index + 4]}" for index in range(0, len(units), 4)), error.end


codecs.register_error("sheaf_json_escape", _escape)


def verify_json(folder: Path, written: Written) -> None:
    """Parse the file object by object: plain ASCII, unique ids, number of objects.

    Raises:
        VerificationError: saying what is wrong.
    """
    (path,) = folder.glob("*.json")
    ids = set()
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            text = line.strip().removeprefix(b"[" if number == 1 else b"").rstrip(b",")
            if text.endswith(b"]") and not file.peek(1):  # type: ignore[attr-defined]
                text = text[:-1]
            if not text:
                continue
            try:
                found = orjson.loads(text)
                ids.add(found["id"])
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise VerificationError(f"{path.name}, line {number} is not an occurrence: {error}.") from error
            if not line.isascii():
                raise VerificationError(f"{path.name}, line {number} has characters beyond ASCII.")
    if len(ids) != written.record_count:
        raise VerificationError(f"{path.name} holds {len(ids)} occurrences, {written.record_count} were written.")
