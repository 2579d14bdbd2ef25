"""The ids that images, annotations and labels have in COCO files: given once, and never to another.

They are taken over from the tables of the reading before, so that what a model said of last month's dataset still
means the same today: images by path, labels by name (or by id where they were renamed), annotations by id; a box
and a mask of one object share theirs. What is new gets the next number; what was deleted leaves a gap. The first
reading numbers from 1, in the order of the tables; a COCO file's own ids are kept where they are free.
"""

from typing import Any

import numpy as np
import pyarrow as pa

from sheaf import memory
from sheaf.annotations import schema
from sheaf.annotations.readers.ordered import Ordered
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.generations import Place
from sheaf.tables.pinned import Tables

_MOST = 2**53
_AT_ONCE = 64 * 1024
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
        own = _whole(pa.array([row["image_id"].rpartition(":")[2] for row in rows], pa.string()))
        for row, number in zip(rows, self._given("image", keys, old, own).tolist(), strict=True):
            row["number"] = number

    def of_annotations(self, boxes: Ordered, masks: Ordered) -> tuple[Ordered, Ordered]:
        """The boxes and masks with their numbers."""
        old = None
        if self._before:
            old_boxes = self._before.read(schema.DETECTIONS, ["detection_id", "number"])
            old_masks = self._before.read(schema.SEGMENTATIONS, ["segmentation_id", "detection_id", "number"])
            numbers = np.concatenate([old_boxes["number"].to_numpy(), old_masks["number"].to_numpy()])
            old = _keys(old_boxes["detection_id"], old_masks["segmentation_id"], old_masks["detection_id"]), numbers
        twins = masks["detection_id"]
        single = twins.is_null()
        own_keys = masks["segmentation_id"].filter(single)
        keys = _keys(boxes["detection_id"], own_keys, pa.nulls(len(own_keys), pa.string()))
        memory.give_back()
        given = self._given("annotation", keys, old, _behind_the_last_hash(keys) if self._keeps_own else None)
        del keys, old
        memory.give_back()
        of_boxes, of_masks = given[: len(boxes)], np.zeros(len(masks), np.int64)
        alone = single.to_numpy(zero_copy_only=False)
        of_masks[alone] = given[len(boxes) :]
        if not alone.all():  # a mask has the number of its box
            of_masks[~alone] = of_boxes[_index(twins.drop_null(), boxes["detection_id"])]
            memory.give_back()
        return (
            boxes.with_column("number", pa.array(of_boxes, pa.int64())),
            masks.with_column("number", pa.array(of_masks, pa.int64())),
        )

    def rows(self) -> list[dict[str, Any]]:
        """What is taken now, for the next reading."""
        highest = [{"kind": kind, "number": number} for kind, number in sorted(self._highest.items())]
        return [*highest, *self._labels]

    def _given(self, kind: str, keys: Any, old: tuple[Any, Any] | None, own: Any) -> Any:
        """The number of each key; they are different."""
        numbers = np.zeros(len(keys), np.int64)
        if old is not None:
            found = _index(keys, old[0])
            numbers[found >= 0] = old[1][found[found >= 0]]
        highest = self._highest.get(kind, 0)
        new = np.flatnonzero(numbers == 0)
        of_new = np.zeros(len(new), np.int64)
        if self._keeps_own and own is not None:
            of_new = own[new]
            of_new[(of_new <= highest) | (of_new >= _MOST)] = 0
            values, times = np.unique(of_new, return_counts=True)
            of_new[np.isin(of_new, values[times > 1])] = 0
        highest = max(highest, int(of_new.max(initial=0)))
        unnumbered = np.flatnonzero(of_new == 0)
        of_new[unnumbered] = highest + 1 + np.arange(len(unnumbered))
        numbers[new] = of_new
        self._highest[kind] = highest + len(unnumbered)
        return numbers


def _whole(texts: pa.Array) -> "np.ndarray[Any, Any]":
    """The numbers that ids of the source are; 0 where they are none."""
    import pyarrow.compute as pc

    is_number = pc.call_function("match_substring_regex", [texts], pc.MatchSubstringOptions("^[0-9]+$"))
    digits = pc.call_function("if_else", [is_number, texts, pa.scalar("0")])
    short = pc.call_function("utf8_slice_codeunits", [digits], pc.SliceOptions(0, 17))
    return short.cast(pa.int64()).to_numpy(zero_copy_only=False)


def _behind_the_last_hash(keys: pa.Array) -> "np.ndarray[Any, Any]":
    """The numbers at the end of keys, of some thousand at a time: their texts would be as much again as the keys."""
    import pyarrow.compute as pc

    options = pc.ReplaceSubstringOptions("(?s)^.*#", "")
    parts = (keys.slice(start, _AT_ONCE) for start in range(0, len(keys), _AT_ONCE))
    found = [_whole(pc.call_function("replace_substring_regex", [part], options)) for part in parts]
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _keys(boxes: Any, masks: Any, twins: Any) -> pa.Array:
    """What tells annotations apart; a mask that has a box is told apart as that."""
    import pyarrow.compute as pc

    def joined(mark: str, values: Any) -> Any:
        return pc.call_function("binary_join_element_wise", [pa.scalar(mark), _one(values), pa.scalar("")])

    of_masks = pc.call_function("coalesce", [joined(_BOX, twins), joined(_MASK, masks)])
    return pa.concat_arrays([joined(_BOX, boxes), of_masks])


def _index(keys: Any, among: Any) -> Any:
    """Where each key first is among others; -1 where it is not."""
    import pyarrow.compute as pc

    found = pc.call_function("index_in", [keys], pc.SetLookupOptions(value_set=_one(among)))
    return found.fill_null(-1).to_numpy(zero_copy_only=False)


def _one(values: Any) -> pa.Array:
    found = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    return found if isinstance(found, pa.Array) else pa.concat_arrays(found.chunks)
