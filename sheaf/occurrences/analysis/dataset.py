"""What is said of a project as a whole: its title, texts, contacts and licence, and the slug in its identifiers.

No sensitive station is named in any of it, nor in the names of capture sets. Not here: what is sensitive (`build`).
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson

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
    """What sensitive stations are called, however it is spaced and spelled; the longest name first."""
    found = database.execute("SELECT DISTINCT trim(name) FROM station WHERE sensitive").fetchall()
    patterns = []
    for (name,) in sorted(found, key=lambda row: (-len(row[0]), row[0])):
        words = re.findall(r"\w+", name.replace("_", " "))
        if len("".join(words)) < 2 or re.fullmatch(r"\d{1,3}", "".join(words)):  # in too many texts
            continue
        pattern = r"[\W_]*".join(map(re.escape, words))
        if len("".join(words)) <= 3:  # short ones are in other words
            pattern = rf"(?<![^\W_]){pattern}(?![^\W_])"
        patterns.append(re.compile(pattern, re.IGNORECASE))
    return patterns


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
