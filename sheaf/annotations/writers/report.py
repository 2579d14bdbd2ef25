"""What an export holds, in the words that preview, record and `report.json` share.

Not here: finding it out (`selection`, `coco`, `classification`).
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from sheaf.annotations.findings import by_sentence
from sheaf.annotations.writers.archive import Archive
from sheaf.annotations.writers.earlier import RECORDS, taken_at
from sheaf.annotations.writers.selection import Selection
from sheaf.exports.series import Draft, Written
from sheaf.tables.accounts import Kind

REPORT = "report.json"


@dataclass(frozen=True)
class Counts:
    """Numbers of an export.

    Attributes:
        image_count: images in the files.
        annotation_count: annotations in the files; classes given, for classification.
        class_counts: annotations by class.
        split_counts: images by train, val, test and none, those of none counted even when left out.
        dropped: images and annotations that were left out, by reason.
        warnings: sentences the reader of the export should know.
    """

    image_count: int
    annotation_count: int
    class_counts: dict[str, int]
    split_counts: dict[str, int]
    dropped: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def write_report(
    archive: Archive, draft: Draft, series: str, selection: Selection, counts: Counts, **more: Any
) -> None:
    """Add `report.json`: the numbers, what was asked for, images that are missing, and what cleaning changed.

    Rejected and corrected rows are counted for the whole project, whatever the filter.
    """
    earlier = draft.options.version_mode != "latest"
    account = draft.tables.generations[RECORDS].account
    report = {
        "project": draft.partition,
        "series": series,
        **asdict(counts),
        "missing_images": selection.missing,
        "filter": draft.filter.model_dump(mode="json", exclude_defaults=True),
        "options": draft.options.model_dump(mode="json"),
        "snapshot": taken_at(draft.tables).isoformat() if earlier else None,
        "rejected_at_ingest": by_sentence(account, Kind.REJECT),
        "corrected_at_ingest": by_sentence(account, Kind.CHANGE),
        **more,
    }
    with archive.document(REPORT) as stream:
        stream.write(orjson.dumps(report, option=orjson.OPT_INDENT_2))


def written(counts: Counts, rows: dict[str, int]) -> Written:
    """The same numbers, under the same names, for preview and manifest."""
    numbers = asdict(counts)
    del numbers["warnings"]
    return Written(
        record_count=counts.image_count,
        rows=rows,
        counts=numbers,
        warnings=tuple(counts.warnings),
    )
