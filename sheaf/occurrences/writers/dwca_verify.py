"""Reading an archive back before anyone can see it, with python-dwca-reader and not with our own code.

Here: structure, identifiers, references, metadata. Not here: writing (`dwca`), the XML schemas
(`dwca_xml_schemas`).
"""

import zipfile
from array import array
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from sheaf.errors import VerificationError
from sheaf.exports.series import Written
from sheaf.exports.zips import opened
from sheaf.occurrences.writers.dwca import FILES
from sheaf.occurrences.writers.dwca_terms import DWC, DwcFile

if TYPE_CHECKING:
    import numpy as np
    from dwca.files import CSVDataFile
    from dwca.read import DwCAReader

_FILLED = {  # terms that must have a value in every row
    DWC + "Event": ("eventID", "eventDate", "samplingProtocol", "sampleSizeValue", "sampleSizeUnit"),
    DWC + "Occurrence": ("eventID", "occurrenceID", "basisOfRecord", "scientificName", "occurrenceStatus"),
}
_METADATA = ("title", "creator", "metadataProvider", "pubDate", "abstract", "intellectualRights", "contact")


def verify_dwca(folder: Path, written: Written) -> None:
    """Check the archive in a folder.

    Raises:
        VerificationError: saying what is wrong with which file.
    """
    from dwca.exceptions import InvalidArchive, InvalidSimpleArchive
    from dwca.read import DwCAReader

    (path,) = folder.glob("*.zip")
    files = _check_entries(path)
    try:
        with DwCAReader(str(path)) as archive:
            _check_metadata(archive)
            _check_files(archive, files, written)
    except (InvalidArchive, InvalidSimpleArchive, ET.ParseError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise VerificationError(f"{path.name} cannot be read as a Darwin Core Archive: {error}.") from error


def _check_entries(path: Path) -> tuple[DwcFile, ...]:
    """The archive holds exactly the files of one profile, at its root."""
    with opened(path) as archive:
        names = archive.namelist()
    for files in FILES.values():
        if sorted(names) == sorted(["meta.xml", "eml.xml", *(file.name for file in files)]):
            return files
    raise VerificationError(f"{path.name} holds {', '.join(names)}, which is no profile of ours.")


def _check_metadata(archive: "DwCAReader") -> None:
    dataset = archive.metadata.find("dataset") if archive.metadata is not None else None
    for name in _METADATA:
        found = dataset.find(name) if dataset is not None else None
        if found is None or not "".join(found.itertext()).strip():
            raise VerificationError(f"eml.xml has no {name}.")


def _check_files(archive: "DwCAReader", files: tuple[DwcFile, ...], written: Written) -> None:
    import numpy as np

    of_file = {data.file_descriptor.file_location: data for data in (archive.core_file, *archive.extension_files)}
    core_ids: set[str] = set()
    occurrence_ids: np.ndarray | None = None
    for index, file in enumerate(files):
        data = of_file[file.name]
        _check_header(archive, data, file)
        rows, ids = _read_ids(data, file, core_ids, is_core=index == 0)
        if rows != written.counts[file.counted_as]:
            raise VerificationError(f"{file.name} holds {rows} rows, {written.counts[file.counted_as]} were written.")
        if ids is None:
            continue
        if file.row_type == DWC + "Occurrence":
            occurrence_ids = np.unique(ids)
            if len(occurrence_ids) != rows:
                raise VerificationError(f"{file.name} uses an occurrenceID more than once.")
        elif occurrence_ids is not None and not np.isin(ids, occurrence_ids).all():
            raise VerificationError(f"{file.name} names an occurrenceID that does not exist.")


def _check_header(archive: "DwCAReader", data: "CSVDataFile", file: DwcFile) -> None:
    described = data.file_descriptor
    if described.type != file.row_type or [field["term"] for field in described.fields] != [
        term.uri for term in file.terms
    ]:
        raise VerificationError(f"meta.xml does not describe the columns of {file.name}.")
    with archive.open_included_file(file.name, encoding="utf-8") as text:
        if text.readline().rstrip("\n").split("\t") != [term.name for term in file.terms]:
            raise VerificationError(f"{file.name} does not begin with the names of its columns.")


def _read_ids(
    data: "CSVDataFile", file: DwcFile, core_ids: set[str], *, is_core: bool
) -> "tuple[int, np.ndarray | None]":
    """Walk through a file; hashes of occurrenceIDs take an eighth of the memory of the texts."""
    import numpy as np

    filled = _FILLED.get(file.row_type, ("eventID",))
    names = [term.name for term in file.terms]
    terms = [DWC + name for name in filled]
    with_occurrences = "occurrenceID" in names
    if with_occurrences and "occurrenceID" not in filled:
        terms.append(DWC + "occurrenceID")
    at = terms.index(DWC + "occurrenceID") if with_occurrences else None
    hashes, rows = array("q"), 0
    for values in data.iter_terms(terms):
        rows += 1
        if not all(values[: len(filled)]):
            raise VerificationError(f"{file.name}, row {rows}: {filled[values.index('')]} is empty.")
        if is_core:
            if values[0] in core_ids:
                raise VerificationError(f"{file.name}, row {rows}: {values[0]} is used more than once.")
            core_ids.add(values[0])
        elif values[0] not in core_ids:
            raise VerificationError(f"{file.name}, row {rows}: there is no event {values[0]}.")
        if at is not None and values[at]:
            hashes.append(hash(values[at]))
    return rows, np.frombuffer(hashes, dtype=np.int64) if at is not None and hashes else None
