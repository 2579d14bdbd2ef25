"""The commands that only matches have: an archive on demand, and the offload of old logs."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from pipelines import show
from sheaf.domains import DOMAINS, series_named
from sheaf.errors import UsageError
from sheaf.exports.publish import Request
from sheaf.exports.records import Status
from sheaf.matches.offload_plan import OffloadPlan, plan
from sheaf.matches.settings import OffloadSettings
from sheaf.settings import Settings
from sheaf.store import Store

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
ALL_AT_MOST = 20


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("archive")(archive)
    app.command("offload")(offload)


def archive(
    match: Annotated[str, typer.Argument(metavar="MATCH")],
    logs_only: Annotated[bool, typer.Option("--logs-only", help="Leave out databases and exports.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the archive of one match now: logs, databases, exports and checksums in one zip.

    Example:

        sheaf archive Steel-Challenge-2025-09 --logs-only
    """
    from pipelines.runs import Runner

    domain = DOMAINS["matches"]
    options = {"logs_only": "true"} if logs_only else {}
    request = Request(match, options=options, requested_by=getpass.getuser())
    found = Runner(Settings.load()).export(domain, series_named(domain, "match_archive"), request)
    if as_json:
        show.json([found])
    else:
        show.results([found])
    if found.status is Status.FAILED:
        raise typer.Exit(1)


def offload(
    source_dir: Annotated[Path, typer.Option("--source-dir", metavar="DIR", help="The folder of old logs.")],
    days_old: Annotated[float, typer.Option("--days-old", help="Take files older than this many days.")] = 30.0,
    delete_source: Annotated[
        bool, typer.Option("--delete-source", help="Remove files that are whole in a verified archive.")
    ] = False,
    cutoff_by: Annotated[str, typer.Option("--cutoff-by", metavar="mtime|event_time", help="A file's age.")] = "mtime",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would happen.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask before deleting.")] = False,
    as_json: AsJson = False,
) -> None:
    """Move old logs into a verified archive; an interrupted offload is finished first.

    Examples:

        sheaf offload --source-dir /data/logs --days-old 30 --dry-run

        sheaf offload --source-dir /data/logs --days-old 30 --delete-source --yes
    """
    settings = Settings.load()
    if cutoff_by not in ("mtime", "event_time"):
        raise UsageError(f"--cutoff-by {cutoff_by!r} is not known: use mtime or event_time.")
    planned = plan(source_dir, Store.open(settings.store_url), days_old, cutoff_by)
    if dry_run or not as_json:
        _show_plan(planned, as_json)
    if dry_run:
        return
    if delete_source and not yes:
        typer.confirm(f"Archive {len(planned.files)} files and delete them from {source_dir}?", abort=True, err=True)

    from pipelines.runs import Runner

    asked = OffloadSettings(
        source_dir=source_dir.absolute(), days_old=days_old, delete_source=delete_source, cutoff_by=cutoff_by
    )
    outcome = Runner(settings).offload(asked)
    if as_json:
        show.json(outcome)
    else:
        show.table(("", ""), outcome.items(), "")


def _show_plan(planned: OffloadPlan, as_json: bool) -> None:
    if as_json:
        show.json(
            {
                "source": str(planned.source),
                "cutoff": planned.cutoff,
                "files": [{"path": file.path, "size": file.size} for file in planned.files],
                "kept": planned.kept,
            }
        )
        return
    rows = [(file.path, show.human_size(file.size), "archive") for file in planned.files]
    rows += [(path, "", reason) for path, reason in planned.kept.items()]
    show.table(("file", "size", "what"), rows[:ALL_AT_MOST], f"{planned.source} holds no files.")
    if len(rows) > ALL_AT_MOST:
        show.OUT.print(f"… and {len(rows) - ALL_AT_MOST} more")
    total = show.human_size(planned.size)
    show.OUT.print(f"{len(planned.files)} files, {total}, are older than {planned.cutoff:%Y-%m-%d %H:%M} UTC.")
