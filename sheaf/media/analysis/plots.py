"""Small pictures for the run page: one pair before and after, and the confidences of the batch."""

from collections.abc import Mapping, Sequence
from typing import Any

from sheaf import figures
from sheaf.media.result import ACCEPTED


def batch_plots(rows: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """PNG pictures by title; none for a batch without any analysed pair."""
    analysed = [row for row in rows if row["confidence"] is not None]
    if not analysed:
        return {}
    found: dict[str, bytes] = {}
    shown = next((row for row in analysed if row["overlay"]), None)
    if shown:
        curves = shown["overlay"]
        time = [curves["start"] + index * curves["step"] for index in range(len(curves["master"]))]
        figure = figures.figure(6, 2.4)
        for axes, name in zip(figure.subplots(2, 1, sharex=True), ("before", "after"), strict=True):
            axes.fill_between(time, curves["master"], color="0.75", label="master")
            axes.plot(time, curves[name], linewidth=0.9, label=f"dub {name}")
            axes.legend(loc="upper right", fontsize=7)
            axes.set_yticks([])
        figure.supxlabel("master time (s)", fontsize=8)
        figure.suptitle(f"{figures.label(shown['item_id'])}: offset {shown['offset_seconds']:.6f} s", fontsize=9)
        found["overlay"] = figures.png(figure)
    figure = figures.figure(5, 2.4)
    axes = figure.subplots()
    axes.hist([row["confidence"] for row in analysed], bins=[step / 20 for step in range(21)])
    axes.axvline(ACCEPTED, color="0.3", linestyle="--", linewidth=0.8)
    axes.set_xlabel("confidence")
    axes.set_ylabel("pairs")
    found["confidence"] = figures.png(figure)
    return found
