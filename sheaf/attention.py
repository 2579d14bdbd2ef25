"""What needs a person, worst first: damage, exposed versions, refused deliveries, failed exports, overdue ones, checks.

All of it is read from the store; nothing is put right here (`sheaf doctor` does that) and nobody is told
(`sheaf/telling.py`). Exposed are versions that show what the settings hide by now. What is over is not listed: a
delivery that was accepted since, an export that was made since.
"""

from collections.abc import Iterable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel

from sheaf import clock
from sheaf.activity import Activity, paths_since
from sheaf.errors import DamagedError, NotFoundError
from sheaf.exports.pins import read_pins
from sheaf.exports.records import Record, Status, all_series, read_latest, read_manifest, read_record, versions
from sheaf.names import PARTITION_KEY, ExportId, SeriesId
from sheaf.steps import Domain
from sheaf.store import documents
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.generations import Generation

_MOST_SHOWN = 10  # versions, or names, in one sentence
OVERDUE_FOR = timedelta(hours=26)
"""What is not done is asked for at least once a day, and said each time: what was not said for longer is over."""


class Kind(StrEnum):
    """Why somebody has to look, worst first."""

    DAMAGED = "damaged"
    EXPOSED = "exposed"
    REFUSED = "refused"
    FAILED = "failed"
    OVERDUE = "overdue"
    CHECK = "check"


class Need(BaseModel):
    """One thing that needs a person.

    Attributes:
        subject: an export, a partition, or the path of a document.
        since: when it was seen first, as far as the store tells.
        what: what is wrong.
        todo: what to do about it.
    """

    kind: Kind
    domain: str
    partition: str
    subject: str
    since: datetime | None = None
    what: str
    todo: str


def needs(store: Store, domains: Iterable[Domain], *, now: datetime | None = None) -> list[Need]:
    """Everything that needs a person, worst first, newest first of each kind.

    Args:
        now: the time it is.
    """
    found = list[Need]()
    late = overdue(store, now or clock.now())
    with ThreadPoolExecutor(documents.AT_ONCE) as pool:
        for domain in domains:
            for ones in pool.map(lambda series: list(_of_series(store, series)), all_series(store, domain.name)):
                found += ones
            keys = generations.partitions(store, domain.name, domain.reading.name, domain.kind)
            for ones in pool.map(lambda key, domain=domain: list(_of_partition(store, domain, key)), keys):
                found += ones
            for ones in pool.map(lambda key, domain=domain: exposed(store, domain, key), keys):
                found += ones
            found += _overdue(store, domain, late)
    ranks = {kind: rank for rank, kind in enumerate(Kind)}
    found.sort(key=lambda one: (ranks[one.kind], -one.since.timestamp() if one.since else 0.0, one.subject))
    return found


def exposed(store: Store, domain: Domain, partition: str) -> list[Need]:
    """Versions that were made before the settings said more of what is hidden, one for each series."""
    hidden = _hidden(store, domain, partition)
    if not hidden:
        return []
    found = list[Need]()
    for name in store.folders(f"exports/{domain.name}/{partition}"):
        if not PARTITION_KEY.fullmatch(name):
            continue
        series, old = SeriesId(domain.name, partition, name), list[ExportId]()
        missing, since = set[str](), None
        for number in versions(store, series):
            try:
                manifest = read_manifest(store, ExportId(series, number))
            except (NotFoundError, DamagedError):  # not published; damage is told elsewhere
                continue
            lacks = {key: of - set(map(str, manifest.made_with.get(key) or ())) for key, of in hidden.items()}
            if any(lacks.values()):
                old.append(ExportId(series, number))
                missing |= {f"{key} {one}" for key, of in lacks.items() for one in of}
                since = since or manifest.created_at
        if old:
            shown = ", ".join(f"v{one.version}" for one in old[:_MOST_SHOWN])
            more = f" and {len(old) - _MOST_SHOWN} more" if len(old) > _MOST_SHOWN else ""
            what = f"{shown}{more} may show what is hidden now: made without {', '.join(sorted(missing)[:_MOST_SHOWN])}"
            todo = f"make it anew (`sheaf run {domain.name} {partition}`), then delete the old: " + "; ".join(
                f"`sheaf delete {one}`" for one in old[:_MOST_SHOWN]
            )
            found.append(_need(Kind.EXPOSED, domain.name, partition, str(series), since, what, todo))
    return found


def _hidden(store: Store, domain: Domain, partition: str) -> dict[str, set[str]]:
    """What the newest good tables hide, by the setting that says so."""
    found = dict[str, set[str]]()
    for step in domain.steps:
        if not step.hides or (newest := generations.current(store, domain.place(step, partition))) is None:
            continue
        for key in step.hides:
            if said := newest.made_with.settings.get(key):
                found[key] = set(map(str, said))
    return found


def overdue(
    store: Store, now: datetime, known: MutableMapping[str, Activity | None] | None = None
) -> dict[str, Activity]:
    """The newest event of each partition that is said to be overdue, by `domain/partition`.

    Args:
        now: the time it is.
        known: events that were read before, by path, and are read no more.
    """
    known = {} if known is None else known
    paths = paths_since(store, now - OVERDUE_FOR)
    new = [path for path in paths if path not in known]
    with ThreadPoolExecutor(documents.AT_ONCE) as pool:
        read = pool.map(lambda path: documents.read_if_whole(Activity, store, path), new)
        known.update(zip(new, read, strict=True))
    for old in known.keys() - set(paths):
        del known[old]
    events = (known[path] for path in paths)
    return {event.subject: event for event in events if event and event.what == "delivery overdue"}


def is_over(event: Activity, newest: Generation | None) -> bool:
    """Whether what was overdue was done since."""
    return newest is not None and newest.made_at > event.at


def _overdue(store: Store, domain: Domain, late: dict[str, Activity]) -> Iterator[Need]:
    for subject, event in late.items():
        name, _, partition = subject.partition("/")
        if name == domain.name and not is_over(
            event, generations.newest(store, domain.place(domain.reading, partition))
        ):
            todo = f"see its last run in the Dagster UI, or run `sheaf run {name} {partition}`"
            yield _need(Kind.OVERDUE, name, partition, subject, event.at, event.detail, todo)


def _of_series(store: Store, series: SeriesId) -> Iterator[Need]:
    """Damage and failures since the newest canonical export."""
    for path, read in ((series.latest_path, read_latest), (series.tags_path, read_pins)):
        try:
            read(store, series)
        except DamagedError as error:
            yield _damaged(series.domain, series.partition, path, error)
    done = set[bool]()
    for number in reversed(versions(store, series)):
        export = ExportId(series, number)
        try:
            record = read_record(store, export)
            if record.status is Status.COMPLETED and not done:
                read_manifest(store, export)
        except NotFoundError:
            continue
        except DamagedError as error:
            yield _damaged(series.domain, series.partition, export.path, error)
            continue
        if record.status is Status.FAILED and record.canonical not in done:
            yield _failed(record)
        if record.status in (Status.FAILED, Status.COMPLETED):
            done.add(record.canonical)
        if record.canonical and record.status is Status.COMPLETED:
            return


def _failed(record: Record) -> Need:
    again = f"`sheaf run {record.domain} {record.partition}`" if record.canonical else "ask for it"
    todo = f"put right what it says, then {again} again; or `sheaf delete {record.id}`"
    since = record.finished_at or record.created_at
    return _need(
        Kind.FAILED, record.domain, record.partition, str(record.id), since, record.error or "It says no reason.", todo
    )


def _of_partition(store: Store, domain: Domain, partition: str) -> Iterator[Need]:
    """What the newest generation of each step says."""
    name, subject = domain.name, f"{domain.name}/{partition}"
    for step in domain.steps:
        place = domain.place(step, partition)
        there = generations.numbers(store, place)
        if not there:
            continue
        try:
            newest = generations.read(store, place, there[-1])
        except NotFoundError:  # pruned meanwhile
            continue
        except DamagedError as error:
            yield _damaged(name, partition, place.commit_path(there[-1]), error)
            continue
        if newest.refused is not None:
            todo = f"deliver {partition} again, corrected; `sheaf rejects {name} {partition}` lists what was not used"
            yield _need(Kind.REFUSED, name, partition, subject, newest.made_at, newest.refused, todo)
            continue
        for check, verdict in newest.checks.items():
            if not verdict.passed:
                what = f"{step.name} {check}: {verdict.detail}".removesuffix(": ")
                yield _need(
                    Kind.CHECK, name, partition, subject, newest.made_at, what, f"see `sheaf why {name} {partition}`"
                )


def _damaged(domain: str, partition: str, path: str, error: DamagedError) -> Need:
    return _need(Kind.DAMAGED, domain, partition, path, None, str(error), "run `sheaf doctor`")


def _need(kind: Kind, domain: str, partition: str, subject: str, since: datetime | None, what: str, todo: str) -> Need:
    return Need(kind=kind, domain=domain, partition=partition, subject=subject, since=since, what=what, todo=todo)
