"""Asking HTTP services: deadlines, retries, sizes, and that nothing secret is shown, whatever the other side does."""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sheaf.errors import SourceError
from sheaf.outside.addresses import hidden, shown_url, without_secrets
from sheaf.outside.http import Limits, PassingError, Service, retry_after

Answering = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(answer: Answering) -> Iterator[str]:
    """A server that answers as it is told."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        def do_POST(self) -> None:
            answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"{}", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def kept_by_dagster(error: BaseException | None) -> str:
    """What an error and those behind it say, as far as a run keeps them."""
    if error is None:
        return ""
    behind = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return f"{error}\n{kept_by_dagster(behind)}"


class InTurn:
    """One status after another, then 200; `times` says when each was asked for."""

    def __init__(self, *statuses: int, **headers: str) -> None:
        self.statuses = list(statuses)
        self.headers = headers
        self.times: list[float] = []

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        self.times.append(time.monotonic())
        status = self.statuses.pop(0) if self.statuses else 200
        reply(handler, status, **(self.headers if status != 200 else {}))


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_pass_is_asked_again(status: int) -> None:
    answers = InTurn(status, Retry_After="0")
    with serving(answers) as url:
        assert Service(url).ask("GET", "x").status == 200
    assert len(answers.times) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 501])
def test_what_does_not_pass_is_asked_once(status: int) -> None:
    answers = InTurn(status)
    with serving(answers) as url:
        assert Service(url).ask("GET", "x").status == status
    assert len(answers.times) == 1


def test_retry_after_is_obeyed_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = InTurn(429, Retry_After="1.5")
    with serving(answers) as url:
        Service(url).ask("GET", "x")
    assert 1.4 < answers.times[1] - answers.times[0] < 3
    monkeypatch.setattr("sheaf.outside.http.MOST_WAIT_S", 0.3)
    answers = InTurn(503, Retry_After="86400")
    with serving(answers) as url:
        Service(url).ask("GET", "x")
    assert 0.2 < answers.times[1] - answers.times[0] < 2


def test_retry_after_is_a_number_or_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=10), usegmt=True)
    assert 8 < (retry_after({"Retry-After": soon}) or 0) <= 10
    assert retry_after({"Retry-After": "7"}) == 7
    assert retry_after({"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}) == 0
    for said in ("soon", "nan", "inf", "", "-inf"):
        assert retry_after({"Retry-After": said}) is None
    assert retry_after({"Retry-After": "-5"}) == 0
    assert retry_after({}) is None


def test_an_overloaded_server_is_given_up_in_the_end() -> None:
    answers = InTurn(*[503] * 10, Retry_After="0")
    with serving(answers) as url, pytest.raises(PassingError, match=r"/x answers 503 again and again"):
        Service(url, limits=Limits(attempts=3)).ask("GET", "x?token=CANARY")
    assert len(answers.times) == 3


def drip_body(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    _drip(handler, b"x" * 1000)


def drip_headers(handler: BaseHTTPRequestHandler) -> None:
    _drip(handler, b"HTTP/1.1 200 OK\r\n" + b"X-Filler: y\r\n" * 1000)


def silence(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(3)
    handler.close_connection = True


def _drip(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    for byte in data:
        try:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
        except OSError:
            return
        time.sleep(0.1)


@pytest.mark.parametrize("answer", [drip_body, drip_headers, silence])
def test_an_answer_that_never_ends_ends_in_time(answer: Answering) -> None:
    """Each byte comes soon enough; only all of them never do."""
    limits = Limits(read_s=2, total_s=1, attempts=1)
    with serving(answer) as url:
        started = time.monotonic()
        with pytest.raises(PassingError, match=r"took longer than 1 s|timed out"):
            Service(url, limits=limits).ask("GET", "x")
        assert time.monotonic() - started < 3


def test_a_service_that_was_too_slow_once_can_be_asked_again() -> None:
    slow = [True]

    def answer(handler: BaseHTTPRequestHandler) -> None:
        drip_headers(handler) if slow.pop() else reply(handler, 200)

    with serving(answer) as url:
        service = Service(url, limits=Limits(read_s=2, total_s=0.5, attempts=1))
        with pytest.raises(PassingError, match="took longer"):
            service.ask("GET", "x")
        slow.append(False)
        assert service.ask("GET", "x").status == 200


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_that_is_too_large_is_refused_before_it_is_there(packed: bool) -> None:
    body = gzip.compress(bytes(50 << 20)) if packed else bytes(5 << 20)
    headers = {"Content_Encoding": "gzip"} if packed else {}
    limits = Limits(most_bytes=2 << 20)
    with (
        serving(lambda handler: reply(handler, 200, body, **headers)) as url,
        pytest.raises(SourceError, match="more than 2 MB"),
    ):
        Service(url, limits=limits).ask("GET", "x")


def test_nobody_there_is_asked_again_and_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(PassingError, match=rf"http://127\.0\.0\.1:{port}/x cannot be reached: "):
        Service(f"http://127.0.0.1:{port}", limits=Limits(attempts=2)).ask("GET", "x")


@pytest.mark.parametrize("token", ["CANARY\n", "CANARY\r\nHost: other", "CANARYü"])
def test_a_token_that_cannot_be_sent_is_not_shown(token: str) -> None:
    with serving(InTurn()) as url, pytest.raises(SourceError, match="cannot be asked") as error:
        Service(url, headers={"Authorization": token}).ask("GET", "x")
    assert "CANARY" not in kept_by_dagster(error.value)


def test_an_answer_that_is_no_json_is_told_without_its_query() -> None:
    with (
        serving(lambda handler: reply(handler, 200, b"<html>")) as url,
        pytest.raises(SourceError, match=r"/x did not answer with JSON") as error,
    ):
        Service(url).ask("GET", "x", params={"token": "CANARY"}).json()
    assert "CANARY" not in kept_by_dagster(error.value)


def test_threads_share_a_service() -> None:
    with serving(InTurn()) as url:
        service = Service(url)
        found: list[int] = []
        threads = [threading.Thread(target=lambda: found.append(service.ask("GET", "x").status)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [200] * 8


def test_addresses_are_shown_without_what_is_secret_in_them() -> None:
    assert shown_url("https://user:pass@host:8/a/b?sig=x#f") == "https://host:8/a/b"
    assert shown_url("s3://key:secret@bucket/prefix") == "s3://bucket/prefix"
    assert shown_url("postgresql://u:p@w@host/db?password=x") == "postgresql://host/db"
    assert shown_url("/data/with?odd@name") == "/data/with?odd@name"
    assert "p" not in shown_url("http://u:p@[::1/x").removeprefix("http")
    assert hidden("wrong a/b= and a%2Fb%3D", "a/b=", "") == "wrong *** and ***"


@pytest.mark.parametrize(
    "url",
    [
        "https://u:p@host/",
        "https://u@host/",
        "https://h/?sig=1",
        "https://h/?a=1&X-Amz-Signature=2",
        f"https://h/?a={'x' * 16}",
    ],
)
def test_an_address_that_is_stored_holds_no_secret(url: str) -> None:
    with pytest.raises(ValueError, match="does not belong into an address"):
        without_secrets(url)
    assert without_secrets("https://host/hook?job=5") == "https://host/hook?job=5"
