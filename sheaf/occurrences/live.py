"""Projects of a live Antenna as a source: its database, or its API.

A project is brought into a folder in the form of the inbox, which is kept between runs so that the
database has to give only what changed, and read by the same code. Not here: asking (`postgres`,
`api`), checking rows (`ingest`).
"""

import fcntl
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sheaf import clock
from sheaf.errors import InputError, NotFoundError, SheafError, SourceError
from sheaf.occurrences.settings import ApiSettings, DatabaseSettings, OccurrencesSettings
from sheaf.outside import secret
from sheaf.report import Report
from sheaf.sources import Offer, State
from sheaf.store import Store


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
        from sheaf.occurrences.postgres import projects

        return Offer(tuple(sorted(projects(self._dsn()))))

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        """Rows and newest changes of the tables people work on."""
        from sheaf.occurrences.postgres import state

        for project in partitions:
            try:
                yield State(project, state(self._dsn(), project))
            except SheafError as error:
                yield State(project, problem=str(error))

    def ingest(self, store: Store, partition: str) -> Report:
        """Read what changed, then check all."""
        from sheaf.occurrences.ingest import ingest
        from sheaf.occurrences.postgres import refresh

        with _kept(self.mirror, partition) as folder:
            with _source_errors():
                refresh(self._dsn(), partition, folder, self.settings)
            return ingest(folder, store, partition, self.settings)

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
        settings: of the domain.
        mirror: where projects are kept between runs.
    """

    api: ApiSettings
    settings: OccurrencesSettings
    mirror: Path
    name: str = "api"
    authoritative: bool = False

    def offers(self) -> Offer:
        """The configured projects."""
        return Offer(tuple(sorted(self.api.projects)))

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        """The API cannot tell what changed, so that a project is read again every so many hours."""
        for project in partitions:
            yield State(project, f"{clock.now().timestamp() // (self.api.refresh_hours * 3600):.0f}")

    def ingest(self, store: Store, partition: str) -> Report:
        """Read everything, then check all."""
        from sheaf.occurrences.api import refresh
        from sheaf.occurrences.ingest import ingest

        if partition not in self.api.projects:
            raise NotFoundError(
                f"{partition} is not among the projects of occurrences.sources that the API is asked for."
            )
        with _kept(self.mirror, partition) as folder:
            with _source_errors():
                refresh(self.api.url, partition, folder, os.environ.get(self.api.token_env))
            return ingest(folder, store, partition, self.settings)

    def check(self) -> str:
        """Ask for the first project."""
        import httpx

        from sheaf.occurrences.ingest import project_id_of

        token = os.environ.get(self.api.token_env)
        url = f"{self.api.url}/projects/{project_id_of(self.api.projects[0])}/"
        try:
            headers = {"Authorization": f"Token {token}"} if token else {}
            answer = httpx.get(url, headers=headers, timeout=30, follow_redirects=True)
        except httpx.HTTPError as error:
            raise SourceError(f"{url} cannot be reached: {error}") from error
        if answer.status_code != 200:
            raise SourceError(
                f"{url} answers {answer.status_code}: check the address, the project and {self.api.token_env}."
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
