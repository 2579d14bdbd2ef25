"""Numbers for Prometheus at `/metrics`: how many of what, by domain, so that somebody is woken when it is wrong.

Counted from records and from the newest generation of each partition, which never change once they are read, and
kept for some seconds. Not here: which of them needs a person (`sheaf/attention.py`).
"""

import base64
import binascii
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from pipelines.http.access import Bearer, The, Tries, caller
from pipelines.http.service import Service
from pipelines.http.users import User
from sheaf import __version__, clock
from sheaf.activity import Activity
from sheaf.attention import is_over, overdue
from sheaf.domains import DOMAINS
from sheaf.exports.records import Status
from sheaf.steps import Domain
from sheaf.store import documents
from sheaf.tables import generations
from sheaf.tables.generations import Generation

KEPT_S = 15.0
"""How long an answer is given again."""
LISTED_S = 600.0
"""How long it is not counted again how much the store holds: it takes a listing of all of it."""
FORMAT = "text/plain; version=0.0.4; charset=utf-8"
_TRIES = Tries()

router = APIRouter(tags=["Sheaf"])

_HELP = {
    "sheaf_info": "The version of Sheaf that answers.",
    "sheaf_exports": "Versions of exports by status; pending and processing ones are queued or being made.",
    "sheaf_export_bytes": "Bytes in the files of completed exports.",
    "sheaf_partitions": "Partitions that were ever read.",
    "sheaf_deliveries_refused": "Partitions whose newest delivery was refused.",
    "sheaf_deliveries_overdue": "Partitions that were asked for again within a day and not done.",
    "sheaf_checks_failed": "Checks that the newest tables of the first step do not pass.",
    "sheaf_rows_seen": "Rows in the newest deliveries.",
    "sheaf_rows_rejected": "Rows of the newest deliveries that were not used because something is wrong with them.",
    "sheaf_rejected_ratio": "The share of the newest deliveries' rows that was rejected, 0 to 1.",
    "sheaf_newest_delivery_age_seconds": "Seconds since a delivery was read last.",
    "sheaf_store_objects": "Objects in the store, by what they are; counted every ten minutes.",
    "sheaf_store_bytes": "Bytes in the store, by what they are; counted every ten minutes.",
}


@dataclass
class Metrics:
    """The numbers of one server; what was read and cannot change is not read again."""

    _lock: Lock = field(default_factory=Lock)
    _kept: tuple[float, str] = (float("-inf"), "")
    _listed: tuple[float, Mapping[tuple[str, str], tuple[int, int]]] = (float("-inf"), {})
    _generations: dict[str, Generation | None] = field(default_factory=dict)
    _events: dict[str, Activity | None] = field(default_factory=dict)

    def text(self, the: Service) -> str:
        """What Prometheus reads; of many who ask at once one counts."""
        with self._lock:
            if time.monotonic() - self._kept[0] > KEPT_S:
                self._kept = time.monotonic(), "".join(_lines(self._count(the)))
            return self._kept[1]

    def _count(self, the: Service) -> Iterator[tuple[str, Mapping[str, str], float]]:
        yield "sheaf_info", {"version": __version__}, 1
        exports, sizes = Counter[tuple[str, str]](), Counter[str]()
        for record in the.records():
            exports[record.domain, record.status] += 1
            sizes[record.domain] += (record.size or 0) if record.status is Status.COMPLETED else 0
        for domain in DOMAINS:
            for status in Status:
                yield "sheaf_exports", {"domain": domain, "status": status}, exports[domain, status]
            yield "sheaf_export_bytes", {"domain": domain}, sizes[domain]
        now = clock.now()
        late = overdue(the.store, now, self._events)
        for domain in DOMAINS.values():
            newest = self._newest(the, domain)
            for name, value in _of(domain.name, newest, late, now.timestamp()).items():
                yield name, {"domain": domain.name}, value
        for (part, domain), (objects, size) in self._stored(the).items():
            yield "sheaf_store_objects", {"domain": domain, "part": part}, objects
            yield "sheaf_store_bytes", {"domain": domain, "part": part}, size

    def _newest(self, the: Service, domain: Domain) -> dict[str, Generation]:
        """The newest generation of each partition's first step; a damaged one is passed over."""

        def look(partition: str) -> tuple[str, str, Generation | None]:
            place = domain.place(domain.reading, partition)
            there = generations.numbers(the.store, place)
            path = place.commit_path(there[-1]) if there else ""
            known = self._generations.get(path)
            return partition, path, known or (documents.read_if_whole(Generation, the.store, path) if path else None)

        keys = generations.partitions(the.store, domain.name, domain.reading.name, domain.kind)
        with ThreadPoolExecutor(documents.AT_ONCE) as pool:
            found = list(pool.map(look, keys))
        prefix = f"tables/{domain.name}/"
        self._generations = {path: one for path, one in self._generations.items() if not path.startswith(prefix)}
        self._generations |= {path: one for _, path, one in found if one}
        return {partition: one for partition, _, one in found if one}

    def _stored(self, the: Service) -> Mapping[tuple[str, str], tuple[int, int]]:
        if time.monotonic() - self._listed[0] > LISTED_S:
            found = {
                (part, domain): _sum(stored.size for stored in the.store.list(f"{part}/{domain}"))
                for part in ("exports", "tables")
                for domain in DOMAINS
            }
            self._listed = time.monotonic(), found
        return self._listed[1]


def _sum(sizes: Iterator[int]) -> tuple[int, int]:
    objects = total = 0
    for size in sizes:
        objects, total = objects + 1, total + size
    return objects, total


def _of(domain: str, newest: Mapping[str, Generation], late: Mapping[str, Activity], now: float) -> dict[str, float]:
    """What the newest generations of a domain say."""
    accounts = [account for one in newest.values() for account in one.account]
    seen, rejected = sum(one.seen for one in accounts), sum(one.rejected for one in accounts)
    still = [
        subject
        for subject, event in late.items()
        if subject.startswith(f"{domain}/") and not is_over(event, newest.get(subject.partition("/")[2]))
    ]
    found: dict[str, float] = {
        "sheaf_partitions": len(newest),
        "sheaf_deliveries_refused": sum(one.refused is not None for one in newest.values()),
        "sheaf_deliveries_overdue": len(still),
        "sheaf_checks_failed": sum(not verdict.passed for one in newest.values() for verdict in one.checks.values()),
        "sheaf_rows_seen": seen,
        "sheaf_rows_rejected": rejected,
        "sheaf_rejected_ratio": rejected / seen if seen else 0.0,
    }
    if newest:
        read = max(one.made_at for one in newest.values()).timestamp()
        found["sheaf_newest_delivery_age_seconds"] = max(now - read, 0.0)
    return found


def _lines(found: Iterator[tuple[str, Mapping[str, str], float]]) -> Iterator[str]:
    """In Prometheus' text format; the values of our labels need no escaping."""
    by_name: dict[str, list[str]] = {name: [] for name in _HELP}
    for name, labels, value in found:
        told = ",".join(f'{key}="{each}"' for key, each in labels.items())
        by_name[name].append(f"{name}{{{told}}} {value:.15g}\n")
    for name, lines in by_name.items():
        if lines:
            yield f"# HELP {name} {_HELP[name]}\n# TYPE {name} gauge\n"
            yield from lines


def _scraper(request: Request, the: The, bearer: Bearer) -> User:
    """Who asks: as everywhere, or a name with its password at each request, since a token expires."""
    kind, _, said = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return caller(request, the, bearer)
    try:
        name, _, password = base64.b64decode(said, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        name = password = ""
    keys = (f"name {name}", f"address {request.client.host if request.client else ''}")
    _TRIES.check(*keys)
    user = the.users.login(name, password)
    if user is None:
        _TRIES.failed(*keys)
        raise HTTPException(401, "Name or password is wrong.", headers={"WWW-Authenticate": "Basic"})
    return user


@router.get("/metrics", include_in_schema=False)
def metrics(request: Request, the: The, user: Annotated[User, Depends(_scraper)]) -> Response:
    """The numbers, as Prometheus reads them."""
    kept: Any = request.app.state.metrics
    return Response(kept.text(the), headers={"Content-Type": FORMAT})
