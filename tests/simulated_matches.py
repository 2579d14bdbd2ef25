"""Matches with known truth: shots, hits, and what radios and clocks do to the records of them.

Used by the tests for a few, by `benchmarks/matches_truth.py` for many. Not here: reading them.
"""

import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from matches_logs import START, TIMER, beep, button, hit, shot, stop, summary

SENSORS = ("F8:FE:92:31:12:E3", "EA:18:3D:6D:BA:E5", "C2:1B:DB:F0:55:50", "D1:00:BE:EF:00:04")
TIMERS = (TIMER, "60:09:C3:1F:00:02")


@dataclass
class Truth:
    """A match as it was; records are known by their line in the log, from 1.

    Attributes:
        records: the log.
        runs: the shots of each string, by the lines that report them (several for one that was reported twice).
        pairs: for each line of an impact the number of the string and of the shot in `runs`; None for a false hit.
        faults: what was done to the log.
    """

    records: list[dict[str, Any]] = field(default_factory=list)
    runs: list[list[set[int]]] = field(default_factory=list)
    pairs: dict[int, tuple[int, int] | None] = field(default_factory=dict)
    faults: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Record:
    at: float
    content: dict[str, Any]
    run: int = -1
    shot: int = -1
    impact: bool = False


def simulate(seed: int) -> Truth:
    """One match: numbered shots of a timer's backup, or the unnumbered ones of the bridge's log; one bay or two."""
    rng = random.Random(seed)
    numbered, bays = rng.random() < 0.5, 1 + (rng.random() < 0.2)
    faults = {name for name in ("double", "lost", "no_start", "no_stop", "step") if rng.random() < 0.3}
    truth, records = Truth(faults=faults), []
    sensors = [SENSORS[bay * 2 : bay * 2 + 2] for bay in range(bays)]
    delays = {sensor: rng.uniform(-0.12, 0.7) for sensor in SENSORS}
    number = 0
    for bay in range(bays):
        at = rng.uniform(0, 8)
        for _ in range(rng.randint(9, 14)):
            records += _string(rng, number, at, TIMERS[bay], sensors[bay], delays, numbered, faults)
            at += rng.uniform(25, 50)
            number += 1
    records.sort(key=lambda record: record.at)
    if "step" in faults:
        records = _step(rng, records)
    truth.runs = [[] for _ in range(number)]
    lines: dict[tuple[int, int], set[int]] = {}
    for line, record in enumerate(records, 1):
        truth.records.append(record.content)
        if record.impact:
            truth.pairs[line] = (record.run, record.shot) if record.shot >= 0 else None
        elif record.shot >= 0:
            lines.setdefault((record.run, record.shot), set()).add(line)
    for (run, _), mine in sorted(lines.items()):
        truth.runs[run].append(mine)
    place = {key: index for run in range(number) for index, key in enumerate(k for k in sorted(lines) if k[0] == run)}
    truth.pairs = {line: (pair[0], place[pair]) if pair in place else None for line, pair in truth.pairs.items()}
    return truth


def _string(
    rng: random.Random,
    number: int,
    at: float,
    timer: str,
    sensors: tuple[str, ...],
    delays: dict[str, float],
    numbered: bool,
    faults: set[str],
) -> list[_Record]:
    more = {"device_id": timer, "device_position": f"Bay {TIMERS.index(timer) + 1}"}
    start, times = at + 2.25, []
    for _ in range(rng.randint(4, 8)):
        times.append(round((times[-1] if times else rng.uniform(0.8, 1.6)) + rng.uniform(0.3, 1.4), 2))
    said: dict[str, Any] = {}

    def told(seconds: float, kind: str, shot_number: int, time: float, split: float) -> dict[str, Any]:
        when = (START + timedelta(seconds=seconds)).isoformat()
        said.update(timestamp=when, device_id=timer, event_type=kind, current_shot=shot_number)
        return dict(said, total_shots=len(times), current_time=time, split_time=round(split, 2))

    if numbered:
        records = [_Record(start, told(start, "timer_start", 0, 0, 0), number)]
    else:
        records = [_Record(at, button(at, **more), number), _Record(start, beep(start, **more), number)]
    for place, time in enumerate(times):
        if "lost" in faults and rng.random() < 0.05:
            continue
        heard = [start + time + rng.uniform(0, 0.03)]
        if "double" in faults and rng.random() < 0.1:
            heard.append(heard[0] + rng.uniform(0.001, 0.05))
        split = time - (times[place - 1] if place else 0)
        records += [
            _Record(
                when,
                told(when, "shot_detected", place + 1, time, split) if numbered else shot(when, **more),
                number,
                place,
            )
            for when in heard
        ]
    found = _hits(rng, number, [start + time for time in times], sensors, delays)
    records += found
    hits = len(found)
    end = start + times[-1] + 1.5
    if numbered:
        ends = [_Record(end, told(end, "timer_stop", len(times), times[-1], 0), number)]
    else:
        summed_up = summary(end + 0.01, end + 0.01 - at, len(times), hits, device_position=more["device_position"])
        ends = [_Record(end, stop(end, **more), number), _Record(end + 0.01, summed_up, number)]
    if "no_start" in faults and rng.random() < 0.1:
        records = [record for record in records if record.shot >= 0 or record.impact]
    if "no_stop" in faults and rng.random() < 0.1:
        ends = []
    return [*records, *ends]


def _hits(
    rng: random.Random, number: int, shots: list[float], sensors: tuple[str, ...], delays: dict[str, float]
) -> list[_Record]:
    """What sensors report of some shots: nine of ten, and something else now and then."""
    found = []
    for place, at in enumerate(shots):
        sensor = rng.choice(sensors)
        when = at + delays[sensor] + rng.gauss(0, 0.012)
        if rng.random() < 0.9:
            found.append(_Record(when, hit(when, sensor), number, place, impact=True))
        if rng.random() < 0.03:
            when = at + rng.uniform(0, 1)
            found.append(_Record(when, hit(when, rng.choice(sensors)), number, -1, impact=True))
    return found


def _step(rng: random.Random, records: list[_Record]) -> list[_Record]:
    """Set the clock once, by minutes or hours, forward or back."""
    from datetime import datetime

    first = rng.randrange(len(records) // 4, len(records) * 3 // 4)
    by = timedelta(seconds=rng.choice([-1, 1]) * rng.choice([45.0, 700.0, 3600.0, 18_000.0]))
    moved = []
    for place, record in enumerate(records):
        key = "timestamp_iso" if "timestamp_iso" in record.content else "timestamp"
        when = datetime.fromisoformat(record.content[key]) + (by if place >= first else timedelta())
        moved.append(
            _Record(record.at, record.content | {key: when.isoformat()}, record.run, record.shot, record.impact)
        )
    return moved


@dataclass
class Score:
    """How much of some matches was found.

    Attributes:
        silent: runs that are wrong without a flag.
        silent_pairs: wrong pairings in a run without a flag.
        doubted: runs with the flag `contested_impact` although all their pairings are right.
    """

    runs: int = 0
    right_runs: int = 0
    pairs: int = 0
    right_pairs: int = 0
    silent_pairs: int = 0
    doubted: int = 0
    silent: list[str] = field(default_factory=list)

    def add(
        self, truth: Truth, runs: list[dict[str, Any]], events: list[dict[str, Any]], of: list[dict[str, Any]]
    ) -> None:
        """Compare a match with what was found: its runs, events, and what the analysis says of each event."""
        where = {event["source_line"]: (one["run_no"], one["shot_no"]) for event, one in zip(events, of, strict=True)}
        flags = {run["run_no"]: set(run["flags"].split(";")) - {"", "no_summary"} for run in runs}
        shots = {run["run_no"]: run["shots_detected"] for run in runs}
        for number, wanted in enumerate(truth.runs):
            if not wanted:
                continue
            self.runs += 1
            found = {next((where[line][0] for line in lines if where.get(line, (None,))[0]), None) for lines in wanted}
            if len(found) == 1 and None not in found and shots[next(iter(found))] == len(wanted):
                self.right_runs += 1
            else:
                # Shots in no run are counted as orphans, and the match says so.
                if not any(flags.get(one) for one in found) and None not in found:
                    self.silent.append(f"run {number}")
        doubted = {run for run in flags if "contested_impact" in flags[run]}
        for line, pair in truth.pairs.items():
            self.pairs += 1
            run, shot_no = where.get(line, (None, None))
            wanted_shot = None
            if pair is not None:
                lines = truth.runs[pair[0]][pair[1]]
                wanted_shot = next(
                    (where[one] for one in lines if one in where and where[one][1] is not None), (None, None)
                )
            right = (wanted_shot is None and shot_no is None) or (wanted_shot == (run, shot_no) and shot_no is not None)
            self.right_pairs += right
            self.silent_pairs += not right and run is not None and not flags[run]
            doubted -= set() if right else {run}
        self.doubted += len(doubted)
