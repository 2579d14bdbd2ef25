"""What people ask of a match before they export it: its facts, and the values that filters can name.

Not here: the models of filters and options, which stand beside their writers, nor how they are listed
(`sheaf/choices.py`).
"""

from collections import Counter
from typing import Any

from sheaf.matches import schema
from sheaf.tables.pinned import Tables

TABLES = (schema.MATCH, schema.EVENTS, schema.RUNS, schema.TOTALS, schema.SENSORS)


def facts(tables: Tables) -> dict[str, Any]:
    """The match's name and time, and how many runs, shots and impacts it has."""
    match = tables.row(schema.MATCH, ["name", "first_time", "last_time", "events"])
    if schema.TOTALS in tables:
        totals = tables.row(schema.TOTALS, ["runs", "shots", "impacts"])
        match |= totals
    return match


def values(tables: Tables) -> dict[str, dict[str, str]]:
    """The types of events there are, and the sensors with their targets."""
    types: Counter[str] = Counter()
    for batch in tables.batches(schema.EVENTS, ["event_type"]):
        types.update(batch.column("event_type").to_pylist())
    found = {"events": {name: f"{count} events" for name, count in types.most_common()}}
    if schema.SENSORS in tables:
        sensors = tables.read(schema.SENSORS, ["sensor", "target"]).to_pylist()
        found["sensors"] = {row["sensor"]: row["target"] or "" for row in sensors if row["sensor"]}
    return found
