"""The state of a project as of each ingest, so that an export can be made as of an earlier time.

A snapshot is one small document that names, table by table, the digest of a kept object; tables
that did not change are kept once. It exists when its document does. Not here: image bytes, which
are kept by digest as well (`image_files`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa

from sheaf.annotations import schema
from sheaf.errors import UsageError
from sheaf.names import check_partition
from sheaf.scratch import scratch_folder
from sheaf.store import Store
from sheaf.tables import Table, TableVersion

_TIME = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True)
class ProjectTables:
    """The tables of a project as of one moment: the current ones or a snapshot.

    Attributes:
        paths: object in the store by table name.
        taken_at: when the snapshot was taken; None for the current tables.
    """

    store: Store
    paths: Mapping[str, str]
    taken_at: datetime | None = None

    def read(self, table: Table, columns: Sequence[str] | None = None) -> pa.Table:
        """One table in memory."""
        import pyarrow.parquet as pq

        with self.store.filesystem().open_input_file(self.paths[table.name]) as file, pq.ParquetFile(file) as parquet:
            return parquet.read(columns=list(columns) if columns else None)

    def batches(self, table: Table, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """One table as a stream of at most 4096 rows at a time."""
        import pyarrow.parquet as pq

        with self.store.filesystem().open_input_file(self.paths[table.name]) as file, pq.ParquetFile(file) as parquet:
            wanted = list(columns) if columns else None
            for group in range(parquet.num_row_groups):  # all at once, Arrow would read ahead without bound
                yield from parquet.iter_batches(batch_size=4096, row_groups=[group], columns=wanted, use_threads=False)


def current(store: Store, project: str) -> ProjectTables:
    """The tables of the last ingest."""
    return ProjectTables(store, {table.name: table.path(project) for table in schema.TABLES})


def keep(store: Store, project: str, versions: Iterable[TableVersion], now: datetime) -> bool:
    """Keep the tables that were just written, unless they are the same as in the newest snapshot."""
    digests = {item.table: item.sha256 for item in versions}
    content = {table.name: digests[table.name] for table in schema.TABLES}
    times = _times(store, project)
    if times and _content(store, project, times[-1]) == content:
        return False
    there = {item.path for item in store.list(_folder(project))}
    with scratch_folder(store) as folder:
        for table in schema.TABLES:
            target = _object(project, content[table.name])
            if target not in there:
                copy = folder / table.name
                store.download(table.path(project), copy)
                store.put_file(target, copy)
    store.put(_document(project, now), orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return True


def as_of(store: Store, project: str, moment: datetime) -> ProjectTables:
    """The newest snapshot not after a moment.

    Raises:
        UsageError: there is none that old.
    """
    times = _times(store, project)
    for taken_at in reversed(times):
        if taken_at <= moment:
            return _tables(store, project, taken_at)
    oldest = f"the oldest is of {times[0].isoformat()}" if times else "it has none"
    raise UsageError(f"{project} has no snapshot as old as {moment.isoformat()}: {oldest}.")


def of_job_version(store: Store, project: str, job_id: str, version: int) -> ProjectTables:
    """The newest snapshot in which a job had a version.

    Raises:
        UsageError: there is none.
    """
    seen: set[int] = set()
    for taken_at in reversed(_times(store, project)):
        tables = _tables(store, project, taken_at)
        jobs = tables.read(schema.JOBS, ["job_id", "version"]).to_pylist()
        versions = {job["version"] for job in jobs if job["job_id"] == job_id}
        if version in versions:
            return tables
        seen |= versions
    known = ", ".join(map(str, sorted(seen))) or "none"
    raise UsageError(f"{project} has no snapshot of job {job_id} at version {version}: there are {known}.")


def _tables(store: Store, project: str, taken_at: datetime) -> ProjectTables:
    content = _content(store, project, taken_at)
    return ProjectTables(store, {name: _object(project, digest) for name, digest in content.items()}, taken_at)


def _times(store: Store, project: str) -> list[datetime]:
    names = (item.path.rsplit("/", 1)[-1] for item in store.list(_folder(project)))
    found = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return sorted(datetime.strptime(name, _TIME).replace(tzinfo=UTC) for name in found)


def _content(store: Store, project: str, taken_at: datetime) -> dict[str, Any]:
    return orjson.loads(store.get(_document(project, taken_at)))


def _folder(project: str) -> str:
    return f"tables/{schema.DOMAIN}/snapshots/{schema.KIND}={check_partition(project)}"


def _document(project: str, taken_at: datetime) -> str:
    return f"{_folder(project)}/{taken_at.strftime(_TIME)}.json"


def _object(project: str, digest: str) -> str:
    return f"{_folder(project)}/objects/{digest}.parquet"
