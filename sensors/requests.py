"""What notices export requests that people put into `inbox/requests/` as YAML files.

A request that can be served is run, and moved to `accepted/` at the next look, when Dagster has
kept the run; one that cannot is moved to `rejected/` with the reason beside it.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from resources.store import StoreResource
from sheaf.errors import SheafError, UsageError
from sheaf.exports.publish import prepare
from sheaf.exports.series import Domain
from sheaf.exports.spec import load_spec
from sheaf.options import as_pairs
from sheaf.store import Store

AT_ONCE = 20


def requests_sensor(inbox: Path, domains: Sequence[Domain]) -> dg.SensorDefinition:
    """The sensor of export requests in an inbox, for all series of some domains."""

    @dg.sensor(
        name="export_requests",
        asset_selection=dg.AssetSelection.tag("sheaf/step", "export"),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Makes the exports that are asked for in inbox/requests/.",
    )
    def sensor(context: dg.SensorEvaluationContext, store: StoreResource) -> dg.SensorResult | dg.SkipReason:
        found = sorted((inbox / "requests").glob("*.yaml"))[:AT_ONCE]
        if not found:
            return dg.SkipReason("No request.")
        opened = store.open()
        asked_before: dict[str, str] = json.loads(context.cursor or "{}")
        asked: dict[str, str] = {}
        runs = []
        for path in found:
            key = hashlib.sha256(path.name.encode() + path.read_bytes()).hexdigest()[:32]
            if asked_before.get(path.name) == key:
                _move(path, "accepted")
                continue
            try:
                runs.append(_run_request(domains, opened, path, key))
            except SheafError as error:
                context.log.warning(f"{path.name}: {error}")
                _move(path, "rejected").with_suffix(".reason.txt").write_text(f"{error}\n", encoding="utf-8")
            else:
                asked[path.name] = key
        return dg.SensorResult(run_requests=runs, cursor=json.dumps(asked))

    return sensor


def _run_request(domains: Sequence[Domain], store: Store, path: Path, key: str) -> dg.RunRequest:
    """The run that serves a request, checked as the command line checks it."""
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
    prepare(store, series, domain.rejects, request)
    config = {
        "filter": as_pairs(request.filter),
        "options": as_pairs(request.options),
        "requested_by": request.requested_by,
        "always": request.always,
    } | ({"name": request.name} if request.name else {})
    return dg.RunRequest(
        run_key=key,
        asset_selection=[dg.AssetKey([domain.name, series.name])],
        partition_key=None if series.campaign else spec.partition,
        run_config={"ops": {f"{domain.name}__{series.name}": {"config": config}}},
        tags={"sheaf/partition": spec.partition},
    )


def _move(path: Path, folder: str) -> Path:
    """Move a request aside; an older one of the same name stays too."""
    target = path.parent / folder / path.name
    target.parent.mkdir(exist_ok=True)
    number = 1
    while target.exists():
        number += 1
        target = target.with_name(f"{path.stem}-{number}{path.suffix}")
    return path.rename(target)
