"""The commands that only matches have: an archive on demand, and the offload of old logs."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import opened, show, stop
from pipelines.cli.arguments import AsJson
from sheaf.domains import DOMAINS
from sheaf.errors import UsageError

if TYPE_CHECKING:
    from sheaf.matches.offload.plan import OffloadPlan

ALL_AT_MOST = 20


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("archive")(archive)
    group = typer.Typer(invoke_without_command=True)
    group.callback()(offload)
    group.command("find")(find_archived)
    group.command("restore")(restore_archived)
    app.add_typer(group, name="offload")


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
    from sheaf.exports.publish import Request
    from sheaf.exports.records import Status
    from sheaf.settings import Settings

    domain = DOMAINS["matches"]
    options = {"logs_only": "true"} if logs_only else {}
    request = Request(match, options=options, requested_by=getpass.getuser())
    stop.say(lambda: f"Stopped: {match} was not archived. What was published before stays; the same command makes it.")
    found = Runner(Settings.load()).export(domain, domain.series_named("match_archive"), request)
    if as_json:
        show.json([found])
    else:
        show.results([found])
    if found.status is Status.FAILED:
        raise typer.Exit(1)


def offload(
    context: typer.Context,
    source_dir: Annotated[
        Path | None, typer.Option("--source-dir", metavar="DIR", help="The folder of old logs.")
    ] = None,
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

        sheaf offload restore bridge_main_20250914.ndjson
    """
    from sheaf.matches.settings import OffloadSettings
    from sheaf.settings import Settings
    from sheaf.store.store import Store

    if context.invoked_subcommand:
        return
    if source_dir is None:
        raise UsageError("Missing option '--source-dir': the folder of old logs.")

    from sheaf.matches.offload.plan import plan

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
    stop.say(
        lambda: "Stopped. Nothing was deleted that is not whole in a verified archive; the same command finishes it."
    )
    outcome = Runner(settings).offload(asked)
    if as_json:
        show.json(outcome)
    else:
        show.table(("", ""), outcome.items(), "")


def find_archived(
    name: Annotated[str, typer.Argument(metavar="LOG", help="A log's name, path or pattern.")] = "*",
    as_json: AsJson = False,
) -> None:
    """Find logs in the archives of all offloads, the newest archive first.

    Example:

        sheaf offload find "bridge_main_2025*"
    """
    from sheaf.matches.offload.restore import find

    found = find(opened.store(), name)
    if as_json:
        show.json(found)
        return
    rows = (
        (one.path, show.human_size(one.size), "archive only" if one.deleted else "kept", one.source, one.archive)
        for one in found
    )
    show.table(("log", "size", "original", "folder", "archive"), rows, "No archive holds such a log.")


def restore_archived(
    names: Annotated[list[str], typer.Argument(metavar="LOG…", help="Names, paths or patterns of logs.")],
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="Default: where they were.")] = None,
    archive_name: Annotated[
        str | None, typer.Option("--archive", metavar="NAME", help="From this archive; default: the newest.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be restored.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put logs back from the archives; each is checked, and no file that is there is replaced.

    Examples:

        sheaf offload restore bridge_main_20250914.ndjson

        sheaf offload restore "bridge_main_2025*" --to /tmp/logs --dry-run
    """
    from sheaf.matches.offload.restore import find, newest, restore

    store = opened.store()
    wanted = newest([one for name in names for one in find(store, name, archive_name)])
    if dry_run:
        if as_json:
            show.json(wanted)
        else:
            rows = ((one.path, show.human_size(one.size), one.archive) for one in wanted)
            show.table(("log", "size", "archive"), rows, "No archive holds such a log.")
        return
    done = restore(store, wanted, to)
    if as_json:
        show.json(done)
    else:
        rows = [(path, "restored") for path in done.restored] + [(path, "is there already") for path in done.there]
        show.table(("log", ""), rows, "")


def _show_plan(planned: "OffloadPlan", as_json: bool) -> None:
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
