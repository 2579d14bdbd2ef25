"""The lines of a match that could not be used, on disk until its rejects table is written."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sheaf import tables
from sheaf.matches import schema
from sheaf.matches.staging import Rejected
from sheaf.store import Store

_AT_ONCE = 10_000
_SHOWN = 2000


class RejectedLines:
    """Collects rejected lines.

    Args:
        scratch: a folder for them.
    """

    def __init__(self, scratch: Path) -> None:
        self._path = scratch / "rejects.parquet"
        self._writer: Any = None

    def add(self, file: str | None, rejected: Sequence[Rejected], *, blocking: bool = False) -> None:
        """Keep lines of one file."""
        if not rejected:
            return
        import pyarrow.parquet as pq

        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, schema.REJECTS.schema)
        for start in range(0, len(rejected), _AT_ONCE):
            some = tables.Rejects()
            for row in rejected[start : start + _AT_ONCE]:
                raw = row.raw[:_SHOWN]
                text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
                some.add(
                    "events",
                    row.reason,
                    file=file,
                    line=row.line,
                    byte_offset=row.byte_offset,
                    raw=text or None,
                    blocking=blocking,
                )
            self._writer.write_table(tables.from_rows(schema.REJECTS, some.rows))

    def refuse(self, reason: str) -> None:
        """Note that the whole match cannot be used."""
        self.add(None, [Rejected(None, None, reason, "")], blocking=True)

    def write(self, store: Store, match: str) -> tables.TableVersion:
        """Publish the rejects table."""
        import pyarrow.parquet as pq

        if self._writer is None:
            return tables.write(store, schema.REJECTS, match, tables.from_rows(schema.REJECTS, []))
        self._writer.close()
        with pq.ParquetFile(self._path) as file:
            return tables.write(store, schema.REJECTS, match, file.iter_batches(_AT_ONCE))
