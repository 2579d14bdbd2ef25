"""Builds small light-trap projects for the occurrence tests."""

import csv
import io
import json
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from running import current, run_steps

from sheaf.exports.publish import Published, Request, publish
from sheaf.exports.series import Draft, Series
from sheaf.occurrences.domain import OCCURRENCES
from sheaf.occurrences.readers.ingest import ingest
from sheaf.occurrences.settings import OccurrencesSettings
from sheaf.report import Report
from sheaf.running import How, Made
from sheaf.store.store import Store
from sheaf.tables.table import Table

SETTINGS = OccurrencesSettings()
NOW = datetime(2026, 1, 1, tzinfo=UTC)
Row = dict[str, Any]
Tables = dict[str, list[Row]]

ANIMALIA = {"id": 1, "name": "Animalia", "rank": "KINGDOM"}
LEPIDOPTERA = {"id": 2, "name": "Lepidoptera", "rank": "ORDER"}
NOCTUA = {"id": 3, "name": "Noctua", "rank": "GENUS"}
STAMPS = {"created_at": "2024-07-01T10:00:00", "updated_at": "2024-07-02T11:30:00"}


def project() -> Tables:
    """One occurrence, seen twice in one night, with two predictions and nothing from people."""
    return {
        "main_project": [{"id": 1, "name": "Moth Nights", "description": "Two traps.", "owner_id": 1,
                          "license": "CC BY 4.0", "rights_holder": "The Trust", **STAMPS}],
        "users_user": [{"id": 1, "name": "Ada Field"}, {"id": 2, "name": ""}, {"id": 3, "name": "Bo, Lind"}],
        "main_deployment": [{"id": 1, "name": "Meadow", "project_id": 1, "latitude": 47.3921, "longitude": 8.0444}],
        "main_event": [{"id": 1, "deployment_id": 1, "project_id": 1, "group_by": "2024-06-15", "captures_count": 30,
                        "start": "2024-06-15T22:00:00", "end": "2024-06-16T03:30:00", **STAMPS}],
        "main_sourceimage": [
            {"id": 1, "path": "/night/1.jpg", "public_base_url": "https://img.example.org/trap/", "project_id": 1,
             "timestamp": "2024-06-15T23:00:00", "width": 4096, "height": 2160, "deployment_id": 1, "event_id": 1},
            {"id": 2, "path": "night/2.jpg", "public_base_url": "https://img.example.org/trap/", "project_id": 1,
             "timestamp": "2024-06-15T23:22:01", "width": 4096, "height": 2160, "deployment_id": 1, "event_id": 1},
        ],
        "main_taxon": [
            {**ANIMALIA, "parents_json": []},
            {**LEPIDOPTERA, "parents_json": [ANIMALIA], "gbif_taxon_key": 797},
            {**NOCTUA, "parents_json": [ANIMALIA, LEPIDOPTERA]},
            {"id": 4, "name": "Noctua pronuba", "rank": "SPECIES", "parents_json": [ANIMALIA, LEPIDOPTERA, NOCTUA],
             "common_name_en": "Large Yellow Underwing", "gbif_taxon_key": 1776234, "author": "Linnaeus",
             "authorship_date": "1758-01-01"},
            {"id": 5, "name": "Not a Moth", "rank": "UNKNOWN", "parents_json": []},
        ],
        "ml_algorithm": [{"id": 1, "name": "Finder", "key": "finder", "version": 1, "version_name": "", **STAMPS},
                         {"id": 2, "name": "Moths", "key": "moths", "version": 3, "version_name": "v3", **STAMPS}],
        "main_occurrence": [{"id": 10, "determination_id": 4, "determination_score": 0.9, "event_id": 1,
                             "deployment_id": 1, "project_id": 1, **STAMPS}],
        "main_detection": [detection(100, 10, 1), detection(101, 10, 2)],
        "main_classification": [classification(1000, 100, 4, 0.8), classification(1001, 101, 4, 0.9)],
    }  # fmt: skip


def detection(id_: int, occurrence: int | None, image: int, **more: Any) -> Row:
    return {"id": id_, "occurrence_id": occurrence, "source_image_id": image, "detection_algorithm_id": 1,
            "bbox": [100, 200, 150, 280], "path": f"https://img.example.org/crop/{id_}.jpg", "detection_score": 0.75,
            "timestamp": {1: "2024-06-15T23:00:00", 2: "2024-06-15T23:22:01"}[image], **STAMPS, **more}  # fmt: skip


def classification(id_: int, detection_id: int, taxon: int, score: float | None, **more: Any) -> Row:
    return {"id": id_, "detection_id": detection_id, "taxon_id": taxon, "algorithm_id": 2, "score": score,
            "terminal": True, "timestamp": "2024-06-20T08:00:00", **STAMPS, **more}  # fmt: skip


def identification(id_: int, user: int | None, taxon: int, at: str | None, **more: Any) -> Row:
    return {"id": id_, "occurrence_id": 10, "user_id": user, "taxon_id": taxon, "withdrawn": False, "comment": "",
            "created_at": at, **more}  # fmt: skip


def put(folder: Path, tables: Mapping[str, list[Row]]) -> Path:
    """Write an inbox folder as NDJSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.ndjson").write_text(text, encoding="utf-8", errors="surrogatepass")
    return folder


def ingested(store: Store, folder: Path, settings: OccurrencesSettings = SETTINGS, how: How | None = None) -> Made:
    """Read a project, whether or not it is refused."""
    return run_steps(store, OCCURRENCES, "p1", settings, folder, ingest, only=["records"], how=how)["records"]


def made(store: Store, folder: Path, settings: OccurrencesSettings = SETTINGS, project: str = "p1") -> dict[str, Made]:
    """Read a project that is not refused, and make its tables."""
    found = run_steps(store, OCCURRENCES, project, settings, folder, ingest)
    assert {step: of.generation.refused for step, of in found.items()} == {"records": None, "occurrences": None}
    return found


def built(store: Store, tables: Tables, folder: Path, settings: OccurrencesSettings = SETTINGS) -> Report:
    """The same for a project that is not in a folder yet; what was said of the tables that were made of it."""
    return made(store, put(folder, tables), settings)["occurrences"].report


def rows(store: Store, table: Table, project: str = "p1") -> list[Row]:
    """The rows of one table of the last good generation."""
    return current(store, OCCURRENCES, project).read(table).to_pylist()


def series(name: str) -> Series:
    return next(series for series in OCCURRENCES.series if series.name == name)


def export(
    store: Store,
    name: str,
    *,
    options: Row | None = None,
    settings: OccurrencesSettings = SETTINGS,
    **filter_: Any,
) -> Published:
    request = Request("p1", filter_, options or {}, always=True)
    return publish(store, OCCURRENCES, series(name), request, settings)


def draft(
    store: Store, name: str, folder: Path, settings: OccurrencesSettings = SETTINGS, options: Row | None = None
) -> Draft:
    """What a writer gets for a canonical export, or one with options."""
    kind, members = series(name), {"p1": current(store, OCCURRENCES, "p1")}
    filter_, given = kind.filter(), kind.options.of(options or {}, "option")
    return Draft(store, "p1", members, folder, filter_, given, settings, NOW, 1)


def content(store: Store, published: Published) -> bytes:
    """The bytes of an export's only file."""
    (file,) = published.manifest.files
    return store.get(f"{published.export.path}/{file.path}")


def csv_rows(store: Store, **asked: Any) -> list[dict[str, str]]:
    text = content(store, export(store, "occurrences_simple_csv", **asked)).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def json_rows(store: Store, **asked: Any) -> list[Any]:
    return json.loads(content(store, export(store, "occurrences_api_json", **asked)))


def archive(store: Store, profile: str = "spec", **asked: Any) -> dict[str, str]:
    """The files of a Darwin Core Archive as texts."""
    data = content(store, export(store, "dwca", options={"profile": profile}, **asked))
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        return {name: found.read(name).decode() for name in found.namelist()}


def tsv(text: str) -> list[dict[str, str]]:
    """Rows of a file of an archive without quotes."""
    header, *lines = text.removesuffix("\n").split("\n")
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
