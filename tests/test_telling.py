"""What became of exports and deliveries is told to those who want to know it, once, and until they have heard it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import orjson
import pytest
from demo_domain import deliver, ingest, publish_readings
from standardwebhooks.webhooks import Webhook
from webhook_receiver import Receiver, receiving

from resources.store import StoreResource
from sensors.webhook import exports_webhook_sensor
from sheaf import activity
from sheaf.errors import VerificationError
from sheaf.settings import Settings, WebhookSettings
from sheaf.store.store import Store
from sheaf.telling import WAITS, tell

SECRET = "s3cret"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def hook(receiver: Receiver, **more: Any) -> WebhookSettings:
    """An address on this machine."""
    return WebhookSettings(url=receiver.url.partition("?")[0], private=True, **more)


def heard(receiver: Receiver) -> list[tuple[str, str]]:
    """Of what it was told: type, and export or partition."""
    bodies = [orjson.loads(body) for _, body in receiver.heard]
    return [(one["type"], one["data"].get("export", one["data"]["partition"])) for one in bodies]


def happen(store: Store, value: str = "a", refused: str = "batch-2") -> None:
    """An export that is completed, one that fails, a delivery that is refused, one that is overdue."""
    ingest(store, value)
    publish_readings(store)
    ingest(store, "poison")
    with pytest.raises(VerificationError):
        publish_readings(store)
    deliver(store, partition=refused, steps=["readings"])
    activity.log(store, "delivery overdue", "other/batch-3", "inbox", "batch-3 was asked for 2 times and not done.")


def test_each_event_is_told_once_and_only_to_who_wants_it(atomic_store: Store, receiver: Receiver) -> None:
    everything, some = hook(receiver), hook(receiver, domains=("demo",), partitions=("batch-4",))
    happen(atomic_store)
    assert tell(atomic_store, everything, SECRET).told == 0  # of what was there before, nothing is
    tell(atomic_store, some, SECRET)
    happen(atomic_store, "b", "batch-4")
    assert tell(atomic_store, everything, SECRET).told == 4
    assert tell(atomic_store, everything, SECRET).told == 0
    assert heard(receiver) == [
        ("export.completed", "demo/batch-1/readings_csv/v3"),
        ("export.failed", "demo/batch-1/readings_csv/v4"),
        ("delivery.refused", "batch-4"),
        ("delivery.overdue", "batch-3"),
    ]
    headers, body = receiver.heard[1]
    told = Webhook(SECRET.encode()).verify(body, dict(headers))
    assert told["data"]["detail"] == "readings_csv failed its check: readings.csv holds poison." or "poison" in str(
        told
    )
    receiver.heard.clear()
    assert tell(atomic_store, some, SECRET).told == 0


def test_who_does_not_hear_is_told_again_after_a_restart_with_the_same_message(
    local_store: Store, receiver: Receiver
) -> None:
    now, one = datetime.now(UTC), hook(receiver, events=("completed",))
    tell(local_store, one, SECRET, now=now - timedelta(hours=1))
    happen(local_store)
    receiver.answers = [503, 500]
    tick = tell(local_store, one, SECRET, now=now + timedelta(seconds=1))
    assert (tick.told, tick.waiting) == (0, 1)
    assert "It is told again" in tick.failed[0]
    again = Store.open(local_store.url)
    assert tell(again, one, SECRET, now=now + timedelta(seconds=30)).waiting == 1  # too early
    assert tell(again, one, SECRET, now=now + timedelta(minutes=2)).waiting == 1
    assert tell(again, one, SECRET, now=now + timedelta(minutes=8)).told == 1
    assert len({(headers["webhook-id"], body) for headers, body in receiver.heard}) == 1
    assert len(receiver.heard) == 3


def test_who_never_hears_is_given_up_and_that_is_said(local_store: Store, receiver: Receiver) -> None:
    now, one = datetime.now(UTC), hook(receiver, events=("completed",))
    tell(local_store, one, None, now=now - timedelta(hours=1))
    happen(local_store)
    receiver.answers = [410] * 20
    said = []
    for days in range(len(WAITS) + 2):
        said += tell(local_store, one, None, now=now + timedelta(days=days)).failed
    assert len(receiver.heard) == len(said) == len(WAITS) + 1
    assert said[-1].startswith("export.completed demo/batch-1/readings_csv/v1: ")
    assert said[-1].endswith("It was given up.")


def test_an_event_that_appears_late_is_told(local_store: Store, receiver: Receiver) -> None:
    now, one = datetime.now(UTC), hook(receiver)
    tell(local_store, one, None, now=now - timedelta(hours=1))
    tell(local_store, one, None, now=now + timedelta(minutes=1))  # of a host whose clock goes before
    happen(local_store)
    assert tell(local_store, one, None, now=now + timedelta(minutes=2)).told == 4


def test_the_sensor_tells_and_says_what_waits(
    local_store: Store, receiver: Receiver, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path, store_url=local_store.url, inbox=tmp_path, webhooks=(hook(receiver),))
    resources = {"store": StoreResource(url=local_store.url), "settings": settings}

    def ticked() -> str:
        with dg.build_sensor_context(resources=resources) as context:
            (answer,) = [exports_webhook_sensor()(context)]
        assert isinstance(answer, dg.SkipReason)
        return answer.skip_message or ""

    ticked()
    happen(local_store)
    receiver.answers = [200, 200, 503]
    assert ticked() == "3 told, 1 waiting."
