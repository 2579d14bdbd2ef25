"""The object store: a local directory by default, S3 or any other store obstore knows by URL.

Here: atomic write, conditional create, streaming read and write, list, delete, and a pyarrow
filesystem for datasets. Not here: what is stored where (`names`, `tables`, `exports`).
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, from_url

from sheaf.errors import NotFoundError, StoreError

if TYPE_CHECKING:
    import pyarrow.fs
    from obstore.store import ClientConfig, RetryConfig

CHUNK = 8 * 1024 * 1024
_RETRIES: "RetryConfig" = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}


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

    def __init__(self, backend: Any, url: str, root: Path | None) -> None:
        self._backend = backend
        self.url = url
        self.root = root

    @classmethod
    def open(cls, url: str) -> "Store":
        """Open the store at `url`: a directory (created when missing), `file://` or `s3://bucket/prefix`.

        S3 credentials come from the standard AWS variables (`AWS_ACCESS_KEY_ID`,
        `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`).

        Raises:
            StoreError: the URL cannot be opened.
        """
        parts = urlsplit(url)
        if parts.scheme in ("", "file"):
            root = Path(unquote(parts.path) if parts.scheme else url).absolute()
            with _clear_errors(url):
                root.mkdir(parents=True, exist_ok=True)
                return cls(LocalStore(root), str(root), root)
        options: ClientConfig = {"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=300)}
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        if endpoint.startswith("http://"):
            options["allow_http"] = True
        with _clear_errors(url):
            return cls(from_url(url, client_options=options, retry_config=_RETRIES), url, None)

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def get(self, path: str) -> bytes:
        """The whole object.

        Raises:
            NotFoundError: there is no such object.
        """
        with _clear_errors(self.url, path):
            return bytes(obstore.get(self._backend, path).bytes())

    def put(self, path: str, data: bytes) -> None:
        """Write the object in one step, replacing what was there: readers see the old or the new."""
        with _clear_errors(self.url, path):
            obstore.put(self._backend, path, data)

    def create(self, path: str, data: bytes) -> bool:
        """Write the object only if there is none; False when there is one already.

        Atomic on local disk, AWS S3, MinIO, GCS and Azure: of two writers exactly one gets True.
        """
        with _clear_errors(self.url, path):
            try:
                obstore.put(self._backend, path, data, mode="create")
            except AlreadyExistsError:
                return False
            return True

    def put_file(self, path: str, source: Path) -> None:
        """Move a finished local file into the store in one step; memory stays bounded.

        On a local store of the same file system this is a rename, elsewhere a (multipart) upload.
        """
        with _clear_errors(self.url, path):
            if self.root is not None and _rename(source, self.root / path):
                return
            obstore.put(self._backend, path, source, chunk_size=CHUNK)
            source.unlink()

    def stream(self, path: str) -> Iterator[bytes]:
        """The object in chunks of a few megabytes.

        Raises:
            NotFoundError: there is no such object.
        """
        with _clear_errors(self.url, path):
            for chunk in obstore.get(self._backend, path).stream(min_chunk_size=CHUNK):
                yield memoryview(chunk)  # type: ignore[misc]  # a buffer serves as bytes, without a copy

    def sha256(self, path: str) -> str:
        """Hex digest of the object's bytes, read from the store."""
        digest = hashlib.sha256()
        for chunk in self.stream(path):
            digest.update(chunk)
        return digest.hexdigest()

    def download(self, path: str, target: Path) -> None:
        """Copy the object to a local file, which appears only when it is whole."""
        partial = target.with_name(target.name + ".part")
        try:
            with partial.open("wb") as file:
                for chunk in self.stream(path):
                    file.write(chunk)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def size(self, path: str) -> int | None:
        """Size of the object in bytes; None when there is none."""
        with _clear_errors(self.url, path):
            try:
                return obstore.head(self._backend, path)["size"]
            except FileNotFoundError:
                return None

    def list(self, prefix: str) -> Iterator[Stored]:
        """All objects below a folder, in no particular order."""
        with _clear_errors(self.url, prefix):
            for page in obstore.list(self._backend, prefix):
                for meta in page:
                    yield Stored(meta["path"], meta["size"], meta["last_modified"])

    def folders(self, prefix: str) -> "list[str]":
        """Names of the folders directly below a folder, sorted."""
        with _clear_errors(self.url, prefix):
            found = obstore.list_with_delimiter(self._backend, prefix)["common_prefixes"]
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def delete(self, paths: Iterable[str]) -> None:
        """Delete objects; one that is gone already is no error."""
        for path in paths:
            with _clear_errors(self.url, path):
                try:
                    obstore.delete(self._backend, path)
                except FileNotFoundError:
                    continue
            if self.root is not None:
                _drop_empty_folders(self.root, (self.root / path).parent)

    def filesystem(self) -> "pyarrow.fs.FileSystem":
        """This store as a pyarrow filesystem, for Parquet datasets."""
        import pyarrow.fs as pafs

        if self.root is not None:
            return pafs.SubTreeFileSystem(str(self.root), pafs.LocalFileSystem())
        from obstore.fsspec import FsspecStore

        parts = urlsplit(self.url)
        protocol: Any = parts.scheme  # one that `open` accepted
        inner = FsspecStore(
            protocol, client_options=self._backend.client_options, retry_config=self._backend.retry_config
        )
        base = f"{parts.netloc}{parts.path}".rstrip("/")
        return pafs.SubTreeFileSystem(base, pafs.PyFileSystem(pafs.FSSpecHandler(inner)))


def _rename(source: Path, target: Path) -> bool:
    """Rename across folders of one file system; False when they are on different ones."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.stat().st_dev != target.parent.stat().st_dev:
        return False
    source.replace(target)
    return True


def _drop_empty_folders(root: Path, folder: Path) -> None:
    """Object stores have no folders; a local one should not keep empty ones either."""
    while folder != root and root in folder.parents:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


@contextmanager
def _clear_errors(url: str, path: str = "") -> Iterator[None]:
    """Turn what the libraries raise into one sentence that names the store and says what to do."""
    where = f"{url.rstrip('/')}/{path}" if path else url
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(f"{where} does not exist.") from error
    except (PermissionDeniedError, UnauthenticatedError, PermissionError) as error:
        raise StoreError(f"The store refuses access to {where}: check the credentials and their rights.") from error
    except OSError as error:
        raise StoreError(f"The store failed at {where}: {error.strerror or error}.") from error
    except obstore.exceptions.BaseError as error:
        raise StoreError(_explain(where, str(error))) from error


def _explain(where: str, detail: str) -> str:
    lowered = detail.lower()
    if "no space left" in lowered or "os error 28" in lowered:
        return f"The disk of {where} is full: free some space and run again."
    if any(word in lowered for word in ("signaturedoesnotmatch", "invalidaccesskeyid", "403 forbidden", "401 unauth")):
        return f"The store refuses access to {where}: check the credentials and their rights."
    if "nosuchbucket" in lowered:
        return f"The bucket of {where} does not exist: create it or correct SHEAF_STORE_URL."
    if "error sending request" in lowered or "connect" in lowered:
        return f"The store cannot be reached at {where}: check SHEAF_STORE_URL, AWS_ENDPOINT_URL and the network."
    first = next((line.strip() for line in detail.splitlines() if line.strip()), "unknown error")
    return f"The store failed at {where}: {first}."


def remove_tree(folder: Path) -> None:
    """Delete a local scratch folder; what is gone already is no error."""
    shutil.rmtree(folder, ignore_errors=True)
