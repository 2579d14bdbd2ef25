"""Each format holds what its specification shows, and its check notices what is broken."""

import csv
import json
import re
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from fermentation_inbox import (
    SETTINGS,
    STEADY,
    all_steps,
    at,
    export,
    hashes,
    put_batch,
    read,
    record,
    run,
    sample,
    sensor_csv,
    steady_points,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sheaf.errors import RefusedError, StaleError, UsageError, VerificationError
from sheaf.exports.publish import Published, Request, publish
from sheaf.exports.records import read_manifest
from sheaf.fermentation import schema
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.writers.samples_csv import COLUMNS
from sheaf.running import Made
from sheaf.store.store import Store
from sheaf.tables.generations import Generation

series = FERMENTATION.series_named
SLOW = FermentationSettings(rates_hz=dict.fromkeys(STEADY, 1 / 30))
SENSORS = sensor_csv(steady_points(range(-60, 20 * 3600 + 1, 30)))
GROWTH = ((0, 0.42, 0.14), (4, 2.1, 0.69), (8, 5.3, 1.75), (12, 12.5, 4.13), (16, 25.8, 8.51), (20, 42.3, 13.96))
GROWTH += ((24, 55.2, 18.22), (28, 58.1, 19.17))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def example() -> dict:
    """The specification's example: eight samples over 28 h."""

    def probe(name, *values, slope=None):
        keys = ("buffer_low_value", "buffer_high_value", "reading_low", "reading_high")
        return {"probe_type": name, "slope_percent": slope, "pass": True, **dict(zip(keys, values, strict=True))}

    return record(
        batch={"completed_at": at(28).isoformat(), "notes": "First batch."},
        calibrations=[probe("pH", 4.01, 7.0, 4.03, 6.98, slope=98.5), probe("DO", 0, 100, 0.1, 99.8)],
        samples=[
            sample(hours, od600_raw=od, od600_dilution_factor=1, od600_calculated=od, dcw_g_per_l=dcw)
            for hours, od, dcw in GROWTH
        ],
        failures=[
            {"deviation_level": level, "category": "Other", "description": "It happened.", "reported_by": "7"}
            for level in (1, 2, 3, 4)
        ],
        closure=record()["closure"] | {"total_runtime_hours": 28.0, "glycerol_depletion_time_hours": None},
    )


def text_of(folder: Path, pattern: str) -> str:
    (path,) = folder.glob(pattern)
    return path.read_bytes().decode("utf-8")


def test_the_example_batch_as_csv(store, tmp_path):
    run(store, put_batch(tmp_path / "batch-1", example()))
    written = export(store, "samples_csv", tmp_path / "out")
    lines = (tmp_path / "out" / "batch_1_phase_A_samples.csv").read_bytes().decode().split("\n")
    assert lines[0] == (
        "batch_id,batch_number,phase,timepoint_hours,od600_raw,od600_dilution_factor,od600_calculated,"
        "dcw_g_per_l,contamination_detected,sampled_at"
    )
    assert lines[1] == "batch-1,1,A,0.0,0.42,1.0,0.42,0.14,False,2025-10-21T10:30:00+00:00"
    assert lines[8] == "batch-1,1,A,28.0,58.1,1.0,58.1,19.17,False,2025-10-22T14:30:00+00:00"
    assert lines[9:] == [""]
    assert written.record_count == 8


def test_the_example_batch_as_report(store, tmp_path):
    run(store, put_batch(tmp_path / "batch-1", example()))
    export(store, "batch_report", tmp_path / "out")
    page, checks = text_of(tmp_path / "out", "batch_1_phase_A_report.md").split("## Checks\n")
    assert "- ❌ **sensor gaps:** Not checked: there are no sensor points." in checks
    assert page + checks[checks.index("---\n") :] == (
        """# Batch #1 - Phase A

**Vessel:** V-FR-01\x20\x20
**Operator:** tech01\x20\x20
**Status:** complete\x20\x20
**Created:** 2025-10-21 08:00\x20\x20
**Inoculated:** 2025-10-21 10:30\x20\x20
**Completed:** 2025-10-22 14:30 (28.0h runtime)\x20\x20

**Notes:** First batch.

---

## Pre-Run Calibrations

| Probe | Buffer Low | Buffer High | Reading Low | Reading High | Slope % | Pass |
|-------|-----------|-------------|-------------|--------------|---------|------|
| pH | 4.01 | 7.00 | 4.03 | 6.98 | 98.5% | ✅ PASS |
| DO | 0.0 | 100.0 | 0.1 | 99.8 | - | ✅ PASS |

## Inoculation

- **Cryo Vial:** CRYO-1
- **Inoculum OD₆₀₀:** 4.20
- **Volume:** 100.0 mL
- **GO Decision:** ✅ GO
- **Inoculated by:** tech01

## Sample Observations

| Time (h) | OD₆₀₀ (raw) | Dilution | OD₆₀₀ (calc) | DCW (g/L) | Contamination | Sampled By |
|----------|-------------|----------|--------------|-----------|---------------|------------|
| 0.0 | 0.420 | 1.0× | 0.42 | 0.14 | ✅ No | tech01 |
| 4.0 | 2.100 | 1.0× | 2.10 | 0.69 | ✅ No | tech01 |
| 8.0 | 5.300 | 1.0× | 5.30 | 1.75 | ✅ No | tech01 |
| 12.0 | 12.500 | 1.0× | 12.50 | 4.13 | ✅ No | tech01 |
| 16.0 | 25.800 | 1.0× | 25.80 | 8.51 | ✅ No | tech01 |
| 20.0 | 42.300 | 1.0× | 42.30 | 13.96 | ✅ No | tech01 |
| 24.0 | 55.200 | 1.0× | 55.20 | 18.22 | ✅ No | tech01 |
| 28.0 | 58.100 | 1.0× | 58.10 | 19.17 | ✅ No | tech01 |

**Total samples:** 8

## Failures & Deviations

### 🟡 Level 1 - Other

**Description:** It happened.
**Reported by:** 7

### 🟠 Level 2 - Other

**Description:** It happened.
**Reported by:** 7

### 🔴 Level 3 - Other

**Description:** It happened.
**Reported by:** 7

### ⚪ Level 4 - Other

**Description:** It happened.
**Reported by:** 7

## Batch Closure

- **Final OD₆₀₀:** 58.10
- **Total Runtime:** 28.0 hours
- **Glycerol Depletion:** -
- **DO Spike Observed:** Yes
- **Outcome:** Complete
- **Closed by:** tech01
- **Approved by:** eng01

---

*Exported: 2025-10-22 15:00 UTC*
"""
    )


def test_a_pending_batch_has_placeholders_header_and_full_schemas(store, tmp_path):
    pending = {
        "batch": {"batch_id": "batch-1", "batch_number": 2, "phase": "A", "status": "pending", "vessel_id": "V",
                  "operator_id": "admin", "created_at": "2025-10-21T03:35:00Z", "inoculated_at": None},
        "calibrations": [], "samples": [], "failures": [], "inoculation": None, "closure": None,
    }  # fmt: skip
    run(store, put_batch(tmp_path / "batch-1", pending))
    assert export(store, "samples_csv", tmp_path / "csv").warnings == (
        "The batch is pending: this export is provisional.",
    )
    assert text_of(tmp_path / "csv", "batch_2_phase_A_samples.csv") == ",".join(COLUMNS) + "\n"
    export(store, "batch_report", tmp_path / "report")
    page = text_of(tmp_path / "report", "*.md")
    for placeholder in ("*No calibration records*", "*Not yet inoculated*", "*No samples yet*"):
        assert f"\n\n{placeholder}\n\n" in page
    assert "Failures" not in page
    assert "Closure" not in page
    export(store, "batch_json", tmp_path / "json")
    document = json.loads(text_of(tmp_path / "json", "batch_2_phase_A.json"))
    assert (document["inoculation"], document["closure"], document["samples"]) == (None, None, [])
    export(store, "training_parquet", tmp_path / "parquet")
    table = pq.read_table(tmp_path / "parquet" / "training_samples.parquet")
    assert table.num_rows == 0
    assert {"pH", "DO", "temp", "OD", "CER", "OUR", "match_status"} <= set(table.schema.names)
    assert table.schema.field("OD").metadata[b"unit"] == b"AU"


def test_zero_is_written_and_only_null_is_blank(store, tmp_path):
    samples = [
        sample(0, od600_raw=0, od600_dilution_factor=1, dcw_g_per_l=0),
        sample(2, od600_dilution_factor=None, contamination_detected=None, sampled_by=None),
        sample(4, contamination_detected=True),
    ]
    run(store, put_batch(tmp_path / "batch-1", record(samples=samples)))
    export(store, "samples_csv", tmp_path / "csv")
    rows = list(csv.DictReader(text_of(tmp_path / "csv", "*.csv").splitlines()))
    assert [rows[0][name] for name in COLUMNS[3:9]] == ["0.0", "0.0", "1.0", "0.0", "0.0", "False"]
    assert [rows[1][name] for name in COLUMNS[5:9]] == ["", "", "", ""]
    export(store, "batch_report", tmp_path / "report")
    page = text_of(tmp_path / "report", "*.md")
    assert "| 0.0 | 0.000 | 1.0× | 0.00 | 0.00 | ✅ No | tech01 |" in page
    assert "| 2.0 | 0.500 | - | - | - | - | - |" in page
    assert "| 4.0 | 0.500 | 10.0× | 5.00 | - | ⚠️ YES | tech01 |" in page


def test_free_text_cannot_break_the_page(store, tmp_path):
    hostile = "a | b\n# Heading\n\n| x | <script> `code`"
    document = record(samples=[sample(0, sampled_by=hostile)], batch={"notes": hostile, "vessel_id": hostile})
    run(store, put_batch(tmp_path / "batch-1", document))
    export(store, "batch_report", tmp_path / "out")
    page = text_of(tmp_path / "out", "*.md")
    assert "\n# Heading" not in page
    escaped = r"a \| b # Heading \| x \| \<script> \`code\`"
    assert f"| 5.00 | - | ✅ No | {escaped} |" in page
    assert f"**Vessel:** {escaped}  \n" in page


def test_json_is_a_superset_that_reads_back_to_the_same_tables(store, tmp_path):
    document = record(
        media_preparation={"recipe_name": "FBS", "glycerol_g": 40, "autoclave_cycle": "A1"},
        process_changes=[{"parameter": "T", "old_value": 30, "new_value": 28, "timepoint_hours": 3}],
        failures=[{"deviation_level": 1, "category": "Other", "reported_at": at(3).isoformat()}],
    )
    document["samples"][3] |= {"dcw_sample_volume_ml": 5, "dcw_filter_wet_weight_g": 0.0912, "replicate": True}
    run(store, put_batch(tmp_path / "batch-1", document))
    export(store, "batch_json", tmp_path / "first")
    text = text_of(tmp_path / "first", "*.json")
    published = json.loads(text)
    assert list(published)[:3] == ["schema_version", "source", "batch"]
    assert published["inoculation"]["cryo_vial_id"] == published["inoculation"]["inoculum_source"] == "CRYO-1"
    assert published["samples"][0]["sampled_at"] == "2025-10-21T10:30:00+00:00"
    assert list(published["samples"][0])[:5] == [
        "timepoint_hours", "od600_raw", "od600_dilution_factor", "od600_calculated", "dcw_g_per_l",
    ]  # fmt: skip
    assert published["made_with"]["duplicate_sample_minutes"] == 10
    before = hashes(store, *schema.RECORDS)

    other = Store.open(str(tmp_path / "other"))
    report = read(other, put_batch(tmp_path / "again", text)).report
    assert hashes(other, *schema.RECORDS) == before
    assert not any("unknown" in warning for warning in report.warnings)


def test_samples_come_in_the_order_of_time(store, tmp_path):
    run(store, put_batch(tmp_path / "batch-1", record(samples=[sample(8), sample(-1), sample(4)])))
    export(store, "samples_csv", tmp_path / "csv")
    rows = csv.DictReader(text_of(tmp_path / "csv", "*.csv").splitlines())
    assert [row["timepoint_hours"] for row in rows] == ["-1.0", "4.0", "8.0"]


def test_superseded_samples_leave_the_csv_and_stay_in_json_and_report(store, tmp_path):
    run(store, put_batch(tmp_path / "batch-1", record(samples=[sample(4), sample(4.1), sample(8)])))
    written = export(store, "samples_csv", tmp_path / "csv")
    assert written.record_count == 2
    assert "1 superseded samples are left out" in written.warnings[0]
    assert export(store, "batch_report", tmp_path / "report").record_count == 3
    assert export(store, "batch_json", tmp_path / "json").counts["samples"] == 3


@pytest.mark.parametrize(
    ("filters", "hours"),
    [
        ({}, [0, 4, 8]),
        ({"min_hours": "4"}, [4, 8]),
        ({"max_hours": "4"}, [0, 4]),
        ({"has_dcw": "true"}, [4]),
        ({"has_dcw": "false"}, [0, 8]),
        ({"contamination_detected": "true"}, [8]),
        ({"contamination_detected": "false"}, [0, 4]),
    ],
)
def test_filters_choose_samples_alike_in_csv_and_parquet(store, tmp_path, filters, hours):
    samples = [sample(0), sample(4, dcw_g_per_l=0), sample(8, contamination_detected=True)]
    run(store, put_batch(tmp_path / "batch-1", record(samples=samples)))
    export(store, "samples_csv", tmp_path / "csv", filters=filters)
    rows = csv.DictReader(text_of(tmp_path / "csv", "*.csv").splitlines())
    assert [float(row["timepoint_hours"]) for row in rows] == hours
    export(store, "training_parquet", tmp_path / "parquet", filters=filters)
    table = pq.read_table(tmp_path / "parquet" / "training_samples.parquet")
    assert table.column("timepoint_hours").to_pylist() == hours


def test_unknown_filters_and_options_are_refused():
    with pytest.raises(UsageError, match="gas_balance"):
        series("training_parquet").options.of({"gas_balance": "other"}, "option")
    with pytest.raises(UsageError, match="known are min_hours, max_hours, contamination_detected"):
        series("samples_csv").filter.of({"phase": "A"}, "filter")


def test_the_gas_balance_is_chosen_and_recorded(store, tmp_path):
    document = record(samples=[sample(0, sampled_at=at(seconds=60).isoformat())])
    run(store, put_batch(tmp_path / "batch-1", document, sensor_csv(steady_points(range(-60, 60)))))
    for balance, our in (("inert", 60 / 22.414 * (0.2095 - 0.2 * 0.7901 / 0.79)), ("upstream", 0.0297619)):
        export(store, "training_parquet", tmp_path / balance, options={"gas_balance": balance})
        for name in ("training_samples.parquet", "_features_30s/features_30s.parquet"):
            table = pq.read_table(tmp_path / balance / name)
            assert table.column("OUR")[-1].as_py() == pytest.approx(our, rel=1e-4)
            assert table.schema.metadata[b"gas_balance"] == balance.encode()
            assert balance.encode() in table.schema.field("OUR").metadata[b"description"]
            assert "sensor dropout" in table.column("ineligible_reason")[0].as_py()
            assert table.column("eligible")[0].as_py() is False
            assert not [column for column in table.schema.names if column.endswith("_upstream")]


def test_times_in_parquet_are_utc(store, tmp_path):
    run(store, put_batch(tmp_path / "batch-1", record(), SENSORS), settings=SLOW)
    export(store, "training_parquet", tmp_path / "out")
    field = pq.read_schema(tmp_path / "out" / "_features_30s/features_30s.parquet").field("window_start")
    assert str(field.type) == "timestamp[us, tz=UTC]"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """An eligible batch, a short one, a contaminated one, a running one, and a hold-out."""
    folder = tmp_path_factory.mktemp("campaign")
    store = Store.open(str(folder / "store"))
    batches = {
        "good": record(batch={"batch_id": "good", "batch_number": 2}),
        "short": record(batch={"batch_id": "short"}, samples=[sample(0)]),
        "dirty": record(batch={"batch_id": "dirty", "batch_number": 4, "phase": "B"}),
        "running": record(batch={"batch_id": "running", "batch_number": 5, "status": "running"}),
        "holdout": record(batch={"batch_id": "holdout", "batch_number": 16, "phase": "C"}),
    }
    batches["dirty"]["samples"][2]["contamination_detected"] = True
    for name, document in batches.items():
        run(store, put_batch(folder / name, document, SENSORS), name, SLOW)
    return store


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One batch with sensors."""
    folder = tmp_path_factory.mktemp("finished")
    store = Store.open(str(folder / "store"))
    run(store, put_batch(folder / "batch-1", record(), SENSORS), settings=SLOW)
    return store


@pytest.mark.parametrize(
    ("filters", "options", "batches"),
    [
        ({}, {}, ["good"]),
        ({}, {"include": "all"}, ["short", "good", "dirty", "holdout"]),
        ({"phase": "B,C"}, {"include": "all"}, ["dirty", "holdout"]),
        ({"batches": ["good", "dirty"]}, {"include": "all"}, ["good", "dirty"]),
        ({"phase": "C"}, {}, []),
    ],
)
def test_campaign_takes_the_right_batches_in_order(campaign, tmp_path, filters, options, batches):
    written = export(campaign, "campaign_csv", tmp_path / "csv", filters=filters, options=options)
    rows = list(csv.DictReader(text_of(tmp_path / "csv", "all_batches_training_data.csv").splitlines()))
    assert list(dict.fromkeys(row["batch_id"] for row in rows)) == batches
    assert written.counts["batches"] == len(batches)
    export(campaign, "campaign_parquet", tmp_path / "parquet", filters=filters, options=options)
    found = duckdb.sql(f"FROM '{tmp_path}/parquet/all_batches_training_data.parquet' SELECT batch_id, split")
    assert found is not None
    found = found.fetchall()
    assert list(dict.fromkeys(batch for batch, _ in found)) == batches
    assert len(found) == len(rows)
    assert any("hold-out" in warning for warning in written.warnings) == ("holdout" in batches)
    assert any("No batch is eligible" in warning for warning in written.warnings) == (not batches)


def test_an_empty_campaign_keeps_header_and_schema(store, tmp_path):
    written = export(store, "campaign_csv", tmp_path / "csv")
    assert written.warnings[0].startswith("No batch is eligible")
    assert text_of(tmp_path / "csv", "*.csv") == ",".join(COLUMNS) + "\n"
    export(store, "campaign_parquet", tmp_path / "parquet")
    assert "Off_Gas_O2_slope" in pq.read_schema(tmp_path / "parquet" / "all_batches_training_data.parquet").names


def test_the_csv_depends_on_nothing_but_batch_and_samples(store, tmp_path):
    folder = put_batch(tmp_path / "batch-1", record())
    run(store, folder)
    names = series("samples_csv").tables
    before = hashes(store, *names)
    run(store, put_batch(tmp_path / "batch-1", record(), SENSORS), settings=SLOW)
    assert hashes(store, *names) == before


def test_equal_input_gives_equal_files(store, tmp_path):
    for attempt in ("a", "b"):
        other = Store.open(str(tmp_path / f"store-{attempt}"))
        run(other, put_batch(tmp_path / "batch-1", record(), SENSORS), settings=SLOW)
        for entry in FERMENTATION.series:
            export(other, entry.name, tmp_path / attempt / entry.name)
    first = {path.relative_to(tmp_path / "a"): path.read_bytes() for path in (tmp_path / "a").rglob("*.*")}
    second = {path.relative_to(tmp_path / "b"): path.read_bytes() for path in (tmp_path / "b").rglob("*.*")}
    assert len(first) == 14
    assert first == second


@pytest.mark.parametrize(
    ("name", "pattern", "old", "new"),
    [
        ("samples_csv", "*.csv", b"od600_raw", b"od_raw"),
        ("samples_csv", "*.csv", b"\nbatch-1", b"\n\nbatch-1"),
        ("samples_csv", "*.csv", b"+00:00", b""),
        ("samples_csv", "*.csv", b"False", b"0"),
        ("batch_report", "*.md", b"## Inoculation", b"## Nothing"),
        ("batch_report", "*.md", b"| 2.0 |", b"| 2 | .0 |"),
        ("batch_report", "*.md", b"*Exported", b"*"),
        ("batch_report", "*.png", b"\x89PNG", b"GIF"),
        ("batch_json", "*.json", b'"od600_raw"', b'"od"'),
        ("batch_json", "*.json", b"{", b"["),
        ("training_parquet", "training*.parquet", b"PAR1", b"XXXX"),
        ("campaign_parquet", "*.parquet", b"PAR1", b"XXXX"),
    ],
)
def test_verification_notices_what_is_broken(finished, tmp_path, name, pattern, old, new):
    written = export(finished, name, tmp_path / "out")
    path = next(iter(sorted((tmp_path / "out").glob(pattern))))
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(VerificationError, match=r"\w"):
        series(name).verify(tmp_path / "out", written)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(min_size=1, max_size=40))
def test_any_free_text_keeps_the_table_whole(tmp_path_factory, text):
    work = tmp_path_factory.mktemp("batch")
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    document = record(samples=[sample(0, sampled_by=text)], batch={"notes": text})
    store = Store.open(str(work / "store"))
    run(store, put_batch(work / "batch-1", document))
    export(store, "batch_report", work / "out")
    page = text_of(work / "out", "*.md")
    assert len(re.findall(r"^\| 0\.0 \|.*\|$", page, re.MULTILINE)) == 1


def published(store: Store, name: str, settings: FermentationSettings = SETTINGS) -> Published:
    entry = series(name)
    request = Request("campaign" if entry.campaign else "batch-1")
    return publish(store, FERMENTATION, entry, request, settings)


def files_of(store: Store, done: Published) -> Path:
    return Path(store.url.removeprefix("file://")) / done.export.path


def test_the_page_names_the_constants_of_its_plots(store, tmp_path):
    folder = put_batch(tmp_path / "batch-1", record(), sensor_csv(steady_points(range(-60, 60))))
    run(store, folder, settings=FermentationSettings(vessel_volume_l=1.8))
    export(store, "batch_report", tmp_path / "out")
    page = text_of(tmp_path / "out", "*.md")
    section = page.split("## Constants\n\n")[1].split("\n\n## Checks")[0].splitlines()
    assert section[:3] == ["- liquid at inoculation 1.8 L", "- molar volume 22.414 L/mol", "- gas flows are standard"]
    assert section[-1] == "- length of the µ regression 20 min"


def test_a_setting_that_was_changed_reaches_the_export_or_stops_it(store, tmp_path):
    """The case of two batches in one campaign whose OUR differs by a factor of two."""
    folder = put_batch(tmp_path / "batch-1", record(), SENSORS_WITH_GAS)
    all_steps(store, folder)
    first = published(store, "training_parquet")
    larger = FermentationSettings(vessel_volume_l=1.8)
    with pytest.raises(StaleError, match=r"features has to be made again \(vessel_volume_l was empty and is 1\.8\)"):
        published(store, "training_parquet", larger)
    with pytest.raises(StaleError, match="vessel_volume_l"):
        published(store, "campaign_parquet", larger)
    made = all_steps(store, folder, settings=larger)
    assert [one.unchanged for one in made.values()] == [True, False, False], "the records do not depend on it"
    second = published(store, "training_parquet", larger)
    assert not second.unchanged
    ours = []
    for done, volume in ((first, None), (second, 1.8)):
        for name in ("training_samples.parquet", "_features_30s/features_30s.parquet"):
            table = pq.read_table(files_of(store, done) / name)
            assert json.loads(table.schema.metadata[b"sheaf:made_with"])["vessel_volume_l"] == volume
        ours.append(table.column("OUR").drop_null()[0].as_py())
        assert read_manifest(store, done.export).made_with["vessel_volume_l"] == volume
    assert ours[0] == pytest.approx(1.8 * ours[1]), "the plan has 1 L"


SENSORS_WITH_GAS = sensor_csv(steady_points(range(-60, 7200, 5), silent=range(100, 105)))
CHANGED = [  # step, setting, another value of it
    ("records", "duplicate_sample_minutes", 0.0),
    ("records", "sensor_hours", (-24.0, 1.0)),
    ("features", "rates_hz", {"pH": 0.2}),
    ("features", "vessel_volume_l", 1.8),
    ("features", "molar_volume_l", 24.0),
    ("features", "reference_pressure_bar", 1.0),
    ("features", "inlet_o2_percent", 20.9),
    ("features", "inlet_co2_percent", 0.05),
    ("features", "saturation_mg_per_l", 7.0),
    ("features", "biomass_g_per_l_per_od", 0.3),
    ("features", "min_our_for_rq", 1.0),
    ("features", "mu_minutes", 5.0),
    ("features", "min_completeness", 0.1),
    ("features", "gap_s", 4e5),
    ("features", "plan", {"constants": {"gas_flow": "actual"}}),
    ("features", "hold_s", {"pH": 60.0}),
    ("features", "volume", "weight"),
    ("training_samples", "plan", {"needed": ["pH"]}),
    ("training_samples", "hold_s", {"pH": 1e6}),
    ("training_samples", "match_tolerance_s", 0.0),
    ("training_samples", "match_nearest_s", 0.0),
    ("training_samples", "match_look_ahead", True),
    ("training_samples", "max_dropout", 0.9),
    ("training_samples", "rates_hz", {"pH": 1.0}),
    ("training_samples", "gap_s", 4e5),
]
ELSEWHERE = {  # the tests of sensor files and records change these through the same steps
    ("records", name)
    for name in (
        *("naive_timezone", "line_protocol_precision", "units", "aliases"),
        *("plan", "date_order", "vessels", "ignore_tags"),
    )
} | {("features", "offgas_baseline"), ("features", "match_nearest_s")}


def test_every_setting_that_is_no_connection_belongs_to_a_step():
    declared = {(step.name, name) for step in FERMENTATION.steps for name in step.settings}
    assert declared == {(step, name) for step, name, _ in CHANGED} | ELSEWHERE
    assert {name for _, name in declared} == set(FermentationSettings.model_fields) - {"sources", "sensors"}


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Made]]:
    """A batch on which every setting has an effect, made with the defaults."""
    work = tmp_path_factory.mktemp("settled")
    moments = [(0, -100), (0, 0), (0, 300), (0, 7240)]
    samples = [sample(0, sampled_at=at(hours, seconds).isoformat()) for hours, seconds in moments]
    samples[0]["replicate"] = True
    folder = put_batch(work / "batch-1", record(samples=samples), SENSORS_WITH_GAS)
    return folder, all_steps(Store.open(str(work / "store")), folder)


@pytest.mark.parametrize(("step", "name", "value"), CHANGED)
def test_a_setting_has_its_effect_in_the_step_that_declares_it(settled, tmp_path, step, name, value):
    """One that a step reads without declaring it has its default there, whatever is configured."""
    folder, made = settled
    changed = all_steps(Store.open(str(tmp_path / "store")), folder, settings=FermentationSettings(**{name: value}))

    def found(made: Generation) -> tuple[object, ...]:
        return made.data_version, made.counts, made.checks

    assert found(changed[step].generation) != found(made[step].generation)


def test_a_refused_delivery_stops_the_exports_with_its_reason(store, tmp_path):
    folder = put_batch(tmp_path / "batch-1", record(), SENSORS)
    all_steps(store, folder, settings=SLOW)
    first = published(store, "samples_csv", SLOW)
    (folder / "batch.json").write_text("{")
    assert list(all_steps(store, folder, settings=SLOW)) == ["records"]
    for entry in FERMENTATION.series:
        if not entry.campaign:
            with pytest.raises(RefusedError, match=r"batch-1: batch\.json is not valid JSON"):
                published(store, entry.name, SLOW)
    assert published(store, "campaign_csv", SLOW).manifest.warnings == [
        "batch-1: its newest delivery was refused, so its last good records are used."
    ]
    put_batch(tmp_path / "batch-1", record())
    all_steps(store, folder, settings=SLOW)
    again = published(store, "samples_csv", SLOW)
    assert (again.unchanged, again.export) == (True, first.export)


def test_an_export_is_made_of_one_state_of_the_batch(store, tmp_path):
    """A batch whose inoculation was corrected, of which only the records were read again."""
    document = record()
    folder = put_batch(tmp_path / "batch-1", document, SENSORS)
    all_steps(store, folder, settings=SLOW)
    published(store, "training_parquet", SLOW)
    document["batch"]["inoculated_at"] = at(2).isoformat()
    read(store, put_batch(tmp_path / "batch-1", document), settings=SLOW)
    for name in ("training_parquet", "batch_report", "campaign_parquet"):
        with pytest.raises(StaleError, match="an earlier state of batches"):
            published(store, name, SLOW)
    rows = csv.DictReader(text_of(files_of(store, published(store, "samples_csv", SLOW)), "*.csv").splitlines())
    assert next(rows)["timepoint_hours"] == "-2.0"
    all_steps(store, folder, settings=SLOW)
    table = pq.read_table(files_of(store, published(store, "training_parquet", SLOW)) / "training_samples.parquet")
    assert table.column("elapsed_hours").to_pylist()[0] == -2


@pytest.mark.case("front-door/rejects-not-in-export")
def test_the_manifest_tells_what_the_records_were_made_of(store, tmp_path):
    samples = [*record()["samples"], sample(20.2, od600_raw="n/a")]
    all_steps(store, put_batch(tmp_path / "batch-1", record(samples=samples), SENSORS), settings=SLOW)
    manifest = published(store, "training_parquet", SLOW).manifest
    (origin,) = manifest.made_from
    assert (origin.source, origin.generations) == ("inbox", {"records": 1, "features": 1, "training_samples": 1})
    assert manifest.made_with["rates_hz"] == SLOW.rates_hz
    (account,) = [account for account in manifest.account["batch-1"] if account.table == "samples"]
    assert (account.seen, account.used, account.rejected) == (9, 8, 1)
    assert manifest.warnings[-1] == "1 of 9 samples rejected: not a number (1): sheaf rejects fermentation batch-1"
    assert {problem.check for problem in manifest.problems} >= {"rejects", "calibration"}
