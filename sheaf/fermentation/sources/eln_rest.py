"""The laboratory's ELN by its REST API.

A record is the API's own JSON export, completed with row ids and the medium where the account may
see them. The newest version of the ELN fails (500) for every inoculated batch, in its list and in
its JSON export; then the ids come from the configuration and the samples from the CSV export.
Complete records of such a system need its database (`eln_postgres`).
"""

import csv
import hashlib
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from sheaf.errors import NotFoundError, SourceError
from sheaf.fermentation.readers.fields import FieldError, read_number, read_time
from sheaf.fermentation.source_settings import RestSettings
from sheaf.fermentation.sources.eln import Fingerprint, Record, Run, run_from
from sheaf.fermentation.sources.eln_session import ElnSession, Forbidden, ServerFault

_PAGE = 50  # the API's own default; it refuses more than 100
_ATTEMPTS = 3  # readings of a list that changes while it is read

# Section of the record, and what tells its rows apart.
_DETAILS: Mapping[str, tuple[str, ...]] = {
    "samples": ("sampled_at", "od600_raw"),
    "calibrations": ("calibrated_at", "probe_type"),
    "failures": ("reported_at", "category"),
}


class ElnRest:
    """The ELN's API."""

    name = "eln_rest"

    def __init__(self, settings: RestSettings, naive_timezone: str | None = None) -> None:
        self._settings, self._naive_timezone = settings, naive_timezone
        self._session = ElnSession(settings)
        self._sees_details = True

    def runs(self) -> list[Run]:
        """All batches, by id; only their ids where the server fails to list them."""
        try:
            found = self._list()
        except ServerFault as error:
            if not self._settings.batches:
                raise SourceError(
                    f"{error} The newest ELN fails to list inoculated batches: read it by eln_postgres, or name the "
                    "ids of the batches under `batches:`."
                ) from error
            return [Run(batch) for batch in sorted(self._settings.batches)]
        return [run_from(key, row, self._naive_timezone) for key, row in sorted(found.items())]

    def fingerprints(self, batches: Sequence[str]) -> Generator[Fingerprint, None, None]:
        """Hash the export of each batch: nothing shorter tells of a value that came later."""
        for batch in batches:
            try:
                text, _ = self._export(batch)
            except (SourceError, NotFoundError) as error:
                yield Fingerprint(batch, problem=str(error))
            else:
                yield Fingerprint(batch, hashlib.sha256(text).hexdigest()[:32])

    def record(self, batch: str) -> Record:
        """Read one batch with everything below it that the account may see."""
        text, kind = self._export(batch)
        if kind == "csv":
            return self._from_csv(batch, text)
        document = _parse(text, f"batches/{batch}/export")
        warnings: list[str] = []
        if self._sees_details:
            self._complete(batch, document, warnings)
        else:
            warnings.append(_NO_DETAILS)
        return _record(document, warnings)

    def check(self) -> str:
        """Log in and list the batches."""
        return f"{len(self.runs())} batches at {self._settings.url}, logged in as {self._session.user()}"

    def _list(self) -> dict[str, dict[str, Any]]:
        """Every batch once, by id.

        The list has no total and no fixed order among equals, and grows while it is read. So each
        page begins with the last batch of the page before: if it does not, the list has moved.
        """
        for _ in range(_ATTEMPTS):
            found: dict[str, dict[str, Any]] = {}
            last = None
            while True:
                query = {"limit": _PAGE, "offset": max(len(found) - 1, 0)}
                page = self._session.json("batches", query)
                if not isinstance(page, list) or not all(isinstance(row, dict) and "batch_id" in row for row in page):
                    raise SourceError(f"{self._settings.url}/batches did not answer with a list of batches.")
                keys = [str(row["batch_id"]) for row in page]
                new = {key: row for key, row in zip(keys, page, strict=True) if key not in found}
                if last is not None and (keys[:1] != [last] or len(new) != len(page) - 1):
                    break
                if not new:
                    return found
                found |= new
                last = keys[-1]
        raise SourceError(f"The list {self._settings.url}/batches changed each time it was read: try again later.")

    def _export(self, batch: str) -> tuple[bytes, str]:
        """The JSON export, or the CSV export where the server fails to make the other."""
        path = f"batches/{batch}/export"
        try:
            return self._session.get(path, {"format": "json"}), "json"
        except ServerFault:
            return self._session.get(path, {"format": "csv"}), "csv"

    def _complete(self, batch: str, document: dict[str, Any], warnings: list[str]) -> None:
        """Add what the export leaves out: ids of rows, and the medium."""
        for section, keys in _DETAILS.items():
            rows = self._detail(batch, section, list)
            if rows is not None and not _add_ids(document.get(section) or [], rows, keys):
                warnings.append(f"The ids of {section} cannot be told for certain; their order is used.")
        medium = self._detail(batch, "media", dict) if "media_preparation" not in document else None
        if medium:
            document["media_preparation"] = {key: value for key, value in medium.items() if key != "id"}
        if not self._sees_details:
            warnings.append(_NO_DETAILS)

    def _detail(self, batch: str, name: str, kind: Callable[[], Any]) -> Any:
        """One list below a batch; None where there is none, or the account may not see it."""
        if not self._sees_details:
            return None
        try:
            found = self._session.json(f"batches/{batch}/{name}")
        except Forbidden:
            self._sees_details = False
            return None
        except (NotFoundError, ServerFault):
            return None
        return found if isinstance(found, type(kind())) else None

    def _from_csv(self, batch: str, text: bytes) -> Record:
        rows = list(csv.DictReader(text.decode("utf-8-sig").splitlines()))
        if not rows:
            raise SourceError(
                f"The ELN fails to export {batch} as JSON, and its CSV holds no sample: use eln_postgres."
            )
        warnings = [
            "The ELN fails to export this batch as JSON: only its samples, calibrations and failures are read, and "
            "without the time of inoculation nothing of its sensors. Read it by eln_postgres."
        ]
        try:
            known = self._session.json(f"batches/{batch}")
        except ServerFault:
            known = {"status": "running"}
            warnings.append("The ELN does not tell the state of this batch: it is taken as running.")
        samples = [{key: row[key] or None for key in row if key not in ("batch_number", "phase")} for row in rows]
        own = {"batch_id": batch, "batch_number": rows[0]["batch_number"], "phase": rows[0]["phase"]}
        document: dict[str, Any] = {"batch": {**known, **own}, "inoculation": None, "samples": samples}
        for section in ("calibrations", "failures"):  # one that cannot be read is not there, it is not empty
            if (rows_ := self._detail(batch, section, list)) is not None:
                document[section] = rows_
        listed = self._detail(batch, "samples", list)
        if listed is not None:
            _add_ids(samples, listed, _DETAILS["samples"])
        if not self._sees_details:
            warnings.append(_NO_DETAILS)
        return _record(document, warnings)


_NO_DETAILS = (
    "The ELN account may only export: row ids and the medium are not read. Give it the role technician to read them."
)


def _record(document: dict[str, Any], warnings: Sequence[str]) -> Record:
    text = json.dumps(document, ensure_ascii=False, default=str)  # decimals as text keep their digits
    return Record(text.encode(), tuple(warnings))


def _parse(text: bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(text, parse_float=Decimal)
    except ValueError as error:
        raise SourceError(f"The ELN answered {where} with something that is not JSON.") from error
    if not isinstance(document, dict) or not isinstance(document.get("batch"), dict):
        raise SourceError(f"The ELN answered {where} with something that is not a batch.")
    return document


def _add_ids(rows: Sequence[dict[str, Any]], listed: Sequence[Any], keys: Sequence[str]) -> bool:
    """Give rows the ids of the entries that equal them; False, and no ids at all, when that is not one to one."""
    ids: dict[tuple[Any, ...], list[Any]] = {}
    for entry in listed:
        if isinstance(entry, dict):
            ids.setdefault(tuple(_comparable(entry.get(key)) for key in keys), []).append(entry.get("id"))
    found = [ids.get(tuple(_comparable(row.get(key)) for key in keys), []) for row in rows]
    if len(rows) != len(listed) or any(len(matching) != 1 or matching[0] is None for matching in found):
        return False
    for row, (key,) in zip(rows, found, strict=True):
        row["id"] = key
    return True


def _comparable(value: Any) -> Any:
    """The same value written in two ways (`2.1`, `"2.1000"`; `Z`, `+00:00`) compares equal."""
    for read in (lambda text: read_time(text, "UTC"), read_number):
        try:
            return read(value)
        except FieldError:
            continue
    return value
