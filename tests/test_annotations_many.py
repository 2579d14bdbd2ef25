"""What is read many at once: the same as one by one, cut anywhere, in order however many there are."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sheaf.annotations.readers import geometry, plain
from sheaf.annotations.readers.fields import as_json
from sheaf.annotations.readers.geometry import Frame, Shape, UnusableError
from sheaf.annotations.readers.ordered import Pile
from sheaf.errors import InputError
from sheaf.outside import json_lists
from sheaf.outside.json_lists import loads, read_object

FRAME = Frame(100, 80, 1.0, 1.0)
SIZE = (100.0, 80.0)


def _numbers(rng: random.Random, count: int) -> list[float]:
    """Numbers of an image, with halves of a hundredth, whole ones, and such as lie outside."""
    kinds = [lambda: rng.uniform(0, 80), lambda: rng.randrange(81), lambda: rng.randrange(16000) / 200]
    return [rng.choice(kinds)() if rng.random() < 0.99 else rng.choice([-0.0, -3.0, 200.5]) for _ in range(count)]


def _ring(rng: random.Random) -> list[float]:
    ring = _numbers(rng, 2 * rng.choice([3, 3, 3, 4, 5]))
    return [*ring, *rng.choice([[], ring[:2], ring[-2:]])]


def _one(shapes: list[Any], box: list[float] | None, area: float | None) -> Shape | None:
    try:
        found = geometry.polygon(geometry.read_rings(shapes, FRAME), FRAME)
    except UnusableError:
        return None
    return geometry.with_stated(found, box, area, is_crowd=False)


def _same(found: plain.Plain, at: int, one: Shape | None) -> bool:
    marks = (found.clipped, geometry.CLIPPED), (found.new_box, geometry.NEW_BOX), (found.new_area, geometry.NEW_AREA)
    corrections = [finding for which, finding in marks if which[at]]
    return one is not None and (*found.box[at].tolist(), found.area[at], found.text[at], corrections) == (
        *(one.x, one.y, one.width, one.height),
        *(one.area, one.segmentation, one.corrections),
    )


def test_plain_polygons_are_what_each_is_by_itself() -> None:
    rng = random.Random(1)
    shapes = [[_ring(rng) for _ in range(rng.choice([1, 1, 2]))] for _ in range(600)]
    alone = [_one(shape, None, None) for shape in shapes]
    boxes, areas = [], []
    for one in alone:
        x, y, width, height = (one.x, one.y, one.width, one.height) if one else (1.0, 1.0, 5.0, 5.0)
        boxes.append(rng.choice([None, [x, y, width, height], [x + 0.5, y, width, height], [0, 0, 3, 3]]))
        areas.append(rng.choice([None, one.area if one else 3, width * height, 0]))
    found = plain.polygons(shapes, boxes, areas, np.array([SIZE] * len(shapes)))
    stated = zip(shapes, boxes, areas, strict=True)
    assert all(_same(found, at, _one(*of)) for at, of in enumerate(stated) if found.good[at])
    sound = sum(one is not None and not one.corrections for one in alone)
    assert found.good.sum() > 0.9 * sound > 100


def test_plain_boxes_are_what_each_is_by_itself() -> None:
    rng = random.Random(2)
    boxes = [_numbers(rng, 4) for _ in range(500)]
    found = plain.boxes(boxes, np.array([SIZE] * len(boxes)))
    for at, (x, y, width, height) in enumerate(boxes):
        if found.good[at]:
            assert _same(found, at, geometry.box((x, y, x + width, y + height), 0.0, FRAME))
    assert found.good.sum() > 400


def test_what_is_no_number_is_not_plain() -> None:
    odd: list[Any] = [[1, 2, 3, True], [1, 2, 3, "4"], [1, 2, 3, None], [1, 2, 3, 10**400], [1, 2, 3], None, "x"]
    found = plain.boxes([*odd, [1, 2, 3, 4]], np.array([SIZE] * 8))
    assert found.good.tolist() == [False] * 7 + [True]
    ring = [1, 1, 9, 1, 9, 9]
    shapes = [[[*ring[:5], value]] for value in (True, "9", None, float("nan"), -0.0)] + [[ring, [1]], ring, [ring]]
    good = plain.polygons(shapes, [None] * 8, [None] * 8, np.array([SIZE] * 8)).good
    assert good.tolist() == [False] * 7 + [True]


@pytest.mark.parametrize("chunk", [1, 3, 17, 4096])
def test_a_list_is_read_in_parts_wherever_it_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(json_lists, "_CHUNK", chunk)
    monkeypatch.setattr(json_lists, "_PART", chunk)
    item = {"name": 'a "list": [ } \\', "list": [[1], {}]}
    document = {"a": [item], "list": [item, 3, [item], "]", {}], "b": {"list": [1]}}
    path = tmp_path / "a.json"
    for indent in (None, 2):
        path.write_text("\ufeff" + json.dumps(document, indent=indent), "utf-8")
        found = read_object(path, 10**6, "list", 10**6)
        assert found | {"list": list(found["list"])} == document
        assert found["list"].mentions(b'"name"')
        assert not found["list"].mentions(b'"b"')


def test_a_list_that_is_broken_or_changes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lists, "_PART", 1)
    path = tmp_path / "a.json"
    for text in (
        '{"list": [{},]}',
        '{"list": [{} {}]}',
        '{"list": [1, 2',
        '{"list": [{},, {}]}',
        '{"list": [{}] "b": 1}',
        '{"list": [}]}',
        "",
    ):
        path.write_text(text, "utf-8")
        with pytest.raises(InputError, match=r"a\.json is not valid JSON"):
            list(read_object(path, 100, "list", 100)["list"])
    path.write_text('{"list": [NaN]}', "utf-8")
    found = read_object(path, 100, "list", 100)["list"]
    path.write_text('{"list": [1, 2]}', "utf-8")
    with pytest.raises(InputError, match="changed while it was read"):
        list(found)
    with pytest.raises(InputError, match="larger than"):
        read_object(path, 10, "list", 100)


def test_more_rows_than_are_held_come_in_the_same_order(tmp_path: Path) -> None:
    schema = pa.schema([("key", pa.int64()), ("rank", pa.int64()), ("text", pa.string())])
    keys = np.random.default_rng(3).permutation(150_000)
    pile = Pile(tmp_path / "pile", schema, 1500)
    for part in np.array_split(keys, 7):
        pile.add(pa.record_batch([pa.array(part), pa.array(part // 100), pa.array(part.astype(str))], schema=schema))
    found = pile.in_order(("rank", "key"), schema, ("key",))
    table = pa.Table.from_batches(found.with_column("key", pa.array(np.arange(150_000) + 1)).batches())
    assert table["rank"].to_numpy().tolist() == (np.arange(150_000) // 100).tolist()
    assert table["text"].to_pylist() == [str(number) for number in range(150_000)]
    assert (found["key"].to_numpy() == np.arange(150_000)).all()
    assert (table["key"].to_numpy() == np.arange(150_000) + 1).all()


def test_json_that_python_wrote_is_read_as_what_can_be_written_again() -> None:
    text = b'{"a": NaN, "b": 1%b, "c": "\\ud800x", "d": -7}' % (b"0" * 30)
    found = loads(text)
    assert (found["b"], found["c"], found["d"]) == (1e30, "?x", -7)
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    assert str(as_json({"b": deep, "a": 1})).startswith('{"a":1,"b":[[')
