"""The time that goes into records and reports, and times as tables count them.

Everything that writes a time takes it from here, so that `SOURCE_DATE_EPOCH` (the convention
of reproducible builds, https://reproducible-builds.org/specs/source-date-epoch/) makes two
runs byte-equal.
"""

import os
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import SupportsInt
from zoneinfo import available_timezones

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def now() -> datetime:
    """The current time in UTC, or the moment `SOURCE_DATE_EPOCH` names."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)


def aware(moment: datetime) -> datetime:
    """A time with its zone: UTC where nobody said another."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def microseconds(time: datetime) -> int:
    """A time in microseconds since the epoch."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def as_time(us: SupportsInt) -> datetime:
    """Microseconds since the epoch as a time in UTC."""
    return _EPOCH + timedelta(microseconds=int(us))


@cache
def zone_named(name: str) -> str | None:
    """The IANA zone that a text names, in any case and with blanks around it; None where there is none."""
    wanted = name.strip().casefold()
    return next((zone for zone in available_timezones() if zone.casefold() == wanted), None)
