"""Which points belong to a batch, and the text of queries; no server needed."""

from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest
from fermentation_inbox import STEADY, put_batch, read, record, sensor_csv, steady_points
from fermentation_inbox import T0 as INOCULATION

from sheaf.errors import InputError
from sheaf.fermentation.schema import SENSORS_TABLE
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.source_settings import InfluxSettings
from sheaf.fermentation.sources.eln import Run
from sheaf.fermentation.sources.influx_queries import Selection, flux_points, influxql_points
from sheaf.fermentation.sources.live_sensors import keep_points
from sheaf.fermentation.sources.vessel_window import Window, window_of
from sheaf.store.store import Store

T0 = datetime(2026, 3, 2, 20, 30, tzinfo=UTC)
SETTINGS = InfluxSettings(
    kind="influx1", url="http://h", bucket="b", vessels={"V-1": "vessel1", "V-2": "vessel2", "V-1 (old)": "vessel1"}
)


def at(hours: float) -> datetime:
    return T0 + timedelta(hours=hours)


def run(batch: str, start: float | None, stop: float | None, vessel: str | None = "V-1") -> Run:
    return Run(batch, vessel, None if start is None else at(start), None if stop is None else at(stop))


def span(own: Run, *others: Run) -> tuple[datetime, datetime | None]:
    window = window_of(own, [own, *others], SETTINGS)
    assert window
    return window.start, window.stop


def test_an_hour_before_and_half_an_hour_after():
    assert span(run("a", 0, 20)) == (at(-1), at(20.5))
    assert span(run("a", 0, None)) == (at(-1), None)
    assert window_of(run("a", None, None), [], SETTINGS) is None


def test_the_margins_end_where_the_neighbours_batch_does():
    own, before, after = run("own", 0, 20), run("before", -25, -0.5), run("after", 20.25, None)
    assert span(own, before, after) == (at(-0.5), at(20.25))
    assert span(own, run("elsewhere", 5, 6, "V-2"), run("pending", None, None)) == (at(-1), at(20.5))


@pytest.mark.parametrize(
    "other", [run("b", 19.9, 40), run("b", -30, 0.1), run("b", 5, 6), run("b", -5, None), run("b", 5, 6, "V-1 (old)")]
)
def test_two_batches_in_one_vessel_at_the_same_time_are_refused_by_both_names(other):
    with pytest.raises(InputError, match="Batches own and b were in vessel V-1 at the same time"):
        span(run("own", 0, 20), other)


@pytest.mark.parametrize("vessel", ["V-3", None, ""])
def test_a_vessel_that_is_not_mapped_is_refused(vessel):
    with pytest.raises(InputError, match=r"add it to fermentation\.sensors\.vessels"):
        span(run("own", 0, 20, vessel))


def test_names_cannot_end_their_quotes():
    evil = 'x\' OR "1"=1 ${drop}\\'
    chosen = Selection(evil, T0, at(1), [evil])
    assert '"vessel" = \'x\\\' OR "1"=1 ${drop}\\\\\'' in influxql_points(SETTINGS, chosen)
    assert 'r["vessel"] == "x\' OR \\"1\\"=1 \\${drop}\\\\"' in flux_points(SETTINGS, chosen)
    topic = SETTINGS.model_copy(update={"measurement": "m", "sensor_tag": "topic", "vessel_tag": "topic"})
    assert r'"topic" =~ /(^|\/)a\.b\/c(\/|$)/' in influxql_points(topic, Selection("a.b/c", T0, at(1), []))


def test_points_that_a_database_no_longer_has_are_kept_whatever_else_of_the_plan_changed(tmp_path):
    """Of a sensor whose unit or names are others now nobody knows what they were."""
    store, folder = Store.open(str(tmp_path / "store")), tmp_path / "batch-1"
    read(store, put_batch(folder, record(), sensor_csv(steady_points(range(0, 60, 10)))))
    fetched, kept = tmp_path / "fetched.parquet", tmp_path / "kept.parquet"
    pq.write_table(SENSORS_TABLE.schema.empty_table(), fetched)
    window = Window("v1", INOCULATION - timedelta(hours=1), INOCULATION + timedelta(hours=21))
    plan = {"labels": {"od600": [0, 90]}, "sensors": {"Feed": {"unit": "mL/min"}, "pH": {"aliases": ["acid"]}}}
    settings = FermentationSettings.model_validate({"plan": plan})
    keep_points(store, "batch-1", window, "V-FR-01", settings, fetched, kept)
    assert set(pq.read_table(kept).column("sensor").to_pylist()) == STEADY.keys() - {"pH"}
