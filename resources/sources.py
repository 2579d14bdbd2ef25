"""The sources of every domain as they are configured: the inbox, then the live systems.

Here: which there are and in what order. Not here: how one is read (`sheaf/outside/inbox.py`, and
`sheaf/<domain>/` for live systems).
"""

from collections.abc import Callable
from pathlib import Path

from sheaf.annotations.readers.paths import is_image_name
from sheaf.annotations.sources.postgres import AnnotationServer
from sheaf.fermentation.source_settings import RestSettings
from sheaf.fermentation.sources.eln_postgres import ElnPostgres
from sheaf.fermentation.sources.eln_rest import ElnRest
from sheaf.fermentation.sources.inbox import BatchInbox
from sheaf.fermentation.sources.live import ElnSource
from sheaf.matches.sources.inbox import MatchInbox
from sheaf.media.sources.inbox import MediaInbox
from sheaf.occurrences.settings import ApiSettings
from sheaf.occurrences.sources.live import AntennaApi, AntennaDatabase
from sheaf.outside.addresses import secret
from sheaf.outside.inbox import InboxSource
from sheaf.report import Report
from sheaf.settings import Settings
from sheaf.sources import Source, Sources
from sheaf.tables.work import Work


def configured_sources(settings: Settings) -> Sources:
    """All sources; nothing is opened and no secret is read before one is used."""
    return Sources(
        {
            "fermentation": _fermentation(settings),
            "matches": (MatchInbox(settings.inbox, settings.matches),),
            "media": (MediaInbox(settings.inbox, settings.store_url, settings.media),),
            "occurrences": _occurrences(settings),
            "annotations": _annotations(settings),
        }
    )


def _fermentation(settings: Settings) -> tuple[Source, ...]:
    own = settings.fermentation
    zone = own.naive_timezone
    elns = [ElnRest(eln, zone) if isinstance(eln, RestSettings) else ElnPostgres(eln, zone) for eln in own.sources]
    inbox = BatchInbox(settings.inbox, settings.store_url, own)
    return (inbox, *(ElnSource(eln, own, inbox) for eln in elns))


def _occurrences(settings: Settings) -> tuple[Source, ...]:
    def read(folder: Path, work: Work) -> Report:
        from sheaf.occurrences.readers.ingest import ingest

        return ingest(folder, work)

    own, mirror = settings.occurrences, settings.home / "mirror" / "occurrences"
    live = [
        AntennaApi(source, mirror) if isinstance(source, ApiSettings) else AntennaDatabase(source, own, mirror)
        for source in own.sources
    ]
    return (InboxSource(settings.inbox, "occurrences", read), *live)


def _annotations(settings: Settings) -> tuple[Source, ...]:
    def read(folder: Path, work: Work) -> Report:
        from sheaf.annotations.readers.ingest import ingest

        return ingest(folder, work)

    def address(variable: str) -> Callable[[], str]:
        return lambda: secret(variable, "address of the annotation database, such as postgresql://reader:…@host/db")

    own = settings.annotations
    live = [AnnotationServer(address(source.dsn_env), own) for source in own.sources]
    return (InboxSource(settings.inbox, "annotations", read, passes_over=is_image_name), *live)
