"""A store that refuses, expires or loses its answers in the middle of a run: clear sentences, and nothing is lost."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_domain import BATCH, DEMO, READINGS, SETTINGS, deliver, ingest, publish_readings
from promises import check_readers, check_recovered
from s3_proxy import Proxy, proxy
from servers import BUCKET
from test_http import kept_by_dagster

from sheaf.coherence import pin
from sheaf.errors import StoreError
from sheaf.exports.records import read_latest, versions
from sheaf.store.lease import lease
from sheaf.store.store import Store
from sheaf.tables import generations

REFUSED = r"^The store refuses access to s3://\S+: check the credentials and their rights\.$"
EXPIRED = r"^The credentials for s3://\S+ have expired: renew them and run again\.$"


@pytest.fixture
def faulty(moto: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with proxy(moto["AWS_ENDPOINT_URL"]) as running:
        for name, value in {**moto, "AWS_ENDPOINT_URL": running.url}.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def far(faulty: Proxy, tmp_path: Path) -> Store:
    return Store.open(f"s3://{BUCKET}/{tmp_path.name}")


@pytest.mark.parametrize(("what", "sentence"), [("refuse", REFUSED), ("expire", EXPIRED)])
def test_a_table_that_is_refused_while_it_is_read_is_one_sentence(
    far: Store, faulty: Proxy, what: str, sentence: str
) -> None:
    deliver(far, *"abcdef")
    tables = pin(far, DEMO, "batch-1", [READINGS], SETTINGS)
    faulty.rule = lambda _, path: what if path.endswith(".parquet") else "pass"
    for read in (lambda: tables.read(READINGS), lambda: list(tables.batches(READINGS))):
        with pytest.raises(StoreError, match=sentence) as error:
            read()
        assert "CANARY" not in kept_by_dagster(error.value)


@pytest.mark.parametrize(("what", "sentence"), [("refuse", REFUSED), ("expire", EXPIRED)])
def test_a_dataset_that_is_refused_while_duckdb_reads_it_is_one_sentence(
    far: Store, faulty: Proxy, what: str, sentence: str
) -> None:
    import duckdb

    deliver(far, *"abcdef")
    tables = pin(far, DEMO, "batch-1", [READINGS], SETTINGS)

    def read() -> None:
        faulty.rule = lambda *_: "pass"
        with tables.dataset(READINGS) as readings:
            faulty.rule = lambda _, path: what if path.endswith(".parquet") else "pass"
            with duckdb.connect() as connection:
                connection.register("readings", readings)
                connection.execute("SELECT count(*) FROM readings WHERE value > 'a'").fetchall()

    for _ in range(20):  # an error of Python's that passed through Arrow stopped it for ever, now and then
        with pytest.raises(StoreError, match=sentence) as error:
            read()
    assert "CANARY" not in kept_by_dagster(error.value)


@pytest.mark.campaign
def test_answers_that_are_lost_fail_nothing(far: Store, faulty: Proxy) -> None:
    """Every object is created, then the store says 503: what is tried again finds what it wrote itself."""
    lost: set[str] = set()

    def lose_once(method: str, path: str) -> str:
        if method != "PUT" or path in lost:
            return "pass"
        lost.add(path)
        return "lose"

    faulty.rule = lose_once
    for number in range(3):
        deliver(far, *"abc"[: number + 1])
        assert publish_readings(far).export.version == number + 1
        assert check_readers(far, BATCH) == number + 1
    assert publish_readings(far).unchanged
    assert generations.numbers(far, DEMO.place(DEMO.reading, "batch-1")) == [1, 2, 3]
    assert versions(far, BATCH) == [1, 2, 3]
    assert len(lost) > 15
    check_recovered(far, BATCH)


def test_a_lease_whose_answers_are_lost_is_held_at_once_and_stays_held(far: Store, faulty: Proxy) -> None:
    turns = itertools.count()
    faulty.rule = lambda method, _: "lose" if method == "PUT" and next(turns) % 2 == 0 else "pass"
    for _ in range(2):
        with lease(far, "demo/batch-1", "readings") as held:
            for _ in range(3):
                held.renew()
                assert held.held


@pytest.mark.parametrize("after", [7, *(pytest.param(number, marks=pytest.mark.campaign) for number in (3, 18))])
def test_a_store_that_refuses_from_some_moment_on_leaves_what_was_there(
    far: Store, faulty: Proxy, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sheaf.store.lease.DEAD_AFTER_S", 1.0)  # one that could not be given back
    deliver(far, "a")
    publish_readings(far)
    turns = itertools.count()
    faulty.rule = lambda _method, _path: "expire" if next(turns) >= after else "pass"

    def go_on() -> None:
        for number in range(20):
            ingest(far, str(number))
            publish_readings(far)

    with pytest.raises(StoreError, match=EXPIRED) as error:
        go_on()
    assert "CANARY" not in kept_by_dagster(error.value)
    faulty.rule = lambda _method, _path: "pass"
    assert check_readers(far, BATCH) >= 1
    deliver(far, "b")
    publish_readings(far)
    latest = read_latest(far, BATCH)
    assert latest
    assert check_readers(far, BATCH) == latest.version
