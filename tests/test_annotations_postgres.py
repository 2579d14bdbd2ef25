"""A project of an annotation server's database, read in one snapshot and only this one."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psycopg2
import pytest
from annotations_project import PROJECT, SERIES, Export, noted
from PIL import Image
from running import current, run_steps
from servers import postgres_server

from sheaf.annotations import schema
from sheaf.annotations.domain import ANNOTATIONS
from sheaf.annotations.settings import AnnotationsSettings
from sheaf.annotations.sources import postgres
from sheaf.annotations.sources.postgres import AnnotationServer
from sheaf.errors import NotFoundError, SourceError
from sheaf.exports.publish import Request
from sheaf.running import Made
from sheaf.sources import Sources
from sheaf.store.store import Store
from sheaf.tables.pinned import Tables

SCHEMA = """
CREATE TABLE projects (id serial PRIMARY KEY, name text, slug text UNIQUE, is_archived boolean DEFAULT false);
CREATE TABLE tasks (id serial PRIMARY KEY, project_id int REFERENCES projects, name text, status text, split text);
CREATE TABLE jobs (id serial PRIMARY KEY, task_id int REFERENCES tasks, status text, version int DEFAULT 1);
CREATE TABLE shared_images (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), file_path text UNIQUE, width int, height int,
  file_size_bytes int, metadata jsonb);
CREATE TABLE project_images (project_id int, shared_image_id uuid);
CREATE TABLE images (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), job_id int, filename text, s3_key text,
  width int NOT NULL, height int NOT NULL, shared_image_id uuid);
CREATE TABLE tag_categories (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), project_id int, name text,
  sidebar_order int);
CREATE TABLE tags (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), project_id int, category_id uuid, name text);
CREATE TABLE shared_image_tags (project_id int, shared_image_id uuid, tag_id uuid, category_id uuid);
CREATE TABLE labels (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), project_id int, name text, parent_id uuid);
CREATE TABLE image_tags (image_id uuid, label_id uuid, confidence float, source text);
CREATE TABLE detections (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), image_id uuid, label_id uuid, x_min float,
  y_min float, x_max float, y_max float, rotation float DEFAULT 0, confidence float, attributes jsonb, source text,
  created_at timestamptz DEFAULT '2026-01-01T00:00:00Z');
CREATE TABLE segmentations (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), image_id uuid, label_id uuid, format text,
  polygon jsonb, rle jsonb, confidence float, attributes jsonb, source text, created_at timestamptz);
CREATE TABLE keypoints (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), image_id uuid, points jsonb);
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a PostgreSQL server."""
    with postgres_server() as running:
        yield running.get_uri()


class Database:
    """An annotation server's database; `insert` returns the new row's id."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._connection = psycopg2.connect(dsn)
        self._connection.autocommit = True
        self.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public;" + SCHEMA)

    def run(self, query: str) -> None:
        """Statements without result."""
        with self._connection.cursor() as cursor:
            cursor.execute(query)

    def insert(self, table: str, **values: Any) -> Any:
        """One row; returns its id where the table has one."""
        names, places = ", ".join(values), ", ".join(["%s"] * len(values))
        plain = [orjson.dumps(v).decode() if isinstance(v, list | dict) else v for v in values.values()]
        back = "RETURNING id" if table not in ("project_images", "shared_image_tags", "image_tags") else ""
        with self._connection.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} ({names}) VALUES ({places}) {back}", plain)
            return cursor.fetchall()[0][0] if back else None

    def project(self, slug: str, split: str = "train") -> dict[str, Any]:
        """A project with one task, one job, a label, and an image of the shared pool with a box and a polygon."""
        project = self.insert("projects", name=slug, slug=slug)
        task = self.insert("tasks", project_id=project, name="t", split=split)
        job = self.insert("jobs", task_id=task, version=3)
        shared = self.insert("shared_images", file_path=f"{slug}/1.png")
        self.insert("project_images", project_id=project, shared_image_id=shared)
        image = self.insert("images", job_id=job, filename="1.png", width=100, height=50, shared_image_id=shared)
        label = self.insert("labels", project_id=project, name="car")
        corners = {"x_min": 0.1, "y_min": 0.2, "x_max": 0.5, "y_max": 0.6}
        self.insert("detections", image_id=image, label_id=label, attributes={"night": True}, **corners)
        self.insert("segmentations", image_id=image, label_id=label, polygon=[[0.1, 0.1], [0.5, 0.1], [0.5, 0.5]])
        return {"project": project, "job": job, "shared": shared, "image": image, "label": label}


@pytest.fixture
def database(server: str) -> Database:
    return Database(server)


def deliver(database: Database, store: Store, images: Path | None = None) -> Made:
    """Read a project as the first step does; its account has to add up."""
    settings = AnnotationsSettings(images_root=images)
    sources = Sources({"annotations": (AnnotationServer(lambda: database.dsn, settings),)})
    made = run_steps(store, ANNOTATIONS, PROJECT, settings, sources, only=["records"])["records"]
    assert all(account.adds_up for account in made.generation.account)
    return made


def tables(store: Store) -> Tables:
    return current(store, ANNOTATIONS, PROJECT)


def test_a_project_becomes_tables_and_exports(database: Database, tmp_path: Path) -> None:
    made = database.project(PROJECT)
    database.project("other", split="val")
    lonely = database.insert("shared_images", file_path="pool.png", width=10, height=10)
    database.insert("project_images", project_id=made["project"], shared_image_id=lonely)
    category = database.insert("tag_categories", project_id=made["project"], name="light")
    tag = database.insert("tags", project_id=made["project"], category_id=category, name="day")
    database.insert("shared_image_tags", project_id=made["project"], shared_image_id=made["shared"], tag_id=tag)
    database.insert("keypoints", image_id=made["image"], points=[])
    (tmp_path / "share" / PROJECT).mkdir(parents=True)
    Image.new("RGB", (100, 50)).save(tmp_path / "share" / PROJECT / "1.png")

    store = Store.open(str(tmp_path / "store"))
    made_of_it = deliver(database, store, tmp_path / "share")
    assert noted(made_of_it) == {}
    assert made_of_it.generation.source == "postgres"
    report = made_of_it.report
    assert (report.counts["images"], report.counts["images_without_file"]) == (2, 1)
    assert tables(store).read(schema.JOBS)["version"].to_pylist() == [3]
    assert tables(store).read(schema.PLACEMENTS)["keypoints"].to_pylist() == [1]
    detection = Export(store, SERIES["detection"], Request(PROJECT, {"include_tags": "light/day"}))
    assert detection.paths == [f"{PROJECT}/1.png"]
    (box,) = detection.annotations
    assert box["bbox"] == [10, 10, 40, 20]
    assert box["attributes"] == {"night": True}
    assert len(Export(store, SERIES["segmentation"], Request(PROJECT)).annotations) == 1
    assert Export(store, SERIES["detection"], Request(PROJECT)).report["dropped"] == {"no split": 1}


def test_what_is_written_meanwhile_is_not_seen(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = database.project(PROJECT)
    read = postgres._rows

    def interrupted(connection: Any, table: str, project: Any) -> Any:
        if table == "detections":
            database.run("DELETE FROM segmentations; UPDATE detections SET x_max = 0.9")
            database.insert("detections", image_id=made["image"], label_id=made["label"])
        return read(connection, table, project)

    monkeypatch.setattr(postgres, "_rows", interrupted)
    store = Store.open(str(tmp_path / "store"))
    made_of_it = deliver(database, store)
    assert noted(made_of_it) == {}
    assert tables(store).read(schema.DETECTIONS)["width"].to_pylist() == [40]
    assert made_of_it.report.counts["segmentations"] == 1


def test_what_did_not_change_is_not_read_again(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = database.project(PROJECT)
    store, share = Store.open(str(tmp_path / "store")), tmp_path / "share"
    picture = share / PROJECT / "1.png"
    picture.parent.mkdir(parents=True)
    first = deliver(database, store, share)
    assert first.report.counts["images_without_file"] == 1
    assert deliver(database, store, share).unchanged
    Image.new("RGB", (100, 50)).save(picture)  # no row tells that a file has come
    second = deliver(database, store, share)
    assert second.report.counts["images_without_file"] == 0
    os.utime(picture, (1, 1))
    looks = {"n": 0}
    read = postgres._rows

    def counted(*of: Any) -> Any:
        looks["n"] += 1
        return read(*of)

    monkeypatch.setattr(postgres, "_rows", counted)
    assert deliver(database, store, share).generation.number == 2  # another time, the same bytes
    assert looks["n"] == 0
    database.run(f"UPDATE detections SET x_max = 0.7 WHERE image_id = '{made['image']}'")
    assert deliver(database, store, share).generation.number == 3
    assert looks["n"] > 0
    assert len({first.generation.made_with.delivery, second.generation.made_with.delivery}) == 2


def test_boxes_that_all_became_impossible_are_refused(database: Database, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    database.project(PROJECT)
    deliver(database, store)
    database.run("UPDATE detections SET x_max = x_min")
    refused = deliver(database, store).generation.refused
    assert refused
    assert "(detections: 1 → 0, 1 rejected: the box has no area)" in refused
    assert tables(store).rows(schema.DETECTIONS) == 1


def test_projects_and_their_states(database: Database) -> None:
    server = AnnotationServer(lambda: database.dsn, AnnotationsSettings())
    made = database.project(PROJECT)
    database.project("other")
    database.insert("projects", name="odd", slug="no/slug")
    database.insert("projects", name="old", slug="old", is_archived=True)
    assert server.offers().partitions == ("other", PROJECT)
    assert server.offers().misnamed == ("no/slug",)
    assert server.check() == "annotation server: 2 projects"
    other, before = server.states(("other", PROJECT))
    database.run(f"UPDATE detections SET x_max = 0.7 WHERE image_id = '{made['image']}'")
    assert next(server.states(("other", PROJECT))).token == other.token
    (after,) = server.states((PROJECT,))
    assert after.token != before.token
    (gone,) = server.states(("gone",))
    assert "no project 'gone'" in gone.problem


def test_errors_say_what_to_do_and_no_password(database: Database, tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    server = AnnotationServer(lambda: database.dsn, AnnotationsSettings())
    with pytest.raises(NotFoundError, match="no project 'signs'"):
        deliver(database, store)
    database.project(PROJECT)
    database.run("ALTER TABLE segmentations RENAME COLUMN id TO key")
    with pytest.raises(SourceError, match="annotation database cannot be read"):
        deliver(database, store)
    database.run("DROP TABLE projects CASCADE")
    with pytest.raises(SourceError, match='relation "projects" does not exist'):
        server.offers()
    with pytest.raises(SourceError, match="cannot be reached") as caught:
        AnnotationServer(lambda: "postgresql://user:hunter2@127.0.0.1:1/none", AnnotationsSettings()).check()
    assert "hunter2" not in str(caught.value)
