"""Projects of a live Antenna as a source: its database, or its API.

A project is brought into a folder in the form of the inbox, which is kept between runs so that the
database has to give only what changed, and read by the same code. Not here: asking (`postgres`,
`api`), checking rows (`ingest`).
"""

import fcntl
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sheaf import clock
from sheaf.errors import InputError, NotFoundError, SheafError, SourceError
from sheaf.occurrences.settings import ApiSettings, DatabaseSettings, OccurrencesSettings
from sheaf.outside.addresses import secret
from sheaf.outside.inbox import content
from sheaf.sources import Delivery, Offer, State
from sheaf.store.store import Store


@dataclass(frozen=True)
class AntennaDatabase:
    """The PostgreSQL database of Antenna.

    Attributes:
        database: how it is reached.
        settings: of the domain.
        mirror: where projects are kept between runs.
    """

    database: DatabaseSettings
    settings: OccurrencesSettings
    mirror: Path
    name: str = "postgres"
    authoritative: bool = True

    def offers(self) -> Offer:
        """All projects."""
        from sheaf.occurrences.sources.postgres import projects

        return Offer(tuple(sorted(projects(self._dsn()))))

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        """A hash of what the database says about the rows of a project."""
        from sheaf.occurrences.sources.postgres import state

        for project in partitions:
            try:
                yield State(project, state(self._dsn(), project))
            except SheafError as error:
                yield State(project, problem=str(error))

    @contextmanager
    def deliver(self, store: Store, partition: str, folder: Path) -> Iterator[Delivery]:
        """Fetch what changed; a delivery is the project as it is then."""
        from sheaf.occurrences.readers.ingest import ingest
        from sheaf.occurrences.sources.mirror import content_of_rows
        from sheaf.occurrences.sources.postgres import refresh

        with _kept(self.mirror, partition) as kept:
            with _source_errors():
                refresh(self._dsn(), partition, kept, self.settings)
            yield Delivery(content_of_rows(kept), lambda work: ingest(kept, work))

    def check(self) -> str:
        """Count the projects."""
        return f"{len(self.offers().partitions)} projects in the occurrence database"

    def _dsn(self) -> str:
        return secret(
            self.database.dsn_env, "address of the occurrence database, such as postgresql://reader:…@host/db"
        )


@dataclass(frozen=True)
class AntennaApi:
    """The API of Antenna; the projects are named in the configuration.

    Attributes:
        api: how it is reached, and which projects.
        mirror: where projects are kept between runs.
    """

    api: ApiSettings
    mirror: Path
    name: str = "api"
    authoritative: bool = False

    def offers(self) -> Offer:
        """The configured projects."""
        return Offer(tuple(sorted(self.api.projects)))

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        """The API cannot tell what changed, so that a project is read again every so many hours."""
        for project in partitions:
            yield State(project, f"{clock.now().timestamp() // (self.api.refresh_hours * 3600):.0f}", sure=False)

    @contextmanager
    def deliver(self, store: Store, partition: str, folder: Path) -> Iterator[Delivery]:
        """Fetch everything."""
        from sheaf.occurrences.readers.ingest import ingest
        from sheaf.occurrences.sources.api import refresh

        if partition not in self.api.projects:
            raise NotFoundError(
                f"{partition} is not among the projects of occurrences.sources that the API is asked for."
            )
        with _kept(self.mirror, partition) as kept:
            with _source_errors():
                refresh(self.api.url, partition, kept, os.environ.get(self.api.token_env))
            yield Delivery(content(kept), lambda work: ingest(kept, work))

    def check(self) -> str:
        """Ask for the first project."""
        from sheaf.occurrences.readers.ingest import project_id_of
        from sheaf.occurrences.sources.api import service

        path = f"projects/{project_id_of(self.api.projects[0])}/"
        with closing(service(self.api.url, os.environ.get(self.api.token_env))) as api:
            answer = api.ask("GET", path)
        if answer.status != 200:
            raise SourceError(
                f"{answer.url} answers {answer.status}: check the address, the project and {self.api.token_env}."
            )
        return f"{len(self.api.projects)} projects at {self.api.url}"


@contextmanager
def _source_errors() -> Iterator[None]:
    """What goes wrong while a live system is asked is no fault of its data."""
    try:
        yield
    except InputError as error:
        raise SourceError(str(error)) from error


@contextmanager
def _kept(mirror: Path, project: str) -> Iterator[Path]:
    """The folder of a project, for one process at a time."""
    mirror.mkdir(parents=True, exist_ok=True)
    with (mirror / f".{project}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield mirror / project
