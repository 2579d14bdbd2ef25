"""The child process that reads SQLite databases: a database is code as well, and may keep its reader for ever.

A database is read from a snapshot taken through SQLite's backup API, so that what is still in the write-ahead log
counts and the source is never written to. Only ordinary tables are read, nothing in the schema is trusted, and what
takes too long is ended. Not here: what tables mean, asking it (`sqlite`), limits of the process (`outside/child`).
"""

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from sheaf import sql
from sheaf.errors import InputError
from sheaf.outside.child import serve

_ROWS = 10_000
_MOST_HELD = 32 * 1024 * 1024
_LONGEST = 16 * 1024 * 1024
_PAGES = 4096  # copied at once
_STEPS = 100_000  # of SQLite's machine, from one look at the clock to the next


def answer(asked: dict[str, Any]) -> Iterator[bytes]:
    """What one of the functions below gives; each is asked by its name, and has `seconds` for all of it."""
    until = time.monotonic() + asked.pop("seconds")
    try:
        yield from _FUNCTIONS[asked.pop("what")](until=until, **asked)
    except sqlite3.Error as error:
        raise InputError(f"the database cannot be read: {error}") from error


def snapshot(source: str, target: str, timeout_s: float, until: float) -> Iterator[bytes]:
    """Copy a database as it is at this moment, write-ahead log included; gives nothing."""
    path, copied = Path(source), Path(f"{target}.source")
    wal, shm = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    uri = path.absolute().as_uri()
    if not wal.exists() or not wal.stat().st_size:
        with path.open("rb") as file:
            file.seek(18)
            wal_mode = file.read(1) == b"\x02"
        # Nobody is writing to a WAL database without a log; opening it normally would create one beside it.
        uri += "?immutable=1" if wal_mode else "?mode=ro"
    elif shm.exists():
        uri += "?mode=ro&readonly_shm=1"  # else it would be written to, if only to count a reader
    else:  # copied together with its log, in use by nobody: opening would write an index beside it
        shutil.copyfile(path, copied)
        shutil.copyfile(wal, copied.with_name(copied.name + "-wal"))
        uri = copied.absolute().as_uri()
    try:
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=timeout_s)) as before,
            closing(sqlite3.connect(target)) as after,
        ):
            _copy(before, after, timeout_s)
            _limit(after, until)
            after.execute("PRAGMA journal_mode=DELETE")
            if (found := after.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                said = next((line for line in found.splitlines() if not line.startswith("***")), found)
                raise InputError(f"the database is damaged: {said}")
    finally:
        for part in copied.parent.glob(f"{copied.name}*"):
            part.unlink()
    yield from ()


def _copy(before: sqlite3.Connection, after: sqlite3.Connection, timeout_s: float) -> None:
    """Back up a database, unless it is locked for too long: by itself a backup waits for ever."""
    waited_from = time.monotonic()

    def progress(status: int, _remaining: int, _total: int) -> None:
        nonlocal waited_from
        if status not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            waited_from = time.monotonic()
        elif time.monotonic() - waited_from >= timeout_s:
            raise InputError(f"the database cannot be read: it was locked for {timeout_s:g} s. Close what writes to it")

    before.backup(after, pages=_PAGES, progress=progress, sleep=0.05)


def forget(path: str, tables: Sequence[str], until: float) -> Iterator[bytes]:
    """Remove tables from a snapshot, and every trace of their rows; gives nothing."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        _limit(connection, until)
        for table in tables:
            if _is_table(connection, table):
                connection.execute(f"DROP TABLE {sql.name(table)}")
        connection.execute("VACUUM")
    yield from ()


def columns(path: str, tables: Sequence[str], until: float) -> Iterator[bytes]:
    """The columns of those of some tables that a snapshot has, with their types as declared, in upper case."""
    found: dict[str, dict[str, str]] = {}
    with closing(_open(path, until)) as connection:
        for table in tables:
            if _is_table(connection, table):
                named = connection.execute(f"PRAGMA table_info({sql.name(table)})")
                found[table] = {row[1]: str(row[2]).upper() for row in named}
    yield json.dumps(found).encode()


def rows(path: str, query: str, until: float) -> Iterator[bytes]:
    """The names of a query's columns, then its rows, as many at once as fit into memory; bytes are `{"hex": …}`."""
    with closing(_open(path, until)) as connection:
        cursor = connection.execute(query)
        yield json.dumps([column[0] for column in cursor.description]).encode()
        some: list[Sequence[Any]] = []
        held = 0
        for row in cursor:
            some.append(row)
            held += sum(len(value) for value in row if isinstance(value, str | bytes))
            if len(some) == _ROWS or held > _MOST_HELD:
                yield json.dumps(some, default=_hex).encode()
                some, held = [], 0
        if some:
            yield json.dumps(some, default=_hex).encode()


def _hex(value: bytes) -> dict[str, str]:
    return {"hex": value.hex()}


def _open(path: str, until: float) -> sqlite3.Connection:
    """A snapshot, to be read only."""
    connection = sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)
    _limit(connection, until)
    return connection


def _limit(connection: sqlite3.Connection, until: float) -> None:
    """Take from a database of unknown origin what it could hold its reader up with."""
    connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
    connection.execute("PRAGMA trusted_schema=OFF")


def _is_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether there is an ordinary table: a view or a virtual table runs whatever somebody wrote into it."""
    query = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND rootpage > 0 AND lower(name) = ?"
    return connection.execute(query, (name,)).fetchone()[0] > 0


_FUNCTIONS = {function.__name__: function for function in (snapshot, forget, columns, rows)}

if __name__ == "__main__":
    serve(answer)
