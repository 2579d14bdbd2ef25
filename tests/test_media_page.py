"""The report of a batch as somebody reads it on a phone: a real browser looks at the published page."""

from pathlib import Path

import pytest
from browser import chromium, complaints
from media_files import batch_of, moved, programme, run_batch, sheet, write_wave

from sheaf.exports.publish import Request, publish
from sheaf.media.domain import MEDIA
from sheaf.media.settings import MediaSettings
from sheaf.store.store import Store

pytestmark = pytest.mark.ui

REPORT = next(series for series in MEDIA.series if series.name == "report_html")
LONG = "harbour-series-episode-0203-german-version-17-final-as-delivered.wav"


def test_the_report_fits_a_phone_and_its_table_sorts_without_a_script(tmp_path: Path, local_store: Store) -> None:
    folder = tmp_path / "inbox" / "media"
    folder.mkdir(parents=True)
    sound = programme(8)
    for name, late in (("master.wav", 0.0), ("in.wav", 0.0), (LONG, -0.5), ("far.wav", -2.0)):
        write_wave(folder / name, moved(sound, late))
    path = sheet(folder, ["master.wav,in.wav", f"master.wav,{LONG}", "master.wav,far.wav", "master.wav,absent.wav"])
    settings = MediaSettings(roots=(folder,))
    run_batch(local_store, path, settings)
    made = publish(local_store, MEDIA, REPORT, Request(batch_of(local_store, path, settings)), settings)
    assert local_store.root is not None
    address = (local_store.root / made.export.path / "report.html").as_uri()
    with chromium() as browser:
        for dark in (False, True):
            scheme = "dark" if dark else "light"
            page = browser.new_context(viewport={"width": 390, "height": 800}, color_scheme=scheme).new_page()
            errors = complaints(page)
            page.goto(f"{address}#item_003")
            assert page.evaluate("document.documentElement.scrollWidth") == 390
            assert page.evaluate("getComputedStyle(document.body).color === 'rgb(230, 230, 230)'") is dark
            assert page.locator("#item_003 h2").is_visible()
            assert page.evaluate("document.querySelector('#item_003').getBoundingClientRect().top") < 800
            assert _shown(page) == ["item_001", "item_002", "item_003", "item_004"]
            page.get_by_text("Offset (s)", exact=True).first.click()
            assert _shown(page) == ["item_003", "item_002", "item_001", "item_004"]
            page.get_by_text("Result", exact=True).click()
            assert _shown(page)[0] == "item_004"
            assert not errors


def _shown(page) -> list[str]:
    """The items of the table from top to bottom."""
    rows = page.locator(".items tbody tr").all()
    return [row.locator("a").inner_text() for row in sorted(rows, key=lambda row: row.bounding_box()["y"])]
