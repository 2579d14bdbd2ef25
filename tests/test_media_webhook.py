"""Webhooks: who may be told, what is said, and that it is said again until it is heard."""

import base64
import hashlib
import hmac
import traceback
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from webhook_receiver import Receiver, receiving

from sheaf.errors import UsageError
from sheaf.media.batch_record import BatchRecord, BatchStatus, batch_message
from sheaf.media.readers.batch_options import BatchOptions
from sheaf.outside.webhook import SIGNATURE_HEADER, WebhookError, WebhookPolicy, check_url, send

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


@pytest.mark.parametrize("secret", ["s3cret", "whsec_" + base64.b64encode(b"a key of 24 bytes at least").decode()])
def test_any_receiver_of_standard_webhooks_can_check_it(receiver: Receiver, secret: str) -> None:
    receiver.answers = [503, 200]
    assert send(receiver.url, {"event": "batch_failed", "batch_id": "ä"}, replace(LOCAL, secret=secret)) == 200
    of_receiver = secret if secret.startswith("whsec_") else secret.encode()
    for headers, body in receiver.heard:
        assert Webhook(of_receiver).verify(body, dict(headers)) == {"event": "batch_failed", "batch_id": "ä"}
        with pytest.raises(WebhookVerificationError, match="No matching signature"):
            Webhook(of_receiver).verify(body.replace(b"failed", b"completed"), dict(headers))
    assert len({headers["webhook-id"] for headers, _ in receiver.heard}) == 1
    assert len(receiver.heard) == 2


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not base64!"])
def test_a_secret_that_is_none_signs_nothing(receiver: Receiver, secret: str) -> None:
    with pytest.raises(UsageError, match="no base64 behind whsec_"):
        send(receiver.url, {}, replace(LOCAL, secret=secret))
    assert not receiver.heard


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


PRIVATE = [
    "127.0.0.1", "localhost", "[::1]", "10.0.0.1", "169.254.169.254", "100.64.0.1", "[fc00::1]", "[fe80::1]",
    "[fec0::1]", "[::7f00:1]", "240.0.0.1",
]  # fmt: skip
NEVER = [
    "[::ffff:10.0.0.1]", "[::ffff:8.8.8.8]", "[64:ff9b::a00:1]", "[64:ff9b::808:808]", "[64:ff9b:1::a00:1]",
    "[2002:a00:1::1]", "[2002:7f00:1::]", "[2001:0:a00:1::1]", "224.0.0.1", "[ff02::1]", "0.0.0.0", "[::]",
]  # fmt: skip


@pytest.mark.parametrize("host", [*PRIVATE, *NEVER])
def test_private_addresses_need_permission_whatever_they_are_wrapped_in(host: str) -> None:
    policy = WebhookPolicy(hosts=(host.strip("[]"),))
    with pytest.raises(UsageError, match="private address"):
        send(f"http://{host}:9/", {}, policy)


@pytest.mark.parametrize("host", NEVER)
def test_what_leads_to_other_networks_is_never_called(host: str) -> None:
    policy = WebhookPolicy(hosts=(host.strip("[]"),), private=True, attempts=1)
    with pytest.raises(UsageError, match="private address"):
        send(f"http://{host}:9/", {}, policy)


@pytest.mark.parametrize("host", ["8.8.8.8", "[2606:4700::1111]", "[2001:4860:4860::8888]"])
def test_public_addresses_are_called(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def stream(self: object, method: str, target: str, **_: object) -> object:
        asked.append(target)
        raise WebhookError("stop")

    monkeypatch.setattr("sheaf.outside.http.Service.stream", stream)
    with pytest.raises(WebhookError, match="stop"):
        send(f"http://{host}:9/", {}, WebhookPolicy(hosts=(host.strip("[]"),)))
    assert asked == [f"http://{host}:9/"]


def test_only_what_may_pass_is_tried_again(receiver: Receiver) -> None:
    receiver.answers = [500]
    with pytest.raises(WebhookError, match="500"):
        send(receiver.url, {}, LOCAL)
    assert len(receiver.heard) == 1


def test_no_error_shows_more_of_an_address_than_its_host(receiver: Receiver) -> None:
    receiver.answers = [503] * 3 + [403]
    url = receiver.url.replace("/hook?x=1", "/CANARY?x=CANARY")
    for said in ("in 3 tries", "403"):
        with pytest.raises(WebhookError, match=said) as error:
            send(url, {}, LOCAL)
        assert "CANARY" not in "".join(traceback.format_exception(error.value))


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
