"""The command line `sheaf`: how people and scripts use Sheaf without opening the UI.

Here: the commands that make something happen. Those that look at what was published are in
`cli_exports`, saved filters in `cli_filters`. Dagster is imported only by commands that run it.
"""

import getpass
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipelines import cli_exports, cli_filters, cli_matches, cli_media, cli_sources, show
from pipelines.results import Result
from resources.sources import configured_sources
from sheaf import __version__
from sheaf.domains import DOMAINS, domain_named, series_named
from sheaf.errors import InputError, SheafError, UsageError
from sheaf.exports import publish
from sheaf.exports.records import Status
from sheaf.exports.series import CAMPAIGN, Domain
from sheaf.exports.spec import ExportSpec, load_spec
from sheaf.matches.export_config import load_data_export
from sheaf.names import check_partition
from sheaf.options import parse_pairs
from sheaf.settings import Settings
from sheaf.sources import Source
from sheaf.store import Store

app = typer.Typer(
    help="Gathers what laboratories and field stations record and publishes it as versioned, verified datasets.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
DomainName = Annotated[str, typer.Argument(metavar="DOMAIN", help=f"One of: {', '.join(DOMAINS)}.")]
FilterPairs = Annotated[list[str] | None, typer.Option("--filter", metavar="KEY=VALUE", help="Keep only what fits.")]
OptionPairs = Annotated[list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="How to write it.")]


def main(args: list[str] | None = None) -> None:
    """Run a command; what goes wrong is one sentence on stderr, never a traceback."""
    try:
        app(args)
    except SheafError as error:
        show.say(f"[red]sheaf:[/] {escape(str(error))}")
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        show.say("Stopped. What was published before stays; run the command again to go on.")
        sys.exit(130)


def _version(asked: bool) -> None:
    if asked:
        show.OUT.print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


@app.command()
def demo(as_json: AsJson = False) -> None:
    """Write a sample inbox for every domain, run all of it, and print what was published.

    Everything goes to `SHEAF_HOME` (`.sheaf` in this folder unless you set it).
    """
    from pipelines.samples import write_samples

    started = time.monotonic()
    settings = Settings.load()
    written = write_samples(settings.inbox)
    found = []
    for domain, partitions in written.items():
        found += _run(settings, domain, partitions, quiet=as_json)
    if as_json:
        show.json(found)
        return
    show.results(found)
    show.OUT.print(
        f"\nPublished to [bold]{settings.store_url}[/]. Where to look next:\n"
        "  sheaf history                                            all versions of everything\n"
        "  sheaf show fermentation/campaign/campaign_csv/latest     what an export holds\n"
        "  sheaf dev                                                the Dagster UI with every batch, check and plot\n\n"
        f"It took {time.monotonic() - started:.0f} s and {show.human_size(_peak_memory())} in the largest process.",
        highlight=False,
        soft_wrap=True,
    )


def _peak_memory() -> int:
    """Bytes that the largest of this process and those it started ever held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


@app.command()
def run(
    domain: DomainName,
    partitions: Annotated[list[str] | None, typer.Argument(metavar="PARTITION...", help="Default: all.")] = None,
    inbox_root: Annotated[Path | None, typer.Option("--inbox", metavar="DIR", help="Another inbox root.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ingest, analyse and publish partitions of a domain.

    One that fails does not stop the others; the exit code is 1 if any failed. What has not
    changed makes no new version.

    Examples:

        sheaf run fermentation

        sheaf run fermentation batch-04 batch-05 --inbox /data/inbox --json
    """
    settings = Settings.load()
    if inbox_root:
        settings = settings.model_copy(update={"inbox": inbox_root.absolute()})
    found = _run(settings, domain_named(domain).name, partitions, quiet=as_json, inbox_only=inbox_root is not None)
    _finish(found, as_json)


def _run(
    settings: Settings, domain_name: str, partitions: list[str] | None, *, quiet: bool, inbox_only: bool = False
) -> list[Result]:
    domain = domain_named(domain_name)
    keys, found = [check_partition(key) for key in dict.fromkeys(partitions or [])], []
    sources = configured_sources(settings).of(domain.name)[: 1 if inbox_only else None]
    if not partitions:
        keys, found = _all_partitions(domain, sources)
    elif len(sources) == 1 and (unknown := [key for key in keys if key not in sources[0].offers().partitions]):
        folder = settings.inbox / domain.name
        raise InputError(f"The inbox {folder} has no {unknown[0]!r}: `sheaf sources` lists what there is.")
    if not keys:
        return found
    from pipelines.runs import Runner

    runner = Runner(settings)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=show.ERR, transient=True, disable=quiet or not show.ERR.is_terminal) as progress:
        task = progress.add_task(domain.name, total=len(keys) + 1)
        for key in keys:
            progress.update(task, description=f"{domain.name} {key}")
            found += runner.run_partition(domain, key)
            progress.advance(task)
        found += runner.run_campaign(domain)
        progress.advance(task)
    return found


def _all_partitions(domain: Domain, sources: Sequence[Source]) -> tuple[list[str], list[Result]]:
    """What the sources offer, each once; a failed result for each source or name that cannot be used."""
    keys: set[str] = set()
    failed = []
    for source in sources:
        try:
            offer = source.offers()
        except SheafError as error:
            if len(sources) == 1:
                raise
            failed.append(
                Result(domain=domain.name, partition=source.name, series="", status=Status.FAILED, error=str(error))
            )
            continue
        keys.update(offer.partitions)
        failed += [
            Result(domain=domain.name, partition=name, series=series.name, status=Status.FAILED, error=_MISNAMED)
            for name in offer.misnamed
            for series in domain.series
            if not series.campaign
        ]
    return sorted(keys), failed


_MISNAMED = "This name cannot be a partition: rename it to letters, digits, '.', '_' or '-', at most 100."


def _finish(found: list[Result], as_json: bool) -> None:
    if as_json:
        show.json(found)
    else:
        show.results(found)
    if any(result.status is Status.FAILED for result in found):
        raise typer.Exit(1)


@app.command()
def export(
    domain: Annotated[str | None, typer.Argument(metavar="DOMAIN")] = None,
    partition: Annotated[str | None, typer.Argument(metavar="PARTITION")] = None,
    series: Annotated[str | None, typer.Argument(metavar="SERIES")] = None,
    filter_: FilterPairs = None,
    saved: Annotated[str | None, typer.Option("--saved", metavar="NAME", help="A saved filter.")] = None,
    option: OptionPairs = None,
    name: Annotated[str | None, typer.Option("--name", metavar="TEXT", help="How to call the export.")] = None,
    spec: Annotated[Path | None, typer.Option("--spec", metavar="FILE", help="All of this from a YAML file.")] = None,
    always: Annotated[bool, typer.Option("--always", help="A new version even if nothing changed.")] = False,
    requested_by: cli_exports.RequestedBy = None,
    as_json: AsJson = False,
) -> None:
    """Make one export now, with a filter and options of its own.

    A filtered export is a version of its series like any other, but never `latest`. With
    `matches MATCH --spec FILE`, the file is a bridge's configuration: its `data_export` block
    says which formats to make and how.

    Examples:

        sheaf export fermentation batch-04 samples_csv --filter min_hours=4

        sheaf export --spec request.yaml --json

        sheaf export matches Steel-Challenge-2025-09 --spec config.json
    """
    from pipelines.runs import Runner

    if domain == "matches" and partition and not series and spec:
        wanted = [
            ExportSpec(domain=domain, partition=partition, series=name_, options=options)
            for name_, options in load_data_export(spec).series().items()
        ]
    else:
        asked = _spec(domain, partition, series, filter_, saved, option, name, spec, always)
        wanted = [asked.model_copy(update={"requested_by": requested_by or asked.requested_by})]
    runner = Runner(Settings.load())
    results = []
    for asked in wanted:
        found = domain_named(asked.domain)
        request = asked.request(runner.store, getpass.getuser())
        results.append(runner.export(found, series_named(found, asked.series), request))
    _finish(results, as_json)


@app.command()
def preview(
    domain: Annotated[str | None, typer.Argument(metavar="DOMAIN")] = None,
    partition: Annotated[str | None, typer.Argument(metavar="PARTITION")] = None,
    series: Annotated[str | None, typer.Argument(metavar="SERIES")] = None,
    filter_: FilterPairs = None,
    saved: Annotated[str | None, typer.Option("--saved", metavar="NAME", help="A saved filter.")] = None,
    option: OptionPairs = None,
    name: Annotated[str | None, typer.Option("--name", metavar="TEXT", help="How to call the export.")] = None,
    spec: Annotated[Path | None, typer.Option("--spec", metavar="FILE", help="All of this from a YAML file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Count what an export would hold, with the same arguments as `export`; nothing is published.

    Example:

        sheaf preview fermentation campaign campaign_csv --option include=all
    """
    store = Store.open(Settings.load().store_url)
    asked = _spec(domain, partition, series, filter_, saved, option, name, spec, False)
    found = domain_named(asked.domain)
    request = asked.request(store, getpass.getuser())
    written = publish.preview(store, series_named(found, asked.series), found.rejects, request)
    if as_json:
        show.json(written)
        return
    counts = {"records": written.record_count, **written.counts}
    show.table(("", "count"), counts.items(), "Nothing would be published.")
    for warning in written.warnings:
        show.say(f"[yellow]note[/] {escape(warning)}")


def _spec(
    domain: str | None,
    partition: str | None,
    series: str | None,
    filter_: list[str] | None,
    saved: str | None,
    option: list[str] | None,
    name: str | None,
    spec: Path | None,
    always: bool,
) -> ExportSpec:
    if spec:
        if domain:
            raise UsageError("Give either DOMAIN PARTITION SERIES or --spec FILE, not both.")
        asked = load_spec(spec)
    elif domain and partition and series:
        asked = ExportSpec(domain=domain, partition=partition, series=series)
    else:
        raise UsageError("Say what to export: DOMAIN PARTITION SERIES, or --spec FILE.")
    if asked.partition != CAMPAIGN:
        check_partition(asked.partition)
    return asked.model_copy(
        update={
            "filter": asked.filter | parse_pairs(filter_ or [], "filter"),
            "options": asked.options | parse_pairs(option or [], "option"),
            "saved": saved or asked.saved,
            "name": name or asked.name,
            "always": always or asked.always,
        }
    )


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check every connection, say what to fix, and put right what a crash left."""
    from pipelines.doctor import examine

    findings = examine(Settings.load())
    if as_json:
        show.json(findings)
    else:
        rows = [("ok" if found.ok else "FAILED", found.what, found.detail) for found in findings]
        show.table(("", "checked", ""), rows, "Nothing to check.")
    if not all(found.ok for found in findings):
        raise typer.Exit(1)


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    host: Annotated[str, typer.Option(help="Address it listens on; it has no login.")] = "127.0.0.1",
) -> None:
    """Start the Dagster UI with its daemon, on the same instance that the commands use."""
    from pipelines.instance import dagster_home, open_instance

    settings = Settings.load()
    settings.inbox.mkdir(parents=True, exist_ok=True)
    open_instance(settings)
    os.environ["DAGSTER_HOME"] = str(dagster_home(settings))
    os.environ["SHEAF_HOME"] = str(settings.home)
    show.OUT.print(f"Dagster UI: [bold]http://{host}:{port}[/] (stop with Ctrl+C)", highlight=False)
    program = str(Path(sys.executable).with_name("dagster"))
    os.execv(program, [program, "dev", "-m", "pipelines.definitions", "-h", host, "-p", str(port)])  # noqa: S606


cli_exports.register(app)
cli_matches.register(app)
cli_sources.register(app)
cli_media.register(app)
app.add_typer(cli_filters.app, name="filters")
