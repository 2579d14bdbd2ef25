"""The ids that images, annotations and labels have in COCO files: given once, and never to another.

They are taken over from the tables of the reading before, so that what a model said of last month's dataset still
means the same today: images by path, labels by name (or by id where they were renamed), annotations by id; a box
and a mask of one object share theirs. What is new gets the next number; what was deleted leaves a gap. The first
reading numbers from 1, in the order of the tables; a COCO file's own ids are kept where they are free.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from sheaf.annotations import schema
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.generations import Place
from sheaf.tables.pinned import Tables

_MOST = 2**53
_BOX, _MASK = "b:", "m:"


class Numbers:
    """What is taken: the numbers of the reading before, and of those before that."""

    def __init__(self, store: Store, partition: str, *, keeps_own: bool) -> None:
        self._keeps_own = keeps_own
        place = Place(schema.DOMAIN, schema.RECORDS, schema.KIND, partition)
        before = generations.current(store, place)
        tables = Tables(store, partition, {schema.RECORDS: before} if before else {})
        self._before = tables if schema.NUMBERS in tables else None
        taken = self._before.read(schema.NUMBERS).to_pylist() if self._before else []
        self._labels = [row for row in taken if row["kind"] == "label"]
        self._highest = {row["kind"]: row["number"] for row in taken if row["kind"] != "label"}

    def of_labels(self, rows: list[dict[str, Any]]) -> None:
        """Number the labels; one of another name but of the id of one that is gone is the same, renamed."""
        names = {row["name"] for row in rows}
        by_name = {row["label"]: row for row in self._labels}
        by_id = {row["label_id"]: row for row in self._labels if row["label"] not in names}
        following = max((row["number"] for row in self._labels), default=0)
        for row in rows:
            known = by_name.get(row["name"]) or by_id.pop(row["label_id"], None)
            if known is None:
                following += 1
                known = {"kind": "label", "number": following}
                self._labels.append(known)
            known |= {"label": row["name"], "label_id": row["label_id"]}
            row["number"] = known["number"]

    def of_images(self, rows: list[dict[str, Any]]) -> None:
        """Number the images, in their order."""
        before = self._before.read(schema.IMAGES, ["file_path", "number"]) if self._before else None
        keys = pa.array([row["file_path"] for row in rows], pa.string())
        old = (before["file_path"], before["number"].to_numpy()) if before else None
        own = [row["image_id"].rpartition(":")[2] for row in rows]
        for row, number in zip(rows, self._given("image", keys, old, own).tolist(), strict=True):
            row["number"] = number

    def of_annotations(self, boxes: pa.Table, masks: pa.Table) -> tuple[pa.Table, pa.Table]:
        """The boxes and masks with their numbers."""
        old = None
        if self._before:
            old_boxes = self._before.read(schema.DETECTIONS, ["detection_id", "number"])
            old_masks = self._before.read(schema.SEGMENTATIONS, ["segmentation_id", "detection_id", "number"])
            numbers = np.concatenate([old_boxes["number"].to_numpy(), old_masks["number"].to_numpy()])
            old = _keys(old_boxes, old_masks), numbers
        keys = _keys(boxes, masks)
        own = (key.rpartition("#")[2] for key in keys.to_pylist()) if self._keeps_own else ()
        given = self._given("annotation", keys, old, own)
        return _with(boxes, given[: len(boxes)]), _with(masks, given[len(boxes) :])

    def rows(self) -> list[dict[str, Any]]:
        """What is taken now, for the next reading."""
        highest = [{"kind": kind, "number": number} for kind, number in sorted(self._highest.items())]
        return [*highest, *self._labels]

    def _given(self, kind: str, keys: Any, old: tuple[Any, Any] | None, own: Iterable[str]) -> "np.ndarray[Any, Any]":
        import pyarrow.compute as pc

        numbers = np.zeros(len(keys), np.int64)
        if old is not None:
            at = pc.call_function("index_in", [keys], pc.SetLookupOptions(value_set=_one(old[0])))
            found = at.fill_null(-1).to_numpy(zero_copy_only=False)
            numbers[found >= 0] = old[1][found[found >= 0]]
        highest = self._highest.get(kind, 0)
        new = np.flatnonzero(numbers == 0)
        # equal keys, a box and its mask, get one number: that of the first
        coded = keys.take(pa.array(new)).dictionary_encode()
        which = coded.indices.to_numpy(zero_copy_only=False)
        of_new = np.zeros(len(coded.dictionary), np.int64)
        if self._keeps_own:
            wanted = np.array([_free(text, highest) for text in own], np.int64)[new]
            of_new[which] = wanted
            values, times = np.unique(of_new, return_counts=True)
            of_new[np.isin(of_new, values[times > 1])] = 0
        highest = max(highest, int(of_new.max(initial=0)))
        unnumbered = np.flatnonzero(of_new == 0)
        of_new[unnumbered] = highest + 1 + np.arange(len(unnumbered))
        numbers[new] = of_new[which]
        self._highest[kind] = highest + len(unnumbered)
        return numbers


def _free(text: str, highest: int) -> int:
    """The number that an id of the source is, where it was never given; else 0."""
    return number if text.isascii() and text.isdecimal() and highest < (number := int(text[:17])) < _MOST else 0


def _keys(boxes: pa.Table, masks: pa.Table) -> pa.Array:
    """What tells annotations apart; a mask that has a box is told apart as that."""
    import pyarrow.compute as pc

    def joined(mark: str, values: Any) -> Any:
        return pc.call_function("binary_join_element_wise", [pa.scalar(mark), _one(values), pa.scalar("")])

    own = joined(_MASK, masks["segmentation_id"])
    twin = joined(_BOX, masks["detection_id"])
    of_masks = pc.call_function("coalesce", [twin, own])
    return pa.concat_arrays([joined(_BOX, boxes["detection_id"]), of_masks])


def _one(values: Any) -> pa.Array:
    found = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return found if isinstance(found, pa.Array) else pa.concat_arrays(found.chunks)


def _with(data: pa.Table, numbers: "np.ndarray[Any, Any]") -> pa.Table:
    at = data.schema.get_field_index("number")
    return data.set_column(at, data.schema.field(at), pa.array(numbers, pa.int64()))
