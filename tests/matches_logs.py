"""Small logs for the tests of the matches domain, written record by record."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from sheaf import tables
from sheaf.matches import schema
from sheaf.matches.analysis import build_runs
from sheaf.matches.ingest import ingest
from sheaf.matches.settings import MatchesSettings
from sheaf.matches.shots import build_shots
from sheaf.report import Report
from sheaf.store import Store
from sheaf.tables import Table

TIMER = "60:09:C3:1F:DC:1A"
PLATE_1 = "F8:FE:92:31:12:E3"
PLATE_2 = "EA:18:3D:6D:BA:E5"
START = datetime(2025, 9, 14, 10, 0, 0, tzinfo=UTC)


def line(seconds: float, details: str, device: str = "Timer", device_id: str = TIMER, **more: Any) -> dict[str, Any]:
    """One record of the bridge's main log, `seconds` after ten o'clock."""
    when = (START + timedelta(seconds=seconds)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    kind = "StringSummary" if details.startswith("String Time") else "String"
    position = "Plate 1" if device == "Sensor" else "Bay 1"
    record = {"timestamp_iso": when, "type": kind, "device": device, "device_id": device_id}
    return record | {"device_position": position, "details": details} | more


def button(seconds: float, **more: Any) -> dict[str, Any]:
    return line(seconds, "Timer Start Button pressed, Random countdown: 2.25s", **more)


def beep(seconds: float, **more: Any) -> dict[str, Any]:
    return line(seconds, "Timer Start Beep", **more)


def shot(seconds: float, **more: Any) -> dict[str, Any]:
    return line(seconds, "Shot detected", **more)


def hit(seconds: float, sensor: str = PLATE_1, **more: Any) -> dict[str, Any]:
    return line(seconds, "Sensor Impact detected", "Sensor", sensor, **more)


def stop(seconds: float, **more: Any) -> dict[str, Any]:
    return line(seconds, "Timer stop button pressed", **more)


def summary(seconds: float, time: float, shots: int, impacts: int, **more: Any) -> dict[str, Any]:
    details = f"String Time: {time:.2f}s; Shots Detected: {shots}; Impacts Detected: {impacts}"
    return line(seconds, details, "Bridge", "MCU1", **more)


def string(start: float, shots: int = 3, delay: float = 0.5, gap: float = 2.0) -> list[dict[str, Any]]:
    """A whole string: every shot hits after `delay` seconds."""
    records = [button(start), beep(start + 2.25)]
    at = start + 4
    for _ in range(shots):
        records += [shot(at), hit(at + delay)]
        at += gap
    end = at + 1
    return [*records, stop(end), summary(end + 0.01, end + 0.01 - start, shots, shots)]


def ndjson(*records: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(record) + b"\n" for record in records)


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


class Match:
    """A match folder and a store; `read` ingests and analyses."""

    def __init__(self, root: Path, name: str = "m1") -> None:
        self.name = name
        self.folder = root / "inbox" / "matches" / name
        self.folder.mkdir(parents=True)
        self.store = Store.open(str(root / "store"))

    def log(self, *records: dict[str, Any], name: str = "logs/main.ndjson") -> Path:
        """Write a log of these records."""
        return put(self.folder, name, ndjson(*records))

    def read(self, **settings: Any) -> Report:
        """Ingest and analyse; the counts of both in one report."""
        first = ingest(self.folder, self.store, self.name, MatchesSettings(**settings))
        if first.counts["blocked"]:
            return first
        second = build_runs(self.store, self.name)
        third = build_shots(self.store, self.name)
        return Report(
            first.tables + second.tables + third.tables,
            {**first.counts, **second.counts, **third.counts},
            first.rejects,
            first.warnings + second.warnings,
            second.preview,
            third.plots,
        )

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """What a table of the match holds."""
        return tables.read(self.store, table, self.name).to_pylist()

    def types(self) -> list[str]:
        """Canonical type of each event."""
        return [event["event_type"] for event in self.rows(schema.EVENTS)]


def accounted(counts: Any) -> bool:
    """Whether every line is accounted for."""
    parts = ("events", "rejected", "pending", "duplicates", "blank", "skipped", "outside")
    return counts["lines_read"] == sum(counts[name] for name in parts)
