"""A live Antenna as a source, configured in `sheaf.yaml`: the same tables as from its inbox folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import configured as settings_of
from occurrences_database import create_tables, load, run
from occurrences_inbox import rows
from running import run_steps
from servers import postgres_server

from resources.sources import configured_sources
from sheaf.errors import NotFoundError, SourceError
from sheaf.occurrences.domain import OCCURRENCES
from sheaf.occurrences.input_tables import SOURCES
from sheaf.occurrences.sample import season
from sheaf.running import Made
from sheaf.settings import Settings
from sheaf.sources import Sources
from sheaf.store.store import Store

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def antenna(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A database with the sample season, and the inbox that it was filled from."""
    folder = tmp_path_factory.mktemp("antenna")
    season.write(folder / "inbox")
    with postgres_server() as server:
        dsn = server.get_uri()
        create_tables(dsn)
        load(dsn, folder / "inbox" / "occurrences" / "p1")
        yield dsn, folder / "inbox"


def configured(home: Path, sources: str, more: str = "") -> tuple[Sources, Settings]:
    (home / "sheaf.yaml").write_text(f"occurrences: {{sources: [{sources}]{more}}}\n")
    (home / "inbox").mkdir(exist_ok=True)
    settings = settings_of({"SHEAF_HOME": str(home)})
    return configured_sources(settings), settings


def read(store: Store, sources: Sources, settings: Settings, project: str = "p1") -> Made:
    """Read a project from the source it belongs to."""
    return run_steps(store, OCCURRENCES, project, settings.occurrences, sources, only=["records"])["records"]


def content(store: Store) -> dict[str, list[dict[str, object]]]:
    """The rows of every source table, in any order."""
    return {source.name: sorted(rows(store, source.table), key=str) for source in SOURCES}


def test_the_database_gives_the_tables_that_its_inbox_folder_gives_and_notices_a_change(antenna, tmp_path, monkeypatch):
    dsn, inbox = antenna
    monkeypatch.setenv("SHEAF_OCCURRENCES_DSN", dsn.replace("postgres:@", "reader:@"))
    sources, settings = configured(tmp_path, "{kind: postgres}")
    live = sources.named("occurrences", "postgres")
    assert live.offers().partitions == ("p1",)
    assert "1 projects" in live.check()
    found = []
    for name, of in (("live", sources), ("inbox", _inbox(inbox))):
        store = Store.open(str(tmp_path / name))
        made = read(store, of, settings)
        assert (made.generation.refused, made.unchanged) == (None, False)
        assert read(store, of, settings).unchanged
        assert made.generation.source == ("postgres" if name == "live" else "inbox")
        found.append(content(store))
    assert found[0] == found[1]

    (before,) = live.states(["p1"])
    assert list(live.states(["p1"])) == [before]
    run(dsn, "UPDATE main_occurrence SET updated_at = now() WHERE id = (SELECT min(id) FROM main_occurrence)")
    (after,) = live.states(["p1"])
    assert before.token != after.token
    store = Store.open(str(tmp_path / "live"))
    assert not read(store, sources, settings).unchanged
    with pytest.raises(NotFoundError, match="no project 77"):
        read(store, sources, settings, "p77")


@pytest.mark.campaign
def test_a_delivery_is_named_by_its_rows_whoever_wrote_them(antenna, tmp_path, monkeypatch):
    """The first time all is read, later only what changed: another file, the same rows."""
    dsn, _ = antenna
    monkeypatch.setenv("SHEAF_OCCURRENCES_DSN", dsn.replace("postgres:@", "reader:@"))
    sources, _ = configured(tmp_path, "{kind: postgres}")
    live, store = sources.named("occurrences", "postgres"), Store.open(str(tmp_path / "store"))

    def name() -> str:
        with live.deliver(store, "p1", tmp_path) as delivery:
            return delivery.name

    first = name()
    assert [name(), name()] == [first, first]
    run(dsn, "UPDATE main_identification SET comment = 'Sure.', updated_at = now() WHERE id % 2 = 0")
    second = name()
    assert second != first
    for path in (tmp_path / "mirror" / "occurrences" / "p1").iterdir():
        path.unlink()
    assert name() == second


def test_another_time_zone_is_that_of_every_row(antenna, tmp_path, monkeypatch):
    """The mirror of before holds wall times of the zone of before."""
    dsn, _ = antenna
    monkeypatch.setenv("SHEAF_OCCURRENCES_DSN", dsn.replace("postgres:@", "reader:@"))
    store = Store.open(str(tmp_path / "store"))
    sources, settings = configured(tmp_path, "{kind: postgres}")
    read(store, sources, settings)
    events = next(source.table for source in SOURCES if source.name == "main_event")
    assert {f"{row['start']:%H}" for row in rows(store, events)} == {"22"}
    sources, settings = configured(tmp_path, "{kind: postgres}", ", source_time_zone: Etc/UTC")
    assert not read(store, sources, settings).unchanged
    assert {f"{row['start']:%H}" for row in rows(store, events)} == {"02"}


def _inbox(root: Path) -> Sources:
    settings = Settings(home=root.parent, store_url=str(root.parent / "none"), inbox=root)
    return configured_sources(settings)


def test_an_outage_is_no_fault_of_the_data(antenna, tmp_path, monkeypatch):
    """What was read stays, and is not refused."""
    dsn, _ = antenna
    monkeypatch.setenv("SHEAF_OCCURRENCES_DSN", dsn)
    kinds = "{kind: postgres}, {kind: api, url: 'http://127.0.0.1:9/api/v2', projects: [p5]}"
    sources, settings = configured(tmp_path, kinds)
    store = Store.open(str(tmp_path / "store"))
    made = read(store, sources, settings)
    before = content(store)
    monkeypatch.setenv("SHEAF_OCCURRENCES_DSN", "postgresql://reader@127.0.0.1:9/none")
    with pytest.raises(SourceError, match="cannot be reached"):
        read(store, sources, settings)
    assert content(store) == before
    (state,) = sources.named("occurrences", "postgres").states(["p1"])
    assert "cannot be reached" in state.problem
    api = sources.named("occurrences", "api")
    assert api.offers().partitions == ("p5",)
    with pytest.raises(SourceError, match="cannot be reached"):
        api.check()
    with pytest.raises(NotFoundError, match="not among the projects"), api.deliver(store, "p1", tmp_path):
        pass
    monkeypatch.setenv("SHEAF_OCCURRENCES_DSN", dsn)
    assert read(store, sources, settings).generation == made.generation
    monkeypatch.delenv("SHEAF_OCCURRENCES_DSN")
    with pytest.raises(SourceError, match="Set the environment variable SHEAF_OCCURRENCES_DSN"):
        sources.named("occurrences", "postgres").offers()
