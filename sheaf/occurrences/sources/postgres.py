"""Reading a project from the PostgreSQL database of Antenna into an inbox folder.

Here: one read-only snapshot of all tables, wall times, changed rows only where that is enough. Not here:
checking the rows (`ingest`). The role needs SELECT on the columns of `source_tables` and nothing else;
logits, scores and e-mail addresses are never asked for.
"""

import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sheaf import sql
from sheaf.errors import InputError, NotFoundError
from sheaf.occurrences.input_tables import SOURCES, Source
from sheaf.occurrences.readers.ingest import project_id_of
from sheaf.occurrences.settings import OccurrencesSettings
from sheaf.occurrences.sources.mirror import merge, newest_change, replacing
from sheaf.outside.postgres import snapshot

if TYPE_CHECKING:
    from psycopg2.extensions import connection as Connection  # noqa: N812 (a class, whatever its case)

_DATABASE = "occurrence database"
_BLOCK = 32 << 20  # bytes; longer than any row
_OVERLAP = "1 day"  # a transaction may commit rows with an older time than those already read
_DATED = {"id", "updated_at"}  # columns of a table of which only what changed has to be read
_TIME_ZONE = "time_zone"  # the file that says in which zone the times of a folder are


def projects(dsn: str) -> list[str]:
    """The partitions that the database offers."""
    with snapshot(dsn, _DATABASE) as connection:
        return [f"p{row[0]}" for row in _query(connection, "SELECT id FROM main_project ORDER BY id")]


def state(dsn: str, project: str) -> str:
    """A text that changes whenever `refresh` would find something else.

    Of tables that say when a row was changed, keys and times are added up; of the others, and of rows
    without a time, hashes of what is read.
    """
    id_ = project_id_of(project)
    digest = hashlib.sha256()
    with snapshot(dsn, _DATABASE) as connection:
        for source in SOURCES:
            columns = _columns(connection, source)
            if not columns:
                continue
            asked = f"count(*), sum(hashtextextended(ROW({', '.join(columns.values())})::text, 0)::numeric)"
            if columns.keys() >= _DATED:
                changed = 'sum((extract(epoch FROM t."updated_at") * 1000000)::bigint::numeric)'
                asked = f'{asked} FILTER (WHERE t."updated_at" IS NULL), sum(t."id"::numeric), {changed}'
            where = source.of_project.format(project=id_)
            found = _query(connection, f"SELECT {asked} FROM {source.name} t WHERE {where}")
            digest.update(f"{source.name}\0{found[0]}\n".encode())
    return digest.hexdigest()[:32]


def refresh(
    dsn: str, project: str, folder: Path, settings: OccurrencesSettings, *, full: bool = False
) -> dict[str, int]:
    """Make an inbox folder equal to what the database holds of a project at one moment.

    Where the folder holds an earlier state with times of the same zone, only rows changed since are read,
    and those that were deleted are dropped by comparing ids.

    Args:
        folder: replaced as a whole when everything was read, untouched otherwise.
        full: read everything, also rows that did not change.

    Returns:
        How many rows of each table were read.

    Raises:
        SourceError: the database cannot be reached or read.
        InputError: it lacks a table or column that is needed.
        NotFoundError: it has no such project.
    """
    id_, zone = project_id_of(project), settings.source_time_zone
    read = {}
    with snapshot(dsn, _DATABASE, zone) as connection, replacing(folder) as new:
        if not _query(connection, "SELECT 1 FROM main_project WHERE id = %s", [id_]):
            raise NotFoundError(f"The database has no project {id_}.")
        (new / _TIME_ZONE).write_text(zone)
        full = full or not _has_times_of(folder, zone)
        for source in SOURCES:
            columns = _columns(connection, source)
            if columns:
                rows = None if full else _refresh_table(connection, source, columns, id_, folder, new)
                read[source.name] = _copy(connection, source, columns, id_, new) if rows is None else rows
    return read


def _has_times_of(folder: Path, zone: str) -> bool:
    said = folder / _TIME_ZONE
    return said.is_file() and said.read_text() == zone


def _query(connection: "Connection", query: str, values: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()


def _columns(connection: "Connection", source: Source) -> dict[str, str]:
    """SQL of each column that the role may read; empty for a table that is not there and not needed."""
    found = dict(
        _query(
            connection,
            "SELECT column_name, data_type FROM information_schema.columns "
            "WHERE table_name = %s AND table_schema = ANY (current_schemas(false))",
            [source.name],
        )
    )
    if lacking := source.lacks(found):
        if not source.needed:
            return {}
        raise InputError(f"The occurrence database has no readable column {source.name}.{lacking}.")
    columns = {}
    for name in source.columns:
        if name in found:
            cast = {"timestamp with time zone": "::timestamp", "jsonb": "::text"}.get(found[name], "")
            columns[name] = f"t.{sql.name(name)}{cast}"
    return columns


def _refresh_table(
    connection: "Connection", source: Source, columns: dict[str, str], project: int, before: Path, new: Path
) -> int | None:
    """Read only what changed; None when the whole table has to be read."""
    import pyarrow.parquet as pq

    name = f"{source.name}.parquet"
    if not (before / name).is_file() or not columns.keys() >= _DATED:
        return None
    if pq.read_schema(before / name).names != list(columns):
        return None
    newest = newest_change(before / name)
    if newest is None:
        return None
    parts = new / "parts"
    parts.mkdir()
    since = f"t.updated_at >= {sql.literal(newest)}::timestamp - INTERVAL '{_OVERLAP}' OR t.updated_at IS NULL"
    rows = _copy(connection, source, columns, project, parts, since)
    ids = parts / "ids"
    ids.mkdir()
    _copy(connection, source, {"id": 't."id"'}, project, ids)
    whole = merge(before / name, parts / name, ids / name, new / name)
    for path in (ids / name, parts / name):
        path.unlink()
    ids.rmdir()
    parts.rmdir()
    return rows if whole else None


def _copy(
    connection: "Connection", source: Source, columns: dict[str, str], project: int, folder: Path, also: str = "true"
) -> int:
    """Stream `COPY … TO STDOUT` through a pipe into Parquet; returns the number of rows."""
    where = f"({source.of_project.format(project=project)}) AND ({also})"
    query = f"COPY (SELECT {', '.join(columns.values())} FROM {source.name} t WHERE {where}) TO STDOUT (FORMAT csv)"
    read_end, write_end = os.pipe()
    failures: list[BaseException] = []

    def send() -> None:
        with os.fdopen(write_end, "wb") as sink, connection.cursor() as cursor:
            try:
                cursor.copy_expert(query, sink, 1 << 20)
            except BaseException as error:
                failures.append(error)

    sender = threading.Thread(target=send, name=f"copy {source.name}")
    sender.start()
    try:
        with os.fdopen(read_end, "rb") as stream:
            rows = _write_parquet(stream, source, list(columns), folder / f"{source.name}.parquet")
    finally:
        sender.join()
    if failures:
        raise failures[0]
    return rows


def _write_parquet(stream: Any, source: Source, names: list[str], target: Path) -> int:
    """Keys as numbers, all else as text: what cannot be read as its type is for `ingest` to reject."""
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    types = {name: source.table.schema.field(name).type for name in names}
    schema = pa.schema(
        [(name, pa.int64() if pa.types.is_integer(type_) else pa.string()) for name, type_ in types.items()]
    )
    rows = 0
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        first = stream.peek(1)
        if first:  # an empty table is an empty stream
            batches = pc.open_csv(
                stream,
                pc.ReadOptions(column_names=names, block_size=_BLOCK),
                pc.ParseOptions(newlines_in_values=True),
                pc.ConvertOptions(
                    column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
                ),
            )
            for batch in batches:
                writer.write_batch(batch)
                rows += batch.num_rows
    return rows
