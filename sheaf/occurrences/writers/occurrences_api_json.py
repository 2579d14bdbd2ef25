r"""The series `occurrences_api_json`: one array of objects as the API of Antenna gives them.

Here: the objects, put together of pieces, because a million of them are gigabytes: SQL makes the text of what is a
row's own, once, objects that many rows share are made once for all, and which pieces follow each other in the file is
told by their numbers, so that each byte is copied to its place but once. Not here: choosing occurrences (`selection`),
runs of pieces (`pieces`). Characters beyond ASCII are written as `\u` escapes.
"""

import codecs
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pyarrow as pa

from sheaf import sql
from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.occurrences import schema
from sheaf.occurrences.input_tables import DATE_ONLY
from sheaf.occurrences.writers.occurrences_simple_csv import DURATION, SECONDS, TIMED, pixels
from sheaf.occurrences.writers.pieces import Runs, Texts, index, weave
from sheaf.occurrences.writers.selection import InOrder, remarks, select, text_bytes

if TYPE_CHECKING:
    import numpy as np


_DETECTIONS = 2048  # of which objects are made at once: each is kilobytes


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

    def runs(self, texts: Texts, rows: pa.Table, order: "np.ndarray", **between: "np.ndarray | Runs") -> Runs:
        """The objects of rows in some order, and after what is between their pieces."""
        return weave(
            between[part] if isinstance(part, _Between) else texts.add(rows.column(f"{self.name}_{index}"))[order]
            for index, part in enumerate(self.parts)
        )


def _flat(values: "Mapping[str, str | _Object]") -> Iterator[str]:
    for number, (key, value) in enumerate(values.items()):
        yield f"""'{"," if number else "{"}"{key}":'"""
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
        f"""CASE WHEN {TIMED} THEN '"P' || {SECONDS} // 86400 || 'DT' ||"""
        f""" strftime(make_timestamp(({SECONDS} % 86400) * 1000000), '%HH%MM%SS"') END"""
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
# Each of them is read once, in the order of positions.
_OCCURRENCES = f"""
SELECT o.position, o.event_id, o.deployment_id, o.determination_id, o.identification_id, o.prediction_id,
    o.prediction_taxon_id, CASE WHEN o.identification_id IS NULL THEN o.prediction_id END AS deciding_prediction_id,
    {_MACHINE.columns()}, {_OCCURRENCE.columns()}
FROM occurrences o
"""
_DETECTED = f"""
SELECT d.position, d.id, epoch_us(d.timestamp) AS seen_at, {_text("d.url")} AS image, {_DETECTION.columns()}
FROM detections d
"""
_PREDICTED = f"""
SELECT c.position, c.detection_id, c.id, c.taxon_id, c.algorithm_id, c.terminal, c.score, {_PREDICTION.columns()}
FROM predictions c
"""
_IDENTIFIED = f"""
SELECT i.position, i.id, i.taxon_id, epoch_us(i.created_at) AS said_at, {_IDENTIFICATION.columns()}
FROM identifications i
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
        shared = {name: chosen.arrow(query.replace("$api", api)) for name, query in _SHARED.items()}
        path = draft.folder / f"{chosen.dataset['slug']}_export-v{draft.version}.json"
        tables = [chosen.in_position_order(query.replace("$api", api)) for query in _QUERIES]
        with path.open("wb") as file:
            file.write(b"[")
            for count, objects in chosen.ahead(partial(_objects, shared, *part) for part in _parts(*tables)):
                file.write(text_bytes(objects)[0 if rows else 2 :])  # no comma before the first
                rows += count
                del objects  # megabytes, which the next ones can have
            file.write(b"]\n")
    return Written(rows, {path.name: rows}, warnings=remarks(draft))


def _parts(occurrences: InOrder, detections: InOrder, *others: InOrder) -> Iterator[list[pa.Table]]:
    """The rows of each table, by parts of some thousand detections."""
    while True:
        last = detections.position_of(_DETECTIONS)
        part = [table.until(last) for table in (occurrences, detections, *others)]
        if not len(part[0]):
            return
        yield part


def _objects(
    shared: Mapping[str, pa.Table],
    occurrences: pa.Table,
    detections: pa.Table,
    predictions: pa.Table,
    identifications: pa.Table,
) -> tuple[int, pa.Array]:
    """How many occurrences, and the pieces of their objects, in order, each object after a comma and a line feed."""
    import numpy as np

    texts = Texts("null", _ascii)

    def share(name: str, ids: pa.ChunkedArray, column: str = "json") -> "np.ndarray":
        return texts.found(shared[name].column(column), index(ids, shared[name].column("id")))

    positions = _numbers(occurrences, "position")
    every = np.arange(len(occurrences))
    in_order = np.lexsort(
        (-_numbers(detections, "id"), -_numbers(detections, "seen_at"), _numbers(detections, "position"))
    )
    of_occurrence = np.searchsorted(positions, _numbers(detections, "position")[in_order])

    by_id = np.lexsort((_numbers(predictions, "id"), _numbers(predictions, "position")))
    predicted = _PREDICTION.runs(
        texts,
        predictions,
        by_id,
        taxon=share("taxa", predictions.column("taxon_id"))[by_id],
        algorithm=share("algorithms", predictions.column("algorithm_id"))[by_id],
    )
    ids = predictions.column("id").take(by_id)
    place = np.argsort(in_order)[index(predictions.column("detection_id"), detections.column("id"))[by_id]]
    by_detection = np.argsort(place, kind="stable")
    detected = _DETECTION.runs(
        texts,
        detections,
        in_order,
        predictions=texts.lists(predicted.take(by_detection), place[by_detection], len(detections)),
    )
    images = texts.add(detections.column("image"))[in_order]
    seen = detections.column("image").is_valid().to_numpy()[in_order]
    best = np.sort(np.argsort(by_id)[_best(predictions)])
    newest = np.lexsort(
        (-_numbers(identifications, "id"), -_numbers(identifications, "said_at"), _numbers(identifications, "position"))
    )
    identified = _IDENTIFICATION.runs(
        texts, identifications, newest, taxon=share("taxa", identifications.column("taxon_id"))[newest]
    )
    decided = index(occurrences.column("prediction_id"), ids)
    algorithms = predictions.column("algorithm_id").take(by_id)
    machine = _MACHINE.runs(
        texts,
        occurrences,
        every,
        taxon=share("taxa", occurrences.column("prediction_taxon_id")),
        algorithm=share("algorithms", algorithms.take(pa.array(decided, mask=decided < 0))),
    )
    determined = share("taxa", occurrences.column("determination_id"))
    objects = _OCCURRENCE.runs(
        texts,
        occurrences,
        every,
        event=share("events", occurrences.column("event_id")),
        deployment=share("deployments", occurrences.column("deployment_id")),
        determination=share("taxa", occurrences.column("determination_id"), "determination"),
        images=texts.lists(Runs.single(images[seen]), of_occurrence[seen], len(positions)),
        taxon=determined,
        best_identification=texts.one_of(
            identified, index(occurrences.column("identification_id"), identifications.column("id").take(newest))
        ),
        best_prediction=texts.one_of(predicted, index(occurrences.column("deciding_prediction_id"), ids)),
        machine=texts.one_of(machine, np.where(occurrences.column("prediction_id").is_valid().to_numpy(), every, -1)),
        identifications=texts.lists(
            identified, np.searchsorted(positions, _numbers(identifications, "position")[newest]), len(positions)
        ),
        detections=texts.lists(detected, of_occurrence, len(positions)),
        predictions=texts.lists(
            predicted.take(best),
            np.searchsorted(positions, _numbers(predictions, "position")[by_id][best]),
            len(positions),
        ),
    )
    return len(occurrences), texts.of(objects)


def _best(predictions: pa.Table) -> "np.ndarray":
    """Which are the best of an algorithm for an occurrence: terminal first, then highest score, then highest id."""
    import numpy as np

    of = _numbers(predictions, "position"), _numbers(predictions, "algorithm_id")
    terminal, score, id_ = (_numbers(predictions, name) for name in ("terminal", "score", "id"))
    ranked = np.lexsort((-id_, -score, -terminal, *reversed(of)))
    groups = [column[ranked] for column in of]
    first = np.ones(len(ranked), bool)
    first[1:] = np.any([column[1:] != column[:-1] for column in groups], axis=0)
    return ranked[first]


def _numbers(rows: pa.Table, name: str) -> "np.ndarray":
    """A column of numbers; where there is none, the lowest, which comes last where the highest come first."""
    import numpy as np

    column = rows.column(name)
    if pa.types.is_floating(column.type):
        return column.fill_null(-np.inf).to_numpy()
    return column.cast(pa.int64()).fill_null(-(1 << 62)).to_numpy()


def _ascii(texts: pa.Array) -> pa.Array:
    """The same JSON texts, in ASCII."""
    import numpy as np

    data = np.frombuffer(text_bytes(texts), np.uint8)
    if not len(data) or data.max() < 128:
        return texts
    return pa.array([text and ascii_json(text.encode()).decode() for text in texts.to_pylist()], texts.type)


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
