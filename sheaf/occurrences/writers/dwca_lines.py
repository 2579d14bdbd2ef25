"""The lines of an archive's files, some ten thousand occurrences at a time.

Here: what is made of terms and sources. Not here: which those are (`dwca_terms`, `dwca_gbif_terms`), the zip (`dwca`).
What follows from a taxon or a session is put together once for each, and not for each of its occurrences.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from sheaf.occurrences.writers.dwca_terms import DwcFile, Term
from sheaf.occurrences.writers.pieces import Runs, Texts, index, weave
from sheaf.occurrences.writers.selection import Lines, text_bytes
from sheaf.occurrences.writers.text_lines import delimited, one_line, quoted

if TYPE_CHECKING:
    from sheaf.occurrences.writers.selection import Selection

_AT_ONCE = 4 * 1024  # occurrences of which lines are put together at once
_LIST = ("", " | ", "", "")
_BARE = ("address", "list")
_SHARED = {"taxon": "taxa", "event": "events"}
_KEYS = {"taxon": "determination_id", "event": "event_id"}
_Part = tuple[str, str]
"""Of what it is, as in `Term`, and SQL of its text."""


def file_lines(chosen: "Selection", file: DwcFile, quote: str) -> Iterator[Lines]:
    """The lines of a file, in order; the views `shown` and `sampled` are the archive's.

    Args:
        quote: what stands around values that need it.
    """
    for found in chosen.ahead(_calls(chosen, file, quote)):
        yield from found


@dataclass(frozen=True)
class _Range:
    """What lines of some occurrences are put together of.

    Attributes:
        parts: of a line, in order.
        own: rows of each source by `position`, with the texts of the parts that are their own.
        shared: texts of other parts, by `id`.
        places: which event and taxon a position has.
        beside: rows of `position` and `text`.
    """

    parts: Sequence[_Part]
    own: Sequence[pa.Table]
    shared: Mapping[str, pa.Table] = field(default_factory=dict)
    places: pa.Table | None = None
    beside: pa.Table | None = None


def _calls(chosen: "Selection", file: DwcFile, quote: str) -> Iterator[Callable[[], Iterator[Lines]]]:
    """What is to be called for the lines of each range."""
    slug = chosen.dataset["slug"]
    if file.by_event:
        line = _line(file.terms, quote).replace("$slug", slug)
        yield partial(_of_events, chosen, f"SELECT {line} FROM {file.sources[0]} ORDER BY {file.order}")
        return
    parts = [(of, text.replace("$slug", slug)) for of, text in _parts(file, quote)]
    shared = {
        of: chosen.arrow(f"SELECT o.id, {_columns(parts, of)} FROM {table} o ORDER BY 1")
        for of, table in _SHARED.items()
        if of in dict(parts)
    }
    for start, end in chosen.ranges():
        yield partial(_of_range, chosen, file, parts, shared, f"position BETWEEN {start} AND {end - 1}")


def _of_events(chosen: "Selection", query: str) -> Iterator[Lines]:
    texts = chosen.arrow(query).column(0)
    return (Lines(text_bytes(chunk), len(chunk)) for chunk in texts.chunks)


def _of_range(
    chosen: "Selection", file: DwcFile, parts: Sequence[_Part], shared: Mapping[str, pa.Table], wanted: str
) -> Iterator[Lines]:
    columns = f"{_columns(parts, '', 'address')}, {_counts(file)} AS lines, o.position"
    own = [chosen.in_order(f"SELECT {columns} FROM {source}".replace("$rows", wanted)) for source in file.sources]
    for number in (number for number, (of, _) in enumerate(parts) if of == "address"):
        own = [_with_plain(chosen, table, f"part_{number}") for table in own]
    keys = ", ".join(_KEYS.values())
    places = chosen.in_order(f"SELECT {keys}, position FROM shown WHERE {wanted}") if shared else None
    beside = None
    if file.beside:
        beside = _with_plain(chosen, chosen.arrow(file.beside.replace("$rows", wanted)), "text")
    return _lines(_Range(parts, own, shared, places, beside))


def _column(term: Term, quote: str) -> str:
    return quoted(term.value, quote) if term.text and quote else term.value


def _line(terms: Sequence[Term], quote: str) -> str:
    return delimited([_column(term, quote) for term in terms], "\t")


def _parts(file: DwcFile, quote: str) -> list[_Part]:
    """The parts of a line, with what separates their values; a row with several lines has one part."""
    if file.each:
        return [("", " || ".join(_of_each(_line(file.terms, quote), said) for said in file.each))]
    found: list[tuple[str, list[str]]] = []
    before: list[str] = []
    for of, terms in groupby(file.terms, lambda term: term.of):
        if of in _BARE:  # what comes after it is of the next part
            found.append((of, [term.sql for term in terms if term.sql]))
            before = ["chr(9)"]
        else:
            found.append((of, [*before, *(part for term in terms for part in (_column(term, quote), "chr(9)"))]))
            before = []
    found[-1][1][-1] = "chr(10)"
    return [(of, f"concat({', '.join(texts)})") for of, texts in found]


def _of_each(line: str, said: Mapping[str, str]) -> str:
    for name, value in said.items():
        line = line.replace(name, value)
    return f"CASE WHEN {said['$given']} IS NOT NULL THEN {line} ELSE '' END"


def _counts(file: DwcFile) -> str:
    return " + ".join(f"({said['$given']} IS NOT NULL)::INTEGER" for said in file.each) or "1"


def _columns(parts: Sequence[_Part], *wanted: str) -> str:
    return ", ".join(f"{text} AS part_{number}" for number, (of, text) in enumerate(parts) if of in wanted)


def _with_plain(chosen: "Selection", rows: pa.Table, name: str) -> pa.Table:
    """The rows with a column of addresses as they may be on a line; nearly all are, which their bytes tell."""
    texts = rows.column(name)
    found = [np.frombuffer(text_bytes(chunk), np.uint8) for chunk in texts.chunks]
    if all(data.min() > ord(" ") and data.max() <= ord("~") for data in found if len(data)):
        return rows
    cursor = chosen.database.cursor()
    cursor.register("given", pa.table({"text": texts}))
    cleaned = cursor.sql(f"SELECT {one_line('text')} AS text FROM given").to_arrow_table()
    return rows.set_column(rows.column_names.index(name), name, cleaned.column("text"))


def _lines(given: _Range) -> Iterator[Lines]:
    """The lines of a range; rows of the first source come before those of the next of the same position."""
    positions = [table.column("position").to_numpy() for table in given.own]
    ends = [(of[0], of[-1] + 1) for of in positions if len(of)]
    if not ends:
        return
    for start in range(min(begin for begin, _ in ends), max(end for _, end in ends), _AT_ONCE):
        texts, runs, at, count = Texts(""), [], [], 0
        for table, of in zip(given.own, positions, strict=True):
            begin, end = np.searchsorted(of, (start, start + _AT_ONCE))
            rows = _shown(table.slice(begin, end - begin), given.places)
            runs.append(weave(_pieces(texts, given, rows)))
            at.append(rows.column("position").to_numpy())
            count += int(rows.column("lines").to_numpy().sum())
        found = runs[0]
        if len(runs) > 1:
            every = Runs(np.concatenate([one.pieces for one in runs]), np.concatenate([one.lengths for one in runs]))
            found = every.take(np.argsort(np.concatenate(at), kind="stable"))
        yield Lines(text_bytes(texts.of(found)), count)


def _shown(rows: pa.Table, places: pa.Table | None) -> pa.Table:
    """The rows at positions that are shown, with event and taxon."""
    if places is None:
        return rows
    at, known = rows.column("position").to_numpy(), places.column("position").to_numpy()
    place = np.searchsorted(known, at)
    shown = known[np.minimum(place, len(known) - 1)] == at if len(known) else np.zeros(len(at), bool)
    if not shown.all():
        rows, place = rows.filter(pa.array(shown)), place[shown]
    for key in _KEYS.values():
        rows = rows.append_column(key, places.column(key).take(pa.array(place)))
    return rows


def _pieces(texts: Texts, given: _Range, rows: pa.Table) -> Iterator[np.ndarray | Runs]:
    for number, (of, _) in enumerate(given.parts):
        if of == "list" and given.beside is not None:
            yield _list(texts, given.beside, rows.column("position").to_numpy())
        elif of in given.shared:
            known = given.shared[of]
            yield texts.found(known.column(f"part_{number}"), index(rows.column(_KEYS[of]), known.column("id")))
        else:
            yield texts.add(rows.column(f"part_{number}"))


def _list(texts: Texts, beside: pa.Table, positions: np.ndarray) -> Runs:
    """For each position the texts that are beside it."""
    every = beside.column("position").to_numpy()
    begin, end = np.searchsorted(every, (positions[0], positions[-1] + 1)) if len(positions) else (0, 0)
    here = every[begin:end]
    keys = np.searchsorted(positions, here)
    wanted = positions[keys] == here
    numbers = texts.add(beside.column("text").slice(begin, end - begin))
    return texts.lists(Runs.single(numbers[wanted]), keys[wanted], len(positions), _LIST)
