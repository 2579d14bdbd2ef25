"""What became of exports and deliveries is told to those who want to know it, once, and until they have heard it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import orjson
import pytest
from demo_domain import deliver, ingest, publish_readings
from mail_server import MailServer, mailing
from standardwebhooks.webhooks import Webhook
from webhook_receiver import Receiver, receiving

from resources.store import StoreResource
from sensors.webhook import telling_sensor
from sheaf import activity
from sheaf.errors import VerificationError
from sheaf.outside.mail import PASSWORD
from sheaf.settings import MailSettings, Settings, WebhookSettings
from sheaf.store.store import Store
from sheaf.telling import WAITS, Listener, listeners, tell, webhook_listener

SECRET = "s3cret"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def hook(receiver: Receiver, **more: Any) -> WebhookSettings:
    """An address on this machine."""
    return WebhookSettings(url=receiver.url.partition("?")[0], private=True, **more)


def listener(receiver: Receiver, secret: str | None = SECRET, **more: Any) -> Listener:
    """Who listens there."""
    return webhook_listener([hook(receiver, **more)], secret)


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
    everything, some = listener(receiver), listener(receiver, domains=("demo",), partitions=("batch-4",))
    happen(atomic_store)
    assert tell(atomic_store, everything).told == 0  # of what was there before, nothing is
    tell(atomic_store, some)
    happen(atomic_store, "b", "batch-4")
    assert tell(atomic_store, everything).told == 4
    assert tell(atomic_store, everything).told == 0
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
    assert tell(atomic_store, some).told == 0


def test_who_does_not_hear_is_told_again_after_a_restart_with_the_same_message(
    local_store: Store, receiver: Receiver
) -> None:
    now, one = datetime.now(UTC), listener(receiver, events=("completed",))
    tell(local_store, one, now=now - timedelta(hours=1))
    happen(local_store)
    receiver.answers = [503, 500]
    tick = tell(local_store, one, now=now + timedelta(seconds=1))
    assert (tick.told, tick.waiting) == (0, 1)
    assert "It is told again" in tick.failed[0]
    again = Store.open(local_store.url)
    assert tell(again, one, now=now + timedelta(seconds=30)).waiting == 1  # too early
    assert tell(again, one, now=now + timedelta(minutes=2)).waiting == 1
    assert tell(again, one, now=now + timedelta(minutes=8)).told == 1
    assert len({(headers["webhook-id"], body) for headers, body in receiver.heard}) == 1
    assert len(receiver.heard) == 3


def test_who_never_hears_is_given_up_and_that_is_said(local_store: Store, receiver: Receiver) -> None:
    now, one = datetime.now(UTC), listener(receiver, events=("completed",))
    tell(local_store, one, now=now - timedelta(hours=1))
    happen(local_store)
    receiver.answers = [410] * 20
    said = []
    for days in range(len(WAITS) + 2):
        said += tell(local_store, one, now=now + timedelta(days=days)).failed
    assert len(receiver.heard) == len(said) == len(WAITS) + 1
    assert said[-1].startswith("export.completed demo/batch-1/readings_csv/v1: ")
    assert said[-1].endswith("It was given up.")


def test_an_event_that_appears_late_is_told(local_store: Store, receiver: Receiver) -> None:
    now, one = datetime.now(UTC), listener(receiver)
    tell(local_store, one, now=now - timedelta(hours=1))
    tell(local_store, one, now=now + timedelta(minutes=1))  # of a host whose clock goes before
    happen(local_store)
    assert tell(local_store, one, now=now + timedelta(minutes=2)).told == 4


@pytest.fixture
def mail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MailServer]:
    with mailing(tmp_path, SECRET) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
        monkeypatch.setenv(PASSWORD, SECRET)
        yield server


def readers(server: MailServer, store: Store, *to: dict[str, Any]) -> list[Listener]:
    """Who gets letters of that server."""
    said = MailSettings.model_validate(
        {"host": "localhost", "port": server.port, "user": "sheaf", "sender": "sheaf@example.org", "to": to}
    )
    home = Path(store.url).parent
    return listeners(Settings(home=home, store_url=store.url, inbox=home, mail=said), None)


def test_who_reads_mail_gets_one_letter_of_what_needs_a_person(local_store: Store, mail: MailServer) -> None:
    ada, ben = {"address": "ada@example.org"}, {"address": "ben@example.org", "events": ["completed"]}
    both = readers(mail, local_store, ada, ben, {"address": "ben@example.org", "partitions": ["batch-3"]})
    assert [tell(local_store, one).told for one in both] == [0, 0]
    happen(local_store)
    assert [tell(local_store, one).told for one in both] == [3, 2]
    assert [tell(local_store, one).told for one in both] == [0, 0]
    first, second = mail.letters
    assert (first["from"], first["to"]) == ("sheaf@example.org", "ada@example.org")
    assert first["subject"] == "[Sheaf] 1 × export failed, 1 × delivery refused, 1 × delivery overdue"
    text = "\n".join(first.get_content().splitlines())
    for said in ("export failed: demo/batch-1/readings_csv/v2\n", "poison", "other/batch-3", "not done.\n"):
        assert said in text
    assert "completed" not in text
    assert second["subject"] == "[Sheaf] 1 × export completed, 1 × delivery overdue"


def test_a_letter_is_sent_again_as_it_was_and_no_error_or_document_knows_the_password(
    local_store: Store, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, ada = datetime.now(UTC), {"address": "ada@example.org", "events": ["completed", "refused"]}
    (one,) = readers(mail, local_store, ada)
    tell(local_store, one, now=now - timedelta(hours=1))
    happen(local_store)
    mail.answers = [f"451 4.7.1 not now, {SECRET}"]
    said = tell(local_store, one, now=now + timedelta(minutes=1)).failed
    happen(local_store, "b", "batch-4")
    monkeypatch.setenv(PASSWORD, f"wrong {SECRET}")
    said += tell(local_store, one, now=now + timedelta(minutes=3)).failed
    monkeypatch.delenv("SSL_CERT_FILE")
    said += tell(local_store, one, now=now + timedelta(minutes=9)).failed
    monkeypatch.delenv(PASSWORD)
    said += tell(local_store, one, now=now + timedelta(hours=1)).failed
    for why, count in {
        "refused the letter with status 451. It is told again.": 2,
        "refused the login with status 535. It is told again.": 4,
        "cannot be talked to in private (CERTIFICATE_VERIFY_FAILED). It is told again.": 4,
        f"set {PASSWORD}. It is told again.": 4,
    }.items():
        assert sum(sentence.endswith(why) for sentence in said) == count
    monkeypatch.setenv("SSL_CERT_FILE", str(mail.certificate))
    monkeypatch.setenv(PASSWORD, SECRET)
    again = Store.open(local_store.url)
    assert tell(again, one, now=now + timedelta(days=1)).told == 4
    assert ["demo/batch-1/readings_csv/v1" in letter.get_content() for letter in mail.letters] == [True, False]
    assert SECRET not in "".join(said) + b"".join(again.get(one.path) for one in again.list("letters")).decode()


def test_the_sensor_tells_and_says_what_waits(
    local_store: Store, receiver: Receiver, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=tmp_path, store_url=local_store.url, inbox=tmp_path, webhooks=(hook(receiver),))
    resources = {"store": StoreResource(url=local_store.url), "settings": settings}

    def ticked() -> str:
        with dg.build_sensor_context(resources=resources) as context:
            (answer,) = [telling_sensor()(context)]
        assert isinstance(answer, dg.SkipReason)
        return answer.skip_message or ""

    ticked()
    happen(local_store)
    receiver.answers = [200, 200, 503]
    assert ticked() == "3 told, 1 waiting."
