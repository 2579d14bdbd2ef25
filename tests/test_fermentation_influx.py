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
from influx_server import ORG, TOKEN, Influx, flux_surface, influx_server
from live_campaign import (
    VESSELS,
    batch_id,
    ingest_all,
    line_protocol,
    nanoseconds,
    points,
    published,
    put_in_inbox,
    shared_records,
)

from sheaf import tables
from sheaf.errors import InputError, SourceError
from sheaf.fermentation import influx_csv, schema
from sheaf.fermentation.eln_live import ElnSource, ingest_folder, ingest_record
from sheaf.fermentation.eln_rest import ElnRest
from sheaf.fermentation.influx import InfluxSensors
from sheaf.fermentation.influx_queries import Selection
from sheaf.fermentation.ingest import ingest
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.source_settings import InfluxSettings, RestSettings
from sheaf.inbox import InboxSource
from sheaf.store import Store

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
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:9 cannot be read"):
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
    inbox = InboxSource(tmp_path / "inbox", "fermentation", lambda *args: ingest(*args, plain))
    found = []
    with eln_server(documents) as eln:
        live = ElnSource(
            ElnRest(RestSettings(kind="eln_rest", url=eln.url)), plain.model_copy(update={"sensors": sensors})
        )
        for number, source in enumerate((inbox, live)):
            store = Store.open(str(tmp_path / f"store-{number}"))
            ingest_all(source, store)
            found.append(published(store, sorted(map(batch_id, documents)), plain))
    assert found[0] == found[1]
    assert tables.read(store, schema.SENSORS_TABLE, batch_id(documents[0])).num_rows == len(points(documents[0]))


def test_a_batch_of_the_inbox_without_a_sensors_file_gets_them_from_the_database(sensors, local_store, tmp_path):
    documents = shared_records()[:2]
    put_in_inbox(tmp_path, documents)
    settings = FermentationSettings(sensors=sensors)
    for document in documents:
        folder = tmp_path / "fermentation" / batch_id(document)
        for _ in range(2):  # what the store knows of the batch itself is no neighbour
            report = ingest_folder(folder, local_store, batch_id(document), settings)
        assert report.counts["sensor_points"] == len(points(document))
    again = orjson.loads((folder / "batch.json").read_bytes())
    again["batch"] |= {key: documents[0]["batch"][key] for key in ("inoculated_at", "completed_at")}
    (folder / "batch.json").write_bytes(orjson.dumps(again))
    with pytest.raises(InputError, match="were in vessel V-FR-01 at the same time"):
        ingest_folder(folder, local_store, batch_id(document), settings)


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

        def log_message(self, *_: Any) -> None:
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

    def read(**more: Any) -> Any:
        settings = FermentationSettings(sensors=sensors.model_copy(update={"bucket": "pascal"}), **more)
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        return ingest_record(orjson.dumps(document), [], local_store, "b", settings, folder)

    assert any("cannot be in bar" in reason for reason in read().rejects)
    assert read(units={"Reactor_Pressure": "kPa"}).counts["sensor_points"] == 360
    assert set(tables.read(local_store, schema.SENSORS_TABLE, "b")["value"].to_pylist()) == {101.3 * 0.01}


def test_a_vessel_that_is_not_mapped_refuses_the_batch(sensors, local_store, tmp_path):
    settings = FermentationSettings(sensors=sensors.model_copy(update={"vessels": {"V-9": "vessel1"}}))
    with pytest.raises(InputError, match=r"Vessel 'V-FR-01' of batch b is not mapped .*fermentation\.sensors\.vessels"):
        ingest_record(orjson.dumps(shared_records()[0]), [], local_store, "b", settings, tmp_path)


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
        assert source.ingest(local_store, key).counts["sensor_points"] == len(many)
        before = [tables.version(local_store, table, key) for table in (schema.SENSORS_TABLE, schema.SAMPLES)]
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
        monkeypatch.setattr("sheaf.fermentation.influx.read_points", watched)
        with pytest.raises(SourceError, match="cannot be read"):
            source.ingest(local_store, key)
        assert began.is_set()
    assert [tables.version(local_store, table, key) for table in (schema.SENSORS_TABLE, schema.SAMPLES)] == before
    tables.refuse_if_blocked(local_store, schema.REJECTS, key)
