"""The command line `sheaf`: how people and scripts use Sheaf without opening the UI.

Here: the commands that make something happen. Those that look at what was published are in
`exports`, saved filters in `filters`. What takes long to load (Dagster, the domains, tables) is imported by the
commands that need it, so that the others answer at once.
"""

import gc
import getpass
import os
import resource
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from pipelines.cli import annotations, completion, discover, exports, filters, matches, media, opened, serve, show, stop
from pipelines.cli import partitions as cli_partitions
from pipelines.cli import sources as cli_sources
from pipelines.cli.arguments import (
    AnyDomain,
    AnyPartition,
    AnySeries,
    AsJson,
    DomainName,
    FilterPairs,
    OptionPairs,
    SavedFilter,
    Verbose,
)
from pipelines.cli.progress import Progress
from sheaf import __version__, memory
from sheaf.domains import DOMAINS, domain_named
from sheaf.errors import InputError, NotFoundError, SheafError, UsageError
from sheaf.names import CAMPAIGN, check_partition

if TYPE_CHECKING:
    from pipelines.cli.results import Result
    from pipelines.runs import Runner
    from sheaf.exports.spec import ExportSpec
    from sheaf.settings import Settings
    from sheaf.sources import Source
    from sheaf.steps import Domain

app = typer.Typer(
    help="Gathers what laboratories and field stations record and publishes it as versioned, verified datasets.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
ExportTitle = Annotated[str | None, typer.Option("--name", metavar="TEXT", help="How to call the export.")]
SpecFile = Annotated[Path | None, typer.Option("--spec", metavar="FILE", help="All of this from a YAML file.")]


def main(args: list[str] | None = None) -> None:
    """Run a command; what goes wrong is one sentence on stderr, never a traceback."""
    memory.share()  # before there are threads
    gc.set_threshold(50_000)  # what is imported is no garbage: to look through it takes a tenth of a short command
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")  # to look for them takes a tenth of what a command takes
    try:
        with stop.stoppable():
            app(args)
    except SheafError as error:
        show.say(f"[red]sheaf:[/] {escape(str(error))}")
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except stop.Stopped:
        stop.leave()
    except Exception as error:
        from pipelines.instance import of_database

        if not (said := of_database(error)):
            raise
        show.say(f"[red]sheaf:[/] {escape(said)}")
        sys.exit(1)


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
    from sheaf.settings import Settings

    started = time.monotonic()
    settings = Settings.load()
    found = _run(settings, write_samples(settings.inbox), as_json=as_json)
    if as_json:
        show.json(found)
        return
    show.results(found)
    program = Path(sys.argv[0])
    activate = "" if shutil.which("sheaf") else f"  source {program.with_name('activate')}\n"
    show.OUT.print(
        f"\nPublished to [bold]{settings.store_url}[/]. Where to look next:\n{activate}"
        "  sheaf list fermentation                                  batches, their state and their exports\n"
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
    partitions: Annotated[
        list[str] | None,
        typer.Argument(metavar="PARTITION...", help="Default: all.", autocompletion=completion.partitions),
    ] = None,
    inbox_root: Annotated[Path | None, typer.Option("--inbox", metavar="DIR", help="Another inbox root.")] = None,
    accept_loss: Annotated[
        bool, typer.Option("--accept-loss", help="Also where stored rows are replaced by less; needs PARTITION.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Also the steps that would make the same.")] = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Ingest, analyse and publish partitions of a domain.

    One that fails or is refused does not stop the others; the exit code is 1 if any was. What would be
    made the same is left as it is and makes no new version.

    Examples:

        sheaf run fermentation

        sheaf run fermentation batch-04 batch-05 --inbox /data/inbox --json
    """
    from sheaf.settings import Settings

    settings = Settings.load()
    if inbox_root:
        settings = settings.model_copy(update={"inbox": inbox_root.absolute()})
    if accept_loss and not partitions:
        raise UsageError("--accept-loss is said of single partitions: name those that may lose rows.")
    found = _run(
        settings,
        {domain_named(domain).name: partitions},
        as_json=as_json,
        inbox_only=inbox_root is not None,
        accept_loss=accept_loss,
        again=again,
    )
    if verbose:
        _tell_read(settings, found)
    _finish(found, as_json)


def _run(
    settings: "Settings",
    wanted: Mapping[str, list[str] | None],
    *,
    as_json: bool,
    inbox_only: bool = False,
    accept_loss: bool = False,
    again: bool = False,
) -> "list[Result]":
    """Run partitions of some domains, all of those for which none are named."""
    from pipelines.settled import settled, settled_campaign
    from sheaf.store.store import Store

    progress, plan = Progress(quiet=as_json), {}
    for name, partitions in wanted.items():
        domain = domain_named(name)
        plan[name], failed = _partitions(settings, domain, partitions, inbox_only=inbox_only)
        progress.found += failed
        progress.plan(name, [*plan[name], *_campaign(domain, plan[name])])
    store = Store.open(settings.store_url)
    runner = _LazyRunner(settings)
    try:
        with progress:
            for name, keys in plan.items():
                domain = domain_named(name)
                for key in keys:
                    with progress.of(name, key) as results:
                        same = None if accept_loss or again else settled(store, domain, key, settings)
                        if same is None:
                            same = runner().run_partition(domain, key, accept_loss=accept_loss, again=again)
                        results += same
                for campaign in _campaign(domain, keys):
                    with progress.of(name, campaign) as results:
                        same = settled_campaign(store, domain, settings)
                        results += runner().run_campaign(domain) if same is None else same
    except stop.Stopped:
        if as_json:
            show.json(progress.found)
        raise
    return progress.found


def _campaign(domain: "Domain", keys: Sequence[str]) -> list[str]:
    """What comes after the partitions: the exports over all of them, where the domain has such."""
    return [CAMPAIGN] if keys and any(series.campaign for series in domain.series) else []


def _partitions(
    settings: "Settings", domain: "Domain", partitions: list[str] | None, *, inbox_only: bool
) -> "tuple[list[str], list[Result]]":
    """What to run; a failed result for each source or name that cannot be used."""
    from resources.sources import configured_sources
    from sheaf.outside.inbox import unknown
    from sheaf.sources import meant

    sources = configured_sources(settings).of(domain.name)[: 1 if inbox_only else None]
    if not partitions:
        for name, why in unknown(settings.inbox, DOMAINS).items():
            show.say(f"[yellow]note[/] {escape(f'{name} in the inbox: {why}')}")
        return _all_partitions(domain, sources)
    keys = list(dict.fromkeys(meant(sources, check_partition(key)) for key in partitions))
    if len(sources) == 1 and (missing := [key for key in keys if key not in sources[0].offers().partitions]):
        folder = settings.inbox / domain.name
        raise InputError(f"The inbox {folder} has no {missing[0]!r}: `sheaf sources` lists what there is.")
    return keys, []


class _LazyRunner:
    """Dagster is there only when something has to be done: to import it takes longer than to see that nothing is."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings
        self._runner: Runner | None = None

    def __call__(self) -> "Runner":
        from pipelines.runs import Runner

        self._runner = self._runner or Runner(self._settings)
        return self._runner


def _all_partitions(domain: "Domain", sources: "Sequence[Source]") -> "tuple[list[str], list[Result]]":
    """What the sources offer, each once; a failed result for each source or name that cannot be used."""
    from pipelines.cli.results import Result
    from sheaf.exports.records import Status

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
            Result(domain=domain.name, partition=name, series="", status=Status.FAILED, error=why)
            for name, why in offer.problems().items()
        ]
    return sorted(keys), failed


def _tell_read(settings: "Settings", found: "list[Result]") -> None:
    """Say what was read of the partitions of some results."""
    from sheaf.store.store import Store

    store = Store.open(settings.store_url)
    for domain, partition in dict.fromkeys((result.domain, result.partition) for result in found):
        if partition != CAMPAIGN:
            cli_partitions.tell_read(store, domain_named(domain), partition)


def _finish(found: "list[Result]", as_json: bool) -> None:
    from sheaf.attention import exposed
    from sheaf.exports.records import Status

    if as_json:
        show.json(found)
    else:
        show.results(found)
        for domain, partition in dict.fromkeys((result.domain, result.partition) for result in found):
            for need in exposed(opened.store(), domain_named(domain), partition):
                show.say(f"[yellow]note[/] {escape(need.subject)}: {escape(need.what)}. To do: {escape(need.todo)}.")
    if any(result.status is Status.FAILED for result in found):
        raise typer.Exit(1)


@app.command()
def export(
    domain: AnyDomain = None,
    partition: AnyPartition = None,
    series: AnySeries = None,
    filter_: FilterPairs = None,
    saved: SavedFilter = None,
    option: OptionPairs = None,
    name: ExportTitle = None,
    spec: SpecFile = None,
    always: Annotated[bool, typer.Option("--always", help="A new version even if nothing changed.")] = False,
    requested_by: exports.RequestedBy = None,
    verbose: Verbose = False,
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
    from pipelines.cli.results import Result
    from pipelines.runs import Runner
    from sheaf import listing
    from sheaf.exports.records import Status
    from sheaf.exports.spec import ExportSpec
    from sheaf.matches.readers.bridge_config import load_data_export
    from sheaf.settings import Settings

    notes: tuple[str, ...] = ()
    if domain == "matches" and partition and not series and spec:
        bridge = load_data_export(spec)
        notes = bridge.elsewhere(partition)
        wanted = [
            ExportSpec(domain=domain, partition=partition, series=name_, options=options)
            for name_, options in bridge.series().items()
        ]
    else:
        asked = _spec(domain, partition, series, filter_, saved, option, name, spec, always)
        wanted = [asked.model_copy(update={"requested_by": requested_by or asked.requested_by})]
    settings = Settings.load()
    runner = Runner(settings)
    results: list[Result] = []
    stop.say(
        lambda: (
            f"Stopped: {len(results)} of {len(wanted)} export{'s' if len(wanted) > 1 else ''} finished. What was "
            "published before stays; the same command makes the rest."
        )
    )
    for asked in wanted:
        stop.check()
        found = domain_named(asked.domain)
        request, series_ = asked.request(runner.store, getpass.getuser()), found.series_named(asked.series)
        series_.filter.of(request.filter or {}, "filter")  # a request that cannot be meant, of whatever partition
        try:
            request = replace(request, partition=listing.find(runner.store, found, request.partition))
            results.append(runner.export(found, series_, request))
        except (InputError, NotFoundError) as error:  # a request that is good, of records that are not
            if not as_json:
                raise
            failed = Result(domain=found.name, partition=request.partition, series=asked.series, status=Status.FAILED)
            results.append(failed.model_copy(update={"error": str(error)}))
    for note in notes:
        show.say(f"[yellow]note[/] {escape(note)}")
    if verbose:
        _tell_read(settings, results)
    results = (
        [found.model_copy(update={"warnings": [*found.warnings, *notes]}) for found in results] if as_json else results
    )
    _finish(results, as_json)


@app.command()
def preview(
    domain: AnyDomain = None,
    partition: AnyPartition = None,
    series: AnySeries = None,
    filter_: FilterPairs = None,
    saved: SavedFilter = None,
    option: OptionPairs = None,
    name: ExportTitle = None,
    spec: SpecFile = None,
    as_json: AsJson = False,
) -> None:
    """Count what an export would hold, with the same arguments as `export`; nothing is published.

    Example:

        sheaf preview fermentation campaign campaign_csv --option include=all
    """
    from sheaf import listing
    from sheaf.exports import publish
    from sheaf.exports.series import flat_counts
    from sheaf.settings import Settings
    from sheaf.store.store import Store

    settings = Settings.load()
    store = Store.open(settings.store_url)
    asked = _spec(domain, partition, series, filter_, saved, option, name, spec, False)
    found = domain_named(asked.domain)
    asked = asked.model_copy(update={"partition": listing.find(store, found, asked.partition)})
    request = asked.request(store, getpass.getuser())
    written = publish.preview(store, found, found.series_named(asked.series), request, settings.of(found.name))
    if as_json:
        show.json(written)
        return
    counts = {"records": written.record_count, **flat_counts(written.counts)}
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
) -> "ExportSpec":
    from sheaf.exports.options import parse_pairs
    from sheaf.exports.spec import ExportSpec, load_spec

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
def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte of all exports and tables.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check everything Sheaf needs, say what to fix, and put right what a crash left.

    What is damaged in the store is moved to `quarantine/` there, under the path it had, and everything else
    goes on; no number is used twice.

    Example:

        sheaf doctor --deep
    """
    from pipelines.doctor import examine
    from sheaf.settings import Settings

    findings = examine(Settings.load(), deep=deep)
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
    from sheaf.settings import Settings

    settings = Settings.load()
    settings.inbox.mkdir(parents=True, exist_ok=True)
    open_instance(settings)
    os.environ["DAGSTER_HOME"] = str(dagster_home(settings))
    os.environ["SHEAF_HOME"] = str(settings.home)
    show.OUT.print(f"Dagster UI: [bold]http://{host}:{port}[/] (stop with Ctrl+C)", highlight=False)
    program = str(Path(sys.executable).with_name("dagster"))
    workspace = str(Path(__file__).parents[1] / "workspace.yaml")
    os.execv(program, [program, "dev", "-w", workspace, "-h", host, "-p", str(port)])  # noqa: S606


discover.register(app)
cli_partitions.register(app)
exports.register(app)
matches.register(app)
cli_sources.register(app)
media.register(app)
serve.register(app)
app.add_typer(filters.app, name="filters")
app.add_typer(annotations.app, name="splits")
