"""Comparing two versions: what was asked for, what they hold, and which rows differ."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sheaf import duck, sql
from sheaf.exports.records import File, Manifest, read_manifest
from sheaf.exports.series import flat_counts
from sheaf.names import ExportId, parse_exact
from sheaf.store.scratch import scratch_folder
from sheaf.store.store import Store

TABULAR = (".csv", ".parquet", ".ndjson")


@dataclass(frozen=True)
class Change:
    """A value before and after."""

    before: Any
    after: Any


@dataclass(frozen=True)
class RowChanges:
    """Rows of one file; `changed` counts rows whose key stayed, where the series has a row key."""

    added: int
    removed: int
    changed: int
    columns_added: tuple[str, ...] = ()
    columns_removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Diff:
    """What changed from export `a` to export `b`; `content` is what the format itself has to say."""

    a: str
    b: str
    filter: dict[str, Change] = field(default_factory=dict)
    options: dict[str, Change] = field(default_factory=dict)
    counts: dict[str, Change] = field(default_factory=dict)
    inputs: dict[str, Change] = field(default_factory=dict)
    files_added: tuple[str, ...] = ()
    files_removed: tuple[str, ...] = ()
    files_changed: tuple[str, ...] = ()
    rows: dict[str, RowChanges] = field(default_factory=dict)
    content: dict[str, Any] = field(default_factory=dict)


def diff(
    store: Store,
    a: ExportId,
    b: ExportId,
    row_key: tuple[str, ...] = (),
    compare: Callable[[Path, Path], dict[str, Any]] | None = None,
) -> Diff:
    """Compare two completed exports.

    Args:
        row_key: columns that identify a row; rows that share a key and differ count as changed.
        compare: what the format has to say about two folders with its files.

    Raises:
        NotFoundError: one of them is not complete.
    """
    before, after = read_manifest(store, a), read_manifest(store, b)
    old, new = _by_name(a, before), _by_name(b, after)
    changed = tuple(path for path in old if path in new and old[path].sha256 != new[path].sha256)
    rows = {}
    for path in changed:
        if path.endswith(TABULAR):
            then, now = f"{a.path}/{old[path].path}", f"{b.path}/{new[path].path}"
            if found := _row_changes(store, then, now, row_key):
                rows[new[path].path] = found
    return Diff(
        a=str(a),
        b=str(b),
        filter=_changes(before.filter, after.filter),
        options=_changes(before.options, after.options),
        counts=_changes(
            {"record_count": before.record_count, **flat_counts(before.counts)},
            {"record_count": after.record_count, **flat_counts(after.counts)},
        ),
        inputs=_changes(
            {f"{item.table}/{item.partition}": item.rows for item in before.inputs},
            {f"{item.table}/{item.partition}": item.rows for item in after.inputs},
        ),
        files_added=tuple(new[path].path for path in new if path not in old),
        files_removed=tuple(old[path].path for path in old if path not in new),
        files_changed=tuple(new[path].path for path in changed),
        rows=rows,
        content=_content(store, before, after, compare) if compare and (changed or set(old) != set(new)) else {},
    )


def _by_name(export: ExportId, manifest: Manifest) -> dict[str, File]:
    """The files by name; a version number in the name of some formats does not make another file."""
    own = re.compile(rf"(?<![A-Za-z0-9])v{export.version}(?![A-Za-z0-9])")
    return {own.sub("v", file.path): file for file in manifest.files}


def _content(
    store: Store, before: Manifest, after: Manifest, compare: Callable[[Path, Path], dict[str, Any]]
) -> dict[str, Any]:
    with scratch_folder(store) as folder:
        for name, manifest in (("a", before), ("b", after)):
            own = parse_exact(manifest.export).path
            for file in manifest.files:
                local = folder / name / file.path
                local.parent.mkdir(parents=True, exist_ok=True)
                store.download(f"{own}/{file.path}", local)
        return compare(folder / "a", folder / "b")


def _changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Change]:
    keys = [*before, *(key for key in after if key not in before)]
    return {key: Change(before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)}


def _row_changes(store: Store, a: str, b: str, row_key: tuple[str, ...]) -> RowChanges | None:
    """Count differing rows in DuckDB, every value compared as text, duplicates counted; None for what is no table."""
    import duckdb

    with scratch_folder(store) as folder:
        for name, path in (("a", a), ("b", b)):
            store.download(path, folder / f"{name}{Path(path).suffix}")
        with duck.connect(temp_directory=str(folder)) as db:
            try:
                columns = [_open(db, name, folder / f"{name}{Path(a).suffix}") for name in ("a", "b")]
                shared = [column for column in columns[0] if column in columns[1]]
                removed, added, changed = _differing(db, shared, [key for key in row_key if key in shared])
            except duckdb.Error:
                return None
    return RowChanges(
        added=added - changed,
        removed=removed - changed,
        changed=changed,
        columns_added=tuple(column for column in columns[1] if column not in columns[0]),
        columns_removed=tuple(column for column in columns[0] if column not in columns[1]),
    )


def _open(db: Any, name: str, path: Path) -> list[str]:
    """Make a view of a file; returns its columns."""
    quoted = duck.quoted(path)
    reader = {
        ".csv": f"read_csv({quoted}, all_varchar=true, header=true, delim=',', quote='\"', escape='\"')",
        ".ndjson": f"read_json({quoted}, format='newline_delimited')",
        ".parquet": f"read_parquet({quoted})",
    }[path.suffix]
    db.execute(f"CREATE VIEW {name} AS SELECT * FROM {reader}")
    return [row[0] for row in db.execute(f"DESCRIBE {name}").fetchall()]


def _differing(db: Any, shared: list[str], row_key: list[str]) -> tuple[int, int, int]:
    """Rows only in a, rows only in b, and how many of both are one row that changed."""
    if not shared:
        return _count(db, "SELECT count(*) FROM a"), _count(db, "SELECT count(*) FROM b"), 0
    values = ", ".join(f"{sql.name(column)}::VARCHAR AS {sql.name(column)}" for column in shared)
    for name, other in (("a", "b"), ("b", "a")):
        db.execute(
            f"CREATE TEMP TABLE only_{name} AS SELECT {values} FROM {name} EXCEPT ALL SELECT {values} FROM {other}"
        )
    changed = 0
    if row_key:
        keys = ", ".join(sql.name(column) for column in row_key)
        same = " AND ".join(f"x.{sql.name(column)} IS NOT DISTINCT FROM y.{sql.name(column)}" for column in row_key)
        grouped = f"SELECT {keys}, count(*) AS n FROM only_{{}} GROUP BY ALL"
        changed = _count(
            db,
            "SELECT coalesce(sum(least(x.n, y.n)), 0)::BIGINT "
            f"FROM ({grouped.format('a')}) AS x JOIN ({grouped.format('b')}) AS y ON {same}",
        )
    return _count(db, "SELECT count(*) FROM only_a"), _count(db, "SELECT count(*) FROM only_b"), changed


def _count(db: Any, query: str) -> int:
    return db.execute(query).fetchone()[0]
