"""`match_report`: the match as one page for its director, without scripts and without anything to load.

What is suspicious comes first, worst on top; then the runs in time, splits, delays, and how each sensor does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sheaf.errors import VerificationError
from sheaf.exports import pages
from sheaf.exports.series import Draft, Written
from sheaf.matches import schema
from sheaf.matches.analysis.events_stream import counts, warnings
from sheaf.matches.analysis.run_clock import is_set
from sheaf.tables.pinned import Tables

_MOST_RUNS = 2000
_MOST_SUSPICIONS = 200
_MOST_DRAWN = 12
_WIDTH = 760
_AT_ONCE = 1024

MEANINGS = {
    "bay_unknown": (9, "impacts could not be given to one of two bays: list the devices in match.yaml"),
    "clock_not_set": (9, "the clock was not set: its date is wrong"),
    "clock_step": (8, "a clock was set while it went on, or back before it"),
    "long_pause": (7, "more than a minute between shots: was a clock set, or an end and a start lost?"),
    "lost_shots": (8, "the timer counted more shots than any record reports"),
    "count_mismatch": (7, "timer or summary counted otherwise"),
    "no_start": (6, "its start was lost"),
    "restarted": (6, "it never ended: another start came"),
    "unfinished": (5, "it never ended: the log did"),
    "no_stop": (4, "no stop was heard"),
    "contested_impact": (3, "an impact is less than 99 % sure to belong to its shot"),
    "double_shots": (3, "shots were reported more than once and count once"),
    "ambiguous_time": (3, "its local time existed twice"),
    "no_beep": (2, "no beep was heard"),
    "no_summary": (0, "there is no summary"),
    "beyond_window": (9, "its hits come regularly, but beyond the window: they are not counted"),
    "often_silent": (9, "it was silent in many runs: does it fail?"),
    "many_false": (7, "many of its impacts belong to no shot"),
    "drift": (5, "its delay drifts"),
    "offset_fallback": (4, "its delay could not be estimated: the expected one was used"),
}
"""How bad each flag of a run or sensor is, from 0 (usual) to 9, and what it means."""


@dataclass(frozen=True)
class Suspicion:
    """One thing that somebody should look at; `weight` from 1 to 9."""

    weight: int
    where: str
    what: str


def write(draft: Draft) -> Written:
    """Write `match_<id>_report.html`."""
    tables, name = draft.tables, f"match_{draft.partition}_report.html"
    match = tables.row(schema.MATCH, ["name", "timezone", "first_time", "last_time"])
    sensors = tables.read(schema.SENSORS).to_pylist()
    totals, told = counts(tables), warnings(tables)
    shown: list[dict[str, Any]] = []
    dated: list[dict[str, Any]] = []
    found, count = [*_of_sensors(sensors)], 0
    for run in _runs(tables):  # of which there may be more than memory holds
        count += 1
        found += _of_run(run)
        if len(shown) < _MOST_RUNS:
            shown.append(run)
        if len(dated) < _MOST_RUNS and _is_dated(run):
            dated.append(run)
    found.sort(key=lambda one: (-one.weight, one.where.rjust(12, "0"), one.what))
    page = pages.render(
        Path(__file__).with_name("match_report.html.j2"),
        width=_WIDTH,
        title=match["name"] or draft.partition,
        when=_when(match),
        totals=totals,
        told=told,
        suspicions=[(one.where, one.what) for one in found[:_MOST_SUSPICIONS]],
        more_suspicions=max(len(found) - _MOST_SUSPICIONS, 0),
        timeline=_timeline(dated, count),
        splits=_splits(draft),
        sensors=[_sensor_row(one) for one in sensors],
        delays=_delays(draft, sensors) if sensors else [],
        runs=[_run_row(run) for run in shown],
        more_runs=count - len(shown),
    )
    (draft.folder / name).write_text(page, encoding="utf-8")
    return Written(count, {}, totals, told)


_SECTIONS = ("suspicious", "timeline", "splits", "sensors", "runs")
_RUN_COLUMNS = [
    *("run_no", "run_id", "status", "start_time", "end_time", "duration_seconds", "shots_detected", "shots_lost"),
    *("impacts_detected", "correlation_success_rate", "first_shot_s", "stage", "bay", "string", "shooter", "flags"),
]


def verify(folder: Path, written: Written) -> None:
    """Parse the page: all its sections, nothing that is loaded from elsewhere.

    Raises:
        VerificationError: naming what is wrong.
    """
    (path,) = folder.glob("*_report.html")
    found = tuple(pages.sections(path))
    if found != _SECTIONS:
        raise VerificationError(f"{path.name} has the sections {', '.join(found)}.")


def _when(match: dict[str, Any]) -> str:
    if match["first_time"] is None:
        return "There are no events."
    first, last = (f"{match[name]:%Y-%m-%d %H:%M}" for name in ("first_time", "last_time"))
    return f"{first} to {last} UTC ({match['timezone']})."


def _runs(tables: Tables) -> Iterator[dict[str, Any]]:
    for batch in tables.batches(schema.RUNS, _RUN_COLUMNS):
        for start in range(0, batch.num_rows, _AT_ONCE):
            yield from batch.slice(start, _AT_ONCE).to_pylist()


def _of_run(run: dict[str, Any]) -> Iterator[Suspicion]:
    for flag in filter(None, run["flags"].split(";")):
        weight, meaning = MEANINGS.get(flag, (1, flag))
        if weight:
            yield Suspicion(weight, run["run_id"], meaning)
    rate = run["correlation_success_rate"]
    if rate is not None and rate < 0.5:
        yield Suspicion(6, run["run_id"], f"only {rate:.0%} of its shots have an impact")


def _of_sensors(sensors: Sequence[dict[str, Any]]) -> Iterator[Suspicion]:
    for sensor in sensors:
        for flag in filter(None, sensor["flags"].split(";")):
            weight, meaning = MEANINGS.get(flag, (1, flag))
            yield Suspicion(weight, _called(sensor), meaning)


def _is_dated(run: dict[str, Any]) -> bool:
    """Whether the date of a run is known."""
    return is_set(round(run["start_time"].timestamp() * 1e6)) and "clock_not_set" not in run["flags"].split(";")


def _timeline(shown: Sequence[dict[str, Any]], of: int) -> dict[str, Any] | None:
    """A bar for each run, a line for each bay; None without a run of a known date."""
    if not shown:
        return None
    bays = sorted({run["bay"] or "" for run in shown})
    first, last = shown[0]["start_time"], max(run["end_time"] or run["start_time"] for run in shown)
    span = max((last - first).total_seconds(), 1.0)
    bars = []
    for run in shown:
        x = 90 + (_WIDTH - 100) * (run["start_time"] - first).total_seconds() / span
        width = max((_WIDTH - 100) * min(run["duration_seconds"] or 0, 656) / span, 1.5)
        odd = any(MEANINGS.get(flag, (1, ""))[0] for flag in filter(None, run["flags"].split(";")))
        said = f"{run['run_id']} {run['shooter'] or ''}: {run['shots_detected']} shots {run['flags']}"
        y = 8 + 26 * bays.index(run["bay"] or "")
        bars.append({"kind": "odd" if odd else "run", "x": f"{x:.1f}", "y": y, "width": f"{width:.1f}", "said": said})
    return {
        "bars": bars,
        "bays": [bay[:14] for bay in bays],
        "first": f"{first:%H:%M:%S}",
        "last": f"{last:%H:%M:%S}",
        "height": 26 * len(bays) + 26,
        "left_out": of - len(shown),
    }


def _splits(draft: Draft) -> list[dict[str, Any]]:
    splits = np.concatenate([*_numbers(draft, "split_s"), np.empty(0)])
    first = [batch.filter(_first(batch)) for batch in draft.tables.batches(schema.SHOTS, ["shot_no", "since_beep_s"])]
    draws = np.concatenate([*(_floats(batch.column("since_beep_s")) for batch in first), np.empty(0)])
    return [*_histogram(splits, "s between two shots"), *_histogram(draws, "s from the beep to the first shot")]


def _sensor_row(one: dict[str, Any]) -> tuple[Any, ...]:
    return (
        _called(one),
        one["impacts"],
        _spread(one, "median_delay_ms", "median_low_ms", "median_high_ms", "{:.0f}"),
        _spread(one, "jitter_ms", "jitter_low_ms", "jitter_high_ms", "{:.0f}"),
        _spread(one, "silent_share", "silent_low", "silent_high", "{:.0%}"),
        _spread(one, "false_share", "false_low", "false_high", "{:.0%}"),
        one["flags"].replace(";", ", "),
    )


def _delays(draft: Draft, sensors: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    by_sensor: dict[str, list[np.ndarray]] = {}
    for batch in draft.tables.batches(schema.IMPACTS, ["sensor", "delay_ms"]):
        names = np.array(batch.column("sensor").to_pylist(), object)
        delays = batch.column("delay_ms").to_numpy(zero_copy_only=False)
        for name in {*names.tolist()}:
            mine = delays[names == name]
            by_sensor.setdefault(name or "", []).append(mine[~np.isnan(mine)])
    return [
        drawn
        for one in sensors[:_MOST_DRAWN]
        for drawn in _histogram(
            np.concatenate(by_sensor.get(one["sensor"] or "", [np.empty(0)])), f"ms, {_called(one)}"
        )
    ]


def _run_row(run: dict[str, Any]) -> tuple[Any, ...]:
    return (
        run["run_id"],
        f"{run['start_time']:%Y-%m-%d %H:%M:%S}",
        *(run[name] or "" for name in ("stage", "bay", "string", "shooter")),
        *(_shown(run[name], "{:.2f}") for name in ("duration_seconds", "first_shot_s")),
        run["shots_detected"],
        _shown(run["correlation_success_rate"], "{:.0%}"),
        run["flags"].replace(";", ", "),
    )


def _histogram(values: np.ndarray, unit: str) -> list[dict[str, Any]]:
    """Counts in forty classes up to the 99th percentile, with the median as a line; none without values."""
    if not len(values):
        return []
    low, median, high = np.percentile(values, [1, 50, 99]).tolist()
    high = high if high > low else low + 1
    found, edges = np.histogram(values, 40, (low, high))
    top, step = max(int(found.max()), 1), (_WIDTH - 100) / 40
    bars = [
        (f"{90 + place * step:.1f}", f"{90 - 80 * count / top:.1f}", f"{step - 1:.1f}", f"{80 * count / top:.1f}")
        for place, count in enumerate(found.tolist())
        if count
    ]
    return [
        {
            "bars": bars,
            "median_x": f"{90 + (_WIDTH - 100) * (median - low) / (high - low):.1f}",
            "low": f"{low:.4g}",
            "median": f"{median:.4g}",
            "high": f"{edges[-1]:.4g}",
            "count": len(values),
            "unit": unit,
        }
    ]


def _numbers(draft: Draft, name: str) -> Iterator[np.ndarray]:
    for batch in draft.tables.batches(schema.SHOTS, [name]):
        yield _floats(batch.column(name))


def _floats(column: Any) -> np.ndarray:
    return column.drop_null().to_numpy(zero_copy_only=False)


def _first(batch: Any) -> Any:
    import pyarrow.compute as pc

    return pc.equal(batch.column("shot_no"), 1)  # pyright: ignore[reportAttributeAccessIssue]


def _called(sensor: dict[str, Any]) -> str:
    name = sensor["sensor"] or "unnamed sensor"
    return f"{name} ({sensor['target']})" if sensor["target"] else name


def _spread(row: dict[str, Any], value: str, low: str, high: str, form: str) -> str:
    if row[value] is None:
        return ""
    between = f" ({form.format(row[low])} to {form.format(row[high])})" if row[low] is not None else ""
    return form.format(row[value]) + between


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
