"""From an inbox folder to checked tables: every row is kept or rejected with its reason.

Here: types, ranges, keys and what belongs to the project. Not here: the forms in which a project is delivered
(`arrived` and the modules beside it), what is made from the tables (`build`).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sheaf import clock, duck, sql
from sheaf.errors import InputError
from sheaf.names import check_partition
from sheaf.occurrences.input_tables import OFFSET, PROJECT, REJECTED, REJECTED_FROM, SOURCES, Source
from sheaf.occurrences.readers import camtrap_dp, inaturalist, megadetector, wildlife_insights
from sheaf.occurrences.readers.arrived import AntennaFiles, Arrived, Delivered
from sheaf.occurrences.readers.corrections import SOFT
from sheaf.occurrences.readers.fields import SQL_TYPES, Fault, macros, offset, typed
from sheaf.occurrences.readers.unpacked import unpacked
from sheaf.occurrences.working_database import ROWS, working_database
from sheaf.outside.table_files import LINE, table_file
from sheaf.report import Report
from sheaf.tables.work import Work

if TYPE_CHECKING:
    import duckdb


_TARGETS = {target for source in SOURCES for target in source.references.values()}
_PART = 512 * 1024  # rows that are sorted at once
_GOOD = "fault IS NULL AND own"
_MOST_NOTES = 500  # of one kind in one table; the last of them stands for the rest


@dataclass
class _Progress:
    """What has been read so far.

    Of tables that others lead to, the database has the ids: `own_<name>` and, of other projects, `other_<name>`.

    Attributes:
        faults: those that a row can be rejected for; the column `fault` of `checked` counts through them.
    """

    project_id: int
    folder: Path
    work: Work
    faults: list[Fault] = field(default_factory=list)
    delivered: set[str] = field(default_factory=set)
    others: int = 0
    now: datetime = field(default_factory=clock.now)

    def number(self, code: str, reason: str) -> int:
        """The number of a fault."""
        self.faults.append(Fault(code, reason))
        return len(self.faults) - 1


def ingest(folder: Path, work: Work) -> Report:
    """Read the inbox folder of a project and keep its good rows as tables.

    Args:
        folder: holds one file for each table, such as `main_occurrence.parquet`, or a dataset of the field.
        work: its partition is `p` and the project's id.

    Raises:
        InputError: a needed table is missing, a file is damaged or half written, or the project is not
            in it.
    """
    progress = _Progress(project_id_of(work.partition), folder, work)
    with (
        working_database(work.scratch) as database,
        closing(duck.beside(database)) as beside,
        ThreadPoolExecutor(1) as aside,  # one table is written while the next is read
    ):
        known = database.execute("SELECT name FROM pg_timezone_names()").fetchall()
        database.execute(macros(zone for (zone,) in known))
        delivered = _delivered(folder, work, database)
        written = aside.submit(lambda: None)
        database.register("none", REJECTED.schema.empty_table())
        database.execute("CREATE TABLE rejected AS FROM none")
        for source in SOURCES:
            in_order = _check_source(database, delivered, source, progress)
            _keep_ids(database, source)
            written.result()
            database.execute("ALTER TABLE checked RENAME TO ready")
            written = aside.submit(_write, beside, source, progress, in_order=in_order)
            if source is PROJECT:
                written.result()
                _check_there(progress)
        written.result()
        work.write(REJECTED, _batches(database, "FROM rejected ORDER BY ALL"))
    warnings = []
    if progress.others:
        warnings.append(f"{progress.others} rows belong to other projects and were left out.")
    missing = [source.name for source in SOURCES if source.name not in progress.delivered]
    if missing and delivered.whole:
        warnings.append(f"Not delivered, taken as empty: {', '.join(missing)}.")
    counts = {source.name: work.tables.rows(source.table) for source in SOURCES}
    return Report(counts | {"rows of other projects": progress.others}, tuple(warnings))


def _check_there(progress: _Progress) -> None:
    """Raise `InputError` where the project itself was not delivered."""
    if not progress.work.tables.rows(PROJECT.table):
        why = progress.work.rejects.sentences(PROJECT.name)
        raise InputError(
            f"{progress.folder}/{PROJECT.name} has no usable row with id {progress.project_id}: "
            + (f"{why[0]}." if why else "name the folder p and the id of its project.")
        )


def _delivered(folder: Path, work: Work, database: "duckdb.DuckDBPyConnection") -> Delivered:
    """The form in which a folder holds a project; whatever else lies beside tables of Antenna is not read."""
    project = project_id_of(work.partition)
    if table_file(folder, PROJECT.name) is not None:
        return AntennaFiles(folder)
    place = unpacked(folder, work)
    for form in (camtrap_dp, megadetector, wildlife_insights, inaturalist):
        if found := form.found(place, project, work, database):
            return found
    return AntennaFiles(folder)


def project_id_of(project: str) -> int:
    """The id in a partition such as `p12`.

    Raises:
        InputError: the partition has another shape.
    """
    digits = check_partition(project)[1:]
    if not project.startswith("p") or not digits.isdecimal() or digits != str(int(digits)):
        raise InputError(
            f"{project!r} is not a project: name its folder p and the project's id, no zeros before it, such as p12."
        )
    return int(digits)


def _check_source(
    database: "duckdb.DuckDBPyConnection", delivered: Delivered, source: Source, progress: _Progress
) -> bool:
    """Read one table into `checked`; returns whether its rows are known to be in the order of their ids."""
    rejects = progress.work.rejects
    arrived = delivered.bring(database, source, rejects)
    if arrived is None:
        _read_nothing(database, source)
        return True
    progress.delivered.add(source.name)
    _check_values(database, source, arrived.schema, progress)
    arrived.check_whole()
    rejects.saw(source.name, _count(database, "checked"))
    _check_project(database, source, progress)
    in_order = _check_keys(database, source, progress)
    _note_values(database, source, arrived, progress)
    _soften(database, source, arrived, progress)
    found = _find(database, source, "fault IS NOT NULL AND own")
    for number, origin in _origins(database, arrived) if found else ():
        fault = progress.faults[number]
        rejects.add(source.name, fault.code, fault.reason, **origin)
    if found and source.name in REJECTED_FROM:
        columns = ", ".join(REJECTED_FROM[source.name])
        database.execute(
            f"""INSERT INTO rejected BY NAME SELECT {sql.literal(source.name)} AS "table", {columns}
            FROM checked WHERE fault IS NOT NULL AND own"""
        )
    return in_order


def _read_nothing(database: "duckdb.DuckDBPyConnection", source: Source) -> None:
    database.register("incoming", source.table.schema.empty_table())
    more = f"0 AS {LINE}, NULL::INTEGER AS fault, true AS own"
    database.execute(f"CREATE OR REPLACE TABLE checked AS SELECT *, {more} FROM incoming")
    database.unregister("incoming")


def _check_values(
    database: "duckdb.DuckDBPyConnection", source: Source, arrived: pa.Schema, progress: _Progress
) -> None:
    """Make `checked`: typed columns, `fault` (null when the row is good), `own`, and whether values are to be noted.

    A value that cannot be used costs the row where the column must have one, otherwise only itself.
    """
    read, kept, faults, noted = [], [], [], []
    for column in source.table.schema:
        name = column.name
        default = source.defaults.get(name)
        kept.append(f'coalesce(c."{name}", {default}) AS "{name}"' if default else f'c."{name}"')
        if time := _offset_of(name, arrived):
            read.append(f'{offset(time, arrived.field(time).type)} AS "{name}"')
        elif name not in arrived.names:
            read.append(f'CAST(NULL AS {SQL_TYPES[column.type]}) AS "{name}"')
        else:
            of = typed(column, arrived.field(name).type, progress.now)
            read.append(f'{of.value} AS "{name}", {of.given} IS NOT NULL AS "{name}?"')
            lost = f'c."{name}" IS NULL AND c."{name}?"'
            if of.faults and not column.nullable:
                faults.append((lost, of.faults[-1][1]))
            elif of.faults:
                noted.append(lost)
            if of.odd:
                read.append(f'coalesce({" OR ".join(condition for condition, _ in of.odd)}, false) AS "{name}!"')
                noted.append(f'c."{name}!"')
        if not column.nullable and name not in source.defaults:
            faults.append((f'c."{name}" IS NULL', Fault("empty", f"{name} is empty")))
    cases = " ".join(
        f"WHEN {condition} THEN {progress.number(fault.code, fault.reason)}" for condition, fault in faults
    )
    database.execute(
        f"""
        CREATE OR REPLACE TABLE checked AS
        SELECT {", ".join(kept)}, c.{LINE}, {f"CASE {cases} END" if cases else "NULL::INTEGER"} AS fault,
            true AS own, {" OR ".join(f"({condition})" for condition in noted) or "false"} AS noted
        FROM (SELECT {", ".join(read)}, a.{LINE} FROM arrived a) c
        """
    )


def _offset_of(name: str, arrived: pa.Schema) -> str | None:
    time = name.removesuffix(OFFSET)
    return time if time != name and time in arrived.names else None


def _note_values(database: "duckdb.DuckDBPyConnection", source: Source, arrived: Arrived, progress: _Progress) -> None:
    """Note what was lost of rows that are kept, and what is odd about values that are used."""
    if not _find(database, source, "noted AND fault IS NULL AND own"):
        return
    database.execute(
        f"""CREATE OR REPLACE TEMP TABLE odd AS SELECT a.*, "key?" FROM arrived a JOIN found USING ({LINE})"""
    )
    arrived.check_whole()
    rejects = progress.work.rejects
    for column in source.table.schema:
        if not column.nullable or column.name not in arrived.schema.names:
            continue
        of = typed(column, arrived.schema.field(column.name).type, progress.now)
        lost = [f"{of.value} IS NULL", f"{of.given} IS NOT NULL"]
        for condition, fault in of.faults:
            _note(database, [*lost, condition], arrived, partial(rejects.change, source.name, fault.code, fault.reason))
            lost.append(f"NOT coalesce({condition}, false)")
        for condition, fault in of.odd:
            used = [f"{of.value} IS NOT NULL", condition]
            _note(database, used, arrived, partial(rejects.fault, source.name, fault.code, fault.reason))


def _note(
    database: "duckdb.DuckDBPyConnection", conditions: list[str], arrived: Arrived, note: Callable[..., None]
) -> None:
    """Note rows of `odd` one by one, and those beyond some hundreds as one."""
    found = database.execute(
        f"""SELECT {arrived.file}, {arrived.line}, "key?", to_json(a), count(*) OVER () FROM odd a
        WHERE {" AND ".join(f"({condition})" for condition in conditions)}
        ORDER BY {LINE} LIMIT {_MOST_NOTES}"""
    ).fetchall()
    for index, (file, line, key, raw, count) in enumerate(found):
        rest = count - len(found) if index == len(found) - 1 else 0
        note(file=file, line=line, primary_key=key, raw=raw, rows=1 + rest)


def _check_project(database: "duckdb.DuckDBPyConnection", source: Source, progress: _Progress) -> None:
    """Set apart the rows of other projects: a dump may hold them all."""
    column = "id" if source is PROJECT else "project_id"
    if column in source.table.schema.names:
        database.execute(f"UPDATE checked SET own = false WHERE {column} <> {progress.project_id}")


def _check_keys(database: "duckdb.DuckDBPyConnection", source: Source, progress: _Progress) -> bool:
    """Every key leads to a row that was kept, and no id is used twice; returns whether they came in order."""
    for column, target in source.references.items():
        if target not in progress.delivered:
            continue
        database.execute(
            f"""UPDATE checked SET own = false
            WHERE fault IS NULL AND {column} IN (SELECT id FROM {_others(target)})"""
        )
        lost = progress.number("no_parent", f"{column} leads to no row of {target}")
        database.execute(
            f"""UPDATE checked SET fault = {lost}
            WHERE fault IS NULL AND own AND {column} IS NOT NULL
            AND {column} NOT IN (SELECT id FROM {_own(target)})"""
        )
    if not source.keyed:
        return False
    if _in_order(database):
        return True
    twice = progress.number("repeated_key", "The id is used more than once: the first row is kept")
    for part in duck.ranges(database, "checked", "id", _PART, "fault IS NULL"):
        database.execute(
            f"""UPDATE checked SET fault = {twice}
            FROM (SELECT id, min({LINE}) AS first FROM checked WHERE fault IS NULL AND {part}
                  GROUP BY id HAVING count(*) > 1) AS twice
            WHERE checked.id = twice.id AND checked.{LINE} > twice.first AND fault IS NULL"""
        )
    return False


def _soften(database: "duckdb.DuckDBPyConnection", source: Source, arrived: Arrived, progress: _Progress) -> None:
    """Note the faults that cost a row some values, and empty those."""
    for soft in SOFT.get(source.name, ()):
        note = progress.work.rejects.change if soft.emptied else progress.work.rejects.fault
        where = f"fault IS NULL AND own AND ({soft.condition})"
        found = _find(database, source, where)
        for _, origin in _origins(database, arrived) if found else ():
            note(source.name, soft.code, soft.reason, **origin)
        if found and soft.emptied:
            emptied = ", ".join(f"{sql.name(column)} = NULL" for column in soft.emptied)
            database.execute(f"UPDATE checked SET {emptied} WHERE {where}")


def _find(database: "duckdb.DuckDBPyConnection", source: Source, where: str) -> int:
    """Make `found` of some rows of `checked`: their lines, keys and faults; returns how many there are."""
    key = "id" if source.keyed else "NULL"
    database.execute(
        f"""CREATE OR REPLACE TEMP TABLE found AS
        SELECT {LINE}, {key} AS "key?", fault AS "fault?" FROM checked WHERE {where}"""
    )
    return _count(database, "found")


def _origins(database: "duckdb.DuckDBPyConnection", arrived: Arrived) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The fault of each row of `found`, and where it comes from."""
    rows = database.execute(
        f"""SELECT "fault?", {arrived.file}, {arrived.line}, "key?", to_json(a)
        FROM arrived a JOIN found USING ({LINE}) ORDER BY {LINE}"""
    )
    while some := rows.fetchmany(10_000):
        for fault, file, line, primary_key, raw in some:
            yield fault, {"file": file, "line": line, "primary_key": primary_key, "raw": raw}
    arrived.check_whole()


def _in_order(database: "duckdb.DuckDBPyConnection") -> bool:
    """Whether the rows of `checked` came by their ids, each once, as databases write them."""
    before = "SELECT id, lag(id) OVER () AS before FROM checked WHERE fault IS NULL"
    return database.execute(f"SELECT coalesce(bool_and(id > before), true) FROM ({before})").fetchall()[0][0]


def _keep_ids(database: "duckdb.DuckDBPyConnection", source: Source) -> None:
    """Keep what later tables may lead to."""
    if source.name in _TARGETS:
        database.execute(f"CREATE TABLE {_own(source.name)} AS SELECT id FROM checked WHERE {_GOOD}")
        database.execute(f"CREATE TABLE {_others(source.name)} AS SELECT id FROM checked WHERE NOT own")


def _write(database: "duckdb.DuckDBPyConnection", source: Source, progress: _Progress, *, in_order: bool) -> None:
    """Write the good rows of `ready`; each table by itself, so that the account adds up wherever reading ends."""
    names = sql.names(source.table.schema.names)
    good = f"FROM ready WHERE {_GOOD}"
    if not source.keyed:
        queries = [f"SELECT DISTINCT {names} {good} ORDER BY ALL"]
    elif in_order:
        queries = [f"SELECT {names} {good}"]
    else:
        queries = [
            f"SELECT {names} {good} AND {part} ORDER BY id"
            for part in duck.ranges(database, "ready", "id", _PART, "fault IS NULL")
        ]
    kept = progress.work.write(source.table, (rows for query in queries for rows in _batches(database, query)))
    own, others = _count(database, f"({good})"), _count(database, "(FROM ready WHERE NOT own)")
    progress.others += others
    progress.work.rejects.left_out(source.name, "another project", others)
    progress.work.rejects.left_out(source.name, "repeated", own - kept.rows)
    database.execute("DROP TABLE ready")


def _batches(database: "duckdb.DuckDBPyConnection", query: str) -> Iterator[pa.RecordBatch]:
    yield from database.sql(query).to_arrow_reader(ROWS)


def _count(database: "duckdb.DuckDBPyConnection", table: str) -> int:
    return database.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]


def _own(table: str) -> str:
    """Ids of the rows of a table that are kept."""
    return sql.name(f"own_{table}")


def _others(table: str) -> str:
    """Ids of the rows of other projects."""
    return sql.name(f"other_{table}")
