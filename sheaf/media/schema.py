"""The tables of a media batch: what is asked (`batches`, `pairs`), of which files, and what was found (`results`).

Where a file lies is in no table: what was found holds wherever the same content is moved to.
"""

from sheaf.tables.table import BYTES, FLAG, INTEGER, REAL, TEXT, UTC_TIME, ListOf, Table, column

DOMAIN, KIND = "media", "media_batch"

_TEXTS, _CURVE = ListOf(TEXT), ListOf(REAL)

_ASKED = [
    column("item_id", TEXT, "Name of the pair in its batch, by row: item_001, item_002, …", null=False),
    column("master_file", TEXT, "Master as the CSV names it", null=False),
    column("dub_file", TEXT, "Dub as the CSV names it", null=False),
    column("methods", _TEXTS, "Coarse methods that were asked for", null=False),
    column("ai_model", TEXT, "Embedding model that was asked for"),
    column("description", TEXT, "What the CSV says about the pair", null=False),
    column("tags", _TEXTS, "Tags of the pair", null=False),
    column("error_code", TEXT, "Why the pair could not be analysed, as a code"),
    column("error_message", TEXT, "Why the pair could not be analysed, as a sentence"),
]

PAIRS = Table(
    DOMAIN,
    "pairs",
    KIND,
    (
        *_ASKED,
        column("line", INTEGER, "Line of the pair in the CSV, from 1", null=False),
        column("master_track", INTEGER, "Sound track of the master that was asked for, from 1"),
        column("dub_track", INTEGER, "Sound track of the dub that was asked for, from 1"),
        column("model_sha256", TEXT, "Content of the model file that the pair is compared with; empty for none"),
    ),
    "The pairs of a batch, one for each row of its CSV.",
)

FILES = Table(
    DOMAIN,
    "files",
    KIND,
    (
        column("name", TEXT, "The file as the CSV names it", null=False),
        column("sha256", TEXT, "Its content", null=False),
        column("size", INTEGER, "Its size", "byte", null=False),
    ),
    "The media files that the pairs of a batch name, where they are there.",
    only_grows=True,
)

BATCHES = Table(
    DOMAIN,
    "batches",
    KIND,
    (
        column("batch_id", TEXT, "Name of the batch", null=False),
        column("csv_file", TEXT, "The CSV it came from", null=False),
        column("csv_sha256", TEXT, "Its content", null=False),
        column("description", TEXT, "What was said about the batch", null=False),
        column("priority", TEXT, "low, normal or high", null=False),
        column("timeout_seconds", REAL, "Time for one pair; empty for the site's setting", "s"),
        column("items_total", INTEGER, "Pairs in the batch", null=False),
        column("repair", FLAG, "Whether every dub is published corrected, too", null=False),
    ),
    "The batch as a whole, one row.",
)

_SEGMENT = (
    column("dub_start", REAL, "Start of the piece in the dub", "s"),
    column("dub_end", REAL, "End of the piece in the dub", "s"),
    column("offset_seconds", REAL, "t_master - rate * t_dub", "s"),
    column("rate", REAL, "Seconds of the master per second of the dub"),
    column("confidence", REAL, "Probability of being right to a frame"),
)
_CHANNEL = (column("channel", TEXT), column("offset_seconds", REAL), column("confidence", REAL))
_METHOD = (column("method", TEXT), column("offset_seconds", REAL), column("confidence", REAL))
_TRACK = (
    column("sample_rate", INTEGER),
    column("layout", TEXT),
    column("language", TEXT),
    column("title", TEXT),
)
_VOTE = (column("dub_time", REAL), column("offset_seconds", REAL), column("score", REAL), column("agrees", FLAG))
_OVERLAY = (
    column("start", REAL),
    column("step", REAL),
    column("master", _CURVE),
    column("before", _CURVE),
    column("after", _CURVE),
)

SNIPPETS = Table(
    DOMAIN,
    "snippets",
    KIND,
    (
        column("item_id", TEXT, "The pair", null=False),
        column("before", BYTES, "A few seconds as MP3: master left, dub right, as they are", null=False),
        column("after", BYTES, "The same with the dub where it belongs", null=False),
    ),
    "A few seconds of each pair with an offset to listen to, in batches of at most 200 pairs.",
    may_be_empty=True,
)

RESULTS = Table(
    DOMAIN,
    "results",
    KIND,
    (
        *_ASKED,
        column("status", TEXT, "completed, no_match or failed", null=False),
        column("analysed_at", UTC_TIME, "When the pair was analysed"),
        column("analysis_id", TEXT, "Name of the analysis"),
        column("analysis_seconds", REAL, "Time it took", "s"),
        column("offset_seconds", REAL, "t_master - t_dub; negative when the dub is late", "s"),
        column("offset_samples", INTEGER, "The same in samples of the dub"),
        column("timecode", TEXT, "The same as timecode at frame_rate"),
        column("frame_rate", TEXT, "Frames per second, an exact fraction"),
        column("confidence", REAL, "Probability of being right to a frame"),
        column("precision", TEXT, "sample, or frame where only longer stretches of the sound agree"),
        column("offset_uncertainty_seconds", REAL, "How far the offset may be off", "s"),
        column("coverage", REAL, "Share of the dub's sound that the master explains"),
        column("ambiguous_with", ListOf(REAL), "Offsets that fit alike, where there are several"),
        column("contradiction", _TEXTS, "Methods that are sure of another offset"),
        column("method_used", TEXT, "What the offset was found with"),
        column("rate", REAL, "Seconds of the master per second of the dub"),
        column("drift_ppm", REAL, "Difference of rate from its nominal value", "ppm"),
        column("segments", ListOf(_SEGMENT), "Pieces of the dub in order of time"),
        column("channels", ListOf(_CHANNEL), "Offset of each channel of the dub"),
        column("method_results", ListOf(_METHOD), "What each method found by itself"),
        column("requested_model", TEXT, "Embedding model that was asked for"),
        column("model_available", FLAG, "Whether that model ran"),
        column("master_track", TEXT, "Sound track of the master, where it has several"),
        column("dub_track", TEXT, "Sound track of the dub, where it has several"),
        column("master_start", TEXT, "Timecode at which the master starts"),
        column("dub_start", TEXT, "Timecode at which the dub starts"),
        column("master_ltc", TEXT, "Timecode at which the master starts, by timecode recorded as sound"),
        column("dub_ltc", TEXT, "Timecode at which the dub starts, by timecode recorded as sound"),
        column("timecode_offset_seconds", REAL, "The offset by those timecodes", "s"),
        column("timecode_offset_from", TEXT, "What said those timecodes"),
        column("dub_sample_rate", INTEGER, "Samples of the dub's sound in a second", "Hz"),
        column("dub_tracks", ListOf(_TRACK), "Sound tracks of the dub, in their order"),
        column("master_seconds", REAL, "Length of the master", "s"),
        column("dub_seconds", REAL, "Length of the dub", "s"),
        column("warnings", _TEXTS, "What the decoder complained about"),
        column("timeline", ListOf(_VOTE), "What each window of the dub says by itself"),
        column("overlay", _OVERLAY, "Loudness of master and dub around the best window"),
    ),
    "What was found for every pair of a batch.",
    only_grows=True,
)
