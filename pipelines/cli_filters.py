"""The commands for saved filters: `sheaf filters …`."""

import getpass
from typing import Annotated

import typer

from pipelines import show
from sheaf import clock, filters
from sheaf.domains import domain_named
from sheaf.errors import SheafError, UsageError
from sheaf.exports.series import CAMPAIGN
from sheaf.names import check_partition
from sheaf.options import parse_pairs
from sheaf.settings import Settings
from sheaf.store import Store

app = typer.Typer(help="Save filters under a name, to use with `--saved`.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
DomainName = Annotated[str, typer.Argument(metavar="DOMAIN")]
Partition = Annotated[str, typer.Argument(metavar="PARTITION")]
Name = Annotated[str, typer.Argument(metavar="NAME")]
Pairs = Annotated[list[str], typer.Option("--filter", metavar="KEY=VALUE", help="As for `sheaf export`.")]
Description = Annotated[str, typer.Option(help="What it is for.")]


def _store() -> Store:
    return Store.open(Settings.load().store_url)


@app.command("list")
def list_filters(
    domain: Annotated[str | None, typer.Argument(metavar="DOMAIN")] = None,
    partition: Annotated[str | None, typer.Argument(metavar="PARTITION")] = None,
    as_json: AsJson = False,
) -> None:
    """List saved filters."""
    found = filters.listing(_store(), domain, partition)
    if as_json:
        show.json(found)
        return
    rows = ((saved.domain, saved.partition, saved.name, saved.filter, saved.description) for saved in found)
    show.table(("domain", "partition", "name", "filter", ""), rows, "No filter has been saved yet.")


@app.command("show")
def show_filter(domain: DomainName, partition: Partition, name: Name, as_json: AsJson = False) -> None:
    """Show one saved filter."""
    saved = filters.load(_store(), domain, partition, name)
    if as_json:
        show.json(saved)
    else:
        show.table(("", ""), saved.model_dump().items(), "")


@app.command()
def save(
    domain: DomainName,
    partition: Partition,
    name: Name,
    filter_: Pairs,
    description: Description = "",
    as_json: AsJson = False,
) -> None:
    """Save a new filter.

    Example:

        sheaf filters save fermentation batch-04 late --filter min_hours=8
    """
    saved = _filter(domain, partition, name, filter_, description)
    filters.save(_store(), saved)
    _say(saved, "saved", as_json)


@app.command()
def update(
    domain: DomainName,
    partition: Partition,
    name: Name,
    filter_: Pairs,
    description: Description = "",
    as_json: AsJson = False,
) -> None:
    """Replace a saved filter; exports made with the old one keep what they were made with."""
    saved = _filter(domain, partition, name, filter_, description)
    filters.update(_store(), saved)
    _say(saved, "updated", as_json)


@app.command()
def rename(
    domain: DomainName,
    partition: Partition,
    name: Name,
    new_name: Annotated[str, typer.Argument(metavar="NEW-NAME")],
    as_json: AsJson = False,
) -> None:
    """Give a saved filter another name."""
    store = _store()
    saved = filters.load(store, domain, partition, name)
    filters.rename(store, saved, new_name, getpass.getuser())
    _say(filters.load(store, domain, partition, new_name), "renamed", as_json)


@app.command()
def delete(domain: DomainName, partition: Partition, name: Name, as_json: AsJson = False) -> None:
    """Forget a saved filter; exports made with it are not touched."""
    store = _store()
    saved = filters.load(store, domain, partition, name)
    filters.delete(store, saved, getpass.getuser())
    _say(saved, "deleted", as_json)


def _filter(domain: str, partition: str, name: str, pairs: list[str], description: str) -> filters.SavedFilter:
    """A filter that at least one series of the domain understands."""
    values = parse_pairs(pairs, "filter")
    campaign = check_partition(partition) == CAMPAIGN
    problems = []
    for series in domain_named(domain).series:
        if series.campaign == campaign:
            try:
                series.filter.of(values, "filter")
            except SheafError as error:
                problems.append(str(error))
            else:
                break
    else:
        raise UsageError(problems[0] if problems else f"{domain} has no series for {partition!r}.")
    return filters.SavedFilter(
        domain=domain,
        partition=partition,
        name=name,
        filter=values,
        description=description,
        saved_by=getpass.getuser(),
        saved_at=clock.now(),
    )


def _say(saved: filters.SavedFilter, what: str, as_json: bool) -> None:
    if as_json:
        show.json(saved)
    else:
        show.OUT.print(f"{saved.domain}/{saved.partition}: filter {saved.name!r} {what}.", highlight=False)
