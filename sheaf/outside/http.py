"""Asking a service over HTTP: one way for all, which ends in time whatever the other side does.

A request has a deadline beside the time for each read, an answer a largest size. What may pass by itself
(no connection, an overloaded server) is tried again, later where the server says so. Not here: what is
asked, nor what an answer means (`fermentation/eln_session`, `fermentation/influx`, `occurrences/api`,
`media/webhook`).
"""

import json
import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from sheaf.errors import SourceError
from sheaf.outside.addresses import hidden, shown_url

if TYPE_CHECKING:
    import httpx
    import stamina

PASSING = (429, 502, 503, 504)
"""Answers that may be another one soon."""

MOST_WAIT_S = 30.0
"""As long is waited before another try, whatever `Retry-After` says; then it is for the next run."""

_LOG = logging.getLogger(__name__)

T = TypeVar("T")


class PassingError(SourceError):
    """A failure that may pass by itself.

    Attributes:
        after_s: when the server wants to be asked again; None where it does not say.
    """

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


@dataclass(frozen=True)
class Limits:
    """How long a service is waited for, and how much of it is taken.

    Attributes:
        read_s: longest silence.
        total_s: from a request to the end of its answer; after as long none is tried again either.
        most_bytes: of one answer, unpacked.
        attempts: how often a request is tried in all.
    """

    read_s: float = 30.0
    total_s: float = 120.0
    most_bytes: int = 64 << 20
    attempts: int = 4


@dataclass(frozen=True)
class Answer:
    """A whole answer; `url` can be shown."""

    status: int
    url: str
    content: bytes

    def json(self, **how: Any) -> Any:
        """What it says; raises `SourceError` where that is no JSON."""
        try:
            return json.loads(self.content, **how)
        except (ValueError, RecursionError):
            raise SourceError(f"{self.url} did not answer with JSON.") from None


class Service:
    """One service, with the connections to it; threads may share it.

    Example:
        >>> service = Service("http://eln:8000/api", headers={"Authorization": "Bearer …"})
        >>> service.ask("GET", "batches").status
        200
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        login: tuple[str, str] | None = None,
        limits: Limits = Limits(),
        secrets: Iterable[str] = (),
        shown: str = "",
        **how: Any,
    ) -> None:
        """Name a service; it is not asked yet.

        Args:
            url: what every path is below.
            headers: of every request.
            login: user and password, where that is how it is done.
            secrets: what must not be shown, beside the login.
            shown: how it is called in errors, where its addresses are nobody's business.
            how: more for `httpx.Client`.
        """
        self.url = url.rstrip("/")
        self.limits = limits
        self._how = {"headers": dict(headers or {}), "auth": login, "timeout": limits.read_s, **how}
        self._secrets = (*secrets, *(login or ()))
        self._shown = shown
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None

    def ask(self, method: str, path: str, **how: Any) -> Answer:
        """One request, again where that may help; every answer that is not `PASSING` is returned.

        Args:
            path: below the address of the service; a whole address is taken as it is.
            how: more for `httpx.Client.stream`: `params`, `json`, `headers`.

        Raises:
            SourceError: no answer, or one that is too late or too large.
        """

        def once() -> Answer:
            with self.stream(method, path, **how) as answer:
                return Answer(answer.status, answer.url, answer.read())

        return patiently(once, self.limits)

    @contextmanager
    def stream(self, method: str, path: str, **how: Any) -> "Iterator[Incoming]":
        """One try of a request, its answer as it comes.

        Raises:
            PassingError: it may help to ask again.
            SourceError: the answer is too large, or the request cannot be sent.
        """
        import httpx

        url = path if "://" in path else f"{self.url}/{path}"
        shown, late = self._shown or shown_url(url), threading.Event()
        try:
            client = self._open()
        except Exception as error:
            raise self._fault(error, shown, late=False) from None

        def give_up() -> None:
            late.set()
            self._drop(client)

        alarm = threading.Timer(self.limits.total_s, give_up)
        alarm.daemon = True
        alarm.start()
        with ExitStack() as stack:
            stack.callback(alarm.cancel)
            try:
                answer = stack.enter_context(client.stream(method, url, **how))
            except Exception as error:
                raise self._fault(error, shown, late=late.is_set()) from None
            if answer.status_code in PASSING:
                raise PassingError(
                    f"{shown} answers {answer.status_code} again and again.", retry_after(answer.headers)
                )
            try:
                yield Incoming(answer, self._shown or shown_url(str(answer.url)), self.limits)
            except Exception as error:
                if late.is_set() or isinstance(error, (httpx.HTTPError, httpx.StreamError)):
                    raise self._fault(error, shown, late=late.is_set()) from None
                raise

    def close(self) -> None:
        """End its connections."""
        with self._lock:
            client, self._client = self._client, None
        if client:
            client.close()

    def _open(self) -> "httpx.Client":
        import httpx

        with self._lock:
            if self._client is None:
                self._client = httpx.Client(**self._how)
            return self._client

    def _drop(self, client: "httpx.Client") -> None:
        """End what goes over some connections; the next request makes new ones."""
        with self._lock:
            if self._client is client:
                self._client = None
        client.close()

    def _fault(self, error: Exception, shown: str, *, late: bool) -> SourceError:
        import httpx

        if late:
            return PassingError(f"{shown} took longer than {self.limits.total_s:.0f} s.")
        if isinstance(error, (httpx.LocalProtocolError, httpx.InvalidURL, ValueError)):  # their texts show headers
            return SourceError(f"{shown} cannot be asked: its address, a name or a token holds what HTTP cannot carry.")
        reason = hidden(str(error) or type(error).__name__, *self._secrets)
        # A client that another thread has dropped meanwhile raises RuntimeError.
        passing = isinstance(error, (httpx.TransportError, RuntimeError))
        return (PassingError if passing else SourceError)(f"{shown} cannot be reached: {reason}")


@dataclass(frozen=True)
class Incoming:
    """An answer that is still coming; `url` can be shown."""

    _answer: "httpx.Response"
    url: str
    limits: Limits

    @property
    def status(self) -> int:
        """Of the answer."""
        return self._answer.status_code

    def pieces(self) -> Iterator[bytes]:
        """Its content, unpacked, up to the largest size."""
        return no_more_than(self.limits.most_bytes, self._answer.iter_bytes(), self.url)

    def read(self) -> bytes:
        """Its whole content."""
        return b"".join(self.pieces())


def no_more_than(most: int, pieces: Iterable[bytes], url: str) -> Iterator[bytes]:
    """Pass on the pieces of an answer; raises `SourceError` where they become too many."""
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > most:
            raise SourceError(f"{url} answered with more than {most >> 20} MB, which is more than is taken of it.")
        yield piece


def patiently(ask: Callable[[], T], limits: Limits) -> T:
    """Do it again when what went wrong may pass by itself, at the latest after `MOST_WAIT_S`."""
    import stamina

    def when(error: Exception) -> bool | float:
        if not isinstance(error, PassingError):
            return False
        return True if error.after_s is None else min(error.after_s, MOST_WAIT_S)

    stamina.instrumentation.set_on_retry_hooks([_tell])  # by itself it writes to stdout
    for attempt in stamina.retry_context(
        on=when, attempts=limits.attempts, timeout=limits.total_s, wait_initial=0.2, wait_max=5
    ):
        with attempt:
            return ask()
    raise AssertionError("unreachable")


def _tell(details: "stamina.instrumentation.RetryDetails") -> None:
    _LOG.info("%s Trying again in %.1f s.", details.caused_by, details.wait_for)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """When a server wants to be asked again, in seconds; None where it does not say."""
    said = headers.get("Retry-After")
    if said is None:
        return None
    try:
        return max(float(said), 0.0) if math.isfinite(float(said)) else None
    except ValueError:
        pass
    try:
        return max((parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None
