"""moto's S3 server as a program, `atomic_moto.py PORT`, in which what changes something is done one after the other.

moto looks at the condition of a write first and writes then; on a busy machine two writers come between each other, and
both are told that they were the one. S3 does both at once.
"""

import io
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import run_simple


class OneAfterAnother:
    """An application that changes one thing at a time."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """One request."""
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return self._application(environ, start_response)
        # Before the lock: a client that is held up while it sends holds up nobody else.
        environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        with self._lock:
            return list(self._application(environ, start_response))


if __name__ == "__main__":
    server = DomainDispatcherApplication(create_backend_app)
    run_simple(
        "127.0.0.1", int(sys.argv[1]), OneAfterAnother(server), threaded=True, request_handler=MotoRequestHandler
    )
