"""What a project holds, as a report for the run page: counts, class balance, splits, a contact sheet."""

from collections import Counter

from sheaf import tables
from sheaf.annotations import schema
from sheaf.annotations.figures import class_balance_plot, contact_sheet
from sheaf.annotations.splits import CONFLICT, split_statistics
from sheaf.report import Report
from sheaf.store import Store


def describe(store: Store, project: str) -> Report:
    """Counts by split and label of the last ingest, a plot of the labels, and a sheet of annotated images.

    Returns:
        Counts (`images`, `labels`, `boxes`, `masks`, `images in train`, …), one preview row per split,
        and the pictures `class balance` and `contact sheet` (where a file is there to show).
    """
    names = {
        row["label_id"]: row["name"]
        for row in tables.read(store, schema.LABELS, project, ["label_id", "name"]).to_pylist()
    }
    by_kind = {
        kind: _by_label(store, project, table, names)
        for kind, table in (("boxes", schema.DETECTIONS), ("masks", schema.SEGMENTATIONS))
    }
    splits = split_statistics(store, project)
    plots = {"class balance": class_balance_plot(by_kind)}
    if sheet := contact_sheet(store, project):
        plots["contact sheet"] = sheet
    warnings = []
    leaking, several = sum(row["leaking"] for row in splits), _images(splits, CONFLICT)
    if leaking:
        warnings.append(f"{leaking} images have the same bytes as one in another split.")
    if several:
        warnings.append(f"{several} images are in tasks of different splits.")
    return Report(
        counts={
            "images": sum(row["images"] for row in splits),
            "labels": len(names),
            **{kind: sum(counts.values()) for kind, counts in by_kind.items()},
            **{f"images in {row['split']}": row["images"] for row in splits},
        },
        warnings=tuple(warnings),
        preview=tuple(splits),
        plots=plots,
    )


def classification_options(store: Store, project: str) -> dict[str, dict[str, int]]:
    """What `category` and `classes` can name: tag categories with their tags, and how many images have each."""
    counts = Counter(tables.read(store, schema.IMAGE_TAGS, project)["tag_id"].to_pylist())
    found: dict[str, dict[str, int]] = {}
    for tag in sorted(tables.read(store, schema.TAGS, project).to_pylist(), key=lambda tag: tag["position"]):
        found.setdefault(tag["category"], {})[tag["name"]] = counts[tag["tag_id"]]
    return found


def _by_label(store: Store, project: str, table: tables.Table, names: dict[str, str]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for batch in tables.batches(store, table, project, ["label_id"]):
        counts.update(names[label] for label in batch.column("label_id").to_pylist())
    return dict(counts)


def _images(splits: list[dict[str, int]], wanted: str) -> int:
    return sum(row["images"] for row in splits if row["split"] == wanted)
