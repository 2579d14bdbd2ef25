"""How long the dialects of match logs take to read, beside the bridge's main log.

Usage: python benchmarks/match_dialects.py [--lines 100000] [--only console]

The same events are written in each dialect, as far as it can tell of them, and read in a process of its own: the step
`events` from looking whether there is anything to do to the commit. CPU seconds with imports, for as many lines.
"""

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import matches

START = datetime(2025, 9, 14, 10, tzinfo=UTC)


def main() -> None:
    """Read each dialect and print a line for it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--only", choices=[*DIALECTS])
    arguments = parser.parse_args()
    usual = 0.0
    for name, write in DIALECTS.items():
        if arguments.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory() as work:
            logs = Path(work, matches.LOG).parent
            logs.mkdir(parents=True)
            write(logs, arguments.lines)
            command = [sys.executable, matches.__file__, "--step", "ingest", "--folder", work]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            _, seconds, megabytes = json.loads(done.stdout.splitlines()[-1])
            (told,) = Path(work, "store/tables/matches/events").glob("*/000001.json")
            events = json.loads(told.read_bytes())["tables"]["events"]["rows"]
        usual = usual or seconds
        took = f"{seconds:6.2f} CPU s {megabytes:5.0f} MB  {seconds / usual:.2f}×"
        print(f"{name:14} {events:8} events {took}", flush=True)


def happened(lines: int) -> Iterator[tuple[int, datetime, str, float]]:
    """String, time, what, and seconds since the beep or how strong a hit was, for as many lines."""
    string, at, count = 0, START, 0
    while count < lines:
        string, beep, after = string + 1, at, 0.0
        found = [(beep, "beep", 0.0)]
        for shot in range(6):
            after += 0.6 + (string + shot * 7) % 13 / 10
            found.append((beep + timedelta(seconds=after), "shot", after))
            found.append((beep + timedelta(seconds=after + 0.25), "hit", 10 + (string * 31 + shot) % 977 / 10))
        found.append((beep + timedelta(seconds=after + 2), "stop", after))
        for when, what, number in found[: lines - count]:
            yield string, when, what, number
        count, at = count + len(found), at + timedelta(seconds=after + 20)


def json_lines(name: str, one: Callable[..., dict[str, object]]) -> Callable[[Path, int], None]:
    """Writes a log of JSON lines."""

    def write(folder: Path, lines: int) -> None:
        with (folder / name).open("w") as file:
            for seq, event in enumerate(happened(lines)):
                file.write(json.dumps(one(seq, *event), separators=(",", ":")) + "\n")

    return write


def main_log(seq: int, _string: int, when: datetime, what: str, _number: float) -> dict[str, object]:
    """A line of the bridge, as it writes it."""
    details = {"beep": "Timer Start Beep", "shot": "Shot detected", "stop": "Timer stop button pressed"}
    plate = seq % 4
    device = (
        ("Sensor", matches.SENSORS[plate], f"Plate {plate}") if what == "hit" else ("Timer", matches.TIMER, "Bay 1")
    )
    return {
        **{"timestamp_iso": f"{when:%Y-%m-%dT%H:%M:%S.%f}Z", "type": "String", "device": device[0]},
        **{"device_id": device[1], "device_position": device[2]},
        **{"details": details.get(what, "Sensor Impact detected"), "seq": seq},
    }


def backup(seq: int, string: int, when: datetime, what: str, number: float) -> dict[str, object]:
    """A line of the timer backup, which tells of hits as of shots."""
    kind = {"beep": "timer_start", "shot": "shot_detected", "hit": "shot_detected", "stop": "timer_stop"}[what]
    return {
        **{"timestamp": when.isoformat(), "device_id": matches.TIMER, "event_type": kind, "shot_state": "ACTIVE"},
        **{"current_shot": seq % 14, "total_shots": 12, "current_time": round(number, 2), "split_time": 0.61},
        **{"event_detail": f"Shot {seq % 14}", "raw_hex": "0103000001070073005700ea0001"},
        "session_id": f"session_20250914_{string % 9:06d}",
    }


def debug(seq: int, _string: int, when: datetime, _what: str, number: float) -> dict[str, object]:
    """A raw signal of a sensor."""
    data = {"impact_magnitude": number, "threshold": 5.0, "raw_values": [1, 2, seq], "timestamp_ns": seq * 1000}
    return {
        **{"timestamp_iso": f"{when:%Y-%m-%dT%H:%M:%S.%f}", "device": "Sensor", "device_id": matches.SENSORS[seq % 4]},
        **{"type": "bt50_raw", "data": data, "seq": seq},
    }


def modular(seq: int, _string: int, when: datetime, what: str, number: float) -> dict[str, object]:
    """A start or a hit as the modular bridge writes it."""
    hms = f"{when:%H:%M:%S}.{when.microsecond // 1000:03d}"
    if what == "beep":
        data = {"source": "AMG", "timestamp_ns": seq * 1000}
        return {"seq": seq, "type": "event", "ts_ms": seq * 1.5, "msg": "T0", "data": data, "hms": hms}
    data = {"sensor_id": matches.SENSORS[seq % 4], "peak_amplitude": number, "duration_ms": 12.5, "rms_amplitude": 3.25}
    more = {"t_rel_ms": 12.5, "plate": f"Plate {seq % 4}", "data": data, "hms": hms}
    return {"seq": seq, "type": "event", "ts_ms": seq * 1.5, "msg": "HIT", **more}


def exported(seq: int, string: int, when: datetime, what: str, number: float) -> dict[str, object]:
    """An event as Sheaf exports it, with its source."""
    source = main_log(seq, string, when, what, number)
    kinds = {"beep": "timer_start_beep", "shot": "shot_detected", "hit": "impact_detected", "stop": "timer_stop_button"}
    item = {key: value for key, value in source.items() if key != "type"}
    return {**item, "event_type": kinds[what], "session_id": None, "raw_data": source}


def csv_twin(folder: Path, lines: int) -> None:
    """The bridge's log in CSV."""
    with (folder / "bridge_main.csv").open("w", newline="") as file:
        file.write("Datetime,Type,Device,DeviceID,DevicePosition,Details\r\n")
        for seq, event in enumerate(happened(lines)):
            item, when = main_log(seq, *event), event[1]
            clock = f"{when:%m/%d/%y %I:%M:%S}.{when.microsecond // 10000:02d}{when:%p}".lower()
            row = [clock, *(item[key] for key in ("type", "device", "device_id", "device_position", "details"))]
            file.write(",".join(map(str, row)) + "\r\n")


def console(folder: Path, lines: int) -> None:
    """The console log."""
    shot = 0
    with (folder / "console.log").open("w") as file:
        for string, when, what, number in happened(lines):
            shot = 0 if what == "beep" else shot + (what == "shot")
            exact = f"{when:%H:%M:%S}.{when.microsecond // 1000:03d}"
            text = {
                "beep": f"Start Beep ------- String #{string} at ({exact})",
                "shot": f"String {string}, Shot #{shot} - Time 0.61s, Split 0.61s, First 1.20s",
                "hit": f"String {string}, Impact #{shot} - Time {number % 9:.2f}s, Shot->Impact 0.250s, Peak 31",
                "stop": f"Stop Beep for String #{string} at ({exact}) (total: {number:.2f}s)",
            }[what]
            file.write(f"[{when:%Y-%m-%d %H:%M:%S}] INFO: {text}\n")


def database(folder: Path, lines: int) -> None:
    """The runtime database's timer events."""
    columns = "ts_ns INTEGER, device_id TEXT, event_type TEXT, split_seconds REAL, split_cs INTEGER, raw_hex TEXT"
    kinds = {"beep": "START", "shot": "SHOT", "hit": "SHOT", "stop": "STOP"}
    with sqlite3.connect(folder / "runtime.db") as connection:
        connection.execute(f"CREATE TABLE timer_events (id INTEGER PRIMARY KEY, {columns})")
        connection.executemany(
            "INSERT INTO timer_events VALUES (?, ?, 'AMG_TIMER', ?, ?, ?, '0103000001070073005700ea0001')",
            (
                (seq, round(when.timestamp() * 1e6) * 1000, kinds[what], round(number, 2), round(number * 100))
                for seq, (_, when, what, number) in enumerate(happened(lines))
            ),
        )
    connection.close()


DIALECTS: dict[str, Callable[[Path, int], None]] = {
    "main log": json_lines("bridge_main_20250914.ndjson", main_log),
    "timer backup": json_lines("timer_events_backup.jsonl", backup),
    "debug log": json_lines("bridge_debug_20250914.ndjson", debug),
    "modular log": json_lines("bridge_20250914.ndjson", modular),
    "event export": json_lines("match_events.ndjson", exported),
    "csv twin": csv_twin,
    "console": console,
    "database": database,
}

if __name__ == "__main__":
    main()
