"""A remote store as a file system that pyarrow reads from: each read is one request for just those bytes.

No Python error ever passes through Arrow: while one does, two of its threads may wait for each other for ever,
one with the interpreter's lock and one that needs it to say what the error is. What the store refuses is told to
`failed`, and Arrow is given an empty file, or no more bytes, which it calls damaged. Whoever reads asks `failed`
first. Not here: a local store, whose files pyarrow reads itself.
"""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa
import pyarrow.fs as pafs

from sheaf.errors import NotFoundError, SheafError

if TYPE_CHECKING:
    from sheaf.store.store import Store

_AT_ONCE = 1 << 20
"""A file no larger than that is fetched as one: a request takes longer than a megabyte."""


class StoreFiles(pafs.FileSystemHandler):
    """The objects of a store by their paths, to be read."""

    def __init__(self, store: "Store", failed: Callable[[SheafError], Any]) -> None:
        self._store = store
        self._failed = failed

    def get_type_name(self) -> str:
        """What kind of file system it is."""
        return "sheaf"

    def normalize_path(self, path: str) -> str:
        """Paths are what they are."""
        return path

    def get_file_info(self, paths: list[str]) -> list[pafs.FileInfo]:
        """What the store knows of some objects."""
        found = []
        for path in paths:
            size = self._told(lambda path=path: self._store.size(path), None)
            kind = pafs.FileType.NotFound if size is None else pafs.FileType.File
            found.append(pafs.FileInfo(path, kind, size=-1 if size is None else size))
        return found

    def open_input_file(self, path: str) -> pa.NativeFile:
        """An object, to be read from wherever one likes."""
        size: int = self._told(lambda: _size(self._store, path), 0)
        if size <= _AT_ONCE:
            return pa.BufferReader(self._told(lambda: self._store.get(path), b"") if size else b"")
        return pa.PythonFile(
            _Parts(lambda start, length: self._told(lambda: self._store.part(path, start, length), b""), size)
        )

    open_input_stream = open_input_file

    def _told(self, ask: Callable[[], Any], instead: Any) -> Any:
        try:
            return ask()
        except SheafError as error:
            self._failed(error)
            return instead

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise NotImplementedError("what is written to a store is written by the store")

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = _refuse
    delete_file = move = copy_file = open_output_stream = open_append_stream = _refuse


def _size(store: "Store", path: str) -> int:
    size = store.size(path)
    if size is None:
        raise NotFoundError(f"{store.url}/{path} does not exist.")
    return size


class _Parts(io.RawIOBase):
    """A file of which parts are fetched as they are read."""

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch, self._size, self._at = fetch, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(self._size - self._at, 0)
        length = left if size is None or size < 0 else min(size, left)
        data = self._fetch(self._at, length) if length else b""
        self._at += len(data)
        return data
