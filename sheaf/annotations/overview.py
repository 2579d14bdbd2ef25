"""What a project holds, as a report for the run page: counts, class balance, splits, a contact sheet."""

from collections import Counter
from collections.abc import Mapping
from functools import partial

from sheaf.annotations import schema
from sheaf.annotations.analysis.plots import class_balance_plot, contact_sheet
from sheaf.annotations.writers.splits import leak_warnings, split_statistics
from sheaf.report import Report
from sheaf.tables.pinned import Tables
from sheaf.tables.table import Table
from sheaf.tables.work import Work


def describe(work: Work) -> Report:
    """Counts by split and label, a plot of the labels, and a sheet of annotated images.

    Returns:
        Counts (`images`, `labels`, `boxes`, `masks`, `images in train`, …), one preview row per split,
        and the pictures `class balance` and `contact sheet` (where a file is there to show).
    """
    tables = work.tables
    names = {row["label_id"]: row["name"] for row in tables.read(schema.LABELS, ["label_id", "name"]).to_pylist()}
    by_kind = {
        kind: _by_label(tables, table, names)
        for kind, table in (("boxes", schema.DETECTIONS), ("masks", schema.SEGMENTATIONS))
    }
    splits = split_statistics(tables)
    warnings = leak_warnings(splits)
    return Report(
        counts={
            "images": sum(row["images"] for row in splits),
            "labels": len(names),
            **{kind: sum(counts.values()) for kind, counts in by_kind.items()},
            **{f"images in {row['split']}": row["images"] for row in splits},
        },
        warnings=tuple(warnings),
        preview=tuple(splits),
        plots=partial(_pictures, tables, by_kind),
    )


def _pictures(tables: Tables, by_kind: Mapping[str, Mapping[str, int]]) -> dict[str, bytes]:
    sheet = contact_sheet(tables)
    return {"class balance": class_balance_plot(by_kind)} | ({"contact sheet": sheet} if sheet else {})


def classification_options(tables: Tables) -> dict[str, dict[str, int]]:
    """What `category` and `classes` can name: tag categories with their tags, and how many images have each."""
    counts = Counter(tables.read(schema.IMAGE_TAGS)["tag_id"].to_pylist())
    found: dict[str, dict[str, int]] = {}
    for tag in sorted(tables.read(schema.TAGS).to_pylist(), key=lambda tag: tag["position"]):
        found.setdefault(tag["category"], {})[tag["name"]] = counts[tag["tag_id"]]
    return found


def _by_label(tables: Tables, table: Table, names: dict[str, str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for batch in tables.batches(table, ["label_id"]):
        counts.update(names[label] for label in batch.column("label_id").to_pylist())
    return dict(counts)
