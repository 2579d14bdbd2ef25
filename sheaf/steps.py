"""What a domain declares: its steps, its checks, and what is published from it.

A domain is a value in `sheaf/<domain>/domain.py`. From it follow the assets with their checks and
versions, the graph, which step writes a table, the jobs, and what an export may read. Heavy modules are
imported inside the functions that a declaration names, so that the code location stays quick to load.
Not here: how a step is run (`sheaf/running.py`).
"""

from __future__ import annotations  # types of tables bring pyarrow, which many commands never need

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from sheaf.errors import UsageError
from sheaf.exports.series import Series
from sheaf.names import did_you_mean
from sheaf.publication import of_partition
from sheaf.report import Report
from sheaf.tables.generations import Place, Verdict

if TYPE_CHECKING:
    from sheaf.tables.pinned import Tables
    from sheaf.tables.table import Table
    from sheaf.tables.work import Work


@dataclass(frozen=True)
class Check:
    """One check of what a step made.

    Attributes:
        name: as the UI shows it.
        description: what holds when it passes, as a sentence.
        judge: gets the tables that the step read and wrote, its report, and the domain's settings.
    """

    name: str
    description: str
    judge: Callable[[Tables, Report, Any], Verdict]


@dataclass(frozen=True)
class Step:
    """One piece of work on a partition; one asset.

    Attributes:
        name: of the asset.
        description: a sentence for the UI.
        writes: its tables, the main one first; empty for a step that only looks.
        reads: the tables of earlier steps that it reads; no others are there for it.
        work: does one partition; None for the first step, which reads what a source delivers.
        settings: names of the domain's settings that it reads; the others have their defaults for it.
        hides: those of them that say what must not be public, as lists: a version that was made before one of them
            said more shows what is hidden now.
        tuning: names of settings that say how it is done but change nothing of what it makes.
        version: raise it when the same input gives other tables.
        checks: what is checked before its tables are committed.
        kinds: what it is made with, for the UI.
        pool: concurrency pool, for steps that press on a shared resource.
    """

    name: str
    description: str
    writes: tuple[Table, ...]
    reads: tuple[Table, ...] = ()
    work: Callable[[Work], Report] | None = None
    settings: tuple[str, ...] = ()
    hides: tuple[str, ...] = ()
    tuning: tuple[str, ...] = ()
    version: int = 1
    checks: tuple[Check, ...] = ()
    kinds: tuple[str, ...] = ("parquet", "duckdb")
    pool: str | None = None

    def settings_values(self, settings: BaseModel, partition: str) -> dict[str, Any]:
        """What the step's settings are today for a partition, as plain values."""
        return of_partition(settings, partition).model_dump(mode="json", include=set(self.settings))

    def own_settings(self, settings: BaseModel, partition: str) -> Any:
        """The settings as the step sees them: an undeclared one has no effect, so it cannot be forgotten."""
        own = of_partition(settings, partition)
        return type(settings)(**{name: getattr(own, name) for name in (*self.settings, *self.tuning)})


@dataclass(frozen=True)
class Choices:
    """What people ask of a partition before they export it.

    Attributes:
        tables: what both functions read, where it is there.
        facts: a partition in a list: how it is called where it comes from (`id`), where it stands, counts.
        values: by key of a filter or option, the values that the partition has, each with a word about it.
        of_site: what can be chosen on this machine whatever the partition, from the domain's settings.
    """

    tables: tuple[Table, ...]
    facts: Callable[[Tables], dict[str, Any]]
    values: Callable[[Tables], dict[str, dict[str, str]]]
    of_site: Callable[[Any], dict[str, dict[str, str]]] | None = None


@dataclass(frozen=True)
class Domain:
    """One field of work.

    Attributes:
        name: as in `fermentation`; also the name of its settings.
        kind: what a partition is called: `batch`, `match`, `media_batch` or `project`.
        steps: in the order data flows; the first reads what a source delivers.
        series: its formats, in the order people read them.
        offered: the names of the series that a partition has anything for, and wants; the others are made only
            on request. None where every partition has something for each.
        in_one_run: how many partitions of a backfill share a run; None for all, where they are light.
        choices: what people ask of a partition before they export it.
        licence: under what licence the records of a partition may be used, if they say so: its address, or a text.
    """

    name: str
    kind: str
    steps: tuple[Step, ...]
    series: tuple[Series, ...]
    offered: Callable[[Tables], tuple[str, ...]] | None = None
    in_one_run: int | None = None
    choices: Choices | None = None
    licence: Callable[[Tables], str] | None = None
    _writers: dict[str, Step] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Find out which step writes a table, and that every table that is read is written before."""
        writers: dict[str, Step] = {}
        for step in self.steps:
            for table in step.reads:
                if table.name not in writers:
                    raise ValueError(f"{self.name}/{step.name} reads {table.name}, which no step before it writes.")
            writers |= {table.name: step for table in step.writes}
        for series in self.series:
            for table in series.tables:
                if table.name not in writers:
                    raise ValueError(f"{self.name}/{series.name} reads {table.name}, which no step writes.")
        object.__setattr__(self, "_writers", writers)

    @property
    def reading(self) -> Step:
        """The step that reads what a source delivers."""
        return self.steps[0]

    def writer(self, table: Table) -> Step:
        """The step that writes a table."""
        return self._writers[table.name]

    def before(self, step: Step) -> list[Step]:
        """The steps whose tables a step reads itself, in the order data flows."""
        return self._of(step.reads)

    def needed_for(self, tables: Sequence[Table]) -> list[Step]:
        """The steps that some tables need, directly or not, in the order data flows."""
        wanted = {step.name for step in self._of(tables)}
        for step in reversed(self.steps):
            if step.name in wanted:
                wanted |= {before.name for before in self.before(step)}
        return [step for step in self.steps if step.name in wanted]

    def place(self, step: Step, partition: str) -> Place:
        """Where the generations of a step lie."""
        return Place(self.name, step.name, self.kind, partition)

    def step_named(self, name: str) -> Step:
        """Find a step; raises `UsageError` naming those there are."""
        for step in self.steps:
            if step.name == name:
                return step
        raise UsageError(f"{self.name} has no step {name!r}: there are {', '.join(step.name for step in self.steps)}.")

    def series_named(self, name: str) -> Series:
        """Find a series; raises `UsageError` naming those there are."""
        for series in self.series:
            if series.name == name:
                return series
        names = [series.name for series in self.series]
        known = ", ".join(names)
        raise UsageError(f"{self.name} has no series {name!r}: there are {known}.{did_you_mean(name, names)}")

    def tables(self) -> Iterator[tuple[Step, Table]]:
        """Every table with the step that writes it."""
        for step in self.steps:
            for table in step.writes:
                yield step, table

    def _of(self, tables: Sequence[Table]) -> list[Step]:
        names = {self._writers[table.name].name for table in tables}
        return [step for step in self.steps if step.name in names]
