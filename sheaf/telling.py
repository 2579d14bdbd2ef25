"""Telling other systems what became of exports and deliveries, whoever made them, until they have heard it.

What happened stands in the store (`activity`). For each webhook one document beside it says up to when it was looked,
what of that was told, and what waits to be told again; so a restart loses nothing. Here: what is told, to whom, and
when again. Not here: how one message is sent (`outside/webhook`), nor who calls this every half minute (`sensors/`).
"""

import hashlib
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from sheaf import activity
from sheaf.activity import Activity
from sheaf.errors import NotFoundError, SheafError
from sheaf.outside.webhook import WebhookPolicy, send
from sheaf.settings import Told, WebhookSettings
from sheaf.store import documents
from sheaf.store.store import Store

WAITS = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 30, 120, 300, 600, 1080))
"""After how long it is tried again; then it is given up."""
_LATE = timedelta(minutes=10)
"""So much later than its time an event may appear: clocks of hosts differ."""
_SECONDS = 20.0
_TYPES = {
    "export completed": (Told.COMPLETED, "export.completed"),
    "export failed": (Told.FAILED, "export.failed"),
    "delivery refused": (Told.REFUSED, "delivery.refused"),
    "delivery overdue": (Told.OVERDUE, "delivery.overdue"),
}


class Waiting(BaseModel):
    """A message that has to be sent; the same in each try, so that its receiver knows it again."""

    message: dict[str, Any]
    tries: int = 0
    next_at: datetime


class Progress(BaseModel):
    """How far a webhook is.

    Attributes:
        begun: when it was configured; what happened before is not told.
        since: what happened before was looked at.
        seen: of what is so young that more may still appear, what was looked at: paths of events.
        waiting: what has to be sent, oldest first.
    """

    model_config = ConfigDict(extra="ignore")

    begun: datetime
    since: datetime
    seen: list[str] = []
    waiting: list[Waiting] = []


@dataclass
class Tick:
    """What was done: how many messages were heard, how many wait, and why some were not heard."""

    told: int = 0
    waiting: int = 0
    failed: list[str] = field(default_factory=list)


def tell(
    store: Store, hook: WebhookSettings, secret: str | None, *, now: datetime | None = None, seconds: float = _SECONDS
) -> Tick:
    """Tell one webhook what it has to hear now. The first time nothing is: it hears of what happens from then on.

    Args:
        secret: signs the messages.
        now: the time it is; in UTC.
        seconds: when they are over, what is left waits for the next time.
    """
    now = now or datetime.now(UTC)
    path = f"webhooks/{hashlib.sha256(hook.url.encode()).hexdigest()[:16]}.json"
    before, progress = _read(store, path, now)
    _take_up(store, hook, progress, now)
    tick, began, left = Tick(), time.monotonic(), list[Waiting]()
    policy = WebhookPolicy((urlsplit(hook.url).hostname or "",), hook.private, secret, attempts=1)
    for one in progress.waiting:
        if one.next_at > now or time.monotonic() - began > seconds:
            left.append(one)
            continue
        try:
            send(hook.url, one.message, policy)
            tick.told += 1
        except SheafError as error:
            again = one.tries < len(WAITS)
            if again:
                left.append(one.model_copy(update={"tries": one.tries + 1, "next_at": now + WAITS[one.tries]}))
            what = f"{one.message['type']} {_subject(one.message)}"
            tick.failed.append(f"{what}: {error} " + ("It is told again." if again else "It was given up."))
    progress.waiting, tick.waiting = left, len(left)
    data = progress.model_dump_json(indent=1).encode()
    if data != before and not store.swap(path, before, data):
        tick.failed.append(f"Somebody else tells {urlsplit(hook.url).hostname}, too: what was told may be told twice.")
    return tick


def _read(store: Store, path: str, now: datetime) -> tuple[bytes | None, Progress]:
    try:
        data = store.get(path)
    except NotFoundError:
        return None, Progress(begun=now, since=now)
    return data, documents.parse(Progress, data, store, path)


def _take_up(store: Store, hook: WebhookSettings, progress: Progress, now: datetime) -> None:
    """Let what happened since the last look wait to be told."""
    paths = activity.paths_since(store, max(progress.begun, progress.since - _LATE))
    seen = set(progress.seen)
    for path in paths:
        if path in seen:
            continue
        event = documents.read_if_whole(Activity, store, path)
        if event and (message := _message(hook, event)):
            progress.waiting.append(Waiting(message=message, next_at=now))
    progress.seen = [path for path in paths if path >= activity.place(now - _LATE)]
    progress.since = now


def _message(hook: WebhookSettings, event: Activity) -> dict[str, Any] | None:
    """What a webhook is told of an event; None for one that it did not ask for."""
    if event.what not in _TYPES:
        return None
    told, type_ = _TYPES[event.what]
    domain, partition, *more = event.subject.split("/")
    if told not in hook.events or (hook.domains and domain not in hook.domains):
        return None
    if hook.partitions and partition not in hook.partitions:
        return None
    data: dict[str, Any] = {"domain": domain, "partition": partition}
    if more:
        series, version = more
        data |= {"series": series, "version": int(version.removeprefix("v")), "export": event.subject}
    data |= {"by": event.who, "detail": event.detail}
    return {"type": type_, "timestamp": event.at.astimezone(UTC).isoformat().replace("+00:00", "Z"), "data": data}


def _subject(message: dict[str, Any]) -> str:
    data = message["data"]
    return data.get("export") or f"{data['domain']}/{data['partition']}"
