"""The sources of every domain as they are configured: the inbox, then the live systems.

Here: which there are and in what order. Not here: how one is read (`sheaf/outside/inbox.py`, and
`sheaf/<domain>/` for live systems).
"""

from collections.abc import Callable

from sheaf.annotations.readers.paths import is_image_name
from sheaf.annotations.sources.postgres import AnnotationServer
from sheaf.fermentation.source_settings import RestSettings
from sheaf.fermentation.sources.eln_postgres import ElnPostgres
from sheaf.fermentation.sources.eln_rest import ElnRest
from sheaf.fermentation.sources.inbox import BatchInbox
from sheaf.fermentation.sources.live import ElnSource
from sheaf.later import later
from sheaf.matches.sources.inbox import MatchInbox
from sheaf.media.sources.inbox import MediaInbox
from sheaf.occurrences.settings import ApiSettings
from sheaf.occurrences.sources.live import AntennaApi, AntennaDatabase
from sheaf.outside.addresses import secret
from sheaf.outside.inbox import InboxSource
from sheaf.settings import Settings
from sheaf.sources import Source, Sources


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
    own, mirror = settings.occurrences, settings.home / "mirror" / "occurrences"
    live = [
        AntennaApi(source, mirror) if isinstance(source, ApiSettings) else AntennaDatabase(source, own, mirror)
        for source in own.sources
    ]
    return (InboxSource(settings.inbox, "occurrences", later("sheaf.occurrences.readers.ingest:ingest")), *live)


def _annotations(settings: Settings) -> tuple[Source, ...]:
    def address(variable: str) -> Callable[[], str]:
        return lambda: secret(variable, "address of the annotation database, such as postgresql://reader:…@host/db")

    own = settings.annotations
    live = [AnnotationServer(address(source.dsn_env), own) for source in own.sources]
    read = later("sheaf.annotations.readers.ingest:ingest")
    return (InboxSource(settings.inbox, "annotations", read, passes_over=is_image_name), *live)
