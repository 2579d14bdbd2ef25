"""Keeping an inbox folder equal to a live source: all tables of one moment, or those of the moment before.

Here: replacing the folder as a whole, merging changed rows into the rows of before, naming what it holds.
Not here: asking the source (`postgres`, `api`).
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sheaf import duck
from sheaf.store.store import sync


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, which takes its place when all went well."""
    new, old = (folder.with_name(f".{folder.name}.{state}") for state in ("new", "old"))
    if old.exists() and not folder.exists():  # a process died between the two renames below
        old.rename(folder)
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        for path in (*new.rglob("*"), new):  # a power cut leaves the rows of before or these, never half of them
            sync(path)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def newest_change(before: Path) -> str | None:
    """The newest `updated_at` in a file of before, as text; None when the file cannot tell."""
    found = _rows(f"SELECT max(updated_at)::VARCHAR FROM {_file(before)}")
    return found[0][0]


def merge(before: Path, changed: Path, ids: Path, target: Path) -> bool:
    """Write the rows of before that still exist, with those that changed in their new form.

    Args:
        ids: all ids that exist now: what is not among them was deleted.

    Returns:
        False when a row that exists is in neither: it came without being changed, and only reading
        the whole table helps.
    """
    _rows(
        f"""COPY (
            SELECT * FROM {_file(before)} b WHERE b.id IN (SELECT id FROM {_file(ids)})
                AND b.id NOT IN (SELECT id FROM {_file(changed)})
            UNION ALL BY NAME SELECT * FROM {_file(changed)} ORDER BY id
        ) TO {duck.quoted(target)} (FORMAT parquet, COMPRESSION zstd)"""
    )
    ((lacking,),) = _rows(f"SELECT count(*) FROM {_file(ids)} WHERE id NOT IN (SELECT id FROM {_file(target)})")
    return lacking == 0


def content_of_rows(folder: Path) -> str:
    """A hash of the rows in the Parquet files of a folder; their order, and what wrote them, do not matter."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.parquet")):
        rows = _rows(
            f"""SELECT count(*), sum(md5_number_upper(text)), sum(md5_number_lower(text))
            FROM (SELECT CAST(to_json(whole_row) AS VARCHAR) AS text FROM {_file(path)} whole_row)"""
        )
        digest.update(f"{path.name}\0{rows[0]}\n".encode())
    return digest.hexdigest()[:32]


def _rows(query: str) -> list[tuple[Any, ...]]:
    with duck.connect() as database:
        return database.execute(query).fetchall()


def _file(path: Path) -> str:
    return f"read_parquet({duck.quoted(path)})"
