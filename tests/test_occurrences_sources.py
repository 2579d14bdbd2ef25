"""The database and the API give the same exports as files, and later only what changed."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
from occurrences_database import create_tables, load, run
from occurrences_inbox import (
    SETTINGS,
    Tables,
    built,
    content,
    csv_rows,
    export,
    identification,
    json_rows,
    made,
    project,
    put,
)
from running import run_steps
from servers import postgres_server

from sheaf.errors import InputError, NotFoundError, SourceError
from sheaf.occurrences.domain import OCCURRENCES
from sheaf.occurrences.sample import season
from sheaf.occurrences.settings import ApiSettings
from sheaf.occurrences.sources import api, postgres
from sheaf.occurrences.sources.live import AntennaApi
from sheaf.running import Made
from sheaf.sources import Sources
from sheaf.store.store import Store

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database with the sample season; yields the address of a role that may only read."""
    folder = tmp_path_factory.mktemp("postgres")
    season.write(folder)
    with postgres_server() as server:
        dsn = server.get_uri()
        create_tables(dsn)
        load(dsn, folder / "occurrences" / "p1")
        yield dsn


@pytest.fixture
def reader(server: str) -> str:
    """The address of the database for a role that may only read, and only what is listed."""
    return server.replace("postgres:@", "reader:@")


@pytest.mark.campaign
def test_the_database_gives_the_same_exports_as_files(reader: str, tmp_path: Path) -> None:
    season.write(tmp_path)
    postgres.refresh(reader, "p1", tmp_path / "mirror" / "p1", SETTINGS)
    found, exports = [], []
    for name, folder in (("files", tmp_path / "occurrences" / "p1"), ("database", tmp_path / "mirror" / "p1")):
        store = Store.open(str(tmp_path / name))
        found.append(made(store, folder)["occurrences"].generation.data_version)
        exports.append([content(store, export(store, kind)) for kind in ("occurrences_simple_csv", "dwca")])
    assert found[0] == found[1]
    assert exports[0] == exports[1]


def test_what_must_not_be_read_is_not(reader: str, tmp_path: Path) -> None:
    postgres.refresh(reader, "p1", tmp_path / "p1", SETTINGS)
    assert pq.read_schema(tmp_path / "p1" / "users_user.parquet").names == ["id", "name"]
    names = pq.read_schema(tmp_path / "p1" / "main_classification.parquet").names
    assert not {"logits", "scores"} & set(names)


def test_times_are_those_of_the_stations_whatever_the_session(reader: str, tmp_path: Path) -> None:
    postgres.refresh(reader, "p1", tmp_path / "p1", SETTINGS)
    starts = pq.read_table(tmp_path / "p1" / "main_event.parquet", columns=["start"])["start"].to_pylist()
    assert {start[11:] for start in starts} == {"22:00:00"}


@pytest.mark.campaign
def test_a_refresh_reads_what_changed_and_drops_what_was_deleted(server: str, reader: str, tmp_path: Path) -> None:
    folder = tmp_path / "p1"
    first = postgres.refresh(reader, "p1", folder, SETTINGS)
    before = postgres.state(reader, "p1")
    assert postgres.state(reader, "p1") == before
    gone = pq.read_table(folder / "main_identification.parquet", columns=["id"])["id"][-1].as_py()
    run(
        server,
        "UPDATE main_deployment SET name = 'Renamed', updated_at = now() WHERE name = 'Meadow'",
        f"DELETE FROM main_identification WHERE id = {gone}",
        "INSERT INTO main_taxon (id, name, rank, parents_json, updated_at) VALUES (900, 'New', 'GENUS', '[]', now())",
        "INSERT INTO main_taxon (id, name, rank, parents_json, updated_at) VALUES (901, 'Old', 'GENUS', '[]', NULL)",
    )
    assert postgres.state(reader, "p1") != before
    second = postgres.refresh(reader, "p1", folder, SETTINGS)
    assert second["main_detection"] < first["main_detection"] / 5
    whole = tmp_path / "whole" / "p1"
    postgres.refresh(reader, "p1", whole, SETTINGS, full=True)
    found = []
    for name, source in (("a", folder), ("b", whole)):
        store = Store.open(str(tmp_path / name))
        found.append(made(store, source)["occurrences"].generation.data_version)
    assert found[0] == found[1]
    names = pq.read_table(folder / "main_deployment.parquet")["name"].to_pylist()
    assert "Renamed" in names
    assert {"New", "Old"} <= set(pq.read_table(folder / "main_taxon.parquet")["name"].to_pylist())
    assert gone not in pq.read_table(folder / "main_identification.parquet")["id"].to_pylist()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_row_that_came_with_an_old_date_is_found(server: str, reader: str, tmp_path: Path) -> None:
    postgres.refresh(reader, "p1", tmp_path / "p1", SETTINGS)
    run(
        server,
        "INSERT INTO main_taxon (id, name, rank, parents_json, updated_at)"
        " VALUES (950, 'Late', 'GENUS', '[]', '2001-01-01')",
    )
    postgres.refresh(reader, "p1", tmp_path / "p1", SETTINGS)
    assert "Late" in pq.read_table(tmp_path / "p1" / "main_taxon.parquet")["name"].to_pylist()


def test_what_cannot_be_read_is_said(server: str, reader: str, tmp_path: Path) -> None:
    assert postgres.projects(reader) == ["p1"]
    with pytest.raises(NotFoundError, match="no project 5"):
        postgres.refresh(reader, "p5", tmp_path / "p5", SETTINGS)
    with pytest.raises(SourceError, match="cannot be reached"):
        postgres.projects("postgresql://nobody@127.0.0.1:1/none")
    run(server, "REVOKE SELECT (start) ON main_event FROM reader")
    try:
        with pytest.raises(InputError, match=r"main_event\.start"):
            postgres.refresh(reader, "p1", tmp_path / "p1", SETTINGS)
    finally:
        run(server, "GRANT SELECT (start) ON main_event TO reader")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_before_stays_when_reading_fails(server: str, reader: str, tmp_path: Path) -> None:
    folder = put(tmp_path / "p1", project())
    before = sorted(path.name for path in folder.iterdir())
    run(server, "ALTER TABLE main_identification RENAME COLUMN id TO key")
    run(server, "ALTER TABLE main_occurrence RENAME COLUMN id TO key")
    try:
        with pytest.raises(InputError):
            postgres.refresh(reader, "p1", folder, SETTINGS)
    finally:
        run(server, "ALTER TABLE main_occurrence RENAME COLUMN key TO id")
        run(server, "ALTER TABLE main_identification RENAME COLUMN key TO id")
    assert sorted(path.name for path in folder.iterdir()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["p1"]


class Api:
    """A small server that answers as Antenna's API does, from the JSON export of a project."""

    def __init__(self, occurrences: list[Any], given: Tables) -> None:
        self.asked: list[str] = []
        self.fail_first: set[str] = set()
        self.answer: Callable[[str, dict[str, str]], Any] = self._answer
        self.project = given["main_project"][0] | {"owner": {"id": 1, "name": "Ada Field"}}
        self.lists = {
            "deployments": given["main_deployment"],
            "events": [{**row, "deployment": {"id": row["deployment_id"]}} for row in given["main_event"]],
            "captures": [{**row, "event": f"/api/v2/events/{row['event_id']}/"} for row in given["main_sourceimage"]],
            "occurrences": occurrences,
        }

    def _answer(self, path: str, query: dict[str, str]) -> Any:
        name, _, id_ = path.partition("/")
        if name == "projects":
            return self.project if id_ == "1" else None
        rows = self.lists[name]
        if id_:
            return next((row for row in rows if str(row["id"]) == id_), None)
        offset, limit = int(query["offset"]), int(query["limit"])
        return {"count": len(rows), "next": None, "results": rows[offset : offset + limit]}


@pytest.fixture
def served(tmp_path: Path, local_store: Store) -> Iterator[tuple[Api, str]]:
    """The API over a small project, and its address."""
    given = project()
    given["main_identification"] = [identification(1, 3, 4, "2024-07-03T10:00:00")]
    built(local_store, given, tmp_path / "origin" / "p1")
    source = Api(json_rows(local_store), given)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            path = parts.path.removeprefix("/api/v2/").strip("/")
            source.asked.append(self.path)
            if path in source.fail_first:
                source.fail_first.remove(path)
                self.send_error(503)
                return
            found = source.answer(path, {key: values[0] for key, values in parse_qs(parts.query).items()})
            if found is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *args: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    yield source, f"http://127.0.0.1:{http.server_port}/api/v2"
    http.shutdown()


def test_the_api_gives_the_same_occurrences(served: tuple[Api, str], tmp_path: Path, local_store: Store) -> None:
    source, url = served
    source.fail_first = {"events"}
    read = api.refresh(url, "p1", tmp_path / "api" / "p1")
    assert (read["main_occurrence"], read["main_detection"], read["main_identification"]) == (1, 2, 1)
    store = Store.open(str(tmp_path / "api-store"))
    assert not any(of.rejected for of in made(store, tmp_path / "api" / "p1")["records"].generation.account)
    assert csv_rows(store) == csv_rows(local_store)
    assert "apply_defaults=false" in next(path for path in source.asked if "/occurrences/?" in path)


def test_what_the_api_shows_is_named_by_its_content(served: tuple[Api, str], tmp_path: Path) -> None:
    source, url = served
    live = AntennaApi(ApiSettings(kind="api", url=url, projects=("p1",)), tmp_path / "mirror")
    store = Store.open(str(tmp_path / "api-store"))

    def read() -> Made:
        sources = Sources({"occurrences": (live,)})
        return run_steps(store, OCCURRENCES, "p1", SETTINGS, sources)["records"]

    def name() -> str:
        with live.deliver(store, "p1", tmp_path) as delivery:
            return delivery.name

    made = read()
    assert (made.generation.source, made.generation.made_with.delivery) == ("api", name())
    assert csv_rows(store)[0]["deployment_name"] == "Meadow"
    source.lists["deployments"] = [{**source.lists["deployments"][0], "name": "Wood"}]
    assert name() != made.generation.made_with.delivery


def test_pages_that_lose_and_repeat_are_read_until_they_fit(served: tuple[Api, str], tmp_path: Path) -> None:
    source, url = served
    first = source.lists["deployments"][0]
    source.lists["deployments"] = [{**first, "id": number} for number in range(1, 251)]
    calls = []

    def shifting(path: str, query: dict[str, str]) -> Any:
        if path == "deployments" and query["offset"] == "200" and not calls:
            calls.append(path)
            rows = source.lists["deployments"]
            return {"count": 250, "results": [*rows[190:200], *rows[210:250]]}
        return source._answer(path, query)

    source.answer = shifting
    assert api.refresh(url, "p1", tmp_path / "p1")["main_deployment"] == 250


def test_an_api_that_never_adds_up_is_refused(served: tuple[Api, str], tmp_path: Path) -> None:
    source, url = served
    folder = put(tmp_path / "p1", project())
    source.answer = lambda path, query: (
        {"count": 3, "results": source.lists["events"]} if path == "events" else source._answer(path, query)
    )
    with pytest.raises(SourceError, match="counts 3 objects but gave 1"):
        api.refresh(url, "p1", folder)
    assert (folder / "main_project.ndjson").exists()


def test_an_api_without_the_project_or_without_sense_is_refused(served: tuple[Api, str], tmp_path: Path) -> None:
    source, url = served
    with pytest.raises(NotFoundError, match="projects/2/"):
        api.refresh(url, "p2", tmp_path / "p2")
    source.answer = lambda path, query: ["no object"]
    with pytest.raises(SourceError, match="a list instead of an object"):
        api.refresh(url, "p1", tmp_path / "p1")
    shutil.rmtree(tmp_path / "p1", ignore_errors=True)
    with pytest.raises(SourceError, match="cannot be reached"):
        api.refresh("http://127.0.0.1:1/api/v2", "p1", tmp_path / "p1")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE main_deployment SET name = 'Moved', updated_at = now() WHERE name = 'Meadow' OR name = 'Renamed'",
        "UPDATE main_event SET captures_count = 7, updated_at = now() WHERE id = (SELECT min(id) FROM main_event)",
        "UPDATE main_classification SET score = 0.1, updated_at = '2024-06-02' WHERE id % 9 = 0",
        "UPDATE main_sourceimage SET path = 'x', updated_at = now() WHERE id = (SELECT min(id) FROM main_sourceimage)",
        "UPDATE users_user SET name = 'Ada Meadow' WHERE id = 1",
        "UPDATE main_project_members SET role = 'identifier' WHERE user_id = 1",
        "UPDATE main_project_default_filters_exclude_taxa SET taxon_id = 2",
        "UPDATE main_sourceimagecollection_images SET sourceimage_id = sourceimage_id + 1",
        "DELETE FROM main_identification WHERE id = (SELECT max(id) FROM main_identification)",
        "INSERT INTO main_taxon (id, name, rank, parents_json) VALUES (970, 'New', 'GENUS', '[]')",
        "UPDATE main_taxon SET name = 'Newer' WHERE id = 970",
    ],
)
def test_a_look_notices_whatever_is_read(server: str, reader: str, change: str) -> None:
    """Otherwise a nightly run would leave what it has."""
    before = postgres.state(reader, "p1")
    run(server, change)
    assert postgres.state(reader, "p1") != before
