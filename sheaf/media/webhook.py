"""Telling another system that a batch is completed or failed.

One POST of JSON, signed; retried with growing pauses while the other side is unreachable or
overloaded. Only hosts on the allow list are called, and none whose address is private unless the
site allows that. The address that was checked is the one that is called, so a name that changes
its address in between leads nowhere else.
"""

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import orjson

from sheaf.errors import SheafError, UsageError
from sheaf.media.batch_record import BatchRecord

SIGNATURE_HEADER = "X-Sheaf-Signature-256"
"""Carries `sha256=` and the hex HMAC-SHA256 of the body under the shared secret."""

_RETRY_STATUS = (408, 425, 429, 500, 502, 503, 504)


class WebhookError(SheafError):
    """The other side could not be told."""


@dataclass(frozen=True)
class WebhookPolicy:
    """Whom Sheaf may tell, and how hard it tries.

    Attributes:
        hosts: host names that are allowed, exactly or as `*.example.org`.
        private: whether private, loopback and link-local addresses are allowed.
        secret: signs the body; without one no signature is sent.
        attempts: how often to try.
        timeout_s: for each try.
    """

    hosts: Sequence[str] = ()
    private: bool = False
    secret: str | None = None
    attempts: int = 5
    timeout_s: float = 10.0


def batch_message(record: BatchRecord) -> dict[str, object]:
    """What is said about a batch."""
    return {
        "event": f"batch_{record.status}",
        "batch_id": record.batch_id,
        "status": record.status,
        "items_total": record.items_total,
        "items_completed": record.items_completed,
        "items_no_match": record.items_no_match,
        "items_failed": record.items_failed,
        "items_cancelled": record.items_cancelled,
        "timestamp": record.finished_at.isoformat().replace("+00:00", "Z") if record.finished_at else None,
    }


def signature(body: bytes, secret: str) -> str:
    """The value of the signature header, for senders and receivers."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def send(url: str, message: dict[str, object], policy: WebhookPolicy) -> int:
    """Deliver one message.

    Returns:
        The status code of the answer, 200 to 299.

    Raises:
        UsageError: the URL is not allowed.
        WebhookError: every attempt failed, or the other side refused the message.
    """
    import httpx
    import stamina

    stamina.instrumentation.set_on_retry_hooks([stamina.instrumentation.LoggingOnRetryHook])  # not on stdout
    parts = urlsplit(url)
    host = check_url(url, policy)
    body = orjson.dumps(message)
    headers = {"Content-Type": "application/json", "User-Agent": "sheaf", "Host": parts.netloc.rsplit("@", 1)[-1]}
    if policy.secret:
        headers[SIGNATURE_HEADER] = signature(body, policy.secret)

    @stamina.retry(on=(httpx.TransportError, _TryAgainError), attempts=policy.attempts, timeout=None, wait_initial=0.2)
    def post() -> int:
        address = _address(host, parts.port or (443 if parts.scheme == "https" else 80), policy)
        shown = f"[{address}]" if ":" in address else address
        netloc = f"{shown}:{parts.port}" if parts.port else shown
        target = urlunsplit((parts.scheme, netloc, parts.path or "/", parts.query, ""))
        with httpx.Client(timeout=policy.timeout_s, follow_redirects=False, trust_env=False) as client:
            answer = client.post(target, content=body, headers=headers, extensions={"sni_hostname": host})
        if answer.status_code in _RETRY_STATUS:
            raise _TryAgainError(f"it answered {answer.status_code}")
        if not answer.is_success:
            raise WebhookError(f"The webhook at {host} refused the message with status {answer.status_code}.")
        return answer.status_code

    try:
        return post()
    except (httpx.TransportError, _TryAgainError) as error:
        reason = str(error) or type(error).__name__
        raise WebhookError(
            f"The webhook at {host} did not take the message in {policy.attempts} tries: {reason}."
        ) from error


class _TryAgainError(Exception):
    """The other side is there but cannot take the message now."""


def check_url(url: str, policy: WebhookPolicy) -> str:
    """The host of a URL that may be called.

    Raises:
        UsageError: another scheme, no host, or a host that is not on the allow list.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError(f"The webhook {url!r} is no http or https address.")
    if parts.username or parts.password:
        raise UsageError("The webhook must not carry a user name or password: the signature says who sends.")
    allowed = any(
        host == pattern.lower() or (pattern.startswith("*.") and host.endswith(pattern[1:].lower()))
        for pattern in policy.hosts
    )
    if not allowed:
        raise UsageError(f"The webhook host {host!r} is not allowed: add it to media.webhook_hosts.")
    return host


def _address(host: str, port: int, policy: WebhookPolicy) -> str:
    """An address of the host that may be called; all of them must be, so that chance decides nothing."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise _TryAgainError(f"its name cannot be resolved ({error.strerror})") from error
    for address in found:
        number = ipaddress.ip_address(str(address).split("%")[0])
        number = getattr(number, "ipv4_mapped", None) or number
        if not policy.private and not number.is_global:
            raise UsageError(f"The webhook host {host!r} has the private address {address}, which is not allowed.")
    return sorted(str(address) for address in found)[0]
