"""Long tables of sensors as columns, in the order of the plan: `<sensor>_mean` and so on."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from sheaf.tables.table import arrow_field, column

_BEFORE = "completeness"
"""The sensors' columns stand before this one."""


def with_sensors(data: pa.Table, long: pa.Table, key: str, plan: Mapping[str, Any]) -> pa.Table:
    """A table with columns for every sensor of the plan, also for those that the batch lacks.

    Args:
        data: one row for each value of `key`.
        long: columns `sensor`, `key` and what is known of it.
        key: what a row of both is about.
        plan: the plan as the tables were made with it.
    """
    import pyarrow.compute as pc

    names = long.column("sensor").combine_chunks()
    values = [name for name in long.schema.names if name not in ("sensor", key)]
    columns, fields = [*data.columns], [*data.schema]
    at = data.schema.get_field_index(_BEFORE)
    for sensor, facts in plan["sensors"].items():
        own = long.filter(pc.call_function("equal", [names, pa.scalar(sensor)]))
        rows = pc.call_function("index_in", [data.column(key)], pc.SetLookupOptions(own.column(key).combine_chunks()))
        for name in values:
            full = f"{sensor}_{name}"
            if full in data.schema.names:
                continue
            found = own.column(name).take(rows.combine_chunks() if isinstance(rows, pa.ChunkedArray) else rows)
            found = pc.call_function("coalesce", [found, pa.scalar(0, found.type)]) if name == "count" else found
            notes = {k.decode(): v.decode() for k, v in (long.schema.field(name).metadata or {}).items()}
            unit = (notes.get("unit") or "").replace("unit of the sensor", facts["unit"]) or None
            field = arrow_field(column(full, found.type, f"{sensor}: {notes.get('description', '')}", unit))
            columns.insert(at, found)
            fields.insert(at, field)
            at += 1
    return pa.table(columns, pa.schema(fields, data.schema.metadata))
