"""Running the steps of a domain in a test as the assets do, without Dagster."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from sheaf.annotations.readers.paths import is_image_name
from sheaf.coherence import pin
from sheaf.errors import NotFoundError
from sheaf.outside.inbox import content
from sheaf.report import Report
from sheaf.running import How, Made, run_step
from sheaf.sources import Delivery, Offer, Sources, State
from sheaf.steps import Domain
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.pinned import Tables
from sheaf.tables.work import Work


@dataclass(frozen=True)
class FolderSource:
    """One folder that every partition is read from; looking at it never saves reading it."""

    folder: Path
    reader: Callable[[Path, Work], Report]
    name: str = "inbox"
    authoritative: bool = False

    def offers(self) -> Offer:
        return Offer(())

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        yield from (State(partition) for partition in partitions)

    @contextmanager
    def deliver(self, store: Store, partition: str, folder: Path) -> Iterator[Delivery]:
        if not self.folder.exists():
            raise NotFoundError(f"There is no folder {self.folder}.")
        yield Delivery(content(self.folder, is_image_name), lambda work: self.reader(self.folder, work))

    def check(self) -> str:
        return "there"


def run_steps(
    store: Store,
    domain: Domain,
    partition: str,
    settings: BaseModel,
    source: Path | Sources,
    reader: Callable[[Path, Work], Report] | None = None,
    *,
    only: Sequence[str] | None = None,
    how: How | None = None,
) -> dict[str, Made]:
    """Run the steps of a partition in order, all or some; those behind a refusal are not run.

    Args:
        source: a folder that `reader` reads, or the sources themselves.
    """
    if isinstance(source, Path):
        assert reader is not None
        source = Sources({domain.name: (FolderSource(source, reader),)})
    made = {}
    for step in domain.steps:
        if only is None or step.name in only:
            made[step.name] = run_step(store, domain, step, partition, settings, source, how)
            if made[step.name].generation.refused is not None:
                break
    return made


def current(store: Store, domain: Domain, partition: str) -> Tables:
    """The tables of the last good generation of each step, whether or not they belong together."""
    found = {step.name: generations.current(store, domain.place(step, partition)) for step in domain.steps}
    return Tables(store, partition, {name: generation for name, generation in found.items() if generation})


def pinned(store: Store, domain: Domain, partition: str, settings: BaseModel) -> Tables:
    """All tables of a partition, as an export would get them."""
    return pin(store, domain, partition, [table for _, table in domain.tables()], settings)
