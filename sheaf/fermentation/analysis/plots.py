"""Small pictures of a batch: growth curve, growth rate, gas exchange with gaps marked.

Not here: how a figure is made and kept small (`figures`).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sheaf import figures

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS = 1500  # windows drawn at most; more would not be visible
_GAP = 1.5  # times the usual distance between windows with data


def growth_plot(samples: Sequence[Mapping[str, Any]], features: pa.Table) -> bytes:
    """OD600 and dry cell weight of the samples, and the in-situ OD, against elapsed hours."""
    figure, axes = _figure("Growth")
    hours, od = _series(features, "OD")
    axes.plot(hours, od, color="0.6", linewidth=1, label="in-situ OD (AU)")
    taken = [row for row in samples if row["elapsed_hours"] is not None and row["superseded_by"] is None]
    for key, label, marker in (
        ("od600_calculated", "OD600 of samples (AU)", "o"),
        ("dcw_g_per_l", "dry cell weight (g/L)", "s"),
    ):
        shown = [(row["elapsed_hours"], row[key]) for row in taken if row[key] is not None]
        axes.plot([x for x, _ in shown], [y for _, y in shown], marker=marker, linestyle="none", label=label)
    _mark_gaps(axes, features)
    axes.set_ylabel("OD, g/L")
    return _png(figure, axes)


def growth_rate_plot(features: pa.Table) -> bytes:
    """Specific growth rate against elapsed hours."""
    figure, axes = _figure("Specific growth rate")
    axes.plot(*_series(features, "mu"), color="tab:green", linewidth=1, label="µ (1/h)")
    _mark_gaps(axes, features)
    axes.set_ylabel("µ (1/h)")
    return _png(figure, axes)


def gas_plot(features: pa.Table) -> bytes:
    """Carbon dioxide evolution and oxygen uptake against elapsed hours."""
    figure, axes = _figure("Gas exchange")
    axes.plot(*_series(features, "CER"), color="tab:red", linewidth=1, label="CER")
    axes.plot(*_series(features, "OUR"), color="tab:blue", linewidth=1, label="OUR")
    _mark_gaps(axes, features)
    axes.set_ylabel("mol/L/h")
    return _png(figure, axes)


def _figure(title: str) -> "tuple[Figure, Axes]":
    figure = figures.figure(8, 3.6, constrained=False)
    axes = figure.add_axes((0.09, 0.14, 0.89, 0.77))  # a fixed place: finding one costs more than drawing
    axes.set_title(title, fontsize=10, y=1.0)  # a fixed place, too
    axes.set_xlabel("hours since inoculation")
    axes.grid(alpha=0.3)
    return figure, axes


def _series(features: pa.Table, name: str) -> "tuple[np.ndarray, np.ndarray]":
    """Hours and values of the windows with data, with an empty value in each gap, so that no line crosses it."""
    import numpy as np

    hours = features.column("elapsed_hours").to_numpy()
    values = features.column(name).to_numpy()
    there, before = _gaps(features)
    drawn = there[~np.isnan(values[there])]
    picked = drawn[:: -(-len(drawn) // _POINTS) or 1]
    breaks = np.searchsorted(picked, there[before], side="right")
    return np.insert(hours[picked], breaks, hours[there[before]]), np.insert(values[picked], breaks, np.nan)


def _gaps(features: pa.Table) -> "tuple[np.ndarray, np.ndarray]":
    """The windows with data, and those positions among them after which all sensors fall silent.

    Of points once a minute every other window has none, and nothing is missing: what is usual is no gap.
    """
    import numpy as np

    there = np.flatnonzero(features.column("completeness").to_numpy() > 0)
    steps = np.diff(there)
    return there, np.flatnonzero(steps > _GAP * np.median(steps)) if len(steps) else steps


def _mark_gaps(axes: "Axes", features: pa.Table) -> None:
    """Shade stretches in which no sensor sent anything."""
    import numpy as np
    from matplotlib.collections import PolyCollection

    hours = features.column("elapsed_hours").to_numpy()
    there, before = _gaps(features)
    edges = np.column_stack((hours[there[before]], hours[there[before + 1] - 1]))  # end of one window, start of another
    edges = edges[np.isfinite(edges).all(axis=1)]
    if not len(edges):
        return
    spans = PolyCollection(
        [[(first, 0), (first, 1), (last, 1), (last, 0)] for first, last in edges],
        color="0.85",
        label="no sensor data",
        zorder=0,
        transform=axes.get_xaxis_transform(),
    )
    axes.add_collection(spans, autolim=False)


def _png(figure: "Figure", axes: "Axes") -> bytes:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="upper left")
    return figures.png(figure)
