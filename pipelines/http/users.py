"""Names, roles and passwords of those who may use the API, and the tokens that they get.

They stand in `SHEAF_HOME/users.json`, readable by its owner only, passwords as argon2 hashes. A token is signed
and carries its end; it dies with the name, or when the password changes. Not here: who may do what (`access`).
"""

import base64
import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path

import orjson
from pydantic import BaseModel, ValidationError

from pipelines.http.roles import Role
from sheaf.errors import NotFoundError, UsageError
from sheaf.names import PARTITION_KEY, did_you_mean

FILE = "users.json"
SHORTEST = 8
LONGEST = 1024


class User(BaseModel):
    """One name."""

    name: str
    role: Role
    password: str = ""


class _Kept(BaseModel):
    secret: str
    users: dict[str, User] = {}


class Users:
    """The names of one `SHEAF_HOME`; read anew whenever they are asked for, so that a change holds at once."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE

    def all(self) -> list[User]:
        """Everybody, sorted by name."""
        return [self._read().users[name] for name in sorted(self._read().users)]

    def add(self, name: str, role: Role, password: str) -> User:
        """Make a name.

        Raises:
            UsageError: there is one already, or name or password cannot be used.
        """
        if not PARTITION_KEY.fullmatch(name):
            raise UsageError(f"{name[:40]!r} is not a valid name: use letters, digits, '.', '_' or '-'.")
        kept = self._read()
        if name in kept.users:
            raise UsageError(f"There is a name {name!r} already: `sheaf users remove {name}` takes it away.")
        if not SHORTEST <= len(password) <= LONGEST:
            raise UsageError(f"The password must have {SHORTEST} to {LONGEST} characters.")
        user = User(name=name, role=role, password=_hasher().hash(password))
        self._write(kept.model_copy(update={"users": {**kept.users, name: user}}))
        return user

    def remove(self, name: str) -> None:
        """Take a name away; its tokens no longer work."""
        kept = self._read()
        if name not in kept.users:
            raise NotFoundError(f"There is no name {name!r}.{did_you_mean(name, kept.users)}")
        self._write(kept.model_copy(update={"users": {key: user for key, user in kept.users.items() if key != name}}))

    def login(self, name: str, password: str) -> User | None:
        """The user whose password it is; an unknown name takes as long as a wrong password."""
        from argon2.exceptions import Argon2Error

        user = self._read().users.get(name)
        try:
            _hasher().verify(user.password if user else _nobody(), password[: LONGEST + 1])
        except Argon2Error:
            return None
        return user

    def token(self, user: User, seconds: float) -> str:
        """A token for a user, good for some seconds."""
        said = orjson.dumps({"name": user.name, "ends": time.time() + seconds, "of": _mark(user)})
        return f"{_text(said)}.{_text(self._sign(said))}"

    def bearer(self, token: str) -> User | None:
        """Whose token it is; None for one that is forged, over, or of somebody who is gone."""
        said, _, signature = token.partition(".")
        try:
            data = _bytes(said)
            if not hmac.compare_digest(self._sign(data), _bytes(signature)):
                return None
            claims = orjson.loads(data)
        except ValueError:
            return None
        user = self._read().users.get(claims["name"])
        return user if user and claims["of"] == _mark(user) and claims["ends"] > time.time() else None

    def _sign(self, data: bytes) -> bytes:
        return hmac.digest(self._read().secret.encode(), data, "sha256")

    def _read(self) -> _Kept:
        try:
            return _Kept.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return _Kept(secret=secrets.token_hex(32))
        except (OSError, ValidationError) as error:  # fails closed: nobody gets in
            raise UsageError(
                f"{self._path} cannot be read: restore it, or remove it and make the names anew."
            ) from error

    def _write(self, kept: _Kept) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f".{FILE}.{os.getpid()}")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(kept.model_dump_json(indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)


def _hasher():
    from argon2 import PasswordHasher

    return PasswordHasher()


_NOBODY: list[str] = []


def _nobody() -> str:
    if not _NOBODY:
        _NOBODY.append(_hasher().hash(secrets.token_hex(16)))
    return _NOBODY[0]


def _mark(user: User) -> str:
    """Changes with the password."""
    return hashlib.sha256(user.password.encode()).hexdigest()[:16]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
