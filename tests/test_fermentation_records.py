"""batch.json, in whatever shape it comes, becomes validated rows or a clear refusal."""

import json
import re
from pathlib import Path

import pytest
from fermentation_inbox import (
    SETTINGS,
    T0,
    accounts,
    all_steps,
    at,
    codes,
    hashes,
    notes,
    put_batch,
    read,
    record,
    rows_of,
    sample,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sheaf.fermentation import schema
from sheaf.fermentation.settings import FermentationSettings
from sheaf.running import How, Made
from sheaf.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


def ingested(store: Store, tmp_path: Path, document, settings: FermentationSettings = SETTINGS) -> Made:
    return read(store, put_batch(tmp_path / "batch-1", document), settings=settings)


def test_the_three_shapes_of_a_batch_give_the_same_rows(store, tmp_path):
    plain = record()
    as_text = json.loads(json.dumps(plain), parse_float=str)
    admin = {key: as_text[key] for key in ("batch", "calibrations", "samples", "failures", "closure")}
    admin |= {"inoculation": None, "exportedAt": "2025-10-22T15:00:00.000Z"}
    renamed = {**plain, "inoculation": {**plain["inoculation"], "inoculum_source": "CRYO-1"}}
    del renamed["inoculation"]["cryo_vial_id"]
    superset = {**renamed, "schema_version": "1.0", "source": {"system": "bioprocess-twin", "version": None}}

    ingested(store, tmp_path, plain)
    expected = {table.name: rows_of(store, table) for table in schema.RECORDS}
    assert expected["inoculations"][0]["inoculum_source"] == "CRYO-1"
    for number, (document, without) in enumerate(((admin, "inoculations"), (superset, None))):
        other = Store.open(str(tmp_path / f"store-{number}"))
        assert not any(account.reasons for account in accounts(ingested(other, tmp_path, document)).values())
        found = {table.name: rows_of(other, table) for table in schema.RECORDS if table.name != without}
        assert found == {name: rows for name, rows in expected.items() if name != without}


def test_a_folder_without_a_record_is_refused(store, tmp_path):
    (tmp_path / "empty").mkdir()
    refused = read(store, tmp_path / "empty").generation.refused
    assert refused
    assert refused.endswith("empty has no batch.json: export the batch as JSON and put it there.")


@pytest.mark.parametrize(
    ("document", "reason", "code"),
    [
        ('{"batch": {\n"batch_number": 1,,\n}}', "not valid JSON: .* line 2, column", None),
        ("[]", "must hold one JSON object", None),
        ('{"samples": []}', "'batch'", None),
        ('{"batch": {}, "x": NaN}', "NaN is not JSON", None),
        ('{"batch": {}, "failures": [1], "failures": []}', "the key 'failures' stands twice", None),
        ("[" * 100_000, "nested too deeply", None),
        ('{"batch": {}, "x": ' + "[" * 900 + "]" * 900 + "}", "nested too deeply", None),
        (record(batch={"inoculated_at": "2025-10-21T10:30:00"}), "inoculated_at .* has no time zone", "naive_time"),
        (record(batch={"inoculated_at": 1761042600}), "inoculated_at .* is not a time", "not_a_time"),
        (record(batch={"batch_number": "../../etc"}), "batch_number .* is not a number", "not_a_number"),
        (record(batch={"phase": "A/../B"}), "phase .* is not one of A, B, C", "unknown_value"),
        (record(batch={"status": "setup"}), "status .* is not one of", "unknown_value"),
        (record(batch={"batch_number": 10000}), "batch_number 10000 is not between", "out_of_range"),
        (record(samples={}), "'samples' must be a list", None),
        (record(inoculation={"inoculum_od600": 1, "go_decision": True}), "neither 'inoculum_source'", "no_inoculum"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_and_the_tables_stay(store, tmp_path, document, reason, code):
    ingested(store, tmp_path, record())
    before = hashes(store, *schema.RECORDS)

    made = ingested(store, tmp_path, document)

    assert made.generation.refused
    assert made.generation.refused.startswith("batch.json")
    assert re.search(reason, made.generation.refused)
    assert [(row["code"], row["file"]) for row in notes(store)] == ([(code, "batch.json")] if code else [])
    assert hashes(store, *schema.RECORDS) == before
    for check in ("readable", "rejects", "calibration"):
        assert not made.generation.checks[check].passed


def test_bytes_that_are_no_text_are_refused(store, tmp_path):
    folder = put_batch(tmp_path / "batch-1", "{}")
    (folder / "batch.json").write_bytes(b'{"batch": "\xff"}')
    assert "not UTF-8" in (read(store, folder).generation.refused or "")


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
    made = ingested(store, tmp_path, record(samples=[sample(0), *bad, sample(2)]))
    assert len(rows_of(store, schema.SAMPLES)) == 2
    rejects = notes(store, table="samples")
    assert [row["code"] for row in rejects] == [
        *("missing_value", "not_a_number", "out_of_range", "out_of_range", "out_of_range"),
        *("naive_time", "not_a_time", "broken_text", "other_batch", "not_an_object"),
    ]
    assert rejects[0]["reason"] == "od600_raw is missing."
    assert (rejects[0]["primary_key"], rejects[0]["file"]) == ("samples[2]", "batch.json")
    assert json.loads(rejects[1]["raw"])["od600_raw"] == "n/a"
    account = accounts(made)["samples"]
    assert (account.seen, account.used, account.rejected) == (len(bad) + 2, 2, len(bad))
    assert not made.generation.checks["rejects"].passed


def test_a_configured_zone_reads_naive_times(store, tmp_path):
    zone = FermentationSettings(naive_timezone="Pacific/Auckland")
    ingested(store, tmp_path, record(batch={"inoculated_at": "2025-10-21T23:30:00"}), zone)
    assert rows_of(store, schema.BATCHES)[0]["inoculated_at"] == T0
    twice = record(samples=[sample(0), sample(0, sampled_at="2025-04-06T02:30:00")])  # this hour happened twice
    assert codes(ingested(store, tmp_path, twice, zone), "samples") == {"clock_change": 1}


def test_folder_name_stands_in_for_a_missing_batch_id(store, tmp_path):
    ingested(store, tmp_path, record(batch={"batch_id": None}))
    assert rows_of(store, schema.BATCHES)[0]["batch_id"] == "batch-1"


def test_unknown_keys_are_ignored_with_a_warning(store, tmp_path):
    report = ingested(store, tmp_path, record(samples=[sample(0, colour="red")], extra=1)).report
    assert any("'colour'" in warning for warning in report.warnings)
    assert any("'extra'" in warning for warning in report.warnings)


def test_mac_roman_mojibake_is_repaired_and_real_text_is_not_touched(store, tmp_path):
    broken = "OD‚ÇÜ‚ÇÄ‚ÇÄ √ó 2, naïve Größe – ½"
    marked = [sample(0, sampled_by=broken), sample(2)]
    made = ingested(store, tmp_path, record(batch={"notes": broken}, samples=marked))
    assert rows_of(store, schema.BATCHES)[0]["notes"] == "OD₆₀₀ × 2, naïve Größe – ½"
    assert codes(made, "batches") == codes(made, "samples") == {"mac_roman_text": 1}


def test_zero_is_a_value(store, tmp_path):
    zero = sample(0, od600_raw=0, od600_dilution_factor=1, dcw_g_per_l=0, timepoint_hours=0)
    ingested(store, tmp_path, record(samples=[zero]))
    row = rows_of(store, schema.SAMPLES)[0]
    assert [row[key] for key in ("od600_raw", "od600_calculated", "dcw_g_per_l", "timepoint_hours")] == [0, 0, 0, 0]


def test_computed_columns_round_half_up_and_replace_stale_values(store, tmp_path):
    stale = sample(4, timepoint_hours=3.5, od600_calculated=99, od600_raw="0.1", od600_dilution_factor="3")
    half = sample(0, sampled_at=at(4.005).isoformat())
    made = ingested(store, tmp_path, record(samples=[half, stale]), FermentationSettings(duplicate_sample_minutes=0))
    first, second = rows_of(store, schema.SAMPLES)
    assert (first["timepoint_hours"], first["od600_calculated"], first["flags"]) == (
        4.0,
        0.3,
        "timepoint_stale od600_stale",
    )
    assert second["timepoint_hours"] == 4.01
    assert second["elapsed_hours"] == pytest.approx(4.005, abs=1e-9)
    assert codes(made, "samples") == {"od600_stale": 1, "timepoint_stale": 1}
    assert [(row["kind"], row["reason"]) for row in notes(store)] == [
        ("change", "Sample 2: timepoint_hours was 3.5 but follows as 4.0; the latter is used."),
        ("change", "Sample 2: od600_calculated was 99.0 but follows as 0.3; the latter is used."),
    ]
    assert accounts(made)["samples"].used == 2


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
    made = ingested(store, tmp_path, record(samples=[sample(0, dcw_g_per_l=stored, **weights)]))
    (row,) = rows_of(store, schema.SAMPLES)
    assert (row["dcw_g_per_l"], row["flags"]) == (expected, flags)
    assert codes(made, "samples") == ({flags: 1} if flags else {})
    assert row["dcw_filter_dry_weight_g"] == dry


def test_a_reading_above_the_linear_range_is_used_and_doubted(store, tmp_path):
    made = ingested(store, tmp_path, record(samples=[sample(0, od600_raw=1.2, od600_dilution_factor=1)]))
    (row,) = rows_of(store, schema.SAMPLES)
    assert row["flags"] == "od600_above_linear_range"
    (fault,) = notes(store)
    assert (fault["kind"], fault["code"], fault["primary_key"]) == ("fault", "od600_above_linear_range", "1")
    assert accounts(made)["samples"].used == 1


def test_a_later_row_supersedes_an_earlier_one_of_the_same_moment(store, tmp_path):
    samples = [sample(4, id=7), sample(4.1, id=9), sample(8, id=3), sample(8.1, id=4, replicate=True)]
    report = ingested(store, tmp_path, record(samples=samples)).report
    superseded = {row["id"]: row["superseded_by"] for row in rows_of(store, schema.SAMPLES)}
    assert superseded == {7: 9, 9: None, 3: None, 4: None}
    assert "Sample 7 is superseded by sample 9." in report.warnings


def test_phase_c_keeps_its_intended_duplicates(store, tmp_path):
    samples = [sample(hours) for hours in (0, 0.1, 4, 4.1, 8, 8.1, 20, 20.1)]
    ingested(store, tmp_path, record(batch={"phase": "C"}, samples=samples))
    superseded = [row["id"] for row in rows_of(store, schema.SAMPLES) if row["superseded_by"] is not None]
    assert superseded == [3]


def test_two_samples_cannot_share_an_id(store, tmp_path):
    made = ingested(store, tmp_path, record(samples=[sample(0, id=1), sample(2, id=1)]))
    assert len(rows_of(store, schema.SAMPLES)) == 1
    assert codes(made, "samples") == {"repeated_key": 1}
    assert notes(store)[0]["reason"] == "id 1 is already used by an earlier entry."


def test_ph_slope_is_recomputed_and_compared(store, tmp_path):
    def probe(low, high, **values):
        buffers = {"buffer_low_value": 4.01, "buffer_high_value": 7.0, "reading_low": low, "reading_high": high}
        return {"probe_type": "pH", "pass": True, **buffers, **values}

    made = ingested(store, tmp_path, record(calibrations=[probe(4.03, 6.98, slope_percent=98.5)]))
    (row,) = rows_of(store, schema.CALIBRATIONS)
    assert (row["slope_percent"], row["slope_percent_recomputed"]) == (98.5, 1.67)
    verdict = made.generation.checks["calibration"]
    assert not verdict.passed
    assert "98.5 %" in verdict.detail
    assert "pH units" in verdict.detail
    assert "DO was not calibrated" in verdict.detail

    good = [probe(-177.0, 0.0), *({"probe_type": name, "pass": True} for name in ("DO", "Temp"))]
    made = ingested(store, tmp_path, record(calibrations=[probe(4.03, 6.98, **{"pass": False}), *good]))
    assert rows_of(store, schema.CALIBRATIONS)[1]["slope_percent"] == 100.06
    verdict = made.generation.checks["calibration"]
    assert (verdict.passed, verdict.detail) == (True, "3 probes passed; the pH slope is 100.06 %.")


PROBES = [{"probe_type": name, "pass": True} for name in ("pH", "DO", "Temp")]


@pytest.mark.parametrize(
    ("calibrations", "passed", "detail"),
    [
        (PROBES, True, "3 probes passed; no pH slope is known."),
        ([], False, "pH was not calibrated. DO was not calibrated. Temp was not calibrated."),
        ([*PROBES, PROBES[1] | {"response_time_sec": 31}], False, "DO: the response time of 31 s is above 30 s."),
        ([PROBES[1] | {"response_time_sec": 31}, *PROBES], True, "3 probes passed; no pH slope is known."),
        ([*PROBES, PROBES[2] | {"pass": False}], False, "Temp: the newest calibration failed."),
        (
            [
                *PROBES,
                PROBES[0] | {"buffer_low_value": 4, "buffer_high_value": 7, "reading_low": -160, "reading_high": 0.0},
            ],
            False,
            "pH: the slope of 90.15 % is outside 95 to 105 %.",
        ),
    ],
)
def test_the_check_of_calibrations_names_what_is_wrong(store, tmp_path, calibrations, passed, detail):
    verdict = ingested(store, tmp_path, record(calibrations=calibrations)).generation.checks["calibration"]
    assert (verdict.passed, verdict.detail) == (passed, detail)


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


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    samples=st.lists(sample_like | json_values, max_size=4), extra=st.dictionaries(st.text(), json_values, max_size=2)
)
def test_whatever_a_sample_holds_it_is_either_read_or_rejected(tmp_path_factory, samples, extra):
    work = tmp_path_factory.mktemp("batch")
    store = Store.open(str(work / "store"))
    document = {**extra, **record(samples=[sample(0), *samples])}
    account = accounts(ingested(store, work, document))["samples"]
    assert account.seen == len(samples) + 1
    assert account.used == len(rows_of(store, schema.SAMPLES))
    assert account.rejected == sum(row["rows"] for row in notes(store, table="samples") if row["kind"] == "reject")


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_the_file_holds_it_is_refused_with_a_reason(store, tmp_path, content):
    folder = put_batch(tmp_path / "batch-1", "")
    (folder / "batch.json").write_bytes(content)
    assert (read(store, folder).generation.refused or "").startswith("batch.json")


def test_a_record_of_which_no_sample_can_be_used_is_refused(store, tmp_path):
    good = ingested(store, tmp_path, record())
    made = ingested(store, tmp_path, record(samples=[sample(hours, od600_raw="0,5") for hours in range(8)]))
    assert made.generation.refused == "All 8 samples were rejected: od600_raw '0,5' is not a number."
    assert hashes(store, schema.SAMPLES) == {"samples": good.generation.tables["samples"].sha256}
    assert len(notes(store, table="samples")) == 8


@pytest.mark.parametrize(
    ("section", "fewer", "refused"),
    [
        ("samples", record()["samples"][:3], None),
        ("samples", [], "samples: 8 → 0"),
        ("calibrations", [], "calibrations: 1 → 0"),
        ("closure", None, "closures: 1 → 0"),
        ("inoculation", None, "inoculations: 1 → 0"),
        ("failures", [], "failures: 2 → 0"),
        ("failures", [{"deviation_level": 1, "category": "Other"}], "failures: 2 → 1"),
    ],
)
def test_no_record_is_replaced_by_less_without_a_yes(store, tmp_path, section, fewer, refused):
    """What people curate may become less; a deviation that is gone would let a batch be trained on."""
    document = record(failures=[{"deviation_level": level, "category": "Other"} for level in (1, 3)])
    ingested(store, tmp_path, document)
    before = hashes(store, *schema.RECORDS)
    made = ingested(store, tmp_path, document | {section: fewer})
    if refused is None:
        assert made.generation.refused is None
        assert len(rows_of(store, schema.SAMPLES)) == 3
        return
    assert f"({refused}). Nothing was changed" in (made.generation.refused or "")
    assert hashes(store, *schema.RECORDS) == before
    folder = tmp_path / "batch-1"
    accepted = all_steps(store, folder, how=How(accept_loss=True))["records"]
    assert accepted.generation.refused is None
