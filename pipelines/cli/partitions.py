"""The commands that tell how a partition stands: what was not used of it, and why its exports are as they are."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from pipelines.cli import opened, show
from pipelines.cli.arguments import AsJson, DomainName, PartitionName
from sheaf.domains import domain_named
from sheaf.names import check_partition

if TYPE_CHECKING:
    from sheaf.steps import Domain
    from sheaf.store.store import Store
    from sheaf.tables.accounts import Kind
    from sheaf.tables.generations import Generation


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("rejects")(list_rejects)
    app.command("why")(why)


def list_rejects(
    domain: DomainName,
    partition: PartitionName,
    kind: Annotated[
        str | None, typer.Option("--kind", metavar="reject|change|fault", help="Default: what was not used.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was changed or used with a fault.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List what was not used of a partition's newest delivery, with file, line and reason.

    Examples:

        sheaf rejects fermentation batch-21

        sheaf rejects matches Steel-Challenge-2025-09 --all --limit 1000 --json
    """
    from sheaf import listing
    from sheaf.tables.accounts import Kind

    wanted = set(Kind) if everything else {_kind(kind)}
    found = domain_named(domain)
    store = opened.store()
    partition = listing.find(store, found, check_partition(partition))
    newest = newest_generations(store, found, partition)
    rows = [row for _, row in zip(range(limit), noted(store, newest, wanted), strict=False)]
    refused = [(one.step, one.refused) for one in newest.values() if one.refused is not None]
    if as_json:
        from sheaf.tables.rejects import COLUMNS

        row = dict.fromkeys(column.name for column in COLUMNS)
        show.json([{**row, "step": step, "kind": "refused", "reason": why} for step, why in refused] + rows)
        return
    for step, why in refused:
        show.OUT.print(f"[red]refused[/] {escape(f'{step}: {why}')}", highlight=False, soft_wrap=True)
    columns = ("kind", "table", "rows", "file", "line", "code", "reason", "key")
    values = (
        tuple(row[name] for name in ("kind", "table", "rows", "file", "line", "code", "reason", "primary_key"))
        for row in rows
    )
    show.table(columns, values, _of_no_rows(partition, newest, bool(refused), wanted))


def _kind(text: str | None) -> "Kind":
    from sheaf.tables.accounts import Kind

    try:
        return Kind(text or "reject")
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not known: use reject, change or fault.", param_hint="--kind") from error


def noted(store: "Store", newest: "dict[str, Generation]", wanted: "set[Kind]") -> Iterator[dict[str, Any]]:
    """What the steps noted of some kinds, row by row, with the name of the step."""
    from sheaf.tables.accounts import Kind
    from sheaf.tables.pinned import Tables

    for name, generation in newest.items():
        tables = Tables(store, generation.partition, {name: generation})
        for batch in tables.rejects(name):
            yield from ({"step": name, **row} for row in batch.to_pylist() if Kind(row["kind"]) in wanted)


def newest_generations(store: "Store", domain: "Domain", partition: str) -> "dict[str, Generation]":
    """The newest generation of each step, refused or not."""
    from sheaf.tables import generations

    found = {step.name: generations.newest(store, domain.place(step, partition)) for step in domain.steps}
    return {name: generation for name, generation in found.items() if generation}


def tell_read(store: "Store", domain: "Domain", partition: str) -> None:
    """Say on stderr what the newest delivery of a partition held: rows by table, and files where the domain tells them.

    Nothing is said of one that was never read.
    """
    reading = newest_generations(store, domain, partition).get(domain.reading.name)
    for line in _read_lines(store, domain, reading) if reading else ():
        show.say(f"[dim]read[/] {escape(f'{domain.name}/{partition}: {line}')}")


def _read_lines(store: "Store", domain: "Domain", reading: "Generation") -> Iterator[str]:
    from sheaf.tables.accounts import Kind
    from sheaf.tables.pinned import Tables

    newest = {domain.reading.name: reading}
    rejected: Counter[str] = Counter()
    for row in noted(store, newest, {Kind.REJECT}):
        rejected[row["file"] or ""] += row["rows"]
    files = next((table for table in domain.reading.writes if table.name == "sources"), None)
    if files and files.name in reading.tables:
        for row in Tables(store, reading.partition, newest).read(files).to_pylist():
            parts = [row["file"], row["dialect"], f"{row['lines']} lines", f"{rejected[row['file']]} rejected"]
            parts += [f"{row['pending']} unfinished"] if row["pending"] else []
            yield ", ".join([*parts, show.human_size(row["size"])])
    for account in reading.account:
        left = [f"{rows} {why.replace('_', ' ')}" for why, rows in account.left_out.items()]
        counted = [f"{account.seen} seen", f"{account.used} used", f"{account.rejected} rejected", *left]
        yield f"{account.table}: {', '.join(counted)}"


def _of_no_rows(partition: str, newest: "Mapping[str, Generation]", refused: bool, wanted: "Collection[Kind]") -> str:
    """What is said where there is no row to be listed."""
    if not newest:
        return f"Nothing of {partition} has been read yet."
    if refused:
        return f"The newest delivery of {partition} was refused as a whole."
    others = {reason.kind for one in newest.values() for account in one.account for reason in account.reasons} - set(
        wanted
    )
    what = " or ".join(_MEANING[kind] for kind in sorted(others))
    more = f" Rows were {what}: --all lists them." if what else ""
    left = [
        f"{rows} {account.table} {why.replace('_', ' ')}"
        for one in newest.values()
        for account in one.account
        for why, rows in account.left_out.items()
    ]
    used = (
        f"Nothing of {partition} was rejected; left out: {', '.join(left)}."
        if left
        else f"All of {partition} was used."
    )
    return f"{used}{more}"


_MEANING = {"reject": "not used", "change": "changed", "fault": "used with a fault"}


def why(domain: DomainName, partition: PartitionName, as_json: AsJson = False) -> None:
    """Tell why the exports of a partition are as they are.

    What was delivered and when, what each step made of it and with which settings, what was rejected,
    which checks did not pass, which exports are up to date, and what has to be done.

    Example:

        sheaf why fermentation batch-21
    """
    from sheaf import listing
    from sheaf.coherence import stale_steps
    from sheaf.exports.history import history
    from sheaf.exports.records import Status
    from sheaf.settings import Settings
    from sheaf.sources import Looked
    from sheaf.store.store import Store
    from sheaf.tables.accounts import rejected_lines

    settings = Settings.load()
    found, store = domain_named(domain), Store.open(settings.store_url)
    partition = listing.find(store, found, check_partition(partition))
    newest = newest_generations(store, found, partition)
    stale = {one.step.name: one.why for one in stale_steps(store, found, partition, settings.of(found.name))}
    exports = {
        record.series: record
        for record in reversed(list(history(store, found.name, partition)))
        if record.status is Status.COMPLETED and record.canonical
    }
    if as_json:
        show.json({"steps": newest, "stale": stale, "exports": exports})
        return
    reading = newest.get(found.reading.name)
    looked = Looked.kept(store, found.place(found.reading, partition).folder)
    waits = reading and looked and looked.delivery != reading.made_with.delivery
    facts = {
        "delivery": f"{reading.made_with.delivery} from {reading.source}" if reading else "none",
        "read": f"{reading.made_at:%Y-%m-%d %H:%M:%S} UTC" if reading else None,
        "at the source": "another delivery" if waits else None,
        "made with": show.settings(
            {key: value for one in newest.values() for key, value in one.made_with.settings.items()}, found.name
        ),
    }
    show.table(("", ""), ((key, value) for key, value in facts.items() if value), "")
    show.OUT.print()
    rows = [
        (name, one.number, f"{one.made_at:%Y-%m-%d %H:%M}", _state(name, one, stale)) for name, one in newest.items()
    ]
    show.table(("step", "generation", "made (UTC)", ""), rows, "")
    for one in newest.values():
        for line in (*one.warnings, *rejected_lines(found.name, partition, one.account)):
            show.OUT.print(f"[yellow]note[/] {escape(line)}", highlight=False, soft_wrap=True)
        for check, verdict in one.checks.items():
            if not verdict.passed:
                line = f"[yellow]check[/] {one.step} {check}: {verdict.detail}"
                show.OUT.print(line, highlight=False, soft_wrap=True)
    _show_rules(store, found, partition)
    show.OUT.print()
    rows = [(record.id, f"{record.created_at:%Y-%m-%d %H:%M}", record.requested_by) for record in exports.values()]
    show.table(("latest export", "made (UTC)", "by"), rows, "Nothing has been published of it.")
    if any(one.refused is not None for one in newest.values()):
        todo = f"deliver {partition} again, corrected"
    else:
        todo = f"run `sheaf run {found.name} {partition}`" if stale else ""
    if todo:
        show.OUT.print(f"\nTo do: {todo}.", highlight=False)


def _show_rules(store: "Store", domain: "Domain", partition: str) -> None:
    """The rules that decided over the partition, with their verdicts and rows, where the domain keeps any."""
    from sheaf.tables import generations
    from sheaf.tables.pinned import Tables

    for step, table in domain.tables():
        generation = generations.current(store, domain.place(step, partition)) if table.name == "rules" else None
        if generation is None:
            continue
        rules = Tables(store, partition, {step.name: generation}).read(table).to_pylist()
        show.OUT.print()
        columns = ("rule", "verdict", "reason", "settle", "rows")
        show.table(columns, (tuple(row[name] or "" for name in columns) for row in rules), "")


def _state(name: str, generation: "Generation", stale: dict[str, str]) -> str:
    if generation.refused is not None:
        return f"refused: {generation.refused}"
    return f"to be made again: {stale[name]}" if name in stale else "as it should be"
