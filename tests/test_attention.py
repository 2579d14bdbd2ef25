"""What needs a person: listed worst first, with what to do, and gone when it is over; the same as numbers."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from demo_domain import BATCH, DEMO, deliver, ingest, publish_readings
from fermentation_inbox import put_batch, record
from running import run_steps
from servers import sheaf_server
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.http.roles import Role
from pipelines.http.users import Users
from sheaf import activity, clock
from sheaf.attention import Kind, needs
from sheaf.errors import SheafError
from sheaf.exports import outcome
from sheaf.exports.publish import Request, publish
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.readers.ingest import ingest as read_batch
from sheaf.fermentation.settings import FermentationSettings
from sheaf.names import ExportId
from sheaf.running import How
from sheaf.settings import Settings
from sheaf.store.store import Store


def kinds(store: Store) -> list[tuple[str, str]]:
    return [(one.kind, one.subject) for one in needs(store, [DEMO])]


def test_what_is_wrong_is_listed_worst_first_until_it_is_over(local_store: Store) -> None:
    deliver(local_store, "a")
    publish_readings(local_store)
    assert needs(local_store, [DEMO]) == []
    deliver(local_store, "poison", how=How(accept_loss=True))
    with pytest.raises(SheafError):
        publish_readings(local_store)
    ingest(local_store, "a", "bad", partition="batch-2")
    deliver(local_store, "x", partition="batch-3", steps=["readings"])
    deliver(local_store, partition="batch-3", steps=["readings"])  # an empty delivery is refused
    activity.log(local_store, "delivery overdue", "demo/batch-2", "inbox", "batch-2 was asked for 3 times.")
    local_store.put(BATCH.tags_path, b'{"tags": {"pa')
    found = needs(local_store, [DEMO])
    assert [(one.kind, one.subject) for one in found] == [
        (Kind.DAMAGED, BATCH.tags_path),
        (Kind.REFUSED, "demo/batch-3"),
        (Kind.FAILED, f"{BATCH}/v2"),
        (Kind.OVERDUE, "demo/batch-2"),
        (Kind.CHECK, "demo/batch-2"),
    ]
    assert found[0].todo == "run `sheaf doctor`"
    assert found[1].what == "The delivery is empty: deliver something."
    assert "holds poison" in found[2].what
    assert "rejected" in found[4].what
    assert all(one.todo and one.what for one in found)
    local_store.delete([BATCH.tags_path])
    deliver(local_store, "y", partition="batch-3", steps=["readings"])
    ingest(local_store, "a", "b", partition="batch-2")
    ingest(local_store, "fine")
    publish_readings(local_store)
    assert kinds(local_store) == []


def test_a_failed_request_is_listed_until_it_is_made_or_deleted(local_store: Store) -> None:
    ingest(local_store, "a", "poison")
    with pytest.raises(SheafError):
        publish_readings(local_store, filter={"min_id": 1})
    assert kinds(local_store) == [(Kind.FAILED, f"{BATCH}/v1")]
    outcome.delete(local_store, ExportId(BATCH, 1), "ada")
    assert kinds(local_store) == []


def test_what_was_not_said_for_a_day_is_not_overdue_any_more(local_store: Store) -> None:
    activity.log(local_store, "delivery overdue", "demo/batch-9", "inbox", "batch-9 was asked for twice.")
    assert kinds(local_store) == [(Kind.OVERDUE, "demo/batch-9")]
    assert needs(local_store, [DEMO], now=clock.now() + timedelta(days=2)) == []


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one published batch, and a delivery that is overdue."""
    folder = tmp_path_factory.mktemp("home")
    store, settings = Store.open(str(folder / "store")), FermentationSettings()
    run_steps(
        store, FERMENTATION, "b4", settings, put_batch(folder / "inbox" / "fermentation" / "b4", record()), read_batch
    )
    publish(store, FERMENTATION, FERMENTATION.series_named("samples_csv"), Request("b4"), settings)
    activity.log(store, "delivery overdue", "fermentation/b5", "inbox", "b5 was asked for twice and not done.")
    return folder


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    with sheaf_server(Settings(home=home, store_url=str(home / "store"), inbox=home / "inbox")) as address:
        yield address


def numbers(text: str) -> dict[str, float]:
    """What Prometheus would take from it; every line has to be one of the format."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = re.fullmatch(r"([a-z_]+(?:\{(?:[a-z]+=\"[^\"\\]*\",?)+\})?) ([0-9.e+-]+)", line).groups()  # type: ignore[union-attr]
            found[name] = float(value)
    return found


def test_prometheus_reads_numbers_by_domain(url: str, home: Path) -> None:
    answer = httpx.get(f"{url}/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = numbers(answer.text)
    assert found['sheaf_exports{domain="fermentation",status="completed"}'] == 1
    assert found['sheaf_exports{domain="fermentation",status="pending"}'] == 0
    assert found['sheaf_exports{domain="media",status="failed"}'] == 0
    assert found['sheaf_partitions{domain="fermentation"}'] == 1
    assert found['sheaf_deliveries_refused{domain="fermentation"}'] == 0
    assert found['sheaf_deliveries_overdue{domain="fermentation"}'] == 1
    assert found['sheaf_rows_seen{domain="fermentation"}'] > 0
    assert 0 <= found['sheaf_rejected_ratio{domain="fermentation"}'] < 1
    assert 0 <= found['sheaf_newest_delivery_age_seconds{domain="fermentation"}'] < 600
    there = list(Store.open(str(home / "store")).list("exports/fermentation"))
    assert found['sheaf_store_objects{domain="fermentation",part="exports"}'] == len(there)
    assert found['sheaf_store_bytes{domain="fermentation",part="exports"}'] == sum(one.size for one in there)
    helps = re.findall(r"^# HELP (\S+) \S", answer.text, re.MULTILINE)
    assert helps == re.findall(r"^# TYPE (\S+) gauge$", answer.text, re.MULTILINE)
    assert {name.partition("{")[0] for name in found} == set(helps)
    assert httpx.get(f"{url}/metrics").text == answer.text


def test_the_command_and_the_api_list_the_same(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHEAF_HOME", str(home))
    told = httpx.get(f"{url}/api/v1/attention").json()
    assert (Kind.OVERDUE, "fermentation/b5") in [(one["kind"], one["subject"]) for one in told]
    said = CliRunner().invoke(app, ["attention", "--json"], catch_exceptions=False)
    assert json.loads(said.stdout) == told
    assert httpx.get(f"{url}/api/v1/attention", params={"domain": "media"}).json() == []
    assert "sheaf run fermentation b5" in CliRunner().invoke(app, ["attention"], catch_exceptions=False).stdout


def test_numbers_need_a_name_as_soon_as_there_is_one(url: str, home: Path) -> None:
    Users(home).add("prometheus", Role.VIEWER, "a long password")
    try:
        assert httpx.get(f"{url}/metrics").status_code == 401
        assert httpx.get(f"{url}/metrics", auth=("prometheus", "another password")).status_code == 401
        assert httpx.get(f"{url}/metrics", headers={"Authorization": "Basic ???"}).status_code == 401
        assert httpx.get(f"{url}/metrics", auth=("prometheus", "a long password")).status_code == 200
        assert httpx.get(f"{url}/api/v1/domains", auth=("prometheus", "a long password")).status_code == 401
    finally:
        (home / "users.json").unlink()
