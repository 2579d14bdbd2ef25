"""The series `repaired_wav`: every dub of a batch laid on its master, as new files; what is not is listed with why.

A file for each sound track of a dub, where it has several: they share its clock, so what corrects one corrects all.
It is offered for batches whose options say `repair: true`. The media are read where the batch found them, and have to
hold what they held then. Here: which pairs, and the list. How one dub is corrected is `sync/repair`.
"""

import csv
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.media import schema
from sheaf.media.analysis.rows import unsatisfied
from sheaf.media.errors import ChangedError, MediaError
from sheaf.media.readers.content import MediaFile, confirm, confirm_unchanged, read_located
from sheaf.media.result import PairResult, Precision, Segment, Status
from sheaf.media.sync.decode import decode
from sheaf.media.sync.probe import probe
from sheaf.media.sync.repair import LEAST_COVERAGE, other_sounds, repair
from sheaf.media.writers.results_json import counts, read_batch

_NAME = "repairs.csv"
COLUMNS = (
    "item_id",
    "master_file",
    "dub_file",
    "file",
    "reason",
    "offset_seconds",
    "precision",
    "coverage",
    "seconds",
    "silent_seconds",
    "other_tracks",
)
_APART = 0.002  # s by which a file may be longer or shorter than it should be
_PRINTED = 0.01  # s, to which ffmpeg prints a length
_PATIENCE_S = 3600.0


def write_repaired_wav(draft: Draft) -> Written:
    """Write a file for each dub that can be corrected, and the list of all pairs.

    Raises:
        ChangedError: a dub is not what it was when the batch was read.
        MediaError: ffmpeg failed.
    """
    _, rows = read_batch(draft.tables)
    dubs = _dubs(draft)
    lines = []
    for row in rows:
        reason, file, others = refused(row), "", ()
        if not reason:
            file = f"{row['item_id']}_in_sync.wav"
            dub = dubs.get(row["dub_file"])
            if dub is None:
                raise ChangedError(
                    f"It is not known where {row['dub_file']} is: touch the CSV of the batch, run it again."
                )
            seen = confirm([dub])
            repair(dub.path, _result(row), draft.folder / file, timeout_seconds=_PATIENCE_S)
            others = _repair_others(dub.path, row, draft.folder)
            confirm_unchanged(seen)
        written = {"file": file, "reason": reason, "other_tracks": ",".join(others)}
        lines.append({**row, **written, **_lengths(row if file else None)})
    with (draft.folder / _NAME).open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)
    left = [f"{line['item_id']} was not corrected: {line['reason']}." for line in lines if line["reason"]]
    told = dict.fromkeys((*left, *unsatisfied(rows)))
    made = sum(bool(line["file"]) for line in lines)
    return Written(
        record_count=made,
        rows={_NAME: len(lines)},
        counts={**counts(rows), "repaired": made},
        warnings=tuple(told)[:20],
    )


def _repair_others(dub: Path, row: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Write the tracks of a dub that were not compared; their names."""
    names = []
    for track in other_sounds(row["dub_tracks"], row["dub_track"]):
        names.append(f"{row['item_id']}_in_sync_track_{track}.wav")
        result = _result(row).model_copy(update={"dub_track": str(track)})
        repair(dub, result, folder / names[-1], timeout_seconds=_PATIENCE_S)
    return tuple(names)


def refused(row: Mapping[str, Any]) -> str:
    """Why a pair of the table of results is not corrected; empty where it is."""
    if row["status"] != Status.COMPLETED:
        return row["error_message"].rstrip(".") if row["error_message"] else "no match was found"
    if (row["coverage"] or 0) < LEAST_COVERAGE:
        return f"only {row['coverage'] or 0:.0%} of the dub is found in its master, the rest would become silence"
    return ""


def _dubs(draft: Draft) -> dict[str, MediaFile]:
    """Where the files are that the tables know by their content."""
    content = {row["name"]: row["sha256"] for row in draft.tables.read(schema.FILES).to_pylist()}
    located = read_located(draft.store, draft.partition).files
    return {name: file for name, file in located.items() if content.get(name) == file.sha256}


def _result(row: Mapping[str, Any]) -> PairResult:
    return PairResult(
        status=row["status"],
        offset_seconds=row["offset_seconds"],
        precision=Precision(row["precision"]) if row["precision"] else None,
        coverage=row["coverage"],
        dub_track=row["dub_track"],
        master_seconds=row["master_seconds"],
        segments=[Segment(**piece) for piece in row["segments"]],
    )


def _lengths(row: Mapping[str, Any] | None) -> dict[str, float | None]:
    """How long a corrected dub is, and how much of it is silence that was put in, s."""
    if row is None:
        return {"seconds": None, "silent_seconds": None}
    whole = row["master_seconds"]
    return {"seconds": whole, "silent_seconds": round(whole - _filled(row["segments"], whole), 3)}


def _filled(segments: Sequence[Mapping[str, Any]], whole: float) -> float:
    """Seconds of the master's clock on which a piece of the dub lies."""
    total, until = 0.0, 0.0
    for piece in segments:
        first, last = (piece["offset_seconds"] + piece["rate"] * piece[end] for end in ("dub_start", "dub_end"))
        total += max(min(last, whole) - max(first, until), 0.0)
        until = max(until, min(last, whole))
    return total


def verify_repaired_wav(folder: Path, written: Written) -> None:
    """Decode every file: as long as its master, and no silence; a file for each track that a line names, and no other.

    Raises:
        VerificationError: naming the first that is wrong.
    """
    with (folder / _NAME).open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    made = {line["file"]: float(line["seconds"]) for line in lines if line["file"]}
    others = {
        name: float(line["seconds"]) for line in lines for name in (line.get("other_tracks") or "").split(",") if name
    }
    if any(bool(line["file"]) == bool(line["reason"]) for line in lines) or len(made) != written.record_count:
        raise VerificationError(
            f"{_NAME} does not name {written.record_count} files, and a reason for each other pair."
        )
    if made.keys() | others.keys() != {path.name for path in folder.glob("*.wav")}:
        raise VerificationError(f"{_NAME} does not name the files that are there.")
    # Of these only the length is looked at: many are silent, and a wrong one could not be told from them by its sound.
    for name, seconds in others.items():
        if abs((probe(folder / name).duration or 0) - seconds) > _APART + _PRINTED:
            raise VerificationError(f"{name} is not {seconds:.3f} s long, as its master is.")
    for name, seconds in made.items():
        path = folder / name
        try:
            heard = decode(path, probe(path), deadline=time.monotonic() + _PATIENCE_S, max_seconds=seconds + 1)
        except MediaError as error:
            raise VerificationError(str(error).replace(str(path), name)) from error
        heard.close()
        if abs(heard.seconds - seconds) > _APART:
            raise VerificationError(f"{name} is {heard.seconds:.3f} s long, its master {seconds:.3f} s.")
