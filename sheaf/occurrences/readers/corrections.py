"""Faults that cost a row some of its values, but not the row itself.

Here: coordinates, ancestors and bounding boxes. Not here: faults for which a row is rejected (`values`,
`ingest`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sheaf.occurrences.input_tables import DATE_ONLY

_FARTHEST = 20_037_508  # metres, half the way round the equator
_PARENTS = """from_json({0}, '[{{"id":"BIGINT","name":"VARCHAR","rank":"VARCHAR"}}]')"""


@dataclass(frozen=True)
class Soft:
    """A fault that costs a row some values, but not the row itself.

    Attributes:
        condition: SQL on the table `checked`.
        emptied: columns that lose their value; none where the row is used as it is.
    """

    condition: str
    code: str
    reason: str
    emptied: tuple[str, ...] = ()


SOFT: Mapping[str, tuple[Soft, ...]] = {
    "main_deployment": (
        Soft(
            "coalesce(isnan(latitude) OR isnan(longitude) OR abs(latitude) > 90 OR abs(longitude) > 180, false)"
            " OR (latitude IS NULL) <> (longitude IS NULL)",
            "bad_coordinates",
            "The coordinates are not a latitude within ±90 and a longitude within ±180: kept without coordinates",
            ("latitude", "longitude"),
        ),
        Soft(
            f"coalesce(NOT isfinite(coordinate_uncertainty) OR coordinate_uncertainty NOT BETWEEN 0 AND {_FARTHEST}"
            " OR coordinate_uncertainty = 0, false)",
            "bad_uncertainty",
            "coordinate_uncertainty is not a number of metres above zero, on this earth: kept without it",
            ("coordinate_uncertainty",),
        ),
        Soft(
            "time_zone NOT IN (SELECT name FROM pg_timezone_names())",
            "bad_time_zone",
            "time_zone is not a zone of the IANA database, such as Europe/Oslo: kept without it",
            ("time_zone",),
        ),
        Soft(
            "NOT regexp_full_match(trim(country_code), '[A-Za-z]{2}')",
            "bad_country_code",
            "country_code is not a code of two letters, such as NO: kept without it",
            ("country_code",),
        ),
    ),
    "main_event": (
        Soft(
            f'CASE WHEN {DATE_ONLY} IN (start_offset, end_offset) THEN "end"::DATE < start::DATE'
            ' ELSE "end" - to_minutes(coalesce(end_offset, 0)) < start - to_minutes(coalesce(start_offset, 0)) END',
            "end_before_start",
            "end is before start: kept without an end",
            ("end", "end_offset"),
        ),
    ),
    "main_taxon": (
        Soft(
            "CASE WHEN parents_json IS NULL THEN false WHEN NOT json_valid(parents_json) THEN true"
            " WHEN json_type(parents_json) <> 'ARRAY' THEN true"
            f" ELSE len(list_filter({_PARENTS.format('parents_json')}, lambda p: p IS NULL OR p.id IS NULL"
            " OR p.name IS NULL)) > 0 END",
            "bad_ancestors",
            "parents_json is not a list of {id, name, rank}: kept without ancestors",
            ("parents_json",),
        ),
        Soft(
            "id IN (WITH edge AS (SELECT c.id AS child, unnest("
            + _PARENTS.format("c.parents_json")
            + ").id AS parent FROM checked c WHERE c.fault IS NULL AND c.own"
            " AND c.parents_json IS NOT NULL)"
            " SELECT child FROM edge WHERE child = parent UNION"
            " SELECT a.child FROM edge a JOIN edge b ON a.child = b.parent AND a.parent = b.child)",
            "circular_ancestors",
            "parents_json goes round in a circle: kept without ancestors",
            ("parents_json",),
        ),
    ),
    "main_occurrence": (
        Soft(
            "individual_count < 1",
            "bad_count",
            "individual_count is not a number from 1: kept without it",
            ("individual_count",),
        ),
        Soft(
            "basis_of_record NOT IN ('MachineObservation', 'HumanObservation')",
            "bad_basis",
            "basis_of_record is neither MachineObservation nor HumanObservation: kept without it",
            ("basis_of_record",),
        ),
    ),
    "main_detection": (
        Soft(
            "CASE WHEN bbox IS NULL OR bbox = '[]' THEN false WHEN NOT json_valid(bbox) THEN true"
            " WHEN json_type(bbox) <> 'ARRAY' THEN true ELSE json_array_length(bbox) <> 4 OR"
            """ len(list_filter(from_json(bbox, '["DOUBLE"]'), lambda v: isfinite(v))) <> 4 END""",
            "bad_box",
            "bbox is not a list of four numbers: kept without a size",
        ),
    ),
}
