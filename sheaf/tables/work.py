"""What a step gets for one partition: where it reads, where it writes, and what it may set.

Nothing of it is in the store before the step has ended and its generation is committed.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sheaf.store.store import Store
from sheaf.tables.generations import Part, TableFile
from sheaf.tables.pinned import Tables
from sheaf.tables.rejects import Rejects
from sheaf.tables.table import Table

if TYPE_CHECKING:
    from sheaf.tables.parquet import Rows


@dataclass
class Work:
    """One run of a step on one partition.

    Attributes:
        tables: what it may read, and what it has written itself.
        settings: those of the domain; what the step does not declare has its default.
        scratch: a local folder for working files.
        rejects: takes what is not used, changed or faulty.
        before: what the step made the last time, with the same code and settings: a source that only grew may be read
            from where it was left. None to do everything anew.
        files: what was written, by name of the table and sha256.
        cancelled: whether the run is to stop.
    """

    tables: Tables
    settings: Any
    scratch: Path
    rejects: Rejects
    before: Tables | None = None
    files: dict[str, dict[str, Path]] = field(default_factory=dict)
    cancelled: Callable[[], bool] = lambda: False

    @property
    def store(self) -> Store:
        """The store, for what is no table, such as the bytes of images."""
        return self.tables.store

    @property
    def partition(self) -> str:
        """The partition."""
        return self.tables.partition

    def write(self, table: Table, data: "Rows") -> TableFile:
        """Write a table; raises `pyarrow.ArrowInvalid` where the data does not fit its schema."""
        return self._written(table, (), data)

    def local(self, table: Table) -> list[Path]:
        """The files to which a table was written."""
        return list(self.files[table.name].values())

    def append(self, table: Table, data: "Rows") -> TableFile:
        """As `write`, the rows that come after those which the table had before; what is full is not written again."""
        from sheaf.tables.parquet import PART

        if self.before is None:
            raise ValueError(f"Nothing is known of what {table.name} had before.")
        had = self.before.file(table).files
        kept = tuple(part for part in had if part.rows == PART)
        return self._written(table, kept, chain(*(self.before.of_part(table, part) for part in had[len(kept) :]), data))

    def _written(self, table: Table, kept: tuple[Part, ...], data: "Rows") -> TableFile:
        from sheaf.tables.parquet import write_parquet, write_parts

        if table.only_grows:
            written = write_parts(self.scratch, table.name, table.schema, data)
        else:
            whole = self.scratch / f"{table.name}.parquet"
            written = ((path, write_parquet(path, table.schema, data)) for path in (whole,))
        local = self.files[table.name] = {}
        parts = list(kept)
        for path, rows in written:
            parts.append(describe(path, rows))
            local[parts[-1].sha256] = path
        file = together(parts)
        self.tables.add(table, file, local)
        return file


def describe(local: Path, rows: int) -> Part:
    """A written file with its size and sha256; its place in the store is decided when it is committed."""
    with local.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Part(path="", rows=rows, size=local.stat().st_size, sha256=digest)


def together(parts: Sequence[Part]) -> TableFile:
    """The table that some files are, in the order of its rows."""
    if len(parts) == 1:
        return TableFile(**parts[0].model_dump())
    digest = hashlib.sha256("\n".join(part.sha256 for part in parts).encode()).hexdigest()
    rows, size = sum(part.rows for part in parts), sum(part.size for part in parts)
    return TableFile(path="", rows=rows, size=size, sha256=digest, parts=tuple(parts))
