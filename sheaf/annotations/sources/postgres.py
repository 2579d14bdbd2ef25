"""Projects of an annotation server, read from its PostgreSQL database in one snapshot.

Everything is read in a single read-only REPEATABLE READ transaction, so that annotators may go on
while it lasts. Not here: what the rows mean (`fields`), which are the same as in files.
"""

import hashlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sheaf.annotations.readers.paths import unsafe_path
from sheaf.annotations.settings import AnnotationsSettings
from sheaf.errors import NotFoundError, SheafError
from sheaf.names import PARTITION_KEY
from sheaf.outside.postgres import snapshot
from sheaf.sources import Delivery, Offer, State
from sheaf.store.store import Store

if TYPE_CHECKING:
    from psycopg2.extensions import connection

    from sheaf.annotations.readers.fields import Row

_FETCH = 5000
_OF_PROJECT = "WHERE x.project_id = %(project)s"
_IMAGES = (
    "SELECT i.id FROM images i JOIN jobs j ON j.id = i.job_id JOIN tasks t ON t.id = j.task_id "
    "WHERE t.project_id = %(project)s"
)
_OF_IMAGES = f"WHERE x.image_id IN ({_IMAGES})"
_QUERIES = {
    "tasks": f"SELECT x.* FROM tasks x {_OF_PROJECT} ORDER BY x.id",
    "jobs": "SELECT x.* FROM jobs x JOIN tasks t ON t.id = x.task_id WHERE t.project_id = %(project)s ORDER BY x.id",
    "shared_images": (
        "SELECT x.id, x.file_path, x.width, x.height FROM shared_images x "
        "WHERE x.id IN (SELECT shared_image_id FROM project_images WHERE project_id = %(project)s) "
        f"OR x.id IN (SELECT shared_image_id FROM images WHERE id IN ({_IMAGES})) ORDER BY x.id"
    ),
    "images": f"SELECT x.* FROM images x WHERE x.id IN ({_IMAGES}) ORDER BY x.id",
    "tag_categories": f"SELECT x.* FROM tag_categories x {_OF_PROJECT} ORDER BY x.id",
    "tags": f"SELECT x.* FROM tags x {_OF_PROJECT} ORDER BY x.id",
    "shared_image_tags": f"SELECT x.* FROM shared_image_tags x {_OF_PROJECT} ORDER BY x.shared_image_id, x.tag_id",
    "labels": f"SELECT x.* FROM labels x {_OF_PROJECT} ORDER BY x.id",
    "image_tags": f"SELECT x.* FROM image_tags x {_OF_IMAGES} ORDER BY x.image_id, x.label_id",
    "detections": f"SELECT x.* FROM detections x {_OF_IMAGES} ORDER BY x.id",
    "segmentations": f"SELECT x.* FROM segmentations x {_OF_IMAGES} ORDER BY x.id",
    "keypoints": f"SELECT x.* FROM keypoints x {_OF_IMAGES} ORDER BY x.id",
}
_PATHS = (
    f"SELECT path FROM (SELECT file_path AS path FROM ({_QUERIES['shared_images']}) s "
    f"UNION SELECT coalesce(nullif(s3_key, ''), filename) FROM ({_QUERIES['images']}) i) p "
    'ORDER BY path COLLATE "C"'
)
"""Every file that a project may mean."""


@dataclass(frozen=True)
class AnnotationServer:
    """The database of an annotation server as a source; its partitions are the slugs of its projects.

    Attributes:
        dsn: gives the libpq connection string or URL, when it is needed.
        settings: `images_root` is where the server keeps image files.
    """

    dsn: Callable[[], str]
    settings: AnnotationsSettings
    name: str = "postgres"
    authoritative: bool = True

    def offers(self) -> Offer:
        """Projects that are not archived."""
        with snapshot(self.dsn(), "annotation database") as database:
            found = _query(database, 'SELECT slug FROM projects WHERE NOT is_archived ORDER BY slug COLLATE "C"')
        slugs = [slug for (slug,) in found]
        usable = tuple(slug for slug in slugs if PARTITION_KEY.fullmatch(slug))
        return Offer(usable, tuple(slug for slug in slugs if slug not in usable))

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        """A digest of every row of a project, computed by the server, with sizes and times of its image files."""
        for project in partitions:
            try:
                with snapshot(self.dsn(), "annotation database") as database:
                    number = _project(database, project)
                    token = _hash([*_row_digests(database, number), self._files(database, number, _looks)])
            except SheafError as error:
                yield State(project, problem=str(error))
            else:
                yield State(project, token)

    @contextmanager
    def deliver(self, store: Store, partition: str, folder: Path) -> Iterator[Delivery]:
        """One project, named by the server's digest of its rows and by what its image files hold.

        Raises:
            NotFoundError: the server has no such project.
            SourceError: the database cannot be reached or read.
        """
        from sheaf.annotations.readers.fields import Source
        from sheaf.annotations.readers.image_files import sha256
        from sheaf.annotations.readers.ingest import write_project

        with snapshot(self.dsn(), "annotation database") as database:
            number = _project(database, partition)
            name = _hash([*_row_digests(database, number), self._files(database, number, sha256)])
            source = Source(lambda table: _rows(database, table, number), self.settings.images_root)
            yield Delivery(name, lambda work: write_project(source, work))

    def _files(self, database: "connection", number: Any, look: Callable[[Path], Any]) -> str:
        """Which image files of a project there are, and what a look at each tells."""
        from sheaf.annotations.readers.image_files import find

        root, digest = self.settings.images_root, hashlib.sha256()
        if root is None:
            return ""
        for (path,) in _query(database, _PATHS, number):
            if path and unsafe_path(path) is None and (file := find(root, path)):
                digest.update(f"{path}\0{_seen(file, look)}\n".encode())
        return digest.hexdigest()

    def check(self) -> str:
        """How many projects the server has."""
        return f"annotation server: {len(self.offers().partitions)} projects"


def _project(database: "connection", slug: str) -> Any:
    found = _query(database, "SELECT id FROM projects WHERE slug = %(project)s", slug)
    if not found:
        raise NotFoundError(f"The annotation server has no project {slug!r}: use the slug of a project.")
    return found[0][0]


def _row_digests(database: "connection", number: Any) -> list[Any]:
    """Of each table how many rows it has and a hash of them; they stay on the server."""
    return [
        _query(database, f"SELECT count(*), sum(hashtextextended(q::text, 0)) FROM ({query}) q", number)
        for query in _QUERIES.values()
    ]


def _hash(parts: list[Any]) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _looks(path: Path) -> tuple[int, int]:
    """Size and time of a file."""
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def _seen(path: Path, look: Callable[[Path], Any]) -> Any:
    try:
        return look(path)
    except OSError:
        return None  # reading the project will reject it


def _query(database: "connection", query: str, project: Any = None) -> list[tuple[Any, ...]]:
    with database.cursor() as cursor:
        cursor.execute(query, {"project": project})
        return cursor.fetchall()


def _rows(database: "connection", table: str, project: Any) -> "Iterator[Row]":
    from sheaf.annotations.readers.fields import Row

    if table not in _QUERIES:
        return
    with database.cursor(name=f"sheaf_{table}") as cursor:  # named: rows stay on the server until fetched
        cursor.itersize = _FETCH
        cursor.execute(_QUERIES[table], {"project": project})
        names: list[str] = []
        for values in cursor:
            names = names or [column.name for column in cursor.description or ()]
            yield Row(dict(zip(names, values, strict=True)), f"table {table}")
