"""COCO files as a project, as the tools that write them really do; each split is a task.

An annotation with a mask becomes a box and a mask of one object. Ids of images count within their file, ids of
annotations within their image, so that neither files nor images have to agree about them. What Sheaf has no
column for (licences, addresses, captions, tracks …) is kept and written again.

Here: COCO of CVAT, Roboflow, Label Studio, FiftyOne and COCO itself. Not here: what single annotations become
(`coco_annotations`), nor what makes a row usable (`fields`, `geometry`).

Format: https://cocodataset.org/#format-data
"""

import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sheaf.annotations.findings import NOT_AN_OBJECT, Finding
from sheaf.annotations.readers import places
from sheaf.annotations.readers.coco_annotations import Annotations, as_id, extra_of
from sheaf.annotations.readers.fields import Batch, Row, Source
from sheaf.annotations.readers.paths import unsafe_path
from sheaf.errors import InputError
from sheaf.outside.files import find, key_of, named, top_files
from sheaf.outside.json_lists import JsonList, read_object
from sheaf.tables.rejects import Rejects

MOST_BYTES = 512 * 1024 * 1024
"""What is held at once of a file; annotations are read in parts, and may be more."""
_MOST_ON_DISK = 4 * 1024**3
_AT_ONCE = 16 * 1024
FOLDERS = ("coco", "annotations")
_INSTANCES = re.compile(r"instances(?:_(.+))?\.json")
_BESIDE_IMAGES = re.compile(r"_annotations\.coco\.json|labels\.json|result\.json|instances.*\.json|.*coco.*\.json")
_REPEATED = "in another file or earlier in this one"
SPLIT = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_WORDS = {
    "file_path": "file_name",
    "label_id": "category_id",
    "confidence": "score",
    **dict.fromkeys(("x_min", "y_min", "x_max", "y_max"), "bbox"),
}
_GIVEN_ID = Finding("id_given", "it has no id, or one that its image has already: it was given one of its own")
_ABSOLUTE = Finding("absolute_path", "the path is of another machine: the file was looked for by the end of it")
_BOXED = Finding(
    "box_of_keypoints", "it has keypoints but no box: the box spans them, and is at least 1 px wide and high"
)
_SLASHES = Finding("slashes", "the path uses backslashes: read as '/'")


def coco_files(folder: Path) -> list[Path]:
    """The COCO files of a project: in `coco/` or `annotations/`, beside `images/`, or in a folder for each split.

    Where there are `instances` files, others beside them (captions, keypoints of the same images) are not read.
    """
    for name in FOLDERS:
        if (folder / name).is_dir():
            found = [path for path in top_files(folder / name) if path.suffix.lower() == ".json"]
            return [path for path in found if _INSTANCES.fullmatch(key_of(path.name))] or found
    found = [path for path in top_files(folder) if _BESIDE_IMAGES.fullmatch(key_of(path.name))]
    for below in sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()):
        found += named(below, ["_annotations.coco.json"]).values()
    return found


def has_coco_folder(folder: Path) -> bool:
    """Whether there is a folder that is meant for COCO files."""
    return any((folder / name).is_dir() for name in FOLDERS)


def is_coco(folder: Path) -> bool:
    """Whether the project comes as COCO files."""
    return (folder / FOLDERS[0]).is_dir() or bool(coco_files(folder))


def coco_source(folder: Path, rejects: Rejects) -> Source:
    """The tables of a COCO dataset.

    Raises:
        InputError: there is no COCO file, or one of them is not COCO.
    """
    files = coco_files(folder)
    if not files:
        raise InputError(f"{folder / 'coco'} holds no instances_<split>.json: put the COCO files there.")
    return document_source(folder, [Document(folder, path, _load(path)) for path in files], rejects)


@dataclass
class Document:
    """One COCO file that was read.

    Attributes:
        root: the folder of the project.
        path: the file, for messages, and for the name of its split.
        content: what it holds.
        labels_of_images: image and category of labels that were given to whole images, which COCO has not.
        tags: image, tag category and tag, which COCO has not either.
    """

    root: Path
    path: Path
    content: dict[str, Any]
    labels_of_images: list[tuple[int, int]] = field(default_factory=list)
    tags: list[tuple[int, str, str]] = field(default_factory=list)
    name: str = field(init=False)
    split: str | None = field(init=False)

    def __post_init__(self) -> None:
        """Find the split that the names say."""
        self.name = self.path.name
        if not (match := _INSTANCES.fullmatch(key_of(self.name))):
            self.name = self.path.relative_to(self.root).as_posix()
        known = [SPLIT.get(re.sub(r"\d+$", "", part)) for part in re.split(r"[/_.\-]", key_of(self.name))]
        self.split = next((split for split in reversed(known) if split), None)
        self._of_instances = match[1] if match else None

    @property
    def folder(self) -> str:
        """`train2017` of `instances_train2017.json`, or the folder it lies in."""
        return self._of_instances or (self.path.parent.name if self.path.parent != self.root else "")

    def task(self, item: dict[str, Any]) -> str:
        """The task of an image: named after its split, which an image may name itself."""
        return _own_split(item) or self.split or self._of_instances or self.path.stem.strip("_") or "all"

    def key(self, value: Any) -> str | None:
        """Ids of images are unique in a file only, so they carry its name."""
        found = as_id(value)
        return None if found is None else f"{self._of_instances or self.name}:{found}"


def _load(path: Path) -> dict[str, Any]:
    document = read_object(path, _MOST_ON_DISK, "annotations", MOST_BYTES)
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        raise InputError(f"{path} is not a COCO file: it must hold the list images.")
    for name in ("annotations", "categories"):  # the file of a test set has none
        if not isinstance(document.setdefault(name, []), list | JsonList):
            raise InputError(f"{path} is not a COCO file: {name} must be a list.")
    return document


def document_source(folder: Path, documents: list[Document], rejects: Rejects) -> Source:
    """The tables of COCO documents, whether they come from files or were made of another format."""
    dataset = _Dataset(folder, documents, rejects)
    tables = {
        "tasks": dataset.tasks,
        "labels": dataset.labels,
        "images": dataset.images,
        "keypoints": dataset.keypoints,
        "image_tags": dataset.image_labels,
        "tag_categories": dataset.tag_categories,
        "tags": dataset.tags,
        "shared_image_tags": dataset.image_tags,
        "about": dataset.about,
    }
    rows = lambda table: tables[table]() if table in tables else iter(())  # noqa: E731
    return Source(rows, folder, pixels=True, words=_WORDS, batches=dataset.batches)


class _Dataset:
    def __init__(self, folder: Path, documents: list[Document], rejects: Rejects) -> None:
        self._folder, self._documents, self._rejects = folder, documents, rejects
        self._paths: dict[tuple[str, str], str] = {}
        self._there: dict[str, bool] = {}
        self._licences, self._licence_ids = _licences(documents)

    def about(self) -> Iterator[Row]:
        """What the files say of the whole: `info` of the first that has any, and the licences of all."""
        info = next((found for document in self._documents if (found := document.content.get("info"))), None)
        for name, value in (("info", info), ("licenses", self._licences)):
            if value:
                yield Row({"name": name, "value": value})

    def _items(self, kind: str, table: str | None = None) -> Iterator[tuple[Document, int, dict[str, Any]]]:
        """File, number in its list, and item; what is no object is rejected as a row of `table`, if one is given."""
        for document in self._documents:
            for number, item in enumerate(document.content[kind], 1):
                if isinstance(item, dict):
                    yield document, number, item
                elif table is not None:
                    self._reject_other(table, document, number, item)

    def _reject_other(self, table: str, document: Document, number: int, item: Any) -> None:
        """What is no object."""
        self._rejects.saw(table, 1)
        self._rejects.add(table, *NOT_AN_OBJECT, file=document.name, line=number, raw=item)

    def tasks(self) -> Iterator[Row]:
        made: set[str] = set()
        for document in self._documents:
            items = [item for item in document.content["images"] if isinstance(item, dict)]
            for task, split in sorted({(document.task(item), _own_split(item) or document.split) for item in items}):
                if task not in made:
                    made.add(task)
                    yield Row({"id": task, "name": task, "split": split}, document.name)

    def labels(self) -> Iterator[Row]:
        seen: dict[str | None, Any] = {}
        for document, number, item in self._items("categories", "labels"):
            key = as_id(item.get("id"))
            if key in seen:
                if seen[key] != item.get("name"):
                    raise InputError(
                        f"{document.name}: category {key} is {item.get('name')!r} here and {seen[key]!r} before: make "
                        "the categories of all splits the same."
                    )
                self._rejects.saw("labels", 1)
                self._rejects.left_out("labels", _REPEATED, 1)
                continue
            seen[key] = item.get("name")
            above = item.get("supercategory")
            values = {
                "id": key,
                "name": item.get("name"),
                "sort_order": int(key) if key and key.lstrip("-").isdecimal() else None,
                "supercategory": "" if above in (None, "none", "None") else above,
                "extra": extra_of("categories", item),
            }
            yield Row(values, document.name, number)

    def images(self) -> Iterator[Row]:
        yield from self._images()
        for document in self._documents:
            document.content["images"] = []  # of large projects these are many, and nobody asks for them again

    def _images(self) -> Iterator[Row]:
        owners: dict[str, set[str]] = {}
        for document, _, item in self._items("images"):
            owners.setdefault(_path(item), set()).add(document.name)
        near = {document.name: self._near(document) for document in self._documents}
        turned: Counter[tuple[str, Finding]] = Counter()
        for document, number, item in self._items("images", "images"):
            path = _path(item)
            turned[document.name, _SLASHES] += "\\" in str(item.get("file_name"))
            alone = len(owners[path]) == 1
            if path in near[document.name]:
                turned[document.name, _ABSOLUTE] += 1
                path = near[document.name][path]
            location = self._location(document, path)
            plain, nested, beside = _variants(self._folder, document, path)
            if location in (None, f"images/{plain}"):
                path = plain  # `images/` is where it is seen from, not a part of its name
            elif location in [f"{above}{place}" for place in nested for above in ("images/", "")] and not alone:
                path = nested[1] if document.split else nested[0]  # one name, and a file of its own in each split
            elif location == f"{beside}/{path}" and beside not in (".", *FOLDERS) and not alone:
                path = f"{beside}/{path}"
            key = document.key(item.get("id"))
            if key is not None:
                self._paths[document.name, key] = path
            values = {
                "id": key,
                "file_path": path,
                "location": location or f"images/{path}",
                "task_id": document.task(item),
                "width": item.get("width") or None,  # 0 is how some say that they do not know
                "height": item.get("height") or None,
                "extra": self._extra_of_image(document, item),
            }
            yield Row(values, document.name, number)
        for (name, finding), rows in turned.items():
            if rows:
                self._rejects.change("images", *finding, rows=rows, file=name)

    def _extra_of_image(self, document: Document, item: dict[str, Any]) -> dict[str, Any] | None:
        extra = extra_of("images", item)
        if extra and (moved := self._licence_ids.get((document.name, as_id(extra.get("license"))))):
            extra["license"] = moved
        return extra

    def _near(self, document: Document) -> dict[str, str]:
        """Paths of another machine by what they are here."""
        paths = {_path(item) for item in document.content["images"] if isinstance(item, dict)}
        lost = {path: places.ends(path) for path in paths if places.is_absolute(path)}
        return places.found(lost, lambda path: self._location(document, path) is not None)

    def _location(self, document: Document, path: str) -> str | None:
        """Where the file of an image path lies below the project; None where there is none."""
        plain, nested, beside = _variants(self._folder, document, path)
        below = [f"images/{place}" for place in (*nested, path, plain)]
        return next(filter(self._is_file, (*below, f"{beside}/{path}", f"data/{path}", path, *nested)), None)

    def _is_file(self, path: str) -> bool:
        above = path.rpartition("/")[0]
        if above not in self._there:
            self._there[above] = unsafe_path(path) is None and (self._folder / above).is_dir()
        return self._there[above] and unsafe_path(path) is None and find(self._folder, path) is not None

    def batches(self) -> Iterator[tuple[Batch, Batch]]:
        """Boxes and masks of the same annotations, some thousand at a time."""
        boxed: Counter[str] = Counter()
        for found in self._keyed():
            boxes, masks = found.boxes(), found.masks()
            boxed[found.name] += sum(map(found.is_spanned, range(len(found.items))))
            yield boxes, masks
        for name, rows in boxed.items():
            if rows:
                self._rejects.change("detections", *_BOXED, rows=rows, file=name)

    def _annotations(self) -> Iterator[tuple[Document, Sequence[int], list[dict[str, Any]]]]:
        """The annotations of all files, with their numbers in the lists of the files; what is no object is rejected."""
        for document in self._documents:
            content, first = document.content["annotations"], 1
            for part in content.parts() if isinstance(content, JsonList) else (content,):
                for at in range(0, len(part), _AT_ONCE):
                    items = part[at : at + _AT_ONCE]
                    numbers: Sequence[int] = range(first, first + len(items))
                    first += len(items)
                    if any(type(item) is not dict for item in items):
                        pairs = list(zip(numbers, items, strict=True))
                        for number, item in pairs:
                            if type(item) is not dict:
                                self._reject_other("detections", document, number, item)
                        numbers = [number for number, item in pairs if type(item) is dict]
                        items = [item for item in items if type(item) is dict]
                    yield document, numbers, items

    def _keyed(self) -> Iterator[Annotations]:
        """Annotations with the key that each gets: stable while others come and go."""
        taken = _Taken()
        doubled: Counter[str] = Counter()
        given: Counter[str] = Counter()
        for document, numbers, items in self._annotations():
            of_images: dict[int, tuple[str, str]] = {}
            images: list[str | None] = []
            keys: list[str] = []
            for item in items:
                image, own = item.get("image_id"), item.get("id")
                of_image = of_images.get(image) if type(image) is int else None
                if of_image is None:
                    name = document.key(image) or ""
                    of_image = name, f"{self._paths.get((document.name, name), name)}#"
                    if type(image) is int:
                        of_images[image] = of_image
                text = str(own) if type(own) is int else as_id(own)
                plain = key = _storable(of_image[1] + (text or ""))
                if text is None or not taken.add(key):
                    given[document.name] += 1
                    doubled[plain] += text is not None and plain not in doubled  # one had it as its own
                    while key == plain or not taken.add(key):
                        doubled[plain] += 1
                        key = f"{plain}+{doubled[plain]}"
                images.append(of_image[0] or None)
                keys.append(key)
            yield Annotations(document.name, numbers, items, images, keys)
        for name, rows in given.items():
            self._rejects.change("detections", *_GIVEN_ID, rows=rows, file=name)

    def image_labels(self) -> Iterator[Row]:
        """Rows of the server's table `image_tags`, which are labels."""
        for document in self._documents:
            for image, category in document.labels_of_images:
                yield Row({"image_id": document.key(image), "label_id": as_id(category)}, document.name)

    def tag_categories(self) -> Iterator[Row]:
        for category in sorted({category for document in self._documents for _, category, _ in document.tags}):
            yield Row({"id": category, "name": category})

    def tags(self) -> Iterator[Row]:
        for category, tag in sorted({(tag[1], tag[2]) for document in self._documents for tag in document.tags}):
            yield Row({"id": f"{category}/{tag}", "name": tag, "category_id": category})

    def image_tags(self) -> Iterator[Row]:
        for document in self._documents:
            for image, category, tag in document.tags:
                yield Row({"image_id": document.key(image), "tag_id": f"{category}/{tag}"}, document.name)

    def keypoints(self) -> Iterator[Row]:
        for document in self._documents:
            content = document.content["annotations"]
            if isinstance(content, JsonList) and not content.mentions(b'"keypoints"'):
                continue  # to look is much less than to read
            for number, item in enumerate(content, 1):
                if isinstance(item, dict) and item.get("keypoints"):
                    yield Row({"image_id": document.key(item.get("image_id"))}, document.name, number)


class _Taken:
    """Keys that were given, as a table of their hashes: of millions, the texts would be most of what is held.

    Of a million keys two have one hash once in thirty million times; then the later is given a key of its own too.
    """

    def __init__(self) -> None:
        self._table, self._count = array("q", bytes(8 << 10)), 0

    def add(self, key: str) -> bool:
        """Take a key; False where it is taken already."""
        if 2 * self._count >= len(self._table):
            before, self._table, self._count = self._table, array("q", bytes(16 * len(self._table))), 0
            for number in before:
                if number:
                    self._put(number)
        return self._put(hash(key) or 1)

    def _put(self, number: int) -> bool:
        table, last = self._table, len(self._table) - 1
        at = number & last
        while there := table[at]:
            if there == number:
                return False
            at = (at + 1) & last
        table[at] = number
        self._count += 1
        return True


def _licences(documents: list[Document]) -> tuple[list[dict[str, Any]], dict[tuple[str, str | None], Any]]:
    """The licences of all files, each once, and the new ids of those whose id another licence has."""
    found: list[dict[str, Any]] = []
    moved: dict[tuple[str, str | None], Any] = {}
    for document in documents:
        licences = document.content.get("licenses")
        for licence in licences if isinstance(licences, list) else ():
            if not isinstance(licence, dict) or licence in found:
                continue
            own = licence.get("id")
            if any(other.get("id") == own for other in found):
                new = 1 + max(other["id"] for other in found if isinstance(other.get("id"), int))
                moved[document.name, as_id(own)] = new
                licence = {**licence, "id": new}
            found.append(licence)
    return found, moved


def _path(item: dict[str, Any]) -> str:
    return str(item.get("file_name") or "").replace("\\", "/").removeprefix("./")


def _variants(folder: Path, document: Document, path: str) -> tuple[str, list[str], str]:
    """An image path as seen from `images/`, in the folder of its split there or here, and that of its document."""
    plain = path.removeprefix("images/")
    nested = [f"{document.folder}/{plain}", f"{document.split}/{plain}"]
    return plain, nested, document.path.parent.relative_to(folder).as_posix()


def _storable(key: str) -> str:
    """A key that can be written as UTF-8."""
    key = key.strip()
    return key if key.isascii() else key.encode("utf-8", "replace").decode()


def _own_split(item: dict[str, Any]) -> str | None:
    """The split that an image of a single-file export names itself."""
    split = item.get("split")
    return SPLIT.get(split) if isinstance(split, str) else None
