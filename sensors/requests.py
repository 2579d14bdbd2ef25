"""What notices export requests that people put into `inbox/requests/` as YAML or JSON files.

A request that can be served is run, and moved to `accepted/` at the next look, when Dagster has kept
the run; one that cannot is moved to `rejected/` with the reason beside it. Whatever one file holds or
is, the others are served. Where several daemons look at the same inbox, each with a database of its own, one of
them serves a request: it is claimed in the store. Not here: what a request may say (`sheaf/exports/spec.py`).
"""

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import dagster as dg
from dagster._core.storage.runs.sql_run_storage import SqlRunStorage
from pydantic import BaseModel, ValidationError

from assets.exports import export_config, export_key
from assets.steps import step_key
from resources.store import StoreResource
from sheaf.coherence import stale_steps
from sheaf.errors import InputError, NotFoundError, SheafError, SourceError, StaleError, StoreError, UsageError
from sheaf.exports.publish import prepare
from sheaf.exports.spec import load_spec
from sheaf.outside.files import read_bytes, require_inside
from sheaf.outside.inbox import REQUEST_ENDINGS, REQUESTS, unknown
from sheaf.outside.yaml_files import MOST_BYTES
from sheaf.settings import Settings
from sheaf.steps import Domain, Step
from sheaf.store.store import Store

AT_ONCE = 20
MOST_KEPT = 500
CLAIMED_S = 600.0
"""After so long a request that another daemon has claimed, and that still lies there, is ours."""


class Cursor(BaseModel):
    """What the sensor keeps from tick to tick, of files that are still there.

    Attributes:
        asked: requests whose run was asked for, by name, each with a hash of what it said.
        stuck: requests that were answered and cannot be moved away.
        left: requests that are left as they are, because another daemon has claimed them or the store is away, with the
            time by our own clock since when.
    """

    asked: dict[str, str] = {}
    stuck: dict[str, str] = {}
    left: dict[str, float] = {}

    @classmethod
    def read(cls, text: str | None) -> "Cursor":
        """A cursor as Dagster kept it; a damaged one starts over."""
        try:
            return cls.model_validate_json(text or "{}")
        except ValidationError:
            return cls()

    def kept(self) -> str:
        """As text, small however many files cannot be moved away; Dagster itself knows which runs it was asked for."""
        few = {name: dict(list(kept.items())[:MOST_KEPT]) for name, kept in self}
        return Cursor.model_validate(few).model_dump_json(exclude_defaults=True)


def requests_sensor(inbox: Path, domains: Sequence[Domain]) -> dg.SensorDefinition:
    """The sensor of export requests in an inbox, for all series of some domains; it also names what nobody reads."""
    names = [domain.name for domain in domains]

    @dg.sensor(
        name="export_requests",
        asset_selection=dg.AssetSelection.groups(*(domain.name for domain in domains)),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Makes the exports that are asked for in inbox/requests/.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, store: StoreResource, settings: dg.ResourceParam[Settings]
    ) -> dg.SensorResult | dg.SkipReason:
        found = _requests(inbox / REQUESTS)
        if not found:
            strays = (f"{name} in the inbox: {why}" for name, why in unknown(inbox, names).items())
            return dg.SkipReason("\n".join(("No request.", *strays)))
        opened, before, after = store.open(), Cursor.read(context.cursor), Cursor()
        runs: list[dg.RunRequest] = []
        answered = 0
        for path in found:
            name = _shown(path)
            known = name in {**before.asked, **before.stuck, **before.left}
            if answered == AT_ONCE and not known:
                continue
            key = _key(path)
            if before.stuck.get(name) == key:
                after.stuck[name] = key
                continue
            answered += not known
            folder, reason = "accepted", ""
            if before.asked.get(name) != key:
                served = _served(context, domains, opened, settings, path, key, before.left.get(name))
                if isinstance(served, dg.RunRequest):
                    runs.append(served)
                    after.asked[name] = key
                    continue
                if served is None:
                    after.left[name] = before.left.get(name, time.time())
                    continue
                folder, reason = "rejected", served
            if problem := _move(path, folder, reason):
                after.stuck[name] = key
                context.log.warning(f"{name} cannot be moved to {folder}/: {problem}. Move it yourself.")
                continue
            with suppress(StoreError):  # then the claim stays, and means nothing
                opened.delete([_claim_path(key)])
        return dg.SensorResult(run_requests=runs, cursor=after.kept())

    return sensor


def _database(instance: dg.DagsterInstance) -> str:
    """Which of Dagster's databases this is: there run keys see to it that nothing is run twice."""
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    return storage.get_run_storage_id()


def _claim_path(key: str) -> str:
    return f"leases/requests/{key}.json"


def _claim(store: Store, key: str, ours: str, left_since: float | None) -> bool:
    """Whether a request is for us to serve, and not for a daemon with another database, unless that one is slow."""
    path, claim = _claim_path(key), ours.encode()
    if store.create(path, claim, durable=False):
        return True
    try:
        found = store.get(path)
    except NotFoundError:  # answered just now
        return False
    if found == claim:
        return True
    if found and (left_since is None or time.time() - left_since < CLAIMED_S):
        return False
    return store.swap(path, found, claim, durable=False)


def _requests(folder: Path) -> list[Path]:
    """What lies there and is called like a request, sorted by name."""
    try:
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise InputError(f"{folder} cannot be read: {error.strerror}. Allow Sheaf to read it.") from error
    return [folder / name for name in names if name.lower().endswith(REQUEST_ENDINGS) and not name.startswith(".")]


def _shown(path: Path) -> str:
    """A file's name as text; bytes that are no UTF-8 are escaped."""
    return os.fsencode(path.name).decode("utf-8", "backslashreplace")


def _key(path: Path) -> str:
    """A hash of what a request is called and says; of one that cannot be read, of its name."""
    try:
        require_inside(path, path.parent)
        data = read_bytes(path, MOST_BYTES)
    except SheafError:
        data = b""
    return hashlib.sha256(os.fsencode(path.name) + data).hexdigest()[:32]


def _sentence(error: Exception) -> str:
    if isinstance(error, SheafError):
        return str(error)
    return f"It cannot be used: {type(error).__name__}: {error}"[:500]


def _served(
    context: dg.SensorEvaluationContext,
    domains: Sequence[Domain],
    store: Store,
    settings: Settings,
    path: Path,
    key: str,
    left_since: float | None,
) -> dg.RunRequest | str | None:
    """The run that serves a request, or why there can be none; None where it is another daemon's, or in an outage."""
    try:
        if not _claim(store, key, _database(context.instance), left_since):
            return None
        return _run_request(domains, store, settings, path, key)
    except Exception as error:  # whatever one file holds, the others are served
        context.log.warning(f"{_shown(path)}: {error}")
        return None if isinstance(error, StoreError | SourceError) else _sentence(error)


def _run_request(domains: Sequence[Domain], store: Store, settings: Settings, path: Path, key: str) -> dg.RunRequest:
    """The run that serves a request, checked as the command line checks it; steps that are stale run first."""
    require_inside(path, path.parent)
    spec = load_spec(path)
    wanted = [
        (domain, series)
        for domain in domains
        for series in domain.series
        if (domain.name, series.name) == (spec.domain, spec.series)
    ]
    if not wanted:
        raise UsageError(f"There is no series {spec.domain}/{spec.series}.")
    domain, series = wanted[0]
    request = spec.request(store, f"request {path.stem}")
    own, stale = settings.of(domain.name), list[Step]()
    try:
        prepare(store, domain, series, request, own)
    except StaleError:
        if series.campaign:  # its partitions are made by the night run
            raise
        stale = [found.step for found in stale_steps(store, domain, spec.partition, own)]
    return dg.RunRequest(
        run_key=key,
        asset_selection=[*(step_key(domain, step) for step in stale), export_key(domain, series)],
        partition_key=None if series.campaign else spec.partition,
        run_config={"ops": {f"{domain.name}__{series.name}": {"config": export_config(request)}}},
        tags={"sheaf/partition": spec.partition},
    )


def _move(path: Path, folder: str, reason: str) -> str:
    """Move a request aside, with the reason beside it if there is one; older ones of the same name stay too.

    Returns:
        Why that cannot be done; nothing where it was.
    """
    target = path.parent / folder / path.name
    number = 1
    try:
        target.parent.mkdir(exist_ok=True)
        while os.path.lexists(target) or (reason and target.with_suffix(".reason.txt").exists()):
            number += 1
            target = target.with_name(f"{path.stem}-{number}{path.suffix}")
        if reason:  # first: what lies in rejected/ always has its reason
            target.with_suffix(".reason.txt").write_text(f"{reason}\n", encoding="utf-8", errors="backslashreplace")
        path.rename(target)
    except FileNotFoundError:  # somebody was faster; nothing lies there any more
        target.with_suffix(".reason.txt").unlink(missing_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return ""
