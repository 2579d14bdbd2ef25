"""What instruments and databases write becomes the same points, or is refused in words that say what was found."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fermentation_inbox import T0, accounts, at, notes, put_batch, read, record, rows_of

from sheaf.fermentation import schema
from sheaf.fermentation.settings import FermentationSettings
from sheaf.store.store import Store

WANTED = [
    (at(seconds=10 * step), sensor, value + step) for sensor, value in (("DO", 60.5), ("pH", 5.25)) for step in (0, 1)
]
Z0, Z1 = "2025-10-21T10:30:00Z", "2025-10-21T10:30:10Z"
LONG = f"time;sensor;value\n{Z0};pH;5,25\n{Z1};pH;6,25\n{Z0};DO;60,5\n{Z1};DO;61,5\n"
STAMP = round(T0.timestamp())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return put_batch(tmp_path / "batch-1", record())


def points_of(store: Store) -> list[tuple]:
    return [(row["time"], row["sensor"], row["value"]) for row in rows_of(store, schema.SENSORS_TABLE)]


def refused(store: Store, folder: Path, **settings) -> str:
    return read(store, folder, settings=FermentationSettings(**settings)).generation.refused or ""


WIDE_UNITS = (
    '"Time (UTC)";"pH [-]";"DO [%]";"Operator note"\n"2025-10-21 10:30:00";"5,25";"60,5";"start; all well"\n'
    '"2025-10-21 10:30:10";"6,25";"61,5";\n'
)
DASWARE = (
    '"[Info]"\n"Version";"5.0"\n\n"[Parameter]"\n"Name";"x"\n\n"[TrackData1]"\n'
    '"Timestamp";"Duration";"Unit 1.pH1.PV [pH]";"Unit 1.DO1.PV [%DO]";"Unit 1.N1.PV [rpm]"\n'
    '"2025-10-21 10:30:00";"00:00:00";"5,25";"60,5";"600"\n"2025-10-21 10:30:10";"00:00:10";"6,25";"61,5";"600"\n'
)
PIOREACTOR = (
    "experiment,pioreactor_unit,timestamp,timestamp_localtime,od_reading,angle,channel\n"
    "exp,w1,2025-10-21T10:30:00.000Z,2025-10-21 12:30:00.000,5.25,90,2\n"
    "exp,w1,2025-10-21T10:30:10.000Z,2025-10-21 12:30:10.000,6.25,90,2\n"
)
ANNOTATED = (
    "#datatype,string,long,dateTime:RFC3339,double,string,string,string\n#group,false,false,false,false,true,true,true\n"
    "#default,_result,,,,,,\n,result,table,_time,_value,_field,_measurement,vessel\n"
    f",,0,{Z0},5.25,value,pH,v1\n,,0,{Z1},6.25,value,pH,v1\n\n"
    "#datatype,string,long,dateTime:RFC3339,double,string,string,string\n#group,false,false,false,false,true,true,true\n"
    "#default,_result,,,,,,\n,result,table,_time,_value,_field,_measurement,vessel\n"
    f",,1,{Z0},60.5,value,DO,v1\n,,1,{Z1},61.5,value,DO,v1\n"
)
CLI = (
    f"name: pH\ntags: vessel=v1\ntime                value\n----                -----\n{STAMP}000000000 5.25\n"
    f"{STAMP + 10}000000000 6.25\n\nname: DO\ntags: vessel=v1\ntime                value\n----                -----\n"
    f"{STAMP}000000000 60.5\n{STAMP + 10}000000000 61.5\n"
)
FIELDS = (
    f"bioreactor,vessel=v1 pH=5.25,DO=60.5 {STAMP}000000000\n"
    f'bioreactor,vessel=v1 pH=6.25,DO=61.5,state="on" {STAMP + 10}000000000\n'
)


WIDE_ROWS = f"{Z0},5.25,60.5\n{Z1},6.25,61.5\n"
COMMAS = re.sub(r'"(\d+),(\d+)"', r'"\1.\2"', DASWARE).replace(";", ",")
FLUX = "Result: _result\nTable: keys: [_field, _measurement]\n" + "".join(
    f"   _field:string  _measurement:string               _time:time  _value:float\n---------------  ------------\n"
    f"          value                  {name}  {Z0}          {value}\n"
    f"          value                  {name}  {Z1}          {value + 1}\n"
    for name, value in (("pH", 5.25), ("DO", 60.5))
)
HANDED_OVER = "".join(
    f"{name},vessel=v1,host={host} value={value + step} {STAMP + 10 * step}000000000\n"
    for name, value in (("pH", 5.25), ("DO", 60.5))
    for step, host in ((0, "0f3c"), (1, "77ad"))
)
QUOTED = "time,sensor,value\n" + re.sub(r"(.+);(.+);(.+)", r'\1,\2,"\3"', LONG.partition("\n")[2])
WITH_UNITS = LONG.replace(";value", ";value;unit").replace("25\n", "25;pH\n").replace(",5\n", ",5;%\n")
GERMAN = "Zeit;pH;DO;Temperatur (°C)\n21.10.2025 12:30:00;5,25;60,5;30\n21.10.2025 12:30:10;6,25;61,5;30\n"
AMERICAN = "Date,Time,pH,DO\n10/21/2025,10:30:00 AM,5.25,60.5\n10/21/2025,10:30:10 AM,6.25,61.5\n"
WRITTEN = {
    "semicolons": ("sensors.csv", LONG, {}),
    "tabs": ("sensors.csv", LONG.replace(";", "\t"), {}),
    "tsv": ("sensors.tsv", LONG.replace(";", "\t").replace(",", "."), {}),
    "utf-16": ("sensors.csv", LONG.encode("utf-16"), {}),
    "bom": ("sensors.csv", LONG.encode("utf-8-sig"), {}),
    "crlf": ("sensors.csv", LONG.replace("\n", "\r\n"), {}),
    "three decimals": ("sensors.csv", re.sub(r"(,\d+)\n", lambda found: f"{found[1]:0<4}\n", LONG), {}),
    "units": ("sensors.csv", WITH_UNITS, {}),
    "quoted commas": ("sensors.csv", QUOTED, {}),
    "wide": ("sensors.csv", WIDE_UNITS, {}),
    "cp1252": ("sensors.csv", GERMAN.encode("cp1252"), {"naive_timezone": "Europe/Berlin"}),
    "american": ("sensors.csv", AMERICAN, {"naive_timezone": "UTC", "date_order": "mdy"}),
    "epoch": ("sensors.csv", f"timestamp,pH,DO\n{STAMP},5.25,60.5\n{STAMP + 10},6.25,61.5\n", {}),
    "fractions": ("sensors.csv", f"timestamp,pH,DO\n{STAMP}.0,5.25,60.5\n{STAMP + 10}.000,6.25,61.5\n", {}),
    "dasware": ("sensors.txt", DASWARE, {"naive_timezone": "UTC"}),
    "annotated": ("sensors.csv", ANNOTATED, {}),
    "influx": ("sensors.txt", CLI, {}),
    "influx csv": (
        "sensors.csv",
        "name,tags,time,value\n"
        + "".join(
            f'{name},"host=a,vessel=v1",{STAMP + 10 * step}000000000,{value + step}\n'
            for name, value in (("pH", 5.25), ("DO", 60.5))
            for step in (0, 1)
        ),
        {"vessels": {"V-FR-01": "v1"}},
    ),
    "empty column": ("sensors.csv", LONG.replace("value", "value;comment").replace("5\n", "5;\n"), {}),
    "fields": ("sensors.lp", FIELDS, {}),
    "utf-16 without its mark": ("sensors.csv", LONG.encode("utf-16-le"), {}),
    "the other utf-16": ("sensors.csv", WIDE_UNITS.encode("utf-16-be"), {}),
    "offset in the header": ("sensors.csv", GERMAN.replace("Zeit", "Zeit (UTC+2)"), {}),
    "half an hour in the header": (
        "sensors.csv",
        GERMAN.replace("Zeit", "Zeit [GMT-03:30]").replace(" 12:3", " 07:0"),
        {},
    ),
    "months by name": ("sensors.csv", GERMAN.replace("21.10.2025", "21-Oct-2025"), {"naive_timezone": "Europe/Berlin"}),
    "sep": ("sensors.csv", "sep=;\n" + LONG, {}),
    "units below the header": ("sensors.csv", "time,pH,DO\nUTC,-,%{sat}\n" + WIDE_ROWS, {}),
    "thousandths beside whole numbers": (
        "sensors.csv",
        "time;pH;DO;Feed\n" + re.sub(r"(\d)\n", r"\g<1>00;600\n", WIDE_ROWS.replace(",", ";")),
        {},
    ),
    "a comma in the second": ("sensors.csv", LONG.replace("0Z", "0,000Z"), {}),
    "a blank before the offset": ("sensors.csv", LONG.replace("T10:", " 12:").replace("Z", " +0200"), {}),
    "the year in front": (
        "sensors.csv",
        LONG.replace("-", "/").replace("T", " ").replace("Z", ""),
        {"naive_timezone": "UTC"},
    ),
    "dasware with commas": ("sensors.txt", COMMAS, {"naive_timezone": "UTC"}),
    "flux without annotations": (
        "sensors.csv",
        ",result,table,_time,_value,_field,_measurement,vessel\n"
        + "".join(
            f",,0,{time},{value},{name},bioreactor,v1\n"
            for name, of in (("pH", (5.25, 6.25)), ("DO", (60.5, 61.5)))
            for time, value in zip((Z0, Z1), of, strict=True)
        ),
        {},
    ),
    "influx query": ("sensors.txt", FLUX, {}),
    "influx with a greeting": ("sensors.txt", "Connected to http://localhost:8086 version 1.8.10\n" + CLI, {}),
    "influx with empty cells": (
        "sensors.txt",
        "name: bioreactor\ntime                 DO   pH   vessel\n----                 --   --   ------\n"
        f"{Z0} 60.5      v1\n{Z0}      5.25 v1\n{Z1} 61.5 6.25 v1\n",
        {},
    ),
    "line protocol by another name": ("sensors.txt", FIELDS, {}),
    "another machine took over": ("sensors.lp", HANDED_OVER, {}),
}


@pytest.mark.parametrize(("name", "content", "settings"), WRITTEN.values(), ids=WRITTEN)
def test_what_instruments_write_becomes_the_same_points(store, folder, name, content, settings):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    made = read(store, folder, settings=FermentationSettings(**settings))
    assert made.generation.refused is None
    assert points_of(store) == WANTED


def test_a_pioreactors_export_is_one_series_of_its_unit(store, folder):
    """Its times are UTC by `timestamp`; the one of the wall clock beside it is no tag."""
    (folder / "sensors.csv").write_text(PIOREACTOR)
    assert "alias" in refused(store, folder)
    assert refused(store, folder, aliases={"od_reading": "OD"}) == ""
    assert points_of(store) == [(T0, "OD", 5.25), (at(seconds=10), "OD", 6.25)]
    two = PIOREACTOR + "".join(
        f"exp,w2,2025-10-21T10:30:{second}.000Z,2025-10-21 12:30:{second}.000,9,90,2\n" for second in ("00", "10")
    )
    (folder / "sensors.csv").write_text(two)
    assert "pioreactor_unit 'w1', 'w2'" in refused(store, folder, aliases={"od_reading": "OD"})
    assert refused(store, folder, aliases={"od_reading": "OD"}, vessels={"V-FR-01": "w2"}) == ""
    assert points_of(store)[0] == (T0, "OD", 9.0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("time;Stir_SP\n" + f"{Z0};1.200\n{Z1};900\n", "1.200 ("),
        ("time;Stir_SP\n" + f"{Z0};1,200\n{Z1};900\n", "1,200 ("),
        (f"time,Temp_Broth,pH\n,°F,\n{Z0},60,5\n{Z1},61,5\n", "Temp_Broth is given in '\\xb0F'"),
        (ANNOTATED.replace(",_measurement", ",_other"), "'' is no known sensor"),
        (ANNOTATED.replace(",value,", ",vlaue,"), "pH: the point has no field _value or value"),
    ],
)
def test_what_may_be_something_else_or_has_no_name_is_refused(store, folder, content, said):
    (folder / "sensors.csv").write_text(content)
    assert said in refused(store, folder)


def two_vessels(name: str) -> str:
    if name == "sensors.lp":
        return "".join(
            f"pH,vessel={vessel} value={value} {STAMP + second}000000000\n"
            for second in (0, 10)
            for vessel, value in (("v1", 5), ("v2", 7))
        )
    return "time,sensor,value,Vessel\n" + f"{Z0},pH,5,v1\n{Z0},pH,7,v2\n{Z1},pH,5,v1\n{Z1},pH,7,v2\n"


def test_wide_parquet_is_read_as_wide_text_is(store, folder):
    """Units behind names are checked, and whole numbers tell vessels apart."""
    times = [T0, at(seconds=10)]
    for columns, said in (
        ({"pH": [5.25, 6.25], "Temp_Broth (°F)": [60.0, 61.0]}, "Temp_Broth is given in '\\xb0F'"),
        ({"pH": [5.25, 7.0], "vessel": [1, 2]}, "series of vessel '1', '2'"),
        ({"pH [-]": [5.25, 6.25], "DO [%]": [60.5, 61.5]}, ""),
    ):
        pq.write_table(pa.table({"time": times, **columns}), folder / "sensors.parquet")
        assert said in refused(store, folder)
    assert points_of(store) == WANTED


@pytest.mark.parametrize("name", ["sensors.lp", "sensors.csv", "sensors.parquet"])
@pytest.mark.case("fermentation/two-vessels-mixed")
def test_two_vessels_in_a_file_are_never_mixed(store, folder, name):
    if name == "sensors.parquet":
        columns = {"time": [T0, T0], "sensor": ["pH", "pH"], "value": [5.0, 7.0], "vessel": ["v1", "v2"]}
        pq.write_table(pa.table(columns), folder / name)
    else:
        (folder / name).write_text(two_vessels(name))
    assert f"{name} holds series of" in (said := refused(store, folder))
    assert "'v1', 'v2'" in said
    assert "'V-FR-01'" in said, "and what the batch's is called"
    assert "'v1', 'v2'" in refused(store, folder, vessels={"V-FR-01": "vessel-1"}), "a misspelt one"
    made = read(store, folder, settings=FermentationSettings(vessels={"V-FR-01": "v1"}))
    assert {value for *_, value in points_of(store)} == {5.0}
    assert accounts(made)["sensors"].left_out == {"a point of another vessel": len(points_of(store))}


def test_a_vessel_that_is_another_one_is_refused_where_only_its_points_came(store, folder):
    (folder / "sensors.lp").write_text(f"pH,vessel=v2 value=7 {STAMP}000000000\n")
    assert "'v2'" in refused(store, folder, vessels={"V-FR-01": "v1"})
    assert "'v2'" in refused(store, folder, vessels={"V-FR-02": "v2"}), "known to be another's"
    assert refused(store, folder) == "", "nobody says that it is not the batch's"


def test_the_units_of_a_dasware_file_are_vessels(store, folder):
    block = "[TrackData{0}]\nTimestamp;Unit {0}.pH{0}.PV [pH]\n2025-10-21 10:30:00;{0},25\n\n"
    (folder / "sensors.csv").write_text(block.format(5) + block.format(6))
    assert "series of unit '5', '6'" in refused(store, folder, naive_timezone="UTC")
    assert refused(store, folder, naive_timezone="UTC", vessels={"V-FR-01": "6"}) == ""
    assert points_of(store) == [(T0, "pH", 6.25)]


def test_two_probes_in_one_vessel_are_told_apart_or_refused(store, folder):
    lines = "".join(
        f"pH,probe={probe},quality={probe}1 value={value} {STAMP}000000000\n" for probe, value in (("A", 5), ("B", 7))
    )
    (folder / "sensors.lp").write_text(lines)
    said = refused(store, folder)
    assert "pH has 2 series that differ in probe ('A', 'B'); quality ('A1', 'B1')" in said
    (folder / "sensors.lp").write_text(
        lines.splitlines()[0].replace("probe=A,", "") + f"\npH,quality=good value=6 {STAMP + 1}000000000\n"
    )
    assert "quality" in refused(store, folder)
    assert refused(store, folder, ignore_tags=["quality"]) == ""
    assert [value for *_, value in points_of(store)] == [5.0, 6.0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"time,pH,pH\n{Z0},5,7\n", "two columns of pH"),
        (f"time,Temp_Broth,broth\n{Z0},30,31\n", "Temp_Broth has 2 series that differ in name ('Temp_Broth', 'broth')"),
        (f"time,sensor,value\n{Z0},broth,30\n{Z1},broth,30\n{Z0},Temp_Broth,31\n", "Temp_Broth has 2 series"),
        (f"time,sensor,value\n{Z0},broth,30\n{Z1},Temp_Broth,31\n", ""),
    ],
    ids=["twice", "alias", "long", "renamed in between"],
)
def test_two_names_of_a_sensor_are_two_series_of_it(store, folder, content, said):
    (folder / "sensors.csv").write_text(content)
    found = refused(store, folder)
    assert said in found
    assert bool(said) == bool(found)


def test_vessels_in_the_csv_of_influxdb_are_told_apart(store, folder):
    lines = f"pH,vessel=v1,{STAMP}000000000,5\npH,vessel=v2,{STAMP}000000000,7\n"
    (folder / "sensors.csv").write_text(f"name,tags,time,value\n{lines}")
    assert "series of vessel 'v1', 'v2'" in refused(store, folder)
    assert refused(store, folder, vessels={"V-FR-01": "v2"}) == ""
    assert points_of(store) == [(T0, "pH", 7.0)]


@pytest.mark.parametrize("name", ["sensors.csv", "sensors.parquet"])
def test_remarks_and_further_times_tell_no_series_apart(store, folder, name):
    columns = {
        "time": [Z0, Z1],
        "timestamp_localtime": ["2025-10-21 12:30:00", "2025-10-21 12:30:10"],
        "sensor": ["pH", "pH"],
        "value": [5.25, 6.25],
        "comment": ["", "fed"],
        "raw_value": [0.1, 0.2],
    }
    if name == "sensors.parquet":
        pq.write_table(pa.table(columns), folder / name)
    else:
        rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
        (folder / name).write_text("\n".join([",".join(columns), *rows]) + "\n")
    assert refused(store, folder) == ""
    assert points_of(store) == [(T0, "pH", 5.25), (at(seconds=10), "pH", 6.25)]


def test_points_without_the_tag_that_names_the_vessel_are_not_thrown_away(store, folder):
    lines = (
        f"pH,vessel=v1 value=5 {STAMP}000000000\nDO value=60 {STAMP}000000000\nOD,vessel=v2 value=9 {STAMP}000000000\n"
    )
    (folder / "sensors.lp").write_text(lines)
    assert refused(store, folder, vessels={"V-FR-01": "v1"}) == ""
    assert [sensor for _, sensor, _ in points_of(store)] == ["DO", "pH"]
    (folder / "sensors.lp").write_text(lines + f"DO,vessel=v1 value=61 {STAMP}000000000\n")
    assert "DO has 2 series" in refused(store, folder, vessels={"V-FR-01": "v1"})


def test_a_sensor_of_type_text_is_told(store, folder):
    (folder / "sensors.lp").write_text(
        f'pH,vessel=v1 value="5.5" {STAMP}000000000\npH,vessel=v1 value="high" {STAMP + 1}000000000\n'
        f"DO,vessel=v1 value=60 {STAMP}000000000\n"
    )
    read(store, folder)
    (row,) = notes(store, table="sensors")
    assert (row["code"], row["line"], row["primary_key"]) == ("not_a_number", 1, "pH")
    assert row["rows"] == 2
    assert points_of(store) == [(T0, "DO", 60.0)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("zeitpunkt;ph\n1;2\n", "no header with a column 'time' (utf-8; the first line is 'zeitpunkt;ph')"),
        (f"time;lamp;fan\n{Z0};1;2\n", "utf-8, semicolons between fields, header in line 1: time, lamp, fan"),
        (f"time,sensor,reading_x\n{Z0},pH,5\n", "no column 'value'"),
        (f"time;Stir_SP;DO\n{Z0};1,200;900\n{Z1};1,250;900\n", "may be thousands or decimals"),
        (f'time,sensor,value\n{Z0},pH,"5,250"\n{Z1},pH,"6,250"\n', "may be thousands or decimals"),
        ("time;pH\n03/04/2025 10:30:00;5\n", "date_order"),
        (f"name: lamp\ntime value\n---- -----\n{STAMP}000000000 1\n", "All 1 sensor points were rejected"),
        ("[Info]\nVersion;5\n", "no [TrackData]"),
    ],
)
def test_a_refusal_tells_what_was_found(store, folder, content, said):
    (folder / "sensors.csv").write_text(content)
    found = refused(store, folder, naive_timezone="UTC")
    told = found + "".join(row["reason"] for row in notes(store, table="sensors"))
    assert said in told, told


@pytest.mark.parametrize("bad", [b"a,b,c,\xff\xfe\n", Z0.encode() + b",pH,\xff\n", Z0.encode() + b",pH,5.1\xc3"])
def test_what_is_no_text_far_down_in_a_file_is_told_and_nothing_else(store, folder, bad, capfd):
    """Behind the first bytes, of which the encoding is told; Arrow prints what is raised where it asks for bytes."""
    (folder / "sensors.csv").write_bytes(b"time,sensor,value\n" + f"{Z0},pH,5\n".encode() * 4000 + bad)
    assert refused(store, folder) == "sensors.csv is not UTF-8 text: save it as UTF-8."
    assert capfd.readouterr().err == ""


def test_days_and_months_are_never_guessed(store, folder):
    (folder / "sensors.csv").write_text("time,pH\n10/21/2025 10:30:00,5\n10/22/2025 10:30:00,5\n")
    assert "rejected" in refused(store, folder, naive_timezone="UTC", date_order="dmy"), "there is no month 21"
    assert refused(store, folder, naive_timezone="UTC", date_order="mdy") == ""


@pytest.mark.case("fermentation/dst-hour-lost")
def test_the_hour_that_a_clock_change_repeats_is_rejected_in_every_format(store, tmp_path):
    document = record(batch={"inoculated_at": "2025-10-25T22:00:00+00:00", "completed_at": None, "status": "running"})
    document |= {"samples": [], "closure": None}
    local = [datetime(2025, 10, 26, 1) + timedelta(minutes=10 * step) for step in range(18)]  # 01:00 to 03:50
    long, wide = "time,sensor,value\n", "time,pH\n"
    for time in local:
        long, wide = long + f"{time},pH,5\n", wide + f"{time},5\n"
    for name, content in (("sensors.csv", long), ("sensors.csv", wide), ("sensors.parquet", "")):
        folder = put_batch(tmp_path / f"{len(content)}" / "batch-1", document)
        if content:
            (folder / name).write_text(content)
        else:
            pq.write_table(pa.table({"time": local, "sensor": ["pH"] * 18, "value": [5.0] * 18}), folder / name)
        read(store, folder, settings=FermentationSettings(naive_timezone="Europe/Berlin"))
        (row,) = notes(store, table="sensors")
        assert (row["code"], row["rows"]) == ("clock_change", 6)
        times = [time for time, *_ in points_of(store)]
        assert times[5:7] == [datetime(2025, 10, 25, 23, 50, tzinfo=UTC), datetime(2025, 10, 26, 2, tzinfo=UTC)]


@pytest.mark.parametrize("host", ["host", "hostname"])
def test_two_machines_that_write_at_once_may_be_two_probes(store, folder, host):
    lines = [f"{Z0[:17]}{second:02}Z,pH,{5 + second % 2},{'ab'[second % 2]}\n" for second in range(40)]
    (folder / "sensors.csv").write_text(f"time,sensor,value,{host}\n{''.join(lines)}")
    assert f"pH has 2 series that differ in {host} ('a', 'b')" in refused(store, folder)
    assert not refused(store, folder, ignore_tags=[host])


def test_a_machine_that_took_over_in_one_vessel_hides_no_other_vessel(store, folder):
    lines = [
        f"pH,vessel={vessel},host={host} value={value} {STAMP + second}000000000\n"
        for second in range(40)
        for vessel, value, host in (("v1", 5, "a" if second < 20 else "c"), ("v2", 7, "b"))
    ]
    (folder / "sensors.lp").write_text("".join(lines))
    assert "vessel 'v1', 'v2'" in refused(store, folder)
    assert not refused(store, folder, vessels={"V-FR-01": "v1"})
    assert [value for _, _, value in points_of(store)] == [5.0] * 40
