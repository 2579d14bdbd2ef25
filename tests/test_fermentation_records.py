"""batch.json, in whatever shape it comes, becomes validated rows or a clear refusal."""

import json
import re
from pathlib import Path

import pytest
from fermentation_inbox import SETTINGS, T0, at, put_batch, record, sample
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sheaf import tables
from sheaf.errors import InputError
from sheaf.fermentation import schema
from sheaf.fermentation.gaps import calibration_problems
from sheaf.fermentation.ingest import ingest
from sheaf.fermentation.settings import FermentationSettings
from sheaf.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def read(store: Store, table: tables.Table) -> list[dict]:
    return tables.read(store, table, "batch-1").to_pylist()


def ingested(store: Store, tmp_path: Path, document, settings: FermentationSettings = SETTINGS):
    return ingest(put_batch(tmp_path / "batch-1", document), store, "batch-1", settings)


def test_the_three_shapes_of_a_batch_give_the_same_rows(store, tmp_path):
    plain = record()
    as_text = json.loads(json.dumps(plain), parse_float=str)
    admin = {key: as_text[key] for key in ("batch", "calibrations", "samples", "failures", "closure")}
    admin |= {"inoculation": None, "exportedAt": "2025-10-22T15:00:00.000Z"}
    renamed = {**plain, "inoculation": {**plain["inoculation"], "inoculum_source": "CRYO-1"}}
    del renamed["inoculation"]["cryo_vial_id"]
    superset = {**renamed, "schema_version": "1.0", "source": {"system": "bioprocess-twin", "version": None}}

    ingested(store, tmp_path, plain)
    expected = {table.name: read(store, table) for table in schema.RECORDS}
    assert expected["inoculations"][0]["inoculum_source"] == "CRYO-1"
    for document, without in ((admin, "inoculations"), (superset, None)):
        report = ingested(store, tmp_path, document)
        assert report.counts["rejects"] == 0
        found = {table.name: read(store, table) for table in schema.RECORDS if table.name != without}
        assert found == {name: rows for name, rows in expected.items() if name != without}


def test_missing_folder_or_file_is_an_input_error(store, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        ingest(tmp_path / "nowhere", store, "batch-1", SETTINGS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no batch\.json"):
        ingest(tmp_path / "empty", store, "batch-1", SETTINGS)


@pytest.mark.parametrize(
    ("document", "reason", "line"),
    [
        ('{"batch": {\n"batch_number": 1,,\n}}', "not valid JSON", 2),
        ("[]", "must hold one JSON object", None),
        ('{"samples": []}', "'batch'", None),
        ('{"batch": {}, "x": NaN}', "NaN is not JSON", None),
        ("[" * 100_000, "nested too deeply", None),
        (record(batch={"inoculated_at": "2025-10-21T10:30:00"}), "inoculated_at .* has no time zone", None),
        (record(batch={"inoculated_at": 1761042600}), "inoculated_at .* is not a time", None),
        (record(batch={"batch_number": "../../etc"}), "batch_number .* is not a number", None),
        (record(batch={"phase": "A/../B"}), "phase .* is not one of A, B, C", None),
        (record(batch={"status": "setup"}), "status .* is not one of", None),
        (record(samples={}), "'samples' must be a list", None),
        (record(inoculation={"inoculum_od600": 1, "go_decision": True}), "neither 'inoculum_source' nor", None),
    ],
)
def test_a_file_that_cannot_be_used_blocks_the_batch_and_leaves_its_tables(store, tmp_path, document, reason, line):
    ingested(store, tmp_path, record())
    before = {table.name: tables.version(store, table, "batch-1") for table in schema.RECORDS}

    report = ingested(store, tmp_path, document)

    assert report.counts["blocked"] == 1
    (row,) = read(store, schema.REJECTS)
    assert row["blocking"]
    assert row["file"] == "batch.json"
    assert row["line"] == line
    assert re.search(reason, row["reason"])
    assert {table.name: tables.version(store, table, "batch-1") for table in schema.RECORDS} == before
    with pytest.raises(InputError, match=r"batch\.json"):
        tables.refuse_if_blocked(store, schema.REJECTS, "batch-1")


def test_bytes_that_are_no_text_block_the_batch(store, tmp_path):
    folder = put_batch(tmp_path / "batch-1", "{}")
    (folder / "batch.json").write_bytes(b'{"batch": "\xff"}')
    assert "not UTF-8" in next(iter(ingest(folder, store, "batch-1", SETTINGS).rejects))


def test_one_bad_sample_is_rejected_and_the_others_go_on(store, tmp_path):
    bad = [
        sample(1, od600_raw=None),
        sample(1, od600_raw="n/a"),
        sample(1, od600_raw=-0.1),
        sample(1, od600_raw=12345.0),
        sample(1, od600_dilution_factor=0.5),
        sample(1, sampled_at="2025-10-21T11:30:00"),
        sample(1, sampled_at="yesterday"),
        sample(1, sampled_by="\ud800"),
        sample(1, batch_id="another"),
        "no object",
    ]
    report = ingested(store, tmp_path, record(samples=[sample(0), *bad, sample(2)]))
    assert len(read(store, schema.SAMPLES)) == 2
    rejects = read(store, schema.REJECTS)
    assert len(rejects) == len(bad)
    assert rejects[0]["reason"] == "od600_raw is missing."
    assert rejects[0]["primary_key"] == "samples[2]"
    assert "has no time zone" in rejects[5]["reason"]
    assert report.counts["records_seen"] == report.counts["records"] + len(bad)


def test_a_configured_zone_reads_naive_times(store, tmp_path):
    zone = FermentationSettings(naive_timezone="Pacific/Auckland")
    ingested(store, tmp_path, record(batch={"inoculated_at": "2025-10-21T23:30:00"}), zone)
    assert read(store, schema.BATCHES)[0]["inoculated_at"] == T0
    twice = record(samples=[sample(0, sampled_at="2025-04-06T02:30:00")])  # this hour happened twice
    assert "clock change" in next(iter(ingested(store, tmp_path, twice, zone).rejects))


def test_folder_name_stands_in_for_a_missing_batch_id(store, tmp_path):
    ingested(store, tmp_path, record(batch={"batch_id": None}))
    assert read(store, schema.BATCHES)[0]["batch_id"] == "batch-1"


def test_unknown_keys_are_ignored_with_a_warning(store, tmp_path):
    report = ingested(store, tmp_path, record(samples=[sample(0, colour="red")], extra=1))
    assert any("'colour'" in warning for warning in report.warnings)
    assert any("'extra'" in warning for warning in report.warnings)


def test_mac_roman_mojibake_is_repaired_and_real_text_is_not_touched(store, tmp_path):
    notes = "OD‚ÇÜ‚ÇÄ‚ÇÄ √ó 2, naïve Größe – ½"
    report = ingested(store, tmp_path, record(batch={"notes": notes}))
    assert read(store, schema.BATCHES)[0]["notes"] == "OD₆₀₀ × 2, naïve Größe – ½"
    assert any("Mac Roman" in warning for warning in report.warnings)


def test_zero_is_a_value(store, tmp_path):
    zero = sample(0, od600_raw=0, od600_dilution_factor=1, dcw_g_per_l=0, timepoint_hours=0)
    ingested(store, tmp_path, record(samples=[zero]))
    row = read(store, schema.SAMPLES)[0]
    assert [row[key] for key in ("od600_raw", "od600_calculated", "dcw_g_per_l", "timepoint_hours")] == [0, 0, 0, 0]


def test_computed_columns_round_half_up_and_replace_stale_values(store, tmp_path):
    stale = sample(4, timepoint_hours=3.5, od600_calculated=99, od600_raw="0.1", od600_dilution_factor="3")
    half = sample(0, sampled_at=at(4.005).isoformat())
    report = ingested(store, tmp_path, record(samples=[half, stale]), FermentationSettings(duplicate_sample_minutes=0))
    first, second = read(store, schema.SAMPLES)
    assert (first["timepoint_hours"], first["od600_calculated"], first["flags"]) == (
        4.0,
        0.3,
        "timepoint_stale od600_stale",
    )
    assert second["timepoint_hours"] == 4.01
    assert second["elapsed_hours"] == pytest.approx(4.005, abs=1e-9)
    assert sum("the latter is used" in warning for warning in report.warnings) == 2


@pytest.mark.parametrize(
    ("volume", "tare", "dry", "stored", "expected", "flags"),
    [
        (5, 0.0912, 0.0947, None, 0.7, None),
        (5, 0.0912, 0.0947, 0.5, 0.7, "dcw_stale"),
        (0, 0.0912, 0.0947, 0.5, None, "dcw_impossible"),
        (5, 0.0947, 0.0947, 0.5, None, "dcw_impossible"),
        (5, None, 0.0947, 0.5, 0.5, None),
        (None, None, None, -0.1, None, "dcw_impossible"),
        (None, None, None, None, None, None),
    ],
)
def test_dry_cell_weight_follows_from_its_weights_and_is_never_invented(
    store, tmp_path, volume, tare, dry, stored, expected, flags
):
    weights = {"dcw_sample_volume_ml": volume, "dcw_filter_wet_weight_g": tare, "dcw_filter_dry_weight_g": dry}
    ingested(store, tmp_path, record(samples=[sample(0, dcw_g_per_l=stored, **weights)]))
    (row,) = read(store, schema.SAMPLES)
    assert (row["dcw_g_per_l"], row["flags"]) == (expected, flags)
    assert row["dcw_filter_dry_weight_g"] == dry


def test_a_later_row_supersedes_an_earlier_one_of_the_same_moment(store, tmp_path):
    samples = [sample(4, id=7), sample(4.1, id=9), sample(8, id=3), sample(8.1, id=4, replicate=True)]
    ingested(store, tmp_path, record(samples=samples))
    assert {row["id"]: row["superseded_by"] for row in read(store, schema.SAMPLES)} == {7: 9, 9: None, 3: None, 4: None}


def test_phase_c_keeps_its_intended_duplicates(store, tmp_path):
    samples = [sample(hours) for hours in (0, 0.1, 4, 4.1, 8, 8.1, 20, 20.1)]
    ingested(store, tmp_path, record(batch={"phase": "C"}, samples=samples))
    superseded = [row["id"] for row in read(store, schema.SAMPLES) if row["superseded_by"] is not None]
    assert superseded == [3]


def test_two_samples_cannot_share_an_id(store, tmp_path):
    ingested(store, tmp_path, record(samples=[sample(0, id=1), sample(2, id=1)]))
    assert len(read(store, schema.SAMPLES)) == 1
    assert read(store, schema.REJECTS)[0]["reason"] == "id 1 is already used by an earlier entry."


def test_ph_slope_is_recomputed_and_compared(store, tmp_path):
    def probe(low, high, **values):
        buffers = {"buffer_low_value": 4.01, "buffer_high_value": 7.0, "reading_low": low, "reading_high": high}
        return {"probe_type": "pH", "pass": True, **buffers, **values}

    ingested(store, tmp_path, record(calibrations=[probe(4.03, 6.98, slope_percent=98.5)]))
    (row,) = read(store, schema.CALIBRATIONS)
    assert (row["slope_percent"], row["slope_percent_recomputed"]) == (98.5, 1.67)
    problems = " ".join(calibration_problems(store, "batch-1"))
    assert "98.5 %" in problems
    assert "pH units" in problems
    assert "DO was not calibrated" in problems

    good = [probe(-177.0, 0.0), *({"probe_type": name, "pass": True} for name in ("DO", "Temp"))]
    ingested(store, tmp_path, record(calibrations=[probe(4.03, 6.98, **{"pass": False}), *good]))
    assert read(store, schema.CALIBRATIONS)[1]["slope_percent"] == 100.06
    assert calibration_problems(store, "batch-1") == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
sample_like = st.fixed_dictionaries(
    {},
    optional={
        field.name: json_values | st.sampled_from(["1.5", "NaN", "1e400", at(1).isoformat(), "0001-01-01T00:00:00+14"])
        for field in schema.SAMPLES.schema
    },
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    samples=st.lists(sample_like | json_values, max_size=4), extra=st.dictionaries(st.text(), json_values, max_size=2)
)
def test_whatever_a_sample_holds_it_is_either_read_or_rejected(store, tmp_path, samples, extra):
    report = ingested(store, tmp_path, {**extra, **record(samples=samples)})
    rejected = [row for row in read(store, schema.REJECTS) if row["table"] == "samples"]
    assert len(read(store, schema.SAMPLES)) + len(rejected) == len(samples)
    assert report.counts["blocked"] == 0


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_the_file_holds_it_is_refused_with_a_reason(store, tmp_path, content):
    folder = put_batch(tmp_path / "batch-1", "")
    (folder / "batch.json").write_bytes(content)
    report = ingest(folder, store, "batch-1", SETTINGS)
    assert report.counts["blocked"] == 1
    assert len(report.rejects) == 1
