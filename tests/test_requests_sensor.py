"""Export requests as files: served ones are accepted, impossible ones come back with the reason."""

import json

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
    resources = {"store": StoreResource(url=settings.store_url)}
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
        ("{domain: fermentation, colour: red}", "cannot be used"),
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
