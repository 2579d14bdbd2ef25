"""The laboratory's ELN, by its API and its database: real PostgreSQL, and a server that behaves as the API does."""

import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eln_database import as_reader, create_database, execute
from eln_server import PASSWORD, USER, Eln, eln_server
from fermentation_inbox import hashes, rows_of
from live_campaign import batch_id, full_records, ingest, make_all, published, put_in_inbox, shared_records
from servers import postgres_server

from sheaf.errors import NotFoundError, SourceError
from sheaf.fermentation import schema
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.source_settings import PostgresSettings, RestSettings
from sheaf.fermentation.sources.eln_postgres import ElnPostgres
from sheaf.fermentation.sources.eln_rest import ElnRest
from sheaf.fermentation.sources.inbox import BatchInbox
from sheaf.fermentation.sources.live import ElnSource
from sheaf.running import run_step
from sheaf.sources import Sources
from sheaf.store.store import Store
from sheaf.tables import generations

SETTINGS = FermentationSettings()


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with postgres_server() as server:
        yield server.get_uri()


@pytest.fixture(scope="module")
def shared() -> list[dict[str, Any]]:
    return shared_records()


@pytest.fixture
def eln(shared, monkeypatch) -> Iterator[Eln]:
    monkeypatch.setenv("SHEAF_ELN_USER", USER)
    monkeypatch.setenv("SHEAF_ELN_PASSWORD", PASSWORD)
    with eln_server(copy.deepcopy(shared)) as server:
        yield server


def rest(eln: Eln, **more: Any) -> ElnSource:
    return ElnSource(ElnRest(RestSettings(kind="eln_rest", url=eln.url, **more)), SETTINGS)


def database(monkeypatch: pytest.MonkeyPatch, dsn: str) -> ElnSource:
    monkeypatch.setenv("SHEAF_ELN_DSN", as_reader(dsn))
    return ElnSource(ElnPostgres(PostgresSettings(kind="eln_postgres")), SETTINGS)


def inbox_source(root: Path) -> BatchInbox:
    return BatchInbox(root, str(root.parent / "store"), SETTINGS)


def tokens(source: ElnSource) -> dict[str, str]:
    return {state.partition: state.token for state in source.states(source.offers().partitions)}


def many(count: int) -> list[dict[str, Any]]:
    """Batches without much in them."""
    found = []
    for number in range(count):
        document = copy.deepcopy(shared_records()[0]) if not found else copy.deepcopy(found[0])
        document["batch"] |= {
            "batch_id": f"00000000-0000-4000-8000-{number:012d}",
            "created_at": f"2026-01-{1 + number % 28:02d}T08:{number:02d}:00+00:00",
        }
        found.append(document)
    return found


@pytest.mark.campaign
def test_inbox_api_and_database_publish_the_same_bytes(shared, eln, postgres, monkeypatch, tmp_path):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1780000000")
    put_in_inbox(tmp_path / "inbox", shared)
    sources = (
        inbox_source(tmp_path / "inbox"),
        rest(eln),
        database(monkeypatch, create_database(postgres, "same", shared)),
    )
    found = []
    for number, source in enumerate(sources):
        store = Store.open(str(tmp_path / f"store-{number}"))
        make_all(source, store, SETTINGS)
        found.append(published(store, sorted(map(batch_id, shared)), SETTINGS))
    assert found[0] == found[1] == found[2]
    assert {name.split("/")[1] for name in found[0][1]} == {series.name for series in FERMENTATION.series}


def test_whatever_the_database_keeps_a_complete_batch_file_keeps_as_well(postgres, monkeypatch, tmp_path):
    """Weights, lots, media and the rest, which the API does not tell."""
    documents = full_records()[1:2]
    put_in_inbox(tmp_path / "inbox", documents)
    live = database(monkeypatch, create_database(postgres, "whole", documents))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1780000000")
    stores = [Store.open(str(tmp_path / name)) for name in ("store-inbox", "store-live")]
    found = []
    for store, source in zip(stores, (inbox_source(tmp_path / "inbox"), live), strict=True):
        make_all(source, store, SETTINGS)
        found.append(published(store, sorted(map(batch_id, documents)), SETTINGS))
    assert found[0] == found[1]
    assert len(rows_of(stores[1], schema.MEDIA_PREPARATIONS, batch_id(documents[0]))) == 1


def test_54_batches_over_pages_and_an_expiring_token_are_read_once_each(eln, capsys):
    eln.batches = {batch_id(document): document for document in many(54)}
    eln.requests_per_token = 100
    source = rest(eln)
    offered = source.offers().partitions
    assert list(offered) == sorted(eln.batches)
    eln.requests_per_token = 10**9
    before = eln.logins
    eln.tokens.append("expired")
    for partition in offered:
        assert json.loads(source.eln.record(partition).document)["batch"]["batch_id"] == partition
    assert eln.logins == before + 1, "one login for the life of a token"
    for partition in offered:
        assert eln.count(f"/batches/{partition}/export?format=json 200") == 1
    assert eln.count("limit=50") == eln.count("/batches?")
    assert eln.count(" 401") == 1
    with capsys.disabled():
        print(f"\n54 batches by REST: {len(eln.requests)} requests, {eln.logins} logins")


def test_a_token_that_expires_between_two_pages_is_replaced_once(eln):
    eln.batches = {batch_id(document): document for document in many(54)}
    eln.requests_per_token = 1
    source = rest(eln)
    assert len(source.offers().partitions) == 54
    assert [request.split("?")[0] for request in eln.requests[:4]] == [
        "POST /auth/login 200",
        "GET /batches",
        "GET /batches",
        "POST /auth/login 200",
    ]
    assert eln.logins == eln.count(" 401") + 1


def test_a_list_that_moves_while_it_is_read_loses_no_batch(eln):
    """Batches deleted after the first page shift all that follow: the list is read again."""
    eln.batches = {batch_id(document): document for document in many(54)}
    answer = eln.answer
    newest = sorted(eln.batches.values(), key=lambda document: document["batch"]["created_at"])[-3:]

    def moving(method: str, path: str, query: dict[str, str], *rest: Any) -> tuple[int, Any]:
        found = answer(method, path, query, *rest)
        if path == "/batches" and query["offset"] == "0":
            for document in newest:
                eln.batches.pop(batch_id(document), None)
        return found

    eln.answer = moving
    assert list(rest(eln).offers().partitions) == sorted(eln.batches)
    assert len(eln.batches) == 51


def test_a_batch_that_may_not_be_read_fails_at_once_and_the_others_are_read(eln, shared, local_store, tmp_path):
    first, *others = sorted(map(batch_id, shared))
    eln.forbidden = {first}
    source = rest(eln)
    refused = pytest.raises(SourceError, match=r"not for the account sheaf \(403\)")
    with refused, source.deliver(local_store, first, tmp_path):
        pass
    assert eln.count(f"{first}/export") == 1, "a refusal is not asked for again"
    assert eln.logins == 1
    states = {state.partition: state for state in source.states(sorted(map(batch_id, shared)))}
    assert "403" in states[first].problem
    assert all(states[other].token for other in others)
    for other in others:
        assert ingest(source, local_store, other).report.counts["samples"]


def test_an_account_that_may_only_export_reads_all_but_ids(eln, shared, local_store):
    eln.technician = False
    source = rest(eln)
    reports = [ingest(source, local_store, batch_id(document)).report for document in shared]
    assert all("may only export" in report.warnings[0] for report in reports)
    assert eln.count(" 403") == 1, "asked once, not for every batch"
    samples = rows_of(local_store, schema.SAMPLES, batch_id(shared[0]))
    assert [row["id"] for row in samples] == list(range(1, len(samples) + 1))


def test_the_newest_server_fails_for_inoculated_batches(eln, shared, local_store):
    eln.newest = True
    with pytest.raises(SourceError, match="read it by eln_postgres, or name the ids"):
        rest(eln).offers()
    named = batch_id(shared[0])
    source = rest(eln, batches=[named])
    assert source.offers().partitions == (named,)
    report = ingest(source, local_store, named).report
    assert "Read it by eln_postgres" in report.warnings[0]
    got = rows_of(local_store, schema.SAMPLES, named)
    for row, given in zip(got, shared[0]["samples"], strict=True):
        assert {key: row[key] for key in ("id", "timepoint_hours", "od600_raw", "dcw_g_per_l")} == {
            key: given[key] for key in ("id", "timepoint_hours", "od600_raw", "dcw_g_per_l")
        }
    assert all(state.token for state in source.states([named]))


def test_a_server_that_is_busy_is_asked_again_and_one_that_is_gone_is_named(eln, shared, local_store, tmp_path):
    key = batch_id(shared[0])
    source = rest(eln)
    made = ingest(source, local_store, key)
    eln.answer_with = [503, 503]
    assert ingest(source, local_store, key).report.counts["samples"]
    eln.answer_with = [503, 503, 503]
    with pytest.raises(SourceError, match="answers 503 again and again"), source.deliver(local_store, key, tmp_path):
        pass
    gone = ElnSource(ElnRest(RestSettings(kind="eln_rest", url="http://127.0.0.1:9/api/v1")), SETTINGS)
    with pytest.raises(SourceError, match="cannot be reached"):
        ingest(gone, local_store, key)
    assert hashes(local_store, schema.SAMPLES, batch=key) == {"samples": made.generation.tables["samples"].sha256}
    assert generations.newest(local_store, FERMENTATION.place(FERMENTATION.reading, key)) == made.generation


def test_a_wrong_login_names_the_variables_and_not_the_password(eln, monkeypatch):
    monkeypatch.setenv("SHEAF_ELN_PASSWORD", "wrong horse")
    with pytest.raises(SourceError, match="check SHEAF_ELN_USER and SHEAF_ELN_PASSWORD") as refused:
        rest(eln).check()
    assert "horse" not in str(refused.value)
    monkeypatch.delenv("SHEAF_ELN_PASSWORD")
    with pytest.raises(SourceError, match="Set the environment variable SHEAF_ELN_PASSWORD"):
        rest(eln).check()


def test_a_batch_nobody_has_is_not_found(eln, postgres, shared, monkeypatch, local_store):
    with pytest.raises(NotFoundError):
        ingest(rest(eln), local_store, "no-such-batch")
    with pytest.raises(NotFoundError, match="has no batch no-such-batch"):
        ingest(database(monkeypatch, create_database(postgres, "none", shared)), local_store, "no-such-batch")


def test_the_role_of_the_database_only_reads(postgres, shared, monkeypatch):
    import psycopg2

    dsn = create_database(postgres, "readonly", shared)
    source = database(monkeypatch, dsn)
    assert source.check() == "3 batches in the laboratory database"
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        execute(as_reader(dsn), "DELETE FROM samples")
    execute(dsn, "REVOKE SELECT ON failures FROM reader")
    with pytest.raises(SourceError, match=r"no table failures that the role may read: grant it SELECT"):
        source.check()
    monkeypatch.setenv("SHEAF_ELN_DSN", "postgresql://reader:topsecret@127.0.0.1:9/none")
    with pytest.raises(SourceError, match="cannot be reached") as refused:
        source.check()
    assert "topsecret" not in str(refused.value)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE samples SET dcw_filter_dry_weight_g = 0.0977 WHERE {one} ",
        "DELETE FROM samples WHERE {one}",
        "UPDATE batches SET operator_id = 'tech09' WHERE {batch}",
        "INSERT INTO failures (batch_id, deviation_level, category, reported_at) VALUES ('{key}', 1, 'Other', now())",
        "UPDATE batch_closures SET notes = 'corrected' WHERE {batch}",
    ],
)
def test_any_change_below_a_batch_changes_its_token_and_no_other(postgres, shared, monkeypatch, change):
    name = f"change_{abs(hash(change))}"
    dsn = create_database(postgres, name, shared)
    source = database(monkeypatch, dsn)
    key = batch_id(shared[1])
    before = tokens(source)
    assert tokens(source) == before
    one = f"id = (SELECT max(id) FROM samples WHERE batch_id = '{key}')"
    execute(dsn, change.format(one=one, batch=f"batch_id = '{key}'", key=key))
    after = tokens(source)
    assert [partition for partition in before if before[partition] != after[partition]] == [key]


def test_the_old_name_of_a_column_a_new_column_and_none_at_all(postgres, shared, monkeypatch, tmp_path):
    found = []
    key = batch_id(shared[0])
    for name, change in (
        ("new_name", "SELECT 1"),
        ("old_name", "ALTER TABLE inoculations RENAME inoculum_source TO cryo_vial_id"),
        ("more", "ALTER TABLE samples ADD mood text DEFAULT 'good'"),
        ("neither", "ALTER TABLE inoculations DROP inoculum_source"),
    ):
        dsn = create_database(postgres, name, shared)
        execute(dsn, change)
        store = Store.open(str(tmp_path / name))
        made = ingest(database(monkeypatch, dsn), store, key)
        found.append({table: file.sha256 for table, file in made.generation.tables.items()})
        if name == "more":
            assert any("unknown keys in samples are ignored: 'mood'" in warning for warning in made.report.warnings)
    assert found[0] == found[1] == found[2]
    assert "neither 'inoculum_source' nor 'cryo_vial_id'" in (made.generation.refused or "")


def test_a_snapshot_does_not_see_what_is_written_while_it_is_read(postgres, shared, monkeypatch, local_store):
    """Half of a batch as it was and half as it became would be a batch that never existed."""
    from sheaf.outside.postgres import snapshot

    dsn = create_database(postgres, "moment", shared)
    with snapshot(as_reader(dsn), "database") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM samples")
        before = cursor.fetchone()
        execute(dsn, "DELETE FROM samples")
        cursor.execute("SELECT count(*) FROM samples")
        assert cursor.fetchone() == before


def test_every_state_that_was_read_stays_as_a_revision(postgres, shared, monkeypatch, local_store):
    """The database edits rows in place: what they said before is nowhere else."""
    dsn = create_database(postgres, "revisions", shared)
    source = database(monkeypatch, dsn)
    key = batch_id(shared[0])
    assert not ingest(source, local_store, key).unchanged
    assert ingest(source, local_store, key).unchanged
    execute(dsn, f"UPDATE batches SET notes = 'second thoughts' WHERE batch_id = '{key}'")
    assert not ingest(source, local_store, key).unchanged
    kept = sorted(item.path for item in local_store.list(f"revisions/fermentation/{key}"))
    notes = [json.loads(local_store.get(path))["batch"]["notes"] for path in kept]
    assert notes == [shared[0]["batch"]["notes"], "second thoughts"]


@pytest.mark.parametrize("year", ["20260-03-11T03:00:00Z", "0026-03-11T03:00:00Z BC", "infinity"])
@pytest.mark.case("fermentation/one-bad-year-kills-source")
def test_a_mistyped_year_is_a_problem_of_its_batch_alone(postgres, shared, monkeypatch, tmp_path, year):
    """PostgreSQL has years that neither JSON's readers nor Python know."""
    dsn = create_database(postgres, f"year_{abs(hash(year))}", shared)
    wrong, *others = map(batch_id, shared)
    execute(dsn, f"UPDATE batches SET completed_at = '{year}' WHERE batch_id = '{wrong}'")
    source = database(monkeypatch, dsn)
    offer = source.offers()
    assert set(others) <= set(offer.partitions)
    assert len(tokens(source)) == len(offer.partitions)
    store = Store.open(str(tmp_path / "store"))
    for key in others:
        assert ingest(source, store, key).generation.refused is None
    assert "completed_at" in (ingest(source, store, wrong).generation.refused or "")
    with pytest.raises(SourceError, match=f"Batch {wrong}: completed_at"):
        source.check()


@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Auckland"])
@pytest.mark.case("fermentation/naive-columns-machine-zone")
def test_columns_without_a_zone_are_read_in_the_configured_one_wherever_the_machine_is(
    postgres, shared, monkeypatch, zone
):
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        dsn = create_database(postgres, f"naive_{zone[-4:].lower()}", shared)
        columns = ", ".join(
            f"ALTER {name} TYPE timestamp USING {name} AT TIME ZONE 'Europe/Berlin'"
            for name in ("inoculated_at", "completed_at")
        )
        execute(dsn, f"ALTER TABLE batches {columns}")
        monkeypatch.setenv("SHEAF_ELN_DSN", as_reader(dsn))
        runs = ElnPostgres(PostgresSettings(kind="eln_postgres"), "Europe/Berlin").runs()
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
    assert {run.batch: run.inoculated_at.isoformat() for run in runs if run.inoculated_at} == {
        batch_id(document): document["batch"]["inoculated_at"] for document in shared
    }


@pytest.mark.case("fermentation/first-source-down-blocks-second")
def test_a_source_that_is_down_does_not_stop_the_batches_of_the_next_one(
    eln, shared, monkeypatch, local_store, tmp_path
):
    monkeypatch.setenv("SHEAF_ELN_DSN", "postgresql://reader@127.0.0.1:9/none")
    down = ElnSource(ElnPostgres(PostgresSettings(kind="eln_postgres")), SETTINGS)
    no_inbox = BatchInbox(tmp_path / "nowhere", local_store.url, SETTINGS)
    sources = Sources({FERMENTATION.name: (no_inbox, down, rest(eln))})
    key = batch_id(shared[0])
    made = run_step(local_store, FERMENTATION, FERMENTATION.reading, key, SETTINGS, sources)
    assert made.generation.refused is None
    assert made.generation.source == "eln_rest"
    assert sources.hidden(FERMENTATION.name, "eln_rest") == set()
    put_in_inbox(tmp_path / "inbox", [{**shared[0], "samples": []}])
    others = Sources({FERMENTATION.name: (down, inbox_source(tmp_path / "inbox"))})
    own = others.deliver(FERMENTATION.name, local_store, key, tmp_path, owner="eln_postgres")
    with pytest.raises(SourceError, match="cannot be reached"), own:  # what another source has may be older
        pass
