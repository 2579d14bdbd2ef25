"""How answers look: JSON as the command line prints it, files with ranges and their sha256, errors as sentences."""

import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.background import BackgroundTask

from pipelines.cli.show import plain
from pipelines.http.service import Service
from sheaf.errors import (
    InputError,
    NotFoundError,
    SheafError,
    SourceError,
    StoreError,
    UsageError,
)
from sheaf.exports.records import File, read_manifest
from sheaf.names import ExportId
from sheaf.store.store import CHUNK

_TYPES = {
    ".csv": "text/csv; charset=utf-8",
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ndjson": "application/x-ndjson",
    ".jsonl": "application/x-ndjson",
    ".parquet": "application/vnd.apache.parquet",
    ".zip": "application/zip",
}
_STATUS: tuple[tuple[type[SheafError], int], ...] = (
    (NotFoundError, 404),
    (UsageError, 400),
    (StoreError, 503),
    (SourceError, 502),
    (InputError, 409),
)


class Json(Response):
    """A document as the command line prints it with `--json`."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """As bytes."""
        return orjson.dumps(content, default=_whole)


class _Blocks(FileResponse):
    """In blocks that are worth a system call."""

    chunk_size = 1024 * 1024


def _whole(value: Any) -> Any:
    """A model written by itself is written twice as fast."""
    return orjson.Fragment(value.model_dump_json()) if isinstance(value, BaseModel) else plain(value)


def status_of(error: SheafError) -> int:
    """The HTTP status for what went wrong."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def now() -> str:
    """The time as the specifications print it."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def time(moment: datetime | None) -> str | None:
    """A time as the specifications print it."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if moment else None


def download(the: Service, request: Request, export: ExportId, path: str | None = None) -> Response:
    """A file of an export; without a path the only one, or all of them in one ZIP.

    Raises:
        NotFoundError: there is no such export, or no such file in it.
    """
    manifest = read_manifest(the.store, export)
    files = {file.path: file for file in manifest.files}
    if path is None and len(files) != 1:
        return _zipped(the, export, manifest.files)
    file = next(iter(files.values())) if path is None else files.get(path)
    if file is None:
        raise NotFoundError(f"{export} has no file {path!r}: there are {', '.join(files)}.")
    return send(the, request, export, file)


def send(the: Service, request: Request, export: ExportId, file: File) -> Response:
    """One file that a manifest names, with ranges; its ETag is its sha256."""
    name = PurePosixPath(file.path).name
    kind = _TYPES.get(PurePosixPath(name).suffix, "application/octet-stream")
    headers = {"ETag": f'"{file.sha256}"', "X-Content-Type-Options": "nosniff", "Cache-Control": "private"}
    if kind.startswith("text/html"):  # a report may hold what somebody delivered; it runs no scripts of its own
        headers["Content-Security-Policy"] = "sandbox"
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    path = f"{export.path}/{file.path}"
    if the.store.root is not None:
        local = the.store.root / path
        if not local.is_file():
            raise NotFoundError(f"{export} was deleted.")
        return _Blocks(local, media_type=kind, filename=name, headers=headers)
    headers |= {"Accept-Ranges": "bytes", "Content-Disposition": f'attachment; filename="{name}"'}
    start, end = _range(request.headers, file, headers["ETag"])
    if start is None:
        return StreamingResponse(
            the.store.stream(path), media_type=kind, headers=headers | {"Content-Length": str(file.size)}
        )
    if end < start:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{file.size}"})
    headers |= {"Content-Range": f"bytes {start}-{end}/{file.size}", "Content-Length": str(end - start + 1)}
    return StreamingResponse(_part(the, path, start, end), 206, media_type=kind, headers=headers)


def _range(headers: Mapping[str, str], file: File, etag: str) -> tuple[int | None, int]:
    """First and last byte that are wanted; None for all. A last one before the first cannot be had."""
    unit, _, wanted = headers.get("range", "").partition("=")
    if unit.strip() != "bytes" or "," in wanted or headers.get("if-range", etag) != etag:
        return None, 0
    first, dash, last = wanted.strip().partition("-")
    if not dash or not (first or last) or not all(part.isdecimal() or not part for part in (first, last)):
        return None, 0
    if not first:
        return max(file.size - int(last), 0), file.size - 1
    return int(first), min(int(last or file.size - 1), file.size - 1)


def _part(the: Service, path: str, start: int, end: int) -> Iterator[bytes]:
    for at in range(start, end + 1, CHUNK):
        yield the.store.part(path, at, min(CHUNK, end + 1 - at))


def _zipped(the: Service, export: ExportId, files: list[File]) -> Response:
    """All files in one ZIP, not compressed once more."""
    with (
        tempfile.NamedTemporaryFile(prefix="sheaf-", suffix=".zip", delete=False) as made,
        zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive,
    ):
        for file in files:
            with archive.open(zipfile.ZipInfo(file.path), "w", force_zip64=True) as entry:
                for chunk in the.store.stream(f"{export.path}/{file.path}"):
                    entry.write(chunk)
    name = f"{str(export).replace('/', '-')}.zip"
    gone = BackgroundTask(Path(made.name).unlink, missing_ok=True)
    return _Blocks(made.name, media_type="application/zip", filename=name, background=gone)
