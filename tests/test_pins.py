"""Tags: a version that somebody has pinned is found by its tag everywhere, and stays."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from demo_domain import BATCH, DEMO, ingest, publish_readings
from typer.testing import CliRunner

import sheaf
from pipelines.cli import completion
from pipelines.cli.main import app
from sheaf.damage import examine
from sheaf.errors import DamagedError, NotFoundError, UsageError
from sheaf.exports import catalogue, outcome
from sheaf.exports.history import resolve
from sheaf.exports.kept import prune_tables
from sheaf.exports.pins import pin, read_pins, unpin
from sheaf.exports.records import Status, read_latest, read_record
from sheaf.exports.verify import verify
from sheaf.store.store import Store


def test_a_pinned_version_is_found_by_its_tag_and_stays(atomic_store: Store) -> None:
    ingest(atomic_store, "a")
    export = publish_readings(atomic_store).export
    pin(atomic_store, export, "paper", "ada")
    pin(atomic_store, export, "paper", "ben")  # once more changes nothing
    ingest(atomic_store, "b")
    newer = publish_readings(atomic_store).export
    assert resolve(atomic_store, f"{BATCH}/@paper") == export
    assert sheaf.open(f"{BATCH}/@paper", atomic_store.url).to_pandas()["value"].tolist() == ["a"]
    assert read_pins(atomic_store, BATCH)["paper"].who == "ada"
    with pytest.raises(UsageError, match=r"is pinned as @paper: run `sheaf unpin demo/batch-1/readings_csv/@paper`"):
        outcome.delete(atomic_store, export, "ada")
    prune_tables(atomic_store, [DEMO], young=timedelta(0))
    verify(atomic_store, export)
    assert {one.export: one.tags for one in catalogue.build(atomic_store).exports} == {
        str(export): ["paper"],
        str(newer): [],
    }
    assert unpin(atomic_store, BATCH, "paper", "ada") == export
    outcome.delete(atomic_store, export, "ada")
    with pytest.raises(NotFoundError, match="has no tag @paper: there are none"):
        resolve(atomic_store, f"{BATCH}/@paper")


def test_a_tag_never_moves_and_names_only_what_is_there(local_store: Store) -> None:
    ingest(local_store, "a")
    export = publish_readings(local_store).export
    pin(local_store, export, "paper", "ada")
    ingest(local_store, "b")
    newer = publish_readings(local_store).export
    with pytest.raises(UsageError, match="a tag never moves"):
        pin(local_store, newer, "paper", "ada")
    with pytest.raises(UsageError, match="cannot be a tag"):
        pin(local_store, newer, "../latest", "ada")
    with pytest.raises(NotFoundError, match="Did you mean 'paper'"):
        sheaf.open(f"{BATCH}/@papers", local_store.url)
    outcome.delete(local_store, newer, "ada")
    with pytest.raises(UsageError, match="is deleted: only what is completed"):
        pin(local_store, newer, "thesis", "ada")
    assert list(read_pins(local_store, BATCH)) == ["paper"]


def test_of_a_pin_and_a_deletion_that_meet_at_most_one_is_done(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(local_store, "a")
    export = publish_readings(local_store).export
    settle = outcome.settle_latest

    def pinned_meanwhile(store: Store, series: object) -> object:
        monkeypatch.undo()
        pin(store, export, "paper", "ben")
        return settle(store, series)  # type: ignore[arg-type]

    monkeypatch.setattr(outcome, "settle_latest", pinned_meanwhile)
    with pytest.raises(UsageError, match="is pinned as @paper"):
        outcome.delete(local_store, export, "ada")
    assert read_record(local_store, export).status is Status.COMPLETED
    latest = read_latest(local_store, BATCH)
    assert latest is not None
    assert latest.version == export.version
    verify(local_store, export)


def test_whether_something_is_pinned_is_never_guessed(local_store: Store) -> None:
    ingest(local_store, "a")
    export = publish_readings(local_store).export
    local_store.put(BATCH.tags_path, b'{"tags": {"pa')
    with pytest.raises(DamagedError, match="run `sheaf doctor`"):
        outcome.delete(local_store, export, "ada")
    assert [one.path for one in examine(local_store, [DEMO])] == [BATCH.tags_path]
    outcome.delete(local_store, export, "ada")


def test_the_commands_pin_name_and_unpin(local_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHEAF_STORE_URL", local_store.url)
    monkeypatch.setenv("SHEAF_HOME", str(tmp_path))
    ingest(local_store, "a")
    export = publish_readings(local_store).export

    def said(*words: str) -> str:
        return CliRunner().invoke(app, list(words), catch_exceptions=False).stdout

    assert said("pin", f"{BATCH}/latest", "--as", "paper") == f"{export} is pinned as {BATCH}/@paper.\n"
    assert json.loads(said("show", f"{BATCH}/@paper", "--json"))["tags"] == ["paper"]
    assert f"{BATCH}/@paper" in completion.exports(None, f"{BATCH}/@")  # type: ignore[arg-type]
    assert str(export) in said("verify", f"{BATCH}/@paper")
    assert said("unpin", f"{BATCH}/@paper").startswith("@paper is gone")
    with pytest.raises(UsageError, match="names no tag"):
        said("unpin", f"{BATCH}/v1")
