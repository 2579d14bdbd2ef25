"""What a kind of export is: one writer, one check, its options and filter.

A domain lists its series in `sheaf/<domain>/domain.py`. From each entry follow the asset, its
check, its place in the store, its name on the command line and its line in the history.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sheaf.exports.options import Options
from sheaf.store.store import Store

if TYPE_CHECKING:  # they bring pyarrow, which commands that only look things up do not need
    from sheaf.tables.pinned import Tables
    from sheaf.tables.table import Table


@dataclass(frozen=True)
class Draft:
    """What a writer gets: where to read, where to write, and what was asked for.

    Attributes:
        store: for what is no table, such as the bytes of images; writers never write to it.
        partition: the partition, or `campaign` for a series over all of them.
        members: the tables of each partition that the export is made from, pinned; one for a series of a
            single partition.
        folder: an empty local folder; every file written below it becomes part of the export.
        filter: an instance of the series' filter model.
        options: an instance of the series' options model.
        settings: the domain's.
        now: the time to print where a format wants one.
        version: the number of this export, for formats whose file name carries it.
        preview: only the report is wanted; a writer may leave out what costs long and tells nothing.
        copied: puts the files of another series with some options into a folder, where an export of it was made of
            these very tables and is whole, so that they need not be made again; gives their rows by path, or None.
    """

    store: Store
    partition: str
    members: "Mapping[str, Tables]"
    folder: Path
    filter: Any
    options: Any
    settings: Any
    now: datetime
    version: int
    preview: bool = False
    copied: Callable[[str, Options, Path], Mapping[str, int] | None] = lambda *_: None

    @property
    def tables(self) -> "Tables":
        """The tables of the partition; for a series over all of them use `members`."""
        return self.members[self.partition]

    @property
    def made_with(self) -> dict[str, Any]:
        """The settings with which the tables were made, by name: the same for all partitions."""
        return made_with(self.members.values())


def made_with(members: "Iterable[Tables]") -> dict[str, Any]:
    """The settings with which some tables were made, by name."""
    return {
        name: value
        for tables in members
        for generation in tables.generations.values()
        for name, value in generation.made_with.settings.items()
    }


@dataclass(frozen=True)
class Written:
    """What a writer reports.

    Attributes:
        record_count: records in the export (samples, occurrences, images), not lines.
        rows: data rows per file, by path relative to the export's folder, where a file has rows.
        counts: further named counts, such as `batches`, or groups of them, such as `class_counts`.
        warnings: sentences the reader of the export should know.
    """

    record_count: int
    rows: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int | Mapping[str, int]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def flat_counts(counts: Mapping[str, Any]) -> dict[str, Any]:
    """Counts in a single list, as people read them: those of a group as `class_counts.car`."""
    found: dict[str, Any] = {}
    for name, count in counts.items():
        found |= {f"{name}.{of}": each for of, each in count.items()} if isinstance(count, Mapping) else {name: count}
    return found


@dataclass(frozen=True)
class Series:
    """One entry in a domain's list of formats.

    Attributes:
        domain: the domain.
        name: as in `fermentation/<batch>/samples_csv`.
        description: one or two sentences for the UI and `--help`.
        authorise: refuses, with `UsageError`, what a member of the partition may not do; called with
            its tables, the action (`create` or `delete`), the member, and the domain's settings.
        as_of: chooses an earlier state of the partition where the filter or options ask for one: gets the
            states of its reading step, newest first, and returns one of them, or None for today's.
        compare: compares two folders with the files of two exports, where rows do not tell it all.
        title: what its exports are called where nobody names them, with their version.
        tables: what the writer, `check` and `authorise` read; their content decides whether anything changed.
        write: writes the files into `draft.folder` and reports what they hold.
        verify: reads the files back, with an independent reader where one exists, and raises
            `VerificationError` when they are not what the format promises.
        check: looks at the data for what a filter alone cannot tell (a collection of another
            project, a tag), and raises `UsageError` before a version is allocated; called with the
            tables, the filter and the options.
        options: model of the options; the defaults, or what the settings name, make the canonical export.
        filter: model of the filter; without one the export is canonical.
        version: raise it when the same input gives other bytes.
        kinds: formats for the UI, such as `csv`.
        campaign: one export over all partitions instead of one for each.
        tells_account: whether its files say how many rows were rejected; then those decide, too, whether
            anything changed.
        published: called with the store and the partition when its canonical export can be read.
        row_key: columns that identify a row, for the comparison of two versions.
    """

    domain: str
    name: str
    description: str
    tables: "tuple[Table, ...]"
    write: Callable[[Draft], Written]
    verify: Callable[[Path, Written], None]
    check: "Callable[[Tables, Any, Any], None] | None" = None
    options: type[Options] = Options
    filter: type[Options] = Options
    version: int = 1
    kinds: tuple[str, ...] = ()
    campaign: bool = False
    tells_account: bool = False
    row_key: tuple[str, ...] = ()
    title: str = ""
    published: Callable[[Store, str], None] | None = None
    authorise: "Callable[[Tables, str, str, Any], None] | None" = None
    as_of: "Callable[[Iterator[Tables], Any, Any], Tables | None] | None" = None
    compare: Callable[[Path, Path], dict[str, Any]] | None = None
