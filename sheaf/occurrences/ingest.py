"""From an inbox folder to checked tables: every row is kept or rejected with its reason.

Here: types, ranges, keys and what belongs to the project. Not here: reading files (`inbox`), what is
made from the tables (`build`).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from sheaf import tables
from sheaf.errors import InputError
from sheaf.names import check_partition
from sheaf.occurrences import inbox
from sheaf.occurrences.schema import REJECTS
from sheaf.occurrences.settings import OccurrencesSettings
from sheaf.occurrences.soft_faults import SOFT
from sheaf.occurrences.source_tables import SOURCES, Source
from sheaf.occurrences.values import SQL_TYPES, typed
from sheaf.occurrences.work import working_database, write_query
from sheaf.report import Report
from sheaf.store import Store

if TYPE_CHECKING:
    import duckdb


@dataclass
class _Progress:
    """What has been read so far; the tables `own_<name>` and `other_<name>` are in the database."""

    project_id: int
    folder: Path
    rejects: tables.Rejects = field(default_factory=tables.Rejects)
    delivered: set[str] = field(default_factory=set)
    others: int = 0


def ingest(folder: Path, store: Store, project: str, settings: OccurrencesSettings) -> Report:
    """Read the inbox folder of a project and keep its good rows as tables.

    Args:
        folder: holds one file for each table, such as `main_occurrence.parquet`.
        project: the partition, `p` and the project's id.

    Raises:
        InputError: a needed table is missing, a file is damaged or half written, or the project is not
            in it; what was ingested before stays as it is.
    """
    progress = _Progress(project_id_of(project), folder)
    with working_database(store, settings.source_time_zone) as database:
        for source in SOURCES:
            _check_source(database, source, progress)
        if not _count(database, "own_main_project"):
            raise InputError(
                f"{folder}/main_project has no usable row with id {progress.project_id}: "
                "name the folder p and the id of its project."
            )
        written = tuple(_write(store, database, source, project) for source in SOURCES)
    rejected = tables.write(store, REJECTS, project, tables.from_rows(REJECTS, progress.rejects.rows))
    warnings = []
    if progress.others:
        warnings.append(f"{progress.others} rows belong to other projects and were left out.")
    missing = [source.name for source in SOURCES if source.name not in progress.delivered]
    if missing:
        warnings.append(f"Not delivered, taken as empty: {', '.join(missing)}.")
    counts = {version.table: version.rows for version in written} | {"rows of other projects": progress.others}
    return Report((*written, rejected), counts, progress.rejects.by_reason(), tuple(warnings))


def project_id_of(project: str) -> int:
    """The id in a partition such as `p12`.

    Raises:
        InputError: the partition has another shape.
    """
    digits = check_partition(project)[1:]
    if not project.startswith("p") or not digits.isdecimal():
        raise InputError(f"{project!r} is not a project: name its folder p and the project's id, such as p12.")
    return int(digits)


def _check_source(database: "duckdb.DuckDBPyConnection", source: Source, progress: _Progress) -> None:
    """Read one table into `own_<name>`, and the ids of other projects' rows into `other_<name>`."""
    path = inbox.table_file(progress.folder, source.name)
    if path is None:
        if source.needed:
            raise InputError(f"{progress.folder} has no {source.name}.parquet, .ndjson or .csv, which is needed.")
        _read_nothing(database, source)
        return
    progress.delivered.add(source.name)
    read = inbox.read_file(
        path,
        source.table.schema.names,
        lambda reason, line, raw: progress.rejects.add(source.name, reason, file=path.name, line=line, raw=raw),
    )
    for column in source.table.schema:
        if not column.nullable and column.name not in read.schema.names and column.name not in source.defaults:
            raise InputError(f"{path} has no column {column.name}, which is needed.")
    database.register("incoming", read)
    try:
        database.execute("CREATE OR REPLACE TABLE arrived AS SELECT * FROM incoming")
    except Exception as error:  # what the reader raises comes back wrapped
        raise _reader_error(error, path) from error
    finally:
        database.unregister("incoming")
    _check_values(database, source, read.schema)
    _check_project(database, source, progress)
    _check_keys(database, source, progress)
    _soften(database, source, path, progress)
    _note(database, source, path, progress, "reason IS NOT NULL AND state = 'own'", "reason")
    _keep(database, source, progress)


def _reader_error(error: Exception, path: Path) -> InputError:
    text = str(error)
    start = text.find(str(path))
    return InputError(text[start:].splitlines()[0] if start >= 0 else f"{path} cannot be read: {text.splitlines()[0]}")


def _read_nothing(database: "duckdb.DuckDBPyConnection", source: Source) -> None:
    database.register("incoming", source.table.schema.empty_table())
    database.execute(f'CREATE TABLE "own_{source.name}" AS SELECT * FROM incoming')
    database.execute(f'CREATE TABLE "other_{source.name}" (id BIGINT)')
    database.unregister("incoming")


def _check_values(database: "duckdb.DuckDBPyConnection", source: Source, arrived: pa.Schema) -> None:
    """Make `checked`: typed columns, `reason` (null when the row is good) and `state`."""
    read, kept, faults = [], [], []
    for column in source.table.schema:
        name = column.name
        value, found = f"CAST(NULL AS {SQL_TYPES[column.type]})", []
        if name in arrived.names:
            value, found = typed(column, arrived.field(name).type, f'a."{name}"')
        read.append(f'{value} AS "{name}"')
        default = source.defaults.get(name)
        kept.append(f'coalesce(c."{name}", {default}) AS "{name}"' if default else f'c."{name}"')
        faults += found
        if not column.nullable and name not in source.defaults:
            faults.append((f'c."{name}" IS NULL', f"{name} is empty"))
    cases = " ".join(f"WHEN {fault} THEN '{reason}'" for fault, reason in faults).replace('a."', 'c.given."')
    database.execute(
        f"""
        CREATE OR REPLACE TABLE checked AS
        SELECT {", ".join(kept)}, {inbox.LINE},
            CASE {cases} END AS reason, 'own' AS state
        FROM (SELECT {", ".join(read)}, a.{inbox.LINE}, a AS given FROM arrived a) c
        """
    )


def _check_project(database: "duckdb.DuckDBPyConnection", source: Source, progress: _Progress) -> None:
    """Set apart the rows of other projects: a dump may hold them all."""
    column = "id" if source is SOURCES[0] else "project_id"
    if column in source.table.schema.names:
        database.execute(f"UPDATE checked SET state = 'other' WHERE {column} <> {progress.project_id}")


def _check_keys(database: "duckdb.DuckDBPyConnection", source: Source, progress: _Progress) -> None:
    """Every key leads to a row that was kept, and no id is used twice."""
    for column, target in source.references.items():
        if target not in progress.delivered:
            continue
        database.execute(
            f"""UPDATE checked SET state = 'other'
            WHERE reason IS NULL AND {column} IN (SELECT id FROM "other_{target}")"""
        )
        database.execute(
            f"""UPDATE checked SET reason = '{column} leads to no row of {target}'
            WHERE reason IS NULL AND state = 'own' AND {column} IS NOT NULL
            AND {column} NOT IN (SELECT id FROM "own_{target}")"""
        )
    if source.keyed:
        database.execute(
            f"""UPDATE checked SET reason = 'The id is used more than once: the first row is kept'
            FROM (SELECT id, min({inbox.LINE}) AS first FROM checked WHERE reason IS NULL
                  GROUP BY id HAVING count(*) > 1) AS twice
            WHERE checked.id = twice.id AND checked.{inbox.LINE} > twice.first AND reason IS NULL"""
        )


def _soften(database: "duckdb.DuckDBPyConnection", source: Source, path: Path, progress: _Progress) -> None:
    """Note the faults that cost a row some values, and empty those."""
    for soft in SOFT.get(source.name, ()):
        where = f"reason IS NULL AND state = 'own' AND ({soft.condition})"
        _note(database, source, path, progress, where, f"'{soft.reason}'")
        if soft.emptied:
            emptied = ", ".join(f"{column} = NULL" for column in soft.emptied)
            database.execute(f"UPDATE checked SET {emptied} WHERE {where}")


def _note(
    database: "duckdb.DuckDBPyConnection", source: Source, path: Path, progress: _Progress, where: str, reason: str
) -> None:
    key = "c.id" if source.keyed else "NULL"
    found = database.execute(
        f"""SELECT {reason}, {inbox.LINE}, {key}, to_json(a)
        FROM (SELECT * FROM checked WHERE {where}) c JOIN arrived a USING ({inbox.LINE}) ORDER BY {inbox.LINE}"""
    )
    while rows := found.fetchmany(10_000):
        for why, line, primary_key, raw in rows:
            progress.rejects.add(source.name, why, file=path.name, line=line, primary_key=primary_key, raw=raw)


def _keep(database: "duckdb.DuckDBPyConnection", source: Source, progress: _Progress) -> None:
    names = ", ".join(f'"{name}"' for name in source.table.schema.names)
    key = "id" if source.keyed else "NULL::BIGINT AS id"
    database.execute(
        f"CREATE TABLE \"own_{source.name}\" AS SELECT {names} FROM checked WHERE reason IS NULL AND state = 'own'"
    )
    database.execute(f"CREATE TABLE \"other_{source.name}\" AS SELECT {key} FROM checked WHERE state = 'other'")
    progress.others += _count(database, f"other_{source.name}")


def _write(store: Store, database: "duckdb.DuckDBPyConnection", source: Source, project: str) -> tables.TableVersion:
    names = ", ".join(f'"{name}"' for name in source.table.schema.names)
    distinct, order = ("", "id") if source.keyed else ("DISTINCT", "ALL")
    query = f'SELECT {distinct} {names} FROM "own_{source.name}" ORDER BY {order}'
    return write_query(store, source.table, project, database, query)


def _count(database: "duckdb.DuckDBPyConnection", table: str) -> int:
    return database.execute(f'SELECT count(*) FROM "{table}"').fetchall()[0][0]
