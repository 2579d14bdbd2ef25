"""Fermentation assets run by Dagster: what is published, and what the UI shows of it."""

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from fermentation_inbox import put_batch, record, sample, sensor_csv, steady_points

from assets.partitions import partitions_name, partitions_of
from pipelines.definitions import build_definitions
from sheaf.exports.history import resolve
from sheaf.exports.records import Status, read_manifest, records
from sheaf.fermentation.analysis import features
from sheaf.fermentation.domain import FERMENTATION
from sheaf.names import ExportId, SeriesId
from sheaf.settings import Settings
from sheaf.store.store import Store

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
FIRST, LAST = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
TABLES = ("records", "features", "training_samples")
EXPORTS = tuple(series.name for series in FERMENTATION.series if not series.campaign)
CAMPAIGNS = tuple(series.name for series in FERMENTATION.series if series.campaign)


BATCHES = ("batch-1", "batch-2", "batch-3")
SENSORS = sensor_csv(steady_points(range(-60, 60, 10)))


class Lab:
    """One inbox, one store and one Dagster instance."""

    def __init__(self, home: Path) -> None:
        settings = self.settings = Settings(home=home, store_url=str(home / "store"), inbox=home / "inbox")
        settings.inbox.mkdir()
        self.inbox = settings.inbox / "fermentation"
        self.store = Store.open(settings.store_url)
        self.definitions = build_definitions(settings)
        self.instance = dg.DagsterInstance.ephemeral()

    def put(self, key: str, sensors: str = SENSORS, **changes: Any) -> None:
        """A small batch: ten samples' worth of records, minutes of sensors."""
        own = {"batch_id": key, **changes.pop("batch", {})}
        put_batch(self.inbox / key, record(batch=own, **changes), sensors)
        self.know(key)

    def know(self, *batches: str) -> None:
        """Register partitions, as the sensor does."""
        self.instance.add_dynamic_partitions(partitions_name(FERMENTATION), list(batches))

    def run(self, job: str = "fermentation", **how: Any) -> dg.ExecuteInProcessResult:
        """Run a job to its end; what fails is in the result."""
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, raise_on_error=False, run_config=QUIET, **how
        )

    def run_range(self, first: str, last: str, job: str = "fermentation") -> dg.ExecuteInProcessResult:
        """Run a job over all partitions from the first to the last, as a backfill does."""
        return self.run(job, tags={FIRST: first, LAST: last})

    def versions(self, batch: str, series: str = "samples_csv") -> dict[int, Status]:
        """All versions of a series, oldest first, with what became of them."""
        found = records(self.store, SeriesId("fermentation", batch, series))
        return {record.version: record.status for record in reversed(found)}

    def latest(self, batch: str, series: str = "samples_csv") -> ExportId:
        """What a reader of the series gets."""
        return resolve(self.store, f"fermentation/{batch}/{series}/latest")


@pytest.fixture
def lab(tmp_path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Lab, dg.ExecuteInProcessResult]:
    """A batch with all there is, run once; its sensors fall silent for five minutes and then for good."""
    lab = Lab(tmp_path_factory.mktemp("whole"))
    steady = steady_points(range(-300, 1500, 10), silent=range(300, 600))
    lab.put("batch-1", sensor_csv([point for point in steady if point[1] != "Off_Gas_CO2"]))
    return lab, lab.run(partition_key="batch-1")


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory) -> tuple[Lab, dg.ExecuteInProcessResult]:
    """Three batches published once; then all change, one of them to what nobody can read; the run over all three."""
    lab = Lab(tmp_path_factory.mktemp("spoilt"))
    for batch in BATCHES:
        lab.put(batch)
    assert lab.run_range("batch-1", "batch-3").success
    for batch in BATCHES:
        lab.put(batch, samples=record()["samples"][:-1])
    (lab.inbox / "batch-2" / "batch.json").write_text('{"batch": ')
    return lab, lab.run_range("batch-1", "batch-3")


def asset(name: str) -> dg.AssetKey:
    return dg.AssetKey(["fermentation", name])


def materialised(run: dg.ExecuteInProcessResult, name: str) -> dict[str | None, dict[str, Any]]:
    """The metadata of an asset by partition."""
    events = run.get_asset_materialization_events()
    return {
        event.partition: {
            key: value.value for key, value in event.step_materialization_data.materialization.metadata.items()
        }
        for event in events
        if event.asset_key == asset(name)
    }


def checks(run: dg.ExecuteInProcessResult) -> dict[tuple[str, str, str | None], tuple[bool, str | None]]:
    """Verdict and description by asset, check and partition."""
    found = run.get_asset_check_evaluations()
    return {
        (check.asset_key.path[-1], check.check_name, check.partition): (check.passed, check.description)
        for check in found
    }


def failures(run: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Why each failed step failed, in the words of the run page."""
    found = {}
    for event in run.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            assert data.user_failure_data, data.error
            found[str(event.step_key).removeprefix("fermentation__")] = data.user_failure_data.description or ""
    return found


def status(lab: Lab, name: str) -> dict[str, str]:
    """The colour of each partition in the UI."""
    batches = lab.instance.get_dynamic_partitions(partitions_name(FERMENTATION))
    found = lab.instance.get_status_by_partition(asset(name), batches, partitions_of(FERMENTATION)) or {}
    return {key: value.value if value else "MISSING" for key, value in found.items()}


def test_one_batch_goes_from_the_inbox_to_every_export(whole):
    lab, run = whole
    assert run.success
    for name in (*TABLES, *EXPORTS):
        assert list(materialised(run, name)) == ["batch-1"]
    assert not any(materialised(run, name) for name in CAMPAIGNS)
    for series in EXPORTS:
        assert lab.versions("batch-1", series) == {1: Status.COMPLETED}
        assert lab.latest("batch-1", series).version == 1


def test_the_run_page_tells_counts_previews_and_plots(whole):
    _, run = whole
    shown = {name: materialised(run, name)["batch-1"] for name in TABLES}
    assert shown["records"]["samples"] == 8
    assert shown["records"]["sensor points"] == 7 * 150
    assert shown["features"]["dagster/row_count"] == shown["features"]["windows"] == 60
    assert shown["training_samples"]["dagster/row_count"] == 8
    for name, plots in {"features": ["Growth rate", "Gas exchange"], "training_samples": ["Growth curve"]}.items():
        for plot in plots:
            assert shown[name][plot].startswith(f"![{plot}](data:image/png;base64,iVBOR")
            assert len(shown[name][plot]) < 50_000 * 4 / 3 + 100, "plots live in the event log"
    assert all(shown[name]["preview"].records for name in TABLES)
    columns = {column.name for column in shown["records"]["preview"].schema.columns}
    assert {"od600_calculated", "sampled_at"} <= columns


def test_an_export_shows_where_it_is_and_what_it_holds(whole):
    lab, run = whole
    shown = materialised(run, "training_parquet")["batch-1"]
    assert shown["export"] == "fermentation/batch-1/training_parquet/v1"
    assert shown["unchanged"] is False
    assert shown["dagster/row_count"] == 8
    manifest = read_manifest(lab.store, lab.latest("batch-1", "training_parquet"))
    assert [row.data["sha256"] for row in shown["files"].records] == [file.sha256 for file in manifest.files]
    assert shown["path"] == lab.latest("batch-1", "training_parquet").path
    assert (Path(shown["folder"]) / "training_samples.parquet").is_file()
    assert shown["catalogue"] == "http://127.0.0.1:8000/#/fermentation/batch-1/training_parquet/v1"


def test_every_check_of_a_batch_has_a_verdict(whole):
    _, run = whole
    found = checks(run)
    assert found["records", "readable", "batch-1"] == (True, None)
    assert found["records", "rejects", "batch-1"] == (True, "none of 1062 rows rejected")
    assert found["records", "calibration", "batch-1"][0] is False, "only the pH probe was calibrated"
    passed, detail = found["features", "sensor_gaps", "batch-1"]
    assert not passed
    gap = "for 70510 s from 2025-10-21 10:54:50 UTC"
    assert (detail or "").startswith(f"14 gaps, the longest: DO {gap}, Gas_Flow_Inlet {gap}, OD {gap};")
    for series in EXPORTS:
        assert found[series, "verified", "batch-1"] == (True, "v1")


def test_only_a_change_of_the_input_makes_a_new_version(lab):
    lab.put("batch-1")
    assert lab.run(partition_key="batch-1").success
    run = lab.run(partition_key="batch-1")
    assert run.success
    for series in EXPORTS:
        shown = materialised(run, series)["batch-1"]
        assert shown["unchanged"] is True
        assert shown["export"] == f"fermentation/batch-1/{series}/v1"
        assert checks(run)[series, "verified", "batch-1"] == (True, "unchanged since v1")
        assert lab.versions("batch-1", series) == {1: Status.COMPLETED}

    lab.put("batch-1", samples=[*record()["samples"], sample(20.2)])
    run = lab.run(partition_key="batch-1")
    assert run.success
    shown = materialised(run, "samples_csv")["batch-1"]
    assert (shown["export"], shown["unchanged"]) == ("fermentation/batch-1/samples_csv/v2", False)
    assert shown["dagster/row_count"] == 9
    assert lab.latest("batch-1").version == 2
    assert read_manifest(lab.store, ExportId(SeriesId("fermentation", "batch-1", "samples_csv"), 1)).record_count == 8


def test_a_malformed_batch_in_the_middle_of_a_range_harms_only_itself(spoilt):
    lab, run = spoilt
    assert run.success, "it is red where it broke, by its check, and the others went on"
    assert not checks(run)["records", "readable", "batch-2"][0]
    assert materialised(run, "records")["batch-2"]["not made"].startswith("batch.json is not valid JSON")
    for series in EXPORTS:
        assert "Skipped, its newest delivery was refused" in materialised(run, series)["batch-2"]["nothing"]
        if series == "sensors_csv":
            continue  # the samples changed, and it has none
        for good in ("batch-1", "batch-3"):
            assert lab.versions(good, series) == {1: Status.COMPLETED, 2: Status.COMPLETED}
            assert lab.latest(good, series).version == 2
        assert lab.versions("batch-2", series) == {1: Status.COMPLETED}, "no version was spent on it"
        assert lab.latest("batch-2", series).version == 1
        assert {key: shown["export"] for key, shown in materialised(run, series).items() if shown["export"]} == {
            good: f"fermentation/{good}/{series}/v2" for good in ("batch-1", "batch-3")
        }


def test_checks_of_a_range_belong_to_each_batch(spoilt):
    """Without that, every batch of a backfill looks as if its checks had never run."""
    lab, run = spoilt
    found = checks(run)
    verdicts = {batch: found["records", "readable", batch][0] for batch in BATCHES}
    assert verdicts == {"batch-1": True, "batch-2": False, "batch-3": True}
    reason = found["records", "readable", "batch-2"][1]
    assert reason
    assert reason.startswith("batch.json is not valid JSON")
    passed, detail = found["records", "calibration", "batch-2"]
    assert not passed
    assert (detail or "").startswith("Not checked: batch.json")
    assert not found["records", "rejects", "batch-2"][0], "it could not look"
    for series in EXPORTS:
        assert {batch for name, _, batch in found if name == series} == set(BATCHES)
    graph = lab.definitions.resolve_asset_graph()
    of_batches = {asset(name) for name in (*TABLES, *EXPORTS)}
    keys = [key for key in graph.asset_check_keys if key.asset_key in of_batches]
    good = ["batch-1", "batch-3"]
    recorded = lab.instance.event_log_storage.get_asset_check_partition_info(keys, partition_keys=good)
    assert len(recorded) == len(keys) * len(good)
    for info in recorded:
        assert info.latest_execution_status.value in ("SUCCEEDED", "FAILED"), info
        assert info.is_current, info


@pytest.mark.case("front-door/unreadable-green")
def test_a_batch_alone_that_cannot_be_read_fails_with_the_reason(lab):
    lab.put("batch-1", batch={"inoculated_at": "2025-10-21T10:30:00"})
    run = lab.run(partition_key="batch-1")
    assert not run.success
    (reason,) = failures(run).values()
    assert failures(run).keys() == {"records"}, "red where it broke, and only there"
    assert "naive" in reason or "zone" in reason
    assert not checks(run)["records", "readable", "batch-1"][0]
    assert not any(materialised(run, name) for name in (*TABLES, *EXPORTS))
    assert status(lab, "records") == {"batch-1": "FAILED"}


def test_a_batch_recovers_when_its_input_does(lab):
    lab.put("batch-1")
    good = (lab.inbox / "batch-1" / "batch.json").read_text()
    (lab.inbox / "batch-1" / "batch.json").write_text("")
    assert not lab.run(partition_key="batch-1").success
    (lab.inbox / "batch-1" / "batch.json").write_text(good)
    run = lab.run(partition_key="batch-1")
    assert run.success
    assert checks(run)["records", "readable", "batch-1"] == (True, None)
    assert lab.latest("batch-1").version == 1


def test_a_batch_without_a_folder_is_named(lab):
    lab.know("batch-9")
    run = lab.run(partition_key="batch-9")
    assert not run.success
    assert all("The inbox has no fermentation 'batch-9'" in reason for reason in failures(run).values())


def test_what_an_engineer_should_look_at_is_a_warning_not_an_error(lab):
    undated = [sample(20, sampled_at="yesterday") for _ in range(12)]
    failed = {**record()["calibrations"][0], "pass": False}
    lab.put("batch-1", samples=[*record()["samples"], *undated], calibrations=[failed])
    run = lab.run(partition_key="batch-1")
    assert run.success
    shown = materialised(run, "records")["batch-1"]
    (samples,) = [row.data for row in shown["account"].records if row.data["table"] == "samples"]
    assert (samples["seen"], samples["used"], samples["rejected"]) == (20, 8, 12)
    assert [row.data["file"] for row in shown["rejects"].records] == ["batch.json"] * 12
    found = {check.check_name: check for check in run.get_asset_check_evaluations()}
    assert (found["rejects"].passed, found["calibration"].passed) == (False, False)
    assert found["rejects"].severity is found["calibration"].severity is dg.AssetCheckSeverity.WARN
    assert "12 of 20" in (found["rejects"].description or "")
    assert "pH: the newest calibration failed." in (found["calibration"].description or "")


def test_campaign_exports_are_made_over_all_batches(lab):
    for number, batch in enumerate(("batch-1", "batch-2")):
        lab.put(batch, batch={"batch_number": number + 1})
    lab.run_range("batch-1", "batch-2")
    run = lab.run("fermentation_campaign")
    assert run.success
    for series in CAMPAIGNS:
        shown = materialised(run, series)
        assert list(shown) == [None], "campaign exports have no partition"
        assert shown[None]["export"] == f"fermentation/campaign/{series}/v1"
        assert checks(run)[series, "verified", None] == (True, "v1")
        inputs = read_manifest(lab.store, lab.latest("campaign", series)).inputs
        assert {item.partition for item in inputs} == {"batch-1", "batch-2"}


def test_campaign_exports_of_nothing_fail_with_a_sentence(lab):
    run = lab.run("fermentation_campaign")
    assert not run.success
    assert set(failures(run).values()) == {
        f"There is nothing to publish as fermentation/campaign/{series} yet." for series in CAMPAIGNS
    }


def test_options_and_filter_come_from_the_run_config(lab):
    lab.put("batch-1")
    lab.run(partition_key="batch-1")
    asked = {"filter": ["min_hours=4"], "name": "late samples", "requested_by": "Ada"}
    job = lab.definitions.resolve_job_def("fermentation")
    run = job.execute_in_process(
        instance=lab.instance,
        partition_key="batch-1",
        run_config={**QUIET, "ops": {"fermentation__samples_csv": {"config": asked}}},
        asset_selection=[asset("samples_csv")],
    )
    shown = materialised(run, "samples_csv")["batch-1"]
    assert shown["dagster/row_count"] < 8
    newest = records(lab.store, SeriesId("fermentation", "batch-1", "samples_csv"))[0]
    assert (newest.version, newest.name, newest.requested_by) == (2, "late samples", "Ada")
    assert newest.run_id == run.run_id
    assert lab.latest("batch-1").version == 1, "a filtered export is never latest"


def nightly_tick(lab: Lab, folder: Path, batches: Sequence[str]) -> list[tuple[str, str]] | str | None:
    """The ranges that the schedule asks for, or why it asks for nothing; a schedule needs an instance on disk."""
    schedule = lab.definitions.get_repository_def().get_schedule_def("fermentation_nightly")
    folder.mkdir(exist_ok=True)
    at = datetime(2026, 3, 3, 2, 0, tzinfo=UTC)
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        instance.add_dynamic_partitions(partitions_name(FERMENTATION), batches)
        for key in set(instance.get_dynamic_partitions(partitions_name(FERMENTATION))) - set(batches):
            instance.delete_dynamic_partition(partitions_name(FERMENTATION), key)
        with dg.build_schedule_context(instance, scheduled_execution_time=at) as context:
            tick = schedule.evaluate_tick(context)
    if not tick.run_requests:
        return tick.skip_message
    return [(request.tags[FIRST], request.tags[LAST]) for request in tick.run_requests]


def test_the_nightly_schedule_has_nothing_to_do_in_an_empty_lab(lab, tmp_path):
    assert nightly_tick(lab, tmp_path / "dagster", []) == "No batch has arrived yet."


def test_a_night_runs_what_is_not_as_it_should_be_and_nothing_else(lab, tmp_path):
    batches = ["batch-2", "batch-1", "batch-3"]  # in the order they arrived
    for batch in batches:
        lab.put(batch)
    folder = tmp_path / "dagster"
    assert nightly_tick(lab, folder, batches) == [("batch-2", "batch-3")], "nothing was made yet"
    first = lab.run_range("batch-2", "batch-3", "fermentation_nightly")
    assert first.success
    for series in CAMPAIGNS:
        assert materialised(first, series)[None]["unchanged"] is False
    assert nightly_tick(lab, folder, batches) == "Nothing is new in 3 partitions."

    for batch in ("batch-2", "batch-3"):
        lab.put(batch, samples=[*record()["samples"], sample(20.2)])
    assert nightly_tick(lab, folder, batches) == [("batch-2", "batch-2"), ("batch-3", "batch-3")]
    second = lab.run_range("batch-3", "batch-3", "fermentation_nightly")
    assert materialised(second, "samples_csv")["batch-3"]["export"] == "fermentation/batch-3/samples_csv/v2"
    third = lab.run_range("batch-2", "batch-3", "fermentation_nightly")  # in a range the others are left as they are
    assert materialised(third, "records")["batch-1"]["unchanged"].startswith("It would be made the same")
    assert {batch: shown["unchanged"] for batch, shown in materialised(third, "samples_csv").items()} == {
        "batch-1": True, "batch-2": False, "batch-3": True,
    }  # fmt: skip
    assert nightly_tick(lab, folder, batches) == "Nothing is new in 3 partitions."

    (lab.inbox / "batch-1" / "batch.json").write_text("{")
    assert nightly_tick(lab, folder, batches) == [("batch-1", "batch-1")]
    assert not lab.run_range("batch-1", "batch-1", "fermentation_nightly").success
    assert nightly_tick(lab, folder, batches) == "Nothing is new in 3 partitions.", "a refusal is told once"


def test_a_store_that_fails_fails_the_run_in_one_sentence(lab):
    lab.put("batch-1")
    shutil.rmtree(lab.store.scratch, ignore_errors=True)
    lab.store.scratch.parent.mkdir(parents=True, exist_ok=True)
    lab.store.scratch.write_text("a file where a folder must be")
    run = lab.run(partition_key="batch-1")
    assert not run.success
    (reason,) = failures(run).values()
    assert "store/leases/fermentation/batch-1.json: Not a directory" in reason
    assert "Traceback" not in reason


def test_a_changed_setting_reaches_every_batch_by_the_night_run(tmp_path):
    lab = Lab(tmp_path)
    for batch in ("batch-1", "batch-2"):
        lab.put(batch)
    assert lab.run_range("batch-1", "batch-2", "fermentation_nightly").success
    changed = lab.settings.fermentation.model_copy(update={"vessel_volume_l": 1.8})
    lab.definitions = build_definitions(lab.settings.model_copy(update={"fermentation": changed}))
    job = lab.definitions.resolve_job_def("fermentation")
    alone = job.execute_in_process(
        instance=lab.instance, partition_key="batch-1", run_config=QUIET,
        asset_selection=[asset("training_parquet")], raise_on_error=False,
    )  # fmt: skip
    assert failures(alone)["training_parquet"].endswith("run `sheaf run fermentation batch-1`.")
    assert "vessel_volume_l was empty and is 1.8" in failures(alone)["training_parquet"]
    night = lab.run_range("batch-1", "batch-2", "fermentation_nightly")
    assert night.success
    assert materialised(night, "records")["batch-1"]["unchanged"]
    for batch in ("batch-1", "batch-2", "campaign"):
        series = "campaign_parquet" if batch == "campaign" else "training_parquet"
        manifest = read_manifest(lab.store, lab.latest(batch, series))
        assert manifest.made_with["vessel_volume_l"] == 1.8
    graph = lab.definitions.resolve_asset_graph()
    assert (
        graph.get(asset("features")).code_version
        != build_definitions(lab.settings).resolve_asset_graph().get(asset("features")).code_version
    ), "Dagster shows what is out of date"


@pytest.mark.campaign
def test_one_that_breaks_in_a_run_of_many_is_red_and_the_others_are_made(lab, monkeypatch):
    for batch in BATCHES:
        lab.put(batch)
    whole = features.feature_columns

    def fails_for_one(windows: Any, start: Any, *others: Any) -> Any:
        if start == datetime(2025, 10, 21, 11, 30, tzinfo=UTC):
            raise ZeroDivisionError("a defect")
        return whole(windows, start, *others)

    lab.put("batch-2", batch={"inoculated_at": "2025-10-21T11:30:00+00:00"})
    monkeypatch.setattr(features, "feature_columns", fails_for_one)
    run = lab.run_range("batch-1", "batch-3")
    found = checks(run)
    assert found["features", "sensor_gaps", "batch-2"] == (False, "Not checked: ZeroDivisionError: a defect")
    assert materialised(run, "training_samples")["batch-2"]["not made"].startswith(
        "fermentation 'batch-2' has no features"
    )
    assert lab.latest("batch-3", "training_parquet").version == 1
    assert lab.latest("batch-2", "samples_csv").version == 1, "it needs no features"
    assert set(failures(run)) == set(EXPORTS) - {"samples_csv"}, "what nothing waits for tells what it lacks"


def test_stored_rows_are_lost_only_with_a_yes_in_the_launchpad(lab):
    lab.put("batch-1")
    assert lab.run(partition_key="batch-1").success
    (lab.inbox / "batch-1" / "sensors.csv").unlink()
    refused = lab.run(partition_key="batch-1")
    assert "sensors: 96 → 0" in failures(refused)["records"]
    config = {"fermentation__records": {"config": {"accept_loss": True}}}
    job = lab.definitions.resolve_job_def("fermentation")
    everything = {f"fermentation__{name}": {"config": {"accept_loss": True}} for name in TABLES}
    accepted = job.execute_in_process(
        instance=lab.instance, partition_key="batch-1", run_config={**QUIET, "ops": everything | config},
        raise_on_error=False,
    )  # fmt: skip
    assert accepted.success, failures(accepted)
    assert lab.latest("batch-1", "training_parquet").version == 2
