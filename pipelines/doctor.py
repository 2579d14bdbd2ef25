"""The checks of `sheaf doctor`: everything Sheaf talks to, and what a crash may have left."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.instance import open_instance
from resources.sources import configured_sources
from sheaf.domains import DOMAINS
from sheaf.errors import SheafError, StoreError
from sheaf.exports.recover import recover
from sheaf.settings import Settings
from sheaf.store import Store


@dataclass(frozen=True)
class Finding:
    """One thing that was checked; `detail` says what was found or what to do."""

    what: str
    ok: bool
    detail: str


def examine(settings: Settings) -> list[Finding]:
    """Check store, every source and the Dagster instance; then recover the store."""
    return [
        _finding("store", lambda: _check_store(settings)),
        *(
            _finding(f"{domain} {source.name}", source.check)
            for domain in DOMAINS
            for source in configured_sources(settings).of(domain)
        ),
        _finding("dagster", lambda: _check_instance(settings)),
        _finding("recovery", lambda: _recover(settings)),
    ]


def _finding(what: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(what, ok=True, detail=check())
    except SheafError as error:
        return Finding(what, ok=False, detail=str(error))
    except Exception as error:  # a doctor reports what it meets
        return Finding(what, ok=False, detail=f"{type(error).__name__}: {error}".splitlines()[0])


def _check_store(settings: Settings) -> str:
    store = Store.open(settings.store_url)
    probe = f"doctor/{uuid.uuid4().hex}"
    try:
        if not store.create(probe, b"1") or store.create(probe, b"2") or store.get(probe) != b"1":
            raise StoreError(
                f"{store.url} ignores conditional creation: two writers could share a version number. "
                "Use local disk, AWS S3, MinIO, GCS or Azure."
            )
    finally:
        store.delete([probe])
    return f"{store.url} can be written, read and conditionally created"


def _check_instance(settings: Settings) -> str:
    instance = open_instance(settings)
    return f"{instance.root_directory}: {instance.get_runs_count()} runs"


def _recover(settings: Settings) -> str:
    done = recover(Store.open(settings.store_url))
    if not (done.finished or done.reaped or done.swept):
        return "nothing was left behind"
    return f"{len(done.finished)} exports finished, {len(done.reaped)} given up, {done.swept} leftovers removed"
