"""Parquet that others wrote, a few rows at a time: a small file may stand for more than any memory holds.

It is read in a child process (`parquet_child`), which looks at what a file declares before anything is unpacked.
Here: Parquet to batches of Arrow. Not here: what the columns mean.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa

from sheaf.errors import InputError
from sheaf.outside import child

ROWS = 8192
_MODULE = f"{__package__}.parquet_child"


class DeliveredParquet:
    """A Parquet file.

    Attributes:
        schema: its columns, as `batches` gives them; columns of maps are left out.
    """

    def __init__(self, path: Path) -> None:
        """Look at a file and compare what it declares with its size.

        Raises:
            InputError: it is no Parquet, or declares more than such a file can hold.
        """
        self._path = path
        (schema,) = self._answers({})
        self.schema = pa.ipc.read_schema(pa.py_buffer(schema))

    def batches(self, columns: Sequence[str] | None = None, rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """The rows of some columns, in batches of at most so many.

        Raises:
            InputError: the file is damaged, or holds more than its size allows.
        """
        wanted = [name for name in self.schema.names if columns is None or name in columns]
        schema = pa.schema([self.schema.field(name) for name in wanted])
        with closing(self._answers({"columns": wanted, "rows": rows})) as pieces:
            if not pa.ipc.read_schema(pa.py_buffer(next(pieces))).equals(self.schema):
                raise InputError(f"{self._path} changed while it was read: run again when it is whole.")
            for piece in pieces:
                yield pa.ipc.read_record_batch(pa.py_buffer(piece), schema)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows as Python values.

        Raises:
            InputError: as for `batches`; also for values that Python does not have, such as times.
        """
        for batch in self.batches():
            try:
                rows = batch.to_pylist()
            except Exception as error:  # whatever Python's types cannot hold
                raise InputError(f"{self._path} holds values that cannot be read: write it again. ({error})") from error
            yield from rows

    def _answers(self, asked: dict[str, Any]) -> Generator[bytearray, None, None]:
        try:
            yield from child.answers(_MODULE, {"path": str(self._path), **asked})
        except child.ChildError as error:
            raise InputError(f"{self._path} {error}: write it again.") from error
