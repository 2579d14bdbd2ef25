"""Which partition a batch is, whichever source has it: the same batch is never read into two.

A batch of an ELN is known by its id. A folder of the inbox that holds that id, or that names no id but the number and
phase, is the same batch and keeps its name; so does a partition that was read before, wherever from. Not here: reading.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sheaf.fermentation.sources.eln import Run


@dataclass(frozen=True)
class Known:
    """A partition, and which batch it is.

    Attributes:
        partition: its key.
        batch_id: id of the batch; None where its record names none, so that only number and phase tell.
        number, phase: what people call the batch by.
    """

    partition: str
    batch_id: str | None
    number: int | None = None
    phase: str | None = None

    @property
    def called(self) -> str | None:
        """Such as `12-B`; None where it is not known."""
        return None if self.number is None or not self.phase else f"{self.number}-{self.phase}"


def partitions_of(runs: Iterable[Run], known: Iterable[Known]) -> dict[str, str]:
    """The partition of each batch of an ELN, by the batch's id there.

    Args:
        runs: batches of the ELN.
        known: partitions of the inbox, then those that were read before; the first that is the batch counts.
    """
    by_id: dict[str, str] = {}
    by_name: dict[str, str] = {}
    for one in known:
        if one.batch_id:
            by_id.setdefault(one.batch_id, one.partition)
        elif one.called:
            by_name.setdefault(one.called, one.partition)
    names = {run.batch: Known(run.batch, run.batch, run.number, run.phase).called for run in runs}
    return {batch: by_id.get(batch) or by_name.get(called or "") or batch for batch, called in names.items()}


def already(own: Known, before: Iterable[Known]) -> str | None:
    """The other partition that is this batch already; None where there is none."""
    for one in before:
        same = (
            one.batch_id == own.batch_id if own.batch_id else one.batch_id and own.called and one.called == own.called
        )
        if same and one.partition != own.partition:
            return one.partition
    return None


def other_names(known: Iterable[Known]) -> Mapping[str, str]:
    """Partitions by what people may call them beside their key; a name that means several means none."""
    found: dict[str, str] = {}
    several = set()
    for one in known:
        for name in (one.batch_id, one.called):
            if name and found.setdefault(name, one.partition) != one.partition:
                several.add(name)
    return {name: partition for name, partition in found.items() if name not in several and name != partition}
