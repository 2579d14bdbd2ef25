"""Exports of occurrences over HTTP as the specification prints them, answered in this process."""

from pathlib import Path

from occurrences_inbox import SETTINGS, built, export, project
from starlette.testclient import TestClient

from pipelines.http.app import build_app
from sheaf.settings import Settings
from sheaf.store.store import Store

FIELDS = [
    *("id", "user", "project", "format", "filters", "filters_display", "job", "file_url", "record_count", "file_size"),
    *("file_size_display", "created_at", "updated_at"),
]


def test_an_export_is_renamed_and_says_the_same_as_before(tmp_path: Path, local_store: Store) -> None:
    tables = project()
    tables["main_sourceimagecollection"] = [{"id": 7, "name": "First night", "project_id": 1}]
    built(local_store, tables, tmp_path / "p1")
    export(local_store, "occurrences_simple_csv", settings=SETTINGS, collection_id=7)
    settings = Settings(home=tmp_path, store_url=str(tmp_path / "store"), inbox=tmp_path / "inbox")
    api = TestClient(build_app(settings), client=("127.0.0.1", 50000))
    (before,) = api.get("/api/v2/exports/", params={"project_id": "1"}).json()["results"]
    assert list(before) == FIELDS
    night = {"collection_id": "First night", "collection": {"id": 7, "name": "First night"}}
    assert (before["record_count"], before["filters_display"]) == (0, night)
    for asked, count in (
        ({"project": "1"}, 1),
        ({"format": "dwca"}, 0),
        ({"format": "occurrences_simple_csv", "status": "SUCCESS"}, 1),
        ({"status": "failed"}, 0),
    ):
        assert api.get("/api/v2/exports/", params=asked).json()["count"] == count
    for asked in ({"status": "nope"}, {"format": "nope"}):
        assert api.get("/api/v2/exports/", params=asked).status_code == 400
    assert api.post("/api/v2/exports/", json={"format": "dwca"}).status_code == 400
    path = f"/api/v2/exports/{before['id']}/"
    for method, name in (("PATCH", "June"), ("PUT", "June again")):
        answer = api.request(method, path, json={"name": name})
        assert answer.status_code == 200
        renamed = answer.json()
        assert renamed["job"].pop("name") == name
        assert {**renamed, "job": None} == {**before, "job": None}
        assert api.get(path).json()["job"]["name"] == name
    assert api.patch(path, json={"filters": {}}).status_code == 422  # what it holds cannot be changed
    assert api.delete(path).status_code == 204
    assert api.get(path).status_code == 404
