"""What happened, one small object per event: exports completed, failed, deleted; filters saved."""

import uuid
from collections.abc import Iterator
from datetime import datetime

from pydantic import BaseModel

from sheaf import clock
from sheaf.store import documents
from sheaf.store.store import Store


class Activity(BaseModel):
    """One event; `subject` is an export or a saved filter, `what` a verb in the past tense."""

    at: datetime
    what: str
    subject: str
    who: str
    detail: str = ""


def log(store: Store, what: str, subject: object, who: str, detail: str = "") -> None:
    """Write one event. Its name sorts by time, so that the newest are found by listing."""
    event = Activity(at=clock.now(), what=what, subject=str(subject), who=who, detail=detail)
    store.put(f"{place(event.at)}-{uuid.uuid4().hex[:8]}.json", event.model_dump_json().encode())


def place(moment: datetime) -> str:
    """How the path of an event of that time begins."""
    return f"activity/{moment:%Y-%m}/{moment:%Y%m%dT%H%M%S.%fZ}"


def paths_since(store: Store, moment: datetime) -> list[str]:
    """Where the events at or after a time lie, oldest first.

    Args:
        moment: in UTC.
    """
    first = place(moment)
    months = [month for month in store.folders("activity") if month >= f"{moment:%Y-%m}"]
    return sorted(item.path for month in months for item in store.list(f"activity/{month}", after=first))


def newest(store: Store, since: datetime | None = None, limit: int = 50) -> Iterator[Activity]:
    """Events, newest first; a damaged one is passed over.

    Args:
        since: only events at or after this time.
        limit: at most so many.
    """
    left = limit
    for month in reversed(store.folders("activity")):
        paths = sorted((item.path for item in store.list(f"activity/{month}")), reverse=True)
        for path in paths:
            event = documents.read_if_whole(Activity, store, path)
            if event is None:
                continue
            if since and event.at < since:
                return
            yield event
            left -= 1
            if left <= 0:
                return
