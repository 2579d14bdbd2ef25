"""`squad.csv`: who shot which run or string, as a match director writes it in a spreadsheet.

Its header has `run` and `shooter`, or `string` and `shooter` with `stage` and `bay` where there are several. Not here:
giving runs their shooters (`analysis/runs_tables`).
"""

from pathlib import Path

from pydantic import ValidationError

from sheaf.errors import InputError
from sheaf.matches import faults
from sheaf.matches.readers.match_yaml import FILE_NAME, SQUAD, Squad
from sheaf.outside.files import named
from sheaf.outside.models import explain
from sheaf.outside.table_files import TableFile, read_rows
from sheaf.tables.rejects import Rejects

_COLUMNS = ("run", "stage", "bay", "string", "shooter")


def read(folder: Path, given: tuple[Squad, ...], rejects: Rejects) -> tuple[Squad, ...]:
    """All that is known of who shot what: what `match.yaml` says, then the rows of `squad.csv`.

    What cannot be used, or says another shooter for the same run or string as what comes before it, is rejected.

    Raises:
        InputError: the file has another header, or cannot be read.
    """
    found: dict[tuple[str, ...], Squad] = {}
    good = 0
    for entry in given:
        rejects.saw("squad", 1)
        if problem := _conflict(entry, found):
            rejects.add("squad", faults.BAD_SQUAD, problem, file=FILE_NAME, raw=entry.model_dump(exclude_none=True))
        else:
            good += 1
    rejects.used("squad", good)
    path = named(folder, (SQUAD,)).get(SQUAD)
    if path is None:
        return tuple(found.values())
    heads = {name: name.casefold() for known in _COLUMNS for name in (known, known.title(), known.upper())}
    for line, cells in read_rows(TableFile(path, "squad", rejects), heads):
        row = {heads.get(name, name): (text or "").strip() for name, text in cells.items()}
        if unknown := [name for name in row if name not in _COLUMNS]:
            raise InputError(f"{path.name}: the column {unknown[0]!r} is not known: use {', '.join(_COLUMNS)}.")
        rejects.saw("squad", 1)
        if problem := _problem(row, found):
            raw = ",".join(row.values())
            rejects.add("squad", faults.BAD_SQUAD, problem, file=path.name, line=line, raw=raw)
        else:
            good += 1
    rejects.used("squad", good)
    return tuple(found.values())


def _problem(row: dict[str, str], found: dict[tuple[str, ...], Squad]) -> str | None:
    """Take a row; why it cannot be, as a sentence."""
    values = {name: text for name, text in row.items() if text}
    try:
        entry = Squad.model_validate(values)
    except ValidationError as error:
        return explain(error).capitalize()
    return _conflict(entry, found)


def _conflict(entry: Squad, found: dict[tuple[str, ...], Squad]) -> str | None:
    """Take what no other contradicts; else what contradicts it, as a sentence."""
    known = found.setdefault(_which(entry), entry)
    return None if known.shooter == entry.shooter else f"{known.shooter!r} is said to have shot the same."


def _which(entry: Squad) -> tuple[str, ...]:
    if entry.run is not None:
        return ("run", entry.run.removeprefix("run_"))
    return (entry.stage or "", entry.bay or "", str(entry.string))
