"""What both ways to the laboratory's ELN have in common: which batches it has, and the record of one.

Here: the interface and when a batch occupied its vessel. Not here: asking (`eln_rest`, `eln_postgres`).
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sheaf.fermentation.readers.fields import FieldError, read_time, shorten


@dataclass(frozen=True)
class Run:
    """When a batch occupied its vessel; times in UTC, None where it has not happened or is not known.

    `problem` says which time cannot be read, as a sentence; `number` and `phase` are what people call the batch.
    """

    batch: str
    vessel: str | None = None
    inoculated_at: datetime | None = None
    completed_at: datetime | None = None
    problem: str = ""
    number: int | None = None
    phase: str | None = None


def run_from(batch: str, row: Mapping[str, Any], naive_timezone: str | None) -> Run:
    """A run from a row whose times are texts; one that cannot be read costs no other batch.

    Args:
        batch: its id.
        row: `vessel_id`, `inoculated_at`, `completed_at`, `batch_number`, `phase`.
        naive_timezone: zone of times that carry none, the same that the record is read with.
    """
    times: dict[str, datetime | None] = {"inoculated_at": None, "completed_at": None}
    problems = []
    for key in times:
        try:
            times[key] = None if row.get(key) is None else read_time(row[key], naive_timezone)
        except FieldError as error:
            problems.append(f"Batch {batch}: {key} {shorten(row[key])} {error}.")
    return Run(
        batch,
        row.get("vessel_id"),
        times["inoculated_at"],
        times["completed_at"],
        " ".join(problems),
        *number_and_phase(row),
    )


def number_and_phase(row: Mapping[str, Any]) -> tuple[int | None, str | None]:
    """What people call a batch by, as far as its record tells."""
    number, phase = row.get("batch_number"), row.get("phase")
    told = isinstance(number, int) or (isinstance(number, str) and number.isdecimal())
    return int(number) if told and number is not None else None, phase if isinstance(phase, str) else None


@dataclass(frozen=True)
class Record:
    """One batch as the ELN has it.

    Attributes:
        document: JSON as in `batch.json`.
        warnings: what could not be read, as sentences.
    """

    document: bytes
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fingerprint:
    """A batch and a text that changes with it or any of its rows; `problem` says why there is none."""

    batch: str
    text: str = ""
    problem: str = ""


class Eln(Protocol):
    """The laboratory's record of its batches."""

    name: str

    def runs(self) -> list[Run]:
        """All batches, by id."""
        ...

    def fingerprints(self, batches: Sequence[str]) -> Generator[Fingerprint, None, None]:
        """Look at batches one after another, in this order."""
        ...

    def record(self, batch: str) -> Record:
        """Read one batch with everything below it; raises `NotFoundError` when there is none."""
        ...

    def check(self) -> str:
        """Try the connection; returns what was found."""
        ...
