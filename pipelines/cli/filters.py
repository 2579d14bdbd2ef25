"""The commands for saved filters: `sheaf filters …`."""

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import completion, opened, show
from pipelines.cli.arguments import AnyDomain, AnyPartition, AsJson, DomainName
from sheaf import clock
from sheaf.domains import domain_named
from sheaf.errors import UsageError
from sheaf.names import check_partition

if TYPE_CHECKING:
    from sheaf.exports import saved_filters
    from sheaf.store.store import Store

app = typer.Typer(help="Save filters under a name, to use with `--saved`.", no_args_is_help=True)

Partition = Annotated[
    str,
    typer.Argument(metavar="[PARTITION]", help="None: for all of the domain.", autocompletion=completion.partitions),
]
Name = Annotated[str | None, typer.Argument(metavar="NAME", autocompletion=completion.own_filters)]
Pairs = Annotated[list[str], typer.Option("--filter", metavar="KEY=VALUE", help="As for `sheaf export`.")]
Description = Annotated[str, typer.Option(help="What it is for.")]


@app.command("list")
def list_filters(
    domain: AnyDomain = None,
    partition: AnyPartition = None,
    as_json: AsJson = False,
) -> None:
    """List saved filters; of a partition all that it can use, also those of its domain."""
    from sheaf import listing
    from sheaf.exports import saved_filters
    from sheaf.exports.options import typed

    store = opened.store()
    if domain and partition:
        partition = listing.find(store, domain_named(domain), partition)
        found = list(saved_filters.usable(store, domain, partition))
    else:
        found = saved_filters.listing(store, domain_named(domain).name if domain else None)
    if as_json:
        show.json(found)
        return
    rows = (
        (saved.domain, saved.partition or "all", saved.name, " ".join(typed(saved.filter)), saved.description)
        for saved in found
    )
    show.table(("domain", "partition", "name", "filter", ""), rows, "No filter has been saved yet.")


@app.command("show")
def show_filter(domain: DomainName, partition: Partition, name: Name = None, as_json: AsJson = False) -> None:
    """Show one saved filter."""
    from sheaf.exports import saved_filters

    store = opened.store()
    saved = saved_filters.load(store, domain, *_whose(store, domain, partition, name))
    if as_json:
        show.json(saved)
    else:
        show.table(("", ""), saved.model_dump().items(), "")


@app.command()
def save(
    domain: DomainName,
    partition: Partition,
    name: Name = None,
    filter_: Pairs = [],  # noqa: B006  # an argument that may be missing stands before it; it is required all the same
    description: Description = "",
    as_json: AsJson = False,
) -> None:
    """Save a new filter of a partition or, where none is named, of the whole domain.

    Examples:

        sheaf filters save fermentation batch-04 "late samples" --filter min_hours=8

        sheaf filters save fermentation late --filter min_hours=8
    """
    from sheaf.exports import saved_filters

    store = opened.store()
    saved = _filter(store, domain, partition, name, filter_, description)
    saved_filters.save(store, saved)
    _say(saved, "saved", as_json)


@app.command()
def update(
    domain: DomainName,
    partition: Partition,
    name: Name = None,
    filter_: Pairs = [],  # noqa: B006  # an argument that may be missing stands before it; it is required all the same
    description: Description = "",
    as_json: AsJson = False,
) -> None:
    """Replace a saved filter; exports made with the old one keep what they were made with."""
    from sheaf.exports import saved_filters

    store = opened.store()
    saved = _filter(store, domain, partition, name, filter_, description)
    saved_filters.update(store, saved)
    _say(saved, "updated", as_json)


@app.command()
def rename(
    domain: DomainName,
    partition: Partition,
    name: Annotated[str, typer.Argument(metavar="NAME", autocompletion=completion.own_filters)],
    new_name: Annotated[str | None, typer.Argument(metavar="NEW-NAME")] = None,
    as_json: AsJson = False,
) -> None:
    """Give a saved filter another name."""
    from sheaf.exports import saved_filters

    store, whose = opened.store(), None if new_name is None else partition
    name, new_name = (partition, name) if new_name is None else (name, new_name)
    saved = _own(store, domain, whose, name)
    saved_filters.rename(store, saved, new_name, getpass.getuser())
    _say(saved_filters.load(store, domain, saved.partition, new_name), "renamed", as_json)


@app.command()
def delete(domain: DomainName, partition: Partition, name: Name = None, as_json: AsJson = False) -> None:
    """Forget a saved filter; exports made with it are not touched."""
    from sheaf.exports import saved_filters

    store = opened.store()
    saved = _own(store, domain, *_whose(store, domain, partition, name))
    saved_filters.delete(store, saved, getpass.getuser())
    _say(saved, "deleted", as_json)


def _whose(store: "Store", domain: str, partition: str, name: str | None) -> tuple[str | None, str]:
    """The partition and the name of a filter; where one of both was typed it is the name.

    Raises:
        NotFoundError: there is no such partition.
    """
    from sheaf import listing

    if name is None:
        return None, partition
    return listing.find(store, domain_named(domain), check_partition(partition)), name


def _own(store: "Store", domain: str, partition: str | None, name: str) -> "saved_filters.SavedFilter":
    """A filter to change: never the domain's where that of a partition was meant."""
    from sheaf.exports import saved_filters

    saved = saved_filters.load(store, domain, partition, name)
    if partition and saved.partition is None:
        raise UsageError(f"{name!r} is a filter of all of {domain}: leave {partition} out to change it.")
    return saved


def _filter(
    store: "Store", domain: str, partition: str, name: str | None, pairs: list[str], description: str
) -> "saved_filters.SavedFilter":
    """A filter that at least one series of the domain understands."""
    from sheaf.exports import saved_filters
    from sheaf.exports.options import parse_pairs

    values = parse_pairs(pairs, "filter")
    if not values:
        raise UsageError("Say what the filter keeps: --filter KEY=VALUE.")
    whose, name = _whose(store, domain, partition, name)
    from sheaf.choices import check_filter  # publishing brings pyarrow

    check_filter(domain_named(domain), whose, values)
    return saved_filters.SavedFilter(
        domain=domain,
        partition=whose,
        name=name,
        filter=values,
        description=description,
        saved_by=getpass.getuser(),
        saved_at=clock.now(),
    )


def _say(saved: "saved_filters.SavedFilter", what: str, as_json: bool) -> None:
    if as_json:
        show.json(saved)
    else:
        whose = f"{saved.domain}/{saved.partition}" if saved.partition else f"all of {saved.domain}"
        show.OUT.print(f"{whose}: filter {saved.name!r} {what}.", highlight=False)
