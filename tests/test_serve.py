"""The HTTP API over a real connection: what there is, exports, the specifications' paths, and who may do what."""

import base64
import hashlib
import html
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from annotations_project import PROJECT, Project
from fermentation_inbox import put_batch, record
from running import run_steps
from servers import sheaf_server

from pipelines.cli import main
from pipelines.http import batches
from pipelines.http.access import Tries
from pipelines.http.roles import Role
from pipelines.http.users import Users
from sheaf.exports.publish import Request, publish
from sheaf.exports.records import NOTHING, Status, read_record
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.readers.ingest import ingest
from sheaf.fermentation.settings import FermentationSettings
from sheaf.names import ExportId, SeriesId
from sheaf.settings import ServeSettings, Settings
from sheaf.store.store import Store

BATCH = "/api/v1/exports/fermentation/b4/samples_csv"
UPLOAD = "/api/v1/analysis/batch/upload-csv"
PAIRS = b"master_file,dub_file\nmissing/a.wav,missing/b.wav\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one published batch."""
    folder = tmp_path_factory.mktemp("home")
    store, settings = Store.open(str(folder / "store")), FermentationSettings()
    run_steps(
        store, FERMENTATION, "b4", settings, put_batch(folder / "inbox" / "fermentation" / "b4", record()), ingest
    )
    for name in ("samples_csv", "batch_report", "batch_json"):
        publish(store, FERMENTATION, FERMENTATION.series_named(name), Request("b4"), settings)
    return folder


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    """A server on that home."""
    serve = ServeSettings(upload_mb=0.1)
    settings = Settings(home=home, store_url=str(home / "store"), inbox=home / "inbox", serve=serve)
    with sheaf_server(settings) as address:
        yield address


@pytest.fixture
def api(url: str) -> Iterator[httpx.Client]:
    """Who sits at this machine."""
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture
def as_role(home: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """Somebody who logged in; afterwards nobody has a name again."""
    monkeypatch.setattr(batches, "_TRIES", Tries())
    users, clients = Users(home), []

    def client(role: str) -> httpx.Client:
        users.add(role, Role(role), f"secret of {role}")
        answer = httpx.post(f"{url}/api/v1/auth/login", json={"username": role, "password": f"secret of {role}"})
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        clients.append(httpx.Client(base_url=url, headers=headers, timeout=60))
        return clients[-1]

    yield client
    for one in clients:
        one.close()
    (home / "users.json").unlink(missing_ok=True)


def ended(api: httpx.Client, path: str) -> dict:
    """What became of a pending export."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        found = api.get(path).json()["record"]
        if found["status"] not in ("pending", "processing"):
            return found
        time.sleep(0.2)
    pytest.fail(f"{path} is still pending.")


def test_what_there_is_is_told_as_the_command_line_tells_it(api: httpx.Client) -> None:
    domains = {one["domain"]: one for one in api.get("/api/v1/domains").json()}
    assert domains["fermentation"]["partitions"] == 1
    (batch,) = api.get("/api/v1/domains/fermentation/partitions").json()
    assert batch["latest"] == {"samples_csv": 1, "batch_report": 1, "batch_json": 1}
    assert api.get(f"/api/v1/domains/fermentation/partitions/{batch['facts']['id']}").json() == batch
    told = api.get("/api/v1/domains/fermentation/choices", params={"partition": "b4", "series": "samples_csv"}).json()
    assert {"contamination_detected", "min_hours"} < {key["key"] for key in told["series"][0]["filter"]}
    assert api.get("/api/v1/domains/fermentation/partitions/b4/rejects").json() == []
    assert [one["what"] for one in api.get("/api/v1/activity", params={"limit": 1}).json()] == ["export completed"]
    assert "/api/v1/batches/{batch_id}/export" in api.get("/api/v1/openapi.json").json()["paths"]


def test_the_description_is_a_page_that_loads_nothing(api: httpx.Client) -> None:
    page = api.get("/api/v1/docs")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    (style,) = re.findall(r"<style>(.*?)</style>", page.text, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() in policy
    assert "<script" not in page.text
    assert re.findall(r"(?:src|href)=.([^'\" ]*)", page.text) == ["openapi.json"]
    for path, methods in api.get("/api/v1/openapi.json").json()["paths"].items():
        assert f"<code>{html.escape(path)}</code>" in page.text
        assert page.text.count(f"<code>{html.escape(path)}</code>") == len(methods)


def test_descriptions_lie_beside_the_files_of_an_export(api: httpx.Client) -> None:
    package = api.get(f"{BATCH}/latest/files/_datapackage.json").json()
    (resource,) = package["resources"]
    assert api.get(f"{BATCH}/latest/files/{resource['path']}").status_code == 200
    croissant = api.get(f"{BATCH}/latest/files/_croissant.json")
    assert croissant.headers["content-type"] == "application/ld+json"
    columns = api.get(f"{BATCH}/latest/columns").json()[resource["path"]]
    assert [one["name"] for one in columns] == [one["name"] for one in resource["schema"]["fields"]]
    assert "g/L" in {one["unit"] for one in columns}


def test_what_is_pinned_has_a_name_and_stays(api: httpx.Client) -> None:
    assert api.put(f"{BATCH}/latest/tags/paper").json()["export"] == "fermentation/b4/samples_csv/v1"
    assert api.get(f"{BATCH}/@paper").json()["record"]["version"] == 1
    (entry,) = [one for one in api.get("/api/v1/catalog").json()["exports"] if one.get("tags")]
    assert entry["tags"] == ["paper"]
    refused = api.delete(f"{BATCH}/@paper")
    assert (refused.status_code, "is pinned as @paper" in refused.json()["detail"]) == (400, True)
    assert api.delete(f"{BATCH}/v1/tags/thesis").status_code == 404
    assert api.delete(f"{BATCH}/v1/tags/paper").status_code == 200
    assert api.get(f"{BATCH}/@paper").status_code == 404


def test_an_export_is_downloaded_whole_or_in_ranges_and_its_etag_is_its_sha256(api: httpx.Client) -> None:
    manifest = api.get(f"{BATCH}/latest").json()["manifest"]
    whole = api.get(f"{BATCH}/v1/download")
    assert whole.headers["etag"] == f'"{manifest["files"][0]["sha256"]}"'
    assert len(whole.content) == manifest["files"][0]["size"]
    part = api.get(f"{BATCH}/v1/download", headers={"Range": "bytes=5-14"})
    assert (part.status_code, part.content) == (206, whole.content[5:15])
    assert api.get(f"{BATCH}/v1/download", headers={"Range": "bytes=9999999-"}).status_code == 416
    assert api.get(f"{BATCH}/v1/download", headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    archive = api.get(BATCH.replace("samples_csv", "batch_report") + "/latest/download")
    assert archive.headers["content-type"] == "application/zip"
    for path in ("..%2f..%2f..%2fusers.json", "%2fetc%2fpasswd", "_record.json", "nothing"):
        assert api.get(f"{BATCH}/v1/files/{path}").status_code == 404
    assert api.get("/api/v1/exports/..%2f..%2fx/b4/samples_csv/v1/download").status_code in (400, 404)


def test_an_export_is_made_renamed_and_deleted_by_a_run_of_its_own(api: httpx.Client, home: Path) -> None:
    asked = {"domain": "fermentation", "partition": "b4", "series": "samples_csv", "filter": {"min_hours": 4}}
    assert api.post("/api/v1/exports/preview", json=asked).json()["record_count"] == 6
    answer = api.post("/api/v1/exports", json=asked | {"name": "Late"})
    assert (answer.status_code, answer.json()["status"]) == (201, "pending")
    path = answer.headers["location"]
    done = ended(api, path)
    assert (done["status"], done["record_count"], done["name"], done["canonical"]) == ("completed", 6, "Late", False)
    again = api.post("/api/v1/exports", json=asked)
    assert (again.status_code, again.json()["version"]) == (200, done["version"])
    assert api.patch(path, json={"name": "Later"}).json()["name"] == "Later"
    (found,) = api.get("/api/v1/exports", params={"name": "later"}).json()
    assert found["version"] == done["version"]
    assert api.delete(path).json()["status"] == "deleted"
    assert api.get(f"{path}/download").status_code == 404
    assert api.get(f"{BATCH}/latest").json()["record"]["version"] == 1
    assert Store.open(str(home / "store")).get(f"exports/{path[16:-2]}v0002/_manifest.json") == NOTHING


@pytest.mark.parametrize(
    ("changed", "status", "says"),
    [
        ({"domain": "fermentatoin"}, 400, "Did you mean 'fermentation'"),
        ({"partition": "b44"}, 404, "Did you mean 'b4'"),
        ({"partition": "../b4"}, 404, "was never read"),
        ({"series": "samples"}, 400, "there are samples_csv"),
        ({"filter": {"colour": "red"}}, 400, "Unknown filter"),
        ({"filter": {"min_hours": "many"}}, 400, "min_hours='many' cannot be used"),
        ({"filter": {"min_hours": 4, "max_hours": 3}}, 400, "so nothing is left"),
        ({"saved": "nothing"}, 404, "has no saved filter"),
        ({"elephant": 1}, 422, "elephant cannot be used"),
    ],
)
def test_a_mistake_has_its_status_and_one_sentence_and_writes_nothing(
    api: httpx.Client, home: Path, changed: dict, status: int, says: str
) -> None:
    store = Store.open(str(home / "store"))
    before = {item.path for item in store.list("exports")}
    asked = {"domain": "fermentation", "partition": "b4", "series": "samples_csv"} | changed
    answer = api.post("/api/v1/exports", json=asked)
    assert (answer.status_code, list(answer.json())) == (status, ["detail"])
    assert says in answer.json()["detail"]
    assert {item.path for item in store.list("exports")} == before


def test_batches_are_listed_and_exported_as_the_specification_prints(api: httpx.Client) -> None:
    (batch,) = api.get("/api/v1/batches", params={"status": "complete", "limit": 100}).json()
    assert batch["partition"] == "b4"
    export = f"/api/v1/batches/{batch['batch_id']}/export"
    rows = api.get(export, params={"format": "csv"}).text.splitlines()
    assert (rows[0].startswith("batch_id,batch_number,phase,timepoint_hours"), len(rows)) == (True, 9)
    assert api.get(export).text.startswith("# Batch #")
    assert len(api.get(export, params={"format": "json"}).json()["samples"]) == 8
    assert api.get("/api/v1/batches", params={"status": "aborted"}).json() == []
    missing = api.get("/api/v1/batches/4b1c/export")
    assert (missing.status_code, missing.json()) == (404, {"detail": "Batch 4b1c not found"})
    for wrong in ({"format": "xml"}, {"format": ""}):
        assert api.get(export, params=wrong).status_code == 422
    assert api.get("/api/v1/batches", params={"limit": 101}).status_code == 422


def test_media_batches_speak_the_specification(api: httpx.Client, home: Path) -> None:
    answer = api.post(UPLOAD, files={"file": ("../../pairs.csv", PAIRS)}, data={"priority": "high"}).json()
    batch = answer["batch_id"]
    assert (answer["items_count"], answer["items"][0]["status"]) == (1, "pending")
    assert api.post(UPLOAD, files={"file": ("again.csv", PAIRS)}).json()["batch_id"] == batch
    assert not (home / "inbox" / "media").exists()  # it waits, whatever looks at the inbox
    assert api.get(f"/api/v1/analysis/batch/{batch}/status").json()["status"] == "pending"
    early = api.get(f"/api/v1/analysis/batch/{batch}/results")
    assert (early.status_code, early.json()["success"], list(early.json())) == (
        400,
        False,
        ["success", "error", "timestamp"],
    )
    started = api.post(f"/api/v1/analysis/batch/{batch}/start", json={"parallel_jobs": 2, "priority": "normal"}).json()
    assert (started["status"], started["items_processing"]) == ("processing", 1)
    end = time.monotonic() + 120
    while api.get(f"/api/v1/analysis/batch/{batch}/status").json()["status"] in ("pending", "processing"):
        assert time.monotonic() < end
        time.sleep(0.3)
    status = api.get(f"/api/v1/analysis/batch/{batch}/status", params={"include_details": True}).json()
    assert (status["status"], status["progress"], status["items_failed"]) == ("failed", 100.0, 1)
    results = api.get(f"/api/v1/analysis/batch/{batch}/results").json()
    assert (results["summary"]["items_total"], results["results"][0]["status"]) == (1, "failed")
    assert api.get(results["download_links"]["csv_export"]).text.startswith("item_id,")
    assert api.delete(f"/api/v1/analysis/batch/{batch}").status_code == 400


def test_a_media_batch_that_waits_is_cancelled_and_bad_ones_are_told(api: httpx.Client, home: Path) -> None:
    batch = api.post(UPLOAD, files={"file": ("pairs.csv", PAIRS + b"c.wav,d.wav\n")}).json()["batch_id"]
    assert api.delete(f"/api/v1/analysis/batch/{batch}").json()["status"] == "cancelled"
    gone = api.get(f"/api/v1/analysis/batch/{batch}/status")
    assert (gone.status_code, gone.json()["error"]) == (404, f"Batch {batch} not found")
    assert not list((home / "uploads" / "media").iterdir())
    for content in (b"", b"no,such,columns\n1,2,3\n", b"\x00\x01"):
        answer = api.post(UPLOAD, files={"file": ("pairs.csv", content)})
        assert (answer.status_code, answer.json()["success"]) == (400, False)
    webhook = {"notification_webhook": "https://user:secret@example.org/"}
    assert api.post(UPLOAD, files={"file": ("x.csv", PAIRS)}, data={"priority": "urgent"}).status_code == 400
    assert api.post(f"/api/v1/analysis/batch/{batch}/start", json={"parallel_jobs": 0}).status_code == 400
    refused = api.post(UPLOAD, files={"file": ("x.csv", PAIRS.replace(b"b.wav", b"e.wav"))}, data=webhook)
    assert (refused.status_code, "secret" in refused.text) == (400, False)
    assert api.get("/api/v1/analysis/batch/..%2f..%2fusers/status").status_code == 404
    assert api.post(UPLOAD, files={"file": ("x.csv", b"x" * 200_000)}).status_code == 413


def test_annotated_projects_speak_the_specification(api: httpx.Client, home: Path) -> None:
    project = Project(home / "inbox" / "annotations" / PROJECT, Store.open(str(home / "store")))
    for path, task, tag in (("a.png", 1, "light/day"), ("b.png", 2, "light/night")):
        image = project.image(path, task)
        project.box(image)
        project.tag(image, tag)
        project.file(path)
    project.ingest()
    root = f"/api/v1/projects/{PROJECT}"
    options = api.get(f"{root}/exports/classification-options").json()
    assert [category["name"] for category in options["categories"]] == ["light"]
    saved = api.post(f"{root}/saved-filters", json={"name": "Training Set", "filter": {"annotated": True}}).json()
    assert api.get(f"{root}/saved-filters").json() == [saved]
    renamed = api.put(f"{root}/saved-filters/{saved['id']}", json={"name": "All", "filter": {"annotated": True}}).json()
    asked = {"export_mode": "detection", "output_format": "coco_json", "saved_filter_id": renamed["id"]}
    assert api.post(f"{root}/exports/preview", json=asked).json()["image_count"] == 2
    made = api.post(f"{root}/exports", json=asked).json()
    assert (made["name"], made["version_number"], made["status"]) == ("Detection Export v1", 1, "pending")
    ended(api, "/api/v1/exports/annotations/signs/detection/v1")
    (done,) = api.get(f"{root}/exports").json()
    assert (done["id"], done["status"], done["artifact_size_bytes"] > 0) == (made["id"], "completed", True)
    assert api.get(f"{root}/exports/{made['id']}/download").content[:2] == b"PK"
    assert api.delete(f"{root}/exports/{made['id']}").status_code == 204
    assert api.get(f"{root}/exports/{made['id']}").status_code == 404
    assert api.delete(f"{root}/saved-filters/{renamed['id']}").status_code == 204
    assert api.post(f"{root}/exports", json={"export_mode": "hologram"}).status_code == 400


def test_occurrence_exports_refuse_what_they_do_not_know(api: httpx.Client) -> None:
    assert api.get("/api/v2/exports/").json() == {"count": 0, "next": None, "previous": None, "results": []}
    for body, key in (
        ({"project": 7, "format": "dwca"}, "project"),
        ({"project": 7, "format": "parquet"}, "format"),
    ):
        answer = api.post("/api/v2/exports/", json=body)
        assert (answer.status_code, list(answer.json())) == (400, [key])
    assert api.get("/api/v2/exports/12/").status_code == 404


def test_a_name_may_do_what_its_role_says(api: httpx.Client, as_role, home: Path) -> None:
    asked = {"domain": "fermentation", "partition": "b4", "series": "samples_csv", "filter": {"min_hours": 12}}
    viewer, researcher, admin = as_role("viewer"), as_role("researcher"), as_role("admin")
    assert api.get("/api/v1/domains").status_code == 401  # from now on, this machine's own people log in too
    assert viewer.get("/api/v1/domains").status_code == 200
    for refused in (viewer.post("/api/v1/exports", json=asked), viewer.delete(f"{BATCH}/v1")):
        assert (refused.status_code, "needs the role researcher" in refused.json()["detail"]) == (403, True)
    assert researcher.patch(f"{BATCH}/v1", json={"name": "x"}).status_code == 403
    assert admin.patch(f"{BATCH}/v1", json={"name": "First"}).json()["name"] == "First"
    made = researcher.post("/api/v1/exports", json=asked).json()
    done = ended(viewer, f"{BATCH}/v{made['version']}")
    assert (done["status"], done["requested_by"]) == ("completed", "researcher")
    Users(home).remove("viewer")
    assert viewer.get("/api/v1/domains").status_code == 401


def test_tokens_end_are_not_forged_and_logins_are_limited(api: httpx.Client, as_role, home: Path) -> None:
    as_role("viewer")
    users = Users(home)
    (user,) = users.all()
    assert (home / "users.json").stat().st_mode & 0o777 == 0o600
    assert "secret of viewer" not in (home / "users.json").read_text()
    good = users.token(user, 60)
    assert users.bearer(good) == user
    said, _, signature = good.partition(".")
    for bad in (users.token(user, -1), f"{said}.{signature[:-2]}AA", f"{said[:-2]}AA.{signature}", "x.y", "."):
        assert api.get("/api/v1/domains", headers={"Authorization": f"Bearer {bad}"}).status_code == 401
    wrong = [
        api.post("/api/v1/auth/login", json={"username": name, "password": "no"})
        for name in ("viewer", "nobody", "viewer", "nobody", "viewer", "viewer")
    ]
    assert [answer.status_code for answer in wrong] == [401] * 5 + [429]
    assert int(wrong[-1].headers["retry-after"]) > 0


def test_only_who_sits_here_needs_no_login_and_no_other_site_can_borrow_that(api: httpx.Client) -> None:
    assert api.get("/api/v1/domains", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 401
    assert api.get("/api/v1/domains", headers={"Host": "evil.example"}).status_code == 400
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert api.post(UPLOAD, files={"file": ("x.csv", PAIRS)}, headers=headers).status_code == 403
    answer = api.get("/api/v1/domains", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_the_server_needs_a_name_before_others_can_reach_it(
    home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("SHEAF_HOME", str(home))
    with pytest.raises(SystemExit) as ended_:
        main.main(["serve", "--host", "0.0.0.0"])
    assert (ended_.value.code, "make a name first" in capfd.readouterr().err) == (2, True)


def test_a_pending_export_of_a_server_that_died_is_taken_up(home: Path) -> None:
    from pipelines.http.service import Service

    settings = Settings(home=home, store_url=str(home / "store"), inbox=home / "inbox")
    store = Store.open(settings.store_url)
    first = read_record(store, ExportId(SeriesId("fermentation", "b4", "batch_json"), 1))
    left = first.model_copy(update={"version": 2, "status": Status.PENDING, "pid": 2**22 + 1, "canonical": False})
    store.create(left.id.record_path, left.model_dump_json().encode())
    service = Service.of(settings)
    service.launcher.resume()
    end = time.monotonic() + 120
    while read_record(store, left.id).status.is_open and time.monotonic() < end:
        time.sleep(0.2)
    service.launcher.close()
    assert read_record(store, left.id).status is Status.COMPLETED
