"""The metadata document of an archive: EML 2.2.0 in the order and with the elements of GBIF's profile 1.3.

Here: title, people, licence, coverage, methods. Not here: the data (`dwca`). Nobody's e-mail address is
in it but the publisher's own, from the settings.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from xml.etree import ElementTree as ET

import orjson

from sheaf.licences import GBIF_LICENCES

_EML = "https://eml.ecoinformatics.org/eml-2.2.0"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_NOT_XML = re.compile(r"[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")  # https://www.w3.org/TR/xml/#charsets
_UNLICENSED = "No licence is given for these data: ask the contact before they are used or published."


@dataclass(frozen=True)
class Coverage:
    """What the exported events and occurrences span.

    Attributes:
        box: west, east, north, south in degrees; None without coordinates.
        first, last: days, by the stations' clocks; None without events.
        by_machine: whether any of it was recorded by a machine.
    """

    occurrences: int
    events: int
    stations: int
    box: tuple[float, float, float, float] | None
    first: date | None
    last: date | None
    by_machine: bool = True


def eml(dataset: Mapping[str, Any], coverage: Coverage, published: date) -> bytes:
    """The document.

    Args:
        dataset: the row of the table `dataset`.
        published: day of publication.
    """
    root = ET.Element(
        "eml:eml",
        {
            "xmlns:eml": _EML,
            "xmlns:xsi": _XSI,
            "xsi:schemaLocation": f"{_EML} https://rs.gbif.org/schema/eml-gbif-profile/1.3/eml.xsd",
            "packageId": f"urn:ami:dataset:{dataset['slug']}",
            "system": "http://gbif.org",
            "scope": "system",
            "xml:lang": "en",
        },
    )
    body = ET.SubElement(root, "dataset")
    _add(body, "title", dataset["title"])
    for role in ("creator", "metadataProvider"):
        _party(body, role, dataset["owner"], dataset["publisher"])
    _add(body, "pubDate", published.isoformat())
    _add(body, "language", "en")
    _add(body, "abstract/para", _abstract(dataset, coverage))
    _licence(body, dataset["licence"], dataset["rights_holder"])
    _coverage(body, coverage)
    for contact in orjson.loads(dataset["contacts"]):
        _party(body, "contact", contact["name"], contact["organisation"] or dataset["publisher"], contact)
    methods = _add(body, "methods")
    _add(methods, "methodStep/description/para", f"{dataset['protocol']}. {dataset['protocol_description']}")
    if coverage.by_machine:
        _add(methods, "methodStep/description/para", _METHODS)
    if coverage.first:
        sampling = _add(methods, "sampling")
        _add(sampling, "studyExtent/description/para", f"{coverage.stations} stations, {coverage.events} sessions.")
        _add(
            sampling, "samplingDescription/para", "Every session is an event, also those in which no animal was found."
        )
    ET.indent(root)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="utf-8") + b"\n"


_METHODS = (
    "Algorithms detect animals on the images and classify them; detections of one individual on consecutive images "
    "form an occurrence. People review and correct identifications; those that somebody has confirmed are marked as "
    "verified. Times are those of the station's clock, with its offset from UTC where it is known."
)


def _abstract(dataset: Mapping[str, Any], coverage: Coverage) -> str:
    found = f"{coverage.occurrences} occurrences"
    if dataset["target_taxon"]:
        found += f" of {dataset['target_taxon']}"
    found += f", recorded by {dataset['protocol']}"
    if coverage.first and coverage.last:
        found += f" at {coverage.stations} stations from {coverage.first} to {coverage.last}"
    return f"{dataset['description']} ({found}.)" if dataset["description"].strip() else f"{found}."


def _licence(body: ET.Element, licence: str, rights_holder: str) -> None:
    para = _add(body, "intellectualRights/para")
    known = GBIF_LICENCES.get(licence)
    holder = f" Rights holder: {_plain(rights_holder)}." if rights_holder else ""
    if known is None:
        para.text = (_plain(licence) or _UNLICENSED) + holder
        return
    para.text = "This work is licensed under a "
    link = ET.SubElement(para, "ulink", {"url": known.url})
    _add(link, "citetitle", known.title)
    link.tail = f".{holder}"


def _coverage(body: ET.Element, coverage: Coverage) -> None:
    if not coverage.first or not coverage.last:
        return
    covered = _add(body, "coverage")
    if coverage.box:
        place = _add(covered, "geographicCoverage")
        _add(place, "geographicDescription", f"{coverage.stations} stations.")
        bounds = _add(place, "boundingCoordinates")
        for side, degrees in zip(("west", "east", "north", "south"), coverage.box, strict=True):
            _add(bounds, f"{side}BoundingCoordinate", str(round(degrees, 6)))
    days = _add(covered, "temporalCoverage/rangeOfDates")
    _add(days, "beginDate/calendarDate", coverage.first.isoformat())
    _add(days, "endDate/calendarDate", coverage.last.isoformat())


def _party(
    body: ET.Element, role: str, person: str, organisation: str, contact: Mapping[str, str] | None = None
) -> None:
    party = _add(body, role)
    if _plain(person):
        _add(party, "individualName/surName", person)
    _add(party, "organizationName", organisation)
    if contact and contact["email"]:
        _add(party, "electronicMailAddress", contact["email"])
    if contact and contact["orcid"]:
        _add(party, "userId", contact["orcid"]).set("directory", "https://orcid.org/")


def _add(parent: ET.Element, path: str, text: str | None = None) -> ET.Element:
    """Append nested elements, the last one with a text."""
    for name in path.split("/"):
        parent = ET.SubElement(parent, name)
    if text is not None:
        parent.text = _plain(text)
    return parent


def _plain(text: str) -> str:
    """Text that may stand in an XML document."""
    return " ".join(_NOT_XML.sub(" ", text).split())
