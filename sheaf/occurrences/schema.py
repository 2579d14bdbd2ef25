"""The tables that are made of a project: one row for each occurrence, and all that hangs on it.

Here: their columns. Not here: the tables that arrive (`input_tables`), how these are made (`build`).

`position` numbers the occurrences of a project in the order of every export: by the start of their
session, its id, their own id. Whatever hangs on an occurrence carries its position and is sorted by
it, so that a writer can walk through ranges of positions with bounded memory.
"""

from sheaf.occurrences.input_tables import DATE_ONLY, OFFSET_TYPE, SHARE
from sheaf.tables.table import FLAG, INTEGER, REAL, TEXT, WALL_TIME, Column, ListOf, Table, column

_WALL = "wall time of the station"


def _offset(name: str, of: str) -> Column:
    return column(
        name,
        OFFSET_TYPE,
        f"Offset from UTC of {of}; empty where nobody can know, {DATE_ONLY} where only the date is known",
        "minute",
    )


BUILT = "occurrences"
"""The step that makes these tables."""
RANKS = ("kingdom", "phylum", "class", "order", "family", "genus")


def _table(name: str, description: str, *fields: Column, may_be_empty: bool = False) -> Table:
    return Table("occurrences", name, "project", fields, description, may_be_empty=may_be_empty)


_ID = column("id", INTEGER, "Primary key", null=False)
_POSITION = column("position", INTEGER, "Place of the occurrence in the order of all exports, from 0", null=False)

DATASET = _table(
    "dataset",
    "One row: what an archive says about itself.",
    column("project_id", INTEGER, "Project", null=False),
    column("name", TEXT, "Name of the project", null=False),
    column("title", TEXT, "Title of the dataset", null=False),
    column("description", TEXT, "What it is about", null=False),
    column("protocol", TEXT, "How animals are recorded", null=False),
    column("sampling_design", TEXT, "How stations were chosen", null=False),
    column("capture_method", TEXT, "What makes the cameras take images: JSON list", null=False),
    column("protocol_description", TEXT, "The same in a sentence or two", null=False),
    column("slug", TEXT, "Name in file names and identifiers, frozen at the first publication", null=False),
    column("draft", FLAG, "Readable by its members only", null=False),
    column("score_threshold", REAL, "Lowest score of the default filters", SHARE, null=False),
    column("licence", TEXT, "A licence's short name, or any text; empty when none is given", null=False),
    column("rights_holder", TEXT, "Holder of the rights", null=False),
    column("publisher", TEXT, "Organisation that publishes", null=False),
    column("owner", TEXT, "Name of the project's owner", null=False),
    column("contacts", TEXT, "Whom to ask: JSON list of {name, email, organisation, orcid}", null=False),
    column("api_url", TEXT, "Prefix of links to the source", null=False),
    column("country_code", TEXT, "ISO 3166-1 alpha-2 code of stations that name none", null=False),
    column("coordinate_uncertainty", REAL, "How well coordinates are known", "m"),
    column(
        "target_taxon",
        TEXT,
        "The taxon that is looked for, or the lowest that holds all that the default filters include",
        null=False,
    ),
    column("cell", REAL, "Width of the cell that sensitive stations are shown in", "degree", null=False),
)
_PLACE = (
    column(
        "latitude",
        REAL,
        "Latitude, WGS 84; empty with 0, 0; of a sensitive station the middle of its cell",
        "degree",
    ),
    column("longitude", REAL, "Longitude, in the same way", "degree"),
    column("uncertainty", REAL, "How far the station may be from there", "m"),
    column("country_code", TEXT, "ISO 3166-1 alpha-2 code of its country"),
    column("sensitive", FLAG, "Whether a sensitive taxon was ever found at the station: then it is hidden", null=False),
)
DEPLOYMENTS = _table(
    "deployments",
    "Stations.",
    _ID,
    column("name", TEXT, "Name; of a sensitive station its number only", null=False),
    *_PLACE,
    column("time_zone", TEXT, "IANA zone of its clock"),
    column("time_zone_from", TEXT, "Where that is from: `data`, `settings` or `coordinates`"),
)
EVENTS = _table(
    "events",
    "Sessions, by start and id.",
    _ID,
    column("deployment_id", INTEGER, "Station"),
    column("deployment_name", TEXT, "Its name"),
    *_PLACE,
    column("start", WALL_TIME, "First image; that of its images where the session has none", _WALL),
    _offset("start_offset", "that time"),
    column("end", WALL_TIME, "Last image; never before the first", _WALL),
    _offset("end_offset", "that time"),
    column("captures_count", INTEGER, "Images taken", "images", null=False),
    column("name", TEXT, "Weekday and date", null=False),
    column("date_label", TEXT, "Date or dates", null=False),
    column("updated_at", WALL_TIME, "When it was last changed", _WALL),
    _offset("updated_offset", "that time"),
)
_MEANING = (
    column(
        "is_taxon",
        FLAG,
        "False for what is no organism, such as `Not a Moth`, `Empty` or a vehicle, and for people",
        null=False,
    ),
    column("is_person", FLAG, "Whether it is a human being", null=False),
    column("scientific_name", TEXT, "The name at the lowest rank that was determined; empty where it is no taxon"),
    column("scientific_rank", TEXT, "Its rank in capitals"),
    column("qualifier", TEXT, "What is said beyond it, such as `cf. pronuba`"),
)
TAXA = _table(
    "taxa",
    "Taxa with their ancestry.",
    _ID,
    column("name", TEXT, "Scientific name without authorship", null=False),
    column("rank", TEXT, "Rank in capitals", null=False),
    *_MEANING,
    *(column(rank, TEXT, f"Name of its {rank}") for rank in RANKS),
    column("specific_epithet", TEXT, "Second word of a species' name"),
    column("common_name", TEXT, "English common name"),
    column("gbif_taxon_key", INTEGER, "Key in the GBIF backbone"),
    column("inat_taxon_id", INTEGER, "Key in iNaturalist"),
    column("fieldguide_id", TEXT, "Key in Fieldguide"),
    column("authorship", TEXT, "Author and year"),
    column("ancestors", ListOf(INTEGER), "Ids from the root to the parent", null=False),
    column("parents", TEXT, "Ancestors from the root to the parent, as JSON", null=False),
    column("shown_by_default", FLAG, "Whether the default filters let it through", null=False),
)
ALGORITHMS = _table(
    "algorithms",
    "Algorithms that detected or classified.",
    _ID,
    column("name", TEXT, "Name", null=False),
    column("key", TEXT, "Short name", null=False),
    column("version", INTEGER, "Version"),
    column("version_name", TEXT, "Version as people call it"),
    column("created_at", WALL_TIME, "When it was registered", _WALL),
    column("updated_at", WALL_TIME, "When it was last changed", _WALL),
)
COLLECTIONS = _table("collections", "Capture sets.", _ID, column("name", TEXT, "Name", null=False), may_be_empty=True)
COLLECTION_OCCURRENCES = _table(
    "collection_occurrences",
    "Which occurrence was seen on an image of which capture set.",
    column("collection_id", INTEGER, "Capture set", null=False),
    _POSITION,
    may_be_empty=True,
)
DETECTIONS = _table(
    "detections",
    "Detections of the occurrences, with where and how they can be seen.",
    _POSITION,
    column("occurrence_id", INTEGER, "Occurrence", null=False),
    _ID,
    column("capture_id", INTEGER, "Image", null=False),
    column("timestamp", WALL_TIME, "When it was seen", _WALL),
    _offset("timestamp_offset", "that time"),
    column("bbox", TEXT, "Bounding box [x1, y1, x2, y2] in pixels, as JSON", null=False),
    column("width", REAL, "Width of the box", "px"),
    column("height", REAL, "Height of the box", "px"),
    column("url", TEXT, "Crop; empty when it is not public"),
    column("capture_url", TEXT, "Whole image; empty when it is not public"),
    column("capture_time", WALL_TIME, "When the image was taken", _WALL),
    _offset("capture_offset", "that time"),
    column("capture_width", INTEGER, "Width of the whole image", "px"),
    column("capture_height", INTEGER, "Height of the whole image", "px"),
    column("detection_score", REAL, "Score of the detection", SHARE),
    column("algorithm_id", INTEGER, "Algorithm that found it"),
    column("score", REAL, "Highest score of its predictions", SHARE),
)
PREDICTIONS = _table(
    "predictions",
    "Classifications of the detections.",
    _POSITION,
    column("detection_id", INTEGER, "Detection", null=False),
    _ID,
    column("taxon_id", INTEGER, "Predicted taxon", null=False),
    column("algorithm_id", INTEGER, "Algorithm that predicted it"),
    column("applied_to_id", INTEGER, "Classification it was made from"),
    column("score", REAL, "Score", SHARE),
    column("terminal", FLAG, "Not an intermediate step", null=False),
    column("created_at", WALL_TIME, "When it was made", _WALL),
    column("timestamp", WALL_TIME, "When it was predicted", _WALL),
)
IDENTIFICATIONS = _table(
    "identifications",
    "What people held the occurrences to be, newest first.",
    _POSITION,
    _ID,
    column("user_id", INTEGER, "Who"),
    column("user_name", TEXT, "Display name, or `user:<id>`"),
    column("taxon_id", INTEGER, "As what"),
    column("withdrawn", FLAG, "Taken back: it does not count", null=False),
    column("comment", TEXT, "What the identifier wrote", null=False),
    column("created_at", WALL_TIME, "When", _WALL),
)
MEMBERS = _table(
    "members",
    "Who may do what with the project's exports; empty when the source names no members.",
    column("user_id", INTEGER, "User", null=False),
    column("role", TEXT, "Role", null=False),
)
OCCURRENCES_TABLE = _table(
    "occurrences",
    "Occurrences with their best detection, prediction and identification.",
    _POSITION,
    _ID,
    column("event_id", INTEGER, "Session"),
    column("event_name", TEXT, "Weekday and date of the session"),
    column("event_start", WALL_TIME, "Start of the session", _WALL),
    column("deployment_id", INTEGER, "Station"),
    column("deployment_name", TEXT, "Name of the station"),
    column("determination_id", INTEGER, "Taxon it is held to be", null=False),
    column("determination_name", TEXT, "Its name", null=False),
    column("determination_score", REAL, "Score of the determination; 1 where a human decided", SHARE),
    column("rank", TEXT, "Rank of the taxon in capitals", null=False),
    *_MEANING,
    *(column(rank, TEXT, f"Name of its {rank}") for rank in RANKS),
    column("specific_epithet", TEXT, "Second word of a species' name"),
    column("common_name", TEXT, "English common name"),
    column("gbif_taxon_key", INTEGER, "Key in the GBIF backbone"),
    column("authorship", TEXT, "Author and year of the name"),
    column("shown_by_default", FLAG, "Whether the default filters let it through", null=False),
    column("verified", FLAG, "Whether an identification counts", null=False),
    column("participant_count", INTEGER, "Different users whose identifications count", null=False),
    column("verified_by", TEXT, "Name on the best identification"),
    column("identification_id", INTEGER, "Best identification: the newest that counts"),
    column("agreed_with_algorithm", TEXT, "Algorithm of the prediction it agreed with"),
    column("agreed_with_user", TEXT, "Name on the identification it agreed with"),
    column("prediction_id", INTEGER, "Best prediction: terminal first, then highest score, then highest id"),
    column("prediction_taxon_id", INTEGER, "Its taxon"),
    column("prediction_name", TEXT, "Name of its taxon"),
    column("prediction_algorithm", TEXT, "Name of its algorithm"),
    column("prediction_score", REAL, "Its score", SHARE),
    column("identified_by", TEXT, "Person, or algorithm and version"),
    column("identified_at", WALL_TIME, "When", _WALL),
    _offset("identified_offset", "that time"),
    column("detections_count", INTEGER, "Detections", null=False),
    column("individual_count", INTEGER, "How many animals there were together", "individuals", null=False),
    column("basis_of_record", TEXT, "MachineObservation or HumanObservation", null=False),
    column("first_appearance", WALL_TIME, "First detection", _WALL),
    _offset("first_offset", "that time"),
    column("last_appearance", WALL_TIME, "Last detection", _WALL),
    _offset("last_offset", "that time"),
    column("detection_id", INTEGER, "Best detection: highest score of its predictions, then lowest id", null=False),
    column("detection_url", TEXT, "Its crop"),
    column("detection_bbox", TEXT, "Its bounding box, as JSON", null=False),
    column("detection_width", REAL, "Width of its box", "px"),
    column("detection_height", REAL, "Height of its box", "px"),
    column("detection_capture_url", TEXT, "Its whole image"),
    column("created_at", WALL_TIME, "When it was made", _WALL),
    column("updated_at", WALL_TIME, "When it was last changed", _WALL),
    _offset("updated_offset", "that time"),
)

DERIVED: tuple[Table, ...] = (
    OCCURRENCES_TABLE,
    EVENTS,
    DEPLOYMENTS,
    DETECTIONS,
    PREDICTIONS,
    IDENTIFICATIONS,
    TAXA,
    ALGORITHMS,
    COLLECTIONS,
    COLLECTION_OCCURRENCES,
    MEMBERS,
    DATASET,
)
