"""Export requests as files: served ones are accepted, impossible ones come back with the reason."""

import json
import os

import dagster as dg
import pytest
from test_cli import home, sheaf, write_batch  # noqa: F401  # fixtures

from pipelines.definitions import build_definitions
from resources.store import StoreResource
from sheaf.settings import Settings


@pytest.fixture
def tick(home):  # noqa: F811
    """Returns a function that looks at the requests once."""
    (home / "inbox" / "requests").mkdir()
    settings = Settings.load()
    sensor = build_definitions(settings).get_sensor_def("export_requests")
    resources = {"store": StoreResource(url=settings.store_url), "settings": settings}
    instance = dg.DagsterInstance.ephemeral()

    def look(cursor: str | None = None):
        return sensor(dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources))

    return look


def test_a_request_is_run_once_and_then_accepted(home, sheaf, tick):  # noqa: F811
    write_batch(home / "inbox", "b4")
    sheaf("run", "fermentation", "b4", "--json")
    requests = home / "inbox" / "requests"
    (requests / "late.yaml").write_text(
        "{domain: fermentation, partition: b4, series: samples_csv, filter: {min_hours: 4}, name: late samples}",
        encoding="utf-8",
    )
    first = tick()
    (run,) = first.run_requests
    assert run.partition_key == "b4"
    assert run.asset_selection == [dg.AssetKey(["fermentation", "samples_csv"])]
    config = run.run_config["ops"]["fermentation__samples_csv"]["config"]
    assert config["filter"] == ["min_hours=4"]
    assert (config["name"], config["requested_by"]) == ("late samples", "request late")
    assert (requests / "late.yaml").exists(), "kept until Dagster has the run"
    second = tick(first.cursor)
    assert not second.run_requests
    assert (requests / "accepted" / "late.yaml").exists()
    assert json.loads(second.cursor) == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{domain: fermentation, partition: b9, series: samples_csv}", "run `sheaf run fermentation b9`"),
        ("{domain: fermentation, partition: b4, series: nosuch}", "There is no series fermentation/nosuch"),
        ("{domain: fermentation, partition: b4, series: samples_csv, filter: {colour: red}}", "Unknown filter"),
        ("{domain: fermentation, partition: ../x, series: samples_csv}", "not a valid partition name"),
        ("domain: [", "not valid YAML"),
        ("{domain: fermentation, colour: red}", "unknown key 'colour': known are"),
    ],
)
def test_an_impossible_request_is_rejected_with_the_reason_beside_it(home, tick, text, reason):  # noqa: F811
    requests = home / "inbox" / "requests"
    (requests / "wrong.yaml").write_text(text, encoding="utf-8")
    assert not tick().run_requests
    assert (requests / "rejected" / "wrong.yaml").read_text(encoding="utf-8") == text
    assert reason in (requests / "rejected" / "wrong.reason.txt").read_text(encoding="utf-8")
    (requests / "wrong.yaml").write_text(text, encoding="utf-8")
    tick()
    assert (requests / "rejected" / "wrong-2.yaml").exists()


GOOD = "domain: fermentation\npartition: b4\nseries: samples_csv\nfilter: {min_hours: 4}\nname: %s\n"


@pytest.mark.case("front-door/request-yml-json-ignored")
def test_yaml_yml_and_json_are_served(home, sheaf, tick):  # noqa: F811
    write_batch(home / "inbox", "b4")
    sheaf("run", "fermentation", "b4", "--json")
    requests = home / "inbox" / "requests"
    (requests / "a.yml").write_text(GOOD % "a", encoding="utf-8")
    (requests / "b.JSON").write_text(
        '{\n\t"domain": "fermentation", "partition": "b4", "series": "samples_csv",\n\t"name": "b", "always": true}',
        encoding="utf-8",
    )
    (requests / "notes.txt").write_text("no request", encoding="utf-8")
    first = tick()
    names = [run.run_config["ops"]["fermentation__samples_csv"]["config"]["name"] for run in first.run_requests]
    assert names == ["a", "b"]
    tick(first.cursor)
    assert sorted(path.name for path in (requests / "accepted").iterdir()) == ["a.yml", "b.JSON"]
    assert (requests / "notes.txt").exists()


@pytest.mark.case("reliability/poison-request")
def test_whatever_one_request_is_the_others_are_served(home, sheaf, tick, tmp_path_factory):  # noqa: F811
    write_batch(home / "inbox", "b4")
    sheaf("run", "fermentation", "b4", "--json")
    requests = home / "inbox" / "requests"
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_text("hunter2: 1\n", encoding="utf-8")
    poison = {
        "date.yaml": b"filter: {since: 2026-02-30}\n",
        "brackets.yaml": b"[" * 4000,
        "brackets.json": b"[" * 4000,
        "int.yaml": b"domain: !!int x\n",
        "timestamp.yaml": b"domain: !!timestamp x\n",
        "digits.yaml": b"name: " + b"9" * 5000,
        "latin.yml": "name: é\n".encode("latin-1"),
        "large.yaml": b"#" * 2_000_000,
        "half.json": b'{"domain": "ferm',
        "surrogate.json": b'{"domain": "\\ud800", "partition": "b4", "series": "samples_csv"}',
        "surrogate.yaml": b'{domain: fermentation, partition: b4, series: samples_csv, name: "\\ud800"}',
        "odd.yaml": b"{domain: fermentation, partition: b4, series: samples_csv, filter: {min_hours: [[1], {a: b}]}}",
        "keys.yaml": b"{domain: fermentation, partition: b4, series: samples_csv, filter: {1: 2}}",
        "empty.yaml": b"",
    }
    for name, data in poison.items():
        (requests / name).write_bytes(data)
    (requests / "folder.yaml").mkdir()
    os.mkfifo(requests / "pipe.yaml")
    (requests / "zeros.yaml").symlink_to("/dev/zero")
    (requests / "secret.yaml").symlink_to(secret)
    (requests / "circle.yaml").symlink_to("circle.yaml")
    (requests / os.fsdecode(b"\xff.yaml")).write_bytes(b"[")
    (requests / "zz.yaml").write_text(GOOD % "good", encoding="utf-8")
    cursor, asked = None, []
    for _ in range(4):
        result = tick(cursor)
        if isinstance(result, dg.SensorResult):
            cursor = result.cursor
            asked += [run.run_key for run in result.run_requests or ()]
    rejected = requests / "rejected"
    left = sorted(path.name for path in requests.iterdir())
    served = sorted(path.name for path in (requests / "accepted").iterdir())
    assert left == ["accepted", "rejected"]
    assert served == ["zz.yaml"]
    assert len(asked) == 1
    assert len(list(rejected.glob("*.reason.txt"))) == len(poison) + 6
    assert all(path.read_text(encoding="utf-8").count("\n") >= 1 for path in rejected.glob("*.reason.txt"))
    assert "hunter2" not in "".join(path.read_text(encoding="utf-8") for path in rejected.glob("*.reason.txt"))
    assert "day is out of range" in (rejected / "date.reason.txt").read_text(encoding="utf-8")


def test_requests_that_cannot_be_moved_hold_up_nobody(home, sheaf, tick):  # noqa: F811
    write_batch(home / "inbox", "b4")
    sheaf("run", "fermentation", "b4", "--json")
    requests = home / "inbox" / "requests"
    (requests / "rejected").write_text("a file where the folder should be", encoding="utf-8")
    for number in range(30):
        (requests / f"a{number:02}.yaml").write_text("domain: [", encoding="utf-8")
    (requests / "z.yaml").write_text(GOOD % "good", encoding="utf-8")
    cursor, asked = None, 0
    for _ in range(3):
        result = tick(cursor)
        cursor, asked = result.cursor, asked + len(result.run_requests or ())
    assert asked == 1
    assert (requests / "accepted" / "z.yaml").exists()
    assert len(cursor or "") < 5000


@pytest.mark.parametrize("cursor", ["garbage", "[]", '{"asked": 3}', '{"late.yaml": "0"}'])
def test_a_damaged_cursor_starts_over(home, tick, cursor):  # noqa: F811
    (home / "inbox" / "requests" / "a.yaml").write_text("domain: [", encoding="utf-8")
    assert not tick(cursor).run_requests
    assert (home / "inbox" / "requests" / "rejected" / "a.yaml").exists()


def test_what_nobody_reads_is_named_by_the_sensor(home, tick):  # noqa: F811
    (home / "inbox" / "fermentaton").mkdir()
    (home / "inbox" / "requests" / "late.txt").write_text("please")
    said = tick().skip_message
    assert "fermentaton in the inbox: It is the folder of no domain and is not read: rename it to fermentation." in said
    assert "requests/late.txt in the inbox: It is no request and is not read" in said


@pytest.mark.campaign
def test_of_two_daemons_one_serves_a_request_and_a_dead_one_loses_none(home, sheaf, tick, monkeypatch):  # noqa: F811
    """Each has a database of its own, so that run keys do not see to it."""
    write_batch(home / "inbox", "b4")
    sheaf("run", "fermentation", "b4", "--json")
    requests = home / "inbox" / "requests"
    settings = Settings.load()
    resources = {"store": StoreResource(url=settings.store_url), "settings": settings}
    sensor = build_definitions(settings).get_sensor_def("export_requests")
    another = dg.DagsterInstance.ephemeral()

    def other(cursor=None):
        return sensor(dg.build_sensor_context(instance=another, cursor=cursor, resources=resources))

    (requests / "a.yaml").write_text(f"{GOOD % 'a'}always: true\n", encoding="utf-8")
    first, second = tick(), other()
    assert (len(first.run_requests), second.run_requests) == (1, [])
    assert (requests / "a.yaml").exists()
    assert len(tick().run_requests) == 1, "its own request it may ask for again: the run key is the same"
    tick(first.cursor)
    assert not isinstance(other(second.cursor), dg.SensorResult), "there is none left"
    assert [path.name for path in requests.rglob("*.yaml")] == ["a.yaml"]

    (requests / "b.yaml").write_text(GOOD % "b", encoding="utf-8")
    assert len(tick().run_requests) == 1  # and it never comes back
    waiting = other()
    assert other(waiting.cursor).run_requests == []
    monkeypatch.setattr("sensors.requests.CLAIMED_S", 0.0)
    assert len(other(waiting.cursor).run_requests) == 1

    (requests / "c.yaml").write_text("domain: [", encoding="utf-8")
    for look in (tick, other):
        look()
    rejected = sorted(path.name for path in (requests / "rejected").iterdir())
    assert rejected == ["c.reason.txt", "c.yaml"]
