"""What is said of a project as a whole: its title, texts, contacts and licence, and the slug in its identifiers.

No sensitive station is named in any of it, nor in the names of capture sets, in remarks and addresses. Not here: what
is sensitive (`build`).
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import orjson

from sheaf import sql
from sheaf.licences import recognise
from sheaf.occurrences import schema
from sheaf.occurrences.settings import Contact
from sheaf.occurrences.working_database import table_of
from sheaf.tables import generations
from sheaf.tables.generations import Place
from sheaf.tables.parquet import from_rows
from sheaf.tables.pinned import Tables
from sheaf.tables.work import Work

if TYPE_CHECKING:
    import duckdb

_PROTOCOL = "automated camera"
_AT_ONCE = 200  # alternatives of a pattern
_SHORT = 5  # letters: `Mill` is no place in `Miller`


def slug_of(name: str, project: str) -> str:
    """A project's name in file names and identifiers: lower-case ASCII letters and digits, the rest `-`.

    Example:
        >>> slug_of("Vermont – Été 2024", "p7")
        'vermont-ete-2024'
        >>> slug_of("東京", "p7")
        'p7'
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:60].strip("-") or project


def write_dataset(work: Work, database: "duckdb.DuckDBPyConnection", step: str) -> None:
    """Write the table `dataset`, and keep of it in the database what queries need.

    Args:
        step: the one that writes it, in whose last generation the slug is frozen.
    """
    settings = work.settings
    found = database.execute(
        """SELECT p.id, p.name, p.description, p.draft, p.default_filters_score_threshold, p.license,
            p.rights_holder, coalesce(u.name, ''), p.protocol, p.protocol_description
        FROM main_project p LEFT JOIN users_user u ON u.id = p.owner_id WHERE p.id = ?""",
        [int(work.partition[1:])],
    ).fetchall()
    id_, name, description, draft, threshold, licence, rights_holder, owner, protocol, described = found[0]
    hidden = _hidden(database)
    single = Contact(name=settings.contact_name or owner or name, email=settings.contact_email)
    alone = settings.contact_name or settings.contact_email or not settings.contacts
    contacts = [*([single] if alone else []), *settings.contacts]
    row = {
        "project_id": id_,
        "name": _without(name, hidden),
        "title": _without(settings.title or name, hidden),
        "description": _without(description, hidden),
        "protocol": _without(settings.protocol or protocol or _PROTOCOL, hidden),
        "sampling_design": settings.sampling_design,
        "capture_method": orjson.dumps(settings.capture_method).decode(),
        "protocol_description": _without(
            settings.protocol_description or ("" if settings.protocol else described or ""), hidden
        ),
        "slug": _slug(work, step, name, hidden),
        "draft": draft,
        "score_threshold": threshold,
        "licence": recognise(licence or settings.licence),
        "rights_holder": _without(rights_holder or settings.rights_holder, hidden),
        "publisher": _without(settings.publisher or name, hidden),
        "owner": owner,
        "contacts": orjson.dumps([contact.model_dump() for contact in contacts]).decode(),
        "api_url": settings.api_url.rstrip("/"),
        "country_code": settings.country_code,
        "coordinate_uncertainty": settings.coordinate_uncertainty_m,
        "target_taxon": settings.taxonomic_scope or _target_taxon(database),
        "cell": settings.sensitive_cell_degrees,
    }
    work.write(schema.DATASET, from_rows(schema.DATASET, [row]))
    known = ("cell", "coordinate_uncertainty", "country_code")
    table_of(database, "dataset", known, ("DOUBLE", "DOUBLE", "VARCHAR"), [tuple(row[column] for column in known)])


def _hidden(database: "duckdb.DuckDBPyConnection") -> list[re.Pattern[str]]:
    """What sensitive stations are called, however spaced and spelled, the longest name first; and where they are."""
    patterns = []
    for words in _hidden_names(database):
        pattern = r"[\W_]*".join(map(re.escape, words))
        if _is_short(words):
            pattern = rf"(?<![^\W_]){pattern}(?![^\W_])"
        patterns.append(re.compile(pattern, re.IGNORECASE))
    return [*patterns, *(re.compile(rf"(?<!\d){numbers}\d*") for numbers in _hidden_numbers(database))]


def _hidden_names(database: "duckdb.DuckDBPyConnection", name: str = "name") -> list[list[str]]:
    """The words of what sensitive stations are called, the longest name first; not of names that are in any text.

    Args:
        name: SQL of a station's name.
    """
    found = database.execute(f"SELECT DISTINCT trim({name}) FROM station WHERE sensitive").fetchall()
    ordered = sorted(found, key=lambda row: (-len(row[0]), row[0]))
    names = (re.findall(r"\w+", name.replace("_", " ")) for (name,) in ordered)
    return [words for words in names if len("".join(words)) > 1 and not re.fullmatch(r"\d{1,3}", "".join(words))]


def _is_short(words: Sequence[str]) -> bool:
    """Whether a name is so short that it is within other words."""
    return len("".join(words)) <= _SHORT


def _hidden_numbers(database: "duckdb.DuckDBPyConnection") -> list[str]:
    """Patterns of the coordinates of sensitive stations, to a hundred metres."""
    found = database.execute(
        "SELECT DISTINCT unnest([latitude, longitude]) FROM station WHERE sensitive AND latitude IS NOT NULL"
    ).fetchall()
    spelt = {f"{part:.3f}" for (value,) in found for part in (abs(value), math.floor(abs(value) * 1000) / 1000)}
    return [number.replace(".", "[.,]") for number in sorted(spelt) if not number.endswith("000")]


def make_tells_place(database: "duckdb.DuckDBPyConnection") -> None:
    """Make the macro `tells_place`: whether a text or an address names a sensitive station or its coordinates."""
    names = _hidden_names(database, "plain_words(name)")
    long = _joined("".join(words) for words in names if not _is_short(words))
    short = _joined(" ".join(words) for words in names if _is_short(words))
    conditions = [
        *(f"regexp_matches(plain_name(said), {sql.literal(part)})" for part in long),
        *(f"regexp_matches(plain_words(said), {sql.literal(f' (?:{part}) ')})" for part in short),
        *(
            f"regexp_matches(said, {sql.literal(f'(?:^|[^0-9])(?:{part})')})"
            for part in _joined(_hidden_numbers(database))
        ),
    ]
    database.execute(f"CREATE MACRO tells_place(said) AS {' OR '.join(conditions) or 'false'}")


def _joined(patterns: Iterable[str]) -> list[str]:
    """Patterns of some hundred alternatives each: a larger one would be too large for DuckDB."""
    ones = list(dict.fromkeys(patterns))
    return ["|".join(ones[start : start + _AT_ONCE]) for start in range(0, len(ones), _AT_ONCE)]


def _without(text: str, hidden: Sequence[re.Pattern[str]]) -> str:
    """A text in which no sensitive station is named."""
    for pattern in hidden:
        text = pattern.sub("[place withheld]", text)
    return text


def name_collections(database: "duckdb.DuckDBPyConnection") -> None:
    """Make the table `collection`: capture sets, named without naming a sensitive station."""
    hidden = _hidden(database)
    found = database.execute("SELECT id, name FROM main_sourceimagecollection").fetchall()
    rows = [(id_, _without(name, hidden)) for id_, name in found]
    table_of(database, "collection", ("id", "name"), ("BIGINT", "VARCHAR"), rows)


def _slug(work: Work, step: str, name: str, hidden: Sequence[re.Pattern[str]]) -> str:
    """The slug of a project: the frozen one, unless it names a station that has become sensitive since."""
    frozen = _frozen_slug(work, step)
    plain = [pattern for pattern in hidden if pattern.search(frozen or "")]
    return frozen if frozen and not plain else slug_of(_without(name, hidden), work.partition)


def _target_taxon(database: "duckdb.DuckDBPyConnection") -> str:
    """The lowest taxon that is, or is above, every taxon that the default filters include."""
    lineages = database.execute(
        """SELECT list_append(list_transform(parents, lambda p: p.name), name)
        FROM taxon WHERE id IN (SELECT taxon_id FROM main_project_default_filters_include_taxa) ORDER BY id"""
    ).fetchall()
    shared = [names for names in zip(*(lineage for (lineage,) in lineages), strict=False) if len(set(names)) == 1]
    return shared[-1][0] if shared else ""


def _frozen_slug(work: Work, step: str) -> str | None:
    """The slug that published identifiers contain: from the first export on it stays as it was."""
    if not work.store.folders(f"exports/occurrences/{work.partition}"):
        return None
    before = generations.current(work.store, Place("occurrences", step, "project", work.partition))
    if before is None:
        return None
    return Tables(work.store, work.partition, {step: before}).read(schema.DATASET, ["slug"])["slug"][0].as_py()
