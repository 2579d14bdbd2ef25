"""The command line, as people and scripts use it: output, `--json`, exit codes, sentences for mistakes."""

import json
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.cli import main, show
from sheaf.fermentation.settings import FermentationSettings

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


UUID = "8f0e2d3c-5b5a-4c43-9c0d-0d5c2f3a1b11"


def write_batch(inbox: Path, key: str, samples: int = 3, **batch: object) -> Path:
    """A small complete batch without sensors."""
    folder = inbox / "fermentation" / key
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "batch": {
            "batch_id": UUID if key == "b4" else str(uuid.uuid5(uuid.UUID(UUID), key)),
            "batch_number": 4,
            "phase": "B",
            "vessel_id": "V-1",
            "operator_id": "ada",
            "status": "complete",
            "created_at": START.isoformat(),
            "inoculated_at": START.isoformat(),
            "completed_at": (START + timedelta(hours=20)).isoformat(),
            "notes": None,
            **batch,
        },
        "calibrations": [],
        "inoculation": None,
        "samples": [
            {
                "id": number + 1,
                "od600_raw": 0.5 + number,
                "od600_dilution_factor": 1.0,
                "contamination_detected": False,
                "sampled_by": "ada",
                "sampled_at": (START + timedelta(hours=4 * number)).isoformat(),
            }
            for number in range(samples)
        ],
        "failures": [],
        "closure": None,
    }
    (folder / "batch.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("SHEAF_STORE_URL", "SHEAF_INBOX", "SHEAF_CONFIG", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SHEAF_HOME", str(tmp_path))
    (tmp_path / "inbox").mkdir()
    return tmp_path


@pytest.fixture
def sheaf(home, capfd):
    """Run a command in this process; returns exit code, stdout and stderr."""

    def run(*args: object) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main([str(arg) for arg in args])
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_a_batch_is_published_then_unchanged_then_version_2_whose_difference_is_told(home, sheaf):
    write_batch(home / "inbox", "b4")
    code, out, _ = sheaf("run", "fermentation", "--json")
    first = {entry["series"]: entry for entry in json.loads(out) if entry["partition"] == "b4"}
    assert code == 0
    assert set(first) == {"samples_csv", "sensors_csv", "batch_report", "batch_json", "batch_eln", "training_parquet"}
    csv = first["samples_csv"]
    assert (csv["version"], csv["status"], csv["unchanged"], csv["record_count"]) == (1, "completed", False, 3)
    file = home / "store" / csv["path"] / csv["files"][0]["path"]
    assert file.stat().st_size == csv["files"][0]["size"]
    assert csv["files"][0]["rows"] == 3

    code, out, _ = sheaf("run", "fermentation", "b4", "--json")
    again = {entry["series"]: entry for entry in json.loads(out) if entry["partition"] == "b4"}
    assert code == 0
    assert all(entry["unchanged"] and entry["version"] == 1 for entry in again.values())

    write_batch(home / "inbox", "b4", samples=4)
    _, out, _ = sheaf("run", "fermentation", "b4", "--json")
    assert {entry["version"] for entry in json.loads(out) if entry["series"] == "samples_csv"} == {2}
    code, out, _ = sheaf("diff", "fermentation/b4/samples_csv/v1", "fermentation/b4/samples_csv/latest", "--json")
    change = json.loads(out)
    assert code == 0
    assert change["counts"]["record_count"] == {"before": 3, "after": 4}
    assert change["rows"]["batch_4_phase_B_samples.csv"]["added"] == 1
    assert change["rows"]["batch_4_phase_B_samples.csv"]["removed"] == 0


def test_one_bad_batch_fails_with_its_reason_and_the_good_one_is_published(home, sheaf):
    write_batch(home / "inbox", "good")
    bad = write_batch(home / "inbox", "bad")
    (bad / "batch.json").write_text('{"batch": {', encoding="utf-8")
    (home / "inbox" / "fermentation" / "not a key").mkdir()
    code, out, _ = sheaf("run", "fermentation", "--json")
    found = json.loads(out)
    by_partition = {name: [entry for entry in found if entry["partition"] == name] for name in ("good", "bad")}
    assert code == 1
    assert {entry["status"] for entry in by_partition["good"]} == {"completed"}
    assert {entry["status"] for entry in by_partition["bad"]} == {"failed"}
    assert all("batch.json" in entry["error"] and entry["version"] is None for entry in by_partition["bad"])
    assert not (home / "store" / "exports" / "fermentation" / "bad").exists()
    assert any(entry["partition"] == "not a key" and "rename" in entry["error"] for entry in found)


def test_a_bad_input_later_keeps_what_was_published_before(home, sheaf):
    folder = write_batch(home / "inbox", "b4")
    sheaf("run", "fermentation", "b4", "--json")
    (folder / "batch.json").write_text("[]", encoding="utf-8")
    assert sheaf("run", "fermentation", "b4", "--json")[0] == 1
    told = sheaf("rejects", "fermentation", "b4")[1]
    assert "refused records: batch.json" in told
    assert "was used" not in told
    (row,) = json.loads(sheaf("rejects", "fermentation", "b4", "--json")[1])
    assert (row["step"], row["kind"], row["table"]) == ("records", "refused", None)
    assert row["reason"].startswith("batch.json")
    code, out, _ = sheaf("verify", "fermentation/b4/samples_csv/latest", "--json")
    assert code == 0
    assert json.loads(out) == {"export": "fermentation/b4/samples_csv/v1", "verified": True, "files": 1}


def test_a_filtered_export_is_a_version_but_never_latest(home, sheaf):
    write_batch(home / "inbox", "b4")
    sheaf("run", "fermentation", "b4", "--json")
    code, out, _ = sheaf(
        "export", "fermentation", "b4", "samples_csv", "--filter", "min_hours=4", "--name", "late", "--json"
    )
    entry = json.loads(out)[0]
    assert (code, entry["version"], entry["record_count"]) == (0, 2, 2)
    shown = json.loads(sheaf("show", "fermentation/b4/samples_csv/latest", "--json")[1])
    assert shown["record"]["version"] == 1
    record = json.loads(sheaf("show", "fermentation/b4/samples_csv/v2", "--json")[1])["record"]
    assert (record["name"], record["filter"], record["canonical"]) == ("late", {"min_hours": 4.0}, False)


def test_a_preview_counts_what_the_export_then_holds_and_writes_nothing(home, sheaf):
    write_batch(home / "inbox", "b4")
    sheaf("run", "fermentation", "b4", "--json")
    before = sorted(path for path in (home / "store").rglob("*") if path.is_file())
    args = ("fermentation", "b4", "samples_csv", "--filter", "max_hours=4", "--json")
    counted = json.loads(sheaf("preview", *args)[1])["record_count"]
    assert sorted(path for path in (home / "store").rglob("*") if path.is_file()) == before
    assert json.loads(sheaf("export", *args)[1])[0]["record_count"] == counted == 2


def test_a_saved_filter_is_expanded_into_the_export_that_uses_it(home, sheaf, tmp_path):
    write_batch(home / "inbox", "b4")
    sheaf("run", "fermentation", "b4", "--json")
    assert sheaf("filters", "save", "fermentation", "b4", "late", "--filter", "min_hours=8")[0] == 0
    assert sheaf("filters", "save", "fermentation", "b4", "late", "--filter", "min_hours=9")[0] == 2
    spec = tmp_path / "request.yaml"
    spec.write_text("{domain: fermentation, partition: b4, series: samples_csv, saved: late}", encoding="utf-8")
    entry = json.loads(sheaf("export", "--spec", spec, "--json")[1])[0]
    sheaf("filters", "update", "fermentation", "b4", "late", "--filter", "min_hours=1")
    sheaf("filters", "rename", "fermentation", "b4", "late", "early")
    record = json.loads(sheaf("show", f"fermentation/b4/samples_csv/v{entry['version']}", "--json")[1])["record"]
    assert (entry["record_count"], record["filter"]) == (1, {"min_hours": 8.0})
    listed = json.loads(sheaf("filters", "list", "--json")[1])
    assert [(saved["name"], saved["filter"]) for saved in listed] == [("early", {"min_hours": "1"})]
    assert sheaf("filters", "delete", "fermentation", "b4", "early")[0] == 0
    assert json.loads(sheaf("filters", "list", "--json")[1]) == []


def test_download_copies_verified_files_and_delete_leaves_a_tombstone(home, sheaf, tmp_path):
    write_batch(home / "inbox", "b4")
    sheaf("run", "fermentation", "b4", "--json")
    code, out, _ = sheaf("download", "fermentation/b4/samples_csv/latest", tmp_path / "out", "--json")
    (local,) = json.loads(out)["files"]
    assert code == 0
    assert Path(local).read_text(encoding="utf-8").count("\n") == 4
    assert sheaf("delete", "fermentation/b4/samples_csv/v1", "--yes")[0] == 0
    code, _, err = sheaf("download", "fermentation/b4/samples_csv/v1")
    assert (code, "deleted" in err) == (1, True)
    assert [
        entry["status"] for entry in json.loads(sheaf("history", "fermentation", "b4", "samples_csv", "--json")[1])
    ] == ["deleted"]
    happened = [event["what"] for event in json.loads(sheaf("activity", "--json")[1])]
    assert happened[0] == "export deleted"
    assert happened.count("export completed") == 8


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("run", "nosuch"), 2, "there are fermentation"),
        (("run", "fermentation", "../x"), 2, "not a valid partition name"),
        (("run", "fermentation", ""), 2, "not a valid partition name"),
        (("run", "fermentation", "x" * 300), 2, "not a valid partition name"),
        (("run", "fermentation", "bätch"), 2, "not a valid partition name"),
        (("run", "fermentation", "b9"), 1, "`sheaf sources` lists what there is"),
        (("run", "fermentation", "--inbox", "/nonexistent/inbox"), 1, "There is no inbox at"),
        (("export", "fermentation", "b9", "samples_csv"), 1, "is read by `sheaf run fermentation b9`"),
        (("export", "fermentation", "b9", "nosuch"), 2, "there are samples_csv"),
        (("export", "fermentation", "b9", "samples_csv", "--filter", "colour=red"), 2, "known are"),
        (("export", "fermentation", "b9", "samples_csv", "--filter", "min_hours"), 2, "key=value"),
        (("export", "fermentation"), 2, "Say what to export"),
        (("export", "--spec", "missing.yaml"), 2, "cannot be read"),
        (("show", "fermentation/b9"), 2, "does not name an export"),
        (("show", "fermentation/b9/samples_csv/latest"), 1, "has no latest export yet"),
        (("verify", "fermentation/b9/samples_csv/v3"), 1, "There is no export"),
        (("activity", "--since", "yesterday"), 2, "is not a time"),
    ],
)
def test_a_mistake_is_one_clear_sentence_and_an_exit_code(sheaf, args, code, says):
    ended, out, err = sheaf(*args)
    assert (ended, out) == (code, "")
    assert says in err
    assert "Traceback" not in err
    assert err.count("\n") == 1


def test_a_wrong_configuration_names_its_file_and_key(home, sheaf):
    (home / "sheaf.yaml").write_text("timezone: Mars/Olympus\n", encoding="utf-8")
    code, _, err = sheaf("history")
    assert code == 2
    assert "sheaf.yaml: timezone='Mars/Olympus'" in err


def test_doctor_passes_on_a_fresh_home_and_fails_on_a_store_that_cannot_be_reached(home, sheaf, monkeypatch):
    assert sheaf("doctor")[0] == 0
    monkeypatch.setenv("SHEAF_STORE_URL", "s3://nowhere/prefix")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody-here")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing-secret")
    code, out, _ = sheaf("doctor", "--json")
    findings = {finding["what"]: finding for finding in json.loads(out)}
    assert code == 1
    assert not findings["store"]["ok"]
    assert "cannot be reached" in findings["store"]["detail"]
    assert findings["fermentation inbox"]["ok"]


def test_every_command_shows_help_and_the_documented_command_line_is_the_real_one():
    command = [sys.executable, "-m", "typer", "pipelines.cli.main", "utils", "docs", "--name", "sheaf"]
    generated = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    documented = (Path(__file__).parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
    assert documented.rstrip() == generated.rstrip(), "run `make docs` and commit docs/cli.md"


def test_what_domains_and_sources_offer_is_known_without_loading_what_does_it():
    code = (
        "import sys, pipelines.cli.main, resources.sources; from sheaf.domains import DOMAINS; list(DOMAINS.values());"
        "print(*{'dagster', 'pyarrow', 'numpy', 'duckdb', 'pandas'} & {*sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_a_plan_is_told_by_what_is_not_the_defaults():
    plain = FermentationSettings().model_dump(mode="json")
    assert "plan" not in show.settings(plain, "fermentation")
    assert "gap_s 30.0" in show.settings(plain, "fermentation")
    plan = {"max_hours": 48, "sensors": {"Stir_SP": None, "DO": {"rate_hz": 0.1}}}
    own = FermentationSettings.model_validate({"plan": plan})
    told = show.settings(own.model_dump(mode="json"), "fermentation")
    assert told.startswith("plan {'sensors': {'DO': {'rate_hz': 0.1}, 'Stir_SP': None}, 'max_hours': 48.0}, ")
