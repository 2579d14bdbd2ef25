"""Stores that earlier versions have left: what was published is read as it was, and what comes goes on top of it.

`stores/make.py` makes one for each version; none is ever made again.
"""

import hashlib
import tarfile
from pathlib import Path

import pytest
from fermentation_inbox import SETTINGS
from running import current, run_steps
from test_cli import write_batch

import sheaf
from sheaf import damage
from sheaf.domains import DOMAINS
from sheaf.exports.history import history, resolve
from sheaf.exports.publish import Request, publish
from sheaf.exports.records import Status
from sheaf.exports.verify import verify
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.sources.inbox import BatchInbox
from sheaf.names import ExportId
from sheaf.sources import Sources
from sheaf.store.store import Store
from sheaf.tables.repair import places

KEPT = sorted((Path(__file__).parent / "stores").glob("*.tar.xz"))


@pytest.fixture(params=KEPT, ids=lambda path: path.name.removesuffix(".tar.xz"))
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store as a version left it."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path / "store", filter="data")
    return Store.open(str(tmp_path / "store"))


def published(store: Store) -> list[ExportId]:
    """All complete versions that the store still has the files of."""
    there = {item.path.rsplit("/", 1)[0] for item in store.list("exports") if item.path.endswith("/_manifest.json")}
    return [one.id for one in history(store) if one.status is Status.COMPLETED and one.id.path in there]


def test_every_export_of_an_earlier_version_reads_as_it_was(left: Store) -> None:
    exports = published(left)
    assert {one.series.domain for one in exports} == set(DOMAINS)
    for export in exports:
        verify(left, export)
        opened = sheaf.open(str(export), left.url)
        for file in opened.manifest.files:
            assert hashlib.sha256(opened.read(file.path)).hexdigest() == file.sha256
    assert resolve(left, "occurrences/p2/dwca/@paper") == ExportId(resolve(left, "occurrences/p2/dwca/v1").series, 1)
    assert list(damage.examine(left, DOMAINS.values(), deep=True)) == []


def test_every_table_of_an_earlier_version_reads(left: Store) -> None:
    read = set()
    for domain in DOMAINS.values():
        for step in domain.steps:
            for place in places(left, domain.name, step.name, domain.kind):
                tables = current(left, domain, place.partition)
                for table in step.writes:
                    if table in tables:
                        tables.read(table)
                        read.add((domain.name, table.name))
    assert {domain for domain, _ in read} == set(DOMAINS)


def test_what_comes_goes_on_top_of_an_earlier_version(left: Store, tmp_path: Path) -> None:
    before = {item.path: left.get(item.path) for item in left.list("exports/fermentation/b1/samples_csv/v0001")}
    assert before
    write_batch(tmp_path / "inbox", "b1", samples=7)
    sources = Sources({"fermentation": (BatchInbox(tmp_path / "inbox", left.url, SETTINGS),)})
    made = run_steps(left, FERMENTATION, "b1", SETTINGS, sources)
    assert all(one.generation.refused is None for one in made.values())
    (series,) = [one for one in FERMENTATION.series if one.name == "samples_csv"]
    export = publish(left, FERMENTATION, series, Request("b1"), SETTINGS).export
    assert export.version == 2
    assert {path: left.get(path) for path in before} == before
    assert len(sheaf.open(str(export), left.url).to_pandas()) == 7
