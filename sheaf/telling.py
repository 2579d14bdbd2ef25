"""Telling others what became of exports and deliveries, whoever made them, until they have heard it.

What happened stands in the store (`activity`). For each listener, a webhook or a reader of letters, one document beside
it says up to when it was looked, what of that was told, and what waits to be told again; so a restart loses nothing.
Here: what is told, to whom, in which words, and when again. Not here: how one message is sent (`outside/webhook`,
`outside/mail`), nor who calls this every half minute (`sensors/`).
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from sheaf import activity
from sheaf.activity import Activity
from sheaf.errors import NotFoundError, SheafError
from sheaf.outside import mail, webhook
from sheaf.settings import MailSettings, ReaderSettings, Settings, Told, WebhookSettings
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
    """How far a listener is.

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


@dataclass(frozen=True)
class Listener:
    """Who is told, and how.

    Attributes:
        name: what errors call it.
        path: the document in the store that says how far it is.
        wants: what it has to hear; what any of them names.
        send: tells it one message, or several together; raises `SheafError` when it did not hear.
        together: whether what waits for the same time makes one letter.
    """

    name: str
    path: str
    wants: Sequence[WebhookSettings | ReaderSettings]
    send: Callable[[Sequence[dict[str, Any]]], object]
    together: bool = False


def listeners(settings: Settings, secret: str | None) -> list[Listener]:
    """All who have to be told; what names the same address twice is one.

    Args:
        secret: signs what webhooks get.
    """
    hooks = {hook.url: [one for one in settings.webhooks if one.url == hook.url] for hook in settings.webhooks}
    to = settings.mail.to if settings.mail else ()
    readers = {reader.address: [one for one in to if one.address == reader.address] for reader in to}
    found = [webhook_listener(hooks_of, secret) for hooks_of in hooks.values()]
    if settings.mail:
        found += [mail_listener(settings.mail, readers_of) for readers_of in readers.values()]
    return found


def webhook_listener(hooks: Sequence[WebhookSettings], secret: str | None) -> Listener:
    """One address that is posted to."""
    url = hooks[0].url
    host = urlsplit(url).hostname or ""
    policy = webhook.WebhookPolicy((host,), any(hook.private for hook in hooks), secret, attempts=1)

    def send(messages: Sequence[dict[str, Any]]) -> None:
        for message in messages:
            webhook.send(url, message, policy)

    return Listener(host, _path("webhooks", url), hooks, send)


def mail_listener(settings: MailSettings, readers: Sequence[ReaderSettings]) -> Listener:
    """One reader of letters. What is new at the same time is one letter: a night makes one, not a hundred."""
    address = readers[0].address

    def send(messages: Sequence[dict[str, Any]]) -> None:
        at = datetime.fromisoformat(messages[-1]["timestamp"])
        mail.send(settings, address, *_letter(messages), at)

    return Listener(address, _path("letters", address), readers, send, together=True)


def tell(store: Store, listener: Listener, *, now: datetime | None = None, seconds: float = _SECONDS) -> Tick:
    """Tell one listener what it has to hear now. The first time nothing is: it hears of what happens from then on.

    Args:
        now: the time it is; in UTC.
        seconds: when they are over, what is left waits for the next time.
    """
    now = now or datetime.now(UTC)
    before, progress = _read(store, listener.path, now)
    _take_up(store, listener, progress, now)
    tick, began, left = Tick(), time.monotonic(), list[Waiting]()
    for group in _groups(progress.waiting, together=listener.together):
        if group[0].next_at > now or time.monotonic() - began > seconds:
            left += group
            continue
        try:
            listener.send([one.message for one in group])
            tick.told += len(group)
        except SheafError as error:
            for one in group:
                again = one.tries < len(WAITS)
                if again:
                    left.append(one.model_copy(update={"tries": one.tries + 1, "next_at": now + WAITS[one.tries]}))
                what = f"{one.message['type']} {_subject(one.message)}"
                tick.failed.append(f"{what}: {error} " + ("It is told again." if again else "It was given up."))
    progress.waiting, tick.waiting = left, len(left)
    data = progress.model_dump_json(indent=1).encode()
    if data != before and not store.swap(listener.path, before, data):
        tick.failed.append(f"Somebody else tells {listener.name}, too: what was told may be told twice.")
    return tick


def _path(folder: str, address: str) -> str:
    return f"{folder}/{hashlib.sha256(address.encode()).hexdigest()[:16]}.json"


def _groups(waiting: list[Waiting], *, together: bool) -> list[list[Waiting]]:
    """What is told at once; what was told together and not heard is told together again, as the same letter."""
    if not together:
        return [[one] for one in waiting]
    return [list(group) for _, group in groupby(waiting, key=lambda one: (one.next_at, one.tries))]


def _letter(messages: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """Subject and text of what is told together."""
    counts = Counter(message["type"].replace(".", " ") for message in messages)
    said = ", ".join(f"{count} × {what}" for what, count in counts.items())
    subject = f"{messages[0]['type'].replace('.', ' ')}: {_subject(messages[0])}" if len(messages) == 1 else said
    return f"[Sheaf] {subject}", "\n".join(_paragraph(message) for message in messages)


def _paragraph(message: dict[str, Any]) -> str:
    data = message["data"]
    head = f"{message['type'].replace('.', ' ')}: {_subject(message)}"
    return "\n".join([head, *([data["detail"]] if data["detail"] else []), f"{message['timestamp']}, {data['by']}", ""])


def _read(store: Store, path: str, now: datetime) -> tuple[bytes | None, Progress]:
    try:
        data = store.get(path)
    except NotFoundError:
        return None, Progress(begun=now, since=now)
    return data, documents.parse(Progress, data, store, path)


def _take_up(store: Store, listener: Listener, progress: Progress, now: datetime) -> None:
    """Let what happened since the last look wait to be told."""
    paths = activity.paths_since(store, max(progress.begun, progress.since - _LATE))
    seen = set(progress.seen)
    for path in paths:
        if path in seen:
            continue
        event = documents.read_if_whole(Activity, store, path)
        if event and (message := _message(listener, event)):
            progress.waiting.append(Waiting(message=message, next_at=now))
    progress.seen = [path for path in paths if path >= activity.place(now - _LATE)]
    progress.since = now


def _message(listener: Listener, event: Activity) -> dict[str, Any] | None:
    """What a listener is told of an event; None for one that it did not ask for."""
    if event.what not in _TYPES:
        return None
    told, type_ = _TYPES[event.what]
    domain, partition, *more = event.subject.split("/")
    if not any(_asked(one, told, domain, partition) for one in listener.wants):
        return None
    data: dict[str, Any] = {"domain": domain, "partition": partition}
    if more:
        series, version = more
        data |= {"series": series, "version": int(version.removeprefix("v")), "export": event.subject}
    data |= {"by": event.who, "detail": event.detail}
    return {"type": type_, "timestamp": event.at.astimezone(UTC).isoformat().replace("+00:00", "Z"), "data": data}


def _asked(one: WebhookSettings | ReaderSettings, told: Told, domain: str, partition: str) -> bool:
    return (
        told in one.events
        and (not one.domains or domain in one.domains)
        and (not one.partitions or partition in one.partitions)
    )


def _subject(message: dict[str, Any]) -> str:
    data = message["data"]
    return data.get("export") or f"{data['domain']}/{data['partition']}"
