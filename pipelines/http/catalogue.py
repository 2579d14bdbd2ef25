"""The catalogue, served: the page at `/`, and what it asks for that no other resource tells."""

from typing import Any

from fastapi import APIRouter, Response

from pipelines.http.access import The, Viewer
from pipelines.http.answers import Json
from sheaf.exports import catalogue
from sheaf.exports.history import resolve
from sheaf.exports.records import read_manifest

router = APIRouter(tags=["Sheaf"])
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'unsafe-inline'",
        "style-src 'unsafe-inline'",
        "connect-src 'self'",
        "img-src 'self' data:",
    )
)


@router.get("/", include_in_schema=False)
def page() -> Response:
    """The page itself; what it shows, it asks for."""
    headers = {"Content-Security-Policy": f"{_POLICY}; frame-ancestors 'none'", "X-Content-Type-Options": "nosniff"}
    return Response(catalogue.page(), media_type="text/html; charset=utf-8", headers=headers)


@router.get("/catalog.js", include_in_schema=False)
def nothing() -> Response:
    """The page has it beside itself where there is no server; from here it asks for what is true now."""
    return Response("", media_type="text/javascript")


@router.get("/api/v1/catalog")
def catalog(the: The, user: Viewer) -> Response:
    """All versions of everything, as `catalog.json` in the store, as of now."""
    return Json(the.catalogue())


@router.get("/api/v1/exports/{domain}/{partition}/{series}/{version}/columns")
def columns(the: The, user: Viewer, domain: str, partition: str, series: str, version: str) -> Response:
    """The columns of the Parquet files of an export with types, units and meaning, from their footers."""
    import pyarrow.parquet as pq

    export = resolve(the.store, f"{domain}/{partition}/{series}/{version}")
    found: dict[str, list[dict[str, Any]]] = {}
    for file in read_manifest(the.store, export).files:
        if file.path.endswith(".parquet") and len(found) < 4:  # a folder of many has the same in each
            filesystem = the.store.filesystem(lambda error: None)
            with filesystem.open_input_file(f"{export.path}/{file.path}") as opened:
                found[file.path] = [_column(field) for field in pq.read_schema(opened)]
    return Json(found)


def _column(field: Any) -> dict[str, str]:
    notes = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    return {
        "name": field.name,
        "type": str(field.type),
        "unit": notes.get("unit", ""),
        "description": notes.get("description", ""),
    }
