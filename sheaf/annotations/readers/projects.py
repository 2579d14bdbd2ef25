"""One project's rows out of tables that hold several: what is of another project is left out, and counted.

A row is of another project where its `project_id` says so, or where it refers to a row that is. Which project is
meant is said by a table `projects` (`id`, with a `slug` or `name` that is the partition's), or by the only
`project_id` there is. Not here: the rows themselves (`fields`), projects of a database (`sources/postgres`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from sheaf.annotations.readers.fields import Row, Source, as_key, meant_for
from sheaf.errors import InputError
from sheaf.tables.rejects import Rejects

OTHERS = "of another project"
_OWNED = ("tasks", "labels", "tag_categories", "tags", "project_images", "shared_image_tags")
_REFERENCES = {
    "jobs": {"task_id": "tasks"},
    "images": {"job_id": "jobs", "task_id": "tasks"},
    "tags": {"category_id": "tag_categories"},
    "shared_image_tags": {"tag_id": "tags", "image_id": "images", "shared_image_id": "shared_images"},
    "image_tags": {"image_id": "images", "label_id": "labels"},
    "detections": {"image_id": "images", "label_id": "labels"},
    "segmentations": {"image_id": "images", "label_id": "labels"},
    "keypoints": {"image_id": "images"},
}
Reader = Callable[[str], Iterator[Row]]


def only(source: Source, look: Reader, project: str, rejects: Rejects) -> Source:
    """The source without the rows of other projects.

    Args:
        look: reads a table ahead, without noting what is wrong with it.
        project: the partition.

    Raises:
        InputError: there are several projects, and nothing says which is meant.
    """
    found = {key for table in _OWNED for row in look(table) if (key := as_key(row.values.get("project_id")))}
    listed = {as_key(row.values.get("id")): row.values for row in look("projects")}
    meant = {key for key, row in listed.items() if key and project in (row.get("slug"), row.get("name"))}
    if not meant and len(found | listed.keys()) > 1:
        meant = {project} & found
    if len(meant) > 1 or (not meant and len(found) > 1):
        raise InputError(
            f"The tables hold several projects ({', '.join(sorted(found)[:10])}): say which is {project} by a table "
            "projects with the columns id and slug, or put each into a folder of its own."
        )
    if not meant or found <= meant:
        return source
    others = _Others(source, look, meant.pop(), rejects)
    return replace(source, rows=others.rows)


class _Others:
    """Knows, table by table in the order in which they are read, which rows are of another project."""

    def __init__(self, source: Source, look: Reader, own: str, rejects: Rejects) -> None:
        self._source, self._look, self._own, self._rejects = source, look, own, rejects
        self._ids: dict[str, set[Any]] = defaultdict(set)
        self._images_known = False

    def rows(self, table: str) -> Iterator[Row]:
        """The rows of a table that are not of another project."""
        if table in ("shared_images", "project_images") and not self._images_known:
            self._images_known = True
            self._know_shared()
        for row in self._source.rows(table):
            if self._is_other(table, row):
                self._ids[table].add(as_key(row.values.get("id")))
                self._rejects.saw(meant_for(table), 1)
                self._rejects.left_out(meant_for(table), OTHERS, 1)
            else:
                yield row

    def _is_other(self, table: str, row: Row) -> bool:
        owner = as_key(row.values.get("project_id"))
        if owner and owner != self._own:
            return True
        if table == "shared_images":
            return as_key(row.values.get("id")) in self._ids[table]
        return any(
            (key := as_key(row.values.get(column))) is not None and key in self._ids[above]
            for column, above in _REFERENCES.get(table, {}).items()
        )

    def _know_shared(self) -> None:
        """Which images of the pool only other projects use."""
        ours: set[Any] = set()
        theirs: set[Any] = set()
        for table in ("images", "project_images", "shared_image_tags"):
            for row in self._look(table):
                key = as_key(row.values.get("shared_image_id"))
                if key is not None:
                    (theirs if self._is_other(table, row) else ours).add(key)
        self._ids["shared_images"] = theirs - ours
