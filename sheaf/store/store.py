"""The object store: a local directory by default, S3 or any other store obstore knows by URL.

Here: atomic write, conditional create and replace, streaming read and write, list, delete, and a
pyarrow filesystem for datasets. Not here: what is stored where (`names`, `tables`, `exports`).

What is written to a local store is whole in its `.scratch` folder first and then moved, so that
a killed process leaves nothing beside finished objects. A write that has returned is on disk: the bytes
are there before the name is, and the name before the caller goes on, so that what is written later
never outlives what it speaks of when the power fails. Only what says itself that it need not last is not.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError
from obstore.store import LocalStore, from_url

from sheaf.errors import SheafError, StoreError
from sheaf.outside.addresses import check_no_login, shown_url
from sheaf.store.errors import clear_errors

if TYPE_CHECKING:
    import pyarrow.fs
    from obstore.store import ClientConfig, RetryConfig

CHUNK = 8 * 1024 * 1024
"""Bytes in one part of a streamed read or write."""

_PARTS_AT_ONCE = 4
_MOST_PARTS = 9000
"""S3 takes at most 10 000 parts of one object; larger parts make room for larger files."""

_LOCK_PATIENCE_S = 5.0
"""A lock is held for a millisecond; one that is not free by now belongs to a suspended process."""

# A total time would cut off large files, so there is only one for each answer.
_CLIENT: "ClientConfig" = {
    "connect_timeout": timedelta(seconds=3),
    "read_timeout": timedelta(seconds=60),
    "timeout": timedelta(days=1),
}
_RETRIES: "RetryConfig" = {"max_retries": 6, "retry_timeout": timedelta(seconds=60)}

# For the first request of a store, which tells whether it is there at all.
_IMPATIENT_CLIENT: "ClientConfig" = {**_CLIENT, "read_timeout": timedelta(seconds=10)}
_IMPATIENT_RETRIES: "RetryConfig" = {"max_retries": 1, "retry_timeout": timedelta(seconds=5)}


@dataclass(frozen=True)
class Stored:
    """One object as a listing shows it; `size` in bytes."""

    path: str
    size: int
    modified: datetime


class Store:
    """One object store, addressed by paths relative to its URL.

    Example:
        >>> store = Store.open("/tmp/sheaf-store")
        >>> store.put("activity/hello.txt", b"hello")
        >>> store.get("activity/hello.txt")
        b'hello'
    """

    def __init__(self, backend: Any, url: str, root: Path | None = None, impatient: Any = None) -> None:
        self._backend = backend
        self._impatient = impatient
        self.url = url
        self.root = root
        # Files on their way in: below a local store, so that moving them in is a rename.
        self.scratch = root / ".scratch" if root else Path(tempfile.gettempdir()) / f"sheaf-scratch-{os.getuid()}"

    @classmethod
    def open(cls, url: str) -> "Store":
        """Open the store at `url`: a directory (created when missing), `file://` or `s3://bucket/prefix`.

        S3 credentials come from the standard AWS variables (`AWS_ACCESS_KEY_ID`,
        `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`).

        Raises:
            StoreError: the URL cannot be opened, or holds a login; the store does not answer, or refuses
                the credentials.
        """
        parts = urlsplit(url)
        if parts.scheme in ("", "file"):
            root = Path(unquote(parts.path) if parts.scheme else url).absolute()
            with clear_errors(str(root)):
                if not root.is_dir():
                    for folder in _make_folders(root):
                        sync(folder)
                return cls(LocalStore(root), str(root), root)
        try:
            check_no_login(url)
        except ValueError as error:
            raise StoreError(f"{shown_url(url)} cannot be the store: {error}.") from None
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        plain: ClientConfig = {"allow_http": True} if endpoint.startswith("http://") else {}
        with clear_errors(url):
            backend = from_url(url, client_options={**_CLIENT, **plain}, retry_config=_RETRIES)
            impatient = from_url(url, client_options={**_IMPATIENT_CLIENT, **plain}, retry_config=_IMPATIENT_RETRIES)
            obstore.list_with_delimiter(impatient)
            return cls(backend, url, impatient=impatient)

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def get(self, path: str) -> bytes:
        """The whole object.

        Raises:
            NotFoundError: there is no such object.
        """
        with clear_errors(self.url, path):
            return bytes(obstore.get(self._backend, path).bytes())

    def put(self, path: str, data: bytes, *, durable: bool = True) -> None:
        """Write the object in one step, replacing what was there: readers see the old or the new.

        Args:
            durable: False for what only helps those who work at the moment, such as a lease: it is not
                brought to disk, and may be empty when the power comes back.
        """
        with clear_errors(self.url, path):
            if self.root is None:
                obstore.put(self._backend, path, data)
                return
            with self._staged(data, durable=durable) as staged:
                _move_in(staged, self.root / path, staged.replace, durable=durable)

    def create(self, path: str, data: bytes, *, durable: bool = True) -> bool:
        """Write the object only if there is none; False when there is one already.

        Atomic on local disk, AWS S3, MinIO, GCS and Azure: of two writers exactly one gets True.

        Args:
            durable: as for `put`.
        """
        with clear_errors(self.url, path):
            try:
                if self.root is None:
                    obstore.put(self._backend, path, data, mode="create")
                else:
                    with self._staged(data, durable=durable) as staged:
                        _move_in(staged, self.root / path, lambda new: new.hardlink_to(staged), durable=durable)
            except (AlreadyExistsError, FileExistsError):
                return False
            return True

    def swap(self, path: str, expected: bytes | None, data: bytes, *, durable: bool = True) -> bool:
        """Write the object only if it still holds `expected`, None meaning that there is none; False when it doesn't.

        Atomic where `create` is. A store that knows no conditional replace (OpenStack Swift)
        compares first and writes then.

        Args:
            durable: as for `put`.
        """
        if expected is None:
            return self.create(path, data, durable=durable)
        with clear_errors(self.url, path):
            try:
                if self.root is None:
                    return self._swap_remote(path, expected, data)
                return self._swap_local(self.root / path, expected, data, durable=durable)
            except (FileNotFoundError, PreconditionError):
                return False

    def _swap_local(self, target: Path, expected: bytes, data: bytes, *, durable: bool) -> bool:
        with self._staged(data, durable=durable) as staged:
            with self._locked():  # no longer than for this: to wait for a disk may take long
                if target.read_bytes() != expected:
                    return False
                named = _rename(staged, target, staged.replace)
            _sync_names(named, durable=durable)
        return True

    def _swap_remote(self, path: str, expected: bytes, data: bytes) -> bool:
        found = obstore.get(self._impatient, path)
        if bytes(found.bytes()) != expected:
            return False
        try:
            obstore.put(self._impatient, path, data, mode={"e_tag": found.meta["e_tag"] or ""})
        except obstore.exceptions.BaseError as error:
            if "501 Not Implemented" not in str(error):
                raise
            obstore.put(self._backend, path, data)
        return True

    def put_file(self, path: str, source: Path) -> bool:
        """Move a finished local file into the store in one step; memory stays bounded.

        Returns:
            Whether the bytes were copied (an upload, in parts when large). On a local store of
            the same file system the file itself is moved.
        """
        with clear_errors(self.url, path):
            if self.root is not None:
                return self._move_file(path, source)
            chunk = max(CHUNK, source.stat().st_size // _MOST_PARTS)
            obstore.put(self._backend, path, source, chunk_size=chunk, max_concurrency=_PARTS_AT_ONCE)
            source.unlink()
            return True

    def prepare_file(self, source: Path) -> None:
        """Bring a file that a local store is going to get to disk, so that `put_file` need not wait for it."""
        if self.root is not None:
            sync(source)

    def put_files(self, files: Mapping[str, Path]) -> None:
        """Move finished local files into the store as `put_file` does, some at once: they share a wait for the disk."""
        with ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:
            for _ in pool.map(self.put_file, files.keys(), files.values()):
                pass

    def move(self, path: str, target: str) -> None:
        """Give an object another name, where none should be.

        Raises:
            NotFoundError: there is no such object.
        """
        with clear_errors(self.url, path):
            if self.root is None:
                obstore.rename(self._backend, path, target)
                return
            source = self.root / path
            _move_in(source, self.root / target, source.replace)
            _drop_empty_folders(self.root, source.parent)

    def stream(self, path: str) -> Iterator[bytes]:
        """The object in chunks of a few megabytes.

        Raises:
            NotFoundError: there is no such object.
        """
        with clear_errors(self.url, path):
            for chunk in obstore.get(self._backend, path).stream(min_chunk_size=CHUNK):
                yield memoryview(chunk)  # type: ignore[misc]  # a buffer serves as bytes, without a copy

    def sha256(self, path: str) -> str:
        """Hex digest of the object's bytes, read from the store."""
        digest = hashlib.sha256()
        for chunk in self.stream(path):
            digest.update(chunk)
        return digest.hexdigest()

    def download(self, path: str, target: Path) -> None:
        """Copy the object to a local file, which appears only when it is whole.

        Raises:
            NotFoundError: there is no such object.
            StoreError: the file cannot be written.
        """
        partial = target.with_name(target.name + ".part")
        try:
            with partial.open("wb") as file:
                for chunk in self.stream(path):
                    file.write(chunk)
            sync(partial)
            partial.replace(target)
        except OSError as error:
            raise StoreError(f"Cannot write {target}: {error.strerror or error}.") from error
        finally:
            partial.unlink(missing_ok=True)

    def size(self, path: str) -> int | None:
        """Size of the object in bytes; None when there is none."""
        with clear_errors(self.url, path):
            try:
                return obstore.head(self._backend, path)["size"]
            except FileNotFoundError:
                return None
            except obstore.exceptions.BaseError as error:
                if "400 Bad Request" in str(error):  # an answer to HEAD cannot say why; one to GET does
                    obstore.get(self._backend, path)
                raise

    def list(self, prefix: str, after: str | None = None) -> Iterator[Stored]:
        """All objects below a folder, in no particular order.

        Args:
            after: only those whose path sorts behind this one; what is before costs nothing on S3.
        """
        with clear_errors(self.url, prefix):
            for page in obstore.list(self._backend, prefix, offset=after):
                for meta in page:
                    yield Stored(meta["path"], meta["size"], meta["last_modified"])

    def folders(self, prefix: str) -> "list[str]":
        """Names of the folders directly below a folder, sorted."""
        with clear_errors(self.url, prefix):
            found = obstore.list_with_delimiter(self._backend, prefix)["common_prefixes"]
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def names(self, prefix: str) -> "list[str]":
        """Names of the objects directly below a folder, sorted."""
        with clear_errors(self.url, prefix):
            found = obstore.list_with_delimiter(self._backend, prefix)["objects"]
        return sorted(meta["path"].rsplit("/", 1)[-1] for meta in found)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects in this order; one that is gone already is no error."""
        left = set[Path]()
        for path in paths:
            with clear_errors(self.url, path):
                try:
                    obstore.delete(self._backend, path)
                except FileNotFoundError:
                    continue
            if self.root is not None:
                left.add(_drop_empty_folders(self.root, (self.root / path).parent))
        for folder in left:
            with clear_errors(self.url), suppress(FileNotFoundError):  # deleted as empty since
                sync(folder)

    def part(self, path: str, start: int, length: int) -> bytes:
        """Some bytes of an object; raises `NotFoundError` where there is none."""
        with clear_errors(self.url, path):
            return bytes(obstore.get_range(self._backend, path, start=start, length=length))

    def filesystem(self, failed: Callable[[SheafError], Any]) -> "pyarrow.fs.FileSystem":
        """This store as a pyarrow filesystem to read from.

        Args:
            failed: told what the store refuses; Arrow itself then finds the file too short.
        """
        import pyarrow.fs as pafs

        if self.root is not None:
            return pafs.SubTreeFileSystem(str(self.root), pafs.LocalFileSystem())
        from sheaf.store.file_system import StoreFiles

        return pafs.PyFileSystem(StoreFiles(self, failed))

    def _move_file(self, path: str, source: Path) -> bool:
        """Rename a file into a local store, or copy it where it lies on another file system; returns whether it was."""
        assert self.root is not None
        sync(source)
        try:
            _move_in(source, self.root / path, source.replace)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
        else:
            return False
        copy = self.scratch / scratch_name()
        self.scratch.mkdir(exist_ok=True)
        try:
            shutil.copyfile(source, copy)
            sync(copy)
            _move_in(copy, self.root / path, copy.replace)
        finally:
            copy.unlink(missing_ok=True)
        source.unlink()
        return True

    @contextmanager
    def _staged(self, data: bytes, *, durable: bool) -> Iterator[Path]:
        """The data as a file beside the store's objects, gone afterwards unless it was moved in."""
        staged = self.scratch / scratch_name()
        try:
            self.scratch.mkdir(exist_ok=True)
            staged.write_bytes(data)
            if durable:
                sync(staged)
            yield staged
        finally:
            staged.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time, as long as none is suspended inside; the system frees the lock of a dead one."""
        self.scratch.mkdir(exist_ok=True)
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        with (self.scratch / "lock").open("w") as lock:
            while time.monotonic() < deadline:
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                time.sleep(0.002)
            yield


def scratch_name() -> str:
    """A name below `Store.scratch` that tells which process of which host it belongs to."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:12]}"


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to disk.

    Some file systems (of networks, of virtual machines) know no such thing for folders.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _move_in(source: Path, target: Path, move: Callable[[Path], Any], *, durable: bool = True) -> None:
    """Move a file to its place; then its name is on disk."""
    _sync_names(_rename(source, target, move), durable=durable)


def _sync_names(folders: Sequence[Path], *, durable: bool) -> None:
    """Bring the new names that `_rename` made to disk; those of new folders always, for what will come into them."""
    for folder in folders if durable else folders[1:]:
        with suppress(FileNotFoundError):  # deleted again meanwhile
            sync(folder)


def _rename(source: Path, target: Path, move: Callable[[Path], Any]) -> list[Path]:
    """Move a file to a folder that may be missing, or be swept as empty while we look at it.

    Returns:
        The folders that got a new name in them, that of the file first.
    """
    while True:
        try:
            above = _make_folders(target.parent)
            move(target)
        except FileNotFoundError:
            if not source.exists():
                raise
        else:
            return [target.parent, *above]


def _make_folders(folder: Path) -> list[Path]:
    """Make a folder with those above it; returns the folders that got a new name in them."""
    missing = [folder]
    while not missing[-1].exists():
        missing.append(missing[-1].parent)
    folder.mkdir(parents=True, exist_ok=True)
    return missing[1:]


def _drop_empty_folders(root: Path, folder: Path) -> Path:
    """Object stores have no folders; a local one should not keep empty ones either. Returns the folder that is left."""
    while folder != root and root in folder.parents:
        try:
            folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            break
        folder = folder.parent
    return folder


def remove_tree(folder: Path) -> None:
    """Delete a local scratch folder; what is gone already is no error."""
    shutil.rmtree(folder, ignore_errors=True)
