"""What an editor loads says the same in every format, to the frame."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import orjson
import pytest

from sheaf.errors import VerificationError
from sheaf.exports.series import Written
from sheaf.media.writers.timeline import (
    as_edl,
    as_fcpxml,
    as_otio,
    read_edl,
    read_fcpxml,
    read_otio,
    timelines,
    verify_timeline,
)


def piece(start: float, end: float, offset: float, rate: float = 1.0) -> dict[str, float]:
    return {"dub_start": start, "dub_end": end, "offset_seconds": offset, "rate": rate, "confidence": 0.99}


def row(item: str, dub: str, *pieces: dict[str, float], **more: Any) -> dict[str, Any]:
    return {
        "item_id": item,
        "master_file": "films/Master.mov",
        "dub_file": dub,
        "offset_seconds": pieces[0]["offset_seconds"] if pieces else None,
        "frame_rate": "25",
        "segments": list(pieces),
        "master_start": "10:00:00:00",
        "dub_start": None,
        "master_seconds": 60.0,
        "dub_seconds": 60.0,
        **more,
    }


ROWS = [
    row("item_001", "late.wav", piece(2, 60, -2.0)),
    row("item_002", r"cam\B roll.wav", piece(0, 10, 1.0), piece(12, 40, 3.04), dub_start="01:00:00:00"),
    row("item_003", "nothing.wav"),
    row("item_004", "pal.wav", piece(0, 48, 2.0, 25 / 24)),
]


@pytest.mark.parametrize("rate", ["25", "24000/1001", "30000/1001"])
def test_each_dub_lies_where_its_offset_says_in_every_format(rate: str) -> None:
    start = {"25": "10:00:00:00", "30000/1001": "23:59:50;00"}.get(rate, "23:59:50:00")  # these end on the next day
    rows = [one | {"frame_rate": rate, "master_start": start} for one in ROWS]
    (one,) = timelines("batch", rows)
    read = read_otio(as_otio(one))
    assert read == read_fcpxml(ET.fromstring(ET.tostring(as_fcpxml(one))))
    assert [[event[1] for event in lane] for lane in read] == [
        read_edl(as_edl(one, lane), one.rate, one.start) for lane in one.lanes
    ]
    codes = re.findall(r"\d\d(?=:\d\d:\d\d[:;]\d\d)", "".join(as_edl(one, lane) for lane in one.lanes))
    assert "24" not in codes
    fps = Fraction(rate)
    late, edited, pal = read
    assert late == [(round(2 * fps), (0, round(58 * fps)))]
    assert [event[1][0] for event in edited] == [round(1 * fps), round(Fraction(1504, 100) * fps)]
    assert [event[0] for event in edited] == [0, round(12 * fps)]
    assert pal[0][1] == (round(2 * fps), round(52 * fps) - round(2 * fps))


def test_speed_and_start_timecodes_are_told() -> None:
    (one,) = timelines("batch", ROWS)
    clip = as_otio(one)["tracks"]["children"][3]["children"][-1]
    assert clip["effects"][0]["time_scalar"] == pytest.approx(0.96)
    assert re.search(r"^M2   AX       024\.0", as_edl(one, one.lanes[2]), re.M)
    edited = as_edl(one, one.lanes[1])
    assert "01:00:00:00 01:00:10:00 10:00:01:00 10:00:11:00" in edited
    assert r"* FROM CLIP NAME: cam\B roll.wav" in edited
    assert as_otio(one)["tracks"]["children"][2]["children"][1]["media_reference"]["target_url"] == "cam/B%20roll.wav"


def test_files_that_disagree_are_not_published(tmp_path: Path) -> None:
    (one,) = timelines("batch", ROWS)
    (tmp_path / "batch_001.otio").write_bytes(orjson.dumps(as_otio(one)))
    (tmp_path / "batch_001.fcpxml").write_bytes(ET.tostring(as_fcpxml(one)))
    for lane in one.lanes:
        (tmp_path / f"batch_001_{lane.item}.edl").write_text(as_edl(one, lane))
    verify_timeline(tmp_path, Written(record_count=3))
    path = tmp_path / "batch_001_item_001.edl"
    path.write_text(path.read_text().replace("10:00:58:00", "10:00:58:01"))
    with pytest.raises(VerificationError, match="edit decision lists"):
        verify_timeline(tmp_path, Written(record_count=3))
