"""The catalogue's page in a real browser: served and as a file, by keyboard, in both colours, for everybody.

`pytest -m ui` runs this; with SHEAF_SCREENSHOTS=docs/images it also renews the pictures of the documentation.
"""

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import chromium, complaints
from fermentation_inbox import put_batch, record
from playwright.sync_api import Browser, Page, expect
from running import run_steps
from servers import sheaf_server

from sheaf.exports import catalogue
from sheaf.exports.catalogue import Catalogue, Entry
from sheaf.exports.publish import Request, publish
from sheaf.exports.records import Status
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.readers.ingest import ingest
from sheaf.fermentation.settings import FermentationSettings
from sheaf.settings import Settings
from sheaf.store.store import Store

pytestmark = [pytest.mark.ui, pytest.mark.timeout(300)]
SCREENSHOTS = os.environ.get("SHEAF_SCREENSHOTS")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one batch, of which everything is published, its samples twice."""
    folder = tmp_path_factory.mktemp("home")
    store, settings = Store.open(str(folder / "store")), FermentationSettings()
    run_steps(store, FERMENTATION, "b4", settings, put_batch(folder / "in" / "b4", record()), ingest)
    for series in FERMENTATION.series:
        if not series.campaign:
            publish(store, FERMENTATION, series, Request("b4"), settings)
    late = Request("b4", filter={"min_hours": 4}, name="Late samples")
    publish(store, FERMENTATION, FERMENTATION.series_named("samples_csv"), late, settings)
    catalogue.write(store)
    return folder


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    """A server on that home."""
    settings = Settings(home=home, store_url=str(home / "store"), inbox=home / "inbox")
    with sheaf_server(settings) as address:
        yield f"{address}/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Page]:
    """A page that must not complain."""
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    errors = complaints(opened)
    yield opened
    context.close()
    assert [said for said in errors if "400 (Bad Request)" not in said] == []  # a preview that was refused


def accessible(page: Page) -> None:
    """axe-core has nothing to say."""
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("served", [True, False])
def test_a_dataset_is_found_by_keyboard_and_told_in_full(page: Page, url: str, home: Path, served: bool) -> None:
    page.goto(url if served else f"file://{home}/store/catalog.html")
    everything = len(catalogue.read(Store.open(str(home / "store"))).exports)
    expect(page.locator("a.entry")).to_have_count(everything)
    accessible(page)
    page.keyboard.press("/")
    page.keyboard.type("late samples")
    expect(page.locator("a.entry")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    for text in ("min_hours=4", "Against the version before", "Cite it", "sha256"):
        expect(page.locator("main")).to_contain_text(text)
    accessible(page)
    page.keyboard.press("Escape")  # back to what was found, then to all
    expect(page.locator("a.entry")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("a.entry")).to_have_count(everything)
    if served:
        page.goto(f"{url}#/fermentation/b4/training_parquet/v1")
        expect(page.get_by_role("heading", name="Columns of training_samples.parquet")).to_be_visible()
        expect(page.locator("main")).to_contain_text("mol/L/h")
        accessible(page)
        if SCREENSHOTS and page.evaluate("matchMedia('(prefers-color-scheme: light)').matches"):
            page.screenshot(path=Path(SCREENSHOTS) / "catalogue.png")
    else:
        expect(page.get_by_role("link", name="New export")).to_be_hidden()


@pytest.mark.parametrize("page", ["light"], indirect=True)
def test_an_export_is_made_in_a_form_with_its_preview(page: Page, url: str) -> None:
    page.goto(f"{url}#/new")
    preview = page.get_by_role("status")
    expect(preview).to_contain_text("8 records")
    accessible(page)
    page.get_by_label("min_hours").fill("900")
    expect(preview).to_contain_text("The filter leaves nothing")
    page.get_by_label("min_hours").fill("many")
    expect(preview).to_contain_text("cannot be used")
    page.get_by_label("min_hours").fill("12")
    expect(preview).to_contain_text("3 records")
    page.get_by_label("Name").fill("From the page")
    if SCREENSHOTS and page.evaluate("matchMedia('(prefers-color-scheme: light)').matches"):
        page.screenshot(path=Path(SCREENSHOTS) / "new-export.png")
    page.get_by_role("button", name="Make the export").click()
    expect(page.get_by_role("heading", name="Files")).to_be_visible(timeout=120_000)
    expect(page.locator("main")).to_contain_text("From the page")
    with page.expect_download() as download:
        page.get_by_role("link", name="samples.csv").click()
    assert download.value.path().read_text().startswith("batch_id,")
    page.goto(f"{url}#/activity")
    expect(page.locator("main")).to_contain_text("export completed")
    accessible(page)


def test_a_phone_shows_it_without_scrolling_sideways(browser: Browser, url: str) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 740})
    for place in ("", "#/fermentation/b4/samples_csv/v1", "#/new"):
        page.goto(url + place)
        expect(page.locator("main h2, main table").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, place
    page.close()


def test_ten_thousand_versions_are_there_within_a_second(browser: Browser, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    entries = [
        Entry(
            export=f"fermentation/batch-{number // 10}/samples_csv/v{number % 10 + 1}",
            name=f"samples_csv v{number % 10 + 1}",
            status=Status.COMPLETED,
            path=f"exports/fermentation/batch-{number // 10}/samples_csv/v{number % 10 + 1:04d}",
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            requested_by="ada",
            records=8,
            files=[("samples.csv", 900, 8, "0" * 64)],
        )
        for number in range(10_000)
    ]
    catalogue.put(store, Catalogue(updated_at=datetime.now(UTC), exports=entries))
    page = browser.new_page()
    page.goto(f"file://{tmp_path}/catalog.html")
    expect(page.locator("main")).to_contain_text("10,000 of 10,000 versions")
    assert page.evaluate("performance.timing.domContentLoadedEventEnd - performance.timing.navigationStart") < 1000
    page.close()
