"""The Dagster UI as an operator uses it: a real server, a real browser, real clicks.

The roles of the deployment run beside PostgreSQL and S3, on an inbox with ten partitions of each domain, of which the
sensors find some and run them, as they do for every user. `pytest -m ui` runs this; with SHEAF_SCREENSHOTS=docs/images
it also renews the pictures of the documentation. Needs Chromium (`apt install chromium`).
"""

import json
import os
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from annotations_project import Project
from browser import chromium, complaints
from deployment import Deployment, deployment
from matches_logs import ndjson, string
from matches_logs import put as put_log
from media_files import moved, programme, sheet, write_wave
from occurrences_inbox import project
from occurrences_inbox import put as put_project
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from test_cli import write_batch

from assets.partitions import partitions_name
from sheaf.domains import DOMAINS
from sheaf.exports.history import history, resolve
from sheaf.fermentation.sample import campaign
from sheaf.matches.sample import match as sample_match
from sheaf.store.lease import lease
from sheaf.store.store import Store

pytestmark = [pytest.mark.ui, pytest.mark.timeout(900)]

BATCHES = ("batch-12-b", "batch-13-b", "batch-17-c")
MATCHES = ("club-night", "state-final")
TEN = 10
SCREENSHOTS = os.environ.get("SHEAF_SCREENSHOTS")
SLOW_MS = 360_000
"""A run starts a process of its own, and others may use this machine."""
PATIENT_MS = 60_000
RUNS = "{runsOrError {... on Runs {results {runId}}}}"
expect.set_options(timeout=PATIENT_MS)


def lineage(lab: Deployment, group: str) -> str:
    """The page of a group."""
    entries = lab.ask("{workspaceOrError {... on Workspace {locationEntries {name}}}}")
    location = entries["workspaceOrError"]["locationEntries"][0]["name"]
    return f"{lab.url}/locations/{location}/asset-groups/{group}/lineage"


def fill(inbox: Path) -> None:
    """Small partitions of each domain: ten, less those of the samples."""
    for number in range(len(BATCHES), TEN):
        write_batch(inbox, f"small-{number}", batch_number=number)
    for number in range(len(MATCHES), TEN):
        put_log(inbox / "matches" / f"small-{number}", "logs/main.ndjson", ndjson(*string(0), *string(60)))
    sound = programme(6)
    write_wave(inbox / "media" / "master.wav", sound)
    for number in range(TEN):
        write_wave(inbox / "media" / f"dub_{number}.wav", moved(sound, -0.25 - number / 100))
        sheet(inbox / "media", [f"master.wav,dub_{number}.wav"], f"evening_{number}.csv")
        tables = project()
        for row in chain.from_iterable(tables.values()):
            row.update({"project_id": number + 1} if "project_id" in row else {})
        tables["main_project"][0]["id"] = number + 1
        put_project(inbox / "occurrences" / f"p{number + 1}", tables)
        made = Project(inbox / "annotations" / f"garden-{number}", Store.open(str(inbox.parent / "unused")))
        made.box(made.image("1.png", 1), (0.1, 0.2, 0.5, 0.6), label=1)
        made.file("1.png")
        made.write()


def fill_with_samples(inbox: Path) -> None:
    """Three batches and two matches."""
    for batch in BATCHES:
        campaign.write(inbox, only=batch)
    for seed, match in enumerate(MATCHES):
        sample_match.write(inbox, seed)
        (inbox / "matches" / sample_match.MATCH).rename(inbox / "matches" / match)


def quiet(inbox: Path) -> None:
    """Nobody is still writing it."""
    for path in inbox.rglob("*"):
        before = path.stat().st_mtime - 3600
        os.utime(path, (before, before))


@pytest.fixture(scope="module")
def lab() -> Iterator[Deployment]:
    """The deployment, when its sensors have run the samples and somebody has switched them off."""
    with deployment() as running:
        fill_with_samples(running.inbox)
        quiet(running.inbox)
        running.start("daemon")
        found = [("SUCCESS", "fermentation_inbox")] * len(BATCHES) + [("SUCCESS", "matches_inbox")] * len(MATCHES)
        running.wait(
            "the sensors to run the samples",
            lambda: sorted(run for run in running.runs() if run[1] != "somebody") == found,
            SLOW_MS / 1000,
        )
        where = '{repositoryLocationName: "sheaf", repositoryName: "__repository__"}'
        sensors = running.ask(
            f"{{sensorsOrError(repositorySelector: {where}) {{... on Sensors {{results {{id name}}}}}}}}"
        )
        for sensor in sensors["sensorsOrError"]["results"]:
            running.ask(f'mutation {{stopSensor(id: "{sensor["id"]}") {{__typename}}}}')
        fill(running.inbox)
        quiet(running.inbox)
        for domain in DOMAINS.values():
            for offered in json.loads(running.command("sources", domain.name, "--json").stdout):
                running.ask(
                    f"mutation {{addDynamicPartition(repositorySelector: {where}, "
                    f'partitionsDefName: "{partitions_name(domain)}", partitionKey: "{offered["partition"]}") '
                    "{__typename}}"
                )
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, lab: Deployment) -> Iterator[Page]:
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


def open_group(page: Page, lab: Deployment, group: str, asset: str) -> None:
    """The lineage of a group, when its assets are drawn, of which one is named."""
    page.goto(lineage(lab, group), wait_until="domcontentloaded")
    expect(page.get_by_text(asset).first).to_be_visible()
    expect(page.get_by_text(re.compile(r"\d% filled")).first).to_be_visible()


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
    store = lab.store
    assert resolve(store, "fermentation/batch-12-b/samples_csv/latest").version == 1, "nothing had changed"
    assert resolve(store, "fermentation/campaign/campaign_csv/latest").version >= 1


def test_all_batches_are_backfilled_by_clicking(page, lab):
    before = len(lab.runs())
    open_group(page, lab, "fermentation", "training_samples")
    backfill(page, TEN, 11)
    after = lab.runs()
    started = after[: len(after) - before]
    assert {status for status, _ in started} == {"SUCCESS"}
    assert len(started) <= 2, "all batches share one run; the campaign exports may have another"

    page.goto(f"{lab.url}/assets/fermentation/training_samples?view=partitions", wait_until="domcontentloaded")
    expect(page.get_by_text(f"Materialized ({TEN})")).to_be_visible()
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
    backfill(page, TEN, 10)
    store = lab.store
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


@pytest.mark.parametrize("domain", ["media", "occurrences", "annotations"])
def test_all_partitions_of_a_domain_are_backfilled_by_clicking(page, lab, domain):
    page.set_viewport_size({"width": 2600, "height": 1800})
    open_group(page, lab, domain, DOMAINS[domain].series[0].name)
    backfill(page, TEN, len(DOMAINS[domain].steps) + len(DOMAINS[domain].series))
    assert len({record.partition for record in history(lab.store, domain)}) == TEN


def test_the_growth_curve_is_one_click_away(page, lab):
    address = f"{lab.url}/assets/fermentation/training_samples?view=partitions&partition=batch-13-b"
    page.goto(address, wait_until="domcontentloaded")
    expect(page.get_by_text("Growth curve", exact=True)).to_be_visible()
    page.get_by_text("[Show Markdown]").first.click()
    plot = page.get_by_role("img", name="Growth curve")
    expect(plot).to_be_visible()
    assert plot.evaluate("image => image.naturalWidth") > 500
    picture(page, "growth-curve")


def test_checks_tell_what_they_found(page, lab):
    page.goto(f"{lab.url}/assets/fermentation/records?view=checks&checkDetail=rejects", wait_until="domcontentloaded")
    expect(page.get_by_text("Succeeded", exact=True).nth(1)).to_be_visible()  # the smallest batches lack calibrations
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
    page.get_by_text("Execution history", exact=True).click()
    expect(page.get_by_text("last lines are not finished yet: logs/main/").first).to_be_visible()
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()
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
    lab.command("run", "fermentation", "batch-17-c", "--again")
    (ours,) = [run for run in lab.ask(RUNS)["runsOrError"]["results"] if run["runId"] not in before][-1:]
    page.goto(f"{lab.url}/runs/{ours['runId']}", wait_until="domcontentloaded")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=SLOW_MS)
    execute_again(page)
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=SLOW_MS)
    store = lab.store
    with lease(store, "fermentation/batch-17-c", "records"):  # the run waits for us, so that it is there to be ended
        execute_again(page)
        page.get_by_role("button", name="Terminate").click()
        page.get_by_role("dialog").get_by_role("button", name=re.compile("terminat", re.IGNORECASE)).click()
        expect(page.get_by_text("Canceled", exact=True).first).to_be_visible(timeout=SLOW_MS)
    assert resolve(store, "fermentation/batch-17-c/samples_csv/latest").version == 1, "nothing had changed"
