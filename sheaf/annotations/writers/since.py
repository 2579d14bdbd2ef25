"""What changed in a project since the last version of its page: images, objects and classes.

Told from the tables that both versions were made of: images by path, objects and classes by the number that never
changes. Not here: comparing what two exports hold (`diff`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from sheaf.annotations import schema
from sheaf.annotations.writers.matching import positions
from sheaf.annotations.writers.splits import homes
from sheaf.errors import NotFoundError
from sheaf.exports.records import read_manifest, versions
from sheaf.exports.series import Draft
from sheaf.names import ExportId, SeriesId
from sheaf.tables import generations
from sheaf.tables.generations import Place
from sheaf.tables.pinned import Tables
from sheaf.tables.table import Table

_SHAPE = ("x", "y", "width", "height", "is_crowd")
_MOST_NAMES = 10


@dataclass(frozen=True)
class Changes:
    """What was added, removed and changed.

    Attributes:
        version: the version before.
        made_at: when that was made.
        kinds: images, boxes and masks, each with the number added, removed and changed.
        classes: classes whose number of objects changed, with the number before and now.
        images: some paths of images that were added and removed.
    """

    version: int
    made_at: datetime
    kinds: list[tuple[str, tuple[int, int, int]]]
    classes: list[tuple[str, int, int]]
    images: dict[str, list[str]]


def since_last_version(draft: Draft, series: str) -> Changes | None:
    """Compare with the newest complete version before this one; None where there is none, or its tables are gone."""
    of = SeriesId(schema.DOMAIN, draft.partition, series)
    for version in reversed([number for number in versions(draft.store, of) if number < draft.version]):
        try:
            manifest = read_manifest(draft.store, ExportId(of, version))
            number = manifest.made_from[0].generations[schema.RECORDS]
            place = Place(schema.DOMAIN, schema.RECORDS, schema.KIND, draft.partition)
            generation = generations.read(draft.store, place, number)
        except (NotFoundError, LookupError):
            continue
        before = Tables(draft.store, draft.partition, {schema.RECORDS: generation})
        if schema.NUMBERS in before:
            return _changes(before, draft.tables, version, manifest.created_at)
    return None


def _changes(before: Tables, now: Tables, version: int, made_at: datetime) -> Changes:
    old, new = _images(before), _images(now)
    added, removed = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
    changed = sum(old[path] != new[path] for path in old.keys() & new.keys())
    kinds = [("Images", (len(added), len(removed), changed))]
    for name, table, shape in (
        ("Boxes", schema.DETECTIONS, "outline"),
        ("Polygons and masks", schema.SEGMENTATIONS, "segmentation"),
    ):
        kinds.append((name, _objects(_read(before, table, shape), _read(now, table, shape))))
    then, counted = _by_class(before), _by_class(now)
    classes = [
        (name, then.get(name, 0), counted.get(name, 0))
        for name in sorted(then.keys() | counted.keys())
        if then.get(name, 0) != counted.get(name, 0)
    ]
    shown = {"added": added[:_MOST_NAMES], "removed": removed[:_MOST_NAMES]}
    return Changes(version, made_at, kinds, classes, shown)


def _images(tables: Tables) -> dict[str, tuple[Any, ...]]:
    """Bytes, size and split of each image, by path."""
    images = tables.read(schema.IMAGES, ["file_path", "sha256", "width", "height"])
    *rest, paths = (images[column].to_pylist() for column in ("sha256", "width", "height", "file_path"))
    return dict(zip(paths, zip(*rest, homes(tables).splits, strict=True), strict=True))


def _read(tables: Tables, table: Table, shape: str) -> pa.Table:
    """Number, class and shape of the objects of a table."""
    labels = tables.read(schema.LABELS, ["label_id", "number"])
    found = tables.read(table, ["number", "label_id", *_SHAPE, shape])
    numbers = labels["number"].to_numpy()[positions(found["label_id"], labels["label_id"].combine_chunks())]
    return found.drop_columns("label_id").append_column("class", pa.array(numbers))


def _objects(before: pa.Table, now: pa.Table) -> tuple[int, int, int]:
    """How many were added, removed and changed."""
    import pyarrow.compute as pc

    at = positions(now["number"], before["number"].combine_chunks())
    both = at >= 0
    then, since = before.take(pa.array(at[both])), now.filter(pa.array(both))
    differs = np.zeros(len(since), bool)
    for name in since.column_names:
        first, second = (_filled(table[name].combine_chunks()) for table in (then, since))
        differs |= pc.call_function("not_equal", [first, second]).to_numpy(zero_copy_only=False)
    kept = int(both.sum())
    return len(now) - kept, len(before) - kept, int(differs.sum())


def _filled(values: pa.Array) -> pa.Array:
    """Texts that are missing are equal."""
    import pyarrow.compute as pc

    return pc.call_function("coalesce", [values, pa.scalar("")]) if pa.types.is_string(values.type) else values


def _by_class(tables: Tables) -> Mapping[str, int]:
    """Objects by class; a mask with a box counts once."""
    labels = tables.read(schema.LABELS, ["label_id", "name"])
    ids = labels["label_id"].combine_chunks()
    counts = np.zeros(len(ids), np.int64)
    for table, twin in ((schema.DETECTIONS, None), (schema.SEGMENTATIONS, "detection_id")):
        for batch in tables.batches(table, ["label_id", *([twin] if twin else [])]):
            if twin:
                batch = batch.filter(batch.column(twin).is_null())
            counts += np.bincount(positions(batch.column("label_id"), ids), minlength=len(ids))
    return dict(zip(labels["name"].to_pylist(), counts.tolist(), strict=True))
