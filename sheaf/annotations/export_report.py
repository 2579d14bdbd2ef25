"""What an export holds, in the words that preview, record and `report.json` share.

Not here: finding it out (`selection`, `coco`, `classification`).
"""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from sheaf.annotations import schema
from sheaf.annotations.archive import Archive
from sheaf.annotations.selection import Selection
from sheaf.annotations.snapshots import ProjectTables
from sheaf.exports.series import Draft, Written
from sheaf.tables import Table

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
    taken_at = selection.tables.taken_at
    report = {
        "project": draft.partition,
        "series": series,
        **asdict(counts),
        "missing_images": selection.missing,
        "filter": draft.filter.model_dump(mode="json", exclude_defaults=True),
        "options": draft.options.model_dump(mode="json"),
        "snapshot": taken_at.isoformat() if taken_at else None,
        "rejected_at_ingest": _by(selection.tables, schema.REJECTS, "reason"),
        "corrected_at_ingest": _by(selection.tables, schema.CORRECTIONS, "correction"),
        **more,
    }
    with archive.document(REPORT) as stream:
        stream.write(orjson.dumps(report, option=orjson.OPT_INDENT_2))


def _by(tables: ProjectTables, table: Table, column: str) -> dict[str, int]:
    return dict(sorted(Counter(tables.read(table, [column])[column].to_pylist()).items()))


def written(counts: Counts, rows: dict[str, int]) -> Written:
    """The same numbers for the manifest, where groups are flat: `class_counts.car`."""
    groups = {"class_counts": counts.class_counts, "split_counts": counts.split_counts, "dropped": counts.dropped}
    flat = {f"{group}.{name}": count for group, values in groups.items() for name, count in values.items()}
    return Written(
        record_count=counts.image_count,
        rows=rows,
        counts={"image_count": counts.image_count, "annotation_count": counts.annotation_count, **flat},
        warnings=tuple(counts.warnings),
    )
