"""Three batches of the sample campaign in the forms the live systems have them, and what is published from them."""

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from eln_server import exported
from running import current, run_steps

from sheaf.exports.publish import Request, publish
from sheaf.exports.records import read_manifest
from sheaf.fermentation import schema
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.sample import campaign
from sheaf.fermentation.sample.records import record
from sheaf.fermentation.settings import FermentationSettings
from sheaf.names import CAMPAIGN
from sheaf.running import Made, run_step
from sheaf.sources import Source, Sources
from sheaf.store.store import Store

SETTINGS = FermentationSettings()
SENSORS = {"pH": 5.0, "DO": 60.0, "Temp_Broth": 30.0, "OD": 10.0, "Off_Gas_CO2": 1.0, "Off_Gas_O2": 20.0}
VESSELS = {"V-FR-01": "vessel1", "V-FR-02": "vessel2"}
Point = tuple[datetime, str, float]


def full_records() -> list[dict[str, Any]]:
    """All that the ELN's database keeps of three batches."""
    found = []
    for batch in campaign._CAMPAIGN[:3]:
        document = record(batch, np.random.default_rng(batch.number))
        for section in ("inoculation", "closure", "media_preparation"):
            (document[section] or {}).pop("id", None)
        (document["inoculation"] or {}).pop("inoculum_source", None)
        found.append({key: value for key, value in document.items() if key not in ("source", "schema_version")})
    return found


def shared_records() -> list[dict[str, Any]]:
    """As much of them as every source can tell: what the API exports, and the ids it lists."""
    found = []
    for document in full_records():
        told = exported(document)
        for section in ("samples", "calibrations", "failures"):
            for row, whole in zip(told[section], document[section], strict=True):
                row["id"] = whole["id"]
        found.append(told)
    return found


def batch_id(document: dict[str, Any]) -> str:
    return document["batch"]["batch_id"]


def points(document: dict[str, Any], every_s: int = 120) -> list[Point]:
    """Sensors of a batch from an hour before inoculation to half an hour after completion."""
    start = datetime.fromisoformat(document["batch"]["inoculated_at"]) - timedelta(hours=1)
    stop = datetime.fromisoformat(document["batch"]["completed_at"]) + timedelta(hours=0.5)
    noise = random.Random(document["batch"]["batch_number"])
    found = []
    for step in range(int((stop - start).total_seconds()) // every_s):
        time = start + timedelta(seconds=step * every_s, milliseconds=noise.randrange(500))
        found += [(time, name, value * noise.uniform(0.97, 1.03)) for name, value in SENSORS.items()]
    return found


def nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000) * 1_000_000


def line_protocol(document: dict[str, Any], found: list[Point]) -> str:
    """One measurement per sensor, as the laboratory has it; some arrive under another name than the plan's."""
    names = {"Temp_Broth": "broth", "Off_Gas_CO2": "co2", "Off_Gas_O2": "o2"}
    vessel = VESSELS[document["batch"]["vessel_id"]]
    return "\n".join(
        f"{names.get(name, name)},host=jetson-edge,vessel={vessel} _value={value!r} {nanoseconds(time)}"
        for time, name, value in found
    )


def put_in_inbox(inbox: Path, documents: list[dict[str, Any]], sensors: bool = False) -> None:
    """Folders with the same content as the live systems."""
    for document in documents:
        folder = inbox / "fermentation" / batch_id(document)
        folder.mkdir(parents=True)
        (folder / "batch.json").write_bytes(orjson.dumps(document))
        if sensors:
            lines = "".join(f"{time.isoformat()},{name},{value!r}\n" for time, name, value in points(document))
            (folder / "sensors.csv").write_text("time,sensor,value\n" + lines)


def ingest(source: Source, store: Store, partition: str, settings: FermentationSettings = SETTINGS) -> Made:
    """Read one batch of a source, as the asset does."""
    sources = Sources({FERMENTATION.name: (source,)})
    return run_step(store, FERMENTATION, FERMENTATION.reading, partition, settings, sources)


def make_all(source: Source, store: Store, settings: FermentationSettings) -> None:
    """Every step of every batch of a source."""
    for partition in source.offers().partitions:
        run_steps(store, FERMENTATION, partition, settings, Sources({FERMENTATION.name: (source,)}))


def published(
    store: Store, partitions: list[str], settings: FermentationSettings
) -> tuple[dict[str, str], dict[str, str]]:
    """Hashes of all tables, and of all files of all exports, which are made here."""
    hashes, files = {}, {}
    for partition in partitions:
        tables = current(store, FERMENTATION, partition)
        for table in (*schema.RECORDS, schema.SENSORS_TABLE, schema.FEATURES, schema.TRAINING_SAMPLES):
            hashes[f"{partition}/{table.name}"] = tables.file(table).sha256
    for series in FERMENTATION.series:
        for partition in [CAMPAIGN] if series.campaign else partitions:
            done = publish(store, FERMENTATION, series, Request(partition=partition, requested_by="test"), settings)
            for file in read_manifest(store, done.export).files:
                files[f"{partition}/{series.name}/{file.path}"] = file.sha256
    return hashes, files
