"""Which impact belongs to which shot.

Each sensor reports its hits late by a time of its own, which is estimated over the whole match.
Within a run every shot gets at most one impact and every impact at most one shot: as many pairs
as possible, and among these the ones whose delays are nearest to their sensor's. Pure functions of
arrays, which come some runs at a time: runs do not influence each other, only the delays do. All times in microseconds.
Not here: reading and writing tables (`runs_tables`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from sheaf.matches.settings import Correlation

Interval = tuple[float | None, float | None]
"""From and to, with 95 % confidence; None where there is too little to tell."""

_BIN_US = 40_000
_EARLIEST_US = -200_000
_ROUNDS = 10
_SIGMA = 1.4826
"""From the median absolute deviation to the standard deviation of a normal distribution."""
_SETTLED_US = 500
_DRIFT_AFTER_US = 30 * 60 * 1_000_000
_AS_OTHERS = 50
"""Hits of a sensor from which on its own spread says more of it than that of the match's other sensors."""
_SURE = np.log(99)
"""Logarithm of the odds that a pair needs against all else it could be: 99 to 1."""


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
    median_interval: Interval
    jitter_ms: float | None
    jitter_interval: Interval
    drift_ms_per_h: float | None
    flags: tuple[str, ...]


Parts = Iterable[tuple[Shots, Impacts]]
"""Shots and impacts of some runs at a time, which can be gone through again and again."""


@dataclass(frozen=True)
class Assigned:
    """The assignment among shots and impacts of one part.

    Attributes:
        shot_of_impact: index of the shot for each impact; -1 for a false hit.
        delay_us: time from that shot to the impact; meaningless for a false hit.
        sensor: of each impact.
    """

    shot_of_impact: np.ndarray
    delay_us: np.ndarray
    sensor: np.ndarray

    @property
    def hit(self) -> np.ndarray:
        """Whether each impact has a shot."""
        return self.shot_of_impact >= 0

    def delays(self, sensor: int) -> np.ndarray:
        """Those of the hits of one sensor."""
        return self.delay_us[self.hit & (self.sensor == sensor)]


@dataclass(frozen=True)
class Correlated:
    """The assignment.

    Attributes:
        assigned: one entry for each part.
        sensors: one entry for each sensor.
        contested: the runs with a pair that is less than 99 % sure beside the next best explanation.
    """

    assigned: Sequence[Assigned]
    sensors: tuple[SensorDelay, ...]
    contested: np.ndarray


def correlate(parts: Parts, sensors: int, settings: Correlation) -> Correlated:
    """Estimate each sensor's delay and assign impacts to shots.

    Args:
        parts: shots and impacts of all runs; no run is in two of them.
        sensors: how many sensors there are.
        settings: window, expected delay, tolerances.
    """
    estimate = _Estimate.of(parts, sensors, settings)
    assigned = _assign_all(parts, estimate)
    for _ in range(_ROUNDS if estimate.known.any() else 0):
        if not estimate.refine(assigned):
            break
        assigned = _assign_all(parts, estimate)
    contested = _contested(parts, assigned, estimate)
    summaries = _outside_window(parts, tuple(_describe(parts, assigned, estimate)), settings)
    return Correlated(assigned, summaries, contested)


@dataclass
class _Estimate:
    """Delay, gate and spread of each sensor in microseconds, and whether the delay is known from the match."""

    offset: np.ndarray
    gate: np.ndarray
    spread: np.ndarray
    known: np.ndarray
    settings: Correlation

    @classmethod
    def of(cls, parts: Parts, sensors: int, settings: Correlation) -> Self:
        """The first estimate: the most frequent delay of each sensor."""
        found = cls(
            offset=np.zeros(sensors),
            gate=np.zeros(sensors),
            spread=np.zeros(sensors),
            known=np.ones(sensors, bool),
            settings=settings,
        )
        width = (found.window - _EARLIEST_US) // 1000 + 1
        per_ms = np.zeros(sensors * width, np.int64)
        for shots, impacts in parts if settings.estimate_offsets else ():
            pairs = _pairs(shots, impacts, found.window)
            place = impacts.sensor[pairs.impact] * width + (pairs.delay - _EARLIEST_US) // 1000
            per_ms += np.bincount(place, minlength=len(per_ms))
        for sensor, counts in enumerate(per_ms.reshape(sensors, width)):
            mode = _mode(counts, settings)
            if mode is None:
                found.fall_back(sensor)
            else:
                found.offset[sensor], found.gate[sensor] = mode, settings.gate_ms * 1000
        return found

    @property
    def window(self) -> int:
        return round(self.settings.window_ms * 1000)

    def fall_back(self, sensor: int) -> None:
        """Use the expected delay."""
        self.known[sensor] = False
        self.offset[sensor] = self.settings.expected_delay_ms * 1000
        self.gate[sensor] = self.settings.delay_tolerance_ms * 1000

    def refine(self, assigned: Sequence[Assigned]) -> bool:
        """Take the median of each sensor's matched delays; False when that changes nothing any more."""
        before = self.offset.copy()
        for index in np.flatnonzero(self.known).tolist():
            delays = np.concatenate([one.delays(index) for one in assigned])
            if len(delays) < self.settings.min_pairs:
                self.fall_back(index)
            else:
                self.offset[index] = np.median(delays)
                self._spread(index, delays - self.offset[index])
        return bool(np.abs(self.offset - before).max() > _SETTLED_US)

    def _spread(self, index: int, deviations: np.ndarray) -> None:
        """How regular a sensor is; beyond six standard deviations of it a hit is of something else."""
        jitter = _SIGMA * float(np.median(np.abs(deviations)))
        self.gate[index] = min(self.settings.gate_ms * 1000, max(6 * jitter, _BIN_US))
        # From few hits a mean is nearer to the truth than a median, once outliers are drawn in to three of them.
        usual = np.sqrt(np.mean(np.clip(deviations, -3 * jitter, 3 * jitter) ** 2))
        self.spread[index] = max(float(usual), _BIN_US / 6)

    def log_density(self, sensor: np.ndarray, delay: np.ndarray, spread: np.ndarray) -> np.ndarray:
        """Logarithm of how usual delays are: normal about a delay that is known, the same within a gate otherwise."""
        known = self.known[sensor]
        with np.errstate(divide="ignore", invalid="ignore"):
            away = (delay - self.offset[sensor]) / spread
            width = np.where(known, spread * np.sqrt(2 * np.pi), 2 * self.gate[sensor])
        return np.where(known, -away * away / 2, 0) - np.log(width)


def _assign_all(parts: Parts, estimate: _Estimate) -> list[Assigned]:
    return [_assigned(shots, impacts, estimate) for shots, impacts in parts]


def _assigned(shots: Shots, impacts: Impacts, estimate: _Estimate) -> Assigned:
    # No window is so long, and no part so large, that four bytes would not do; nor two for most numbers of sensors.
    found = Assigned(
        np.full(len(impacts.ts), -1, np.int32),
        np.zeros(len(impacts.ts), np.int32),
        impacts.sensor.astype(np.min_scalar_type(len(estimate.offset))),
    )
    pairs = _pairs(shots, impacts, estimate.window)
    usable = _usable(pairs, impacts.sensor[pairs.impact], estimate)
    chosen = _assign(pairs, usable, impacts.sensor[pairs.impact], estimate)
    found.shot_of_impact[pairs.impact[chosen]] = pairs.shot[chosen]
    found.delay_us[pairs.impact[chosen]] = pairs.delay[chosen]
    return found


def _contested(parts: Parts, assigned: Sequence[Assigned], estimate: _Estimate) -> np.ndarray:
    """The runs with a pair that is less than 99 % sure.

    A pair says that its shot was heard by that sensor, late by what is usual. Against it stands the next best that can
    be said of the same records: that the shot was not heard and the impact is false, or that an impact, or a shot, that
    was left over belongs there instead. How often each happens is counted in the match itself. That two pairs should be
    exchanged is not asked: shots are further from each other than a sensor is uncertain.
    """
    weights = _Weights.of(parts, assigned, estimate)
    found = [np.empty(0, np.int64)]
    for (shots, impacts), one in zip(parts, assigned, strict=True):
        if one.hit.any():
            found.append(_contested_of(shots, impacts, one, weights, estimate))
    return np.concatenate(found)


def _contested_of(
    shots: Shots, impacts: Impacts, assigned: Assigned, weights: "_Weights", estimate: _Estimate
) -> np.ndarray:
    hit, shot_of_impact = assigned.hit, assigned.shot_of_impact
    impact_of_shot = np.full(len(shots.ts), -1, np.int32)
    impact_of_shot[shot_of_impact[hit]] = np.flatnonzero(hit)
    pair, margin = np.empty(len(hit), np.float32), np.full(len(hit), np.inf, np.float32)
    pairs = _pairs(shots, impacts, estimate.window)
    sensor = impacts.sensor[pairs.impact]
    spread = weights.spread[sensor]
    chosen = np.flatnonzero(shot_of_impact[pairs.impact] == pairs.shot)
    spread[chosen] = weights.without(sensor[chosen], pairs.delay[chosen] - estimate.offset[sensor[chosen]])
    odds = weights.usual[sensor] + estimate.log_density(sensor, pairs.delay, spread)
    pair[pairs.impact[chosen]] = odds[chosen]
    # Where a delay is only expected, nothing says how far from it a hit may be.
    known = chosen[estimate.known[sensor[chosen]]]
    margin[pairs.impact[known]] = odds[known]
    fits = _usable(pairs, sensor, estimate)
    own, taken = hit[pairs.impact[fits]], impact_of_shot[pairs.shot[fits]]
    rival = own != (taken >= 0)
    instead_of = np.where(own, pairs.impact[fits], taken)[rival]
    np.minimum.at(margin, instead_of, pair[instead_of] - odds[fits[rival]])
    return np.unique(impacts.run[margin < _SURE])


@dataclass(frozen=True)
class _Weights:
    """What one pair is weighed with against another.

    Attributes:
        usual: for each sensor, how much more often it hears a shot than a false hit comes where a shot is not heard, as
            logarithm, and for a delay anywhere in the window.
        spread: of each sensor. It is nearer to the truth where it leans on the others of the match, the more the fewer
            hits there are.
        hits: how many the spread of each sensor rests on.
    """

    usual: np.ndarray
    spread: np.ndarray
    hits: np.ndarray

    @classmethod
    def of(cls, parts: Parts, assigned: Sequence[Assigned], estimate: _Estimate) -> Self:
        """Counted in the match."""
        count, total = len(estimate.offset), 0
        false, heard = np.ones(count), np.zeros(count)  # as if one more came: none so far does not mean never
        for (shots, impacts), one in zip(parts, assigned, strict=True):
            free = Impacts(impacts.run[~one.hit], impacts.ts[~one.hit], impacts.sensor[~one.hit])
            false += np.bincount(free.sensor[_pairs(shots, free, estimate.window).impact], minlength=count)
            heard += np.bincount(impacts.sensor[one.hit], minlength=count)
            total += len(shots.ts)
        unheard = (total - heard.sum() + 1) / (total + 2)
        usual = np.log((heard + 0.5) / false / unheard * (estimate.window - _EARLIEST_US))
        known = estimate.known * heard
        of_all = (known * estimate.spread**2).sum() / max(known.sum(), 1)
        hits = heard + _AS_OTHERS
        return cls(usual, np.sqrt((heard * estimate.spread**2 + _AS_OTHERS * of_all) / hits), hits)

    def without(self, sensor: np.ndarray, deviation: np.ndarray) -> np.ndarray:
        """The spread as it is without one of the hits: an outlier hides itself in a spread that it has widened."""
        spread, hits = self.spread[sensor], self.hits[sensor]
        own = np.clip(deviation, -3 * spread, 3 * spread)
        return np.maximum(np.sqrt((hits * spread**2 - own**2) / (hits - 1)), _BIN_US / 6)


@dataclass(frozen=True)
class _Pairs:
    """Shots and impacts of one run that are near enough in time; sorted by impact, then time of the shot."""

    shot: np.ndarray
    impact: np.ndarray
    delay: np.ndarray


def _pairs(shots: Shots, impacts: Impacts, window: int, earliest: int = _EARLIEST_US) -> _Pairs:
    """All pairs of some shots and impacts.

    Runs of one timer do not overlap, so time alone finds nearly only pairs of one run; the others are dropped at last.
    """
    order = np.argsort(shots.ts, kind="stable").astype(np.int32)
    times = shots.ts[order]
    # By impact: it pairs with `count` shots, which follow each other in `order` from `first` on.
    first = np.searchsorted(times, impacts.ts - window, "left")
    count = np.searchsorted(times, impacts.ts - earliest, "right") - first
    first_pair = np.cumsum(count) - count
    # By pair: the nth of all is the (nth - first_pair)th of its impact.
    impact = np.repeat(np.arange(len(impacts.ts), dtype=np.int32), count)
    shot = order[np.arange(count.sum()) + np.repeat(first - first_pair, count)]
    same = shots.run[shot] == impacts.run[impact]
    shot, impact = shot[same], impact[same]
    return _Pairs(shot, impact, impacts.ts[impact] - shots.ts[shot])


def _mode(per_ms: np.ndarray, settings: Correlation) -> float | None:
    """The most frequent delay within 40 ms; None when there are too few, or another is nearly as frequent.

    Regular splits put a second peak one split away from the true delay; it is looked for outside
    the gate around the first, so that a broad peak is not taken for two.
    """
    apart, width = max(_BIN_US // 1000, round(settings.gate_ms)), _BIN_US // 1000
    total = np.concatenate([[0], np.cumsum(per_ms)])
    inside = total[width:] - total[:-width] if len(total) > width else total[-1:]
    best = inside.max()
    tops = np.flatnonzero(inside == best)
    zero = -_EARLIEST_US // 1000
    later = tops[tops >= zero]
    top = int(later[0] if len(later) else tops[-1])
    others = np.concatenate([inside[: max(0, top - apart)], inside[top + apart :]])
    if best < settings.min_pairs or (len(others) and others.max() >= 0.8 * best):
        return None
    middle = np.searchsorted(total, total[top] + best / 2) - 1
    return float(_EARLIEST_US + middle * 1000 + 500)


def _usable(pairs: _Pairs, sensor: np.ndarray, estimate: _Estimate) -> np.ndarray:
    """Indices of the pairs whose delay may be that of their sensor."""
    # A sensor's link may be faster than the timer's, where the match says so; without that it is not assumed.
    earliest = np.where(estimate.known, _EARLIEST_US, 0)
    deviation = np.abs(pairs.delay - estimate.offset[sensor])
    return np.flatnonzero((deviation <= estimate.gate[sensor]) & (pairs.delay >= earliest[sensor]))


def _assign(pairs: _Pairs, usable: np.ndarray, sensor: np.ndarray, estimate: _Estimate) -> np.ndarray:
    """Indices of the pairs that are chosen: most pairs first, then least total deviation.

    Only shots and impacts that share candidates can influence each other, so each connected group
    is solved on its own; most groups are a single pair.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(usable):
        return usable
    deviation = np.abs(pairs.delay - estimate.offset[sensor])
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
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    rows, row = np.unique(shot, return_inverse=True)
    columns, column = np.unique(impact, return_inverse=True)
    n, m = len(rows), len(columns)
    missing = float(deviation.sum()) + 1.0  # one more pair outweighs any deviation
    # Each shot may also stay alone, for which it has an impact of its own.
    weights = np.concatenate([deviation + 1.0, np.full(n, missing + 1.0)])
    graph = coo_array(
        (weights, (np.concatenate([row, np.arange(n)]), np.concatenate([column, m + np.arange(n)]))), shape=(n, m + n)
    ).tocsr()
    found_row, found_column = min_weight_full_bipartite_matching(graph)
    real = found_column < m
    place = {(r, c): index for index, (r, c) in enumerate(zip(row.tolist(), column.tolist(), strict=True))}
    pairs = zip(found_row[real].tolist(), found_column[real].tolist(), strict=True)
    return np.array([place[pair] for pair in pairs], np.int64)


def _describe(parts: Parts, assigned: Sequence[Assigned], estimate: _Estimate) -> Iterator[SensorDelay]:
    """Each sensor in turn."""
    if not len(estimate.offset):
        return
    when = np.concatenate([impacts.ts for _, impacts in parts])
    sensors = np.concatenate([one.sensor for one in assigned])
    hit = np.concatenate([one.hit for one in assigned])
    for sensor in range(len(estimate.offset)):
        mine = sensors == sensor
        delays = np.concatenate([one.delays(sensor) for one in assigned]) / 1000
        yield _described(sensor, int(mine.sum()), when[mine & hit], delays, estimate)


def _described(sensor: int, impacts: int, ts: np.ndarray, delays: np.ndarray, estimate: _Estimate) -> SensorDelay:
    median = float(np.median(delays)) if len(delays) else None
    drift = _drift(ts, delays)
    known, settings = bool(estimate.known[sensor]), estimate.settings
    flags = ["offset_fallback"] if settings.estimate_offsets and not known else []
    if drift is not None and abs(drift) * np.ptp(ts) / 3.6e9 > settings.gate_ms / 2:
        flags.append("drift")
    return SensorDelay(
        offset_ms=round(float(estimate.offset[sensor]) / 1000, 3),
        estimated=known,
        impacts=impacts,
        matched=len(delays),
        median_ms=median,
        mad_ms=None if median is None else float(np.median(np.abs(delays - median))),
        median_interval=_of_median(delays),
        jitter_ms=None if median is None else round(_SIGMA * float(np.median(np.abs(delays - median))), 3),
        jitter_interval=_of_jitter(delays),
        drift_ms_per_h=drift,
        flags=tuple(sorted(flags)),
    )


def _drift(ts: np.ndarray, delays: np.ndarray) -> float | None:
    """Slope of the delay over time in ms per hour, for matches over half an hour."""
    if len(ts) < 10 or np.ptp(ts) < _DRIFT_AFTER_US:
        return None
    hours = (ts - ts.mean()) / 3.6e9
    return float(np.dot(hours, delays - delays.mean()) / np.dot(hours, hours))


def share_interval(count: int, of: int) -> Interval:
    """95 % interval of a share, after Wilson (1927)."""
    if not of:
        return None, None
    z, share = 1.96, count / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * np.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return round(max(0.0, float(middle - half)), 4), round(min(1.0, float(middle + half)), 4)


def _of_median(delays: np.ndarray) -> Interval:
    """95 % interval of a median by ranks, which needs no distribution."""
    n = len(delays)
    if n < 6:
        return None, None
    half = 0.98 * np.sqrt(n)
    ordered = np.sort(delays)
    low, high = max(0, int(n / 2 - half)), min(n - 1, int(np.ceil(n / 2 + half)))
    return round(float(ordered[low]), 3), round(float(ordered[high]), 3)


def _of_jitter(delays: np.ndarray) -> Interval:
    """95 % interval of the jitter: the median absolute deviation varies by 1.17 / sqrt(n) of itself."""
    n = len(delays)
    if n < 6:
        return None, None
    jitter = _SIGMA * float(np.median(np.abs(delays - np.median(delays))))
    half = 1.96 * 1.17 / np.sqrt(n)
    return round(max(0.0, jitter * (1 - half)), 3), round(jitter * (1 + half), 3)


def _outside_window(parts: Parts, sensors: tuple[SensorDelay, ...], settings: Correlation) -> tuple[SensorDelay, ...]:
    """Flag sensors whose impacts follow the shots regularly, but sooner or later than is allowed."""
    poor = [
        index
        for index, one in enumerate(sensors)
        if one.impacts >= settings.min_pairs * 2 > 0 and one.matched < one.impacts / 2
    ]
    if not poor:
        return sensors
    window = round(settings.window_ms * 1000)
    flagged = set()
    counts = np.zeros((len(sensors), (4 * window + 2 * _BIN_US) // _BIN_US + 1), np.int64)
    for shots, impacts in parts:
        mine = np.isin(impacts.sensor, poor)
        some = Impacts(impacts.run[mine], impacts.ts[mine], impacts.sensor[mine])
        pairs = _pairs(shots, some, 3 * window, -window)
        np.add.at(counts, (some.sensor[pairs.impact], (pairs.delay + window) // _BIN_US), 1)
    first, last = (window + _EARLIEST_US) // _BIN_US, 2 * window // _BIN_US
    for index in poor:
        wide = counts[index, :-1] + counts[index, 1:]
        inside = wide[max(0, first - 1) : last + 1].max(initial=0)
        outside = max(wide[: max(0, first - 1)].max(initial=0), wide[last + 1 :].max(initial=0))
        if outside >= max(settings.min_pairs, sensors[index].impacts / 2) and outside > 1.25 * inside:
            flagged.add(index)
    return tuple(
        replace(one, flags=tuple(sorted({*one.flags, "beyond_window"}))) if index in flagged else one
        for index, one in enumerate(sensors)
    )
