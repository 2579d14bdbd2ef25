"""Addresses and secrets of live systems: addresses stand in the configuration, secrets only in the environment."""

import os
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from sheaf.errors import SourceError


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("write a whole address such as http://host:8000/api")
    if parts.username or parts.password:
        raise ValueError("a login does not belong into an address: name environment variables instead")
    return url.rstrip("/")


Url = Annotated[str, AfterValidator(_without_login)]
"""A web address without a login."""

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
    return value
