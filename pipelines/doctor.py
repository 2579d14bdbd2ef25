"""The checks of `sheaf doctor`: everything Sheaf talks to, what it needs around it, and what the store holds.

What a crash left is put right, what is damaged is set aside. Here: the order of the checks, and the rule
that none stops the next. Not here: folders, space, clocks, the daemon (`surroundings`), damage
(`sheaf/damage.py`).
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from pipelines import surroundings
from pipelines.instance import open_instance
from resources.sources import configured_sources
from sheaf import damage, listing
from sheaf.domains import DOMAINS
from sheaf.errors import SheafError, StoreError
from sheaf.exports import catalogue
from sheaf.exports.recover import recover
from sheaf.names import did_you_mean
from sheaf.outside import mail
from sheaf.outside.inbox import unknown
from sheaf.publication import of_single
from sheaf.settings import Settings
from sheaf.sources import Source
from sheaf.store import quarantine
from sheaf.store.store import Store


@dataclass(frozen=True)
class Finding:
    """One thing that was checked; `detail` says what was found or what to do."""

    what: str
    ok: bool
    detail: str


def examine(settings: Settings, *, deep: bool = False) -> list[Finding]:
    """Check store, every source, what is around them and Dagster; then put the store right.

    Args:
        deep: read every byte that the store holds of exports and tables.
    """
    found = list(_outside(settings))
    try:
        store = Store.open(settings.store_url)
    except SheafError as error:
        return [Finding("store", ok=False, detail=str(error)), *found]
    return [
        _finding("store", lambda: surroundings.check_store(store)),
        _finding("clock", lambda: surroundings.check_clock(store)),
        _finding("space", lambda: surroundings.check_space(store)),
        *found,
        *_meant_for_nobody(settings, store),
        *_inside(store, deep=deep),
    ]


def _outside(settings: Settings) -> Iterator[Finding]:
    """What needs no store."""
    yield _finding("inbox", lambda: surroundings.check_inbox(settings.inbox))
    for domain in DOMAINS:
        for source in configured_sources(settings).of(domain):
            yield _finding(f"{domain} {source.name}", source.check)
            yield from _unusable(domain, source)
    with suppress(SheafError):  # `check_inbox` has told it
        for name, why in unknown(settings.inbox, DOMAINS).items():
            yield Finding("inbox", ok=True, detail=f"note: {name}: {why}")
    yield _finding("media folders", lambda: surroundings.check_media(settings.media))
    if settings.mail:
        server = settings.mail
        yield _finding("mail", lambda: mail.check(server))
    try:
        instance = open_instance(settings)
    except Exception as error:
        yield _failed("dagster", error)
        return
    yield _finding("dagster", lambda: surroundings.check_instance(instance))
    yield _finding("daemon", lambda: surroundings.check_daemon(instance))
    yield _finding("sensors and schedules", lambda: surroundings.check_switches(instance))


def _unusable(domain: str, source: Source) -> Iterator[Finding]:
    """What lies in the domain's folder of the inbox and cannot be run as it is."""
    if source.authoritative:  # a live system offers what it has, and `check` has asked it
        return
    with suppress(SheafError):  # `check` has told it
        for name, why in source.offers().problems().items():
            yield Finding(f"{domain} {source.name}", ok=False, detail=f"{name} is not read. {why}")


def _meant_for_nobody(settings: Settings, store: Store) -> Iterator[Finding]:
    """Settings of single partitions that nobody delivers: perhaps what they hide is published under another name."""
    for domain in DOMAINS.values():
        meant = of_single(settings.of(domain.name))
        if not meant:
            continue
        known = set(listing.names(store, domain))
        for source in configured_sources(settings).of(domain.name):
            with suppress(SheafError):  # its own check has told it
                known.update(source.offers().partitions)
        for name in sorted(set(meant) - known):
            said = f"{domain.name}, projects, {name}: there is no such {domain.kind}: correct its name, or deliver it."
            yield Finding(f"settings of {name}", ok=False, detail=said + did_you_mean(name, known))


def _inside(store: Store, *, deep: bool) -> Iterator[Finding]:
    """What the store holds; damage first, so that recovery meets none."""
    whole = True
    try:
        for found in damage.examine(store, DOMAINS.values(), deep=deep):
            whole = False
            yield Finding(found.path, ok=False, detail=found.detail)
        if whole:
            every = "every byte is" if deep else "documents are whole, and what is used now is"
            yield Finding("contents", ok=True, detail=f"{every} as it was written")
    except Exception as error:
        yield _failed("contents", error)
    yield _finding("recovery", lambda: _recover(store))
    yield _finding("catalogue", lambda: _catalogue(store))
    yield _finding("quarantine", lambda: _quarantine(store))


def _finding(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, ok=True, detail=check())
    except Exception as error:  # a doctor reports what it meets
        return _failed(what, error)


def _failed(what: str, error: Exception) -> Finding:
    detail = str(error) if isinstance(error, SheafError) else f"{type(error).__name__}: {error}".splitlines()[0]
    return Finding(what, ok=False, detail=detail)


def _recover(store: Store) -> str:
    done = recover(store)
    if done.failed:
        raise StoreError(" ".join(done.failed))
    if not (done.finished or done.reaped or done.swept):
        return "nothing was left behind"
    return f"{len(done.finished)} exports finished, {len(done.reaped)} given up, {done.swept} leftovers removed"


def _catalogue(store: Store) -> str:
    lacking = catalogue.complete(store)
    return f"made anew: it lacked {lacking} exports" if lacking else "it names every export"


def _quarantine(store: Store) -> str:
    kept = sum(1 for _ in store.list(quarantine.FOLDER))
    if not kept:
        return "nothing is set aside"
    return f"{kept} objects are kept below {quarantine.FOLDER}/ in the store: remove them when nobody needs them"
