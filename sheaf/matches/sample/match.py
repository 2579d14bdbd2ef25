"""A simulated match for the demo and for tests: what a bridge, its timer and two sensors would write.

Three stages of two shooters each, misses, false hits, a run that was broken off, a log that was
copied twice, a log that was cut off while being written, and a few lines that a power cut spoiled.
The same seed gives the same bytes.
"""

import csv
import io
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

MATCH = "Steel-Challenge-2025-09"
TIMER = "60:09:C3:1F:DC:1A"
SENSORS = ("F8:FE:92:31:12:E3", "EA:18:3D:6D:BA:E5")
DELAYS_MS = {SENSORS[0]: 310.0, SENSORS[1]: 545.0}
_LOCAL = timedelta(hours=-5)  # America/Chicago in September

_MANIFEST = f"""\
# What the log files alone cannot tell.
name: Steel Challenge, September 2025
timezone: America/Chicago
devices:
  - {{id: "{TIMER}", kind: timer, stage: Five to Go, bay: Bay 1}}
  - {{id: "{SENSORS[0]}", label: WTVB01-BT50-12:E3, kind: sensor, target: Plate 1, bay: Bay 1}}
  - {{id: "{SENSORS[1]}", label: WTVB01-BT50-BA:E5, kind: sensor, target: Plate 2, bay: Bay 1}}
"""


@dataclass(frozen=True)
class Stage:
    """How one stage is shot; times in seconds."""

    shots: int
    interval: float
    spread: float
    miss: float


_STAGES = (Stage(5, 0.9, 0.15, 0.05), Stage(8, 1.4, 0.3, 0.08), Stage(10, 2.2, 0.4, 0.12))


def write(inbox: Path, seed: int = 20250914) -> list[str]:
    """Write the sample match below `inbox/matches/`.

    Returns:
        The partitions that were written.
    """
    folder = inbox / "matches" / MATCH
    logs = folder / "logs" / "main"
    logs.mkdir(parents=True, exist_ok=True)
    main, backup = _simulate(random.Random(seed))  # noqa: S311  # a simulation, no secret
    lines = [orjson.dumps(record) for record in main]
    middle = len(lines) // 2
    dirt = [b'{"timestamp_iso":"2025-09-14T10:1', b"\0" * 64, b'["not", "an", "object"]']
    whole = b"\n".join([*lines[:middle], *dirt, *lines[middle:]]) + b"\n"
    (folder / "match.yaml").write_text(_MANIFEST, encoding="utf-8")
    (logs / "bridge_main_20250914.ndjson").write_bytes(whole)
    (logs / "bridge_main_20250914.csv").write_bytes(_twin(main))
    (logs / "copy of bridge_main_20250914.ndjson").write_bytes(whole)
    # A second bridge was switched off in the middle of a line.
    (logs / "bridge2_main_20250914.ndjson").write_bytes(b"\n".join([*lines[:30], lines[30][:70]]))
    (folder / "logs" / "timer_events_backup.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in backup))
    return [MATCH]


def _simulate(rng: random.Random) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Records of the bridge's main log, and of the timer's backup."""
    log = _Log()
    now = datetime(2025, 9, 14, 15, 0, 0, tzinfo=UTC)
    log.add(now, "Status", "Bridge", "MCU1", "Bay 1", "Bridge Initialized")
    for number, sensor in enumerate(SENSORS, 1):
        log.add(now + timedelta(seconds=number), "Status", "Sensor", sensor, f"Plate {number}", "Connected")
    log.add(now + timedelta(seconds=3), "Status", "Timer", TIMER, "Bay 1", "Connected")
    now += timedelta(minutes=2)
    for index in range(2 * 2 * len(_STAGES)):
        stage = _STAGES[index // 4]
        now = _string(log, rng, now, stage, broken_off=index == 5)
        now += timedelta(seconds=rng.uniform(20, 60))
    return log.records(), log.backup


class _Log:
    def __init__(self) -> None:
        self.rows: list[tuple[datetime, dict[str, object]]] = []
        self.backup: list[dict[str, object]] = []

    def add(self, when: datetime, type_: str, device: str, device_id: str, position: str, details: str) -> None:
        local = when + _LOCAL
        hour = local.strftime("%I").lstrip("0")
        clock = f"{local.month}/{local.day}/{local:%y} {hour}:{local:%M:%S}.{local.microsecond // 10_000:02d}"
        record: dict[str, object] = {"datetime": clock + local.strftime("%p").lower(), "type": type_, "device": device}
        record |= {"device_id": device_id[-5:] if ":" in device_id else device_id, "device_position": position}
        record |= {"details": details, "timestamp_iso": local.replace(tzinfo=None).isoformat(timespec="microseconds")}
        self.rows.append((when, record))

    def time(self, when: datetime, event_type: str, shot: int, seconds: float) -> None:
        """What the timer backs up, a few milliseconds after the main log."""
        self.backup.append(
            {
                "timestamp": (when + timedelta(milliseconds=4)).isoformat(timespec="microseconds"),
                "device_id": TIMER,
                "event_type": event_type,
                "shot_state": {"timer_start": "START", "timer_stop": "STOPPED"}.get(event_type, "ACTIVE"),
                "current_shot": shot,
                "total_shots": shot,
                "current_time": round(seconds, 2),
                "split_time": 0.0,
                "event_detail": f"Shot {shot}: {seconds:.2f}s" if event_type == "shot_detected" else event_type,
                "raw_hex": "",
                "session_id": "session_20250914_100000",
            }
        )

    def records(self) -> list[dict[str, object]]:
        self.rows.sort(key=lambda row: row[0])
        return [record | {"seq": number} for number, (_, record) in enumerate(self.rows)]


def _string(log: _Log, rng: random.Random, start: datetime, stage: Stage, *, broken_off: bool) -> datetime:
    """One string of shots; returns when it was over."""
    countdown = round(rng.uniform(1.5, 3.5), 2)
    log.add(start, "String", "Timer", TIMER, "Bay 1", f"Timer Start Button pressed, Random countdown: {countdown}s")
    beep = start + timedelta(seconds=countdown)
    log.add(beep, "String", "Timer", TIMER, "Bay 1", "Timer Start Beep")
    log.time(beep, "timer_start", 0, 0.0)
    shot, impacts = beep + timedelta(seconds=rng.uniform(1.0, 1.6)), 0
    for number in range(1, stage.shots + 1):
        log.add(shot, "String", "Timer", TIMER, "Bay 1", "Shot detected")
        log.time(shot, "shot_detected", number, (shot - beep).total_seconds())
        plate = number % len(SENSORS)
        sensor = SENSORS[plate]
        if rng.random() >= stage.miss:
            hit = shot + timedelta(milliseconds=rng.gauss(DELAYS_MS[sensor], 14))
            log.add(hit, "String", "Sensor", sensor, f"Plate {plate + 1}", "Sensor Impact detected")
            impacts += 1
        if rng.random() < 0.06:  # wind, or a neighbour's ricochet
            stray = shot + timedelta(milliseconds=rng.uniform(20, 120))
            log.add(stray, "String", "Sensor", sensor, f"Plate {plate + 1}", "Sensor Impact detected")
            impacts += 1
        shot += timedelta(seconds=max(0.35, rng.gauss(stage.interval, stage.spread)))
    if broken_off:
        return shot
    stop = shot + timedelta(seconds=1)
    log.add(stop, "String", "Timer", TIMER, "Bay 1", "Timer stop button pressed")
    log.time(stop, "timer_stop", stage.shots, (stop - beep).total_seconds())
    end = stop + timedelta(milliseconds=10)
    total = (end - start).total_seconds()
    summary = f"String Time: {total:.2f}s; Shots Detected: {stage.shots}; Impacts Detected: {impacts}"
    log.add(end, "StringSummary", "Bridge", "MCU1", "Bay 1", summary)
    return end


def _twin(records: list[dict[str, object]]) -> bytes:
    """The same events as the bridge writes them to CSV."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["Datetime", "Type", "Device", "DeviceID", "DevicePosition", "Details"])
    for record in records:
        writer.writerow(
            [record[name] for name in ("datetime", "type", "device", "device_id", "device_position", "details")]
        )
    return text.getvalue().encode()
