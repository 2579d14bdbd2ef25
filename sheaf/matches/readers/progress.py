"""How far a match was read, so that of logs that only grew what is new is all that is read the next time.

That is possible while no other file changed, everything new is later than everything before, and no device gets
another name by it; else the match is read as a whole. Both ways lead to the same tables. Not here: reading (`ingest`),
nor where a single file goes on (`log_blocks`).
"""

# pyarrow.compute makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from sheaf.matches import schema
from sheaf.matches.readers.devices import Device
from sheaf.matches.readers.files import Source
from sheaf.matches.readers.log_blocks import Mark
from sheaf.matches.readers.match_yaml import Manifest
from sheaf.tables.accounts import Account
from sheaf.tables.pinned import Tables

if TYPE_CHECKING:
    import pyarrow as pa

APART_US = 500_000
"""New events have to be later by this: two that are nearer may be one that two loggers wrote."""


class Position(BaseModel):
    """How far one source was read.

    Attributes:
        form: what the file is.
        entry: its row in the table of sources.
        mark: where it goes on; None where it has to be as it was.
        whole: whether it has to be read as a whole all the same.
        naive: whether it has times without a zone.
        dialects: what its lines are.
        last_us: what its clock showed at the end.
        latest_us: the latest that its clock showed.
        devices: those that a database lists.
        warnings: what a database gave rise to.
    """

    model_config = ConfigDict(frozen=True)

    form: str
    entry: dict[str, Any]
    mark: Mark | None = None
    whole: bool = False
    naive: bool = False
    dialects: tuple[str, ...] = ()
    last_us: int | None = None
    latest_us: int = 0
    devices: tuple[Device, ...] = ()
    warnings: tuple[str, ...] = ()


class Progress(BaseModel):
    """How far a match was read.

    Attributes:
        described: what a person says about it, as JSON.
        positions: how far its sources were, by their names.
        seen: pairs of device and the name that a source uses.
        names: full address by such a name.
        counts: what was counted.
        events: how many events there are.
        latest_us: no event is later.
        first_us, last_us: times of the first and the last event.
    """

    model_config = ConfigDict(frozen=True)

    described: str
    positions: dict[str, Position]
    seen: list[tuple[str, str]]
    names: dict[str, str]
    counts: dict[str, int]
    events: int
    latest_us: int
    first_us: int | None
    last_us: int | None


def known(before: Tables | None, described: Manifest, sources: Sequence[Source]) -> Progress | None:
    """How far the match was read, if it may go on from there: its description is the same, and no file is gone."""
    if before is None or schema.PROGRESS not in before:
        return None
    found = Progress.model_validate_json(before.row(schema.PROGRESS)["state"])
    same = found.described == described.model_dump_json()
    return found if same and found.positions.keys() <= {source.name for source in sources} else None


def of_events(before: Tables) -> "tuple[list[Account], Iterator[pa.RecordBatch]]":
    """What became of the lines that were read, and what was noted of them; other files are looked at each time."""
    import pyarrow.compute as pc

    name = schema.EVENTS.name
    ((step, generation),) = before.generations.items()
    noted = (batch.filter(pc.equal(batch.column("table"), name)) for batch in before.rejects(step))
    return [of.model_copy(update={"used": 0}) for of in generation.account if of.table == name], noted
