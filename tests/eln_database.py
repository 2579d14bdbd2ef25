"""The ELN's PostgreSQL database as the laboratory has it, filled from documents in the form of `batch.json`.

Here: tables, types, the renamed column, a read-only role. Not here: what is tested.
"""

from collections.abc import Iterator, Mapping
from typing import Any

_ROW = "id serial PRIMARY KEY, batch_id uuid NOT NULL REFERENCES batches ON DELETE CASCADE"
_AMOUNTS = (
    *("phosphoric_acid_ml", "calcium_sulfate_g", "potassium_sulfate_g"),
    *("magnesium_sulfate_g", "potassium_hydroxide_g", "glycerol_g"),
)
_MEDIA = ", ".join(f"{name} numeric(6,2), {name.rsplit('_', 1)[0]}_lot varchar(50)" for name in _AMOUNTS)
SCHEMA = f"""
CREATE TABLE batches (batch_id uuid PRIMARY KEY, batch_number int NOT NULL, phase char(1) NOT NULL,
  vessel_id varchar(50) NOT NULL, operator_id varchar(50) NOT NULL, status varchar(20) NOT NULL DEFAULT 'pending',
  created_at timestamptz NOT NULL DEFAULT now(), created_by varchar(50), inoculated_at timestamptz,
  completed_at timestamptz, notes text, UNIQUE (batch_number, phase));
CREATE TABLE calibrations ({_ROW}, probe_type varchar(20) NOT NULL, buffer_low_value numeric(6,2),
  buffer_low_lot varchar(50), buffer_high_value numeric(6,2), buffer_high_lot varchar(50), reading_low numeric(8,3),
  reading_high numeric(8,3), slope_percent numeric(5,2), response_time_sec int, drift_from_previous numeric(5,2),
  pass bool NOT NULL, control_active bool, calibrated_at timestamptz, calibrated_by varchar(50), notes text);
CREATE TABLE inoculations ({_ROW}, inoculum_source varchar(200), inoculum_od600 numeric(6,3) NOT NULL,
  dilution_factor numeric(6,2), inoculum_volume_ml numeric(6,2), microscopy_observations text,
  go_decision bool NOT NULL, inoculated_at timestamptz, inoculated_by varchar(50));
CREATE TABLE samples ({_ROW}, timepoint_hours numeric(6,2), sample_volume_ml numeric(6,2),
  od600_raw numeric(8,4) NOT NULL, od600_dilution_factor numeric(6,2), od600_calculated numeric(8,4),
  dcw_filter_id varchar(100), dcw_sample_volume_ml numeric(6,2), dcw_filter_wet_weight_g numeric(8,4),
  dcw_filter_dry_weight_g numeric(8,4), dcw_g_per_l numeric(8,3), contamination_detected bool,
  microscopy_observations text, supernatant_cryovial_id varchar(100), pellet_cryovial_id varchar(100),
  sampled_at timestamptz NOT NULL, sampled_by varchar(50));
CREATE TABLE failures ({_ROW}, deviation_level int NOT NULL, deviation_start_time timestamptz,
  deviation_end_time timestamptz, category varchar(50) NOT NULL, description text, root_cause text,
  corrective_action text, impact_assessment text, reported_at timestamptz, reported_by varchar(50),
  reviewed_by varchar(50), reviewed_at timestamptz);
CREATE TABLE batch_closures ({_ROW}, final_od600 numeric(8,4), total_runtime_hours numeric(6,2),
  glycerol_depletion_time_hours numeric(6,2), do_spike_observed bool, max_do_percent numeric(5,2),
  cumulative_base_addition_ml numeric(8,2), outcome varchar(50) NOT NULL, harvest_method varchar(50),
  closed_at timestamptz, closed_by varchar(50), approved_by varchar(50), notes text);
CREATE TABLE media_preparations ({_ROW}, recipe_name varchar(100), {_MEDIA}, final_volume_l numeric(4,2),
  autoclave_cycle varchar(50), sterility_verified bool, prepared_at timestamptz, prepared_by varchar(50), notes text);
CREATE TABLE process_changes ({_ROW}, timepoint_hours numeric(6,2), parameter varchar(50), old_value numeric(8,2),
  new_value numeric(8,2), reason text, supervisor_approval_id varchar(50), changed_at timestamptz,
  changed_by varchar(50));
CREATE TABLE users (user_id serial PRIMARY KEY, username text, password_hash text);
"""
SECTIONS = {
    "calibrations": "calibrations",
    "inoculation": "inoculations",
    "samples": "samples",
    "failures": "failures",
    "closure": "batch_closures",
    "media_preparation": "media_preparations",
    "process_changes": "process_changes",
}


def execute(dsn: str, *statements: str) -> None:
    """Run statements, each by itself."""
    import psycopg2

    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


def create_database(dsn: str, name: str, documents: list[dict[str, Any]]) -> str:
    """A database with the ELN's tables, a role `reader` that may only read them, and batches; returns its address."""
    execute(dsn, f"CREATE DATABASE {name}")
    own = dsn.replace("/postgres?", f"/{name}?")
    execute(own, SCHEMA, *(statement for document in documents for statement in inserts(document)))
    tables = ", ".join(["batches", *SECTIONS.values()])
    execute(
        own,
        "DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"GRANT SELECT ON {tables} TO reader",
    )
    return own


def as_reader(dsn: str) -> str:
    """The same database for the role that may only read."""
    return dsn.replace("//postgres:@", "//reader:@")


def inserts(document: Mapping[str, Any]) -> Iterator[str]:
    """The statements that put one batch into the database."""
    batch = document["batch"]
    yield _insert("batches", batch)
    for section, table in SECTIONS.items():
        rows = document.get(section) or []
        for row in rows if isinstance(rows, list) else [rows]:
            values = {"inoculum_source" if key == "cryo_vial_id" else key: value for key, value in row.items()}
            yield _insert(table, {**values, "batch_id": batch["batch_id"]})


def _insert(table: str, row: Mapping[str, Any]) -> str:
    columns = ", ".join(f'"{name}"' for name in row)
    return f"INSERT INTO {table} ({columns}) VALUES ({', '.join(map(_literal, row.values()))})"


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, bool | int | float) else "'" + str(value).replace("'", "''") + "'"
