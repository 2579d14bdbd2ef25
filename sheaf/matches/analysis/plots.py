"""Two small pictures of a match: splits between shots, and delay from shot to impact per sensor."""

from collections.abc import Mapping

import numpy as np

from sheaf import figures

_MOST_SENSORS = 6


def draw(splits: np.ndarray, delays: Mapping[str, tuple[np.ndarray, float]]) -> dict[str, bytes]:
    """The pictures as PNG, by title; those without data are left out.

    Args:
        splits: times between two shots of a run in seconds; their order is lost.
        delays: by name of the sensor, the delays of its hits and the delay that was used for the
            assignment, both in ms.
    """
    pictures = {}
    if len(splits):
        median, longest = np.percentile(splits, [50, 99], overwrite_input=True)
        figure = figures.figure(5, 3)
        axes = figure.subplots()
        axes.stairs(*np.histogram(splits, 40, (0, longest)), fill=True, color="#4477aa")
        axes.set(xlabel="split (s); the longest 1 % left out", ylabel="shots")
        axes.set_title(f"{len(splits)} splits, median {median:.2f} s")
        pictures["splits"] = figures.png(figure)
    heard = [(name, found, used) for name, (found, used) in delays.items() if len(found)][:_MOST_SENSORS]
    if heard:
        figure = figures.figure(5, 1.2 + 1.2 * len(heard))
        rows = figure.subplots(len(heard), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (name, found, used) in zip(rows, heard, strict=True):
            axes.stairs(*np.histogram(found, 40), fill=True, color="#66aa55")
            axes.axvline(used, color="#aa3344", linewidth=1)
            axes.set_title(f"{figures.label(name)}: {len(found)} hits", fontsize=9)
        rows[-1].set_xlabel("delay (ms); red: offset used")
        pictures["delays"] = figures.png(figure)
    return pictures
