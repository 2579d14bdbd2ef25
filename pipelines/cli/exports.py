"""The commands that look at what was published, fetch it, compare it, or delete it."""

import getpass
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import opened, show
from pipelines.cli.arguments import AnyDomain, AnyPartition, AnySeries, AsJson, ExportName
from sheaf.domains import DOMAINS, domain_named
from sheaf.errors import UsageError

if TYPE_CHECKING:
    from sheaf.exports.diff import Diff

RequestedBy = Annotated[
    str | None,
    typer.Option("--requested-by", metavar="USER", help="A member; where they have roles, theirs decides."),
]

Since = Annotated[str | None, typer.Option("--since", metavar="TIME", help="Such as 2026-03-01 or 2026-03-01T08:00Z.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("history")(list_history)
    app.command("show")(show_export)
    app.command("download")(download)
    app.command("describe")(describe_export)
    app.command("verify")(verify_export)
    app.command("diff")(diff_exports)
    app.command("delete")(delete)
    app.command("pin")(pin_export)
    app.command("unpin")(unpin_export)
    app.command("rebuild")(rebuild_export)
    app.command("prune")(prune)
    app.command("activity")(list_activity)
    app.command("catalog")(write_catalogue)


def list_history(
    domain: AnyDomain = None,
    partition: AnyPartition = None,
    series: AnySeries = None,
    since: Since = None,
    name: Annotated[str | None, typer.Option("--name", metavar="TEXT", help="Only those whose name holds it.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many, the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """List exports with their status, newest version first.

    Examples:

        sheaf history fermentation batch-04

        sheaf history --since 2026-03-01 --name "late samples" --limit 20
    """
    from sheaf.exports.history import contents, history

    store, asked = opened.store(), domain_named(domain) if domain else None
    if asked and series:
        asked.series_named(series)
    if asked and partition:
        from sheaf import listing

        partition = listing.find(store, asked, partition)
    found = list(history(store, domain, partition, series, since=_time(since), name=name))
    if limit and len(found) > limit:
        newest = sorted(found, key=lambda record: record.created_at, reverse=True)[:limit]
        found = [record for record in found if record in newest]
    if as_json:
        show.json(list(contents(store, found)))
        return
    fits = since or name
    show.exports(store, found, "No export fits." if fits else "Nothing has been published yet.")


def show_export(name: ExportName, as_json: AsJson = False) -> None:
    """Show what an export holds: files, counts, inputs, filter and options.

    Example:

        sheaf show fermentation/campaign/campaign_csv/latest
    """
    from sheaf.exports.history import resolve
    from sheaf.exports.options import typed
    from sheaf.exports.pins import read_pins, tags_of
    from sheaf.exports.records import Status, read_manifest, read_record
    from sheaf.exports.series import flat_counts

    store = opened.store()
    export = resolve(store, name)
    record = read_record(store, export)
    manifest = read_manifest(store, export) if record.status is Status.COMPLETED else None
    tags = tags_of(read_pins(store, export.series), export.version)
    if as_json:
        show.json({"record": record, "manifest": manifest, "tags": tags})
        return
    facts = {
        "export": export,
        "name": record.name,
        "status": record.status,
        "pinned as": ", ".join(f"@{tag}" for tag in tags),
        "created": f"{record.created_at:%Y-%m-%d %H:%M:%S} UTC by {record.requested_by}",
        "filter": " ".join(typed(record.filter)) or "none",
        "options": record.options or "none",
        "made with": show.settings(manifest.made_with, export.series.domain) if manifest else None,
        "error": record.error,
        "folder": f"{store.url}/{export.path}",
    }
    show.table(("", ""), ((key, value) for key, value in facts.items() if value), "")
    if manifest:
        show.OUT.print()
        counts = {"records": manifest.record_count, **flat_counts(manifest.counts)}
        show.table(("count", ""), counts.items(), "")
        show.OUT.print()
        rows = ((file.path, show.human_size(file.size), file.rows, file.sha256[:12]) for file in manifest.files)
        show.table(("file", "size", "rows", "sha256"), rows, "")
        for warning in manifest.warnings:
            show.OUT.print(f"[yellow]note[/] {warning}", highlight=False)
        for problem in manifest.problems:
            where = f"{problem.step} {problem.check}"
            show.OUT.print(f"[yellow]check[/] {problem.partition}: {where}: {problem.detail}", highlight=False)


def download(
    name: ExportName,
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Default: this folder.")] = Path(),
    with_descriptions: Annotated[
        bool, typer.Option("--described", help="With _datapackage.json and _croissant.json beside them.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy the files of an export here; each is checked against its sha256.

    Example:

        sheaf download fermentation/batch-04/samples_csv/latest data/ --described
    """
    from sheaf.exports.history import resolve
    from sheaf.exports.verify import verify

    store = opened.store()
    export = resolve(store, name)
    manifest = verify(store, export)
    paths = []
    for file in manifest.files:
        local = target / file.path
        try:
            local.parent.mkdir(parents=True, exist_ok=True)
            store.download(f"{export.path}/{file.path}", local)
        except OSError as error:
            raise UsageError(f"{local} cannot be written: {error.strerror}.") from error
        paths.append(str(local))
    if with_descriptions:
        from sheaf.exports.describe import BESIDE, described

        domain = domain_named(export.series.domain)
        for beside, standard in BESIDE.items():
            (target / beside).write_bytes(described(store, domain, export, standard))
            paths.append(str(target / beside))
    if as_json:
        show.json({"export": str(export), "files": paths})
    else:
        show.table(("downloaded",), ((path,) for path in paths), "The export has no files.")


class Standard(StrEnum):
    """In whose words an export is described."""

    DATAPACKAGE = "datapackage"
    CROISSANT = "croissant"
    CITATION = "citation"


def describe_export(
    name: ExportName,
    standard: Annotated[Standard, typer.Option("--as", help="In whose words.")] = Standard.DATAPACKAGE,
) -> None:
    """Describe an export in the words of a standard: a Frictionless Data Package, MLCommons Croissant, a citation.

    Columns have types, units and meanings. The same export is always described the same; paths are relative to
    its files, which `sheaf download EXPORT DIR --described` puts beside the descriptions.

    Example:

        sheaf describe fermentation/campaign/campaign_parquet/latest --as croissant
    """
    from sheaf.exports.describe import citation, described
    from sheaf.exports.history import resolve
    from sheaf.exports.records import read_manifest

    store = opened.store()
    export = resolve(store, name)
    if standard is Standard.CITATION:
        show.OUT.print(citation(export, read_manifest(store, export)), highlight=False, markup=False, soft_wrap=True)
        return
    sys.stdout.buffer.write(described(store, domain_named(export.series.domain), export, standard))


def verify_export(name: ExportName, as_json: AsJson = False) -> None:
    """Read every file of an export back and compare it with the manifest."""
    from sheaf.exports.history import resolve
    from sheaf.exports.verify import verify

    store = opened.store()
    export = resolve(store, name)
    manifest = verify(store, export)
    if as_json:
        show.json({"export": str(export), "verified": True, "files": len(manifest.files)})
    else:
        show.OUT.print(f"{export}: {len(manifest.files)} files are what was published.", highlight=False)


def diff_exports(a: ExportName, b: ExportName, as_json: AsJson = False) -> None:
    """Say what changed from one export to another: options, filter, counts, inputs, files, rows.

    Example:

        sheaf diff fermentation/batch-04/samples_csv/v1 fermentation/batch-04/samples_csv/v2
    """
    from sheaf.exports.diff import diff
    from sheaf.exports.history import resolve

    store = opened.store()
    before, after = resolve(store, a), resolve(store, b)
    series = domain_named(after.series.domain).series_named(after.series.series)
    found = diff(store, before, after, series.row_key, series.compare)
    if as_json:
        show.json(found)
    else:
        show.table(("what", "change"), _changes(found), f"{before} and {after} hold the same.")


def _changes(found: "Diff") -> list[tuple[str, str]]:
    rows = [
        (f"{kind} {key}", f"{change.before} → {change.after}")
        for kind in ("filter", "options", "counts", "inputs")
        for key, change in getattr(found, kind).items()
    ]
    rows += [(f"file {path}", "added") for path in found.files_added]
    rows += [(f"file {path}", "removed") for path in found.files_removed]
    for path in found.files_changed:
        row = found.rows.get(path)
        detail = f"rows: {row.added} added, {row.removed} removed, {row.changed} changed" if row else "changed"
        rows.append((f"file {path}", detail))
    for what, numbers in found.content.items():
        if isinstance(numbers, dict):
            rows.append((what, ", ".join(f"{count} {verb}" for verb, count in numbers.items())))
    return rows


def delete(
    name: ExportName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    requested_by: RequestedBy = None,
    as_json: AsJson = False,
) -> None:
    """Delete the files of an export; its record stays, and its number is never used again."""
    from sheaf.coherence import last_good
    from sheaf.exports import catalogue, outcome
    from sheaf.exports.history import resolve
    from sheaf.exports.records import read_record
    from sheaf.settings import Settings
    from sheaf.store.store import Store

    settings = Settings.load()
    store = Store.open(settings.store_url)
    export = resolve(store, name)
    read_record(store, export)
    domain = domain_named(export.series.domain)
    series = domain.series_named(export.series.series)
    if requested_by and series.authorise:
        own = settings.of(domain.name)
        tables = last_good(store, domain, export.series.partition, series.tables)
        series.authorise(tables, "delete", requested_by, own)
    if not yes:
        typer.confirm(f"Delete the files of {export}?", abort=True, err=True)
    tombstone = outcome.delete(store, export, requested_by or getpass.getuser())
    catalogue.note(store, export)
    if as_json:
        show.json(tombstone)
    else:
        show.OUT.print(f"{export} is deleted.", highlight=False)


def pin_export(
    name: ExportName,
    tag: Annotated[str, typer.Option("--as", metavar="TAG", help="Such as paper; then …/@paper names this version.")],
    as_json: AsJson = False,
) -> None:
    """Give a version a tag: it is named by it from then on, wherever an export is named, and cannot be deleted.

    A tag never moves to another version.

    Example:

        sheaf pin fermentation/campaign/campaign_parquet/v7 --as paper
    """
    from sheaf.exports import catalogue
    from sheaf.exports.history import resolve
    from sheaf.exports.pins import pin

    store = opened.store()
    export = resolve(store, name)
    pinned = pin(store, export, tag, getpass.getuser())
    catalogue.note(store, export)
    if as_json:
        show.json({"export": str(export), "tag": tag, "pinned": pinned})
    else:
        show.OUT.print(f"{export} is pinned as {export.series}/@{tag}.", highlight=False)


def unpin_export(name: ExportName, as_json: AsJson = False) -> None:
    """Take a tag away from a version, which may be deleted from then on.

    Example:

        sheaf unpin fermentation/campaign/campaign_parquet/@paper
    """
    from sheaf.exports import catalogue
    from sheaf.exports.pins import unpin
    from sheaf.names import parse_export

    series, tag = parse_export(name)
    if not isinstance(tag, str):
        raise UsageError(f"{name} names no tag: write {series}/@paper.")
    store = opened.store()
    export = unpin(store, series, tag, getpass.getuser())
    catalogue.note(store, export)
    if as_json:
        show.json({"export": str(export), "tag": tag, "pinned": None})
    else:
        show.OUT.print(f"@{tag} is gone; {export} stays until somebody deletes it.", highlight=False)


def rebuild_export(
    name: ExportName,
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Where its files go; default: this folder.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Make the files of an export again from the tables it was made from, and compare them byte by byte.

    The tables of an export are kept as long as it is. Nothing is published.

    Example:

        sheaf rebuild fermentation/batch-04/training_parquet/v3 again/
    """
    from sheaf.exports.history import resolve
    from sheaf.exports.rebuild import rebuild
    from sheaf.settings import Settings
    from sheaf.store.store import Store

    settings = Settings.load()
    store = Store.open(settings.store_url)
    export = resolve(store, name)
    domain = domain_named(export.series.domain)
    done = rebuild(store, domain, export, settings.of(domain.name), target)
    if as_json:
        show.json({"export": str(export), "files": [str(path) for path in done]})
    else:
        show.OUT.print(f"{export}: {len(done)} files were made again and are the same, byte by byte.", highlight=False)


def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what is old: exports that no rule of `retention` keeps, then the tables that nothing needs.

    Without a rule in the settings every export stays. What `latest` names, what is pinned and what was replaced
    within a day always stays, as do the newest tables of each partition and all that a version was made from.
    With `retention.runs_days`, Dagster's runs and ticks and what they have printed go, too.

    Example:

        sheaf prune --dry-run
    """
    from pipelines.pruning import prune
    from sheaf.settings import Settings
    from sheaf.store.store import Store

    settings = Settings.load()
    instance = None
    if settings.retention.runs_days is not None:
        from pipelines.instance import open_instance

        instance = open_instance(settings, to_run=False)
    store = Store.open(settings.store_url)
    gone = prune(store, DOMAINS.values(), settings.retention, getpass.getuser(), instance, dry_run=dry_run)
    others = {
        "pages of Delta logs": gone.logs[0],
        "working files": gone.scratch[0],
        "runs": gone.runs,
        "ticks": gone.ticks,
    }
    if as_json:
        show.json(
            [*gone.exports, *gone.tables, *({"what": what, "count": many} for what, many in others.items() if many)]
        )
        return
    rows: list[tuple[object, ...]] = [
        (f"{one.domain}/{one.partition}", one.series, f"v{one.version}", show.human_size(one.size))
        for one in gone.exports
    ]
    rows += [
        (f"{one.domain}/{one.partition}", one.step, ", ".join(map(str, one.generations)), show.human_size(one.size))
        for one in gone.tables
    ]
    rows += [(what, "", many, "") for what, many in others.items() if many]
    columns = ("partition", "series, or step", "would go" if dry_run else "gone", "size")
    show.table(columns, rows, "There is nothing to remove.")
    if rows:
        show.OUT.print(f"\n{show.human_size(gone.size)} in all.", highlight=False)


def list_activity(
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what happened, newest first."""
    from sheaf import activity

    found = list(activity.newest(opened.store(), _time(since), limit))
    if as_json:
        show.json(found)
        return
    rows = ((f"{event.at:%Y-%m-%d %H:%M:%S}", event.what, event.subject, event.who, event.detail) for event in found)
    show.table(("at (UTC)", "what", "subject", "by", ""), rows, "Nothing has happened yet.")


def write_catalogue(as_json: AsJson = False) -> None:
    """Write the catalogue anew: `catalog.json`, and `catalog.html` to open from the folder or the bucket.

    Publishing and deleting keep it; this puts right what they could not.
    """
    from sheaf.exports import catalogue

    store = opened.store()
    made = catalogue.write(store)
    if as_json:
        show.json(made)
    else:
        show.OUT.print(f"{store.url}/{catalogue.PAGE} shows {len(made.exports)} exports.", highlight=False)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a time: write 2026-03-01 or 2026-03-01T08:00Z.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
