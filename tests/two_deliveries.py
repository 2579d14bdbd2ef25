"""Two deliveries of one partition of each domain: the second changes several tables and takes nothing away."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from annotations_project import PROJECT, Project
from fermentation_inbox import STEADY, put_batch, record, sample, sensor_csv, steady_points
from matches_logs import ndjson, string
from matches_logs import put as put_log
from media_files import batch_of, moved, programme, sheet, write_wave
from occurrences_inbox import classification, detection, identification, project
from occurrences_inbox import put as put_project

from sheaf.fermentation.settings import FermentationSettings
from sheaf.media.settings import MediaSettings
from sheaf.settings import Settings
from sheaf.store.store import Store

NOON = 1_760_000_000
"""The time that everything is made at, so that the same delivery has the same bytes."""


def settings(inbox: Path, store_url: str) -> Settings:
    """What is set for all domains: few sensor points, and pairs one after another."""
    return Settings(
        home=inbox.parent,
        store_url=store_url,
        inbox=inbox,
        fermentation=FermentationSettings(rates_hz=dict.fromkeys(STEADY, 1 / 30)),
        media=MediaSettings(parallel_jobs=1),
    )


def _fermentation(inbox: Path, more: bool) -> str:
    """More: an hour of points, a sample, a deviation, a note, and another weight of an earlier sample."""
    hours = 3 if more else 2
    samples = [sample(hour, od600_raw=0.6 if more and hour == 1 else 0.5) for hour in range(hours + 1)]
    failure = {"deviation_level": 1, "category": "Other", "description": "late", "reviewed_by": None}
    document = record(samples=samples, failures=[failure] * more, batch={"notes": "a note" if more else None})
    points = sensor_csv(steady_points(range(-600, hours * 3600, 30)))
    return put_batch(inbox / "fermentation" / "batch-1", document, points).name


def _matches(inbox: Path, more: bool) -> str:
    """More: the main log has grown by a string, and a second log has come."""
    folder = inbox / "matches" / "m1"
    put_log(folder, "logs/main.ndjson", ndjson(*string(0), *string(60, shots=4), *(string(120) if more else ())))
    if more:
        records = [{**line, "device_position": "Bay 2"} for line in string(200, shots=2, delay=0.4)]
        put_log(folder, "logs/second.ndjson", ndjson(*records, *string(260, shots=1)))
    return folder.name


def _media(inbox: Path, more: bool) -> str:
    """More: a dub that was missing, another in place of one that was there, and a description; the same CSV."""
    folder = inbox / "media"
    sound = programme(6)
    write_wave(folder / "master.wav", sound)
    write_wave(folder / "dub_1.wav", moved(sound, -0.5 if more else -0.25))
    if more:
        write_wave(folder / "dub_2.wav", moved(sound, -0.75))
        (folder / "evening.yaml").write_text("description: The second night.\n", encoding="utf-8")
    csv_path = sheet(folder, ["master.wav,dub_1.wav", "master.wav,dub_2.wav"], "evening.csv")
    os.utime(csv_path, (NOON, NOON))  # a batch is called by its arrival
    return batch_of(Store.open(str(inbox.parent / "unused")), csv_path, MediaSettings())


def _occurrences(inbox: Path, more: bool) -> str:
    """More: an occurrence with all that belongs to it, an identification, and a station that was moved."""
    tables = project()
    if more:
        first = tables["main_occurrence"][0]
        tables["main_occurrence"].append({**first, "id": 11, "determination_id": 5, "determination_score": 0.4})
        first["determination_score"] = 0.95
        tables["main_detection"].append(detection(102, 11, 2))
        tables["main_classification"].append(classification(1002, 102, 5, 0.4))
        tables["main_identification"] = [identification(1, 1, 4, "2024-07-03T09:00:00")]
        tables["main_deployment"][0]["latitude"] = 47.5
        tables["main_event"][0]["captures_count"] = 31
    return put_project(inbox / "occurrences" / "p1", tables).name


def _annotations(inbox: Path, more: bool) -> str:
    """More: two images with their files, boxes and masks, a tag, and a box that was moved."""
    made = Project(inbox / "annotations" / PROJECT, Store.open(str(inbox.parent / "unused")))
    triangle = [[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]]
    for number in range(4 if more else 2):
        image = made.image(f"{number}.png", 1 + number % 2)
        made.file(f"{number}.png")
        made.box(image, (0.1, 0.2, 0.6 if more else 0.5, 0.6), label=1 + number % 2)
        made.mask(image, triangle)
        made.tag(image, "weather/rain" if number else "weather/sun")
    if more:
        made.tag("i1", "place/street")
    made.write()
    return PROJECT


WRITERS: Mapping[str, Callable[[Path, bool], str]] = {
    "fermentation": _fermentation,
    "matches": _matches,
    "media": _media,
    "occurrences": _occurrences,
    "annotations": _annotations,
}
"""Each writes a delivery into an inbox, the second with `more`, and returns the partition."""
