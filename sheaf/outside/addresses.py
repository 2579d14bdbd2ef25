"""Addresses and secrets of live systems: addresses stand in the configuration, secrets only in the environment."""

import os
import re
from typing import Annotated
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from pydantic import AfterValidator, Field

from sheaf.errors import SourceError


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write a whole address such as http://host:8000/api")
    check_no_login(url)
    return url.rstrip("/")


def check_no_login(url: str) -> None:
    """Make sure that a configured address says only where something is; it is shown and kept.

    Raises:
        ValueError: it holds a login, a query or a fragment.
    """
    parts = urlsplit(url) if "://" in url else None
    if parts and ("@" in parts.netloc or parts.query or parts.fragment):
        raise ValueError("a login or signature does not belong into an address: name environment variables instead")


def without_secrets(url: str) -> str:
    """An address that may be stored, as it is.

    Raises:
        ValueError: it holds a login, or a query with what seems to be a key or signature.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc or any(
        _SECRET.search(name) or len(value) >= _LONG for name, value in parse_qsl(parts.query)
    ):
        raise ValueError("a login, key or signature does not belong into an address, which is stored and shown")
    return url


_SECRET = re.compile(r"sig|token|key|secret|pass|auth|cred|code", re.IGNORECASE)
_LONG = 16
"""Characters from which a value may be a secret under whatever name."""


def shown_url(url: str) -> str:
    """An address as it may be shown: without login, query and fragment; a path on this machine is shown as it is."""
    if "://" not in url:
        return url
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://…"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def hidden(text: str, *secrets: str) -> str:
    """A text of somebody else as it may be shown: without secrets that it repeats."""
    for secret_ in sorted(
        {form for one in secrets if one for form in (one, quote(one, safe=""))}, key=len, reverse=True
    ):
        text = text.replace(secret_, "***")
    return text


Url = Annotated[str, AfterValidator(_without_login)]
"""A web address without a login."""

MailAddress = Annotated[str, Field(pattern=r"^[!-~]+@[A-Za-z0-9.-]+$")]
"""Where a letter goes to: nothing but an address of ASCII."""

Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable."""


def secret(variable: str, what: str) -> str:
    """The value of an environment variable.

    Args:
        variable: its name.
        what: what it should hold, such as "password of the ELN".

    Raises:
        SourceError: it is not set.
    """
    value = os.environ.get(variable)
    if not value:
        raise SourceError(f"Set the environment variable {variable} to the {what}.")
    if not value.isprintable():
        raise SourceError(f"The environment variable {variable} holds a line break or the like: correct the {what}.")
    return value
