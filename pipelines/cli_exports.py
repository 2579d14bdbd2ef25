"""The commands that look at what was published, fetch it, compare it, or delete it."""

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pipelines import show
from sheaf import activity
from sheaf.domains import domain_named, series_named
from sheaf.errors import UsageError
from sheaf.exports import outcome
from sheaf.exports.diff import Diff, diff
from sheaf.exports.history import history, resolve
from sheaf.exports.records import Status, read_manifest, read_record
from sheaf.exports.verify import verify
from sheaf.settings import Settings
from sheaf.store import Store

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
RequestedBy = Annotated[
    str | None,
    typer.Option("--requested-by", metavar="USER", help="A member; where they have roles, theirs decides."),
]
ExportName = Annotated[str, typer.Argument(metavar="EXPORT", help="domain/partition/series/v3 or …/latest")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("history")(list_history)
    app.command("show")(show_export)
    app.command("download")(download)
    app.command("verify")(verify_export)
    app.command("diff")(diff_exports)
    app.command("delete")(delete)
    app.command("activity")(list_activity)


def _store() -> Store:
    return Store.open(Settings.load().store_url)


def list_history(
    domain: Annotated[str | None, typer.Argument(metavar="DOMAIN")] = None,
    partition: Annotated[str | None, typer.Argument(metavar="PARTITION")] = None,
    series: Annotated[str | None, typer.Argument(metavar="SERIES")] = None,
    as_json: AsJson = False,
) -> None:
    """List exports with their status, newest version first.

    Example:

        sheaf history fermentation batch-04
    """
    if domain and series:
        series_named(domain_named(domain), series)
    elif domain:
        domain_named(domain)
    found = list(history(_store(), domain, partition, series))
    if as_json:
        show.json(found)
        return
    rows = [
        (
            record.id,
            record.status,
            record.name,
            f"{record.created_at:%Y-%m-%d %H:%M}",
            record.requested_by,
            record.error,
        )
        for record in found
    ]
    show.table(("export", "status", "name", "created (UTC)", "by", ""), rows, "Nothing has been published yet.")


def show_export(name: ExportName, as_json: AsJson = False) -> None:
    """Show what an export holds: files, counts, inputs, filter and options.

    Example:

        sheaf show fermentation/campaign/campaign_csv/latest
    """
    store = _store()
    export = resolve(store, name)
    record = read_record(store, export)
    manifest = read_manifest(store, export) if record.status is Status.COMPLETED else None
    if as_json:
        show.json({"record": record, "manifest": manifest})
        return
    facts = {
        "export": export,
        "name": record.name,
        "status": record.status,
        "created": f"{record.created_at:%Y-%m-%d %H:%M:%S} UTC by {record.requested_by}",
        "filter": record.filter or "none",
        "options": record.options or "none",
        "error": record.error,
        "folder": f"{store.url}/{export.path}",
    }
    show.table(("", ""), ((key, value) for key, value in facts.items() if value), "")
    if manifest:
        show.OUT.print()
        counts = {"records": manifest.record_count, **manifest.counts}
        show.table(("count", ""), counts.items(), "")
        show.OUT.print()
        rows = ((file.path, show.human_size(file.size), file.rows, file.sha256[:12]) for file in manifest.files)
        show.table(("file", "size", "rows", "sha256"), rows, "")
        for warning in manifest.warnings:
            show.OUT.print(f"[yellow]note[/] {warning}", highlight=False)


def download(
    name: ExportName,
    target: Annotated[Path, typer.Argument(metavar="DIR", help="Default: this folder.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Copy the files of an export here; each is checked against its sha256.

    Example:

        sheaf download fermentation/batch-04/samples_csv/latest data/
    """
    store = _store()
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
    if as_json:
        show.json({"export": str(export), "files": paths})
    else:
        show.table(("downloaded",), ((path,) for path in paths), "The export has no files.")


def verify_export(name: ExportName, as_json: AsJson = False) -> None:
    """Read every file of an export back and compare it with the manifest."""
    store = _store()
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
    store = _store()
    before, after = resolve(store, a), resolve(store, b)
    series = series_named(domain_named(after.series.domain), after.series.series)
    found = diff(store, before, after, series.row_key, series.compare)
    if as_json:
        show.json(found)
    else:
        show.table(("what", "change"), _changes(found), f"{before} and {after} hold the same.")


def _changes(found: Diff) -> list[tuple[str, str]]:
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
    store = _store()
    export = resolve(store, name)
    read_record(store, export)
    series = series_named(domain_named(export.series.domain), export.series.series)
    if requested_by and series.authorise:
        series.authorise(store, export.series.partition, "delete", requested_by)
    if not yes:
        typer.confirm(f"Delete the files of {export}?", abort=True, err=True)
    tombstone = outcome.delete(store, export, requested_by or getpass.getuser())
    if as_json:
        show.json(tombstone)
    else:
        show.OUT.print(f"{export} is deleted.", highlight=False)


def list_activity(
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Such as 2026-03-01 or 2026-03-01T08:00Z.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what happened, newest first."""
    found = list(activity.newest(_store(), _time(since), limit))
    if as_json:
        show.json(found)
        return
    rows = ((f"{event.at:%Y-%m-%d %H:%M:%S}", event.what, event.subject, event.who, event.detail) for event in found)
    show.table(("at (UTC)", "what", "subject", "by", ""), rows, "Nothing has happened yet.")


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a time: write 2026-03-01 or 2026-03-01T08:00Z.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
