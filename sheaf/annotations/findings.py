"""What can be wrong with a row: a code that stays, and a sentence.

Here: the faults that several tables share, and counting. Not here: those of boxes and masks
(`geometry`, `masks`), of files (`table_files`, `images`) and of names (`paths`).
"""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from sheaf.tables.accounts import Account, Kind


class Finding(NamedTuple):
    """Why a row is not used, or how it was changed."""

    code: str
    sentence: str


REPEATED_KEY = Finding("repeated_key", "the id is there already")
AMBIGUOUS_IMAGE = Finding("ambiguous_image", "several images have the id of its image: nobody knows which one is meant")
UNKNOWN_IMAGE = Finding("unknown_image", "its image is not in the images")
UNKNOWN_LABEL = Finding("unknown_label", "its label is not in the labels")
UNKNOWN_TAG = Finding("unknown_tag", "its tag is not in the tags")
UNKNOWN_TASK = Finding("unknown_task", "its task is not in the tasks")
UNKNOWN_JOB = Finding("unknown_job", "its job is not in the jobs")
NOT_AN_OBJECT = Finding("not_an_object", "it is no JSON object")


def by_sentence(accounts: Iterable[Account], kind: Kind) -> dict[str, int]:
    """How many rows there are of a kind by what was found, most frequent first."""
    counts: Counter[str] = Counter()
    for account in accounts:
        for reason in account.reasons:
            if reason.kind is kind:
                counts[reason.reason] += reason.rows
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
