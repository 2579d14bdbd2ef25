"""What a table is: pinned columns with units and descriptions.

A declaration only: Arrow, which takes longer to load than most commands take, is loaded when somebody asks
for the schema. Not here: rows (`parquet`), which tables a domain has (`<domain>/schema.py`), nor where they
lie in the store (`generations`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

TEXT, FLAG, INTEGER, REAL, BYTES = "string", "bool", "int64", "float64", "binary"
UTC_TIME, WALL_TIME = "timestamp[us, tz=UTC]", "timestamp[us]"
"""An instant, and what a clock showed, without a zone."""


@dataclass(frozen=True)
class ListOf:
    """The type of a column that holds a list in each row."""

    of: Type


@dataclass(frozen=True)
class Column:
    """One column of a table; `column` makes it."""

    name: str
    type: Type
    nullable: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)


if TYPE_CHECKING:
    Type = str | ListOf | tuple[Column, ...] | pa.DataType
    """Arrow's name of a type, a list, a struct, or a type of Arrow where that is loaded anyway."""


def column(
    name: str, type_: Type, description: str = "", unit: str | None = None, *, null: bool = True, **more: str
) -> Column:
    """One column of a table.

    Args:
        type_: such as `TEXT`; a tuple of columns for a struct.
        unit: as UCUM writes it, or a word for what is counted.
        null: whether a value may be missing.
        more: further metadata of the column; empty ones are left out.
    """
    said = {"description": description, "unit": unit or "", **more}
    return Column(name, type_, null, {key: value for key, value in said.items() if value})


def arrow_schema(columns: Iterable[Column], metadata: Mapping[str, str] | None = None) -> pa.Schema:
    """Columns as Arrow knows them, description and unit in the metadata of each."""
    import pyarrow as pa

    return pa.schema([arrow_field(one) for one in columns], metadata=dict(metadata) if metadata else None)


def arrow_field(one: Column) -> pa.Field:
    """One column as Arrow knows it."""
    import pyarrow as pa

    return pa.field(one.name, arrow_type(one.type), nullable=one.nullable, metadata=dict(one.metadata) or None)


def arrow_type(type_: Type) -> pa.DataType:
    """A type as Arrow knows it."""
    import pyarrow as pa

    if isinstance(type_, ListOf):
        return pa.list_(arrow_type(type_.of))
    if isinstance(type_, tuple):
        return pa.struct([arrow_field(one) for one in type_])
    if type_ == UTC_TIME:  # has no alias in Arrow
        return pa.timestamp("us", tz="UTC")
    return pa.type_for_alias(type_) if isinstance(type_, str) else type_


@dataclass(frozen=True)
class Table:
    """One kind of record.

    Attributes:
        domain: the domain it belongs to.
        name: its name, once in the domain.
        kind: what a partition of the domain is: `batch`, `match`, `media_batch` or `project`.
        columns: pinned; what is written always has exactly these.
        description: one sentence.
        only_grows: whether fewer rows than before mean that something was lost, as with sensor points;
            what people curate (samples, labels) may become less. It lies in several files when it is long, so that what
            did not change is not stored again.
        may_be_empty: whether nothing is as good as something, as with marks that people may take back.
        needed: what a delivery is worth nothing without, in one word: it is refused when all rows that it has
            for the tables of that word were rejected.
    """

    domain: str
    name: str
    kind: str
    columns: tuple[Column, ...]
    description: str = ""
    only_grows: bool = False
    may_be_empty: bool = False
    needed: str = ""

    @cached_property
    def schema(self) -> pa.Schema:
        """Its columns as Arrow knows them."""
        return arrow_schema(self.columns)
