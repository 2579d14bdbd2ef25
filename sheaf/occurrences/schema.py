"""The tables that are made of a project: one row for each occurrence, and all that hangs on it.

Here: their columns. Not here: the tables that arrive (`input_tables`), how these are made (`build`).

`position` numbers the occurrences of a project in the order of every export: by the start of their
session, its id, their own id. Whatever hangs on an occurrence carries its position and is sorted by
it, so that a writer can walk through ranges of positions with bounded memory.
"""

import pyarrow as pa

from sheaf.occurrences.input_tables import DATE_ONLY, OFFSET_TYPE, SHARE, WALL_TIME
from sheaf.tables.table import Table, column

_INT, _TEXT, _FLAG, _NUMBER = pa.int64(), pa.string(), pa.bool_(), pa.float64()
_WALL = "wall time of the station"


def _offset(name: str, of: str) -> pa.Field:
    return column(
        name,
        OFFSET_TYPE,
        f"Offset from UTC of {of}; empty where nobody can know, {DATE_ONLY} where only the date is known",
        "minute",
    )


RANKS = ("kingdom", "phylum", "class", "order", "family", "genus")


def _table(name: str, description: str, *fields: pa.Field, may_be_empty: bool = False) -> Table:
    return Table("occurrences", name, "project", pa.schema(fields), description, may_be_empty=may_be_empty)


_ID = column("id", _INT, "Primary key", null=False)
_POSITION = column("position", _INT, "Place of the occurrence in the order of all exports, from 0", null=False)

DATASET = _table(
    "dataset",
    "One row: what an archive says about itself.",
    column("project_id", _INT, "Project", null=False),
    column("name", _TEXT, "Name of the project", null=False),
    column("title", _TEXT, "Title of the dataset", null=False),
    column("description", _TEXT, "What it is about", null=False),
    column("protocol", _TEXT, "How animals are recorded", null=False),
    column("sampling_design", _TEXT, "How stations were chosen", null=False),
    column("capture_method", _TEXT, "What makes the cameras take images: JSON list", null=False),
    column("protocol_description", _TEXT, "The same in a sentence or two", null=False),
    column("slug", _TEXT, "Name in file names and identifiers, frozen at the first publication", null=False),
    column("draft", _FLAG, "Readable by its members only", null=False),
    column("score_threshold", _NUMBER, "Lowest score of the default filters", SHARE, null=False),
    column("licence", _TEXT, "A licence's short name, or any text; empty when none is given", null=False),
    column("rights_holder", _TEXT, "Holder of the rights", null=False),
    column("publisher", _TEXT, "Organisation that publishes", null=False),
    column("owner", _TEXT, "Name of the project's owner", null=False),
    column("contacts", _TEXT, "Whom to ask: JSON list of {name, email, organisation, orcid}", null=False),
    column("api_url", _TEXT, "Prefix of links to the source", null=False),
    column("country_code", _TEXT, "ISO 3166-1 alpha-2 code of the stations", null=False),
    column("coordinate_uncertainty", _NUMBER, "How well coordinates are known", "m"),
    column(
        "target_taxon",
        _TEXT,
        "The taxon that is looked for, or the lowest that holds all that the default filters include",
        null=False,
    ),
    column("cell", _NUMBER, "Width of the cell that sensitive stations are shown in", "degree", null=False),
)
_PLACE = (
    column(
        "latitude",
        _NUMBER,
        "Latitude, WGS 84; empty with 0, 0; of a sensitive station the middle of its cell",
        "degree",
    ),
    column("longitude", _NUMBER, "Longitude, in the same way", "degree"),
    column("uncertainty", _NUMBER, "How far the station may be from there", "m"),
    column(
        "sensitive", _FLAG, "Whether a sensitive taxon was ever found at the station: then it is hidden", null=False
    ),
)
DEPLOYMENTS = _table(
    "deployments",
    "Stations.",
    _ID,
    column("name", _TEXT, "Name; of a sensitive station its number only", null=False),
    *_PLACE,
    column("time_zone", _TEXT, "IANA zone of its clock"),
    column("time_zone_from", _TEXT, "Where that is from: `data`, `settings` or `coordinates`"),
)
EVENTS = _table(
    "events",
    "Sessions, by start and id.",
    _ID,
    column("deployment_id", _INT, "Station"),
    column("deployment_name", _TEXT, "Its name"),
    *_PLACE,
    column("start", WALL_TIME, "First image; that of its images where the session has none", _WALL),
    _offset("start_offset", "that time"),
    column("end", WALL_TIME, "Last image; never before the first", _WALL),
    _offset("end_offset", "that time"),
    column("captures_count", _INT, "Images taken", "images", null=False),
    column("name", _TEXT, "Weekday and date", null=False),
    column("date_label", _TEXT, "Date or dates", null=False),
    column("updated_at", WALL_TIME, "When it was last changed", _WALL),
    _offset("updated_offset", "that time"),
)
_MEANING = (
    column(
        "is_taxon",
        _FLAG,
        "False for what is no organism, such as `Not a Moth`, `Empty` or a vehicle, and for people",
        null=False,
    ),
    column("is_person", _FLAG, "Whether it is a human being", null=False),
    column("scientific_name", _TEXT, "The name at the lowest rank that was determined; empty where it is no taxon"),
    column("scientific_rank", _TEXT, "Its rank in capitals"),
    column("qualifier", _TEXT, "What is said beyond it, such as `cf. pronuba`"),
)
TAXA = _table(
    "taxa",
    "Taxa with their ancestry.",
    _ID,
    column("name", _TEXT, "Scientific name without authorship", null=False),
    column("rank", _TEXT, "Rank in capitals", null=False),
    *_MEANING,
    *(column(rank, _TEXT, f"Name of its {rank}") for rank in RANKS),
    column("specific_epithet", _TEXT, "Second word of a species' name"),
    column("common_name", _TEXT, "English common name"),
    column("gbif_taxon_key", _INT, "Key in the GBIF backbone"),
    column("inat_taxon_id", _INT, "Key in iNaturalist"),
    column("fieldguide_id", _TEXT, "Key in Fieldguide"),
    column("authorship", _TEXT, "Author and year"),
    column("ancestors", pa.list_(_INT), "Ids from the root to the parent", null=False),
    column("parents", _TEXT, "Ancestors from the root to the parent, as JSON", null=False),
    column("shown_by_default", _FLAG, "Whether the default filters let it through", null=False),
)
ALGORITHMS = _table(
    "algorithms",
    "Algorithms that detected or classified.",
    _ID,
    column("name", _TEXT, "Name", null=False),
    column("key", _TEXT, "Short name", null=False),
    column("version", _INT, "Version"),
    column("version_name", _TEXT, "Version as people call it"),
    column("created_at", WALL_TIME, "When it was registered", _WALL),
    column("updated_at", WALL_TIME, "When it was last changed", _WALL),
)
COLLECTIONS = _table("collections", "Capture sets.", _ID, column("name", _TEXT, "Name", null=False), may_be_empty=True)
COLLECTION_OCCURRENCES = _table(
    "collection_occurrences",
    "Which occurrence was seen on an image of which capture set.",
    column("collection_id", _INT, "Capture set", null=False),
    _POSITION,
    may_be_empty=True,
)
DETECTIONS = _table(
    "detections",
    "Detections of the occurrences, with where and how they can be seen.",
    _POSITION,
    column("occurrence_id", _INT, "Occurrence", null=False),
    _ID,
    column("capture_id", _INT, "Image", null=False),
    column("timestamp", WALL_TIME, "When it was seen", _WALL),
    _offset("timestamp_offset", "that time"),
    column("bbox", _TEXT, "Bounding box [x1, y1, x2, y2] in pixels, as JSON", null=False),
    column("width", _NUMBER, "Width of the box", "px"),
    column("height", _NUMBER, "Height of the box", "px"),
    column("url", _TEXT, "Crop; empty when it is not public"),
    column("capture_url", _TEXT, "Whole image; empty when it is not public"),
    column("capture_time", WALL_TIME, "When the image was taken", _WALL),
    _offset("capture_offset", "that time"),
    column("capture_width", _INT, "Width of the whole image", "px"),
    column("capture_height", _INT, "Height of the whole image", "px"),
    column("detection_score", _NUMBER, "Score of the detection", SHARE),
    column("algorithm_id", _INT, "Algorithm that found it"),
    column("score", _NUMBER, "Highest score of its predictions", SHARE),
)
PREDICTIONS = _table(
    "predictions",
    "Classifications of the detections.",
    _POSITION,
    column("detection_id", _INT, "Detection", null=False),
    _ID,
    column("taxon_id", _INT, "Predicted taxon", null=False),
    column("algorithm_id", _INT, "Algorithm that predicted it"),
    column("applied_to_id", _INT, "Classification it was made from"),
    column("score", _NUMBER, "Score", SHARE),
    column("terminal", _FLAG, "Not an intermediate step", null=False),
    column("created_at", WALL_TIME, "When it was made", _WALL),
    column("timestamp", WALL_TIME, "When it was predicted", _WALL),
)
IDENTIFICATIONS = _table(
    "identifications",
    "What people held the occurrences to be, newest first.",
    _POSITION,
    _ID,
    column("user_id", _INT, "Who"),
    column("user_name", _TEXT, "Display name, or `user:<id>`"),
    column("taxon_id", _INT, "As what"),
    column("withdrawn", _FLAG, "Taken back: it does not count", null=False),
    column("comment", _TEXT, "What the identifier wrote", null=False),
    column("created_at", WALL_TIME, "When", _WALL),
)
MEMBERS = _table(
    "members",
    "Who may do what with the project's exports; empty when the source names no members.",
    column("user_id", _INT, "User", null=False),
    column("role", _TEXT, "Role", null=False),
)
OCCURRENCES_TABLE = _table(
    "occurrences",
    "Occurrences with their best detection, prediction and identification.",
    _POSITION,
    _ID,
    column("event_id", _INT, "Session"),
    column("event_name", _TEXT, "Weekday and date of the session"),
    column("event_start", WALL_TIME, "Start of the session", _WALL),
    column("deployment_id", _INT, "Station"),
    column("deployment_name", _TEXT, "Name of the station"),
    column("determination_id", _INT, "Taxon it is held to be", null=False),
    column("determination_name", _TEXT, "Its name", null=False),
    column("determination_score", _NUMBER, "Score of the determination; 1 where a human decided", SHARE),
    column("rank", _TEXT, "Rank of the taxon in capitals", null=False),
    *_MEANING,
    *(column(rank, _TEXT, f"Name of its {rank}") for rank in RANKS),
    column("specific_epithet", _TEXT, "Second word of a species' name"),
    column("common_name", _TEXT, "English common name"),
    column("gbif_taxon_key", _INT, "Key in the GBIF backbone"),
    column("authorship", _TEXT, "Author and year of the name"),
    column("shown_by_default", _FLAG, "Whether the default filters let it through", null=False),
    column("verified", _FLAG, "Whether an identification counts", null=False),
    column("participant_count", _INT, "Different users whose identifications count", null=False),
    column("verified_by", _TEXT, "Name on the best identification"),
    column("identification_id", _INT, "Best identification: the newest that counts"),
    column("agreed_with_algorithm", _TEXT, "Algorithm of the prediction it agreed with"),
    column("agreed_with_user", _TEXT, "Name on the identification it agreed with"),
    column("prediction_id", _INT, "Best prediction: terminal first, then highest score, then highest id"),
    column("prediction_taxon_id", _INT, "Its taxon"),
    column("prediction_name", _TEXT, "Name of its taxon"),
    column("prediction_algorithm", _TEXT, "Name of its algorithm"),
    column("prediction_score", _NUMBER, "Its score", SHARE),
    column("identified_by", _TEXT, "Person, or algorithm and version"),
    column("identified_at", WALL_TIME, "When", _WALL),
    _offset("identified_offset", "that time"),
    column("detections_count", _INT, "Detections", null=False),
    column("individual_count", _INT, "How many animals there were together", "individuals", null=False),
    column("basis_of_record", _TEXT, "MachineObservation or HumanObservation", null=False),
    column("first_appearance", WALL_TIME, "First detection", _WALL),
    _offset("first_offset", "that time"),
    column("last_appearance", WALL_TIME, "Last detection", _WALL),
    _offset("last_offset", "that time"),
    column("detection_id", _INT, "Best detection: highest score of its predictions, then lowest id", null=False),
    column("detection_url", _TEXT, "Its crop"),
    column("detection_bbox", _TEXT, "Its bounding box, as JSON", null=False),
    column("detection_width", _NUMBER, "Width of its box", "px"),
    column("detection_height", _NUMBER, "Height of its box", "px"),
    column("detection_capture_url", _TEXT, "Its whole image"),
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
