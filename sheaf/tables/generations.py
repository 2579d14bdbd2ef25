"""Generations: what one run of a step wrote for one partition, all its tables or none.

    tables/<domain>/<step>/<kind>=<partition>/000012-<attempt>/<table>.parquet    written first, never changed
    tables/<domain>/<step>/<kind>=<partition>/000012.json                         the commit, created last

A generation exists when its commit does, and the newest is the current one. What did not change, a table or
the first parts of a long one that grew, is named by its commit where an earlier generation put it. Not here:
what a step does (`sheaf/steps.py`), nor whether generations belong together (`sheaf/coherence.py`).
"""

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from sheaf import clock
from sheaf.names import PARTITION_KEY, check_partition
from sheaf.store import documents
from sheaf.store.store import Store
from sheaf.tables.accounts import REJECTS_FILE, Account

_COMMIT = re.compile(r"([0-9]{6,})\.json")
_ATTEMPT = re.compile(r"([0-9]{6,})-[0-9a-f]{8}")


class Part(BaseModel):
    """One file of a table; `size` in bytes."""

    model_config = ConfigDict(frozen=True)

    path: str
    rows: int
    size: int
    sha256: str


class TableFile(Part):
    """One table of a generation; `sha256` is its data version, `size` in bytes.

    Attributes:
        parts: where it lies in several files, those, in the order of its rows; `path` is empty then.
    """

    parts: tuple[Part, ...] = ()

    @property
    def files(self) -> tuple[Part, ...]:
        """Its files, in the order of its rows."""
        return self.parts or (self,)


class MadeWith(BaseModel):
    """What a generation was made from and with: a step that would be made with the same does nothing.

    Attributes:
        delivery: what a source gave, named by the hash of its content; None for a step that reads tables.
        inputs: sha256 of the tables it read, by name.
        code: version of the step.
        settings: the values of the settings it reads.
    """

    model_config = ConfigDict(frozen=True)

    delivery: str | None = None
    inputs: dict[str, str] = {}
    code: int = 1
    settings: dict[str, Any] = {}


class Verdict(BaseModel):
    """What a check found; `detail` is a sentence for the operator."""

    model_config = ConfigDict(frozen=True)

    passed: bool
    detail: str = ""


class Generation(BaseModel):
    """The commit of one generation.

    Attributes:
        source: which source the delivery came from.
        generations: the generations of other steps that it read, by step.
        tables: what it holds, by name of the table.
        refused: why there are no tables; the generation before stays what is used.
        account: what became of the rows that were delivered.
        counts, warnings: the step's report.
        checks: what its checks found, by name.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    schema_version: int = 1
    domain: str
    step: str
    partition: str
    number: int
    made_at: datetime
    run_id: str | None = None
    made_with: MadeWith
    source: str | None = None
    generations: dict[str, int] = {}
    tables: dict[str, TableFile] = {}
    refused: str | None = None
    account: list[Account] = []
    counts: dict[str, int | float] = {}
    warnings: list[str] = []
    checks: dict[str, Verdict] = {}

    @property
    def data_version(self) -> str:
        """Differs whenever the tables do."""
        return "-".join(file.sha256[:16] for name, file in self.tables.items() if name != REJECTS_FILE)

    @property
    def parts(self) -> Iterator[Part]:
        """The files of all its tables."""
        for file in self.tables.values():
            yield from file.files


@dataclass(frozen=True)
class Place:
    """Where the generations of one step and partition lie; `kind` is what a partition is called."""

    domain: str
    step: str
    kind: str
    partition: str

    @property
    def folder(self) -> str:
        """The folder in the store."""
        return f"tables/{self.domain}/{self.step}/{self.kind}={check_partition(self.partition)}"

    def commit_path(self, number: int) -> str:
        """The commit of one generation."""
        return f"{self.folder}/{number:06d}.json"


def numbers(store: Store, place: Place) -> list[int]:
    """The numbers of all generations there are, ascending, refused ones included."""
    found = (_COMMIT.fullmatch(name) for name in store.names(place.folder))
    return sorted(int(match[1]) for match in found if match)


def read(store: Store, place: Place, number: int) -> Generation:
    """One generation.

    Raises:
        NotFoundError: there is none of that number.
        DamagedError: its commit cannot be read.
    """
    return documents.read(Generation, store, place.commit_path(number))


def history(store: Store, place: Place) -> Iterator[Generation]:
    """The generations from the newest to the oldest; one that was pruned meanwhile or is damaged is passed over."""
    for number in reversed(numbers(store, place)):
        if found := documents.read_if_whole(Generation, store, place.commit_path(number)):
            yield found


def newest(store: Store, place: Place) -> Generation | None:
    """The newest generation, which may be a refusal; None where there is none."""
    return next(history(store, place), None)


def current(store: Store, place: Place) -> Generation | None:
    """The newest generation with tables; None where there is none."""
    return next((found for found in history(store, place) if found.refused is None), None)


def next_number(store: Store, place: Place) -> int:
    """The number of the next generation; to be asked before `newest`, so that what is committed between is noticed."""
    return max(numbers(store, place), default=0) + 1


def partitions(store: Store, domain: str, step: str, kind: str) -> list[str]:
    """The partitions for which a step was ever run, sorted."""
    start = f"{kind}="
    found = (name.removeprefix(start) for name in store.folders(f"tables/{domain}/{step}") if name.startswith(start))
    return [name for name in found if PARTITION_KEY.fullmatch(name)]


def commit(
    store: Store,
    place: Place,
    generation: Generation,
    files: Mapping[str, Mapping[str, Path]],
    before: Generation | None,
) -> Generation | None:
    """Make a generation exist, with all its tables, under the number it has.

    Args:
        generation: with size, rows and sha256 of its tables; the paths of what has none are decided here.
        files: the local files by the name of the table and their sha256; they are moved into the store.
        before: the current generation; what is the same there is not stored again.

    Returns:
        The generation as it was committed; None when somebody else has taken its number.
    """
    folder = f"{place.folder}/{generation.number:06d}-{uuid.uuid4().hex[:8]}"
    tables, new = {}, {}
    for name, file in generation.tables.items():
        stored = {part.sha256: part for part in before.tables[name].files} if before and name in before.tables else {}
        parts: list[Part] = []
        for number, part in enumerate(file.files):
            same = part if part.path else stored.get(part.sha256)
            if not (same and store.size(same.path) == same.size):
                path = f"{folder}/{name}{f'-{number:04d}' if file.parts else ''}.parquet"
                same = part.model_copy(update={"path": path})
                new[path] = files[name][part.sha256]
            parts.append(same)
        tables[name] = file.model_copy(update={"parts": tuple(parts)} if file.parts else {"path": parts[0].path})
    store.put_files(new)
    committed = generation.model_copy(update={"tables": tables})
    data = committed.model_dump_json(indent=1).encode()
    path = place.commit_path(generation.number)
    if documents.create(store, path, data):
        return committed
    store.delete([item.path for item in store.list(folder)])
    return None


def sweep(store: Store, place: Place) -> int:
    """Remove what attempts left that were killed before their commit; returns how many objects.

    An attempt at a number that is taken can never be committed; one at the next number may be alive. While
    a commit is damaged nothing goes: nobody knows what it names.
    """
    there, known = numbers(store, place), list(history(store, place))
    if len(known) < len(there):
        return 0
    found = unnamed(store, place, there, known)
    store.delete(found)
    return len(found)


def unnamed(store: Store, place: Place, taken: Sequence[int], known: Sequence[Generation]) -> list[str]:
    """The files of attempts at numbers that are taken which no generation names.

    Args:
        taken: as `numbers` gave them before the generations were read, so that none is overlooked.
        known: the generations.
    """
    named = {part.path for found in known for part in found.parts}
    left = []
    for name in store.folders(place.folder):
        attempt = _ATTEMPT.fullmatch(name)
        if attempt and taken and int(attempt[1]) <= taken[-1]:
            left += [item.path for item in store.list(f"{place.folder}/{name}") if item.path not in named]
    return left


def prune(
    store: Store, place: Place, keep: Sequence[int], *, young: timedelta, dry_run: bool = False
) -> tuple[list[int], int]:
    """Remove generations that are neither current nor newest nor to be kept.

    Args:
        keep: numbers that something names, such as a kept export.
        young: what was replaced no longer ago than this stays: somebody may be reading it.
        dry_run: only say which.

    Returns:
        The numbers that go, and how many bytes of tables. A file stays as long as a generation that stays names it.
    """
    there, known = numbers(store, place), list(history(store, place))
    if len(known) < len(there):  # one is damaged: nobody knows which tables it names
        return [], 0
    usable = next((found.number for found in known if found.refused is None), None)
    wanted = {*keep, usable, known[0].number if known else None}
    now = clock.now()
    wanted |= {found.number for after, found in pairwise(known) if now - after.made_at < young}
    gone = [found for found in known if found.number not in wanted]
    named = {part.path for found in known if found.number in wanted for part in found.parts}
    sizes = {part.path: part.size for found in gone for part in found.parts if part.path not in named}
    if not dry_run and gone:
        store.delete([place.commit_path(found.number) for found in gone])  # first, so that nobody begins to read it
        store.delete(sizes)
    return sorted(found.number for found in gone), sum(sizes.values())
