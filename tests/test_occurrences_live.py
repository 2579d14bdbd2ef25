"""A live Antenna as a source, configured in `sheaf.yaml`: the same tables as from its inbox folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from occurrences_database import create_tables, load, postgres_server, run

from resources.sources import configured_sources
from sheaf import tables
from sheaf.errors import NotFoundError, SourceError
from sheaf.occurrences import sample_season, source_tables
from sheaf.settings import Settings
from sheaf.sources import Sources
from sheaf.store import Store

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def antenna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A database with the sample season, and the inbox that it was filled from."""
    folder = tmp_path_factory.mktemp("antenna")
    sample_season.write(folder / "inbox")
    with postgres_server(folder / "data") as dsn:
        create_tables(dsn)
        load(dsn, folder / "inbox" / "occurrences" / "p1")
        yield dsn, folder / "inbox"


def configured(home: Path, sources: str) -> Sources:
    (home / "sheaf.yaml").write_text(f"occurrences: {{sources: [{sources}]}}\n")
    (home / "inbox").mkdir(exist_ok=True)
    return configured_sources(Settings.load({"SHEAF_HOME": str(home)}))


def content(store: Store) -> dict[str, list[dict[str, object]]]:
    """The rows of every source table, in any order."""
    return {
        source.name: sorted(tables.read(store, source.table, "p1").to_pylist(), key=str)
        for source in source_tables.SOURCES
    }


def test_the_database_gives_the_tables_that_its_inbox_folder_gives_and_notices_a_change(antenna, tmp_path, monkeypatch):
    dsn, inbox = antenna
    monkeypatch.setenv("SHEAF_OCCURRENCES_DSN", dsn.replace("postgres:@", "reader:@"))
    sources = configured(tmp_path, "{kind: postgres}")
    live = sources.named("occurrences", "postgres")
    assert live.offers().partitions == ("p1",)
    assert "1 projects" in live.check()
    found = []
    for name, ingest in (
        ("live", lambda store: sources.ingest("occurrences", store, "p1")),
        ("inbox", lambda store: _inbox(inbox).ingest("occurrences", store, "p1")),
    ):
        store = Store.open(str(tmp_path / name))
        ingest(store)
        found.append(content(store))
    assert found[0] == found[1]

    (before,) = live.states(["p1"])
    assert list(live.states(["p1"])) == [before]
    run(dsn, "UPDATE main_occurrence SET updated_at = now() WHERE id = (SELECT min(id) FROM main_occurrence)")
    (after,) = live.states(["p1"])
    assert before.token != after.token
    with pytest.raises(NotFoundError, match="no project 77"):
        sources.ingest("occurrences", store, "p77")


def _inbox(root: Path) -> Sources:
    settings = Settings(home=root.parent, store_url=str(root.parent / "none"), inbox=root)
    return configured_sources(settings)


def test_an_outage_is_no_fault_of_the_data(antenna, tmp_path, monkeypatch):
    """What was read stays, and is not refused."""
    dsn, _ = antenna
    monkeypatch.setenv("SHEAF_OCCURRENCES_DSN", dsn)
    sources = configured(tmp_path, "{kind: postgres}, {kind: api, url: 'http://127.0.0.1:9/api/v2', projects: [p5]}")
    store = Store.open(str(tmp_path / "store"))
    sources.ingest("occurrences", store, "p1")
    before = content(store)
    monkeypatch.setenv("SHEAF_OCCURRENCES_DSN", "postgresql://reader@127.0.0.1:9/none")
    with pytest.raises(SourceError, match="cannot be reached"):
        sources.ingest("occurrences", store, "p1")
    assert content(store) == before
    (state,) = sources.named("occurrences", "postgres").states(["p1"])
    assert "cannot be reached" in state.problem
    api = sources.named("occurrences", "api")
    assert api.offers().partitions == ("p5",)
    with pytest.raises(SourceError, match="cannot be reached"):
        api.check()
    with pytest.raises(NotFoundError, match="not among the projects"):
        api.ingest(store, "p1")
    monkeypatch.delenv("SHEAF_OCCURRENCES_DSN")
    with pytest.raises(SourceError, match="Set the environment variable SHEAF_OCCURRENCES_DSN"):
        sources.named("occurrences", "postgres").offers()
