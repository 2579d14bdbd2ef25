"""`report.html`: the batch as one page for a person, without scripts and without anything to load."""

from collections.abc import Mapping
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.media.candidates import nominal_speed
from sheaf.media.drawing import offsets_svg, overlay_svg
from sheaf.media.result import Status
from sheaf.media.results_json import counts, failures, read_batch, summary

_NAME = "report.html"

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #ddd; vertical-align: top }
td.n, th.n { text-align: right } td.path { overflow-wrap: anywhere }
.good { color: #13653a } .off, .no_match { color: #8a5a00 } .failed, .cancelled { color: #a11 }
section { margin-top: 2.5rem } section table { width: auto; margin-top: 1rem }
section th, section td { padding-right: 2rem }
figure { margin: 1rem 0 } figcaption { font-size: 13px; color: #555 }
svg { max-width: 100%; height: auto; display: block }
svg text { font: 11px system-ui, sans-serif; fill: #555 }
.master { fill: #cfd6dd } .dub { fill: none; stroke: #b3400e }
.frame { fill: none; stroke: #ccc } .yes { fill: #13653a } .no { fill: #bbb }
.fit { stroke: #1a4f8a; stroke-width: 1.5 }
""".strip()


def write_report_html(draft: Draft) -> Written:
    """Write the page: totals, a table of all items, then each item with its drawings."""
    batch, rows = read_batch(draft)
    totals = summary(batch, rows)
    title = escape(f"Sync report {batch['batch_id']}")
    head = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head><body>',
        f"<h1>{title}</h1>",
        f"<p>{escape(batch['description'])}</p>" if batch["description"] else "",
        f"<p>{totals['items_total']} pairs from {escape(batch['csv_file'])}: {totals['items_completed']} with an "
        f"offset, {totals['items_no_match']} without a match, {totals['items_failed']} failed"
        + (f", {totals['items_cancelled']} cancelled" if totals["items_cancelled"] else "")
        + f". Finished {batch['finished_at']:%Y-%m-%d %H:%M} UTC.</p>",
        "<p>The offset is the time in the master minus the time in the dub: negative means the dub is late. "
        "Confidence is the probability of being right to a frame.</p>",
        _table(rows),
    ]
    page = "\n".join(part for part in [*head, *(_item(row) for row in rows), "</body></html>"] if part)
    (draft.folder / _NAME).write_text(page + "\n", encoding="utf-8")
    return Written(record_count=len(rows), counts=counts(rows), warnings=failures(rows))


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "<table><thead><tr><th>Item<th>Dub<th>Result<th class=n>Offset (s)<th class=n>Timecode"
        "<th class=n>Confidence<th class=n>Drift (ppm)</tr></thead><tbody>"
    ]
    for row in rows:
        lines.append(
            f'<tr><td><a href="#{row["item_id"]}">{row["item_id"]}</a>'
            f"<td class=path>{escape(_short(row['dub_file']))}"
            f'<td class="{_colour(row)}">{_verdict(row)}'
            f"<td class=n>{_number(row['offset_seconds'], '+.6f')}<td class=n>{row['timecode'] or ''}"
            f"<td class=n>{_sure(row['confidence'])}<td class=n>{_number(row['drift_ppm'], '+.2f')}</tr>"
        )
    return "\n".join([*lines, "</tbody></table>"])


def _item(row: Mapping[str, Any]) -> str:
    parts = [
        f'<section id="{row["item_id"]}">',
        f'<h2>{row["item_id"]}: <span class="{_colour(row)}">{_verdict(row)}</span></h2>',
        f"<p>{escape(row['description'])}</p>" if row["description"] else "",
        f"<p>Master {escape(row['master_file'])}<br>Dub {escape(row['dub_file'])}</p>",
    ]
    if row["error_code"]:
        parts.append(f"<p>{escape(row['error_code'])}: {escape(row['error_message'])}</p>")
    if row["offset_seconds"] is not None:
        parts.append(f"<p>{_sentence(row)}</p>")
    if row["status"] == Status.NO_MATCH:
        parts.append(f"<p>{_NO_MATCH}</p>")
    if row["overlay"]:
        drawn = overlay_svg(row["overlay"])
        parts.append(_figure(drawn, "Loudness of the master (grey) and the dub (line), before and after correction."))
    if row["timeline"] and row["offset_seconds"] is not None:
        drawn = offsets_svg(row["timeline"], row["segments"], nominal_speed(row["rate"]), row["dub_seconds"])
        parts.append(
            _figure(drawn, "Offset along the dub: a dot for each window, green where it agrees with the line.")
        )
    if len(row["segments"] or ()) > 1:
        parts.append(_segments(row["segments"]))
    if row["channels"]:
        parts.append(_channels(row["channels"]))
    if row["method_results"]:
        parts.append(_methods(row))
    return "\n".join([*(part for part in parts if part), "</section>"])


_NO_MATCH = (
    "No offset is sure enough to be reported: the dub may belong to another programme, share too little with the "
    "master, or be a performance that was recorded anew."
)


def _figure(drawing: str, caption: str) -> str:
    return f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"


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


def _sentence(row: Mapping[str, Any]) -> str:
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
        advice += f" It plays at another speed: {row['rate']:.6f} s of master for each second."
    if drifted := _drifted(row):
        advice += (
            f" It drifts by {row['drift_ppm']:+.2f} millionths, {abs(drifted) * 1000:.0f} ms towards "
            f"{'early' if drifted > 0 else 'late'} by its end."
        )
    return f"{advice} Found by {escape(row['method_used'])}."


def _segments(segments: list[dict[str, Any]]) -> str:
    lines = [
        "<table><thead><tr><th>Piece<th class=n>From (s)<th class=n>To (s)"
        "<th class=n>Offset (s)<th>Before it</tr></thead>"
    ]
    for number, piece in enumerate(segments, start=1):
        lines.append(
            f"<tr><td>{number}<td class=n>{piece['dub_start']:.3f}<td class=n>{piece['dub_end']:.3f}"
            f"<td class=n>{piece['offset_seconds']:+.6f}<td>{_edit(segments, number - 1)}</tr>"
        )
    return "\n".join([*lines, "</table>"])


def _edit(segments: list[dict[str, Any]], index: int) -> str:
    """Which side has more between a piece and the one before."""
    if index == 0:
        return ""
    jump = segments[index]["offset_seconds"] - segments[index - 1]["offset_seconds"]
    return f"{abs(jump):.3f} s {'missing in the dub' if jump > 0 else 'extra in the dub'}"


def _channels(channels: list[dict[str, Any]]) -> str:
    cells = "".join(
        f"<tr><td>{escape(entry['channel'])}<td class=n>{_number(entry['offset_seconds'], '+.6f')}"
        f"<td class=n>{_sure(entry['confidence'])}</tr>"
        for entry in channels
    )
    return f"<table><thead><tr><th>Channel<th class=n>Offset (s)<th class=n>Confidence</tr></thead>{cells}</table>"


def _methods(row: Mapping[str, Any]) -> str:
    cells = "".join(
        f"<tr><td>{entry['method']}<td class=n>{_number(entry['offset_seconds'], '+.6f')}"
        f"<td class=n>{_sure(entry['confidence'])}</tr>"
        for entry in row["method_results"]
    )
    note = ""
    if row["model_available"] is False:
        note = f"<p>The model {row['requested_model']} is not installed; built-in embeddings were used.</p>"
    return f"<table><thead><tr><th>Method<th class=n>Offset (s)<th class=n>Confidence</tr></thead>{cells}</table>{note}"


def _number(value: float | None, style: str) -> str:
    return "" if value is None else format(value, style)


def _sure(confidence: float | None) -> str:
    """A confidence; what rounds to 1 is not said to be certain."""
    return "" if confidence is None else "&gt; 0.999" if confidence > 0.999 else f"{confidence:.3f}"


def _short(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def verify_report_html(folder: Path, written: Written) -> None:
    """Parse the page: one section for each item, nothing that is loaded from elsewhere.

    Raises:
        VerificationError: naming what is wrong.
    """
    page = _Page()
    page.feed((folder / _NAME).read_text(encoding="utf-8"))
    page.close()
    if page.sections != written.record_count:
        raise VerificationError(f"{_NAME} has {page.sections} items, {written.record_count} were written.")
    if page.outside:
        raise VerificationError(f"{_NAME} refers to {page.outside[0]}.")


class _Page(HTMLParser):
    """Counts items and collects what a browser would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.sections = 0
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One opening tag."""
        self.sections += tag == "section"
        if tag in ("script", "link", "iframe", "img"):
            self.outside.append(tag)
        self.outside += [
            value or "" for name, value in attrs if name in ("src", "href") and not (value or "").startswith("#")
        ]
