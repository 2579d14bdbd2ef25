"""Which tables the files of an export are, and what their columns mean.

What a column is called and of which type, its file says; what it means and in which unit, the footer of a Parquet
file, and for other formats the tables that the series is made from, where they have a column of that name. Here:
finding that out, on demand. Not here: the documents that tell it in the words of a standard (`describe`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from sheaf.errors import SheafError, VerificationError
from sheaf.names import ExportId
from sheaf.store.store import Store

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.fs as pafs

    from sheaf.exports.records import Manifest
    from sheaf.tables.table import Table

TABULAR = (".parquet", ".csv", ".ndjson", ".jsonl")
Kind = Literal["integer", "number", "boolean", "string", "date", "time", "datetime", "list", "object", "any"]
_BLOCK = 8 << 20
"""Bytes from which the types of a text file are told."""
_NUMBERS: tuple[Kind, ...] = ("integer", "number")


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        type: as Arrow calls it.
        kind: the same in a word that formats without Arrow's types have.
        needed: whether it is never empty, as far as that was declared.
    """

    name: str
    type: str
    kind: Kind
    unit: str = ""
    description: str = ""
    needed: bool = False


@dataclass(frozen=True)
class Sheet:
    """One table of an export.

    Attributes:
        paths: its files, which all have the same columns.
        delimiter, decimal: of a CSV.
    """

    name: str
    paths: tuple[str, ...]
    columns: tuple[Column, ...]
    delimiter: str = ","
    decimal: str = "."

    @property
    def format(self) -> str:
        """`parquet`, `csv` or `ndjson`."""
        return PurePosixPath(self.paths[0]).suffix.removeprefix(".").replace("jsonl", "ndjson")


def tables(paths: Iterable[str]) -> dict[str, list[str]]:
    """The files of each table by its name; a folder of Parquet files, such as one for each day, is one table."""
    found: dict[str, list[str]] = {}
    for path in paths:
        pure = PurePosixPath(path)
        if pure.suffix in TABULAR:
            name = pure.parts[0] if len(pure.parts) > 1 and pure.suffix == ".parquet" else pure.stem
            found.setdefault(name.lstrip("_"), []).append(path)
    return found


def sheets(store: Store, export: ExportId, manifest: "Manifest", declared: "Sequence[Table]" = ()) -> list[Sheet]:
    """The tables of an export with their columns.

    Args:
        declared: the tables that its series is made from.

    Raises:
        SheafError: a file cannot be read.
    """
    failed: list[SheafError] = []
    filesystem = store.filesystem(failed.append)
    found = []
    for name, paths in tables(file.path for file in manifest.files).items():
        try:
            found.append(_sheet(filesystem, f"{export.path}/{paths[0]}", name, tuple(paths), declared))
        except (OSError, ValueError) as error:  # Arrow's own are one of these
            if failed:
                raise failed[0] from None
            why = str(error).splitlines()[0]
            raise VerificationError(f"{export}: {paths[0]} cannot be read: {why}") from error
    return found


def _sheet(
    filesystem: "pafs.FileSystem", path: str, name: str, paths: tuple[str, ...], declared: "Sequence[Table]"
) -> Sheet:
    if path.endswith(".parquet"):
        import pyarrow.parquet as pq

        with filesystem.open_input_file(path) as opened:
            return Sheet(name, paths, tuple(_column(field) for field in pq.read_schema(opened)))
    with filesystem.open_input_file(path) as opened:
        head = bytes(opened.read(_BLOCK))
    whole = head[: head.rfind(b"\n") + 1] or head
    if path.endswith(".csv"):
        return _csv(whole, name, paths, declared)
    import pyarrow as pa
    import pyarrow.json as ndjson

    schema = ndjson.read_json(pa.BufferReader(whole)).schema if whole.strip() else pa.schema([])
    return Sheet(name, paths, tuple(_meant(schema, declared)))


def _csv(head: bytes, name: str, paths: tuple[str, ...], declared: "Sequence[Table]") -> Sheet:
    import pyarrow as pa
    import pyarrow.csv as csv

    header = head.split(b"\n", 1)[0].decode("utf-8-sig", errors="replace")
    delimiter = max(",;\t", key=header.count)
    decimal = "," if delimiter == ";" else "."
    schema = csv.read_csv(
        pa.BufferReader(head),
        parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=csv.ConvertOptions(decimal_point=decimal),
    ).schema
    return Sheet(name, paths, tuple(_meant(schema, declared)), delimiter, decimal)


def _meant(schema: "pa.Schema", declared: "Sequence[Table]") -> Iterable[Column]:
    """Columns of a text file, with what the tables say of them that it was made from.

    Where several have a column of that name, the one counts that shares most columns with the file. Its type is
    the declared one if the text can be read as that: a whole number may only be one by chance. A header such as
    `DO [%]` tells the unit itself.
    """
    names = {_plain(name) for name in schema.names}
    likest = sorted(declared, key=lambda table: -len(names & {_plain(name) for name in table.schema.names}))
    meant: dict[str, pa.Field] = {}
    for table in likest:
        for field in table.schema:
            meant.setdefault(_plain(field.name), field)
    for field in schema:
        seen = _column(field)
        bare, _, unit = field.name.removesuffix("]").partition(" [")
        known = meant.get(_plain(bare))
        if known is None:
            yield replace(seen, unit=unit)
            continue
        said = _column(known)
        fits = seen.kind in (said.kind, "any") or said.kind == "string" or {seen.kind, said.kind} == set(_NUMBERS)
        kind = "number" if {seen.kind, said.kind} == set(_NUMBERS) else said.kind if fits else seen.kind
        type_ = said.type if kind == said.kind else seen.type
        yield Column(field.name, type_, kind, unit or said.unit, said.description)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _column(field: "pa.Field") -> Column:
    notes = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    type_ = field.type.value_type if hasattr(field.type, "index_type") else field.type
    return Column(
        field.name,
        str(type_),
        _kind(type_),
        notes.get("unit", ""),
        notes.get("description", ""),
        needed=not field.nullable,
    )


def _kind(type_: Any) -> Kind:
    import pyarrow as pa

    is_: Any = pa.types
    kinds: tuple[tuple[Kind, tuple[Any, ...]], ...] = (
        ("boolean", (is_.is_boolean,)),
        ("integer", (is_.is_integer,)),
        ("number", (is_.is_floating, is_.is_decimal)),
        ("string", (is_.is_string, is_.is_large_string)),
        ("datetime", (is_.is_timestamp,)),
        ("date", (is_.is_date,)),
        ("time", (is_.is_time,)),
        ("list", (is_.is_list, is_.is_large_list, is_.is_fixed_size_list)),
        ("object", (is_.is_struct, is_.is_map)),
    )
    for kind, tests in kinds:
        if any(test(type_) for test in tests):
            return kind
    return "any"
