"""Two small pictures of a match: splits between shots, and delay from shot to impact per sensor."""

import io

import numpy as np

from sheaf.matches.correlate import Correlated

_MOST_SENSORS = 6


def draw(splits: np.ndarray, correlated: Correlated, impact_sensor: np.ndarray, sensors: list[str]) -> dict[str, bytes]:
    """The pictures as PNG under 50 kB, by title; those without data are left out.

    Args:
        splits: times between two shots of a run in seconds; their order is lost.
        correlated: the assignment.
        impact_sensor: sensor of each impact.
        sensors: their names.
    """
    from matplotlib.figure import Figure

    pictures = {}
    if len(splits):
        median, longest = np.percentile(splits, [50, 99], overwrite_input=True)
        figure = Figure(figsize=(5, 3), dpi=80, layout="constrained")
        axes = figure.subplots()
        axes.stairs(*np.histogram(splits, 40, (0, longest)), fill=True, color="#4477aa")
        axes.set(xlabel="split (s); the longest 1 % left out", ylabel="shots")
        axes.set_title(f"{len(splits)} splits, median {median:.2f} s")
        pictures["splits"] = _png(figure)
    matched = correlated.shot_of_impact >= 0
    names = [index for index in range(len(sensors)) if (matched & (impact_sensor == index)).any()][:_MOST_SENSORS]
    if names:
        figure = Figure(figsize=(5, 1.2 + 1.2 * len(names)), dpi=80, layout="constrained")
        rows = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for axes, index in zip(rows, names, strict=True):
            delays = correlated.delay_us[matched & (impact_sensor == index)] / 1000
            axes.stairs(*np.histogram(delays, 40), fill=True, color="#66aa55")
            axes.axvline(correlated.sensors[index].offset_ms, color="#aa3344", linewidth=1)
            axes.set_title(f"{sensors[index] or 'unnamed sensor'}: {len(delays)} hits", fontsize=9)
        rows[-1].set_xlabel("delay (ms); red: offset used")
        pictures["delays"] = _png(figure)
    return pictures


def _png(figure: object) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})  # type: ignore[attr-defined]
    return buffer.getvalue()
