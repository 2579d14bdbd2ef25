"""What the libraries below the store raise, as one sentence that names the store and says what to do.

Here: only the wording. Not here: when a failure is no failure (`store`).
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError

from sheaf.errors import NotFoundError, StoreError
from sheaf.outside.addresses import shown_url

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"'<>)]+", re.IGNORECASE)

_REFUSED = (
    "signaturedoesnotmatch",
    "invalidaccesskeyid",
    "invalidtoken",
    "accessdenied",
    "403 forbidden",
    "401 unauth",
    "permission denied",
)

_EXPIRED = (
    "expiredtoken",
    "tokenrefreshrequired",
    "requestexpired",
    "token has expired",
    "token included in the request is expired",
)


@contextmanager
def clear_errors(url: str, path: str = "") -> Iterator[None]:
    """Raise what fails inside as `NotFoundError` or `StoreError`.

    What a library raised is not kept behind it: its texts repeat requests with their keys and signatures.
    """
    where = f"{shown_url(url).rstrip('/')}/{path}" if path else shown_url(url)
    try:
        yield
    except FileNotFoundError as error:
        if "nosuchbucket" in str(error).lower():
            raise StoreError(explained(where, str(error))) from None
        raise NotFoundError(f"{where} does not exist.") from None
    except (OSError, BaseError, ValueError) as error:
        raise StoreError(explained(where, _detail(error))) from None


def _detail(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return f"{error.strerror} ({errno.errorcode.get(error.errno, error.errno)})"
    return str(error)


def explained(where: str, detail: str) -> str:
    """The text of an error, whichever library wrote it, as a sentence about the store or an object in it."""
    lowered = detail.lower()
    if is_full(detail):
        return f"The disk of {where} is full: free some space and run again."
    if "read-only file system" in lowered:
        return f"{where} is on a read-only file system: make it writable or correct SHEAF_STORE_URL."
    if "169.254.169.254" in lowered:
        return f"There are no credentials for {where}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    if any(word in lowered for word in _EXPIRED):
        return f"The credentials for {where} have expired: renew them and run again."
    if "requesttimetooskewed" in lowered:
        return f"The store refuses access to {where}: this machine's clock is wrong, set it by a time server (NTP)."
    if any(word in lowered for word in _REFUSED):
        return f"The store refuses access to {where}: check the credentials and their rights."
    if "nosuchbucket" in lowered:
        return f"The bucket of {where} does not exist: create it or correct SHEAF_STORE_URL."
    if "unable to recognise url" in lowered:
        return f"{where} is not the URL of a store: write a directory or s3://bucket/prefix in SHEAF_STORE_URL."
    if "error sending request" in lowered or "connect" in lowered or "timed out" in lowered:
        return f"The store cannot be reached at {where}: check SHEAF_STORE_URL, AWS_ENDPOINT_URL and the network."
    first = next((line.strip() for line in detail.splitlines() if line.strip()), "unknown error")
    first = _ADDRESS.sub(lambda found: shown_url(found[0]), first)
    return f"The store failed at {where}: {first.rstrip('.')}."


def is_full(detail: str) -> bool:
    """Whether the text of an error, whichever library wrote it, says that a disk or quota is full.

    Also that a file may not become larger, by a limit of the file system or the process.
    """
    lowered = detail.lower()
    return any(word in lowered for word in _FULL)


_FULL = (
    *("no space left", "os error 28", "enospc"),
    *("quota exceeded", "os error 122", "edquot"),
    *("file too large", "os error 27", "efbig"),
)
