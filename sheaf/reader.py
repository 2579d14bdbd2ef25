"""Reading exports from programs: `sheaf.open("fermentation/batch-04/samples_csv").to_pandas()`.

A dataset is one version, chosen when it is opened; whatever is published later, it stays that one. Each file is
compared with its sha256 while it is read, so that nobody computes with half of one. Here: finding, checking and
handing over. Not here: Dagster, nor writing anything to the store.
"""

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from sheaf.errors import DamagedError, NotFoundError, UsageError, VerificationError
from sheaf.exports.columns import tables
from sheaf.exports.history import resolve
from sheaf.exports.records import File, Manifest, all_series, read_manifest
from sheaf.names import CAMPAIGN, ExportId, did_you_mean, parse_export
from sheaf.store.store import Store

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

_LOOKS = 5
"""How often the newest export is looked for while others delete and publish."""


class Dataset:
    """One published export.

    Attributes:
        name: such as `fermentation/batch-04/samples_csv/v7`: open that to get the very same again.
        version: its number.
        manifest: what it holds and what it was made from and with.

    Example:
        >>> samples = sheaf.open("fermentation/batch-04/samples_csv")
        >>> samples.to_pandas()
        >>> samples.name
        'fermentation/batch-04/samples_csv/v3'
    """

    def __init__(self, store: Store, export: ExportId, manifest: Manifest) -> None:
        self.name = str(export)
        self.version = export.version
        self.manifest = manifest
        self._store, self._export = store, export
        self._local: Path | None = None

    def __repr__(self) -> str:
        return f"<{self.name}: {', '.join(self.files)}>"

    @property
    def files(self) -> dict[str, File]:
        """The files by path, with size in bytes, sha256 and rows."""
        return {file.path: file for file in self.manifest.files}

    @property
    def tables(self) -> dict[str, list[str]]:
        """The files of each table, by the name under which `to_pandas` and the others know it.

        A folder of Parquet files, such as one for each day, is one table.
        """
        return tables(self.files)

    def read(self, file: str | None = None) -> bytes:
        """The bytes of a file, checked; without a name, of the only one.

        Raises:
            UsageError: there is no such file, or there are several.
            NotFoundError: the export was deleted since it was opened.
            VerificationError: the file is not what was published.
        """
        one = self._file(file)
        digest, chunks = hashlib.sha256(), []
        for chunk in self._stream(one):
            digest.update(chunk)
            chunks.append(bytes(chunk))
        self._confirm(one, digest.hexdigest())
        return b"".join(chunks)

    def path(self, file: str | None = None, to: str | Path | None = None) -> Path:
        """A local copy of a file or, without a name, of the folder with all files; checked.

        Args:
            file: its path in the export.
            to: the folder that gets the copies; by default a temporary one, which goes with the dataset.

        Raises:
            UsageError: there is no such file.
            NotFoundError: the export was deleted since it was opened.
            VerificationError: a file is not what was published.
        """
        folder = Path(to) if to is not None else self._scratch()
        wanted = [self._file(file)] if file is not None else list(self.manifest.files)
        for one in wanted:
            self._copy(one, folder / one.path)
        return folder / file if file is not None else folder

    def image(self, store_path: str) -> bytes:
        """The bytes of an image that a COCO file names by its place in the store; checked.

        Args:
            store_path: as the image's entry has it where the export holds no image files.

        Raises:
            UsageError: this is no image of the partition.
            NotFoundError: it is not there.
            VerificationError: it is not the image that the entry means.
        """
        series, sha256 = self._export.series, PurePosixPath(store_path).name
        if store_path != f"images/{series.domain}/{series.partition}/{sha256[:2]}/{sha256}":
            raise UsageError(f"{store_path!r} is no image of {series.domain} {series.partition}: give its store_path.")
        found = self._store.get(store_path)
        if hashlib.sha256(found).hexdigest() != sha256:
            raise VerificationError(f"{self.name}: {store_path} differs from the image that was annotated (sha256).")
        return found

    def to_arrow(self, table: str | None = None, columns: Sequence[str] | None = None) -> "pa.Table":
        """One table as Arrow.

        Args:
            table: its name in `tables`; not needed where there is one, or all others start with `_`.
            columns: only these, in this order.

        Raises:
            UsageError: there is no such table, or several.
            NotFoundError: the export was deleted since it was opened.
            VerificationError: a file is not what was published.
        """
        import pyarrow as pa

        paths = self._table(table)
        wanted = list(columns) if columns is not None else None
        if len(paths) > 1 or "/" in paths[0]:
            import pyarrow.dataset as ds

            for path in paths:
                self.path(path)
            return ds.dataset(self._scratch() / PurePosixPath(paths[0]).parts[0], partitioning="hive").to_table(
                columns=wanted
            )
        source, suffix = pa.BufferReader(self.read(paths[0])), PurePosixPath(paths[0]).suffix
        if suffix == ".parquet":
            import pyarrow.parquet as pq

            return pq.read_table(source, columns=wanted)
        if suffix == ".csv":
            import pyarrow.csv as csv

            found = csv.read_csv(source)
        else:
            import pyarrow.json as ndjson

            found = ndjson.read_json(source)
        return found if wanted is None else found.select(wanted)

    def to_pandas(self, table: str | None = None, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """One table as a data frame; arguments and errors as of `to_arrow`."""
        return self.to_arrow(table, columns).to_pandas()

    def duckdb(self, table: str | None = None) -> "duckdb.DuckDBPyRelation":
        """One table as a DuckDB relation: `.filter("OD > 2").df()`; errors as of `to_arrow`."""
        import duckdb

        return duckdb.from_arrow(self.to_arrow(table))

    def _table(self, name: str | None) -> list[str]:
        tables = self.tables
        if name is None:
            main = [one for one, paths in tables.items() if not paths[0].startswith("_")]
            if len(main) != 1:
                what = f"has the tables {', '.join(tables)}: name one" if tables else "holds no table: use .path()"
                raise UsageError(f"{self.name} {what}. Its files are {', '.join(self.files)}.")
            name = main[0]
        if name not in tables:
            known = ", ".join(tables) or "none"
            raise UsageError(f"{self.name} has no table {name!r}: there are {known}.{did_you_mean(name, tables)}")
        return tables[name]

    def _file(self, path: str | None) -> File:
        files = self.files
        if path is None:
            main = [one for one in files if not one.startswith("_")]
            if len(main) != 1:
                raise UsageError(f"{self.name} has several files: name one of {', '.join(files)}.")
            path = main[0]
        if path not in files:
            known = ", ".join(files)
            raise UsageError(f"{self.name} has no file {path!r}: there are {known}.{did_you_mean(path, files)}")
        return files[path]

    def _stream(self, file: File) -> Any:
        try:
            yield from self._store.stream(f"{self._export.path}/{file.path}")
        except NotFoundError:
            raise NotFoundError(f"{self.name} was deleted since it was opened: open the series again.") from None

    def _confirm(self, file: File, sha256: str) -> None:
        if sha256 != file.sha256:
            raise VerificationError(
                f"{self.name}: {file.path} differs from what was published (sha256): run `sheaf verify {self.name}`."
            )

    def _copy(self, file: File, target: Path) -> None:
        """Copy a file, unless it was copied before; it gets its name when it is whole and right."""
        if target.parent.is_relative_to(self._local or target) and target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".part")
        digest = hashlib.sha256()
        try:
            with partial.open("wb") as opened:
                for chunk in self._stream(file):
                    digest.update(chunk)
                    opened.write(chunk)
            self._confirm(file, digest.hexdigest())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def _scratch(self) -> Path:
        if self._local is None:
            self._local = Path(tempfile.mkdtemp(prefix="sheaf-"))
            weakref.finalize(self, shutil.rmtree, self._local, ignore_errors=True)
        return self._local


def open_export(name: str, store: str | None = None) -> Dataset:
    """Open a published export; as `sheaf.open`, which says more."""
    if len(name.strip("/").split("/")) == 3:
        name = f"{name.strip('/')}/latest"
    opened = _store(store)
    series, version = parse_export(name)
    for left in reversed(range(_LOOKS)):
        export = resolve(opened, name)
        try:
            return Dataset(opened, export, read_manifest(opened, export))
        except (NotFoundError, DamagedError):
            if version is not None or not left:  # `latest` may have moved since
                raise
    raise AssertionError(f"unreachable for {series}")


def open_every(series: str, store: str | None = None) -> dict[str, Dataset]:
    """Open a series of every partition; as `sheaf.open_every`, which says more."""
    parts = series.strip("/").split("/")
    if len(parts) != 2:
        raise UsageError(f"{series!r} is not of the form domain/series, such as fermentation/training_parquet.")
    opened, found = _store(store), {}
    for one in all_series(opened, parts[0], series=parts[1]):
        if one.partition != CAMPAIGN:
            with suppress(NotFoundError):  # none of it is canonical, or it is being deleted
                found[one.partition] = open_export(str(one), opened.url)
    return found


def _store(url: str | None) -> Store:
    """The store, which a reader never creates."""
    if url is None:
        from sheaf.settings import Settings

        url = Settings.load().store_url
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        root = Path(unquote(parts.path) if parts.scheme else url)
        if not root.is_dir():
            raise NotFoundError(f"There is no store at {root}: set SHEAF_STORE_URL, or SHEAF_HOME, or give `store`.")
    return Store.open(url)
