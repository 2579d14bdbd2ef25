"""Telling another system something, once it is known: of a media batch, or of an export.

One POST of JSON, signed; tried again while the other side is unreachable or overloaded. Only hosts on
the allow list are called, and none whose address is private unless the site allows that. The address that
was checked is the one that is called, so a name that changes its address in between leads nowhere else.
What a webhook's address holds beside the host is never shown.
"""

import base64
import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit, urlunsplit

import orjson

from sheaf import clock
from sheaf.errors import SheafError, SourceError, UsageError
from sheaf.outside.http import Limits, PassingError, Service, patiently

SIGNATURE_HEADER = "X-Sheaf-Signature-256"
"""Carries `sha256=` and the hex HMAC-SHA256 of the body under the shared secret, beside what Standard Webhooks says."""

SECRET_PREFIX = "whsec_"  # noqa: S105  # what Standard Webhooks writes before a secret in base64

_TOTAL_S = 120.0
_MOST_BYTES = 1 << 20


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


def signature(body: bytes, secret: str) -> str:
    """The value of the signature header, for senders and receivers."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def standard_headers(body: bytes, secret: str | None, at: datetime) -> dict[str, str]:
    """What Standard Webhooks 1.0 says of a message: an id, the same in every try, the time, and the signature.

    Args:
        secret: `whsec_` and the key in base64; any other text is the key itself.
        at: when this try is made.

    Raises:
        UsageError: what follows `whsec_` is no base64.
    """
    identifier = f"msg_{hashlib.sha256(body).hexdigest()[:32]}"
    headers = {"webhook-id": identifier, "webhook-timestamp": str(int(at.timestamp()))}
    if not secret:
        return headers
    from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

    try:
        if secret.startswith(SECRET_PREFIX):
            key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        else:
            key = secret.encode()
        said = Webhook(key).sign(identifier, at, body.decode())
    except (ValueError, EmptyWebhookSecretError):
        raise UsageError(f"The secret of webhooks has no base64 behind {SECRET_PREFIX}: make it again.") from None
    return headers | {"webhook-signature": said}


def send(url: str, message: dict[str, object], policy: WebhookPolicy) -> int:
    """Deliver one message.

    Returns:
        The status code of the answer, 200 to 299.

    Raises:
        UsageError: the URL is not allowed.
        WebhookError: every attempt failed, or the other side refused the message.
    """
    parts = urlsplit(url)
    host = check_url(url, policy)
    body = orjson.dumps(message)
    headers = {"Content-Type": "application/json", "User-Agent": "sheaf", "Host": parts.netloc.rpartition("@")[2]}
    if policy.secret:
        headers[SIGNATURE_HEADER] = signature(body, policy.secret)
    limits = Limits(read_s=policy.timeout_s, total_s=_TOTAL_S, most_bytes=_MOST_BYTES, attempts=policy.attempts)

    def post() -> int:
        address = _address(host, parts.port or (443 if parts.scheme == "https" else 80), policy)
        shown = f"[{address}]" if ":" in address else address
        netloc = f"{shown}:{parts.port}" if parts.port else shown
        target = urlunsplit((parts.scheme, netloc, parts.path or "/", parts.query, ""))
        signed = headers | standard_headers(body, policy.secret, clock.now())
        how = {"content": body, "headers": signed, "extensions": {"sni_hostname": host}}
        with (
            closing(Service(target, limits=limits, shown="it", follow_redirects=False, trust_env=False)) as service,
            service.stream("POST", target, **how) as answer,
        ):
            status = answer.status
        if not 200 <= status < 300:
            raise WebhookError(f"The webhook at {host} refused the message with status {status}.")
        return status

    try:
        return patiently(post, limits)
    except SourceError as error:
        reason = str(error).rstrip(".")
        raise WebhookError(
            f"The webhook at {host} did not take the message in {policy.attempts} tries: {reason}."
        ) from None


def check_url(url: str, policy: WebhookPolicy) -> str:
    """The host of a URL that may be called.

    Raises:
        UsageError: another scheme, no host, or a host that is not on the allow list.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("http", "https") or not host:
        raise UsageError("The webhook is no http or https address.")
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
        raise PassingError(f"its name cannot be resolved ({error.strerror})") from None
    for address in found:
        kind = _kind(str(address))
        if kind and not (policy.private and kind == _PRIVATE):
            raise UsageError(f"The webhook host {host!r} has the private address {address} ({kind}).")
    return sorted(str(address) for address in found)[0]


_PRIVATE = "private, webhook_private would allow it"
_TRANSLATED = {
    ipaddress.ip_network("64:ff9b::/96"): "NAT64",
    ipaddress.ip_network("64:ff9b:1::/48"): "NAT64",
    ipaddress.ip_network("2002::/16"): "6to4",
    ipaddress.ip_network("2001::/32"): "Teredo",
    ipaddress.ip_network("::ffff:0:0/96"): "IPv4-mapped",
}
"""Ranges behind which an IPv4 address is reached, which may be a private one."""


def _kind(address: str) -> str:
    """Why an address is not one of the public network; empty for one that is."""
    number = ipaddress.ip_address(address.partition("%")[0])
    if number.is_multicast:
        return "multicast"
    if number.is_unspecified:
        return "unspecified"
    for network, kind in _TRANSLATED.items():
        if number in network:
            return kind
    once_private = number.version == 6 and number.is_site_local
    return "" if number.is_global and not number.is_reserved and not once_private else _PRIVATE
