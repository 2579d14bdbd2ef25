"""The state of a project as of an earlier reading, for exports that ask for one.

Every reading that changed something is kept as a generation, with the images by digest
(`image_files`). Not here: keeping them (`sheaf/tables/generations.py`).
"""

from collections.abc import Iterator
from datetime import datetime

from sheaf.annotations import schema
from sheaf.annotations.schema import RECORDS
from sheaf.annotations.writers.request import AnnotationsFilter, ExportOptions
from sheaf.errors import UsageError
from sheaf.tables.pinned import Tables


def as_of(states: Iterator[Tables], filter_: AnnotationsFilter, options: ExportOptions) -> Tables | None:
    """The state that `version_mode` asks for; None for the newest, or where nothing was read yet.

    Args:
        states: newest first.

    Raises:
        UsageError: there is no such state, or the job is not named.
    """
    if options.version_mode == "timestamp":
        return _at(states, options.moment())
    if options.version_mode == "job_version":
        if filter_.job is None:
            raise UsageError("version_mode=job_version needs the job: add the filter job=<id>.")
        return _of_job_version(states, filter_.job, options.job_version())
    return None


def taken_at(tables: Tables) -> datetime:
    """When the state was read."""
    return tables.generations[RECORDS].made_at


def _readable(states: Iterator[Tables]) -> Iterator[Tables]:
    """Those that this version of Sheaf has read: the tables of earlier ones lack columns."""
    return (state for state in states if schema.ABOUT in state)


def _at(states: Iterator[Tables], moment: datetime) -> Tables | None:
    """The newest state not after a moment."""
    oldest = None
    for state in _readable(states):
        if taken_at(state) <= moment:
            return state
        oldest = state
    if oldest is None:
        return None
    raise UsageError(
        f"{oldest.partition} has no snapshot as old as {moment.isoformat()}: "
        f"the oldest is of {taken_at(oldest).isoformat()}."
    )


def _of_job_version(states: Iterator[Tables], job_id: str, version: int) -> Tables | None:
    """The newest state in which a job had a version."""
    project, looked, seen = None, set[str](), set[int]()
    for state in _readable(states):
        project, digest = state.partition, state.file(schema.JOBS).sha256
        if digest in looked:
            continue
        looked.add(digest)
        jobs = state.read(schema.JOBS, ["job_id", "version"]).to_pylist()
        versions = {job["version"] for job in jobs if job["job_id"] == job_id}
        if version in versions:
            return state
        seen |= versions
    if project is None:
        return None
    known = ", ".join(map(str, sorted(seen))) or "none"
    raise UsageError(f"{project} has no snapshot of job {job_id} at version {version}: there are {known}.")
