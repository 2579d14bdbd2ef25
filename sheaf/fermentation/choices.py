"""What people ask of a batch before they export it: its facts, and the values that filters can name.

Not here: the models of filters and options (`writers/request`), nor how they are listed (`sheaf/choices.py`).
"""

from typing import Any

from sheaf.fermentation import schema
from sheaf.tables.pinned import Tables

TABLES = (schema.BATCHES, schema.SAMPLES, schema.SENSOR_FACTS, schema.ELIGIBILITY)


def facts(tables: Tables) -> dict[str, Any]:
    """How the batch is called where it comes from, where it stands, and how much there is of it."""
    columns = ["batch_id", "batch_number", "phase", "status", "vessel_id", "operator_id", "inoculated_at"]
    batch = tables.row(schema.BATCHES, columns)
    called = f"{batch['batch_number']}-{batch['phase']}"
    found = {"id": batch.pop("batch_id"), "called": called, **batch, "samples": tables.rows(schema.SAMPLES)}
    if schema.ELIGIBILITY in tables:
        verdict = tables.row(schema.ELIGIBILITY, ["eligible"])
        found["eligible"] = verdict["eligible"]
    return found


def values(tables: Tables) -> dict[str, dict[str, str]]:
    """The phase of the batch, and its sensors with what they measure in."""
    batch = tables.row(schema.BATCHES, ["phase"])
    found = {"phase": {batch["phase"]: ""}, "batches": {tables.partition: ""}}
    if schema.SENSOR_FACTS in tables:
        sensors = tables.read(schema.SENSOR_FACTS).to_pylist()
        found["sensors"] = {row["sensor"]: f"{row['points']} points" for row in sensors}
    return found
