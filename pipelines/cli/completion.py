"""What the shell offers when somebody presses Tab: domains, partitions, series, versions, keys and their values.

Here: only names that exist. What cannot be found out offers nothing: a Tab never ends in an error.
"""

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import TYPE_CHECKING

import typer

from pipelines.cli import opened
from sheaf.domains import DOMAINS
from sheaf.names import CAMPAIGN, SeriesId

if TYPE_CHECKING:  # its tables bring pyarrow
    from sheaf.steps import Domain

Complete = Callable[[typer.Context, str], list[str]]


def _quiet(offers: Callable[[typer.Context, str], Iterable[str]]) -> Complete:
    @wraps(offers)
    def complete(context: typer.Context, incomplete: str) -> list[str]:
        try:
            return [one for one in offers(context, incomplete) if one.startswith(incomplete)]
        except Exception:  # the store may be away; who types goes on typing
            return []

    return complete


def _typed(context: typer.Context, number: int, name: str) -> str:
    """An argument that stands before the cursor.

    Click does not parse arguments when it is the value of an option that is completed; they stand in the line then.
    """
    if context.params.get(name):
        return str(context.params[name])
    words = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS") or ""
    return shlex.split(words)[2:][number]


def _domain(context: typer.Context) -> "Domain":
    return DOMAINS[_typed(context, 0, "domain")]


def _partitions(domain: "Domain") -> list[str]:
    from sheaf import listing

    campaign = [CAMPAIGN] if any(series.campaign for series in domain.series) else []
    return [*listing.names(opened.store(), domain), *campaign]


@_quiet
def domains(context: typer.Context, incomplete: str) -> Iterable[str]:
    """The domains."""
    return DOMAINS


@_quiet
def partitions(context: typer.Context, incomplete: str) -> Iterable[str]:
    """The partitions of the domain that was typed."""
    return _partitions(_domain(context))


@_quiet
def series(context: typer.Context, incomplete: str) -> Iterable[str]:
    """The series of the domain that was typed, for the campaign its own."""
    campaign = context.params.get("partition") == CAMPAIGN
    return (one.name for one in _domain(context).series if one.campaign == campaign)


@_quiet
def exports(context: typer.Context, incomplete: str) -> Iterator[str]:
    """The name of an export, one part after the other."""
    from sheaf.exports.pins import read_pins
    from sheaf.exports.records import versions

    parts = incomplete.split("/")
    before = "/".join(parts[:-1])
    if len(parts) == 1:
        yield from (f"{name}/" for name in DOMAINS)
    elif len(parts) == 2:
        yield from (f"{before}/{name}/" for name in opened.store().folders(f"exports/{parts[0]}"))
    elif len(parts) == 3:
        yield from (f"{before}/{name}/" for name in opened.store().folders(f"exports/{before}"))
    elif len(parts) == 4:
        yield f"{before}/latest"
        yield from (f"{before}/v{number}" for number in versions(opened.store(), SeriesId(*parts[:3])))
        yield from (f"{before}/@{tag}" for tag in read_pins(opened.store(), SeriesId(*parts[:3])))


@_quiet
def saved_filters(context: typer.Context, incomplete: str) -> Iterable[str]:
    """The saved filters that the partition can use."""
    from sheaf.exports.saved_filters import usable

    return (saved.name for saved in usable(opened.store(), _domain(context).name, _typed(context, 1, "partition")))


@_quiet
def own_filters(context: typer.Context, incomplete: str) -> Iterable[str]:
    """The saved filters of the partition or domain that was typed."""
    from sheaf.exports.saved_filters import listing

    return (saved.name for saved in listing(opened.store(), _domain(context).name))


@_quiet
def filter_pairs(context: typer.Context, incomplete: str) -> Iterable[str]:
    """`key=` of the filter, then the values that the partition has for it."""
    return _pairs(context, incomplete, "filter")


@_quiet
def option_pairs(context: typer.Context, incomplete: str) -> Iterable[str]:
    """`key=` of the options, then what is allowed."""
    return _pairs(context, incomplete, "options")


def _pairs(context: typer.Context, incomplete: str, what: str) -> Iterator[str]:
    from sheaf.choices import keys, values

    domain, partition = _domain(context), _typed(context, 1, "partition")
    model = getattr(domain.series_named(_typed(context, 2, "series")), what)
    if "=" not in incomplete:
        yield from (f"{name}=" for name in model.model_fields)
        return
    name = incomplete.partition("=")[0]
    for key in keys(model, values(opened.store(), domain, partition)):
        if key.key == name:
            yield from (f"{name}={value}" for value in (*key.allowed, *key.found))
            if key.type == "yes or no":
                yield from (f"{name}=true", f"{name}=false")
