"""`sheaf doctor`: what it looks at, that no finding stops the next, and that it puts right what is damaged."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from lab import PROGRAM
from test_cli import write_batch

from pipelines.cli import main
from pipelines.instance import open_instance
from sheaf.settings import Settings
from sheaf.store import documents
from sheaf.store.store import Store, Stored

Sheaf = Callable[..., tuple[int, str, str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SHEAF_STORE_URL", "SHEAF_INBOX", "SHEAF_CONFIG", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SHEAF_HOME", str(tmp_path))
    (tmp_path / "inbox").mkdir()
    return tmp_path


@pytest.fixture
def sheaf(capfd: pytest.CaptureFixture[str]) -> Sheaf:
    """Run a command in this process; returns exit code, stdout and stderr, as another process would have seen it."""

    def run(*args: object) -> tuple[int, str, str]:
        documents._say.cache_clear()
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main([str(arg) for arg in args])
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def findings(sheaf: Sheaf, *more: str) -> tuple[int, dict[str, dict[str, object]]]:
    code, out, _ = sheaf("doctor", "--json", *more)
    return code, {found["what"]: found for found in json.loads(out)}


def test_torn_documents_end_no_command_and_the_doctor_sets_them_aside(home: Path, sheaf: Sheaf) -> None:
    write_batch(home / "inbox", "b4")
    assert sheaf("run", "fermentation", "--json")[0] == 0
    assert sheaf("filters", "save", "fermentation", "b4", "late", "--filter", "min_hours=4")[0] == 0
    store = Store.open(str(home / "store"))
    torn = {
        "exports/fermentation/b4/samples_csv/v0001/_record.json": ("history",),
        "exports/fermentation/b4/batch_json/v0001/_manifest.json": ("run", "fermentation", "b4"),
        "filters/fermentation/b4/late.json": ("filters", "list"),
        min(item.path for item in store.list("activity")): ("activity",),
        "tombstones/fermentation/b9.json": ("sources",),
        "tables/fermentation/ingest/batch=b4/looked.json": ("run", "fermentation", "b4"),
    }
    for path in torn:
        store.put(path, b"")
    for path, command in torn.items():
        code, out, err = sheaf(*command, "--json")
        assert (code, path, command) == (0, path, command), err
        json.loads(out)
        assert "Traceback" not in err
    seen = subprocess.run([PROGRAM, "history", "--json"], capture_output=True, text=True, check=True).stderr
    assert seen.splitlines() == [
        f"{store.url}/exports/fermentation/b4/samples_csv/v0001/_record.json is damaged, it is empty: "
        "run `sheaf doctor`, which sets it aside."
    ]
    code, found = findings(sheaf)
    assert code == 1
    assert torn.keys() - {"tables/fermentation/ingest/batch=b4/looked.json"} <= found.keys()
    assert found["recovery"]["ok"]
    assert found["catalogue"]["ok"]
    assert found["dagster"]["ok"]
    code, found = findings(sheaf)
    assert code == 0
    assert "are kept below quarantine/" in str(found["quarantine"]["detail"])
    assert found["contents"]["ok"]
    assert findings(sheaf, "--deep")[0] == 0
    assert sheaf("run", "fermentation", "b4", "--json")[0] == 0


def test_each_thing_around_sheaf_is_looked_at_and_none_stops_the_next(
    home: Path, sheaf: Sheaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, found = findings(sheaf)
    assert code == 0
    assert "none has run yet" in str(found["daemon"]["detail"])
    (home / "sheaf.yaml").write_text(f"media: {{roots: ['{home}/films'], models: {{yamnet: '{home}/y.onnx'}}}}\n"
                                    "occurrences: {projects: {p18: {sensitive_taxa: [Lynx lynx]}}}\n")  # fmt: skip
    real = Store.list

    def late(self: Store, prefix: str) -> Iterator[Stored]:
        for item in real(self, prefix):
            yield replace(item, modified=item.modified - timedelta(minutes=5)) if prefix == "doctor" else item

    monkeypatch.setattr(Store, "list", late)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4_000_000))
    monkeypatch.setattr("os.access", lambda path, mode: "requests" not in str(path))
    (home / "inbox" / "requests").mkdir()
    code, found = findings(sheaf)
    assert code == 1
    wrong = {what: str(one["detail"]) for what, one in found.items() if not one["ok"]}
    assert wrong.keys() == {"clock", "space", "inbox", "media folders", "settings of p18"}
    assert "there is no such project: correct its name" in wrong["settings of p18"]
    assert "300 s apart: set both by a time server" in wrong["clock"]
    assert "has 4 MB left: free some space" in wrong["space"]
    assert "requests cannot be written, so no request is answered" in wrong["inbox"]
    assert f"media.roots: {home}/films is no folder that can be read" in wrong["media folders"]
    assert f"media.models.yamnet: {home}/y.onnx is no file" in wrong["media folders"]


def test_a_daemon_that_has_died_and_a_sensor_that_is_off_are_told(
    home: Path, sheaf: Sheaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dagster._core.scheduler.instigation import InstigatorStatus
    from dagster._daemon.types import DaemonHeartbeat

    instance = open_instance(Settings.load())
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), "SENSOR", "1"))
    assert findings(sheaf)[1]["daemon"]["detail"] == "it lives"
    with monkeypatch.context() as patched:
        looked = SimpleNamespace(last_tick_timestamp=time.time() - 1000)
        state = SimpleNamespace(name="x", status=InstigatorStatus.RUNNING, instigator_data=looked)
        patched.setattr(type(instance), "all_instigator_state", lambda _: [state])
        assert "has looked at no sensor since" in str(findings(sheaf)[1]["daemon"]["detail"])
        looked.last_tick_timestamp = time.time() - 20
        assert findings(sheaf)[1]["daemon"]["detail"] == "it lives"
    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 3600, "SENSOR", "1"))
    assert "none has run since" in str(findings(sheaf)[1]["daemon"]["detail"])
    monkeypatch.setenv("DAGSTER_HOME", str(home / "dagster"))
    assert not findings(sheaf)[1]["daemon"]["ok"]
    off = SimpleNamespace(name="fermentation_inbox", status=InstigatorStatus.STOPPED)
    on = SimpleNamespace(name="fermentation_nightly", status=InstigatorStatus.RUNNING)
    monkeypatch.setattr(type(instance), "all_instigator_state", lambda _: [off, on])
    assert findings(sheaf)[1]["sensors and schedules"]["detail"] == (
        "fermentation_inbox are switched off: switch them on in the Dagster UI under Automation."
    )


def test_a_database_of_dagster_that_is_down_is_told_in_a_sentence(
    home: Path, sheaf: Sheaf, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_batch(home / "inbox", "b4")
    (home / "own").mkdir()
    address = "postgresql+psycopg2://sheaf:canary@127.0.0.1:1/dagster"
    (home / "own" / "dagster.yaml").write_text(f"storage: {{postgres: {{postgres_url: '{address}'}}}}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home / "own"))
    monkeypatch.setattr("dagster_postgres.utils.time.sleep", lambda _: None)
    code, out, err = sheaf("run", "fermentation", "--json")
    assert (code, out) == (1, "")
    assert f"Dagster's database ({home}/own) cannot be used: " in err.replace("\n", " ")
    assert "Connection refused" in err
    assert "canary" not in err
    assert "Traceback" not in err
    code, found = findings(sheaf)
    assert code == 1
    assert "canary" not in json.dumps(found)
