"""What GBIF will say of an archive, by the names of its issues, as far as that can be known without a network.

Here: the rules, each SQL on the rows that an archive shows. Not here: the archive (`dwca`), the file that lists them
(`validation_json`). Names and meanings are those of OccurrenceIssue in GBIF's API (https://github.com/gbif/gbif-api)
and, of the metadata, of GBIF's validator. What needs GBIF's backbone or its borders is not told: of a name only that it
has no form in which it could be found, of a country only what zones of time tell of it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from sheaf import sql
from sheaf.licences import GBIF_LICENCES

if TYPE_CHECKING:
    from datetime import date

    from sheaf.occurrences.writers.selection import Selection

_MOST_EXAMPLES = 5
_SHORTEST_TITLE = 10
_NEAR_BORDER = 0.15  # degrees: borders of zones are simplified
_MOST_UNCERTAIN_M = 5_000_000
_ROWS = "shown o JOIN events e ON e.id = o.event_id, dataset d"
_FORM = r"^×?[A-ZÀ-Þ][a-zß-ÿ]+(-[a-zß-ÿ]+)?( \([A-Z][a-zß-ÿ-]+\))?( ×?[a-zß-ÿ]|$)"  # of names at any rank


@dataclass(frozen=True)
class _Rule:
    """One issue as SQL on an occurrence `o`, its event `e` and the row `d` of `dataset`.

    Attributes:
        name: as GBIF calls it.
        condition: when a record has it.
        value: what is wrong about it.
    """

    name: str
    condition: str
    value: str


def count_issues(chosen: "Selection", today: "date") -> dict[str, int]:
    """How many records have which issue, most frequent first; the views `shown` and `sampled` are the archive's."""
    rules = list(_rules(chosen, today))
    counted = ", ".join(f"count(*) FILTER ({rule.condition})" for rule in rules)
    (counts,) = chosen.rows(f"SELECT {counted} FROM {_ROWS}")
    found = {rule.name: count for rule, count in zip(rules, counts, strict=True) if count}
    found |= dict.fromkeys(_of_dataset(chosen), 1)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def examples(chosen: "Selection", today: "date", counts: Mapping[str, int]) -> dict[str, list[dict[str, str]]]:
    """Some records of each issue that was counted, as `{id, value}`."""
    found = {name: [{"id": "dataset", "value": value}] for name, value in _of_dataset(chosen).items()}
    slug = chosen.dataset["slug"]
    for rule in _rules(chosen, today):
        if counts.get(rule.name):
            rows = chosen.rows(
                f"""SELECT o.id, {rule.value} FROM {_ROWS} WHERE {rule.condition}
                ORDER BY o.position LIMIT {_MOST_EXAMPLES}"""
            )
            found[rule.name] = [{"id": f"urn:ami:occurrence:{slug}:{id_}", "value": str(of)} for id_, of in rows]
    return found


def _of_dataset(chosen: "Selection") -> dict[str, str]:
    """What is wrong about the metadata, with its value."""
    about = chosen.dataset
    found = {
        "TITLE_MISSING_OR_TOO_SHORT": (len(about["title"]) < _SHORTEST_TITLE, about["title"]),
        "LICENSE_MISSING_OR_UNKNOWN": (about["licence"] not in GBIF_LICENCES, about["licence"]),
    }
    return {name: value for name, (wrong, value) in found.items() if wrong}


def _rules(chosen: "Selection", today: "date") -> Iterator[_Rule]:
    at = "round(e.latitude, 6) || ', ' || round(e.longitude, 6)"
    late = f"'{today.isoformat()}'::DATE + 1"
    seen = "coalesce(o.first_appearance, o.event_start)"
    rounded = " OR ".join(f"round(e.{axis}, 6) <> round(e.{axis}, 5)" for axis in ("latitude", "longitude"))
    yield _Rule("COORDINATE_ROUNDED", rounded, at)
    yield _Rule("COORDINATE_UNCERTAINTY_METERS_INVALID", f"e.uncertainty > {_MOST_UNCERTAIN_M}", "e.uncertainty")
    derived = "e.country_code IS NULL AND e.latitude IS NOT NULL"
    yield _Rule("COUNTRY_DERIVED_FROM_COORDINATES", derived, at)
    if invalid := _invalid_countries(chosen):  # few if any, while to be none of all takes longer than all other rules
        yield _Rule("COUNTRY_INVALID", f"e.country_code IN ({', '.join(map(sql.literal, invalid))})", "e.country_code")
    if elsewhere := _elsewhere(chosen):
        yield _Rule("COUNTRY_COORDINATE_MISMATCH", f"e.deployment_id IN ({', '.join(map(str, elsewhere))})", at)
    yield _Rule("RECORDED_DATE_UNLIKELY", f"{seen} >= {late} OR year({seen}) < 1600", f"strftime({seen}, '%Y-%m-%d')")
    yield _Rule(  # year, month and day are those of the event, which an occurrence inherits
        "RECORDED_DATE_MISMATCH",
        f'coalesce(e."end"::DATE = e.start::DATE, true) AND {seen}::DATE <> e.start::DATE',
        f"strftime({seen}, '%Y-%m-%d') || ' in an event of ' || strftime(e.start, '%Y-%m-%d')",
    )
    for name, of, earliest in (
        ("IDENTIFIED_DATE_UNLIKELY", "o.identified_at", 1700),
        ("MODIFIED_DATE_UNLIKELY", "o.updated_at", 1970),
    ):
        yield _Rule(name, f"{of} >= {late} OR year({of}) < {earliest}", f"strftime({of}, '%Y-%m-%d')")
    nameless = f"o.gbif_taxon_key IS NULL AND NOT regexp_matches(o.scientific_name, '{_FORM}')"
    yield _Rule("TAXON_MATCH_NONE", nameless, "o.scientific_name")


def _invalid_countries(chosen: "Selection") -> list[str]:
    """The codes of events that are no country's."""
    known = _all_countries()
    found = chosen.rows("SELECT DISTINCT country_code FROM events WHERE country_code IS NOT NULL ORDER BY 1")
    return [code for (code,) in found if code not in known]


def _elsewhere(chosen: "Selection") -> list[int]:
    """Stations in whose zones of time, and in those near them, their country has no part."""
    found = []
    countries = _all_countries()
    for id_, latitude, longitude, country, cell in chosen.rows(
        """SELECT d.id, d.latitude, d.longitude, d.country_code, CASE WHEN d.sensitive THEN s.cell ELSE 0 END
        FROM deployments d, dataset s WHERE d.latitude IS NOT NULL ORDER BY d.id"""
    ):
        if country not in countries:
            continue
        far = _NEAR_BORDER + cell
        around = [(0.0, 0.0), *((north, east) for north in (-far, 0, far) for east in (-far, 0, far))]
        if not any(_may_be_in(country, latitude + north, longitude + east) for north, east in around):
            found.append(id_)
    return found


def _may_be_in(country: str, latitude: float, longitude: float) -> bool:
    """Whether nothing says that a place is in another country; of the sea nobody knows."""
    import tzfpy

    zones = tzfpy.get_tzs((longitude + 180) % 360 - 180, min(max(latitude, -90.0), 90.0))
    return not zones or any(country in _countries_of_zones().get(zone, (country,)) for zone in zones)


def _all_countries() -> frozenset[str]:
    return frozenset().union(*_countries_of_zones().values())


@cache
def _countries_of_zones() -> Mapping[str, frozenset[str]]:
    """Which countries, by their codes, are in a zone, as the IANA database lists them."""
    found: dict[str, set[str]] = {}
    for table in ("zone.tab", "zone1970.tab"):
        for line in resources.files("tzdata.zoneinfo").joinpath(table).read_text().splitlines():
            if not line.startswith("#"):
                codes, _, zone, *_ = line.split("\t")
                found.setdefault(zone, set()).update(codes.split(","))
    return {zone: frozenset(codes) for zone, codes in found.items()}
