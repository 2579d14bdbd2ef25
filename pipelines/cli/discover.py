"""The commands that tell what there is: partitions with their facts, what can be asked of them, what needs a person."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import opened, show
from pipelines.cli.arguments import AnyDomain, AnyPartition, AnySeries, AsJson, DomainName
from sheaf.domains import DOMAINS, domain_named
from sheaf.errors import UsageError
from sheaf.names import did_you_mean

if TYPE_CHECKING:
    from sheaf.choices import DomainChoices, Key
    from sheaf.listing import Listed
    from sheaf.steps import Domain
    from sheaf.store.store import Store

MOST_VALUES = 20
Where = Annotated[
    list[str] | None, typer.Option("--where", metavar="FACT=VALUE", help="Only partitions of which this holds.")
]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("list")(list_partitions)
    app.command("choices")(list_choices)
    app.command("attention")(list_needs)


def list_partitions(
    domain: AnyDomain = None,
    partition: AnyPartition = None,
    where: Where = None,
    as_json: AsJson = False,
) -> None:
    """List what there is: domains, the partitions of one with their facts, or one partition with its exports.

    A partition can be named by the id that it has where it comes from.

    Examples:

        sheaf list fermentation --where status=complete

        sheaf list fermentation batch-04
    """
    from sheaf import listing

    store = opened.store()
    if domain is None:
        _list_domains(store, as_json)
        return
    found = domain_named(domain)
    if partition is not None:
        _list_one(store, found, listing.find(store, found, partition), as_json)
        return
    lines = [one for one in listing.listed(store, found) if _fits(one, where or ())]
    if as_json:
        show.json(lines)
        return
    facts = list(dict.fromkeys(name for one in lines for name in one.facts))
    rows = [(one.partition, *(_cell(one.facts.get(name)) for name in facts), _state(one)) for one in lines]
    none = f"Nothing of {domain} has been read yet: `sheaf sources {domain}` lists what there is to read."
    show.table(("partition", *facts, "exports"), rows, "No partition fits." if where else none)


def _list_domains(store: "Store", as_json: bool) -> None:
    from sheaf import listing

    found = [
        {
            "domain": domain.name,
            "kind": domain.kind,
            "partitions": len(listing.names(store, domain)),
            "series": [series.name for series in domain.series],
        }
        for domain in DOMAINS.values()
    ]
    if as_json:
        show.json(found)
        return
    rows = [(one["domain"], one["kind"], one["partitions"], ", ".join(one["series"])) for one in found]
    show.table(("domain", "a partition is a", "partitions", "series"), rows, "")


def _list_one(store: "Store", domain: "Domain", partition: str, as_json: bool) -> None:
    from sheaf import listing
    from sheaf.exports.history import history

    one, records = listing.look_at(store, domain, partition), list(history(store, domain.name, partition))
    if as_json:
        show.json({**one.model_dump(mode="json"), "exports": records})
        return
    read = f"{one.read_at:%Y-%m-%d %H:%M} UTC" if one.read_at else None
    facts = {"partition": one.partition, **one.facts, "read": read, "refused": one.refused}
    show.table(("", ""), ((name, _cell(value)) for name, value in facts.items() if value is not None), "")
    show.OUT.print()
    show.exports(store, records, f"Nothing of {partition} has been published yet.")


def _fits(one: "Listed", where: Iterable[str]) -> bool:
    for pair in where:
        fact, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--where {pair!r} is not of the form fact=value, such as status=complete.")
        known = {"partition": one.partition, **one.facts}
        if one.facts and fact not in known:
            raise UsageError(f"There is no fact {fact!r}: there are {', '.join(known)}.{did_you_mean(fact, known)}")
        if str(_cell(known.get(fact))).casefold() != value.casefold():
            return False
    return True


def _state(one: "Listed") -> str:
    refused = "newest delivery refused; " if one.refused is not None else ""
    return refused + ", ".join(f"{series} v{version}" for series, version in one.latest.items())


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else value


def list_choices(
    domain: DomainName,
    partition: AnyPartition = None,
    series: AnySeries = None,
    as_json: AsJson = False,
) -> None:
    """List what can be asked: every filter and option, with the values that a partition has for it.

    Examples:

        sheaf choices annotations

        sheaf choices annotations drawn-shapes detection
    """
    from sheaf import listing
    from sheaf.choices import choices
    from sheaf.settings import Settings
    from sheaf.store.store import Store

    settings = Settings.load()
    store, found = Store.open(settings.store_url), domain_named(domain)
    if partition is not None and series is None and partition in {one.name for one in found.series}:
        partition, series = None, partition  # a series of the domain, whatever the partition
    if partition is not None:
        partition = listing.find(store, found, partition)
    wanted = found.series_named(series) if series else None
    told = choices(store, found, settings.of(found.name), partition, wanted)
    if as_json:
        show.json(told)
    else:
        _show_choices(told)


def list_needs(domain: AnyDomain = None, as_json: AsJson = False) -> None:
    """List what needs a person, worst first, each with what to do.

    Damaged documents, versions made before more was hidden, refused deliveries, exports that failed and were not made
    since, deliveries that are overdue, checks that do not pass. `sheaf doctor` looks deeper, and at what is around
    Sheaf.

    Examples:

        sheaf attention

        sheaf attention fermentation --json
    """
    from sheaf.attention import needs

    found = needs(opened.store(), [domain_named(domain)] if domain else DOMAINS.values())
    if as_json:
        show.json(found)
        return
    rows = [
        (one.kind, one.subject, f"{one.since:%Y-%m-%d %H:%M}" if one.since else "", one.what, one.todo) for one in found
    ]
    show.table(("", "what", "since (UTC)", "why", "to do"), rows, "Nothing needs a person.")


def _show_choices(told: "DomainChoices") -> None:
    for one in told.series:
        show.OUT.print(f"[bold]{one.series}[/]  {one.description}", highlight=False, soft_wrap=True)
        rows = [*_rows("--filter", one.filter), *_rows("--option", one.options)]
        show.table(("", "key", "type", "default", "meaning", "values"), rows, "It takes no filter and no options.")
        show.OUT.print()
    for key, found in told.found.items():
        show.OUT.print(f"[bold]{key}[/]", highlight=False)
        show.table(("value", ""), list(found.items())[:MOST_VALUES], "none")
        if len(found) > MOST_VALUES:
            show.OUT.print(f"… and {len(found) - MOST_VALUES} more: --json shows all.", highlight=False)
        show.OUT.print()


def _rows(option: str, keys: "Iterable[Key]") -> Iterable[tuple[object, ...]]:
    for key in keys:
        values = [*key.allowed, *_told(key.found)] or ([key.bounds] if key.bounds else [])
        more = f", … {len(values) - MOST_VALUES} more" if len(values) > MOST_VALUES else ""
        default = "" if key.default in (None, "", []) else _cell(key.default)
        yield option, key.key, key.type, default, key.meaning, ", ".join(values[:MOST_VALUES]) + more


def _told(found: Mapping[str, str]) -> list[str]:
    return [f"{value} ({what})" if what else value for value, what in found.items()]
