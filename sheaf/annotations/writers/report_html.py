"""`report_html`: a project as one page, so that nobody needs a viewer to know what is in it.

Annotated images, what changed since the version before, splits, classes, sizes, and what was not used; without scripts
and without anything to load. It is of the whole project, as the tables are. Not here: the pictures (`analysis/plots`),
nor what changed (`since`).
"""

import base64
from collections import Counter
from pathlib import Path

import numpy as np

from sheaf.annotations import schema
from sheaf.annotations.analysis.plots import contact_sheet
from sheaf.annotations.writers.since import since_last_version
from sheaf.annotations.writers.splits import homes, leak_warnings, split_statistics
from sheaf.errors import VerificationError
from sheaf.exports import pages
from sheaf.exports.series import Draft, Written
from sheaf.tables.pinned import Tables

_NAME = "report.html"
_MOST_CLASSES = 200
_RANGES = (32**2, 96**2)
_SECTIONS = ("sheet", "since", "splits", "classes", "sizes", "account")


def write_report_html(draft: Draft) -> Written:
    """Write `report.html`."""
    tables = draft.tables
    splits = split_statistics(tables)
    names = [row["split"] for row in splits]
    classes = _classes(tables, names)
    totals = {name: sum(row[name] for row in splits) for name in ("images", "boxes", "masks")}
    warnings = leak_warnings(splits)
    sheet = contact_sheet(tables)
    most = max((total for _, _, total in classes), default=0)
    page = pages.render(
        Path(__file__).with_name("report_html.html.j2"),
        project=draft.partition,
        totals=totals,
        warnings=warnings,
        sheet=base64.b64encode(sheet).decode() if sheet else None,
        since=since_last_version(draft, "report_html"),
        splits=splits,
        names=names,
        classes=[(name, of, total, f"{total / (most or 1):.3f}") for name, of, total in classes[:_MOST_CLASSES]],
        more_classes=max(len(classes) - _MOST_CLASSES, 0),
        sizes=_sizes(tables),
        ranges=_ranges(tables),
        account=_account(tables),
    )
    (draft.folder / _NAME).write_text(page, encoding="utf-8")
    return Written(totals["images"], {}, totals, tuple(warnings))


def verify_report_html(folder: Path, written: Written) -> None:
    """Parse the page: all its sections, nothing that is loaded from elsewhere.

    Raises:
        VerificationError: naming what is wrong.
    """
    found = tuple(pages.sections(folder / _NAME))
    if found != _SECTIONS:
        raise VerificationError(f"{_NAME} has the sections {', '.join(found)}.")


def _classes(tables: Tables, names: list[str]) -> list[tuple[str, list[int], int]]:
    """Classes with their objects by split and in all, the most frequent first; a mask with a box counts once."""
    found = homes(tables)
    split_of = dict(zip(found.image_ids, found.splits, strict=True))
    counts: dict[str, Counter[str]] = {}
    for table, twin in ((schema.DETECTIONS, None), (schema.SEGMENTATIONS, "detection_id")):
        for batch in tables.batches(table, ["image_id", "label_id", *([twin] if twin else [])]):
            if twin:
                batch = batch.filter(batch.column(twin).is_null())
            pairs = zip(batch.column("image_id").to_pylist(), batch.column("label_id").to_pylist(), strict=True)
            for image, label in pairs:
                counts.setdefault(label, Counter())[split_of[image]] += 1
    rows = []
    for label in tables.read(schema.LABELS, ["label_id", "name"]).to_pylist():
        of = counts.get(label["label_id"], Counter())
        rows.append((label["name"], [of[name] for name in names], of.total()))
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def _sizes(tables: Tables) -> list[tuple[str, list[str]]]:
    images = tables.read(schema.IMAGES, ["width", "height", "file_size"])
    boxes = tables.read(schema.DETECTIONS, ["width", "height"])
    found = []
    for name, values, unit in (
        ("Width of images", images["width"], "px"),
        ("Height of images", images["height"], "px"),
        ("Size of files", images["file_size"].drop_null(), "kB"),
        ("Width of boxes", boxes["width"], "px"),
        ("Height of boxes", boxes["height"], "px"),
    ):
        numbers = values.to_numpy() / (1000 if unit == "kB" else 1)
        if len(numbers):
            shown = (numbers.min(), float(np.median(numbers)), numbers.max())
            found.append((name, [f"{number:.1f} {unit}".replace(".0 ", " ") for number in shown]))
    return found


def _ranges(tables: Tables) -> list[tuple[str, list[int]]]:
    found = []
    for name, table in (("Boxes", schema.DETECTIONS), ("Polygons and masks", schema.SEGMENTATIONS)):
        areas = tables.read(table, ["area"])["area"].to_numpy()
        found.append((name, np.bincount(np.digitize(areas, _RANGES), minlength=3).tolist()))
    return found


def _account(tables: Tables) -> list[tuple[str, str, str, int]]:
    """What was rejected, left out, changed or noted, by table."""
    rows = []
    for account in tables.generations[schema.RECORDS].account:
        rows += [(account.table, reason.kind.value, reason.reason, reason.rows) for reason in account.reasons]
        rows += [(account.table, "left out", why, count) for why, count in account.left_out.items()]
    return rows
