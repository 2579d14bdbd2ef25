"""Small logs for the tests of the matches domain, written record by record."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from running import current, run_steps

from sheaf.matches import schema
from sheaf.matches.domain import MATCHES
from sheaf.matches.settings import MatchesSettings
from sheaf.matches.sources.inbox import MatchInbox
from sheaf.running import How, Made
from sheaf.sources import Sources
from sheaf.store.store import Store
from sheaf.tables.accounts import Account, Kind
from sheaf.tables.generations import Generation, Verdict
from sheaf.tables.pinned import Tables
from sheaf.tables.table import Table

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


@dataclass(frozen=True)
class Read:
    """What came of reading and analysing a match."""

    made: dict[str, Made]

    @property
    def counts(self) -> dict[str, Any]:
        """The counts of all its steps."""
        return {name: count for made in self.made.values() for name, count in made.report.counts.items()}

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of all its steps."""
        return tuple(warning for made in self.made.values() for warning in made.report.warnings)

    @property
    def plots(self) -> dict[str, bytes]:
        """The plots of all its steps."""
        return {title: plot for made in self.made.values() for title, plot in made.report.plots().items()}

    @property
    def checks(self) -> dict[str, Verdict]:
        """The verdicts of all its steps."""
        return {name: found for made in self.made.values() for name, found in made.generation.checks.items()}

    @property
    def events(self) -> Generation:
        """The generation of what was read."""
        return self.made["events"].generation

    @property
    def refused(self) -> str | None:
        """Why it was refused; None where it was not."""
        return next((made.generation.refused for made in self.made.values() if made.generation.refused), None)

    def account(self, table: str = "events") -> Account:
        """What became of the rows of a table."""
        return next(account for account in self.events.account if account.table == table)

    def codes(self, table: str = "events", kind: Kind = Kind.REJECT) -> dict[str, int]:
        """How many rows were rejected, changed or faulty, by code."""
        accounts = [account for account in self.events.account if account.table == table]
        return {found.code: found.rows for account in accounts for found in account.reasons if found.kind is kind}


class Match:
    """A match folder and a store; `read` does all its steps."""

    def __init__(self, root: Path, name: str = "m1") -> None:
        self.name = name
        self.inbox = root / "inbox"
        self.folder = self.inbox / "matches" / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.store = Store.open(str(root / "store"))

    def log(self, *records: dict[str, Any], name: str = "logs/main.ndjson") -> Path:
        """Write a log of these records."""
        return put(self.folder, name, ndjson(*records))

    def sources(self, settings: MatchesSettings) -> Sources:
        """The inbox this match lies in."""
        return Sources({"matches": (MatchInbox(self.inbox, settings),)})

    def read(
        self, *, accept_loss: bool = False, again: bool = False, only: tuple[str, ...] | None = None, **settings: Any
    ) -> Read:
        """Do the steps, all or some, as long as none is refused."""
        own = MatchesSettings(**settings)
        how = How(accept_loss=accept_loss, again=again)
        return Read(run_steps(self.store, MATCHES, self.name, own, self.sources(own), only=only, how=how))

    @property
    def tables(self) -> Tables:
        """Its last good tables."""
        return current(self.store, MATCHES, self.name)

    def rows(self, table: Table) -> list[dict[str, Any]]:
        """What a table of the match holds."""
        return self.tables.read(table).to_pylist()

    def rejects(self) -> list[dict[str, Any]]:
        """What was not used, changed or faulty."""
        return [row for batch in self.tables.rejects("events") for row in batch.to_pylist()]

    def types(self) -> list[str]:
        """Canonical type of each event."""
        return [event["event_type"] for event in self.rows(schema.EVENTS)]


def accounted(read: Read) -> bool:
    """Whether every line and every file is accounted for, in the counts as in the account."""
    counts, events = read.counts, read.account()
    parts = ("events", "rejected", "pending", "duplicates", "blank", "skipped", "outside")
    left_out = {name: counts[name] for name in parts[2:] if counts[name]}
    return (
        counts["lines_read"] == sum(counts[name] for name in parts)
        and (events.seen, events.used, events.rejected) == tuple(counts[name] for name in ("lines_read", *parts[:2]))
        and events.left_out == left_out
        and all(account.adds_up for account in read.events.account)
        and read.account("sources").seen == counts["files"]
    )
