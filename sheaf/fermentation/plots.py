"""Small pictures of a batch: growth curve, growth rate, gas exchange with gaps marked.

PNG bytes under 50 kB that depend on the data alone. Uses matplotlib's object interface, without a
display and without global state.
"""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POINTS = 1500  # windows drawn at most; more would not be visible


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
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), dpi=80)
    axes = figure.add_axes((0.09, 0.14, 0.89, 0.77))  # a fixed place: finding one costs more than drawing
    axes.set_title(title, fontsize=10)
    axes.set_xlabel("hours since inoculation")
    axes.grid(alpha=0.3)
    return figure, axes


def _series(features: pa.Table, name: str) -> "tuple[np.ndarray, np.ndarray]":
    hours = features.column("elapsed_hours").to_numpy()
    values = features.column(name).to_numpy()
    step = -(-len(hours) // _POINTS) or 1
    return hours[::step], values[::step]


def _mark_gaps(axes: "Axes", features: pa.Table) -> None:
    """Shade stretches in which no sensor sent anything."""
    import numpy as np

    silent = features.column("completeness").to_numpy() == 0
    hours = features.column("elapsed_hours").to_numpy()
    edges = np.flatnonzero(np.diff(np.concatenate(([0], silent.astype(int), [0]))))
    for index, (begin, end) in enumerate(edges.reshape(-1, 2)):
        if begin > 0:  # the window before ends where the gap begins
            label = "no sensor data" if index == 0 else None
            axes.axvspan(hours[begin - 1], hours[end - 1], color="0.85", label=label, zorder=0)


def _png(figure: "Figure", axes: "Axes") -> bytes:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="upper left")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
