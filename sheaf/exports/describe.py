"""An export in the words of standards: a Data Package, Croissant metadata, a citation.

Each is a function of what was published, so the same export is described the same for ever, and nothing of it is
stored: whoever wants one asks for it, and it stands beside the files under a name that starts with `_`.

- Frictionless Data Package 2.0: https://datapackage.org/standard/data-package/
- MLCommons Croissant 1.1, which is schema.org as well: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

import orjson

from sheaf.errors import NotFoundError
from sheaf.exports.columns import Column, Sheet, sheets
from sheaf.exports.options import typed
from sheaf.exports.origin import kept_tables
from sheaf.exports.records import File, Manifest, read_manifest
from sheaf.exports.series import Series
from sheaf.names import ExportId
from sheaf.steps import Domain
from sheaf.store.store import Store

_PROFILES = "https://datapackage.org/profiles/2.0"
_CROISSANT = "http://mlcommons.org/croissant"
_TYPES = {  # of files, by their ending
    ".csv": "text/csv",
    ".parquet": "application/vnd.apache.parquet",
    ".ndjson": "application/jsonlines",
    ".jsonl": "application/jsonlines",
    ".json": "application/json",
    ".zip": "application/zip",
    ".eln": "application/vnd.eln+zip",
    ".html": "text/html",
    ".md": "text/markdown",
    ".png": "image/png",
}
_SCHEMA_ORG = {
    "integer": "sc:Integer",
    "number": "sc:Float",
    "boolean": "sc:Boolean",
    "date": "sc:Date",
    "datetime": "sc:DateTime",
}


def datapackage(
    export: ExportId, series: Series, manifest: Manifest, found: Sequence[Sheet], licence: str
) -> dict[str, Any]:
    """A Data Package 2.0 with a resource for each table, with its schema, and for each other file."""
    of_tables = {path for sheet in found for path in sheet.paths}
    files = {file.path: file for file in manifest.files}
    return {
        "$schema": f"{_PROFILES}/datapackage.json",
        "name": _slug(str(export)),
        "id": f"{export}#{manifest.fingerprint}",
        "title": manifest.name,
        "description": _about(series, manifest),
        "version": str(export.version),
        "created": manifest.created_at.isoformat().replace("+00:00", "Z"),
        "keywords": [export.series.domain, export.series.series],
        **({"licenses": [_licence(licence)]} if licence else {}),
        "sources": [
            {"title": f"Delivery of {origin.partition}", "version": origin.delivery}
            for origin in manifest.made_from
            if origin.delivery
        ],
        "resources": [
            *(_resource(sheet, files) for sheet in found),
            *(_plain(file) for path, file in files.items() if path not in of_tables),
        ],
    }


def _licence(text: str) -> dict[str, str]:
    """A licence as a Data Package names it: by its address, or by a name without spaces."""
    return {"path": text} if text.startswith(("http://", "https://")) else {"name": _slug(text), "title": text}


def _plain(file: File) -> dict[str, Any]:
    return {
        "$schema": f"{_PROFILES}/dataresource.json",
        "name": _slug(file.path),
        "path": file.path,
        "mediatype": _media(file.path),
        "bytes": file.size,
        "hash": f"sha256:{file.sha256}",
    }


def _resource(sheet: Sheet, files: dict[str, File]) -> dict[str, Any]:
    """A table. Size and hash of a text file; what reads Parquet for frictionless counts no bytes and misses them."""
    path, *others = sheet.paths
    first = _plain(files[path])
    if others or sheet.format == "parquet":
        first = {key: first[key] for key in ("$schema", "mediatype")} | {"path": [path, *others] if others else path}
    dialect = {"delimiter": sheet.delimiter} if sheet.format == "csv" and sheet.delimiter != "," else None
    return {
        **first,
        "name": _slug(sheet.name),
        "type": "table",
        "format": sheet.format,
        "encoding": "utf-8",
        **({"dialect": dialect} if dialect else {}),
        "schema": {
            "$schema": f"{_PROFILES}/tableschema.json",
            "fields": [_field(column, sheet) for column in sheet.columns],
        },
    }


def _field(column: Column, sheet: Sheet) -> dict[str, Any]:
    type_ = "array" if column.kind == "list" else column.kind  # `list` is for cells of text
    if type_ == "integer" and sheet.format == "parquet" and not column.needed:
        type_ = "number"  # where one is empty, readers on pandas see 3.0, which is no integer to them
    field: dict[str, Any] = {"name": column.name, "type": type_}
    if column.description:
        field["description"] = column.description
    if column.unit:
        field["unit"] = column.unit
    if column.kind == "number" and sheet.decimal != ".":
        field["decimalChar"] = sheet.decimal
    if column.needed:
        field["constraints"] = {"required": True}
    return field


def croissant(
    export: ExportId, series: Series, manifest: Manifest, found: Sequence[Sheet], licence: str
) -> dict[str, Any]:
    """Croissant 1.1 metadata: every file with its sha256, and a record set for each table that it can tell how to read.

    It knows no other separators than commas and tabs: such a table is a file only.
    """
    readable = [sheet for sheet in found if sheet.delimiter in ",\t" and sheet.columns]
    return {
        "@context": _context(),
        "@type": "sc:Dataset",
        "conformsTo": f"{_CROISSANT}/1.1",
        "name": manifest.name,
        "description": _about(series, manifest),
        "identifier": str(export),
        "version": f"{export.version}.0.0",
        "datePublished": manifest.created_at.isoformat().replace("+00:00", "Z"),
        "citeAs": citation(export, manifest),
        **({"license": licence} if licence else {}),
        "keywords": [export.series.domain, export.series.series],
        "distribution": [
            *(_file_object(file) for file in manifest.files),
            *(_file_set(sheet) for sheet in readable if len(sheet.paths) > 1),
        ],
        "recordSet": [_record_set(sheet) for sheet in readable],
    }


def _file_object(file: File) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": _id(file.path),
        "name": file.path,
        "contentUrl": file.path,
        "contentSize": f"{file.size} B",
        "encodingFormat": _encoding(file.path),
        "sha256": file.sha256,
    }


def _file_set(sheet: Sheet) -> dict[str, Any]:
    """The files of a table in many, which have a folder of their own."""
    first = PurePosixPath(sheet.paths[0])
    return {
        "@type": "cr:FileSet",
        "@id": _id(f"{sheet.name}/files"),
        "encodingFormat": _encoding(sheet.paths[0]),
        "includes": f"{first.parts[0]}/**/*{first.suffix}",
    }


def _record_set(sheet: Sheet) -> dict[str, Any]:
    first, *others = sheet.paths
    where, source = ("fileSet", f"{sheet.name}/files") if others else ("fileObject", first)
    record_set = _id(f"{sheet.name}/records")
    return {
        "@type": "cr:RecordSet",
        "@id": record_set,
        "name": sheet.name,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{record_set}/{_id(column.name)}",
                "name": column.name,
                "description": f"{column.description} [{column.unit}]" if column.unit else column.description,
                "dataType": _SCHEMA_ORG.get(column.kind, "sc:Text"),
                **({"isArray": True, "arrayShape": "-1"} if column.kind == "list" else {}),
                "source": {where: {"@id": _id(source)}, "extract": {"column": column.name}},
            }
            for column in sheet.columns
            if column.kind != "object"
        ],
    }


def _id(text: str) -> str:
    """An `@id`, which must hold no spaces."""
    return "_".join(text.split())


def citation(export: ExportId, manifest: Manifest) -> str:
    """One line to cite it by: what it is called, when it was published, and what proves that it is this one."""
    count = "record" if manifest.record_count == 1 else "records"
    return (
        f"{manifest.name} ({export}), {manifest.record_count} {count}, published "
        f"{manifest.created_at:%Y-%m-%d %H:%M} UTC with Sheaf {manifest.sheaf_version}. "
        f"sha256 {manifest.files[0].sha256 if manifest.files else 'none'}."
    )


def _about(series: Series, manifest: Manifest) -> str:
    """What the series is, what was asked for, and what its reader should know."""
    asked = " ".join(typed(manifest.filter))
    return "\n\n".join(
        filter(None, (series.description, f"Filter: {asked}." if asked else "", "\n".join(manifest.warnings)))
    )


def _slug(text: str) -> str:
    """A name of lower-case letters, digits, `-`, `_` and `.`, as the first Data Packages wanted them."""
    return "".join(one if one.isascii() and (one.isalnum() or one in "-_.") else "-" for one in text.lower())


def _media(path: str) -> str:
    return _TYPES.get(PurePosixPath(path).suffix, "application/octet-stream")


def _encoding(path: str) -> str:
    """As Croissant calls it: its readers know Parquet by another name than the registered one."""
    return "application/x-parquet" if path.endswith(".parquet") else _media(path)


def _context() -> dict[str, Any]:
    """The JSON-LD context that the specification prints."""
    own = (
        *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileProperty"),
        *("fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
        *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
        *("separator", "source", "subField", "transform"),
    )
    return {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "sc": "https://schema.org/",
        "cr": f"{_CROISSANT}/",
        "rai": f"{_CROISSANT}/RAI/",
        "dct": "http://purl.org/dc/terms/",
        "conformsTo": "dct:conformsTo",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "description": {"@container": "@language"},
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "name": {"@container": "@language"},
        **{name: f"cr:{name}" for name in own},
    }


STANDARDS: dict[str, Callable[[ExportId, Series, Manifest, Sequence[Sheet], str], dict[str, Any]]] = {
    "datapackage": datapackage,
    "croissant": croissant,
}
BESIDE = {f"_{name}.json": name for name in STANDARDS}
"""What a description is called beside the files it tells of."""


def described(store: Store, domain: Domain, export: ExportId, standard: str) -> bytes:
    """The description of a published export, as JSON.

    Args:
        standard: a key of `STANDARDS`.

    Raises:
        NotFoundError: the export is not complete.
        SheafError: one of its tables cannot be read.
    """
    manifest, series = read_manifest(store, export), domain.series_named(export.series.series)
    found = sheets(store, export, manifest, series.tables)
    document = STANDARDS[standard](export, series, manifest, found, _licence_of(store, domain, manifest))
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _licence_of(store: Store, domain: Domain, manifest: Manifest) -> str:
    """What the records that it was made from say of their licence; nothing where they differ, or are not kept."""
    if domain.licence is None:
        return ""
    try:
        named = {domain.licence(tables) for tables in kept_tables(store, domain, manifest).values()}
    except NotFoundError:
        return ""
    return named.pop() if len(named) == 1 else ""
