"""Occurrences, start here: what is read from an Antenna project, what is made of it, what is published.

Here: steps, series and what each depends on, as declarations. Not here: any work.
"""

from sheaf.exports.series import Series
from sheaf.occurrences import choices, schema
from sheaf.occurrences.analysis.build import STEP, build_occurrences
from sheaf.occurrences.input_tables import SOURCES
from sheaf.occurrences.roles import check_role
from sheaf.occurrences.writers.camtrap_dp import verify_camtrap_dp, write_camtrap_dp
from sheaf.occurrences.writers.dwca import write_dwca
from sheaf.occurrences.writers.dwca_verify import verify_dwca
from sheaf.occurrences.writers.occurrences_api_json import verify_json, write_json
from sheaf.occurrences.writers.occurrences_simple_csv import verify_csv, write_csv
from sheaf.occurrences.writers.request import ArchiveOptions, OccurrenceFilter, check_filter
from sheaf.occurrences.writers.season_html import verify_season, write_season
from sheaf.occurrences.writers.taxa_csv import verify_taxa, write_taxa
from sheaf.occurrences.writers.validation_json import verify_validation, write_validation
from sheaf.steps import Choices, Domain, Step

_NAME = "occurrences"

READING = Step(
    "records",
    "A project's tables as its source has them: typed, checked, with what could not be used in `rejects`.",
    writes=tuple(source.table for source in SOURCES),
    settings=("source_time_zone",),
    version=5,
    pool="ingest",
)
BUILDING = Step(
    STEP,
    "Occurrences with best detection, prediction and identification, their events, stations and taxa.",
    writes=schema.DERIVED,
    reads=READING.writes,
    work=build_occurrences,
    version=6,
    settings=(
        "title",
        "protocol",
        "protocol_description",
        "sampling_design",
        "capture_method",
        "taxonomic_scope",
        "licence",
        "rights_holder",
        "publisher",
        "contacts",
        "contact_name",
        "contact_email",
        "api_url",
        "media_url",
        "country_code",
        "coordinate_uncertainty_m",
        "sensitive_taxa",
        "sensitive_cell_degrees",
        "time_zone",
        "not_taxa",
        "people",
    ),
)

OCCURRENCES = Domain(
    _NAME,
    "project",
    steps=(READING, BUILDING),
    series=(
        Series(
            _NAME,
            "occurrences_simple_csv",
            "One line for each occurrence: determination, best prediction, who verified it, best detection.",
            schema.DERIVED,
            write_csv,
            verify_csv,
            check=check_filter,
            authorise=check_role,
            filter=OccurrenceFilter,
            kinds=("csv",),
            row_key=("id",),
        ),
        Series(
            _NAME,
            "occurrences_api_json",
            "Occurrences as the API of Antenna gives them, with all detections, predictions and identifications.",
            schema.DERIVED,
            write_json,
            verify_json,
            check=check_filter,
            authorise=check_role,
            filter=OccurrenceFilter,
            kinds=("json",),
            row_key=("id",),
        ),
        Series(
            _NAME,
            "dwca",
            "Darwin Core Archive: events and their occurrences; profile=gbif adds effort, media and measurements.",
            schema.DERIVED,
            write_dwca,
            verify_dwca,
            check=check_filter,
            authorise=check_role,
            version=2,
            options=ArchiveOptions,
            filter=OccurrenceFilter,
            kinds=("dwca", "zip"),
            row_key=("occurrenceID",),
        ),
        Series(
            _NAME,
            "camtrap_dp",
            "Camtrap DP 1.0: a data package of deployments, media, and observations of events and of single media.",
            schema.DERIVED,
            write_camtrap_dp,
            verify_camtrap_dp,
            check=check_filter,
            authorise=check_role,
            filter=OccurrenceFilter,
            version=3,
            kinds=("camtrap-dp", "zip"),
            row_key=("observationID",),
        ),
        Series(
            _NAME,
            "taxa_csv",
            "One line for each taxon: first and last seen, when it peaks, how often at which station.",
            schema.DERIVED,
            write_taxa,
            verify_taxa,
            check=check_filter,
            authorise=check_role,
            filter=OccurrenceFilter,
            kinds=("csv",),
            row_key=("scientificName",),
        ),
        Series(
            _NAME,
            "validation_json",
            "What GBIF will say of the archive: issues by GBIF's names, with counts and examples.",
            schema.DERIVED,
            write_validation,
            verify_validation,
            check=check_filter,
            authorise=check_role,
            filter=OccurrenceFilter,
            kinds=("json",),
        ),
        Series(
            _NAME,
            "season_html",
            "A season on one page: map of the stations, activity by hour and date, accumulation of taxa, their table.",
            schema.DERIVED,
            write_season,
            verify_season,
            check=check_filter,
            authorise=check_role,
            filter=OccurrenceFilter,
            kinds=("html",),
        ),
    ),
    in_one_run=10,  # they can be large
    choices=Choices(choices.TABLES, choices.facts, choices.values),
    licence=choices.licence,
)
