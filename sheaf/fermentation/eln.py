"""What both ways to the laboratory's ELN have in common: which batches it has, and the record of one.

Here: the interface and when a batch occupied its vessel. Not here: asking (`eln_rest`, `eln_postgres`).
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True)
class Run:
    """When a batch occupied its vessel; times in UTC, None where it has not happened or is not known."""

    batch: str
    vessel: str | None = None
    inoculated_at: datetime | None = None
    completed_at: datetime | None = None


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
