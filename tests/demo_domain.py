"""A tiny made-up domain, so that the tests of the protocol depend on no real one.

A delivery is a list of values: `bad` is rejected, an empty list refused. The readings are counted in a
second step, times a factor that can be set.
"""

import csv
import hashlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import Field

from sheaf.errors import InputError, VerificationError
from sheaf.exports.options import Options
from sheaf.exports.publish import Published, Request, publish
from sheaf.exports.series import Draft, Series, Written
from sheaf.names import SeriesId
from sheaf.publication import Publication
from sheaf.report import Report
from sheaf.running import How, Made, run_step
from sheaf.sources import Delivery, Offer, Sources, State
from sheaf.steps import Check, Domain, Step
from sheaf.store.store import Store
from sheaf.tables.generations import Verdict
from sheaf.tables.parquet import from_rows
from sheaf.tables.pinned import Tables
from sheaf.tables.table import INTEGER, TEXT, Table, column
from sheaf.tables.work import Work

READINGS = Table(
    "demo",
    "readings",
    "batch",
    (
        column("id", INTEGER, "Number of the reading", null=False),
        column("value", TEXT, "What was read"),
    ),
    needed="readings",
)
POINTS = Table(
    "demo",
    "points",
    "batch",
    (column("value", TEXT, "What was read, without a number"),),
    only_grows=True,
    may_be_empty=True,
)
TOTALS = Table(
    "demo",
    "totals",
    "batch",
    (
        column("readings", INTEGER, "How many there are, times the factor"),
        column("points", INTEGER, "How many points there are"),
        column("first", TEXT, "The first of them"),
    ),
)


class DemoPublication(Publication):
    """What can be set for one batch."""

    factor: int = 1


class DemoSettings(DemoPublication):
    """What can be set; `unused` is no step's."""

    unused: int = 0
    projects: dict[str, DemoPublication] = Field(default_factory=dict)


SETTINGS = DemoSettings()


class Filter(Options):
    """Which readings are wanted."""

    min_id: int = 0
    values: list[str] | None = None


class Format(Options):
    """How they are written."""

    upper: bool = False


@dataclass(frozen=True)
class Values:
    """A source that holds a few values; what it looks like tells all of it."""

    values: tuple[str, ...]
    name: str = "values"
    authoritative: bool = False

    def offers(self) -> Offer:
        return Offer(("batch-1",))

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        yield from (State(partition, token=f"{self._hash()}-seen") for partition in partitions)

    @contextmanager
    def deliver(self, store: Store, partition: str, folder: Path) -> Iterator[Delivery]:
        yield Delivery(self._hash(), lambda work: _read(work, self.values))

    def check(self) -> str:
        return "there"

    def _hash(self) -> str:
        return hashlib.sha256("\n".join(self.values).encode()).hexdigest()[:32]


def _read(work: Work, values: tuple[str, ...]) -> Report:
    if not values:
        raise InputError("The delivery is empty: deliver something.")
    rows = []
    work.rejects.saw("readings", len(values))
    for number, value in enumerate(values, 1):
        if value == "bad":
            work.rejects.add("readings", "bad_value", "The value is bad.", line=number, raw=value)
        else:
            rows.append({"id": number, "value": value})
    work.write(READINGS, from_rows(READINGS, rows))
    work.write(POINTS, pa.table({"value": [row["value"] for row in rows]}, POINTS.schema))
    return Report(counts={"readings": len(rows)})


def _total(work: Work) -> Report:
    values = work.tables.read(READINGS)["value"].to_pylist()
    row = {
        "readings": len(values) * work.settings.factor,
        "points": work.tables.rows(POINTS),
        "first": values[0] if values else None,
    }
    work.write(TOTALS, from_rows(TOTALS, [row]))
    return Report(counts={"total": row["readings"]})


def _few(tables: Tables, _report: Report, _settings: DemoSettings) -> Verdict:
    total = tables.row(TOTALS)
    return Verdict(passed=total["readings"] < 1000, detail=f"{total['readings']} readings")


def write(draft: Draft) -> Written:
    readings = draft.tables.read(READINGS).to_pylist()
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


def write_totals(draft: Draft) -> Written:
    """Every partition's readings beside what was counted of them: a mix would show."""
    lines = []
    for partition, tables in sorted(draft.members.items()):
        total = tables.row(TOTALS)
        values = tables.read(READINGS)["value"].to_pylist()
        lines.append(f"{partition},{len(values)},{total['readings']},{total['points']},{values[0]},{total['first']}")
    (draft.folder / "totals.csv").write_text("\n".join(lines) + "\n")
    return Written(len(lines))


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
TOTALS_CSV = Series(
    domain="demo",
    name="totals_csv",
    description="What was counted.",
    tables=(READINGS, TOTALS),
    write=write_totals,
    verify=lambda *_: None,
)
ALL_TOTALS_CSV = Series(
    domain="demo",
    name="all_totals_csv",
    description="What was counted of all batches.",
    tables=(READINGS, TOTALS),
    write=write_totals,
    verify=lambda *_: None,
    campaign=True,
)
DEMO = Domain(
    name="demo",
    kind="batch",
    steps=(
        Step("readings", "The values that were delivered.", writes=(READINGS, POINTS)),
        Step(
            "totals",
            "How many there are.",
            writes=(TOTALS,),
            reads=(READINGS, POINTS),
            work=_total,
            settings=("factor",),
            checks=(Check("few", "There are fewer than a thousand.", _few),),
        ),
    ),
    series=(SERIES, TOTALS_CSV, ALL_TOTALS_CSV),
)
BATCH = SeriesId("demo", "batch-1", "readings_csv")


def deliver(
    store: Store,
    *values: str,
    partition: str = "batch-1",
    steps: Sequence[str] = ("readings", "totals"),
    settings: DemoSettings = SETTINGS,
    domain: Domain = DEMO,
    how: How | None = None,
) -> dict[str, Made]:
    """Deliver values and run steps."""
    sources = Sources({"demo": (Values(values),)})
    return {name: run_step(store, domain, domain.step_named(name), partition, settings, sources, how) for name in steps}


def ingest(store: Store, *values: str, partition: str = "batch-1") -> Made:
    """Replace the readings of a batch, whatever is lost by it."""
    return deliver(store, *values, partition=partition, steps=["readings"], how=How(accept_loss=True))["readings"]


def publish_readings(store: Store, **asked: object) -> Published:
    """Publish batch-1, or what else is asked for."""
    return publish_series(store, SERIES, **asked)


def publish_series(
    store: Store, series: Series = SERIES, settings: DemoSettings = SETTINGS, domain: Domain = DEMO, **asked: object
) -> Published:
    """Publish a series of batch-1, or what else is asked for."""
    return publish(store, domain, series, Request(**{"partition": "batch-1", **asked}), settings)  # type: ignore[arg-type]
