"""A tiny made-up domain, so that the tests of the protocol depend on no real one."""

import csv
from pathlib import Path

import pyarrow as pa

from sheaf import tables
from sheaf.errors import VerificationError
from sheaf.exports.publish import Published, Request, publish
from sheaf.exports.series import Draft, Series, Written
from sheaf.names import SeriesId
from sheaf.options import Options
from sheaf.store import Store
from sheaf.tables import Table, column

READINGS = Table(
    "demo",
    "readings",
    "batch",
    pa.schema(
        [column("id", pa.int64(), "Number of the reading", null=False), column("value", pa.string(), "What was read")]
    ),
)
REJECTS = tables.rejects_table("demo", "batch")


class Filter(Options):
    """Which readings are wanted."""

    min_id: int = 0
    values: list[str] | None = None


class Format(Options):
    """How they are written."""

    upper: bool = False


def write(draft: Draft) -> Written:
    readings = tables.read(draft.store, READINGS, draft.partition).to_pylist()
    rows = [row for row in readings if row["id"] >= draft.filter.min_id]
    if draft.filter.values is not None:
        rows = [row for row in rows if row["value"] in draft.filter.values]
    with (draft.folder / "readings.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "value"])
        writer.writerows([row["id"], row["value"].upper() if draft.options.upper else row["value"]] for row in rows)
    (draft.folder / "notes").mkdir()
    (draft.folder / "notes" / "about us.txt").write_text(f"{len(rows)} readings\n")
    return Written(len(rows), rows={"readings.csv": len(rows)}, counts={"readings": len(rows)})


def verify(folder: Path, written: Written) -> None:
    with (folder / "readings.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    if len(rows) != written.record_count:
        raise VerificationError(f"readings.csv has {len(rows)} rows, not {written.record_count}.")
    if any(row["value"] == "poison" for row in rows):
        raise VerificationError("readings.csv holds poison.")


SERIES = Series(
    domain="demo",
    name="readings_csv",
    description="All readings of a batch.",
    tables=(READINGS,),
    write=write,
    verify=verify,
    options=Format,
    filter=Filter,
    row_key=("id",),
)
BATCH = SeriesId("demo", "batch-1", "readings_csv")


def ingest(store: Store, *values: str, partition: str = "batch-1") -> None:
    """Replace the readings of a batch."""
    rows = [{"id": number, "value": value} for number, value in enumerate(values, 1)]
    tables.write(store, READINGS, partition, tables.from_rows(READINGS, rows))


def publish_readings(store: Store, **asked: object) -> Published:
    """Publish batch-1, or what else is asked for."""
    return publish(store, SERIES, REJECTS, Request(**{"partition": "batch-1", **asked}))  # type: ignore[arg-type]
