"""What a step did not use, changed, or used in spite of a fault, and the account that adds it all up.

A *reject* is a row that was not used, a *change* a value that was corrected or blanked, a *fault* a row
that was used although something is wrong with it. Each has a stable code, a sentence, where it came
from, and how many rows it stands for; the same in every domain. Not here: which rows those are, nor the account
itself (`accounts`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sheaf.tables.accounts import Account, Kind, Reason
from sheaf.tables.table import INTEGER, TEXT, arrow_schema, column

if TYPE_CHECKING:
    import pyarrow as pa

_AT_ONCE = 10_000
_MOST_RAW = 2000

COLUMNS = (
    column("kind", TEXT, "`reject`: not used; `change`: used after a change; `fault`: used as it is", null=False),
    column("table", TEXT, "Table the row was meant for", null=False),
    column("code", TEXT, "What is wrong, as a name that stays", null=False),
    column("reason", TEXT, "What is wrong, as a sentence", null=False),
    column("rows", INTEGER, "How many rows it stands for", "rows", null=False),
    column("file", TEXT, "File below the partition's inbox folder, or the table of a live source"),
    column("line", INTEGER, "Line in that file, from 1"),
    column("byte_offset", INTEGER, "Where the line starts in the file", "byte"),
    column("primary_key", TEXT, "The row's key, where it has one"),
    column("raw", TEXT, "The row as it came, as JSON or text, at most 2000 characters"),
)
Spoiled = tuple[str, str, int | None, int | None, str]
"""Code, reason, line, byte offset and text of one line, as in `Rejects.note`."""


@dataclass
class Rejects:
    """Collects what was wrong while a partition is read, on disk as soon as it is much.

    Args:
        folder: a scratch folder for it.
    """

    folder: Path
    _waiting: list[tuple[Any, ...]] = field(default_factory=list)
    _counts: Counter[tuple[str, Kind, str]] = field(default_factory=Counter)
    _sentences: dict[tuple[str, Kind, str], str] = field(default_factory=dict)
    _seen: Counter[str] = field(default_factory=Counter)
    _used: dict[str, int] = field(default_factory=dict)
    _left_out: dict[str, Counter[str]] = field(default_factory=dict)
    _spilled: list[Path] = field(default_factory=list)

    def saw(self, table: str, rows: int) -> None:
        """So many more rows were delivered for a table."""
        self._seen[table] += rows

    def used(self, table: str, rows: int) -> None:
        """So many of them were kept in all; not needed where that is the number of rows in the table itself."""
        self._used[table] = rows

    def left_out(self, table: str, why: str, rows: int) -> None:
        """So many more rows are not wanted, though nothing is wrong with them."""
        if rows:
            self._left_out.setdefault(table, Counter())[why] += rows

    def add(self, table: str, code: str, reason: str, **origin: Any) -> None:
        """A row was not used; `origin` as in `note`."""
        self.note(Kind.REJECT, table, code, reason, **origin)

    def change(self, table: str, code: str, reason: str, **origin: Any) -> None:
        """A value was corrected or blanked; `origin` as in `note`."""
        self.note(Kind.CHANGE, table, code, reason, **origin)

    def fault(self, table: str, code: str, reason: str, **origin: Any) -> None:
        """A row was used although something is wrong with it; `origin` as in `note`."""
        self.note(Kind.FAULT, table, code, reason, **origin)

    def note(
        self,
        kind: Kind,
        table: str,
        code: str,
        reason: str,
        *,
        rows: int = 1,
        file: str | Path | None = None,
        line: int | None = None,
        byte_offset: int | None = None,
        primary_key: object = None,
        raw: object = None,
    ) -> None:
        """Keep one thing that was wrong.

        Args:
            table: the table the row was meant for.
            code: what is wrong, as a name that stays: letters, digits and `_`.
            reason: what is wrong and what to do, as a sentence.
            rows: how many rows it stands for; the origin is then that of the first.
        """
        shown = raw if raw is None or isinstance(raw, str) else json.dumps(raw, default=str, ensure_ascii=False)
        key = (table, kind, code)
        self._counts[key] += rows
        self._sentences.setdefault(key, reason)
        self._waiting.append(
            (
                *(str(kind), table, code, reason, rows, None if file is None else str(file), line, byte_offset),
                None if primary_key is None else str(primary_key),
                shown[:_MOST_RAW] if shown else None,
            )
        )
        self._spill_much()

    def note_lines(self, kind: Kind, table: str, file: str, found: Sequence[Spoiled]) -> None:
        """Keep many lines of one file; as `note` for each, at half its cost."""
        for (code, reason), rows in Counter((code, reason) for code, reason, *_ in found).items():
            self._counts[(table, kind, code)] += rows
            self._sentences.setdefault((table, kind, code), reason)
        of = str(kind)
        self._waiting += [
            (of, table, code, reason, 1, file, line, byte_offset, None, raw[:_MOST_RAW] or None)
            for code, reason, line, byte_offset, raw in found
        ]
        self._spill_much()

    def take(self, accounts: Iterable[Account], noted: Iterable[pa.RecordBatch]) -> None:
        """What was noted elsewhere, with the accounts of it; where one has no used rows, those of its table count."""
        from sheaf.tables.parquet import write_parquet

        for of in accounts:
            self._seen[of.table] += of.seen
            self._left_out.setdefault(of.table, Counter()).update(of.left_out)
            if of.used:
                self.used(of.table, of.used)
            for reason in of.reasons:
                key = (of.table, reason.kind, reason.code)
                self._counts[key] += reason.rows
                self._sentences.setdefault(key, reason.reason)
        self._spill()
        path = self.folder / f"rejects-{len(self._spilled):06d}.parquet"
        write_parquet(path, schema(), noted)
        self._spilled.append(path)

    def sentences(self, table: str | None = None) -> list[str]:
        """Why rows were rejected, most frequent first."""
        found = [
            (-rows, self._sentences[key])
            for key, rows in self._counts.items()
            if key[1] is Kind.REJECT and table in (None, key[0])
        ]
        return [sentence for _, sentence in sorted(found)]

    def accounts(self, written: Mapping[str, int]) -> list[Account]:
        """What became of the rows, by table in alphabetical order.

        Args:
            written: rows of the tables that were written, by name.
        """
        named = {*self._seen, *self._used, *self._left_out, *(table for table, _, _ in self._counts)}
        return [self._account(table, written) for table in sorted(named)]

    def _account(self, table: str, written: Mapping[str, int]) -> Account:
        reasons = [
            Reason(kind=kind, code=code, reason=self._sentences[(table, kind, code)], rows=rows)
            for (of, kind, code), rows in self._counts.items()
            if of == table
        ]
        return Account(
            table=table,
            seen=self._seen[table],
            used=self._used.get(table, written.get(table, 0)),
            rejected=sum(reason.rows for reason in reasons if reason.kind is Kind.REJECT),
            left_out={why: rows for why, rows in self._left_out.get(table, {}).items() if rows},
            reasons=sorted(reasons, key=lambda reason: (-reason.rows, reason.kind, reason.code)),
        )

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All that was noted, in the order in which it was."""
        import pyarrow.parquet as pq

        for path in self._spilled:
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(_AT_ONCE)
        yield from _table(self._waiting).to_batches()

    def __bool__(self) -> bool:
        """Whether anything was noted."""
        return bool(self._counts)

    def _spill_much(self) -> None:
        if len(self._waiting) >= _AT_ONCE:
            self._spill()

    def _spill(self) -> None:
        if self._waiting:
            from sheaf.tables.parquet import write_parquet

            path = self.folder / f"rejects-{len(self._spilled):06d}.parquet"
            write_parquet(path, schema(), _table(self._waiting))
            self._spilled.append(path)
            self._waiting = []


@cache
def schema() -> pa.Schema:
    """The columns of what was noted, as Arrow knows them."""
    return arrow_schema(COLUMNS)


def _table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    import pyarrow as pa

    columns = zip(*rows, strict=True) if rows else ((),) * len(COLUMNS)
    return pa.Table.from_arrays(
        [pa.array(values, of.type) for values, of in zip(columns, schema(), strict=True)], schema=schema()
    )
