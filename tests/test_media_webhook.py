"""Webhooks: who may be told, what is said, and that it is said again until it is heard."""

import hashlib
import hmac
from collections.abc import Iterator
from datetime import UTC, datetime

import orjson
import pytest
from webhook_receiver import Receiver, receiving

from sheaf.errors import UsageError
from sheaf.media.batch_options import BatchOptions
from sheaf.media.batch_record import BatchRecord, BatchStatus
from sheaf.media.webhook import SIGNATURE_HEADER, WebhookError, WebhookPolicy, batch_message, check_url, send

LOCAL = WebhookPolicy(hosts=("127.0.0.1", "localhost"), private=True, secret="s3cret", attempts=3)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def test_message_arrives_signed(receiver: Receiver) -> None:
    assert send(receiver.url, {"event": "batch_completed"}, LOCAL) == 200
    headers, body = receiver.heard[0]
    assert orjson.loads(body) == {"event": "batch_completed"}
    assert headers["Content-Type"] == "application/json"
    wanted = "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE_HEADER] == wanted


def test_busy_receiver_is_tried_again(receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    receiver.answers = [503, 429, 204]
    assert send(receiver.url, {}, LOCAL) == 204
    assert len(receiver.heard) == 3
    assert capsys.readouterr().out == ""  # what commands print there is for machines


def test_refusal_is_final(receiver: Receiver) -> None:
    receiver.answers = [403]
    with pytest.raises(WebhookError, match="403"):
        send(receiver.url, {}, LOCAL)
    assert len(receiver.heard) == 1


def test_redirects_are_not_followed(receiver: Receiver) -> None:
    receiver.answers = [302]
    with pytest.raises(WebhookError, match="302"):
        send(receiver.url, {}, LOCAL)


def test_nobody_there_is_an_error_after_all_tries() -> None:
    with pytest.raises(WebhookError, match="in 3 tries"):
        send("http://127.0.0.1:9/", {}, LOCAL)


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1/", "http://", "file:///etc/passwd", "http://evil.example/", "http://u:p@127.0.0.1/", "nothing"],
)
def test_urls_that_are_not_allowed(url: str) -> None:
    with pytest.raises(UsageError):
        send(url, {}, LOCAL)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "[::ffff:10.0.0.1]"]
)
def test_private_addresses_need_permission(host: str) -> None:
    policy = WebhookPolicy(hosts=(host.strip("[]"),))
    with pytest.raises(UsageError, match="private address"):
        send(f"http://{host}:9/", {}, policy)


def test_wildcards_cover_subdomains_only() -> None:
    policy = WebhookPolicy(hosts=("*.example.org",))
    assert check_url("https://Hooks.example.org/x", policy) == "hooks.example.org"
    for url in ("https://example.org/", "https://badexample.org/", "https://example.org.evil.net/"):
        with pytest.raises(UsageError, match="not allowed"):
            check_url(url, policy)


def test_what_is_said_about_a_batch() -> None:
    record = BatchRecord(
        batch_id="batch_20250828_140600_a1b2c3d4",
        csv_file="b.csv",
        csv_sha256="a1",
        options=BatchOptions(),
        status=BatchStatus.COMPLETED,
        items_total=3,
        items_completed=2,
        items_failed=1,
        created_at=datetime(2025, 8, 28, 14, 6, tzinfo=UTC),
        finished_at=datetime(2025, 8, 28, 14, 20, 30, tzinfo=UTC),
    )
    message = batch_message(record)
    assert (message["event"], message["status"]) == ("batch_completed", "completed")
    assert (message["items_total"], message["items_completed"], message["items_failed"]) == (3, 2, 1)
    assert message["timestamp"] == "2025-08-28T14:20:30Z"
