"""The sensors of a batch from InfluxDB, as the file that an inbox folder would hold, and what tells that they changed.

Whoever has a record but no sensors file, the ELN or the inbox, completes its folder here. Not here:
asking (`influx`), which points belong to a batch (`vessel_window`).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

from sheaf import clock, duck
from sheaf.errors import InputError, SheafError
from sheaf.fermentation import schema
from sheaf.fermentation.readers.batch_file import FILE
from sheaf.fermentation.readers.fields import FieldError, read_time
from sheaf.fermentation.readers.ingest import ingest
from sheaf.fermentation.readers.sensor_points import KEPT
from sheaf.fermentation.readers.series import FoundSeries, by_writers, refuse_mixed, without_writers
from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.sources.eln import Run
from sheaf.fermentation.sources.influx import InfluxSensors
from sheaf.fermentation.sources.influx_queries import Selection
from sheaf.fermentation.sources.vessel_window import Window, settings_hash, window_of
from sheaf.outside.inbox import content
from sheaf.report import Report
from sheaf.sources import Delivery
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.generations import Place
from sheaf.tables.parquet import write_parquet
from sheaf.tables.pinned import Tables
from sheaf.tables.work import Work


def run_of(document: bytes, batch: str, settings: FermentationSettings) -> Run | None:
    """When a batch occupied its vessel; None for a record that cannot be read: why is for `ingest` to say."""
    try:
        row: dict[str, Any] = json.loads(document)["batch"]
        times = [
            None if row.get(key) is None else read_time(row[key], settings.naive_timezone)
            for key in ("inoculated_at", "completed_at")
        ]
        return Run(batch, row.get("vessel_id"), times[0], times[1])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, FieldError):
        return None


def deliver(
    document: bytes, batch: str, runs: Sequence[Run], settings: FermentationSettings, folder: Path, store: Store
) -> Delivery:
    """A record as a folder of the inbox, with its sensors where they are configured.

    A batch that cannot be given sensors (its vessel is not mapped, or was used twice at the same time) is a
    delivery that is refused when it is read.

    Args:
        document: JSON as in `batch.json`.
        batch: the partition.
        runs: all batches that may have used the same vessel.
        settings: of the domain.
        folder: an empty local folder.
        store: holds the points that were read before; those that the database no longer has are kept.

    Raises:
        SourceError: InfluxDB cannot be asked, or has no such bucket.
    """
    (folder / FILE).write_bytes(document)
    own = run_of(document, batch, settings) if settings.sensors else None
    try:
        window = window_of(own, runs, settings.sensors) if settings.sensors and own else None
    except InputError as error:
        return _refused(content(folder), error)
    if settings.sensors and window:
        chosen = window.selection(settings.sensors, list(settings.names()))
        target = folder / "sensors.parquet"
        database = InfluxSensors(settings.sensors)
        try:
            found = _series(database, chosen, settings)
        except InputError as error:
            return _refused(content(folder), error)
        count = database.fetch(chosen, target, sum(one.points for one in found))
        keep_points(store, batch, window, own.vessel if own else None, settings, target, folder / KEPT)
        if not count and window.stop is not None and not (folder / KEPT).exists():
            return _refused(content(folder), _nothing(database, chosen))
    return Delivery(content(folder), lambda work: ingest(folder, work))


def _series(database: InfluxSensors, chosen: Selection, settings: FermentationSettings) -> list[FoundSeries]:
    """The series of a vessel.

    Raises:
        InputError: those of one sensor would be mixed, or one is text.
    """
    found = database.series(chosen)
    names, where = settings.names(), f"The database {database.settings.bucket!r}"
    mine = [replace(one, sensor=names[one.sensor]) for one in found if one.sensor in names]
    # One machine may take over from another; of two that write at once nobody knows whether it is one probe.
    mixed = written_at_once(database.series, chosen, [of for of in by_writers(found).values() if len(of) > 1])
    if mixed:
        refuse_mixed([replace(one, sensor=names.get(one.sensor, one.sensor)) for one in mixed], settings, where)
    refuse_mixed(without_writers(mine), settings, where)
    if texts := database.texts(chosen):
        raise InputError(
            f"{where} holds the values of {', '.join(texts)} as text: have them written as numbers, or take the sensor "
            "out of the plan."
        )
    return found


_HANDOVER = timedelta(minutes=1)


def written_at_once(
    series: Callable[[Selection], Sequence[FoundSeries]], chosen: Selection, groups: Sequence[Sequence[FoundSeries]]
) -> Sequence[FoundSeries]:
    """The first group of series that several machines wrote at the same time; none where each took over from another.

    The time is halved again and again: a handover is in one of the halves, series that alternate are in both.

    Args:
        series: asks for the series that have points in a span.
        chosen: the whole span.
        groups: series that differ in nothing but the machine.
    """
    for group in groups:
        spans = [chosen]
        while spans and spans[0].stop - spans[0].start > _HANDOVER:
            halves = [half for span in spans for half in _halves(span)]
            spans = [half for half in halves if len(_among(group, series(half))) > 1]
            if len(spans) >= len(group):  # so many machines take over from each other one time less
                return group
    return ()


def _halves(span: Selection) -> tuple[Selection, Selection]:
    middle = span.start + (span.stop - span.start) / 2
    return replace(span, stop=middle), replace(span, start=middle)


def _among(group: Sequence[FoundSeries], found: Sequence[FoundSeries]) -> set[str | None]:
    return {one.text for one in found if one.sensor == group[0].sensor} & {one.text for one in group}


def _nothing(database: InfluxSensors, chosen: Selection) -> InputError:
    """That a completed batch has no points is a name that is spelled otherwise, more often than not."""
    return InputError(
        f"The database {database.settings.bucket!r} has no points of vessel {chosen.vessel!r} from "
        f"{chosen.start:%Y-%m-%d %H:%M} to {chosen.stop:%Y-%m-%d %H:%M} UTC under a sensor's name. There is: "
        f"{database.there_is(chosen)}. Correct fermentation.sensors (vessels, measurement, fields) or "
        "fermentation.aliases."
    )


def keep_points(
    store: Store,
    batch: str,
    window: Window,
    vessel: str | None,
    settings: FermentationSettings,
    fetched: Path,
    target: Path,
) -> None:
    """Put beside the points of the database those that it gave before and no longer has.

    A retention that passed, or a measurement that was dropped, takes nothing away. They are kept as long as the batch
    was in the same vessel, those of each sensor whose names and units are what they were.
    """
    step = "records"
    place = Place(schema.BATCHES.domain, step, schema.BATCHES.kind, batch)
    before = generations.current(store, place)
    if before is None:
        return
    then, now = _read_with(before.made_with.settings), _read_with(settings.model_dump(mode="json"))
    same = [sensor for sensor in now if then.get(sensor) == now[sensor]]
    tables = Tables(store, batch, {step: before})
    if not tables.rows(schema.SENSORS_TABLE) or tables.read(schema.BATCHES).to_pylist()[0]["vessel_id"] != vessel:
        return
    with duck.connect() as connection, tables.dataset(schema.SENSORS_TABLE) as stored:
        connection.register("stored", stored)
        stop = window.stop or clock.now()
        inside = "time >= ? AND time < ? AND list_contains(?, sensor)"
        had = connection.execute(
            f"SELECT count(*), min(time) FROM stored WHERE {inside}", [window.start, stop, same]
        ).fetchall()[0]
        has = connection.execute("SELECT count(*), min(time) FROM read_parquet(?)", [str(fetched)]).fetchall()[0]
        if not had[0] or (has[0] >= had[0] and has[1] is not None and has[1] <= had[1]):
            return
        query = f"SELECT time, sensor, value FROM stored WHERE {inside} ORDER BY sensor, time"
        found = connection.sql(query, params=[window.start, stop, same]).to_arrow_reader(128 * 1024)
        write_parquet(target, schema.SENSORS_TABLE.schema, found)


def _read_with(settings: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """What the stored points of each sensor depend on: its names and units, and nothing else of a plan."""
    plan, aliases = settings.get("plan") or {}, settings.get("aliases") or {}
    declared = settings.get("units") or {}
    return {
        tag: (
            of["unit"],
            declared.get(tag),
            sorted({*(of.get("aliases") or ()), *(alias for alias, named in aliases.items() if named == tag)}),
        )
        for tag, of in (plan.get("sensors") or {}).items()
    }


def _refused(record: str, error: InputError) -> Delivery:
    def read(_: Work) -> NoReturn:
        raise error

    return Delivery(hashlib.sha256(f"{record} {error}".encode()).hexdigest()[:32], read)


def with_warnings(delivery: Delivery, warnings: Sequence[str]) -> Delivery:
    """A delivery of which its source could not tell all; what it could not tell belongs to its name."""
    if not warnings:
        return delivery

    def read(work: Work) -> Report:
        report = delivery.read(work)
        return replace(report, warnings=(*warnings, *report.warnings))

    return Delivery(hashlib.sha256("\n".join([delivery.name, *warnings]).encode()).hexdigest()[:32], read)


def sensor_state(own: Run, runs: Sequence[Run], settings: FermentationSettings) -> str:
    """Changes when the sensors of a batch should be read again.

    While it runs, every so many minutes. Afterwards, when points arrive late: as long as that may
    happen they are counted. When that time is over they are read for a last time.

    Raises:
        SourceError: InfluxDB cannot be asked, or has no such bucket.
    """
    sensors = settings.sensors
    if sensors is None:
        return ""
    try:
        window = window_of(own, runs, sensors)
    except SheafError as error:
        return hashlib.sha256(str(error).encode()).hexdigest()[:16]
    if window is None:
        return ""
    where = f"{settings_hash(sensors)} {window.vessel} {window.start:%Y%m%dT%H%M%S}"
    if window.stop is None:
        return f"{where} running {clock.now().timestamp() // (sensors.refresh_minutes * 60):.0f}"
    if clock.now() > window.stop + timedelta(hours=sensors.late_hours):
        return f"{where} {window.stop:%Y%m%dT%H%M%S}"
    count = InfluxSensors(sensors).count(window.selection(sensors, list(settings.names())))
    return f"{where} {window.stop:%Y%m%dT%H%M%S} {count}"
