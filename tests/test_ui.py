"""The Dagster UI as an operator uses it: a real server, a real browser, real clicks.

`sheaf dev` starts on an inbox with three batches and two matches; its sensors find and run them, as they do
for every user. `pytest -m ui` runs this; with SHEAF_SCREENSHOTS=docs/images it also renews the pictures of the
documentation. Needs Chromium (`apt install chromium`).
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import chromium, complaints
from lab import PROGRAM, Lab, environment
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from sheaf.exports.history import resolve
from sheaf.fermentation.sample import campaign
from sheaf.matches.sample import match as sample_match
from sheaf.store.lease import lease
from sheaf.store.store import Store

pytestmark = [pytest.mark.ui, pytest.mark.timeout(900)]

BATCHES = ("batch-12-b", "batch-13-b", "batch-17-c")
MATCHES = ("club-night", "state-final")
SCREENSHOTS = os.environ.get("SHEAF_SCREENSHOTS")
SLOW_MS = 360_000
"""A run starts a process of its own, and others may use this machine."""
PATIENT_MS = 60_000
RUNS = "{runsOrError {... on Runs {results {runId}}}}"
expect.set_options(timeout=PATIENT_MS)


def lineage(lab: Lab, group: str) -> str:
    """The page of a group."""
    entries = lab.ask("{workspaceOrError {... on Workspace {locationEntries {name}}}}")
    location = entries["workspaceOrError"]["locationEntries"][0]["name"]
    return f"{lab.url}/locations/{location}/asset-groups/{group}/lineage"


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    """The server, when its sensor has found the batches and run them."""
    home = tmp_path_factory.mktemp("lab")
    for batch in BATCHES:
        campaign.write(home / "inbox", only=batch)
    for seed, match in enumerate(MATCHES):
        sample_match.write(home / "inbox", seed)
        (home / "inbox" / "matches" / sample_match.MATCH).rename(home / "inbox" / "matches" / match)
    for path in (home / "inbox").rglob("*"):
        os.utime(path, (path.stat().st_mtime - 3600,) * 2)  # nobody is still writing them
    lab = Lab(home)
    try:
        found = [("SUCCESS", "fermentation_inbox")] * len(BATCHES) + [("SUCCESS", "matches_inbox")] * len(MATCHES)
        lab.wait(
            "the sensors to run everything",
            lambda: sorted(run for run in lab.runs() if run[1] != "somebody") == found,
            900,
        )
        yield lab
    finally:
        left = lab.stop()
    assert not left, f"these processes outlived the server: {left}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, lab: Lab) -> Iterator[Page]:
    """A page that reaches this machine only, and fails the test when its console shows an error."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, device_scale_factor=1)
    context.route("**/*", lambda route: route.continue_() if route.request.url.startswith(lab.url) else route.abort())
    page = context.new_page()
    errors = complaints(page)
    page.set_default_timeout(PATIENT_MS)
    yield page
    context.close()
    assert [error for error in errors if "ERR_FAILED" not in error] == []


def picture(page: Page, name: str) -> None:
    """Renew a picture of the documentation, if asked to."""
    if not SCREENSHOTS:
        return
    page.wait_for_timeout(2500)  # lines of the graph and icons come last
    path = Path(SCREENSHOTS) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path)
    Image.open(path).quantize(128).save(path, optimize=True)
    assert path.stat().st_size < 300_000


def open_group(page: Page, lab: Lab, group: str, asset: str) -> None:
    """The lineage of a group, when its assets are drawn, of which one is named."""
    page.goto(lineage(lab, group), wait_until="domcontentloaded")
    expect(page.get_by_text(asset).first).to_be_visible()
    expect(page.get_by_text("100% filled").first).to_be_visible()


def materialise(page: Page, partition: str, assets: int) -> None:
    """Launch one partition from the page of its group, and see its run succeed."""
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_text("Select a partition or create one").click()
    page.get_by_role("menuitem").filter(has_text=partition).click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Launch 1 run").click()
    page.get_by_text("View", exact=True).click()
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=SLOW_MS)
    expect(page.get_by_text(f"partition: {partition}").first).to_be_visible()
    expect(page.get_by_text(f"{assets} assets").first).to_be_visible()


def backfill(page: Page, partitions: int, assets: int) -> None:
    """Launch all partitions from the page of their group, and see them done."""
    page.get_by_role("button", name="Materialize all").click()
    page.get_by_role("button", name="All", exact=True).click()
    expect(page.get_by_text(f"{partitions} partitions", exact=True).first).to_be_visible()
    page.get_by_role("button", name="Launch backfill").click()
    page.get_by_text("View", exact=True).click()
    expect(page.get_by_text("100% completed")).to_have_count(assets, timeout=SLOW_MS)


def test_a_batch_is_materialised_by_clicking(page, lab):
    open_group(page, lab, "fermentation", "training_samples")
    materialise(page, "batch-12-b", 11)
    store = Store.open(str(lab.home / "store"))
    assert resolve(store, "fermentation/batch-12-b/samples_csv/latest").version == 1, "nothing had changed"
    assert resolve(store, "fermentation/campaign/campaign_csv/latest").version >= 1


def test_all_batches_are_backfilled_by_clicking(page, lab):
    before = len(lab.runs())
    open_group(page, lab, "fermentation", "training_samples")
    backfill(page, 3, 11)
    after = lab.runs()
    started = after[: len(after) - before]
    assert {status for status, _ in started} == {"SUCCESS"}
    assert len(started) <= 2, "all batches share one run; the campaign exports may have another"

    page.goto(f"{lab.url}/assets/fermentation/training_samples?view=partitions", wait_until="domcontentloaded")
    expect(page.get_by_text("Materialized (3)")).to_be_visible()
    for batch in BATCHES:
        expect(page.get_by_text(batch, exact=True).first).to_be_visible()
    page.get_by_text("batch-13-b", exact=True).first.click()
    expect(page.get_by_text("dropout percent")).to_be_visible()
    picture(page, "batches")

    page.set_viewport_size({"width": 1720, "height": 1420})
    open_group(page, lab, "fermentation", "training_samples")
    picture(page, "lineage")


def test_a_match_is_materialised_and_all_are_backfilled_by_clicking(page, lab):
    page.set_viewport_size({"width": 2600, "height": 1800})  # farther away, assets are drawn without their names
    open_group(page, lab, "matches", "analytics_parquet")
    materialise(page, "state-final", 10)
    open_group(page, lab, "matches", "analytics_parquet")
    backfill(page, 2, 10)
    store = Store.open(str(lab.home / "store"))
    for match in MATCHES:
        assert resolve(store, f"matches/{match}/runs_csv/latest").version == 1, "nothing had changed"

    page.goto(f"{lab.url}/assets/matches/shots?view=partitions&partition=club-night", wait_until="domcontentloaded")
    expect(page.get_by_text("since_beep_s").first).to_be_visible()
    for place, title in enumerate(("splits", "delays")):
        page.get_by_text("[Show Markdown]").nth(place).click()
        plot = page.get_by_role("img", name=title)
        expect(plot).to_be_visible()
        assert plot.evaluate("image => image.naturalWidth") > 300
        page.keyboard.press("Escape")


def test_the_growth_curve_is_one_click_away(page, lab):
    address = f"{lab.url}/assets/fermentation/training_samples?view=partitions&partition=batch-13-b"
    page.goto(address, wait_until="domcontentloaded")
    expect(page.get_by_text("Growth curve", exact=True)).to_be_visible()
    page.get_by_text("[Show Markdown]").first.click()
    plot = page.get_by_role("img", name="Growth curve")
    expect(plot).to_be_visible()
    assert plot.evaluate("image => image.naturalWidth") > 500
    picture(page, "growth-curve")


def test_checks_are_green_and_tell_what_they_found(page, lab):
    page.goto(f"{lab.url}/assets/fermentation/records?view=checks&checkDetail=rejects", wait_until="domcontentloaded")
    expect(page.get_by_text("Succeeded", exact=True)).to_have_count(3)
    for check in ("readable", "rejects", "calibration"):
        expect(page.get_by_text(check, exact=True).first).to_be_visible()
    page.get_by_text("Execution history", exact=True).click()
    expect(page.get_by_text("rows rejected").first).to_be_visible()
    picture(page, "checks")

    page.goto(
        f"{lab.url}/assets/fermentation/features?view=checks&checkDetail=sensor_gaps", wait_until="domcontentloaded"
    )
    page.get_by_text("Execution history", exact=True).click()
    expect(page.get_by_text("21 gaps, the longest: ").first).to_be_visible()
    for batch in BATCHES:
        expect(page.get_by_text(batch, exact=True).first).to_be_visible()


def test_a_failed_check_leads_to_the_rows_that_it_means(page, lab):
    page.goto(f"{lab.url}/assets/matches/events?view=checks&checkDetail=open", wait_until="domcontentloaded")
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
    expect(page.get_by_text("last lines are not finished yet: logs/main/").first).to_be_visible()
    page.goto(f"{lab.url}/assets/matches/events?view=partitions&partition=club-night", wait_until="domcontentloaded")
    expect(page.get_by_text("corrupt_json", exact=True).first).to_be_visible()
    row = page.get_by_role("row").filter(has_text="corrupt_json").last  # the innermost: tables are nested
    expect(row.get_by_text(re.compile(r"^logs/.+\.ndjson$"))).to_be_visible()
    expect(row.get_by_text(re.compile(r"^\d+$")).first).to_be_visible()


def execute_again(page: Page) -> None:
    """Launch a run like the one that is shown, and show it."""
    last = page.url
    page.get_by_role("button", name="Re-execute all").click()
    page.wait_for_url(lambda url: "/runs/" in url and url != last)


def test_a_run_of_the_command_line_is_made_again_and_ended_by_clicking(page, lab):
    before = {run["runId"] for run in lab.ask(RUNS)["runsOrError"]["results"]}
    command = [PROGRAM, "run", "fermentation", "batch-17-c", "--again"]
    subprocess.run(command, env=environment(lab.home), check=True, capture_output=True)
    (ours,) = [run for run in lab.ask(RUNS)["runsOrError"]["results"] if run["runId"] not in before][-1:]
    page.goto(f"{lab.url}/runs/{ours['runId']}", wait_until="domcontentloaded")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=SLOW_MS)
    execute_again(page)
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=SLOW_MS)
    store = Store.open(str(lab.home / "store"))
    with lease(store, "fermentation/batch-17-c", "records"):  # the run waits for us, so that it is there to be ended
        execute_again(page)
        page.get_by_role("button", name="Terminate").click()
        page.get_by_role("dialog").get_by_role("button", name=re.compile("terminat", re.IGNORECASE)).click()
        expect(page.get_by_text("Canceled", exact=True).first).to_be_visible(timeout=SLOW_MS)
    assert resolve(store, "fermentation/batch-17-c/samples_csv/latest").version == 1, "nothing had changed"
