"""What a kind of export is: one writer, one check, its options and filter.

A domain lists its series in `sheaf/<domain>/series.py`. From each entry follow the asset, its
check, its place in the store, its name on the command line and its line in the history.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sheaf.options import Options
from sheaf.store import Store
from sheaf.tables import Table

CAMPAIGN = "campaign"


@dataclass(frozen=True)
class Draft:
    """What a writer gets: where to read, where to write, and what was asked for.

    Attributes:
        store: read tables from here; writers never write to it.
        partition: the partition, or `campaign` for a series over all of them.
        folder: an empty local folder; every file written below it becomes part of the export.
        filter: an instance of the series' filter model.
        options: an instance of the series' options model.
        now: the time to print where a format wants one.
        version: the number of this export, for formats whose file name carries it.
        preview: only the report is wanted; a writer may leave out what costs long and tells nothing.
    """

    store: Store
    partition: str
    folder: Path
    filter: Any
    options: Any
    now: datetime
    version: int
    preview: bool = False


@dataclass(frozen=True)
class Written:
    """What a writer reports.

    Attributes:
        record_count: records in the export (samples, occurrences, images), not lines.
        rows: data rows per file, by path relative to the export's folder, where a file has rows.
        counts: further named counts, such as `batches` or `contaminated`.
        warnings: sentences the reader of the export should know.
    """

    record_count: int
    rows: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Series:
    """One entry in a domain's list of formats.

    Attributes:
        domain: the domain.
        name: as in `fermentation/<batch>/samples_csv`.
        description: one or two sentences for the UI and `--help`.
        authorise: refuses, with `UsageError`, what a member of the partition may not do; called with
            store, partition, action (`create` or `delete`) and the member.
        compare: compares two folders with the files of two exports, where rows do not tell it all.
        title: what its exports are called where nobody names them, with their version.
        tables: what the writer reads; their content decides whether anything changed.
        write: writes the files into `draft.folder` and reports what they hold.
        verify: reads the files back, with an independent reader where one exists, and raises
            `VerificationError` when they are not what the format promises.
        check: looks at the data for what a filter alone cannot tell (a collection of another
            project, a role), and raises `UsageError` before a version is allocated.
        options: model of the options; the defaults make the canonical export.
        filter: model of the filter; without one the export is canonical.
        version: raise it when the same input gives other bytes.
        kinds: formats for the UI, such as `csv`.
        campaign: one export over all partitions instead of one for each.
        row_key: columns that identify a row, for the comparison of two versions.
    """

    domain: str
    name: str
    description: str
    tables: tuple[Table, ...]
    write: Callable[[Draft], Written]
    verify: Callable[[Path, Written], None]
    check: Callable[[Store, str, Any, Any], None] | None = None
    options: type[Options] = Options
    filter: type[Options] = Options
    version: int = 1
    kinds: tuple[str, ...] = ()
    campaign: bool = False
    row_key: tuple[str, ...] = ()
    title: str = ""
    authorise: Callable[[Store, str, str, str], None] | None = None
    compare: Callable[[Path, Path], dict[str, Any]] | None = None


@dataclass(frozen=True)
class Domain:
    """One field of work: its tables and the series that are published from them.

    Attributes:
        name: `fermentation`, `matches`, `media`, `occurrences` or `annotations`.
        kind: what a partition is called: `batch`, `match`, `media_batch` or `project`.
        rejects: the domain's rejects table.
        series: its formats, in the order people read them.
        offered: the names of the series that a partition has anything for; the others are made only
            on request. None where every partition has something for each.
    """

    name: str
    kind: str
    rejects: Table
    series: tuple[Series, ...]
    offered: Callable[[Store, str], tuple[str, ...]] | None = None
