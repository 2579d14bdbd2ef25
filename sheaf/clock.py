"""The time that goes into records and reports.

Everything that writes a time takes it from here, so that `SOURCE_DATE_EPOCH` (the convention
of reproducible builds, https://reproducible-builds.org/specs/source-date-epoch/) makes two
runs byte-equal.
"""

import os
from datetime import UTC, datetime


def now() -> datetime:
    """The current time in UTC, or the moment `SOURCE_DATE_EPOCH` names."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
