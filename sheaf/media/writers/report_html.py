"""`report.html`: the batch as one page for a person, without scripts and without anything to load."""

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sheaf.errors import VerificationError
from sheaf.exports import pages
from sheaf.exports.series import Draft, Written
from sheaf.media import schema
from sheaf.media.analysis.rows import MOST_HEARD, unsatisfied
from sheaf.media.result import Status
from sheaf.media.sync.candidates import nominal_speed
from sheaf.media.sync.repair import repair_command
from sheaf.media.words import coverage, places, speed, uncertainty
from sheaf.media.writers.drawing import offsets_svg, overlay_svg
from sheaf.media.writers.results_json import counts, read_batch, summary

_NAME = "report.html"


def write_report_html(draft: Draft) -> Written:
    """Write the page: totals, a table of all items, then each item with its drawings."""
    batch, rows = read_batch(draft.tables)
    totals = summary(batch, rows)
    heard = {row["item_id"]: row for row in draft.tables.read(schema.SNIPPETS).to_pylist()}
    page = pages.render(
        Path(__file__).with_name("report_html.html.j2"),
        batch=batch,
        totals=totals,
        columns=_COLUMNS,
        items=[
            _item(row, heard.get(row["item_id"])) | {"places": order}
            for row, order in zip(rows, _orders(rows), strict=True)
        ],
        unheard=MOST_HEARD if len(rows) > MOST_HEARD else 0,
    )
    (draft.folder / _NAME).write_text(page, encoding="utf-8")
    return Written(record_count=len(rows), counts=counts(rows), warnings=unsatisfied(rows))


_COLUMNS = (
    ("Item", False),
    ("Dub", False),
    ("Result", False),
    ("Offset (s)", True),
    ("Timecode", True),
    ("Confidence", True),
    ("Drift (ppm)", True),
)
"""Of the table of all items, and whether they are numbers."""


def _orders(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, ...]]:
    """The place of each item in the order of every column: what needs a person most comes first."""

    def offset(row: Mapping[str, Any]) -> float:
        return -abs(row["offset_seconds"] or 0)

    keys: tuple[Callable[[Mapping[str, Any]], Any], ...] = (
        lambda row: 0,
        lambda row: _name(row).casefold(),
        lambda row: (_WORST.index(row["status"]), _verdict(row) == "in sync", offset(row)),
        offset,
        offset,
        lambda row: row["confidence"] or 0,
        lambda row: -abs(row["drift_ppm"] or 0),
    )
    orders = []
    for key in keys:
        order = sorted(range(len(rows)), key=lambda index, key=key: key(rows[index]))
        orders.append({index: place for place, index in enumerate(order)})
    for index in range(len(rows)):
        yield tuple(order[index] for order in orders)


_WORST = (Status.FAILED, Status.CANCELLED, Status.NO_MATCH, Status.COMPLETED)


def _name(row: Mapping[str, Any]) -> str:
    return row["dub_file"].rsplit("/", 1)[-1]


def _item(row: Mapping[str, Any], heard: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the page says of one item."""
    segments = row["segments"] or ()
    found = row["offset_seconds"] is not None
    fits = f"It fits {places(row['ambiguous_with'])} alike: choose one." if row["ambiguous_with"] else _NO_MATCH
    timed = bool(row["timeline"]) and found
    speeds = nominal_speed(row["rate"]) if timed else 1.0
    return {
        **row,
        "colour": _colour(row),
        "verdict": _verdict(row),
        "dub_name": _name(row),
        "offset": _number(row["offset_seconds"], "+.6f"),
        "sure": _sure(row["confidence"]),
        "drift": _number(row["drift_ppm"], "+.2f"),
        "advice": _advice(row) if found else "",
        "command": (repair_command(row["dub_file"], row) if found else None) or "",
        "no_match": f"{fits} {_by_timecode(row)}".strip() if row["status"] == Status.NO_MATCH else "",
        "sounds": [(name, b64encode(heard[name]).decode()) for name in ("before", "after")] if heard else [],
        "overlay_drawing": overlay_svg(row["overlay"]) if row["overlay"] else "",
        "offsets_drawing": offsets_svg(row["timeline"], row["segments"], speeds, row["dub_seconds"]) if timed else "",
        "pieces": [
            {**piece, "offset": f"{piece['offset_seconds']:+.6f}", "edit": _edit(segments, number)}
            for number, piece in enumerate(segments)
        ],
        "channel_rows": [_three(entry, "channel") for entry in row["channels"] or ()],
        "method_rows": [_three(entry, "method") for entry in row["method_results"] or ()],
    }


def _three(entry: Mapping[str, Any], name: str) -> tuple[str, str, str]:
    return entry[name], _number(entry["offset_seconds"], "+.6f"), _sure(entry["confidence"])


_NO_MATCH = (
    "No offset is sure enough to be reported: the dub may belong to another programme, share too little with the "
    "master, or be a performance that was recorded anew."
)


def _verdict(row: Mapping[str, Any]) -> str:
    if row["status"] != Status.COMPLETED:
        return str(row["status"]).replace("_", " ")
    worst = max(abs(row["offset_seconds"]), abs(row["offset_seconds"] + _drifted(row)))
    # EBU R37 allows sound 40 ms early to 60 ms late.
    grade = "in sync" if worst <= 0.04 else "slightly off" if worst <= 0.1 else "off"
    return f"{grade}, edited" if len(row["segments"]) > 1 else grade


def _colour(row: Mapping[str, Any]) -> str:
    if row["status"] != Status.COMPLETED:
        return str(row["status"])
    return "good" if _verdict(row) == "in sync" else "off"


def _drifted(row: Mapping[str, Any]) -> float:
    """How much the offset has changed at the end of the dub, s; a usual change of speed is no drift."""
    return row["drift_ppm"] * 1e-6 * row["dub_seconds"]


def _advice(row: Mapping[str, Any]) -> str:
    """What to do, in sentences."""
    offset, pieces = row["offset_seconds"], len(row["segments"])
    if pieces > 1:
        advice = f"The dub is edited: lay its {pieces} pieces as the table says. The offset is that of the longest."
    elif abs(offset) < 0.0005:
        advice = "The dub starts in sync." if _drifted(row) else "The dub is in sync."
    elif offset < 0:
        advice = f"The dub is {-offset:.3f} s late: trim that much from its head."
    else:
        advice = f"The dub is {offset:.3f} s early: delay it by that much."
    if nominal_speed(row["rate"]) != 1:
        advice += f" It plays at another speed, {speed(row['rate'])}."
    if drifted := _drifted(row):
        advice += (
            f" It drifts by {row['drift_ppm']:+.2f} millionths, {abs(drifted) * 1000:.0f} ms towards "
            f"{'early' if drifted > 0 else 'late'} by its end."
        )
    if row["precision"]:
        advice += f" Known {uncertainty(row['precision'], row['offset_uncertainty_seconds'])};"
        advice += f" {coverage(row['coverage'] or 0)}."
    if _by_timecode(row):
        advice += f" {_by_timecode(row)}"
    if row["contradiction"]:
        advice += f" {', '.join(row['contradiction'])} alone say another offset."
    return f"{advice} Found by {row['method_used']}."


def _by_timecode(row: Mapping[str, Any]) -> str:
    if row["timecode_offset_seconds"] is None:
        return ""
    starts = f"{row['master_ltc'] or row['master_start']} and {row['dub_ltc'] or row['dub_start']}"
    said = row["timecode_offset_seconds"]
    return f"The timecodes of the files say {said:+.3f} s: {starts} ({row['timecode_offset_from']})."


def _edit(segments: Sequence[Mapping[str, Any]], index: int) -> str:
    """Which side has more between a piece and the one before."""
    if index == 0:
        return ""
    jump = segments[index]["offset_seconds"] - segments[index - 1]["offset_seconds"]
    return f"{abs(jump):.3f} s {'missing in the dub' if jump > 0 else 'extra in the dub'}"


def _number(value: float | None, style: str) -> str:
    return "" if value is None else format(value, style)


def _sure(confidence: float | None) -> str:
    """A confidence; what rounds to 1 is not said to be certain."""
    return "" if confidence is None else "> 0.999" if confidence > 0.999 else f"{confidence:.3f}"


def verify_report_html(folder: Path, written: Written) -> None:
    """Parse the page: one section for each item, nothing that is loaded from elsewhere.

    Raises:
        VerificationError: naming what is wrong.
    """
    found = len(pages.sections(folder / _NAME))
    if found != written.record_count:
        raise VerificationError(f"{_NAME} has {found} items, {written.record_count} were written.")
