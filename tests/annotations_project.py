"""A project in an inbox, written row by row, and its exports read back."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import orjson
from PIL import Image
from running import current, run_steps

from sheaf.annotations.domain import ANNOTATIONS
from sheaf.annotations.readers.ingest import ingest
from sheaf.annotations.settings import AnnotationsSettings
from sheaf.exports.publish import Request, preview, publish
from sheaf.exports.series import Series, Written
from sheaf.report import Report
from sheaf.running import How, Made
from sheaf.sources import Sources
from sheaf.store.store import Store
from sheaf.tables.accounts import Kind
from sheaf.tables.pinned import Tables
from sheaf.tables.table import Table

PROJECT = "signs"
SETTINGS = AnnotationsSettings()
SERIES = {series.name: series for series in ANNOTATIONS.series}
Rows = list[dict[str, Any]]


def read_folder(
    folder: Path,
    store: Store,
    project: str = PROJECT,
    settings: AnnotationsSettings = SETTINGS,
    *,
    accept: bool = False,
) -> Made:
    """Read a folder as the first step does; its account has to add up."""
    how = How(accept_loss=accept)
    made = run_steps(store, ANNOTATIONS, project, settings, folder, ingest, only=["records"], how=how)["records"]
    if made.generation.refused is None:
        assert [account.table for account in made.generation.account if not account.adds_up] == []
    return made


def described(store: Store, project: str = PROJECT) -> Made:
    """What the overview says of what was read."""
    return run_steps(store, ANNOTATIONS, project, SETTINGS, Sources({}), only=["overview"])["overview"]


def noted(made: Made, kind: Kind = Kind.REJECT) -> dict[str, int]:
    """How many rows of a kind there are, by table and code."""
    return {
        f"{account.table} {reason.code}": reason.rows
        for account in made.generation.account
        for reason in account.reasons
        if reason.kind is kind
    }


class Project:
    """Tables of one project; `write` puts them into the inbox and `ingest` reads them."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store = folder, store
        self.tables: dict[str, Rows] = {
            "tasks": [{"id": 1, "name": "a", "split": "train"}, {"id": 2, "name": "b", "split": "val"}],
            "labels": [{"id": 1, "name": "car"}, {"id": 2, "name": "tree"}],
            "images": [],
            "detections": [],
            "segmentations": [],
        }

    def image(self, path: str, task: int | None = 1, *, size: tuple[int, int] | None = (100, 50), **more: Any) -> str:
        """One image row; its file is another matter."""
        key = str(more.pop("id", f"i{len(self.tables['images']) + 1}"))
        sides = {"width": size[0], "height": size[1]} if size else {}
        self.tables["images"].append({"id": key, "file_path": path, "task_id": task, **sides, **more})
        return key

    def file(self, path: str, size: tuple[int, int] = (100, 50), **save: Any) -> bytes:
        """An image file, its colour made from the path, so that no two are alike."""
        colour = tuple((path * 3).encode()[:3])
        out = io.BytesIO()
        Image.new("RGB", size, colour).save(out, format="PNG" if path.endswith("png") else "JPEG", **save)
        target = self.folder / "images" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(out.getvalue())
        return out.getvalue()

    def box(self, image: str, corners: tuple[float, ...] = (0.1, 0.2, 0.5, 0.6), label: int = 1, **more: Any) -> None:
        """One box in fractions of the image."""
        key = more.pop("id", f"d{len(self.tables['detections']) + 1}")
        named = dict(zip(("x_min", "y_min", "x_max", "y_max"), corners, strict=True))
        self.tables["detections"].append({"id": key, "image_id": image, "label_id": label, **named, **more})

    def mask(self, image: str, polygon: Any = None, label: int = 1, **more: Any) -> None:
        """One polygon in fractions of the image, or an RLE mask."""
        key = more.pop("id", f"s{len(self.tables['segmentations']) + 1}")
        row = {"id": key, "image_id": image, "label_id": label, "polygon": polygon, **more}
        self.tables["segmentations"].append(row)

    def tag(self, image: str, *names: str) -> None:
        """Tags of an image as category/tag; categories and tags are made as needed."""
        for name in names:
            category, tag = name.split("/")
            for table, row in (
                ("tag_categories", {"id": category, "name": category}),
                ("tags", {"id": name, "name": tag, "category_id": category}),
            ):
                if row not in self.tables.setdefault(table, []):
                    self.tables[table].append(row)
            self.tables.setdefault("shared_image_tags", []).append({"image_id": image, "tag_id": name})

    def write(self) -> None:
        """Replace the tables in the inbox."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, rows in self.tables.items():
            (self.folder / f"{name}.ndjson").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))

    def ingest(self, *, accept: bool = False) -> Report:
        """Write the tables and read the folder, which must not be refused."""
        made = self.deliver(accept=accept)
        assert made.generation.refused is None
        return made.report

    def deliver(self, settings: AnnotationsSettings = SETTINGS, *, accept: bool = False) -> Made:
        """Write the tables and read the folder; `accept` also what is less than before."""
        self.write()
        return read_folder(self.folder, self.store, PROJECT, settings, accept=accept)

    @property
    def current(self) -> Tables:
        """The tables of the last good reading."""
        return current(self.store, ANNOTATIONS, PROJECT)

    def rows(self, table: Table) -> Rows:
        """The rows of one of them."""
        return self.current.read(table).to_pylist()

    def export(self, series: str, filter_: dict[str, Any] | None = None, **options: Any) -> "Export":
        """Publish, always as a new version."""
        request = Request(PROJECT, filter_, options, always=True)
        return Export(self.store, SERIES[series], request)

    def preview(self, series: str, filter_: dict[str, Any] | None = None, **options: Any) -> Written:
        """What `export` would hold."""
        return preview(self.store, ANNOTATIONS, SERIES[series], Request(PROJECT, filter_, options), SETTINGS)


class Export:
    """A published ZIP, opened."""

    def __init__(
        self, store: Store, series: Series, request: Request, settings: AnnotationsSettings = SETTINGS
    ) -> None:
        self.published = publish(store, ANNOTATIONS, series, request, settings)
        self.manifest = self.published.manifest
        (file,) = self.manifest.files
        self.path = f"{self.published.export.path}/{file.path}"
        self.data = store.get(self.path)
        self.zip = zipfile.ZipFile(io.BytesIO(self.data))
        self.names = self.zip.namelist()
        self.report = json.loads(self.zip.read("report.json"))

    def coco(self, split: str | None = "train") -> dict[str, Any]:
        """One COCO document."""
        return json.loads(self.zip.read(f"annotations/instances{f'_{split}' if split else ''}.json"))

    @property
    def documents(self) -> list[dict[str, Any]]:
        """All COCO documents."""
        return [json.loads(self.zip.read(name)) for name in self.names if name.startswith("annotations/")]

    @property
    def paths(self) -> list[str]:
        """Image paths of all documents."""
        return sorted(image["file_name"] for document in self.documents for image in document["images"])

    @property
    def annotations(self) -> Rows:
        """Annotations of all documents."""
        return [annotation for document in self.documents for annotation in document["annotations"]]

    @property
    def manifest_rows(self) -> list[str]:
        """Lines of the manifest."""
        return self.zip.read("manifest.csv").decode().splitlines()
