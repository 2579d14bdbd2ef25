"""Which impact belongs to which shot.

Each sensor reports its hits late by a time of its own, which is estimated over the whole match.
Within a run every shot gets at most one impact and every impact at most one shot: as many pairs
as possible, and among these the ones whose delays are nearest to their sensor's. Pure functions of
arrays; all times in microseconds. Not here: reading and writing tables (`analysis`).
"""

from dataclasses import dataclass

import numpy as np

from sheaf.matches.settings import Correlation

_BIN_US = 40_000
_EARLIEST_US = -200_000
_ROUNDS = 10
_SETTLED_US = 500
_DRIFT_AFTER_US = 30 * 60 * 1_000_000
_DENSE_CELLS = 1_000_000


@dataclass(frozen=True)
class Shots:
    """Shots in any order; `run` counts from 0."""

    run: np.ndarray
    ts: np.ndarray


@dataclass(frozen=True)
class Impacts:
    """Impacts in any order; `sensor` counts from 0."""

    run: np.ndarray
    ts: np.ndarray
    sensor: np.ndarray


@dataclass(frozen=True)
class SensorDelay:
    """Delay of one sensor: what was used, and what the pairs say; all in milliseconds."""

    offset_ms: float
    estimated: bool
    impacts: int
    matched: int
    median_ms: float | None
    mad_ms: float | None
    drift_ms_per_h: float | None
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Correlated:
    """The assignment.

    Attributes:
        shot_of_impact: index of the shot for each impact; -1 for a false hit.
        delay_us: time from that shot to the impact; meaningless for a false hit.
        sensors: one entry for each sensor.
    """

    shot_of_impact: np.ndarray
    delay_us: np.ndarray
    sensors: tuple[SensorDelay, ...]


def correlate(shots: Shots, impacts: Impacts, sensors: int, settings: Correlation) -> Correlated:
    """Estimate each sensor's delay and assign impacts to shots.

    Args:
        shots: of all runs.
        impacts: of the same runs.
        sensors: how many sensors there are.
        settings: window, expected delay, tolerances.
    """
    window = round(settings.window_ms * 1000)
    pairs = _pairs_within(shots, impacts, _EARLIEST_US, window)
    sensor_of_pair = impacts.sensor[pairs.impact]
    offset = np.full(sensors, settings.expected_delay_ms * 1000)
    gate = np.full(sensors, settings.delay_tolerance_ms * 1000)
    flags: list[set[str]] = [set() for _ in range(sensors)]
    estimated = np.zeros(sensors, bool)
    if settings.estimate_offsets:
        for sensor in range(sensors):
            mode = _mode(pairs.delay[sensor_of_pair == sensor], settings, window)
            if mode is None:
                flags[sensor].add("offset_fallback")
            else:
                offset[sensor], gate[sensor], estimated[sensor] = mode, settings.gate_ms * 1000, True
    chosen = _assign(pairs, sensor_of_pair, offset, gate, window)
    for _ in range(_ROUNDS if estimated.any() else 0):
        before = offset.copy()
        for sensor in np.flatnonzero(estimated):
            matched = pairs.delay[chosen[sensor_of_pair[chosen] == sensor]]
            if len(matched) < settings.min_pairs:
                offset[sensor], gate[sensor] = settings.expected_delay_ms * 1000, settings.delay_tolerance_ms * 1000
                estimated[sensor] = False
                flags[sensor].add("offset_fallback")
            else:
                offset[sensor] = np.median(matched)
        if np.abs(offset - before).max() <= _SETTLED_US:
            break
        chosen = _assign(pairs, sensor_of_pair, offset, gate, window)
    shot_of_impact = np.full(len(impacts.ts), -1, np.int64)
    delay = np.zeros(len(impacts.ts), np.int64)
    shot_of_impact[pairs.impact[chosen]] = pairs.shot[chosen]
    delay[pairs.impact[chosen]] = pairs.delay[chosen]
    summaries = tuple(
        _describe(
            impacts, shot_of_impact, delay, sensor, offset[sensor], bool(estimated[sensor]), flags[sensor], settings
        )
        for sensor in range(sensors)
    )
    return Correlated(shot_of_impact, delay, summaries)


@dataclass(frozen=True)
class _Pairs:
    """Shots and impacts of one run that are near enough in time; sorted by impact, then time of the shot."""

    shot: np.ndarray
    impact: np.ndarray
    delay: np.ndarray


def _pairs_within(shots: Shots, impacts: Impacts, earliest: int, latest: int) -> _Pairs:
    if not len(shots.ts) or not len(impacts.ts):
        empty = np.empty(0, np.int64)
        return _Pairs(empty, empty, empty)
    # Runs of one timer do not overlap, so time alone finds nearly only pairs of one run.
    order = np.argsort(shots.ts, kind="stable")
    times = shots.ts[order]
    first = np.searchsorted(times, impacts.ts - latest, "left")
    count = np.searchsorted(times, impacts.ts - earliest, "right") - first
    impact = np.repeat(np.arange(len(impacts.ts)), count)
    shot = order[np.arange(count.sum()) - np.repeat(np.cumsum(count) - count - first, count)]
    same = shots.run[shot] == impacts.run[impact]
    shot, impact = shot[same], impact[same]
    return _Pairs(shot, impact, impacts.ts[impact] - shots.ts[shot])


def _mode(delays: np.ndarray, settings: Correlation, window: int) -> float | None:
    """The most frequent delay within 40 ms; None when there are too few, or another is nearly as frequent.

    Regular splits put a second peak one split away from the true delay; it is looked for outside
    the gate around the first, so that a broad peak is not taken for two.
    """
    min_pairs, apart = settings.min_pairs, max(_BIN_US // 1000, round(settings.gate_ms))
    if len(delays) < min_pairs:
        return None
    per_ms = np.bincount((delays - _EARLIEST_US) // 1000, minlength=(window - _EARLIEST_US) // 1000 + 1)
    width = _BIN_US // 1000
    total = np.concatenate([[0], np.cumsum(per_ms)])
    inside = total[width:] - total[:-width] if len(total) > width else np.array([total[-1]])
    best = inside.max()
    tops = np.flatnonzero(inside == best)
    zero = -_EARLIEST_US // 1000
    later = tops[tops >= zero]
    top = int(later[0] if len(later) else tops[-1])
    others = np.concatenate([inside[: max(0, top - apart)], inside[top + apart :]])
    if best < min_pairs or (len(others) and others.max() >= 0.8 * best):
        return None
    start = _EARLIEST_US + top * 1000
    return float(np.median(delays[(delays >= start) & (delays < start + _BIN_US)]))


def _assign(pairs: _Pairs, sensor: np.ndarray, offset: np.ndarray, gate: np.ndarray, window: int) -> np.ndarray:
    """Indices of the pairs that are chosen: most pairs first, then least total deviation.

    Only shots and impacts that share candidates can influence each other, so each connected group
    is solved on its own; most groups are a single pair.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    deviation = np.abs(pairs.delay - offset[sensor])
    usable = np.flatnonzero((deviation <= gate[sensor]) & (pairs.delay >= 0) & (pairs.delay <= window))
    if not len(usable):
        return usable
    shots, shot = np.unique(pairs.shot[usable], return_inverse=True)
    impacts, impact = np.unique(pairs.impact[usable], return_inverse=True)
    size = len(shots) + len(impacts)
    graph = coo_array((np.ones(len(usable), np.int8), (shot, impact + len(shots))), shape=(size, size))
    _, label = connected_components(graph, directed=False)
    group = label[shot]
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    ends = np.append(starts[1:], len(order))
    single = ends - starts == 1
    chosen = [usable[order[starts[single]]]]
    for start, end in zip(starts[~single], ends[~single], strict=True):
        members = order[start:end]
        chosen.append(usable[members[_solve(shot[members], impact[members], deviation[usable[members]])]])
    return np.sort(np.concatenate(chosen))


def _solve(shot: np.ndarray, impact: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Best one-to-one choice among a few connected pairs: indices into them."""
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows, row = np.unique(shot, return_inverse=True)
    columns, column = np.unique(impact, return_inverse=True)
    n, m = len(rows), len(columns)
    missing = float(deviation.sum()) + 1.0  # one more pair outweighs any deviation
    if n * (m + n) <= _DENSE_CELLS:
        cost = np.full((n, m + n), missing)
        index = np.full((n, m), -1)
        cost[row, column] = deviation
        index[row, column] = np.arange(len(deviation))
        cost[:, :m][index < 0] = 2 * missing
        found_row, found_column = linear_sum_assignment(cost)
        real = found_column < m
        picked = index[found_row[real], found_column[real]]
        return picked[picked >= 0]
    weights = np.concatenate([deviation + 1.0, np.full(n, missing + 1.0)])
    graph = coo_array(
        (weights, (np.concatenate([row, np.arange(n)]), np.concatenate([column, m + np.arange(n)]))), shape=(n, m + n)
    ).tocsr()
    found_row, found_column = min_weight_full_bipartite_matching(graph)
    real = found_column < m
    place = {(r, c): index for index, (r, c) in enumerate(zip(row.tolist(), column.tolist(), strict=True))}
    pairs = zip(found_row[real].tolist(), found_column[real].tolist(), strict=True)
    return np.array([place[pair] for pair in pairs], np.int64)


def _describe(
    impacts: Impacts,
    shot_of_impact: np.ndarray,
    delay: np.ndarray,
    sensor: int,
    offset: float,
    estimated: bool,
    flags: set[str],
    settings: Correlation,
) -> SensorDelay:
    mine = impacts.sensor == sensor
    matched = mine & (shot_of_impact >= 0)
    delays = delay[matched] / 1000
    median = float(np.median(delays)) if len(delays) else None
    drift = _drift(impacts.ts[matched], delays)
    hours = np.ptp(impacts.ts[matched]) / 3.6e9 if len(delays) else 0
    if drift is not None and abs(drift) * hours > settings.gate_ms / 2:
        flags = flags | {"drift"}
    return SensorDelay(
        offset_ms=round(offset / 1000, 3),
        estimated=estimated,
        impacts=int(mine.sum()),
        matched=len(delays),
        median_ms=median,
        mad_ms=None if median is None else float(np.median(np.abs(delays - median))),
        drift_ms_per_h=drift,
        flags=tuple(sorted(flags)),
    )


def _drift(ts: np.ndarray, delays: np.ndarray) -> float | None:
    """Slope of the delay over time in ms per hour, for matches over half an hour."""
    if len(ts) < 10 or np.ptp(ts) < _DRIFT_AFTER_US:
        return None
    hours = (ts - ts.mean()) / 3.6e9
    return float(np.dot(hours, delays - delays.mean()) / np.dot(hours, hours))
