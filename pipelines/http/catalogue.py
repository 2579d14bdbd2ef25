"""The catalogue, served: the page at `/`, and what it asks for that no other resource tells."""

from fastapi import APIRouter, Response

from pipelines.http.access import The, Viewer
from pipelines.http.answers import Json
from sheaf.domains import domain_named
from sheaf.exports import catalogue
from sheaf.exports.columns import sheets
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
    """The columns of the tables of an export with types, units and meaning, by the first file of each."""
    export = resolve(the.store, f"{domain}/{partition}/{series}/{version}")
    declared = domain_named(domain).series_named(series).tables
    found = sheets(the.store, export, read_manifest(the.store, export), declared)
    told = ("name", "type", "unit", "description")
    return Json(
        {sheet.paths[0]: [{key: getattr(one, key) for key in told} for one in sheet.columns] for sheet in found}
    )
