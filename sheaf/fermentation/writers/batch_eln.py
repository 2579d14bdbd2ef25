"""`batch_{n}_phase_{p}.eln`: the batch for an electronic laboratory notebook, in the ELN Consortium's file format.

A zip with one folder, which is an RO-Crate 1.1: `ro-crate-metadata.json` and the batch as a dataset with report, plots,
record, samples and sensors. The batch's facts and yields are `variableMeasured`, its deviations comments. Format:
https://github.com/TheELNConsortium/TheELNFileFormat, SPECIFICATION.md.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.fermentation import schema
from sheaf.fermentation.writers.batch_json import write_batch_json
from sheaf.fermentation.writers.batch_report import write_batch_report
from sheaf.fermentation.writers.names import export_name, provisional
from sheaf.fermentation.writers.request import SampleFilter, SensorsOptions
from sheaf.fermentation.writers.samples_csv import write_samples_csv
from sheaf.fermentation.writers.sensors_csv import write_sensors_csv

_METADATA = "ro-crate-metadata.json"
_RO_CRATE = "https://w3id.org/ro/crate/1.1"
_TYPES = {
    ".md": ("text/markdown", "Report of the batch"),
    ".png": ("image/png", "Plot"),
    ".json": ("application/json", "The whole record of the batch"),
    "_samples.csv": ("text/csv", "Manual samples"),
    "_sensors.csv": ("text/csv", "Sensors and rates, means of a minute"),
}
_WRITERS = (
    (write_batch_report, None),
    (write_batch_json, None),
    (write_samples_csv, None),
    (write_sensors_csv, SensorsOptions(step_s=60)),
)


def write_batch_eln(draft: Draft) -> Written:
    """Write the archive; its members are what the other series write, without filter."""
    batch = draft.tables.read(schema.BATCHES).to_pylist()[0]
    name = export_name(batch)
    content = draft.folder / "content"
    content.mkdir()
    for write, options in _WRITERS:
        write(replace(draft, folder=content, filter=SampleFilter(), options=options))
    files = sorted(content.iterdir())
    graph = _graph(draft, batch, name, files)
    metadata = json.dumps({"@context": f"{_RO_CRATE}/context", "@graph": graph}, ensure_ascii=False, indent=2)
    with zipfile.ZipFile(draft.folder / f"{name}.eln", "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, f"{name}/{_METADATA}", metadata.encode())
        for file in files:
            _add(archive, f"{name}/{name}/{file.name}", file.read_bytes())
            file.unlink()
    content.rmdir()
    return Written(record_count=1, counts={"files": len(files)}, warnings=tuple(provisional(batch)))


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """One member, without the time at which it was written: equal content is equal bytes."""
    member = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    archive.writestr(member, data)


def _graph(draft: Draft, batch: Mapping[str, Any], name: str, files: Sequence[Path]) -> list[dict[str, Any]]:
    """The nodes of the crate; the first describes the crate itself, the second its folder."""
    parts, people, comments = [], {}, []

    def person(who: str | None) -> dict[str, str]:
        ident = f"#person-{quote(who or 'unknown', safe='')}"
        people[ident] = {"@id": ident, "@type": "Person", "name": who or "not recorded"}
        return {"@id": ident}

    for file in files:
        kind, what = next(found for end, found in _TYPES.items() if file.name.endswith(end))
        data = file.read_bytes()
        parts.append(
            {
                "@id": f"./{name}/{file.name}",
                "@type": "File",
                "name": file.name,
                "description": what,
                "encodingFormat": kind,
                "contentSize": str(len(data)),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )
    for row in draft.tables.read(schema.FAILURES).to_pylist():
        comments.append(
            {
                "@id": f"#deviation-{row['id']}",
                "@type": "Comment",
                "author": person(row["reported_by"]),
                **_dated("dateCreated", row["reported_at"] or row["deviation_start_time"]),
                "text": f"Level {row['deviation_level']}, {row['category']}: {row['description'] or ''}".rstrip(": "),
            }
        )
    properties = _properties(draft, batch)
    title = f"Batch {batch['batch_number']}, phase {batch['phase']}"
    dataset = {
        "@id": f"./{name}/",
        "@type": "Dataset",
        "name": title,
        "identifier": batch["batch_id"],
        "genre": "experiment",
        "keywords": f"fermentation, phase {batch['phase']}, {draft.made_with['plan']['name']}",
        "author": person(batch["operator_id"]),
        **_dated("dateCreated", batch["created_at"]),
        **_dated("dateModified", batch["completed_at"] or batch["inoculated_at"] or batch["created_at"]),
        "text": batch["notes"],
        "hasPart": [{"@id": part["@id"]} for part in parts],
        "comment": [{"@id": comment["@id"]} for comment in comments],
        "variableMeasured": [{"@id": entry["@id"]} for entry in properties],
    }
    return [
        {
            "@id": _METADATA,
            "@type": "CreativeWork",
            "about": {"@id": "./"},
            "conformsTo": {"@id": _RO_CRATE},
            "dateCreated": draft.now.isoformat(),
            "version": "1.0",
            "sdPublisher": {"@id": "#sheaf"},
        },
        {
            "@id": "./",
            "@type": "Dataset",
            "name": title,
            "description": f"{title} of the campaign {draft.made_with['plan']['name']}, exported by Sheaf.",
            "datePublished": draft.now.isoformat(),
            "license": {"@id": "#licence"},
            "hasPart": [{"@id": dataset["@id"]}, *dataset["hasPart"]],
        },
        {"@id": "#sheaf", "@type": "Organization", "name": "Sheaf"},
        {
            "@id": "#licence",
            "@type": "CreativeWork",
            "name": "No licence is stated",
            "description": "The laboratory that made the records says who may use them.",
        },
        {key: value for key, value in dataset.items() if value},
        *parts,
        *people.values(),
        *comments,
        *properties,
    ]


def _dated(key: str, moment: datetime | None) -> dict[str, str]:
    return {} if moment is None else {key: moment.isoformat()}


def _properties(draft: Draft, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Facts of the batch and its yields with their units, as nodes."""
    facts: list[tuple[str, Any, str | None]] = [
        (name, batch[name], None) for name in ("batch_number", "phase", "vessel_id", "status")
    ]
    facts += [(name, batch[name].isoformat(), None) for name in ("inoculated_at", "completed_at") if batch[name]]
    (yields,) = draft.tables.read(schema.YIELDS).to_pylist() or [{}]
    for field in schema.YIELDS.schema:
        value = yields.get(field.name)
        if isinstance(value, float):
            facts.append((field.name, value, (field.metadata or {}).get(b"unit", b"").decode()))
    return [
        {
            "@id": f"#{name}",
            "@type": "PropertyValue",
            "propertyID": name,
            "value": value,
            **({"unitText": unit} if unit else {}),
        }
        for name, value, unit in facts
    ]


def verify_batch_eln(folder: Path, written: Written) -> None:
    """Read the archive back: one folder, every file that the crate names, with its size and sha256.

    Raises:
        VerificationError: something is missing or differs.
    """
    (path,) = folder.glob("*.eln")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = path.stem
        if archive.testzip() or any(not name.startswith(f"{root}/") for name in names):
            raise VerificationError(f"{path.name} is not one whole folder.")
        graph = json.loads(archive.read(f"{root}/{_METADATA}"))["@graph"]
        nodes = {node["@id"]: node for node in graph}
        if len(nodes) != len(graph):
            raise VerificationError(f"{path.name} describes something twice.")
        files = [node for node in graph if node["@type"] == "File"]
        if len(files) != written.counts["files"] or len(files) + 1 != len(names):
            raise VerificationError(f"{path.name} has other files than its crate names.")
        for node in files:
            data = archive.read(f"{root}/{node['@id'].removeprefix('./')}")
            if hashlib.sha256(data).hexdigest() != node["sha256"] or str(len(data)) != node["contentSize"]:
                raise VerificationError(f"{path.name}: {node['name']} is not what the crate says.")
        missing = {part["@id"] for node in graph for part in node.get("hasPart", ())} - nodes.keys()
        if missing:
            raise VerificationError(f"{path.name} names {sorted(missing)[0]}, which it does not describe.")
