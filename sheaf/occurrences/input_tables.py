"""The tables of an Antenna project, as its database names them: what arrives.

Here: which columns are read and what must hold for each. Columns that are not listed are never read:
not e-mail addresses, not the logits and scores of a classification. Not here: what is made from
them (`schema`), reading (`table_files`, `postgres`, `api`) and checking (`ingest`).
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from sheaf.tables.table import FLAG, INTEGER, REAL, TEXT, WALL_TIME, Column, Table, column

OFFSET, OFFSET_TYPE = "_offset", "int16"  # minutes from UTC
DATE_ONLY = 24 * 60
"""In the place of an offset, which is never so large: of this time only the date is known, its clock shows midnight."""
SHARE = "proportion"


@dataclass(frozen=True)
class Source:
    """One table that arrives.

    Attributes:
        table: where its good rows are kept.
        references: which of its columns point to which other table.
        defaults: SQL literals for flags and texts that arrive empty.
        of_project: how its rows belong to a project, for a database that holds several: an SQL
            condition on the row `t` with `{project}` for the project's id.
        asked: columns that must be there, though single values may be missing.
    """

    table: Table
    references: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)
    of_project: str = "true"
    asked: tuple[str, ...] = ()

    def lacks(self, delivered: Collection[str]) -> str | None:
        """A column without which the table is of no use, and which was not delivered."""
        for one in self.table.schema:
            needed = not one.nullable and one.name not in self.defaults
            if (needed or one.name in self.asked) and one.name not in delivered:
                return one.name
        return None

    @property
    def name(self) -> str:
        """Its name in the database and of its file in the inbox."""
        return self.table.name

    @property
    def columns(self) -> list[str]:
        """The columns that arrive: an offset is part of the time beside it."""
        return [name for name in self.table.schema.names if not name.endswith(OFFSET)]

    @property
    def needed(self) -> bool:
        """Whether a project is unusable without it."""
        return bool(self.table.needed)

    @property
    def keyed(self) -> bool:
        """Whether its rows are told apart by `id`; link tables have none of their own."""
        return "id" in self.table.schema.names


def _key(name: str, description: str, *, null: bool = True) -> Column:
    return column(name, INTEGER, description, null=null)


def _text(name: str, description: str, *, null: bool = True) -> Column:
    return column(name, TEXT, description, null=null)


def _flag(name: str, description: str) -> Column:
    return column(name, FLAG, description, null=False)


def _share(name: str, description: str) -> Column:
    return column(name, REAL, description, SHARE)


def _time(name: str, description: str) -> tuple[Column, Column]:
    """A time as it was written, and the offset that was written with it."""
    return (
        column(name, WALL_TIME, description, "wall time as written"),
        column(
            name + OFFSET,
            OFFSET_TYPE,
            f"Offset from UTC that was written with {name}, if any; {DATE_ONLY} where it is only a date",
            "minute",
        ),
    )


_ID = _key("id", "Primary key", null=False)
_STAMPS = (*_time("created_at", "When the row was made"), *_time("updated_at", "When it was last changed"))


def _table(name: str, *fields: Column, needed: str = "", may_be_empty: bool = False) -> Table:
    description = f"Rows of {name} as they arrived, checked."
    return Table("occurrences", name, "project", fields, description, needed=needed, may_be_empty=may_be_empty)


_LONELY = (  # of detections that no occurrence was made of: what they show may have to be withheld
    "{t}.occurrence_id IS NULL AND {t}.bbox IS NOT NULL AND EXISTS"
    " (SELECT 1 FROM main_sourceimage i WHERE i.id = {t}.source_image_id AND i.project_id = {{project}})"
)
_BY_OCCURRENCE = "EXISTS (SELECT 1 FROM main_occurrence o WHERE o.id = t.occurrence_id AND o.project_id = {project})"

PROJECT = Source(
    _table(
        "main_project",
        _ID,
        _text("name", "Name of the project", null=False),
        _text("description", "What it is about", null=False),
        _key("owner_id", "User who owns it"),
        _flag("draft", "Readable by its members only"),
        _flag("active", "In use"),
        _share("default_filters_score_threshold", "Lowest score of the default filters"),
        _text("license", "Licence of the data", null=False),
        _text("rights_holder", "Holder of the rights", null=False),
        _text("protocol", "How animals are recorded, where that is not by automated cameras"),
        _text("protocol_description", "The same in a sentence or two"),
        *_STAMPS,
        needed="rows of main_project",
    ),
    defaults={
        "description": "''",
        "draft": "false",
        "active": "true",
        "license": "''",
        "rights_holder": "''",
        "default_filters_score_threshold": "0.5",
    },
    of_project="t.id = {project}",
)
INCLUDED_TAXA = Source(
    _table(
        "main_project_default_filters_include_taxa",
        _key("project_id", "Project", null=False),
        _key("taxon_id", "Taxon shown by default, with its descendants", null=False),
        may_be_empty=True,
    ),
    references={"taxon_id": "main_taxon"},
    of_project="t.project_id = {project}",
)
EXCLUDED_TAXA = Source(
    _table(
        "main_project_default_filters_exclude_taxa",
        _key("project_id", "Project", null=False),
        _key("taxon_id", "Taxon hidden by default, with its descendants", null=False),
        may_be_empty=True,
    ),
    references={"taxon_id": "main_taxon"},
    of_project="t.project_id = {project}",
)
MEMBERS = Source(
    _table(  # not `may_be_empty`: without members everybody may do everything
        "main_project_members",
        _key("project_id", "Project", null=False),
        _key("user_id", "User", null=False),
        _text("role", "Role in the project, such as `researcher`", null=False),
    ),
    of_project="t.project_id = {project}",
)
USER = Source(_table("users_user", _ID, _text("name", "Display name", null=False)), defaults={"name": "''"})
DEPLOYMENT = Source(
    _table(
        "main_deployment",
        _ID,
        _text("name", "Name of the station", null=False),
        _key("project_id", "Project"),
        column("latitude", REAL, "Latitude, WGS 84", "degree"),
        column("longitude", REAL, "Longitude, WGS 84", "degree"),
        column("coordinate_uncertainty", REAL, "How far the station may be from there", "m"),
        _text("time_zone", "IANA zone of its clock"),
        _text("country_code", "ISO 3166-1 alpha-2 code of the country it is in"),
        *_STAMPS,
        needed="rows of main_deployment",
    ),
    defaults={"name": "''"},
    of_project="t.project_id = {project}",
)
EVENT = Source(
    _table(
        "main_event",
        _ID,
        _key("deployment_id", "Station"),
        _key("project_id", "Project"),
        _text("group_by", "What its images have in common, usually the date of the start"),
        *_time("start", "First image"),
        *_time("end", "Last image"),
        column("captures_count", INTEGER, "Images taken", "images"),
        *_STAMPS,
        needed="rows of main_event",
    ),
    references={"deployment_id": "main_deployment"},
    of_project="t.project_id = {project}",
    asked=("start",),
)
IMAGE = Source(
    _table(
        "main_sourceimage",
        _ID,
        _text("path", "Path below the public base URL", null=False),
        _text("public_base_url", "Where the images can be seen; empty when they cannot"),
        *_time("timestamp", "When it was taken"),
        column("width", INTEGER, "Width", "px"),
        column("height", INTEGER, "Height", "px"),
        _key("deployment_id", "Station"),
        _key("event_id", "Session"),
        _key("project_id", "Project"),
        *_STAMPS,
    ),
    references={"deployment_id": "main_deployment", "event_id": "main_event"},
    defaults={"path": "''"},
    of_project="t.project_id = {project}",
)
COLLECTION = Source(
    _table(
        "main_sourceimagecollection",
        _ID,
        _text("name", "Name of the capture set", null=False),
        _key("project_id", "Project"),
        *_STAMPS,
        may_be_empty=True,
    ),
    defaults={"name": "''"},
    of_project="t.project_id = {project}",
)
COLLECTION_IMAGE = Source(
    _table(
        "main_sourceimagecollection_images",
        _key("sourceimagecollection_id", "Capture set", null=False),
        _key("sourceimage_id", "Image", null=False),
        may_be_empty=True,
    ),
    references={"sourceimagecollection_id": "main_sourceimagecollection", "sourceimage_id": "main_sourceimage"},
    of_project=(
        "EXISTS (SELECT 1 FROM main_sourceimagecollection c"
        " WHERE c.id = t.sourceimagecollection_id AND c.project_id = {project})"
    ),
)
TAXON = Source(
    _table(
        "main_taxon",
        _ID,
        _text("name", "Scientific name without authorship", null=False),
        _text("rank", "Rank in capitals", null=False),
        _text("parents_json", "Ancestors from the root to the parent: JSON list of {id, name, rank}"),
        _text("common_name_en", "English common name"),
        column("gbif_taxon_key", INTEGER, "Key in the GBIF backbone"),
        column("inat_taxon_id", INTEGER, "Key in iNaturalist"),
        _text("fieldguide_id", "Key in Fieldguide"),
        _text("author", "Author of the name"),
        column("authorship_date", TEXT, "Date of the name"),
        _key("synonym_of_id", "Accepted taxon, where the name is a synonym"),
        *_STAMPS,
        needed="rows of main_taxon",
    ),
    defaults={"rank": "'UNKNOWN'"},
)
ALGORITHM = Source(
    _table(
        "ml_algorithm",
        _ID,
        _text("name", "Name", null=False),
        _text("key", "Short name", null=False),
        column("version", INTEGER, "Version"),
        _text("version_name", "Version as people call it"),
        _text("task_type", "What it does"),
        *_STAMPS,
    ),
    defaults={"name": "''", "key": "''"},
)
OCCURRENCE = Source(
    _table(
        "main_occurrence",
        _ID,
        _key("determination_id", "Taxon it is held to be"),
        _share("determination_score", "Score of that; 1 where a human decided"),
        _key("event_id", "Session"),
        _key("deployment_id", "Station"),
        _key("project_id", "Project"),
        column("individual_count", INTEGER, "How many there were together; one where nothing is said", "individuals"),
        _text("basis_of_record", "What the record is, in a word of Darwin Core; MachineObservation where none is said"),
        *_STAMPS,
        needed="rows of main_occurrence",
    ),
    references={"determination_id": "main_taxon", "event_id": "main_event", "deployment_id": "main_deployment"},
    of_project="t.project_id = {project}",
)
DETECTION = Source(
    _table(
        "main_detection",
        _ID,
        _key("source_image_id", "Image", null=False),
        _key("occurrence_id", "Occurrence"),
        _key("detection_algorithm_id", "Algorithm that found it"),
        _text("bbox", "Bounding box [x1, y1, x2, y2] in pixels as JSON; empty when nothing was found"),
        _text("path", "Crop: URL or path"),
        *_time("timestamp", "When it was seen"),
        _share("detection_score", "Score of the detection"),
        *_STAMPS,
        needed="rows of main_detection",
    ),
    references={
        "source_image_id": "main_sourceimage",
        "occurrence_id": "main_occurrence",
        "detection_algorithm_id": "ml_algorithm",
    },
    of_project=f"{_BY_OCCURRENCE} OR ({_LONELY.format(t='t')})",
)
CLASSIFICATION = Source(
    _table(
        "main_classification",
        _ID,
        _key("detection_id", "Detection"),
        _key("taxon_id", "Predicted taxon"),
        _key("algorithm_id", "Algorithm that predicted it"),
        _key("applied_to_id", "Classification it was made from"),
        _share("score", "Score of the prediction"),
        _flag("terminal", "Not an intermediate step"),
        *_time("timestamp", "When it was predicted"),
        *_STAMPS,
    ),
    references={"detection_id": "main_detection", "taxon_id": "main_taxon", "algorithm_id": "ml_algorithm"},
    defaults={"terminal": "true"},
    of_project=(
        "EXISTS (SELECT 1 FROM main_detection d JOIN main_occurrence o ON o.id = d.occurrence_id"
        " WHERE d.id = t.detection_id AND o.project_id = {project})"
        f" OR EXISTS (SELECT 1 FROM main_detection d WHERE d.id = t.detection_id AND {_LONELY.format(t='d')})"
    ),
)
IDENTIFICATION = Source(
    _table(
        "main_identification",
        _ID,
        _key("occurrence_id", "Occurrence", null=False),
        _key("user_id", "Who identified it"),
        _key("taxon_id", "As what"),
        _key("agreed_with_identification_id", "Identification agreed with"),
        _key("agreed_with_prediction_id", "Classification agreed with"),
        _flag("withdrawn", "Taken back: it does not count"),
        _text("comment", "What the identifier wrote", null=False),
        *_STAMPS,
    ),
    references={"occurrence_id": "main_occurrence", "taxon_id": "main_taxon"},
    defaults={"withdrawn": "false", "comment": "''"},
    of_project=_BY_OCCURRENCE,
)

SOURCES: tuple[Source, ...] = (  # a table comes after those it refers to
    PROJECT,
    USER,
    MEMBERS,
    TAXON,
    INCLUDED_TAXA,
    EXCLUDED_TAXA,
    ALGORITHM,
    DEPLOYMENT,
    EVENT,
    IMAGE,
    COLLECTION,
    COLLECTION_IMAGE,
    OCCURRENCE,
    DETECTION,
    CLASSIFICATION,
    IDENTIFICATION,
)

REJECTED = _table(
    "rejected_keys",
    column("table", TEXT, "Table that a rejected row was meant for", null=False),
    _key("id", "Its primary key"),
    _key("taxon_id", "Taxon that was seen"),
    _key("occurrence_id", "Occurrence"),
    _key("detection_id", "Detection"),
    _key("source_image_id", "Image"),
    _key("event_id", "Session"),
    _key("deployment_id", "Station"),
    may_be_empty=True,
)
"""Where rejected rows lead to: whom or what they show is withheld as if they could be used."""
REJECTED_FROM = {
    "main_event": ("id", "deployment_id"),
    "main_sourceimage": ("id", "event_id", "deployment_id"),
    "main_occurrence": ("id", "determination_id AS taxon_id", "event_id", "deployment_id"),
    "main_detection": ("id", "occurrence_id", "source_image_id"),
    "main_classification": ("id", "detection_id", "taxon_id"),
    "main_identification": ("id", "occurrence_id", "CASE WHEN NOT withdrawn THEN taxon_id END AS taxon_id"),
}
"""Tables whose rejected rows may tell that, and by which columns."""
