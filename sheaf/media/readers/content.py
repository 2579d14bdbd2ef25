"""What the files hold that a batch names: hashes of their content, and where each lies.

To hash hours of film takes minutes, so each hash is kept in the store with place, size and times of its
file, and used again as long as these are the same. That only saves time: what a batch is made from is
the content, wherever it lies.
"""

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from sheaf.errors import NotFoundError, SourceError
from sheaf.media.batch_record import ROOT
from sheaf.media.errors import ChangedError, MissingFileError, UnreadableError
from sheaf.media.methods import Model
from sheaf.store.store import Store

State = tuple[int, int, int]
"""Size and times of a file: what differs when the file does, as far as that can be seen without reading it."""


class MediaFile(BaseModel):
    """One file as it was found; times in nanoseconds since 1970."""

    model_config = ConfigDict(frozen=True)

    path: Path
    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str

    @property
    def state(self) -> State:
        """How it looked."""
        return self.size, self.mtime_ns, self.ctime_ns


class Located(BaseModel):
    """The files of a batch where they were found last: media by the name in the CSV, models by theirs."""

    files: dict[str, MediaFile] = {}
    models: dict[Model, MediaFile] = {}

    def with_new(self, found: "Located") -> "Located":
        """What was found now; of what was not, where it was before."""
        return Located(files={**self.files, **found.files}, models={**self.models, **found.models})

    def by_path(self) -> dict[Path, MediaFile]:
        """All of them by place."""
        return {file.path: file for file in (*self.files.values(), *self.models.values())}


def state(path: Path) -> State:
    """How a file looks; raises `OSError`."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def identify(path: Path, known: Mapping[Path, MediaFile]) -> MediaFile:
    """A file with the hash of its content.

    Args:
        known: what was found before; a file that looks the same is not read again.

    Raises:
        MissingFileError: it is gone.
        UnreadableError: Sheaf may not read it.
        SourceError: its disk fails, or somebody writes to it.
    """
    try:
        before = state(path)
        if path in known and known[path].state == before:
            return known[path]
        sha256 = _sha256(path)
        after = state(path)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path} is gone.") from error
    except PermissionError as error:
        raise UnreadableError(f"{path} cannot be read: {error.strerror}. Allow Sheaf to read it.") from error
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    if after != before:
        raise SourceError(f"{path} is being written: run again when it is whole.")
    size, mtime_ns, ctime_ns = after
    return MediaFile(path=path, size=size, mtime_ns=mtime_ns, ctime_ns=ctime_ns, sha256=sha256)


def confirm(files: Iterable[MediaFile]) -> dict[Path, State]:
    """Make sure that files hold what they held when their batch was read.

    Returns:
        How they look, for `confirm_unchanged`; on another machine that may differ from how they looked before.

    Raises:
        ChangedError: naming the first that holds something else.
    """
    seen = {}
    for file in files:
        try:
            if file.path.resolve() != file.path:
                raise ChangedError(f"{file.path} has become a link since the batch was read.")
            seen[file.path] = state(file.path)
            if seen[file.path] != file.state and _sha256(file.path) != file.sha256:
                raise ChangedError(f"{file.path} has changed since the batch was read.")
        except (OSError, RuntimeError) as error:  # links that go in a circle are either
            reason = getattr(error, "strerror", None) or "its links go in a circle"
            raise ChangedError(
                f"{file.path} was there when the batch was read and cannot be read any more: {reason}."
            ) from error
    return seen


def confirm_unchanged(seen: Mapping[Path, State]) -> None:
    """Make sure that nobody wrote to files while they were read.

    Raises:
        ChangedError: naming the first that looks different.
    """
    for path, before in seen.items():
        try:
            same = state(path) == before
        except OSError:
            same = False
        if not same:
            raise ChangedError(f"{path} has changed while it was read.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep_located(store: Store, batch: str, located: Located) -> None:
    """Remember where the files of a batch are, and what they hold."""
    store.put(_path(batch), located.model_dump_json(indent=1).encode())


def read_located(store: Store, batch: str) -> Located:
    """What is remembered of a batch; nothing where that is damaged."""
    with suppress(NotFoundError, ValueError):
        return Located.model_validate_json(store.get(_path(batch)))
    return Located()


def _path(batch: str) -> str:
    return f"{ROOT}/{batch}/files.json"
