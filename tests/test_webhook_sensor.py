"""A batch that asked for it is told about, once, with a signature that the receiver can check."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from resources.store import StoreResource
from sensors.webhook import SECRET, notify
from sheaf.errors import UsageError
from sheaf.media.batch_record import BatchRecord, BatchStatus, write_record
from sheaf.media.readers.batch_options import BatchOptions
from sheaf.media.settings import MediaSettings
from sheaf.outside.webhook import SIGNATURE_HEADER, WebhookError, signature

BATCH = "batch_20260301_080000_00c0ffee"
ENDED = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


@pytest.fixture
def receiver():
    """A server on this machine that keeps what it is told."""
    told = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.append((self.headers[SIGNATURE_HEADER], body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.told = told
    yield server
    server.shutdown()
    thread.join()


@pytest.fixture
def store(tmp_path):
    return StoreResource(url=str(tmp_path / "store"))


def ended_batch(store, url, **other):
    record = BatchRecord(
        batch_id=BATCH,
        csv_file="pairs.csv",
        csv_sha256="0" * 64,
        options=BatchOptions(notification_webhook=url),
        status=BatchStatus.COMPLETED,
        items_total=2,
        items_completed=2,
        created_at=ENDED,
        finished_at=ENDED,
    )
    write_record(store.open(), record.model_copy(update=other))


LOCAL = MediaSettings(webhook_hosts=("127.0.0.1",), webhook_private=True)


def test_who_asked_is_told_with_a_signature(store, receiver, monkeypatch):
    monkeypatch.setenv(SECRET, "sesame")
    ended_batch(store, f"http://127.0.0.1:{receiver.server_port}/done")
    assert "answered 204" in notify(store, LOCAL, BATCH, since=0)
    ((signed, body),) = receiver.told
    assert signed == signature(body, "sesame")
    message = json.loads(body)
    assert (message["event"], message["batch_id"], message["items_completed"]) == ("batch_completed", BATCH, 2)


def test_a_batch_whose_run_was_killed_for_good_has_failed(store, receiver):
    url = f"http://127.0.0.1:{receiver.server_port}/done"
    ended_batch(store, url, status=BatchStatus.PROCESSING, finished_at=None)
    notify(store, LOCAL, BATCH, since=0)
    message = json.loads(receiver.told[0][1])
    assert (message["event"], message["status"]) == ("batch_failed", "failed")
    assert message["timestamp"] is not None


def test_a_run_that_found_everything_done_tells_nobody_again(store, receiver):
    ended_batch(store, f"http://127.0.0.1:{receiver.server_port}/done")
    assert "had ended before" in notify(store, LOCAL, BATCH, since=ENDED.timestamp() + 60)
    assert receiver.told == []


@pytest.mark.parametrize("media", [MediaSettings(), MediaSettings(webhook_hosts=("127.0.0.1",))])
def test_hosts_that_are_not_allowed_are_never_called(store, receiver, media):
    ended_batch(store, f"http://127.0.0.1:{receiver.server_port}/done")
    with pytest.raises(UsageError):
        notify(store, media, BATCH, since=0)
    assert receiver.told == []


def test_nothing_is_sent_for_a_batch_that_did_not_ask_or_does_not_exist(store):
    ended_batch(store, None)
    assert "asked for no notification" in notify(store, LOCAL, BATCH, since=0)
    assert "There is no media batch" in notify(store, LOCAL, "batch_x", since=0)


def test_nobody_is_told_twice_whoever_looks_and_how_often(store, receiver):
    ended_batch(store, f"http://127.0.0.1:{receiver.server_port}/done")
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda since: notify(store, LOCAL, BATCH, since=since), range(8)))
    assert len(receiver.told) == 1
    assert sorted("told about" in line for line in said) == [False] + [True] * 7
    ended_batch(store, f"http://127.0.0.1:{receiver.server_port}/done", finished_at=ENDED + timedelta(hours=1))
    assert "answered 204" in notify(store, LOCAL, BATCH, since=ENDED.timestamp() + 60)


def test_what_could_not_be_told_is_told_by_the_next(store, receiver):
    ended_batch(store, "http://127.0.0.1:9/done?token=CANARY")
    with pytest.raises(WebhookError):
        notify(store, LOCAL, BATCH, since=0)
    ended_batch(store, f"http://127.0.0.1:{receiver.server_port}/done?token=CANARY")
    said = notify(store, LOCAL, BATCH, since=0)
    assert "answered 204" in said
    assert "CANARY" not in said
    assert len(receiver.told) == 1
