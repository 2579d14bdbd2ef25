"""The sources of every domain as they are configured: the inbox, then the live systems.

Here: which there are and in what order. Not here: how one is read (`sheaf/inbox.py`, and
`sheaf/<domain>/` for live systems).
"""

from collections.abc import Callable
from pathlib import Path

from sheaf.annotations.postgres import AnnotationServer
from sheaf.fermentation.eln_live import ElnSource, ingest_folder
from sheaf.fermentation.eln_postgres import ElnPostgres
from sheaf.fermentation.eln_rest import ElnRest
from sheaf.fermentation.source_settings import RestSettings
from sheaf.inbox import InboxSource
from sheaf.media.inbox import MediaInbox
from sheaf.occurrences.live import AntennaApi, AntennaDatabase
from sheaf.occurrences.settings import ApiSettings
from sheaf.outside import secret
from sheaf.report import Report
from sheaf.settings import Settings
from sheaf.sources import Source, Sources
from sheaf.store import Store


def configured_sources(settings: Settings) -> Sources:
    """All sources; nothing is opened and no secret is read before one is used."""
    return Sources(
        {
            "fermentation": _fermentation(settings),
            "matches": (_matches(settings),),
            "media": (MediaInbox(settings.inbox, settings.store_url, settings.media),),
            "occurrences": _occurrences(settings),
            "annotations": _annotations(settings),
        }
    )


def _fermentation(settings: Settings) -> tuple[Source, ...]:
    def read(folder: Path, store: Store, batch: str) -> Report:
        return ingest_folder(folder, store, batch, settings.fermentation)

    elns = [
        ElnRest(eln) if isinstance(eln, RestSettings) else ElnPostgres(eln) for eln in settings.fermentation.sources
    ]
    return (
        InboxSource(settings.inbox, "fermentation", read),
        *(ElnSource(eln, settings.fermentation) for eln in elns),
    )


def _matches(settings: Settings) -> Source:
    def read(folder: Path, store: Store, match: str) -> Report:
        from sheaf.matches.ingest import ingest

        return ingest(folder, store, match, settings.matches)

    return InboxSource(settings.inbox, "matches", read)


def _occurrences(settings: Settings) -> tuple[Source, ...]:
    def read(folder: Path, store: Store, project: str) -> Report:
        from sheaf.occurrences.ingest import ingest

        return ingest(folder, store, project, settings.occurrences)

    own, mirror = settings.occurrences, settings.home / "mirror" / "occurrences"
    live = [
        AntennaApi(source, own, mirror) if isinstance(source, ApiSettings) else AntennaDatabase(source, own, mirror)
        for source in own.sources
    ]
    return (InboxSource(settings.inbox, "occurrences", read), *live)


def _annotations(settings: Settings) -> tuple[Source, ...]:
    def read(folder: Path, store: Store, project: str) -> Report:
        from sheaf.annotations.ingest import ingest

        return ingest(folder, store, project, settings.annotations)

    def address(variable: str) -> Callable[[], str]:
        return lambda: secret(variable, "address of the annotation database, such as postgresql://reader:…@host/db")

    own = settings.annotations
    live = [AnnotationServer(address(source.dsn_env), own) for source in own.sources]
    return (InboxSource(settings.inbox, "annotations", read), *live)
