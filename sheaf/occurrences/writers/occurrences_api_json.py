r"""The series `occurrences_api_json`: one array of objects as the API of Antenna gives them.

Here: the objects, put together in columns, because a million of them are gigabytes: SQL makes the text of what
is a row's own, Arrow puts the texts that many rows share between its pieces. Not here: choosing occurrences
(`selection`). Characters beyond ASCII are written as `\u` escapes.
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

import codecs
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa

from sheaf import sql
from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.occurrences import schema
from sheaf.occurrences.input_tables import DATE_ONLY
from sheaf.occurrences.writers.occurrences_simple_csv import DURATION, TIMED, pixels
from sheaf.occurrences.writers.selection import remarks, select, text_bytes, text_lists

if TYPE_CHECKING:
    import numpy as np

    from sheaf.occurrences.writers.selection import Selection

_DETECTIONS = 512  # of which objects are made at once: each is kilobytes
_PARTS = 24  # of so many detections that are read at once: looking for them takes its time


class _Between(str):
    """The name of a text that SQL doesn't make."""


class _Object:
    """A JSON object of each row: pieces of text that SQL makes, and texts that are put between them."""

    def __init__(self, name: str, before: str = "", /, **values: "str | _Object") -> None:
        """Values are SQL of JSON text, null where they are null, names of texts, or objects of the same row.

        Args:
            before: SQL of what stands before the object.
        """
        self.name = name
        self.values = values
        self.parts: list[str] = []
        own = [before] if before else []
        for part in (*_flat(values), None):
            if part is None or isinstance(part, _Between):
                self.parts.append(f"concat({', '.join(own)})")
                own = []
            if isinstance(part, _Between):
                self.parts.append(part)
            elif part is not None:
                own.append(part)

    def columns(self) -> str:
        """What a query has to select."""
        return ", ".join(
            f"{part} AS {self.name}_{index}" for index, part in enumerate(self.parts) if not isinstance(part, _Between)
        )

    def texts(self, rows: "_Rows", **between: pa.Array) -> pa.Array:
        """The objects of all rows."""
        import pyarrow.compute as pc

        parts = (
            between[part] if isinstance(part, _Between) else rows.text(f"{self.name}_{index}")
            for index, part in enumerate(self.parts)
        )
        return pc.binary_join_element_wise(*parts, "", null_handling="replace", null_replacement="null")


def _flat(values: "Mapping[str, str | _Object]") -> Iterator[str]:
    for index, (key, value) in enumerate(values.items()):
        yield f"""'{"," if index else "{"}"{key}":'"""
        if isinstance(value, _Object):
            yield from _flat(value.values)
        else:
            yield value if isinstance(value, _Between) else f"coalesce({value}, 'null')"
    yield "'}'"


def _object(**values: str) -> str:
    """SQL of a JSON object; values are SQL of JSON text, null where they are null."""
    return f"concat({', '.join(_flat(values))})"


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
    "taxa": f"SELECT id, {_TAXON} AS json, {_DETERMINATION} AS determination FROM taxa",
    "algorithms": f"SELECT id, {_ALGORITHM} AS json FROM algorithms",
    "events": f"SELECT id, {_EVENT} AS json FROM events",
    "deployments": f"SELECT id, {_DEPLOYMENT} AS json FROM deployments",
}
_PREDICTION = _Object(
    "prediction",
    id=_plain("c.id"),
    details=_link("classifications", "c.id"),
    taxon=_Between("taxon"),
    score=_plain("c.score"),
    terminal=_plain("c.terminal"),
    algorithm=_Between("algorithm"),
    applied_to=_plain("c.applied_to_id"),
    created_at=_time("c.created_at"),
)
_DETECTION = _Object(
    "detection",
    id=_plain("d.id"),
    details=_link("detections", "d.id"),
    timestamp=_seen_at("d.timestamp", "d.timestamp_offset"),
    url=_text("d.url"),
    capture=_plain("d.capture_id"),
    width=pixels("d.width"),
    height=pixels("d.height"),
    bbox="CASE WHEN json_valid(d.bbox) THEN d.bbox ELSE CAST(to_json(d.bbox) AS VARCHAR) END",
    occurrence=_plain("d.occurrence_id"),
    classifications=_Between("predictions"),
)
_USER = _object(id=_plain("i.user_id"), name=_text("i.user_name"), image="NULL", details=_link("users", "i.user_id"))
_IDENTIFICATION = _Object(
    "identification",
    id=_plain("i.id"),
    details=_link("identifications", "i.id"),
    taxon=_Between("taxon"),
    user=f"CASE WHEN i.user_id IS NOT NULL THEN {_USER} END",
    withdrawn=_plain("i.withdrawn"),
    comment=_text("i.comment"),
    created_at=_time("i.created_at"),
)
_MACHINE = _Object(
    "machine",
    taxon=_Between("taxon"),
    algorithm=_Between("algorithm"),
    score=_plain("o.prediction_score"),
)
_SECONDS = "date_diff('second', o.first_appearance, o.last_appearance)"
_OCCURRENCE = _Object(
    "occurrence",
    "',' || chr(10)",
    id=_plain("o.id"),
    details=_link("occurrences", "o.id"),
    event=_Between("event"),
    deployment=_Between("deployment"),
    first_appearance_timestamp=_seen_at("o.first_appearance", "o.first_offset"),
    first_appearance_time=(
        f"""CASE WHEN o.first_offset IS DISTINCT FROM {DATE_ONLY} THEN strftime(o.first_appearance, '"%H:%M:%S"') END"""
    ),
    duration=(
        f"""CASE WHEN {TIMED} THEN '"P' || {_SECONDS} // 86400 || 'DT' ||"""
        f""" strftime(make_timestamp(({_SECONDS} % 86400) * 1000000), '%HH%MM%SS"') END"""
    ),
    duration_label=_text(DURATION),
    determination=_Between("determination"),
    detections_count=_plain("o.detections_count"),
    detection_images=_Between("images"),
    determination_score=_plain("o.determination_score"),
    determination_details=_Object(
        "details",
        taxon=_Between("taxon"),
        identification=_Between("best_identification"),
        prediction=_Between("best_prediction"),
        score=_plain("o.determination_score"),
    ),
    best_machine_prediction=_Between("machine"),
    identifications=_Between("identifications"),
    created_at=_time("o.created_at"),
    updated_at=_time("o.updated_at"),
    determination_id=_plain("o.determination_id"),
    detections=_Between("detections"),
    predictions=_Between("predictions"),
)
_OCCURRENCES = f"""
SELECT o.position, o.event_id, o.deployment_id, o.determination_id, o.identification_id, o.prediction_id,
    o.prediction_taxon_id, CASE WHEN o.identification_id IS NULL THEN o.prediction_id END AS deciding_prediction_id,
    {_MACHINE.columns()}, {_OCCURRENCE.columns()}
FROM chosen o WHERE o.position BETWEEN $first AND $last ORDER BY o.position
"""
_CHOSEN = """BETWEEN $first AND $last
    AND {0}.position IN (SELECT position FROM chosen WHERE position BETWEEN $first AND $last)"""
_DETECTED = f"""
SELECT d.position, d.id, {_text("d.url")} AS image, {_DETECTION.columns()}
FROM detections d WHERE d.position {_CHOSEN.format("d")}
ORDER BY d.position, d.timestamp DESC NULLS LAST, d.id DESC
"""
_PREDICTED = f"""
SELECT c.position, c.detection_id, c.id, c.taxon_id, c.algorithm_id,
    row_number() OVER (PARTITION BY c.position, c.algorithm_id
        ORDER BY c.terminal DESC, c.score DESC NULLS LAST, c.id DESC) = 1 AS best_of_algorithm,
    {_PREDICTION.columns()}
FROM predictions c WHERE c.position {_CHOSEN.format("c")} ORDER BY c.position, c.id
"""
_IDENTIFIED = f"""
SELECT i.position, i.id, i.taxon_id, {_IDENTIFICATION.columns()}
FROM identifications i WHERE i.position {_CHOSEN.format("i")}
ORDER BY i.position, i.created_at DESC NULLS LAST, i.id DESC
"""
_QUERIES = (_OCCURRENCES, _DETECTED, _PREDICTED, _IDENTIFIED)
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
        shared = {name: _Rows(chosen.arrow(query.replace("$api", api))) for name, query in _SHARED.items()}
        queries = [query.replace("$api", api) for query in _QUERIES]
        path = draft.folder / f"{chosen.dataset['slug']}_export-v{draft.version}.json"
        with path.open("wb") as file:
            file.write(b"[")
            read = chosen.ahead(partial(_read, chosen, queries, parts) for parts in _parts(chosen))
            for objects in chosen.ahead(partial(_objects, shared, *part) for found in read for part in found):
                file.write(text_bytes(objects)[0 if rows else 2 :])  # no comma before the first
                rows += len(objects)
            file.write(b"]\n")
    return Written(rows, {path.name: rows}, warnings=remarks(draft))


def _parts(chosen: "Selection") -> "Iterator[np.ndarray]":
    """Positions of chosen occurrences, with which parts begin that together have some thousand detections.

    Each array holds those that are read at once, and where the next ones begin.
    """
    import numpy as np

    found = chosen.arrow("SELECT position, detections_count FROM chosen ORDER BY 1")
    positions = found.column(0).to_numpy()
    part = np.cumsum(found.column(1).to_numpy()) // _DETECTIONS
    begins = positions[np.flatnonzero(np.diff(part, prepend=-1))]
    for first in range(0, len(begins), _PARTS):
        yield np.append(begins, positions[-1:] + 1)[first : first + _PARTS + 1]


def _read(chosen: "Selection", queries: Sequence[str], begins: "np.ndarray") -> "list[list[_Rows]]":
    """The rows of each part, of each query."""
    import numpy as np

    between = {"first": int(begins[0]), "last": int(begins[-1]) - 1}
    tables = []
    for query in queries:
        table = chosen.arrow(Template(query).safe_substitute(between))
        ends = np.searchsorted(table.column("position").to_numpy(), begins).tolist()
        tables.append([_Rows(table.slice(start, end - start)) for start, end in pairwise(ends)])
    return [list(rows) for rows in zip(*tables, strict=True)]


class _Rows:
    """What a query gave."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def column(self, name: str) -> pa.Array:
        return self._table.column(name).combine_chunks()

    def __len__(self) -> int:
        return len(self._table)

    def text(self, name: str) -> pa.Array:
        """A column of JSON text, in ASCII."""
        texts = self.column(name)
        if bytes(text_bytes(texts)).isascii():
            return texts
        return pa.array([text and ascii_json(text.encode()).decode() for text in texts.to_pylist()], texts.type)

    def of(self, ids: pa.Array, name: str, texts: pa.Array | None = None) -> pa.Array:
        """For each id the text of the row that has it, null where none has; `texts` instead of those of a column."""
        import pyarrow.compute as pc

        return (self.text(name) if texts is None else texts).take(pc.index_in(ids, value_set=self.column("id")))


def _objects(
    shared: "Mapping[str, _Rows]", occurrences: _Rows, detections: _Rows, predictions: _Rows, identifications: _Rows
) -> pa.Array:
    """The objects of some occurrences, in order, each after a comma and a line feed."""
    import numpy as np
    import pyarrow.compute as pc

    taxa, algorithms, events, stations = (shared[name] for name in ("taxa", "algorithms", "events", "deployments"))
    positions = occurrences.column("position").to_numpy()
    predicted = _PREDICTION.texts(
        predictions,
        taxon=taxa.of(predictions.column("taxon_id"), "json"),
        algorithm=algorithms.of(predictions.column("algorithm_id"), "json"),
    )
    of_detection = pc.index_in(predictions.column("detection_id"), value_set=detections.column("id"))
    of_detection = of_detection.fill_null(-1).to_numpy()
    by_detection = np.argsort(of_detection, kind="stable")
    detected = _DETECTION.texts(
        detections,
        predictions=_lists(predicted.take(by_detection), of_detection[by_detection], np.arange(len(detections))),
    )
    of_occurrence = detections.column("position").to_numpy()
    images = detections.text("image")
    seen = images.is_valid()
    best = predictions.column("best_of_algorithm")
    identified = _IDENTIFICATION.texts(identifications, taxon=taxa.of(identifications.column("taxon_id"), "json"))

    prediction_ids = occurrences.column("prediction_id")
    algorithm_ids = predictions.of(prediction_ids, "algorithm_id", predictions.column("algorithm_id"))
    machine = _MACHINE.texts(
        occurrences,
        taxon=taxa.of(occurrences.column("prediction_taxon_id"), "json"),
        algorithm=algorithms.of(algorithm_ids, "json"),
    )
    return _OCCURRENCE.texts(
        occurrences,
        event=events.of(occurrences.column("event_id"), "json"),
        deployment=stations.of(occurrences.column("deployment_id"), "json"),
        determination=taxa.of(occurrences.column("determination_id"), "determination"),
        images=_lists(images.filter(seen), of_occurrence[seen.to_numpy(zero_copy_only=False)], positions),
        taxon=taxa.of(occurrences.column("determination_id"), "json"),
        best_identification=identifications.of(occurrences.column("identification_id"), "", identified),
        best_prediction=predictions.of(occurrences.column("deciding_prediction_id"), "", predicted),
        machine=pc.if_else(prediction_ids.is_valid(), machine, None),
        identifications=_lists(identified, identifications.column("position").to_numpy(), positions),
        detections=_lists(detected, of_occurrence, positions),
        predictions=_lists(
            predicted.filter(best),
            predictions.column("position").to_numpy()[best.to_numpy(zero_copy_only=False)],
            positions,
        ),
    )


def _lists(texts: pa.Array, keys: "np.ndarray", wanted: "np.ndarray") -> pa.Array:
    """For each wanted key the JSON array of the texts that have it; both are sorted by key."""
    import pyarrow.compute as pc

    return pc.binary_join_element_wise("[", text_lists(texts, keys, wanted, ","), "]", "")


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
