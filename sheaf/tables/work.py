"""What a step gets for one partition: where it reads, where it writes, and what it may set.

Nothing of it is in the store before the step has ended and its generation is committed.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sheaf.store.store import Store
from sheaf.tables.generations import TableFile
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
        files: what was written, by name of the table.
        cancelled: whether the run is to stop.
    """

    tables: Tables
    settings: Any
    scratch: Path
    rejects: Rejects
    files: dict[str, Path] = field(default_factory=dict)
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
        from sheaf.tables.parquet import write_parquet

        local = self.scratch / f"{table.name}.parquet"
        rows = write_parquet(local, table.schema, data)
        file = describe(local, rows)
        self.files[table.name] = local
        self.tables.add(table, file, local)
        return file


def describe(local: Path, rows: int) -> TableFile:
    """A written file with its size and sha256; its place in the store is decided when it is committed."""
    with local.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return TableFile(path="", rows=rows, size=local.stat().st_size, sha256=digest)
