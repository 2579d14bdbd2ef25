"""The formats in which occurrences are published."""

from functools import partial

from sheaf.exports.series import Domain, Series
from sheaf.occurrences import schema
from sheaf.occurrences.csv_export import verify_csv, write_csv
from sheaf.occurrences.dwca import write_dwca
from sheaf.occurrences.dwca_check import verify_dwca
from sheaf.occurrences.json_export import verify_json, write_json
from sheaf.occurrences.request import ArchiveOptions, OccurrenceFilter, check_filter
from sheaf.occurrences.roles import Action, check_role
from sheaf.occurrences.settings import OccurrencesSettings
from sheaf.store import Store

_NAME = "occurrences"


def occurrences_domain(settings: OccurrencesSettings) -> Domain:
    """The domain with the checks that an installation wants."""

    def authorise(store: Store, project: str, action: str, member: str) -> None:
        check_role(store, project, Action(action), member, settings)

    return Domain(
        _NAME,
        "project",
        schema.REJECTS,
        (
            Series(
                _NAME,
                "occurrences_simple_csv",
                "One line for each occurrence: determination, best prediction, who verified it, best detection.",
                schema.DERIVED,
                write_csv,
                verify_csv,
                check=check_filter,
                authorise=authorise,
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
                authorise=authorise,
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
                partial(verify_dwca, schemas=settings.schemas),
                check=check_filter,
                authorise=authorise,
                options=ArchiveOptions,
                filter=OccurrenceFilter,
                kinds=("dwca", "zip"),
                row_key=("occurrenceID",),
            ),
        ),
    )


OCCURRENCES = occurrences_domain(OccurrencesSettings())
