"""A login at the ELN's API: tokens, and what its answers mean.

A token lives 15 minutes and cannot be renewed, only replaced by a new login. Not here: what is
asked for (`eln_rest`), how (`sheaf/outside/http.py`).
"""

import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sheaf.errors import NotFoundError, SourceError
from sheaf.fermentation.source_settings import RestSettings
from sheaf.outside.addresses import hidden, secret
from sheaf.outside.http import Answer, Limits, Service

_LIMITS = Limits(attempts=3)


class Forbidden(SourceError):  # noqa: N818 (what HTTP calls it)
    """The account may not see this; asking again does not help."""


class ServerFault(SourceError):  # noqa: N818
    """The server failed by itself (500)."""


class ElnSession:
    """Keeps one token and one connection for all threads that share it."""

    def __init__(self, settings: RestSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._token: str | None = None
        self._service = Service(settings.url, limits=_LIMITS)

    def user(self) -> str:
        """The user name from the environment."""
        return secret(self._settings.user_env, "user name of the ELN")

    def json(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """One answer as JSON, numbers as `Decimal`; raises as `get` does."""
        return self._get(path, query).json(parse_float=Decimal)

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> bytes:
        """The content of one answer; logs in when there is no token, and once more when it has expired.

        Raises:
            NotFoundError: there is no such thing (404).
            Forbidden: the account may not see it (403).
            ServerFault: the server failed (500).
            SourceError: it does not answer, refuses the login, or answers with anything else.
        """
        return self._get(path, query).content

    def _get(self, path: str, query: Mapping[str, Any] | None) -> Answer:
        token = self._login(None)
        answer = self._ask("GET", path, token, params=dict(query or {}))
        if answer.status == 401:
            token = self._login(token)
            answer = self._ask("GET", path, token, params=dict(query or {}))
        where = f"{self._settings.url}/{path}"
        match answer.status:
            case 200:
                return answer
            case 401:
                raise SourceError(f"{where} refuses a token that was issued this moment (401).")
            case 403:
                raise Forbidden(f"{where} is not for the account {self.user()} (403): give it a role that may read it.")
            case 404 | 405:
                raise NotFoundError(f"{where} does not exist ({answer.status}).")
            case 500:
                raise ServerFault(f"The server failed at {where} (500).")
        raise SourceError(f"{where} answered {answer.status}: {hidden(_detail(answer), token)}")

    def _login(self, expired: str | None) -> str:
        """The token; a new one unless another thread has replaced the expired one already."""
        with self._lock:
            if self._token is None or self._token == expired:
                login = {
                    "username": self.user(),
                    "password": secret(self._settings.password_env, "password of the ELN"),
                }
                answer = self._ask("POST", "auth/login", None, json=login)
                if answer.status != 200:
                    raise SourceError(
                        f"{self._settings.url} refuses the login of {self.user()} ({answer.status}): check "
                        f"{self._settings.user_env} and {self._settings.password_env}."
                    )
                try:
                    self._token = str(answer.json()["access_token"])
                except (SourceError, KeyError, TypeError):
                    raise SourceError(f"{self._settings.url}/auth/login did not answer with a token.") from None
            return self._token

    def _ask(self, method: str, path: str, token: str | None, **how: Any) -> Answer:
        """One request; what may pass by itself (no connection, an overloaded server) is tried again."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self._service.ask(method, path, headers=headers, **how)


def _detail(answer: Answer) -> str:
    """What the server says in either of its two shapes of errors, shortened."""
    try:
        body = answer.json()
        said = body.get("message") or body.get("detail")
    except (SourceError, AttributeError):
        said = answer.content.decode(errors="replace")
    return str(said)[:200]
