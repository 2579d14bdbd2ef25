"""A proxy before an object store that fails as stores do: refuses, expires, loses answers, is slow, is gone."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Rule = Callable[[str, str], str]
"""From method and path to one of `pass`, `refuse`, `expire`, `lose`: done, but the answer is 503; `wait`, `hang up`."""

SLOW_S = 1.5

_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message><Key>CANARY</Key></Error>"
_REFUSALS = {
    "refuse": (403, "AccessDenied", "Access Denied to AKIACANARY"),
    "expire": (400, "ExpiredToken", "The provided token has expired."),
    "lose": (503, "SlowDown", "Please reduce your request rate."),
}


def _refusal(what: str) -> tuple[int, list[tuple[str, str]], bytes]:
    status, code, message = _REFUSALS[what]
    return status, [("Content-Type", "application/xml")], _ERROR.format(code=code, message=message).encode()


class Proxy:
    """Where it is, what it does, and what it was asked."""

    def __init__(self, target: str) -> None:
        self.target = urlsplit(target).netloc
        self.rule: Rule = lambda _method, _path: "pass"
        self.asked: list[tuple[str, str]] = []
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    state: Proxy
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.state.asked.append((self.command, self.path))
        what = self.state.rule(self.command, self.path)
        status, headers, data = 200, [], b""
        if what == "hang up":
            self.close_connection = True
            return
        if what == "wait":
            time.sleep(SLOW_S)
        if what in ("pass", "lose", "wait"):
            status, headers, data = self._forward(body)
        if what in _REFUSALS:
            status, headers, data = _refusal(what)
        self._answer(status, headers, data)

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.state.target, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        found = answer.status, answer.getheaders(), answer.read()
        connection.close()
        return found

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A running proxy before a store."""
    state = Proxy(target)
    handler = type("Handler", (_Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # clients are killed, and hang up  # type: ignore[method-assign]
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
