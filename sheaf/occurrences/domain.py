"""Occurrences, start here: what is read from an Antenna project, what is made of it, what is published.

Here: steps, series and what each depends on, as declarations. Not here: any work.
"""

from sheaf.exports.series import Series
from sheaf.later import later
from sheaf.occurrences import choices, schema
from sheaf.occurrences.input_tables import REJECTED, SOURCES
from sheaf.occurrences.writers.request import ArchiveOptions, OccurrenceFilter, check_filter
from sheaf.steps import Choices, Domain, Step

_NAME = "occurrences"

READING = Step(
    "records",
    "A project's tables as its source has them: typed, checked, with what could not be used in `rejects`.",
    writes=(*(source.table for source in SOURCES), REJECTED),
    settings=("source_time_zone", "time_zone"),
    version=8,
    pool="ingest",
)
BUILDING = Step(
    schema.BUILT,
    "Occurrences with best detection, prediction and identification, their events, stations and taxa.",
    writes=schema.DERIVED,
    reads=READING.writes,
    work=later("sheaf.occurrences.analysis.build:build_occurrences"),
    version=10,
    hides=("sensitive_taxa", "people"),
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
        "country_codes",
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
            later("sheaf.occurrences.writers.occurrences_simple_csv:write_csv"),
            later("sheaf.occurrences.writers.occurrences_simple_csv:verify_csv"),
            check=check_filter,
            authorise=later("sheaf.occurrences.roles:check_role"),
            filter=OccurrenceFilter,
            kinds=("csv",),
            row_key=("id",),
        ),
        Series(
            _NAME,
            "occurrences_api_json",
            "Occurrences as the API of Antenna gives them, with all detections, predictions and identifications.",
            schema.DERIVED,
            later("sheaf.occurrences.writers.occurrences_api_json:write_json"),
            later("sheaf.occurrences.writers.occurrences_api_json:verify_json"),
            check=check_filter,
            authorise=later("sheaf.occurrences.roles:check_role"),
            filter=OccurrenceFilter,
            kinds=("json",),
            row_key=("id",),
        ),
        Series(
            _NAME,
            "dwca",
            "Darwin Core Archive: events and their occurrences; profile=gbif adds effort, media and measurements.",
            schema.DERIVED,
            later("sheaf.occurrences.writers.dwca:write_dwca"),
            later("sheaf.occurrences.writers.dwca_verify:verify_dwca"),
            check=check_filter,
            authorise=later("sheaf.occurrences.roles:check_role"),
            version=3,
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
            later("sheaf.occurrences.writers.camtrap_dp:write_camtrap_dp"),
            later("sheaf.occurrences.writers.camtrap_dp:verify_camtrap_dp"),
            check=check_filter,
            authorise=later("sheaf.occurrences.roles:check_role"),
            filter=OccurrenceFilter,
            version=4,
            kinds=("camtrap-dp", "zip"),
            row_key=("observationID",),
        ),
        Series(
            _NAME,
            "taxa_csv",
            "One line for each taxon: first and last seen, when it peaks, how often at which station.",
            schema.DERIVED,
            later("sheaf.occurrences.writers.taxa_csv:write_taxa"),
            later("sheaf.occurrences.writers.taxa_csv:verify_taxa"),
            check=check_filter,
            authorise=later("sheaf.occurrences.roles:check_role"),
            filter=OccurrenceFilter,
            kinds=("csv",),
            row_key=("scientificName",),
        ),
        Series(
            _NAME,
            "validation_json",
            "What GBIF will say of the archive: issues by GBIF's names, with counts and examples.",
            schema.DERIVED,
            later("sheaf.occurrences.writers.validation_json:write_validation"),
            later("sheaf.occurrences.writers.validation_json:verify_validation"),
            check=check_filter,
            authorise=later("sheaf.occurrences.roles:check_role"),
            filter=OccurrenceFilter,
            kinds=("json",),
        ),
        Series(
            _NAME,
            "season_html",
            "A season on one page: map of the stations, activity by hour and date, accumulation of taxa, their table.",
            schema.DERIVED,
            later("sheaf.occurrences.writers.season_html:write_season"),
            later("sheaf.occurrences.writers.season_html:verify_season"),
            check=check_filter,
            authorise=later("sheaf.occurrences.roles:check_role"),
            filter=OccurrenceFilter,
            kinds=("html",),
        ),
    ),
    in_one_run=10,  # they can be large
    choices=Choices(choices.TABLES, choices.facts, choices.values),
    licence=choices.licence,
)
