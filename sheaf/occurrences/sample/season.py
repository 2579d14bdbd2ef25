"""A light-trap season that never happened: two projects for the demo, the tests and the benchmarks.

Here: files of the shape that a dump of an Antenna database has. Not here: anything that reads them.

`p1` has two stations of known position and one without, machine predictions of several ranks, and
people who identified, agreed, disagreed and took back. Nobody has looked at `p2` yet. A few broken
rows are meant: they show where rejects are found.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson

_RANKS = ("KINGDOM", "PHYLUM", "CLASS", "ORDER", "FAMILY", "GENUS", "SPECIES")
_SPECIES = (  # family, species, English name, how common
    ("Noctuidae", "Noctua pronuba", "Large Yellow Underwing", 9),
    ("Noctuidae", "Agrotis exclamationis", "Heart and Dart", 7),
    ("Noctuidae", "Autographa gamma", "Silver Y", 4),
    ("Geometridae", "Biston betularia", "Peppered Moth", 5),
    ("Geometridae", "Idaea aversata", "Riband Wave", 6),
    ("Geometridae", "Opisthograptis luteolata", "Brimstone Moth", 3),
    ("Erebidae", "Arctia caja", "Garden Tiger", 2),
    ("Erebidae", "Catocala nupta", "Red Underwing", 1),
    ("Sphingidae", "Deilephila elpenor", "Elephant Hawk-moth", 2),
)
_ROOT = (("Animalia", 1), ("Arthropoda", 54), ("Insecta", 216), ("Lepidoptera", 797))  # with keys of GBIF's backbone
_USERS = ((1, "Ada Field"), (2, "Bo Lindqvist"), (3, ""))
_ALGORITHMS = (
    (1, "Moth finder", "moth-finder", 2),
    (2, "Order classifier", "orders", 1),
    (3, "Moths of Europe", "eu", 3),
)
_MEMBERS = ((1, "project_manager"), (2, "researcher"), (3, "identifier"))
_WIDTH, _HEIGHT = 4096, 2160

Row = dict[str, Any]


@dataclass
class _Project:
    """One project: what its stations saw, as rows by table."""

    number: int
    name: str
    description: str
    stations: tuple[tuple[str, float | None, float | None], ...]
    nights: int
    per_night: float
    verified_share: float
    tables: dict[str, list[Row]] = field(default_factory=dict)

    def add(self, table: str, **row: Any) -> int:
        """Append a row with the next id of its table; ids of different projects never meet."""
        rows = self.tables.setdefault(table, [])
        row = {"id": self.number * 1_000_000 + len(rows) + 1, **row}
        rows.append(row)
        return row["id"]


def write(inbox: Path) -> list[str]:
    """Write the sample projects below `inbox/occurrences/`, replacing what an earlier call wrote.

    Args:
        inbox: the inbox root.

    Returns:
        The partition keys that were written.
    """
    keys = []
    for project in (
        _Project(
            1,
            "Meadow and Wood 2024",
            "Two light traps, one in a meadow and one at the edge of a wood, from June to July 2024, and a third "
            "that was carried about. The season is generated.",
            (("Meadow", 47.3921, 8.0444), ("Edge of the Wood", 47.4013, 8.0672), ("Carried About", None, None)),
            nights=45,
            per_night=20,
            verified_share=0.2,
        ),
        _Project(
            2,
            "Harbour Trial",
            "A trap in a harbour that nobody has looked at yet. The season is generated.",
            (("Harbour", 54.3233, 10.1394),),
            nights=10,
            per_night=6,
            verified_share=0.0,
        ),
    ):
        _fill(project, np.random.default_rng(project.number))
        folder = inbox / "occurrences" / f"p{project.number}"
        folder.mkdir(parents=True, exist_ok=True)
        for table, rows in project.tables.items():
            _write_table(folder, table, rows)
        keys.append(folder.name)
    return keys


def _fill(project: _Project, rng: np.random.Generator) -> None:
    changed = datetime(2024, 9, 1, 12)
    project.tables["main_project"] = [
        {
            "id": project.number,
            "name": project.name,
            "description": project.description,
            "owner_id": 1,
            "draft": False,
            "active": True,
            "default_filters_score_threshold": 0.6,
            "license": "CC-BY-4.0",
            "rights_holder": "The Sheaf sample",
            "created_at": datetime(2024, 5, 1, 9),
            "updated_at": changed,
        }
    ]
    project.tables["users_user"] = [{"id": id_, "name": name} for id_, name in _USERS]
    project.tables["main_project_members"] = [
        {"project_id": project.number, "user_id": user, "role": role} for user, role in _MEMBERS
    ]
    project.tables["ml_algorithm"] = [
        {"id": id_, "name": name, "key": key, "version": version, "version_name": f"v{version}", "created_at": changed,
         "updated_at": changed}
        for id_, name, key, version in _ALGORITHMS
    ]  # fmt: skip
    taxa = list(_taxa(changed))
    project.tables["main_taxon"] = taxa
    project.tables["main_project_default_filters_exclude_taxa"] = [
        {"project_id": project.number, "taxon_id": taxa[-1]["id"]}
    ]
    night_set = project.add(
        "main_sourceimagecollection", name="Every third image", project_id=project.number, created_at=changed,
        updated_at=changed,
    )  # fmt: skip
    for name, latitude, longitude in project.stations:
        station = project.add(
            "main_deployment", name=name, project_id=project.number, latitude=latitude, longitude=longitude,
            created_at=datetime(2024, 5, 20, 10), updated_at=changed,
        )  # fmt: skip
        for night in range(project.nights):
            _night(project, rng, station, datetime(2024, 6, 1, 22) + timedelta(days=night), taxa, night_set)
    project.add("main_detection", source_image_id=None, occurrence_id=None, detection_algorithm_id=1, bbox=None,
                path="", timestamp=None, created_at=changed, updated_at=changed)  # fmt: skip
    project.add("main_classification", detection_id=5, taxon_id=1, algorithm_id=3, applied_to_id=None, score=0.5,
                terminal=True, timestamp=changed, created_at=changed, updated_at=changed)  # fmt: skip


def _taxa(changed: datetime) -> Iterator[Row]:
    ids: dict[str, int] = {}
    rows: list[Row] = []

    def add(name: str, rank: str, parents: list[Row], english: str = "", key: int | None = None) -> list[Row]:
        if name not in ids:
            ids[name] = len(ids) + 1
            rows.append(
                {"id": ids[name], "name": name, "rank": rank, "parents_json": parents, "common_name_en": english,
                 "gbif_taxon_key": key, "author": "", "created_at": changed, "updated_at": changed}
            )  # fmt: skip
        return [*parents, {"id": ids[name], "name": name, "rank": rank}]

    root: list[Row] = []
    for (name, key), rank in zip(_ROOT, _RANKS, strict=False):
        root = add(name, rank, root, key=key)
    for family, species, english, _ in _SPECIES:
        genus = add(species.split()[0], "GENUS", add(family, "FAMILY", root))
        add(species, "SPECIES", genus, english)
    add("Not a Moth", "UNKNOWN", [])
    yield from rows


def _night(
    project: _Project, rng: np.random.Generator, station: int, start: datetime, taxa: list[Row], night_set: int
) -> None:
    images = int(rng.integers(24, 40))
    changed = start + timedelta(days=30)
    stamps = {"created_at": start + timedelta(days=1), "updated_at": changed}
    event = project.add(
        "main_event", deployment_id=station, project_id=project.number, group_by=f"{start:%Y-%m-%d}", start=start,
        end=start + timedelta(minutes=10 * (images - 1)), captures_count=images, **stamps,
    )  # fmt: skip
    captures = []
    for index in range(images):
        taken = start + timedelta(minutes=10 * index)
        captures.append((
            project.add(
                "main_sourceimage", path=f"/{station}/{taken:%Y%m%d%H%M%S}.jpg",
                public_base_url="https://images.example.org/season/", timestamp=taken, width=_WIDTH, height=_HEIGHT,
                deployment_id=station, event_id=event, project_id=project.number, **stamps,
            ),
            taken,
        ))  # fmt: skip
        if index % 3 == 0:
            project.add(
                "main_sourceimagecollection_images", sourceimagecollection_id=night_set, sourceimage_id=captures[-1][0]
            )
    season = 1 - abs(start - datetime(2024, 6, 25)) / timedelta(days=60)  # moths peak at the end of June
    for _ in range(rng.poisson(project.per_night * season)):
        _occurrence(project, rng, station, event, captures, taxa, stamps)


def _occurrence(
    project: _Project, rng: np.random.Generator, station: int, event: int, captures: list[tuple[int, datetime]],
    taxa: list[Row], stamps: Row,
) -> None:  # fmt: skip
    by_name = {row["name"]: row for row in taxa}
    common = np.array([row[3] for row in _SPECIES], float)
    species = by_name[_SPECIES[int(rng.choice(len(_SPECIES), p=common / common.sum()))][1]]
    seen_as = species
    if rng.random() < 0.3:  # the machine is sure of a higher taxon only
        seen_as = by_name[species["parents_json"][int(rng.integers(3, 6))]["name"]]
    if rng.random() < 0.05:
        seen_as = by_name["Not a Moth"]
    occurrence = project.add(
        "main_occurrence", determination_id=seen_as["id"], determination_score=None, event_id=event,
        deployment_id=station, project_id=project.number, **stamps,
    )  # fmt: skip
    row = project.tables["main_occurrence"][-1]
    first = int(rng.integers(0, len(captures)))
    best = (0.0, 0)
    for image, taken in captures[first : first + int(rng.integers(1, 5))]:
        x, y = int(rng.integers(0, _WIDTH - 300)), int(rng.integers(0, _HEIGHT - 300))
        box = [x, y, x + int(rng.integers(60, 300)), y + int(rng.integers(60, 300))]
        detection = project.add(
            "main_detection", source_image_id=image, occurrence_id=occurrence, detection_algorithm_id=1, bbox=box,
            path=f"https://images.example.org/crops/{occurrence}-{image}.jpg", timestamp=taken,
            detection_score=round(float(rng.uniform(0.7, 1)), 4), **stamps,
        )  # fmt: skip
        order = project.add(
            "main_classification", detection_id=detection, taxon_id=by_name["Lepidoptera"]["id"], algorithm_id=2,
            applied_to_id=None, score=round(float(rng.uniform(0.8, 1)), 4), terminal=False, timestamp=taken, **stamps,
        )  # fmt: skip
        score = round(float(rng.beta(6, 3)), 4)
        prediction = project.add(
            "main_classification", detection_id=detection, taxon_id=seen_as["id"], algorithm_id=3,
            applied_to_id=order, score=score, terminal=True, timestamp=taken, **stamps,
        )  # fmt: skip
        best = max(best, (score, prediction))
    row["determination_score"] = best[0]
    if rng.random() < project.verified_share:
        _identify(project, rng, row, species, best[1], stamps)


def _identify(
    project: _Project, rng: np.random.Generator, occurrence: Row, species: Row, prediction: int, stamps: Row
) -> None:
    made = stamps["created_at"] + timedelta(days=int(rng.integers(1, 20)))
    agrees = occurrence["determination_id"] == species["id"]
    withdrawn = bool(rng.random() < 0.15)
    first = project.add(
        "main_identification", occurrence_id=occurrence["id"], user_id=int(rng.integers(1, 4)), taxon_id=species["id"],
        agreed_with_identification_id=None, agreed_with_prediction_id=prediction if agrees else None,
        withdrawn=withdrawn, comment="Worn;\tsee the hindwing.\n“Certain.”" if rng.random() < 0.05 else "",
        created_at=made, updated_at=made,
    )  # fmt: skip
    if rng.random() < 0.3 and not withdrawn:
        project.add(
            "main_identification", occurrence_id=occurrence["id"], user_id=2, taxon_id=species["id"],
            agreed_with_identification_id=first, agreed_with_prediction_id=None, withdrawn=False, comment="",
            created_at=made + timedelta(days=1), updated_at=made,
        )  # fmt: skip
    if not withdrawn:
        occurrence |= {"determination_id": species["id"], "determination_score": 1.0}


def _write_table(folder: Path, table: str, rows: list[Row]) -> None:
    """The many rows as Parquet, the few as NDJSON, which people can read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if table in ("main_detection", "main_classification", "main_sourceimage", "main_occurrence"):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{table}.parquet")
        return
    lines = (orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    (folder / f"{table}.ndjson").write_bytes(b"".join(lines))
