"""The files of a project's inbox folder, one per table, named as the annotation server's tables, beside `images/`.

Not here: reading them (`sheaf/outside/table_files.py`), what the rows mean (`fields`), nor COCO datasets (`coco`).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from sheaf.annotations.readers.fields import COLUMNS, Row, Source, meant_for
from sheaf.annotations.readers.projects import only
from sheaf.errors import InputError
from sheaf.outside.files import key_of, top_files
from sheaf.outside.table_files import FORMATS, TableFile, read_rows, table_file
from sheaf.tables.rejects import Rejects

SPLITS = "splits"


def inbox_source(folder: Path, project: str, rejects: Rejects, scratch: Path) -> tuple[Source, tuple[str, ...]]:
    """The tables of an inbox folder as far as they are of one project, and warnings about files that nobody reads.

    Args:
        scratch: a local folder for working files.

    Raises:
        InputError: there is no image table, a table comes in two files, something is no regular file, or the
            tables hold several projects and nothing says which one is meant.
    """
    found: dict[str, Path] = {}
    ignored = []
    for path in top_files(folder):
        table, _, ending = key_of(path.name).partition(".")
        if ending not in FORMATS or table not in COLUMNS:
            ignored.append(path.name)
        elif table in found:
            raise InputError(f"{folder}: {found[table].name} and {path.name} are the same table: keep one of them.")
        else:
            found[table] = path
    if "images" not in found and "shared_images" not in found:
        raise InputError(
            f"{folder} has no images table: put images.csv, .ndjson or .parquet there, or coco/instances_<split>.json."
        )
    warnings = tuple(f"{name} is no table of an annotation project and was not read." for name in ignored)

    def reading(into: Rejects) -> Callable[[str], Iterator[Row]]:
        def rows(table: str) -> Iterator[Row]:
            if table in found:
                path = found[table]
                for line, values in read_rows(TableFile(path, meant_for(table), into), COLUMNS[table]):
                    yield Row(values, path.name, line)

        return rows

    (scratch / "ahead").mkdir(exist_ok=True)
    source = Source(reading(rejects), folder / "images")
    return only(source, reading(Rejects(scratch / "ahead")), project, rejects), warnings


def with_splits(source: Source, folder: Path, rejects: Rejects) -> Source:
    """A source of another format with the splits that a table `splits` beside it gives to images.

    Raises:
        InputError: there are several such tables.
    """
    path = table_file(folder, SPLITS)
    if path is None:
        return source

    def rows(table: str) -> Iterator[Row]:
        if table != SPLITS:
            yield from source.rows(table)
            return
        for line, values in read_rows(TableFile(path, SPLITS, rejects), COLUMNS[SPLITS]):
            yield Row(values, path.name, line)

    return replace(source, rows=rows)
