"""Five people and how many steps each needs, from the idea to what they wanted.

What each door does in detail is tested beside it; here, that nobody needs more steps than he should.
"""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import tostring

import httpx
import occurrences_inbox as season
import pytest
from browser import chromium
from dwca.read import DwCAReader
from fermentation_inbox import put_batch, record
from playwright.sync_api import expect
from running import run_steps
from servers import sheaf_server

import sheaf
from pipelines.cli import main
from sheaf.exports import catalogue
from sheaf.exports.publish import Request, publish
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.readers.ingest import ingest
from sheaf.fermentation.settings import FermentationSettings
from sheaf.settings import Settings
from sheaf.store.store import Store

SETTINGS = FermentationSettings()
TERMS = "http://rs.tdwg.org/dwc/terms"


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a batch and a project, of which something is published."""
    folder = tmp_path_factory.mktemp("home")
    store, inbox = Store.open(str(folder / "store")), folder / "inbox"
    run_steps(store, FERMENTATION, "b4", SETTINGS, put_batch(inbox / "fermentation" / "b4", record()), ingest)
    for name in ("samples_csv", "training_parquet"):
        publish(store, FERMENTATION, FERMENTATION.series_named(name), Request("b4"), SETTINGS)
    season.made(store, season.put(inbox / "occurrences" / "p1", season.project()))
    season.export(store, "dwca")
    catalogue.write(store)
    return folder


@pytest.fixture
def home(made_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to work in."""
    for name in ("SHEAF_STORE_URL", "SHEAF_INBOX", "SHEAF_CONFIG", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SHEAF_HOME", str(tmp_path))
    shutil.copytree(made_once, tmp_path, dirs_exist_ok=True)
    return tmp_path


class Shell:
    """Runs commands in this process and counts them."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd, self.steps = capfd, 0

    def __call__(self, line: str) -> tuple[int, str, str]:
        self.steps += 1
        self._capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.main(line.split())
        return (int(ended.value.code or 0), *self._capfd.readouterr())


@pytest.fixture
def shell(home: Path, capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capfd)


def test_a_researcher_goes_from_the_idea_to_the_file_in_three_commands(shell: Shell, tmp_path: Path) -> None:
    _, told, _ = shell("choices fermentation b4 samples_csv")
    assert "min_hours" in told
    code, told, _ = shell("export fermentation b4 samples_csv --filter min_hours=12 --name late --json")
    (made,) = json.loads(told)
    assert (code, made["record_count"]) == (0, 3)
    code, *_ = shell(f"download fermentation/b4/samples_csv/v{made['version']} {tmp_path / 'data'}")
    (path,) = (tmp_path / "data").rglob("*.csv")
    assert (code, shell.steps, len(list(csv.DictReader(path.open())))) == (0, 3, 3)
    _, found, _ = shell("history --name late --json")  # next month
    assert ([one["version"] for one in json.loads(found)], shell.steps) == ([made["version"]], 4)


def test_a_training_job_needs_one_line(home: Path) -> None:
    samples = sheaf.open("fermentation/b4/training_parquet").to_pandas()
    assert len(samples) == 8
    assert {"pH", "OD", "split", "eligible"} <= set(samples.columns)


def test_a_script_of_the_specification_runs_as_it_is(home: Path) -> None:
    with sheaf_server(Settings.load()) as url, httpx.Client(base_url=f"{url}/api/v1") as api:
        (batch,) = api.get("/batches", params={"status": "complete"}).json()
        text = api.get(f"/batches/{batch['batch_id']}/export", params={"format": "csv"}).text
    assert len(list(csv.DictReader(text.splitlines()))) == 8


def test_an_operator_is_told_what_is_wrong_and_where_and_puts_it_right_in_three_commands(
    shell: Shell, home: Path
) -> None:
    batch = home / "inbox" / "fermentation" / "b5" / "batch.json"
    document = record(batch={"batch_id": "9f0e2d3c-5b5a-4c43-9c0d-0d5c2f3a1b11", "batch_number": 5})
    samples = document.pop("samples")
    put_batch(batch.parent, document | {"samples": "none"})
    code, _, said = shell("run fermentation b5")
    assert (code, "b5" in said, "batch.json" in said) == (1, True, True)
    _, told, _ = shell("attention --json")
    (refused,) = [one for one in json.loads(told) if "b5" in json.dumps(one)]
    assert "samples" in json.dumps(refused)
    put_batch(batch.parent, document | {"samples": samples})
    code, *_ = shell("run fermentation b5")
    assert (code, shell.steps) == (0, 3)
    assert len(sheaf.open("fermentation/b5/samples_csv").to_pandas()) == 8


def test_a_publisher_pins_fetches_and_cites_an_archive_in_three_commands(shell: Shell, tmp_path: Path) -> None:
    assert shell("pin occurrences/p1/dwca/latest --as gbif")[0] == 0
    assert shell(f"download occurrences/p1/dwca/@gbif {tmp_path / 'data'}")[0] == 0
    code, cited, _ = shell("describe occurrences/p1/dwca/@gbif --as citation")
    assert (code, shell.steps, "sha256" in cited) == (0, 3, True)
    for standard, key in (("croissant", "license"), ("datapackage", "licenses")):
        told = json.loads(shell(f"describe occurrences/p1/dwca/@gbif --as {standard}")[1])
        assert "creativecommons.org/licenses/by/4.0" in json.dumps(told[key])
    (path,) = (tmp_path / "data").rglob("*.zip")
    with DwCAReader(str(path)) as archive:
        (night,) = archive.rows
        names = [one.data.get(f"{TERMS}/scientificName", "") for one in night.extensions]
        assert any(name.startswith("Noctua pronuba") for name in names)
        assert b"creativecommons.org/licenses/by/4.0" in tostring(archive.metadata)


@pytest.fixture
def url(home: Path) -> Iterator[str]:
    with sheaf_server(Settings.load()) as address:
        yield address


@pytest.mark.ui
def test_a_researcher_goes_from_the_idea_to_the_file_in_five_clicks(url: str) -> None:
    clicks = 0
    with chromium() as browser:
        page = browser.new_page()
        page.goto(url)
        for role, name in (("link", "New export"), ("button", "Make the export"), ("link", "samples.csv")):
            clicks += 1
            if name == "Make the export":
                page.get_by_label("min_hours").fill("12")
                expect(page.get_by_role("status")).to_contain_text("3 records")
            if name != "samples.csv":
                page.get_by_role(role, name=name).click()  # type: ignore[arg-type]
                continue
            with page.expect_download(timeout=120_000) as download:
                page.get_by_role("link", name=name).click(timeout=120_000)
            assert len(download.value.path().read_text().splitlines()) == 4
    assert clicks <= 5
