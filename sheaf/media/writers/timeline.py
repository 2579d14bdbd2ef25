"""The series `timeline`: what an editor loads, each dub laid on its master to the frame.

One timeline for each master, with a track for each dub of it: as OpenTimelineIO (`.otio`) and Final Cut XML
(`.fcpxml`); and an edit decision list (CMX 3600, `.edl`) for each dub, since that holds one track. All three say the
same events, which `verify` reads back from each. Files are named as the batch names them.

Formats: OpenTimelineIO's serialised schema (Timeline.1, Track.1, Clip.1, Gap.1, LinearTimeWarp.1); Apple's FCPXML 1.9;
SMPTE 258M (CMX 3600) with M2 lines for speed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

import orjson

from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.media.analysis.rows import unsatisfied
from sheaf.media.sync.timecode import DROPPING, counted, day_seconds, frames, nearest_rate, timecode
from sheaf.media.writers.results_json import counts, read_batch

_LEAST_FRAMES = 1


@dataclass(frozen=True)
class Event:
    """One piece of a dub on its master's clock, in whole frames.

    Attributes:
        source: first frame taken from the dub, and how many of its frames.
        record: first frame on the master's clock, and how many there.
        speed: frames of the dub for each frame of the timeline.
    """

    source: tuple[int, int]
    record: tuple[int, int]
    speed: float


@dataclass(frozen=True)
class Lane:
    """One dub with its events in order of time; `start` is the timecode of its first frame, in frames."""

    item: str
    file: str
    frames: int
    start: int
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Timeline:
    """One master and every dub that was found in it."""

    name: str
    master: str
    frames: int
    start: int
    rate: Fraction
    drop: bool
    lanes: tuple[Lane, ...]


def write_timeline(draft: Draft) -> Written:
    """Write the files of every master."""
    batch, rows = read_batch(draft.tables)
    found = list(timelines(batch["batch_id"], rows))
    for one in found:
        (draft.folder / f"{one.name}.otio").write_bytes(orjson.dumps(as_otio(one), option=orjson.OPT_INDENT_2) + b"\n")
        document = as_fcpxml(one)
        ET.indent(document)
        body = ET.tostring(document, encoding="unicode")
        header = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n'
        (draft.folder / f"{one.name}.fcpxml").write_text(f"{header}{body}\n", encoding="utf-8")
        for lane in one.lanes:
            (draft.folder / f"{one.name}_{lane.item}.edl").write_text(as_edl(one, lane), encoding="utf-8")
    if not found:
        (draft.folder / "no_match.txt").write_text("No pair of this batch has an offset.\n", encoding="utf-8")
    laid = sum(len(one.lanes) for one in found)
    return Written(record_count=laid, counts=counts(rows), warnings=unsatisfied(rows))


def timelines(batch: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[Timeline]:
    """One for each master whose dubs have an offset, in the order of the batch."""
    laid = [row for row in rows if row["offset_seconds"] is not None]
    for number, master in enumerate(dict.fromkeys(row["master_file"] for row in laid), start=1):
        dubs = [row for row in laid if row["master_file"] == master]
        rate = Fraction(dubs[0]["frame_rate"])
        starts = [row["master_start"] for row in dubs if row["master_start"]]
        yield Timeline(
            f"{batch}_{number:03}",
            master,
            frames(dubs[0]["master_seconds"], rate),
            _first_frame(starts[0] if starts else None, rate),
            rate,
            rate in DROPPING and any(";" in start for start in starts),
            tuple(_lane(row, rate) for row in dubs),
        )


def _first_frame(start: str | None, rate: Fraction) -> int:
    return frames(counted(start, rate), rate) if start else 0


def _lane(row: Mapping[str, Any], rate: Fraction) -> Lane:
    events, free = [], 0
    for piece in row["segments"]:
        first, last = (frames(piece[name], rate) for name in ("dub_start", "dub_end"))
        begin, end = (
            frames(piece["offset_seconds"] + piece["rate"] * piece[name], rate) for name in ("dub_start", "dub_end")
        )
        late = max(free - begin, 0)  # never before the one before it, nor before the master
        first, begin = first + round(late / piece["rate"]), begin + late
        if end - begin >= _LEAST_FRAMES and last - first >= _LEAST_FRAMES:
            same = piece["rate"] == 1
            count = (end - begin) if same else last - first
            events.append(Event((first, count), (begin, end - begin), 1.0 if same else 1 / piece["rate"]))
            free = end
    return Lane(
        row["item_id"],
        row["dub_file"],
        frames(row["dub_seconds"], rate),
        _first_frame(row["dub_start"], rate),
        tuple(events),
    )


def as_otio(one: Timeline) -> dict[str, Any]:
    """The document of OpenTimelineIO; times count from the first frame of each file."""
    tracks = [_otio_track("master", [_otio_clip(one, one.master, one.frames, one.start, (0, one.frames), 1.0)])]
    for lane in one.lanes:
        children, at = [], 0
        for event in lane.events:
            if event.record[0] > at:
                gap = _range(one.rate, 0, event.record[0] - at)
                children.append({"OTIO_SCHEMA": "Gap.1", "name": "", "source_range": gap})
            taken = (event.source[0], event.record[1])  # a time warp keeps the length on the timeline
            children.append(_otio_clip(one, lane.file, lane.frames, lane.start, taken, event.speed))
            at = event.record[0] + event.record[1]
        tracks.append(_otio_track(f"{lane.item} {_stem(lane.file)}", children))
    return {
        "OTIO_SCHEMA": "Timeline.1",
        "name": one.name,
        "global_start_time": {"OTIO_SCHEMA": "RationalTime.1", "rate": float(one.rate), "value": float(one.start)},
        "metadata": {},
        "tracks": {"OTIO_SCHEMA": "Stack.1", "name": "tracks", "children": tracks},
    }


def _otio_track(name: str, children: list[dict[str, Any]]) -> dict[str, Any]:
    return {"OTIO_SCHEMA": "Track.1", "name": name, "kind": "Audio", "children": children}


def _otio_clip(
    one: Timeline, file: str, count: int, start: int, taken: tuple[int, int], speed: float
) -> dict[str, Any]:
    warp = {"OTIO_SCHEMA": "LinearTimeWarp.1", "name": "", "effect_name": "LinearTimeWarp", "time_scalar": speed}
    return {
        "OTIO_SCHEMA": "Clip.1",
        "name": _stem(file),
        "source_range": _range(one.rate, start + taken[0], taken[1]),
        "effects": [] if speed == 1 else [warp],
        "media_reference": {
            "OTIO_SCHEMA": "ExternalReference.1",
            "target_url": _url(file),
            "available_range": _range(one.rate, start, count),
        },
    }


def _range(rate: Fraction, start: int, count: int) -> dict[str, Any]:
    times = [{"OTIO_SCHEMA": "RationalTime.1", "rate": float(rate), "value": float(n)} for n in (start, count)]
    return {"OTIO_SCHEMA": "TimeRange.1", "start_time": times[0], "duration": times[1]}


def as_fcpxml(one: Timeline) -> ET.Element:
    """The document of Final Cut Pro: a gap as long as the master, with the master and the dubs connected to it."""
    root = ET.Element("fcpxml", version="1.9")
    resources = ET.SubElement(root, "resources")
    ET.SubElement(resources, "format", id="r1", frameDuration=_seconds(one, 1), width="1920", height="1080")
    files = [(one.master, one.frames, one.start), *((lane.file, lane.frames, lane.start) for lane in one.lanes)]
    for number, (file, count, start) in enumerate(files, start=2):
        ET.SubElement(
            resources,
            "asset",
            id=f"r{number}",
            name=_stem(file),
            start=_seconds(one, start),
            duration=_seconds(one, count),
            hasAudio="1",
            audioSources="1",
            audioChannels="2",
            src=_url(file),
        )
    event = ET.SubElement(ET.SubElement(root, "library"), "event", name=one.name)
    project = ET.SubElement(event, "project", name=one.name)
    sequence = ET.SubElement(
        project,
        "sequence",
        format="r1",
        duration=_seconds(one, one.frames),
        tcStart=_seconds(one, one.start),
        tcFormat="DF" if one.drop else "NDF",
    )
    spine = ET.SubElement(sequence, "spine")
    gap = ET.SubElement(spine, "gap", name="Gap", offset=_seconds(one, one.start), duration=_seconds(one, one.frames))
    gap.set("start", "0s")
    whole = Event((0, one.frames), (0, one.frames), 1.0)
    for lane, (file, start, events) in enumerate(
        [(one.master, one.start, (whole,)), *((dub.file, dub.start, dub.events) for dub in one.lanes)], start=1
    ):
        for part in events:
            clip = ET.SubElement(
                gap,
                "asset-clip",
                ref=f"r{lane + 1}",
                lane=str(-lane),
                name=_stem(file),
                offset=_seconds(one, part.record[0]),
                start=_seconds(one, start + part.source[0]),
                duration=_seconds(one, part.record[1]),
                audioRole="dialogue",
            )
            if part.speed != 1:
                warp = ET.SubElement(clip, "timeMap")
                ET.SubElement(warp, "timept", time="0s", value="0s", interp="linear")
                clip.set("start", _seconds(one, round((start + part.source[0]) / part.speed)))
                whole_dub = one.lanes[lane - 2].frames
                end = _seconds(one, round(whole_dub / part.speed))
                ET.SubElement(warp, "timept", time=end, value=_seconds(one, whole_dub), interp="linear")
    return root


def _seconds(one: Timeline, count: int) -> str:
    time = Fraction(count) / one.rate
    return f"{count * one.rate.denominator}/{one.rate.numerator}s" if time else "0s"


def as_edl(one: Timeline, lane: Lane) -> str:
    """The edit decision list of one dub."""
    lines = [f"TITLE: {one.name} {lane.item}", f"FCM: {'DROP FRAME' if one.drop else 'NON-DROP FRAME'}", ""]
    for number, part in enumerate(lane.events, start=1):
        spans = (lane.start + part.source[0], part.source[1]), (one.start + part.record[0], part.record[1])
        times = " ".join(_code(one, at) for first, count in spans for at in (first, first + count))
        lines.append(f"{number:03}  AX       A     C        {times}")
        if part.speed != 1:
            lines.append(
                f"M2   AX       {part.speed * float(one.rate):010.6f}                {_code(one, spans[0][0])}"
            )
        lines.append(f"* FROM CLIP NAME: {lane.file}")
    return "\n".join([*lines, ""])


def _code(one: Timeline, count: int) -> str:
    count %= _day(one.rate, drop=one.drop)
    return timecode(float(Fraction(count) / one.rate), one.rate, drop=one.drop)


def _day(rate: Fraction, *, drop: bool) -> int:
    """Frames after which timecode begins anew."""
    return round(day_seconds(rate, drop=drop) * rate)


def _stem(file: str) -> str:
    return PureWindowsPath(file).name


def _url(file: str) -> str:
    path = file.replace("\\", "/")
    return f"file://{quote(path)}" if path.startswith("/") else quote(path)


def verify_timeline(folder: Path, written: Written) -> None:
    """Read all three formats back: they hold the same events, to the frame.

    Raises:
        VerificationError: naming the file that doesn't.
    """
    laid = 0
    for path in sorted(folder.glob("*.otio")):
        document = orjson.loads(path.read_bytes())
        by_otio = read_otio(document)
        rate, start = (document["global_start_time"][name] for name in ("rate", "value"))
        xml = path.with_suffix(".fcpxml").read_text(encoding="utf-8")
        by_fcpxml = read_fcpxml(ET.fromstring(xml))  # noqa: S314 - our own
        lists = sorted(folder.glob(f"{path.stem}_item_*.edl"))
        by_edl = [read_edl(edl.read_text(encoding="utf-8"), nearest_rate(rate), round(start)) for edl in lists]
        if [events for events in by_otio if events] != by_fcpxml:
            raise VerificationError(f"{path.stem}.fcpxml does not hold the events of {path.name}.")
        if [[event[1] for event in events] for events in by_otio] != by_edl:
            raise VerificationError(f"The edit decision lists of {path.stem} do not hold the events of {path.name}.")
        laid += len(by_edl)
    if laid != written.record_count:
        raise VerificationError(f"The timelines hold {laid} dubs, {written.record_count} were written.")


Placed = tuple[int, tuple[int, int]]
"""First frame of the dub that is used at speed 1 (else -1), and first frame and length on the timeline."""


def read_otio(document: Mapping[str, Any]) -> list[list[Placed]]:
    """The events of each dub, from the first frame of each file."""
    found = []
    for track in document["tracks"]["children"][1:]:
        events, at = [], 0
        for child in track["children"]:
            span = child["source_range"]
            count = round(span["duration"]["value"])
            if child["OTIO_SCHEMA"].startswith("Clip"):
                start = child["media_reference"]["available_range"]["start_time"]["value"]
                first = -1 if child["effects"] else round(span["start_time"]["value"] - start)
                events.append((first, (at, count)))
            at += count
        found.append(events)
    return found


def read_fcpxml(root: ET.Element) -> list[list[Placed]]:
    """The same of a document of Final Cut Pro."""
    step = _fraction(next(one.get("frameDuration", "") for one in root.iter("format")))
    assets = {one.get("id"): _fraction(one.get("start", "0s")) for one in root.iter("asset")}
    lanes: dict[int, list[Placed]] = {}
    for clip in root.iter("asset-clip"):
        offset, start, duration = (_fraction(clip.get(name, "0s")) for name in ("offset", "start", "duration"))
        first = -1 if clip.find("timeMap") is not None else int((start - assets[clip.get("ref")]) / step)
        lanes.setdefault(-int(clip.get("lane", "0")), []).append((first, (int(offset / step), int(duration / step))))
    return [events for lane, events in sorted(lanes.items()) if lane > 1]


def _fraction(written: str) -> Fraction:
    return Fraction(written.removesuffix("s"))


_EVENT = re.compile(r"^\d{3}  AX .*C +\S+ \S+ (\S+) (\S+)$", re.M)


def read_edl(text: str, rate: Fraction, start: int) -> list[tuple[int, int]]:
    """First frame and length on the timeline of each event; `start` is the timeline's first frame."""
    day = _day(rate, drop="FCM: DROP" in text)
    spans = [[frames(counted(code, rate), rate) - start for code in found] for found in _EVENT.findall(text)]
    return [(first % day, (last - first) % day) for first, last in spans]
