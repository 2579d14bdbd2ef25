"""Arguments and options that several groups of commands have, and that mean the same in each."""

from typing import Annotated

import typer

from pipelines.cli import completion
from sheaf.domains import DOMAINS

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Tell on stderr what was read: files, dialects, lines, rejected ones.")
]
_DOMAINS = f"One of: {', '.join(DOMAINS)}."
DomainName = Annotated[str, typer.Argument(metavar="DOMAIN", help=_DOMAINS, autocompletion=completion.domains)]
AnyDomain = Annotated[str | None, typer.Argument(metavar="DOMAIN", help=_DOMAINS, autocompletion=completion.domains)]
PartitionName = Annotated[str, typer.Argument(metavar="PARTITION", autocompletion=completion.partitions)]
AnyPartition = Annotated[str | None, typer.Argument(metavar="PARTITION", autocompletion=completion.partitions)]
AnySeries = Annotated[str | None, typer.Argument(metavar="SERIES", autocompletion=completion.series)]
ExportName = Annotated[
    str,
    typer.Argument(
        metavar="EXPORT", help="domain/partition/series/v3, …/latest or …/@tag", autocompletion=completion.exports
    ),
]
FilterPairs = Annotated[
    list[str] | None,
    typer.Option("--filter", metavar="KEY=VALUE", help="Keep only what fits.", autocompletion=completion.filter_pairs),
]
OptionPairs = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="How to write it.", autocompletion=completion.option_pairs),
]
SavedFilter = Annotated[
    str | None,
    typer.Option("--saved", metavar="NAME", help="A saved filter.", autocompletion=completion.saved_filters),
]
