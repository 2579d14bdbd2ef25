"""The command `sheaf sources`: what every source offers, and what was deleted there."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from pipelines.cli import show
from pipelines.cli.arguments import AsJson
from sheaf.domains import DOMAINS, domain_named
from sheaf.errors import SheafError

if TYPE_CHECKING:
    from sheaf.sources import Sources
    from sheaf.store.store import Store


@dataclass(frozen=True)
class Offered:
    """One line of the list; `note` says why a partition will not be read from here."""

    domain: str
    partition: str
    source: str
    note: str = ""


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(sources)


def sources(
    domain: Annotated[str | None, typer.Argument(metavar="DOMAIN", help="Only this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """List what each source offers: the inbox and the live systems that are configured.

    A partition that two sources offer belongs to the first one listed. A source that cannot be asked
    is named on stderr, and the exit code is 1; `sheaf doctor` says what to fix.
    """
    from resources.sources import configured_sources
    from sheaf.outside.inbox import unknown
    from sheaf.settings import Settings
    from sheaf.store.store import Store

    settings = Settings.load()
    configured = configured_sources(settings)
    names = [domain_named(domain).name] if domain else list(DOMAINS)
    failed: list[str] = []
    store = Store.open(settings.store_url)
    offered = [line for name in names for line in _offered(name, configured, store, failed)]
    if as_json:
        show.json([asdict(line) for line in offered])
    else:
        rows = [tuple(asdict(line).values()) for line in offered]
        show.table(("domain", "partition", "source", "note"), rows, f"The inbox {settings.inbox} is empty.")
    for name, why in {} if domain else unknown(settings.inbox, DOMAINS).items():
        show.say(f"[yellow]note[/] {escape(f'{name} in the inbox: {why}')}")
    for reason in failed:
        show.say(f"[red]sheaf:[/] {escape(reason)}")
    if failed:
        raise typer.Exit(1)


def _offered(domain: str, configured: "Sources", store: "Store", failed: list[str]) -> Iterator[Offered]:
    from sheaf.sources import tombstones

    owner: dict[str, str] = {}
    for source in configured.of(domain):
        try:
            offer = source.offers()
        except SheafError as error:
            failed.append(f"{domain} {source.name}: {error}")
            continue
        for partition in offer.partitions:
            first = owner.setdefault(partition, source.name)
            note = offer.notes.get(partition, "")
            yield Offered(domain, partition, source.name, note if first == source.name else f"read from the {first}")
        for name, why in offer.problems().items():
            failed.append(f"{domain}: {name} in the {source.name} is not read. {why}")
            yield Offered(domain, name, source.name, "not read")
    for partition, stone in tombstones(store, domain).items():
        yield Offered(domain, partition, stone.source, f"deleted there, noticed {stone.noticed_at:%Y-%m-%d %H:%M} UTC")
