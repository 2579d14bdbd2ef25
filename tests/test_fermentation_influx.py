"""Sensors from InfluxDB: a real server for InfluxQL, and in front of it the HTTP surface of 2.x for Flux."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyarrow.parquet as pq
import pytest
from eln_server import PASSWORD, USER, eln_server
from fermentation_inbox import hashes, rows_of
from influx_server import ORG, TOKEN, Influx, flux_surface, influx_server
from live_campaign import (
    VESSELS,
    batch_id,
    ingest,
    line_protocol,
    make_all,
    nanoseconds,
    points,
    published,
    put_in_inbox,
    shared_records,
)

from sheaf.errors import SourceError
from sheaf.fermentation import schema
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.source_settings import InfluxSettings, RestSettings
from sheaf.fermentation.sources import influx_csv
from sheaf.fermentation.sources.eln_rest import ElnRest
from sheaf.fermentation.sources.inbox import BatchInbox
from sheaf.fermentation.sources.influx import InfluxSensors
from sheaf.fermentation.sources.influx_queries import Selection
from sheaf.fermentation.sources.live import ElnSource
from sheaf.store.store import Store
from sheaf.tables import generations

pytestmark = pytest.mark.influxd

T0 = datetime(2026, 3, 2, 20, 30, tzinfo=UTC)
NAMES = ("pH", "DO", "OD", "broth")


@pytest.fixture(scope="module")
def influx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Influx]:
    with influx_server(tmp_path_factory.mktemp("influx")) as server:
        server.create("pichia_raw")
        for document in shared_records()[:2]:
            server.write("pichia_raw", line_protocol(document, points(document)))
        yield server


@pytest.fixture(scope="module")
def surface(influx: Influx) -> Iterator[tuple[str, Any]]:
    with flux_surface(influx) as found:
        yield found


@pytest.fixture(params=["influx1", "influx2", "influx3"])
def sensors(request, influx, surface, monkeypatch) -> InfluxSettings:
    """The same series in each of the ways a site may have them."""
    monkeypatch.setenv("INFLUXDB_V2_TOKEN", TOKEN)
    url = surface[0] if request.param == "influx2" else influx.url
    return InfluxSettings(kind=request.param, url=url, org=ORG, bucket="pichia_raw", vessels=VESSELS)


def hours(first: float, last: float, vessel: str = "vessel1") -> Selection:
    return Selection(vessel, T0 + timedelta(hours=first), T0 + timedelta(hours=last), NAMES)


def rows(path: Path) -> list[tuple[datetime, str, float]]:
    return sorted(tuple(row.values()) for row in pq.read_table(path).to_pylist())


def wanted(chosen: Selection) -> list[tuple[datetime, str, float]]:
    names = {"Temp_Broth": "broth"}
    found = [(time, names.get(name, name), value) for time, name, value in points(shared_records()[0])]
    return sorted(
        (time.replace(microsecond=time.microsecond // 1000 * 1000), name, value)
        for time, name, value in found
        if name in chosen.sensors and chosen.start <= time < chosen.stop
    )


def test_every_point_of_the_window_arrives_with_all_its_digits(sensors, tmp_path, monkeypatch):
    chosen = hours(2, 6)
    assert InfluxSensors(sensors).fetch(chosen, tmp_path / "a.parquet") == 120 * 4
    assert rows(tmp_path / "a.parquet") == wanted(chosen)
    monkeypatch.setattr(influx_csv, "_BLOCK", 1000)
    InfluxSensors(sensors).fetch(chosen, tmp_path / "b.parquet")
    assert rows(tmp_path / "b.parquet") == wanted(chosen), "cut into many blocks"
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes(), "the same delivery"


def test_another_vessel_and_another_time_have_no_points(sensors, tmp_path):
    assert InfluxSensors(sensors).fetch(hours(2, 6, "vessel9"), tmp_path / "a.parquet") == 0
    assert InfluxSensors(sensors).fetch(hours(-99, -98), tmp_path / "a.parquet") == 0
    assert pq.read_table(tmp_path / "a.parquet").schema.names == ["time", "sensor", "value"]


def test_a_bucket_that_is_not_there_is_an_error_and_not_an_empty_series(sensors, tmp_path):
    missing = InfluxSensors(sensors.model_copy(update={"bucket": "nosuch"}))
    for ask in (missing.check, lambda: missing.count(hours(2, 6)), lambda: missing.fetch(hours(2, 6), tmp_path / "a")):
        with pytest.raises(SourceError, match="nosuch"):
            ask()
    assert "pichia_raw at http://127.0.0.1" in InfluxSensors(sensors).check()


def test_a_server_that_is_gone_or_refuses_is_named(sensors, monkeypatch, surface):
    gone = InfluxSensors(sensors.model_copy(update={"url": "http://127.0.0.1:9"}))
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:9\S* cannot be rea(d|ched)"):
        gone.count(hours(2, 6))
    if sensors.kind == "influx2":
        monkeypatch.setenv("INFLUXDB_V2_TOKEN", "another")
        with pytest.raises(SourceError, match=r"refuses the login \(401\): check INFLUXDB_V2_TOKEN"):
            InfluxSensors(sensors).check()
    if sensors.kind != "influx1":
        monkeypatch.delenv("INFLUXDB_V2_TOKEN")
        with pytest.raises(SourceError, match="Set the environment variable INFLUXDB_V2_TOKEN"):
            InfluxSensors(sensors).check()


def test_an_answer_in_flux_that_breaks_off_says_why(sensors, surface, tmp_path, monkeypatch):
    if sensors.kind == "influx2":
        monkeypatch.setattr(surface[1], "broken_off", True)
        with pytest.raises(SourceError, match="broke off: query terminated: engine closed"):
            InfluxSensors(sensors).fetch(hours(2, 6), tmp_path / "a.parquet")
        monkeypatch.setattr(surface[1], "broken_off", False)
        monkeypatch.setattr(surface[1], "repeat_header", False)
        InfluxSensors(sensors).fetch(hours(2, 6), tmp_path / "a.parquet")
    else:
        InfluxSensors(sensors).fetch(hours(2, 6), tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet") == wanted(hours(2, 6))


def test_all_sensors_in_one_measurement_with_the_topic_as_a_tag(influx, sensors, tmp_path):
    """As a Telegraf whose topic rule is wrong writes them; the vessel is a part of the topic."""
    topic = "bioprocess/pichia/{}/sensors/offgas/{}"
    lines = [
        f"bioprocess,vessel=bioprocess,topic={topic.format(vessel, name)} _value={value} {nanoseconds(T0)}"
        for vessel, name, value in (("vessel1", "co2", 1.5), ("vessel1", "o2", 20.1), ("vessel11", "co2", 9.0))
    ]
    if "telegraf" not in str(influx.query("SHOW DATABASES")):
        influx.create("telegraf")
        influx.write("telegraf", "\n".join(lines))
    layout = {"bucket": "telegraf", "measurement": "bioprocess", "sensor_tag": "topic", "vessel_tag": "topic"}
    found = InfluxSensors(sensors.model_copy(update=layout))
    assert found.count(hours(-1, 1)) == 2
    assert found.fetch(hours(-1, 1), tmp_path / "a.parquet") == 2
    assert [(name, value) for _, name, value in rows(tmp_path / "a.parquet")] == [("co2", 1.5), ("o2", 20.1)]


def test_a_clock_that_is_ahead_is_put_right(sensors, tmp_path):
    ahead = InfluxSensors(sensors.model_copy(update={"clock_ahead_s": 90.0}))
    ahead.fetch(hours(2, 3), tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet") == [
        (time - timedelta(seconds=90), name, value) for time, name, value in wanted(hours(2, 3))
    ]


def test_names_with_quotes_and_statements_in_them_are_only_names(influx, sensors, tmp_path):
    """A name is data: it cannot end its quotes."""
    evil = "vessel1' OR 1=1; DROP DATABASE pichia_raw; --"
    found = InfluxSensors(sensors)
    chosen = Selection(evil, T0, T0 + timedelta(hours=1), ['pH" WHERE 1=1; DROP DATABASE "pichia_raw'])
    if sensors.kind == "influx2":
        with pytest.raises(SourceError, match="400"):  # the stand-in takes no escapes; the checker says it is Flux
            found.count(chosen)
    else:
        assert found.count(chosen) == 0
    assert found.count(hours(2, 3)) == 120


def test_inbox_and_live_systems_with_sensors_publish_the_same_bytes(influx, sensors, monkeypatch, tmp_path):
    documents = shared_records()[:1]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1780000000")
    monkeypatch.setenv("SHEAF_ELN_USER", USER)
    monkeypatch.setenv("SHEAF_ELN_PASSWORD", PASSWORD)
    plain = FermentationSettings()
    put_in_inbox(tmp_path / "inbox", documents, sensors=True)
    inbox = BatchInbox(tmp_path / "inbox", str(tmp_path / "store"), plain)
    stores = [Store.open(str(tmp_path / name)) for name in ("store-inbox", "store-live")]
    found = []
    with eln_server(documents) as eln:
        live = ElnSource(
            ElnRest(RestSettings(kind="eln_rest", url=eln.url)), plain.model_copy(update={"sensors": sensors})
        )
        for store, source in zip(stores, (inbox, live), strict=True):
            make_all(source, store, plain)
            found.append(published(store, sorted(map(batch_id, documents)), plain))
    assert found[0] == found[1]
    assert len(rows_of(stores[1], schema.SENSORS_TABLE, batch_id(documents[0]))) == len(points(documents[0]))


def test_a_batch_of_the_inbox_without_a_sensors_file_gets_them_from_the_database(sensors, local_store, tmp_path):
    documents = shared_records()[:2]
    put_in_inbox(tmp_path, documents)
    inbox = BatchInbox(tmp_path, local_store.url, FermentationSettings(sensors=sensors))
    keys = [batch_id(document) for document in documents]
    for key, document in zip(keys, documents, strict=True):
        made = ingest(inbox, local_store, key)
        assert made.report.counts["sensor_points"] == len(points(document))
    for key in keys:  # what the store knows of the batch itself is no neighbour
        assert ingest(inbox, local_store, key).unchanged
    folder = tmp_path / "fermentation" / keys[1]
    again = orjson.loads((folder / "batch.json").read_bytes())
    again["batch"] |= {key: documents[0]["batch"][key] for key in ("inoculated_at", "completed_at")}
    (folder / "batch.json").write_bytes(orjson.dumps(again))
    made = ingest(inbox, local_store, keys[1])
    assert "were in vessel V-FR-01 at the same time" in (made.generation.refused or "")
    assert len(rows_of(local_store, schema.SENSORS_TABLE, keys[1])) == len(points(documents[1])), "the last good ones"
    (folder / "sensors.csv").write_text("time,sensor,value\n")
    assert "sensors: " in (ingest(inbox, local_store, keys[1]).generation.refused or ""), (
        "a file of its own comes first"
    )


def test_a_neighbour_that_is_read_later_changes_the_state_of_a_batch(sensors, local_store, tmp_path):
    """Two batches in one vessel: the second begins within the half hour that is kept after the first."""
    first, second = shared_records()[:2]
    completed = datetime.fromisoformat(first["batch"]["completed_at"])
    second["batch"] |= {
        "vessel_id": first["batch"]["vessel_id"],
        "inoculated_at": (completed + timedelta(minutes=10)).isoformat(),
    }
    put_in_inbox(tmp_path, [first, second])
    inbox = BatchInbox(tmp_path, local_store.url, FermentationSettings(sensors=sensors))

    def token() -> str:
        (state,) = inbox.states([batch_id(first)])
        return state.token

    before = token()
    assert token() == before
    ingest(inbox, local_store, batch_id(second))
    assert token() != before


def test_a_database_that_is_gone_is_the_problem_of_the_batches_that_need_it(tmp_path, local_store, monkeypatch):
    (document,) = shared_records()[:1]
    put_in_inbox(tmp_path, [document])
    sensors = InfluxSettings(kind="influx1", url="http://127.0.0.1:9", bucket="raw", vessels=VESSELS)
    inbox = BatchInbox(tmp_path, local_store.url, FermentationSettings(sensors=sensors))
    soon = datetime.fromisoformat(document["batch"]["completed_at"]) + timedelta(hours=10)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(soon.timestamp())))
    (state,) = inbox.states([batch_id(document)])
    assert "127.0.0.1:9" in state.problem
    assert "cannot be rea" in state.problem
    with pytest.raises(SourceError, match=r"cannot be rea(d|ched)"):
        ingest(inbox, local_store, batch_id(document))
    (tmp_path / "fermentation" / batch_id(document) / "sensors.csv").write_text("time,sensor,value\n")
    (state,) = inbox.states([batch_id(document)])
    assert state.token
    assert ingest(inbox, local_store, batch_id(document)).generation.refused is None


@pytest.fixture
def cutting(influx: Influx) -> Iterator[str]:
    """A proxy that ends each CSV early and in good order, as a server that failed in mid-query does."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Pass on a query; shorten the answer."""
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = httpx.post(f"{influx.url}/query", content=body, headers=dict(self.headers), timeout=60)
            lines = answer.content.splitlines(keepends=True)
            data = b"".join(lines[:-50]) if "csv" in answer.headers["Content-Type"] else answer.content
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name)
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_an_answer_with_fewer_points_than_were_counted_is_not_used(cutting, tmp_path):
    cut = InfluxSensors(InfluxSettings(kind="influx1", url=cutting, bucket="pichia_raw", vessels=VESSELS))
    with pytest.raises(SourceError, match=r"counts 480 points but gave 43[01]"):
        cut.fetch(hours(2, 6), tmp_path / "a.parquet")


def test_a_point_that_arrives_late_changes_one_batch_for_as_long_as_is_configured(influx, sensors, monkeypatch):
    documents = shared_records()[:2]
    monkeypatch.setenv("SHEAF_ELN_USER", USER)
    monkeypatch.setenv("SHEAF_ELN_PASSWORD", PASSWORD)
    completed = datetime.fromisoformat(documents[0]["batch"]["completed_at"])
    later = datetime.fromisoformat(documents[1]["batch"]["completed_at"])

    def tokens(now: datetime) -> dict[str, str]:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(now.timestamp())))
        return {state.partition: state.token for state in source.states(source.offers().partitions)}

    with eln_server(documents) as eln:
        settings = FermentationSettings(sensors=sensors)
        source = ElnSource(ElnRest(RestSettings(kind="eln_rest", url=eln.url)), settings)
        soon = later + timedelta(hours=10)
        before = tokens(soon)
        assert tokens(soon) == before
        second = sensors.model_fields_set and int(sensors.kind[-1])
        time = nanoseconds(later - timedelta(hours=3)) + second * 7_000_000_000
        influx.write("pichia_raw", f"pH,host=jetson-edge,vessel=vessel1 _value=5.05 {time}")
        after = tokens(soon)
        assert [key for key in before if before[key] != after[key]] == [batch_id(documents[1])]
        assert tokens(completed + timedelta(hours=80))[batch_id(documents[0])] == after[batch_id(documents[0])]
        last = tokens(later + timedelta(hours=73))
        assert last[batch_id(documents[1])] != after[batch_id(documents[1])], "read for a last time"
        assert tokens(later + timedelta(hours=900)) == last
        elsewhere = sensors.model_copy(update={"clock_ahead_s": 1.0})
        source = ElnSource(source.eln, FermentationSettings(sensors=elsewhere))
        assert set(tokens(later + timedelta(hours=900)).values()).isdisjoint(last.values())


def test_a_declared_unit_is_converted_and_an_undeclared_one_refused(influx, sensors, local_store, tmp_path):
    document = shared_records()[0]
    if "pascal" not in str(influx.query("SHOW DATABASES")):
        influx.create("pascal")
        lines = [
            f"headspace,vessel=vessel1 _value=101.3 {nanoseconds(T0 + timedelta(seconds=second))}"
            for second in range(0, 3600, 10)
        ]
        influx.write("pascal", "\n".join(lines))
    put_in_inbox(tmp_path, [document])

    def read(**more: Any) -> Any:
        settings = FermentationSettings(sensors=sensors.model_copy(update={"bucket": "pascal"}), **more)
        return ingest(BatchInbox(tmp_path, local_store.url, settings), local_store, batch_id(document), settings)

    assert "cannot be in bar" in (read().generation.refused or "")
    assert read(units={"Reactor_Pressure": "kPa"}).report.counts["sensor_points"] == 360
    values = {row["value"] for row in rows_of(local_store, schema.SENSORS_TABLE, batch_id(document))}
    assert values == {101.3 * 0.01}


def test_a_vessel_that_is_not_mapped_refuses_the_batch(sensors, local_store, tmp_path):
    settings = FermentationSettings(sensors=sensors.model_copy(update={"vessels": {"V-9": "vessel1"}}))
    put_in_inbox(tmp_path, shared_records()[:1])
    key = batch_id(shared_records()[0])
    refused = ingest(BatchInbox(tmp_path, local_store.url, settings), local_store, key).generation.refused
    assert (refused or "").startswith(f"Vessel 'V-FR-01' of batch {key} is not mapped")
    assert "fermentation.sensors.vessels" in (refused or "")


@pytest.fixture(scope="module")
def layouts(influx: Influx) -> Influx:
    """Databases as others have them: two probes in a vessel, a value that is text, each sensor a field."""
    lines: dict[str, list[str]] = {"probes": [], "texts": [], "fields": [], "machines": [], "at_once": []}
    for second in range(0, 600, 10):
        at = nanoseconds(T0 + timedelta(seconds=second))
        lines["probes"] += [
            f"pH,vessel=vessel1,probe={probe} value={value} {at}" for probe, value in (("A", 5), ("B", 7))
        ]
        lines["machines"] += [f"pH,vessel=vessel1,host={'0f3c' if second < 300 else '77ad'} value=5 {at}"]
        lines["at_once"] += [f"pH,vessel=vessel1,host={'ab'[second // 10 % 2]} value={5 + second // 10 % 2 * 2} {at}"]
        lines["texts"] += [f"pH,vessel=vessel1 value=5 {at}", f'Stir_SP,vessel=vessel1 value="600" {at}']
        dissolved = ",DO=60" if second % 20 == 0 else ""
        lines["fields"] += [
            f"bioreactor,vessel=vessel1 pH=5.5{dissolved},lamp=1 {at}",
            f'bioreactor,vessel=vessel2 pH=7,state="on" {at}',
        ]
    for name, found in lines.items():
        influx.create(name)
        influx.write(name, "\n".join(found))
    return influx


def read_live(sensors: InfluxSettings, store: Store, inbox: Path, changes: dict[str, Any], **more: Any) -> Any:
    settings = FermentationSettings(sensors=sensors.model_copy(update=changes), **more)
    if not inbox.exists():
        put_in_inbox(inbox, shared_records()[:1])
    return ingest(BatchInbox(inbox, store.url, settings), store, batch_id(shared_records()[0]), settings)


@pytest.mark.case("fermentation/influx-series-merged")
def test_two_probes_in_a_vessel_are_never_averaged(layouts, sensors, local_store, tmp_path):
    made = read_live(sensors, local_store, tmp_path / "in", {"bucket": "probes"})
    assert "pH has 2 series that differ in probe ('A', 'B')" in (made.generation.refused or "")
    assert not read_live(
        sensors, local_store, tmp_path / "in", {"bucket": "probes"}, ignore_tags=["probe"]
    ).generation.refused


def test_an_agent_that_was_started_anew_under_another_name_writes_the_same_series(
    layouts, sensors, local_store, tmp_path
):
    made = read_live(sensors, local_store, tmp_path / "in", {"bucket": "machines"})
    assert made.generation.refused is None
    assert made.report.counts["sensor_points"] == 60


def test_two_machines_that_write_one_sensor_at_once_are_refused_by_name(layouts, sensors, local_store, tmp_path):
    made = read_live(sensors, local_store, tmp_path / "in", {"bucket": "at_once"})
    assert "pH has 2 series that differ in host ('a', 'b')" in (made.generation.refused or "")


def test_each_sensor_may_be_a_field_of_one_measurement(layouts, sensors, local_store, tmp_path, monkeypatch):
    layout = {"bucket": "fields", "measurement": "bioreactor"}
    made = read_live(sensors, local_store, tmp_path / "in", layout)
    assert made.generation.refused is None
    found = rows_of(local_store, schema.SENSORS_TABLE, batch_id(shared_records()[0]))
    assert [(row["sensor"], row["value"]) for row in found] == [("DO", 60.0)] * 30 + [("pH", 5.5)] * 60
    assert found[1]["time"] == T0 + timedelta(seconds=20)
    database = InfluxSensors(sensors.model_copy(update=layout))
    assert database.fetch(hours(0, 1), tmp_path / "a.parquet") == database.count(hours(0, 1)) == 90
    monkeypatch.setattr(influx_csv, "_BLOCK", 500)
    database.fetch(hours(0, 1), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize(
    "wrong",
    [{"vessels": {"V-FR-01": "vessel-1"}}, {"fields": ("reading",)}, {"measurement": "bio_reactor"}],
    ids=["vessel", "field", "measurement"],
)
def test_a_misspelt_name_is_refused_with_what_there_is(layouts, sensors, local_store, tmp_path, wrong):
    made = read_live(sensors, local_store, tmp_path / "in", {"bucket": "probes", **wrong})
    refused = made.generation.refused or ""
    assert "has no points of vessel" in refused
    assert "There is: vessel 'vessel1'; measurements 'pH'; fields 'value'" in refused


def test_a_sensor_that_is_written_as_text_is_named_or_read(layouts, sensors, local_store, tmp_path):
    """InfluxQL leaves it out without a word; Flux gives its text."""
    made = read_live(sensors, local_store, tmp_path / "in", {"bucket": "texts"})
    if sensors.kind == "influx2":
        names = {row["sensor"] for row in rows_of(local_store, schema.SENSORS_TABLE, batch_id(shared_records()[0]))}
        assert names == {"pH"}, "the stand-in asks in InfluxQL"
        return
    assert "holds the values of Stir_SP as text" in (made.generation.refused or "")
    plan: Any = {"sensors": {"Stir_SP": None}}
    made = read_live(sensors, local_store, tmp_path / "in", {"bucket": "texts"}, plan=plan)
    assert made.report.counts["sensor_points"] == 60


@pytest.fixture
def expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any, ElnSource, str]]:
    """An ELN and a database of their own, with one batch that was read long ago."""
    monkeypatch.setenv("SHEAF_ELN_USER", USER)
    monkeypatch.setenv("SHEAF_ELN_PASSWORD", PASSWORD)
    (document,) = documents = shared_records()[:1]
    with influx_server(tmp_path) as server, eln_server(documents) as eln:
        server.create("raw")
        server.write("raw", line_protocol(document, points(document)))
        sensors = InfluxSettings(kind="influx1", url=server.url, bucket="raw", vessels=VESSELS)
        source = ElnSource(ElnRest(RestSettings(kind="eln_rest", url=eln.url)), FermentationSettings(sensors=sensors))
        yield server, eln, source, batch_id(document)


@pytest.mark.parametrize("kept_h", [0, 6])
@pytest.mark.case("fermentation/late-dcw-after-retention")
def test_a_dry_weight_typed_after_the_points_have_expired_takes_none_of_them_away(expired, local_store, kept_h):
    """By then the store's are the only ones; part of them may still be in the database."""
    server, eln, source, key = expired
    first = ingest(source, local_store, key).generation
    (sample, *_) = eln.batches[key]["samples"]
    sample["dcw_g_per_l"] = 4.11
    completed = datetime.fromisoformat(eln.batches[key]["batch"]["completed_at"])
    border = (completed - timedelta(hours=kept_h)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for name in ("pH", "DO", "broth", "OD", "co2", "o2"):
        server.query(f"DELETE FROM \"{name}\" WHERE time < '{border}'", "raw")
    made = ingest(source, local_store, key)
    assert made.generation.refused is None
    assert rows_of(local_store, schema.SAMPLES, key)[0]["dcw_g_per_l"] == 4.11
    assert hashes(local_store, schema.SENSORS_TABLE, batch=key) == {"sensors": first.tables["sensors"].sha256}
    assert any("no longer at their source" in text for text in made.report.warnings)
    kept = [local_store.get(item.path) for item in local_store.list(f"revisions/fermentation/{key}")]
    assert sum(b"4.11" in document for document in kept) == 1, "what the ELN said is kept"


def test_a_server_killed_in_mid_answer_leaves_the_tables_and_a_clear_failure(tmp_path, monkeypatch, local_store):
    monkeypatch.setenv("SHEAF_ELN_USER", USER)
    monkeypatch.setenv("SHEAF_ELN_PASSWORD", PASSWORD)
    documents = shared_records()[:1]
    key = batch_id(documents[0])
    many = points(documents[0], every_s=4)
    with influx_server(tmp_path) as server, eln_server(documents) as eln:
        server.create("raw")
        server.write("raw", line_protocol(documents[0], many))
        sensors = InfluxSettings(kind="influx1", url=server.url, bucket="raw", vessels=VESSELS)
        source = ElnSource(ElnRest(RestSettings(kind="eln_rest", url=eln.url)), FermentationSettings(sensors=sensors))
        good = ingest(source, local_store, key)
        assert good.report.counts["sensor_points"] == len(many)
        eln.batches[key]["samples"].pop()
        began = threading.Event()
        read_points = influx_csv.read_points

        def watched(answer: Any, settings: InfluxSettings) -> Any:
            for number, piece in enumerate(read_points(iter(answer), settings)):
                if number == 0:
                    server.process.kill()
                    server.process.wait()
                    began.set()
                yield piece

        monkeypatch.setattr(influx_csv, "_BLOCK", 20_000)
        monkeypatch.setattr("sheaf.fermentation.sources.influx.read_points", watched)
        with pytest.raises(SourceError, match=r"cannot be rea(d|ched)"):
            ingest(source, local_store, key)
        assert began.is_set()
    assert generations.newest(local_store, FERMENTATION.place(FERMENTATION.reading, key)) == good.generation
