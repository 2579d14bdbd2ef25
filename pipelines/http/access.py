"""Who asks, and whether they may: bearer tokens, roles, the login and its limits, requests from other sites.

Without any name, whoever sits at this machine may do all: requests from loopback that no proxy passed on.
"""

import getpass
import ipaddress
import time
from collections import defaultdict
from threading import Lock
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from pipelines.http.roles import Role
from pipelines.http.service import Service
from pipelines.http.users import User

TRIES = 5
MINUTE_S = 60.0
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
_READS = ("GET", "HEAD", "OPTIONS")


def service(request: Request) -> Service:
    """What the routes work with."""
    return request.app.state.service


The = Annotated[Service, Depends(service)]
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


def caller(request: Request, the: The, bearer: Bearer) -> User:
    """Who asks.

    Raises:
        HTTPException: 401 without a token that holds.
    """
    if bearer:
        if user := the.users.bearer(bearer.credentials):
            return user
        raise _unknown("The token is not valid or has expired: log in again.")
    if not the.users.all():
        if is_local(request):
            return User(name=getpass.getuser(), role=Role.ADMIN)
        raise _unknown("Nobody can log in yet: `sheaf users add NAME --role admin` on the server makes the first name.")
    raise _unknown("Log in at /api/v1/auth/login and send the token as `Authorization: Bearer …`.")


def _unknown(why: str) -> HTTPException:
    return HTTPException(401, why, headers={"WWW-Authenticate": "Bearer"})


def is_local(request: Request) -> bool:
    """Whether the request comes from this machine itself and not through a proxy on it."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _needs(role: Role) -> Any:
    def check(user: Annotated[User, Depends(caller)]) -> User:
        if not user.role.may(role):
            raise HTTPException(403, f"{user.name} is {user.role}: this needs the role {role}.")
        return user

    return Depends(check)


Viewer = Annotated[User, _needs(Role.VIEWER)]
Researcher = Annotated[User, _needs(Role.RESEARCHER)]
Admin = Annotated[User, _needs(Role.ADMIN)]


def from_another_site(method: str, headers: dict[str, str]) -> bool:
    """Whether a page of another site makes a browser send this: it could use what only this machine may."""
    if method in _READS:
        return False
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return True
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


class Tries:
    """Failed logins in the last minute, by address and by name."""

    def __init__(self) -> None:
        self._failed: dict[str, list[float]] = defaultdict(list)
        self._lock = Lock()

    def check(self, *keys: str) -> None:
        """Refuse who failed too often.

        Raises:
            HTTPException: 429 with the seconds to wait.
        """
        now = time.monotonic()
        with self._lock:
            for key in list(self._failed):
                self._failed[key] = [at for at in self._failed[key] if now - at < MINUTE_S]
                if not self._failed[key]:
                    del self._failed[key]
            waits = [MINUTE_S - (now - self._failed[key][0]) for key in keys if len(self._failed.get(key, ())) >= TRIES]
        if waits:
            seconds = str(int(max(waits)) + 1)
            raise HTTPException(429, f"Too many failed logins: wait {seconds} s.", headers={"Retry-After": seconds})

    def failed(self, *keys: str) -> None:
        """Note a failed login."""
        with self._lock:
            for key in keys:
                self._failed[key].append(time.monotonic())
