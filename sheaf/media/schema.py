"""The tables of a media batch: what is asked (`batches`, `pairs`), of which files, and what was found (`results`).

Where a file lies is in no table: what was found holds wherever the same content is moved to.
"""

import pyarrow as pa

from sheaf.tables.table import UTC_TIME, Table, column

DOMAIN, KIND = "media", "media_batch"

_text, _number, _real = pa.string(), pa.int64(), pa.float64()
_texts = pa.list_(_text)

_ASKED = [
    column("item_id", _text, "Name of the pair in its batch, by row: item_001, item_002, …", null=False),
    column("master_file", _text, "Master as the CSV names it", null=False),
    column("dub_file", _text, "Dub as the CSV names it", null=False),
    column("methods", _texts, "Coarse methods that were asked for", null=False),
    column("ai_model", _text, "Embedding model that was asked for"),
    column("description", _text, "What the CSV says about the pair", null=False),
    column("tags", _texts, "Tags of the pair", null=False),
    column("error_code", _text, "Why the pair could not be analysed, as a code"),
    column("error_message", _text, "Why the pair could not be analysed, as a sentence"),
]

PAIRS = Table(
    DOMAIN,
    "pairs",
    KIND,
    pa.schema(
        [
            *_ASKED,
            column("line", _number, "Line of the pair in the CSV, from 1", null=False),
            column("master_track", _number, "Sound track of the master that was asked for, from 1"),
            column("dub_track", _number, "Sound track of the dub that was asked for, from 1"),
            column("model_sha256", _text, "Content of the model file that the pair is compared with; empty for none"),
        ]
    ),
    "The pairs of a batch, one for each row of its CSV.",
)

FILES = Table(
    DOMAIN,
    "files",
    KIND,
    pa.schema(
        [
            column("name", _text, "The file as the CSV names it", null=False),
            column("sha256", _text, "Its content", null=False),
            column("size", _number, "Its size", "byte", null=False),
        ]
    ),
    "The media files that the pairs of a batch name, where they are there.",
    only_grows=True,
)

BATCHES = Table(
    DOMAIN,
    "batches",
    KIND,
    pa.schema(
        [
            column("batch_id", _text, "Name of the batch", null=False),
            column("csv_file", _text, "The CSV it came from", null=False),
            column("csv_sha256", _text, "Its content", null=False),
            column("description", _text, "What was said about the batch", null=False),
            column("priority", _text, "low, normal or high", null=False),
            column("timeout_seconds", _real, "Time for one pair; empty for the site's setting", "s"),
            column("items_total", _number, "Pairs in the batch", null=False),
            column("repair", pa.bool_(), "Whether every dub is published corrected, too", null=False),
        ]
    ),
    "The batch as a whole, one row.",
)

_segment = pa.struct(
    [
        column("dub_start", _real, "Start of the piece in the dub", "s"),
        column("dub_end", _real, "End of the piece in the dub", "s"),
        column("offset_seconds", _real, "t_master - rate * t_dub", "s"),
        column("rate", _real, "Seconds of the master per second of the dub"),
        column("confidence", _real, "Probability of being right to a frame"),
    ]
)
_channel = pa.struct([("channel", _text), ("offset_seconds", _real), ("confidence", _real)])
_method = pa.struct([("method", _text), ("offset_seconds", _real), ("confidence", _real)])
_track = pa.struct([("sample_rate", _number), ("layout", _text), ("language", _text), ("title", _text)])
_vote = pa.struct([("dub_time", _real), ("offset_seconds", _real), ("score", _real), ("agrees", pa.bool_())])
_curve = pa.list_(_real)
_overlay = pa.struct([("start", _real), ("step", _real), ("master", _curve), ("before", _curve), ("after", _curve)])

SNIPPETS = Table(
    DOMAIN,
    "snippets",
    KIND,
    pa.schema(
        [
            column("item_id", _text, "The pair", null=False),
            column("before", pa.binary(), "A few seconds as MP3: master left, dub right, as they are", null=False),
            column("after", pa.binary(), "The same with the dub where it belongs", null=False),
        ]
    ),
    "A few seconds of each pair with an offset to listen to, in batches of at most 200 pairs.",
    may_be_empty=True,
)

RESULTS = Table(
    DOMAIN,
    "results",
    KIND,
    pa.schema(
        [
            *_ASKED,
            column("status", _text, "completed, no_match or failed", null=False),
            column("analysed_at", UTC_TIME, "When the pair was analysed"),
            column("analysis_id", _text, "Name of the analysis"),
            column("analysis_seconds", _real, "Time it took", "s"),
            column("offset_seconds", _real, "t_master - t_dub; negative when the dub is late", "s"),
            column("offset_samples", _number, "The same in samples of the dub"),
            column("timecode", _text, "The same as timecode at frame_rate"),
            column("frame_rate", _text, "Frames per second, an exact fraction"),
            column("confidence", _real, "Probability of being right to a frame"),
            column("precision", _text, "sample, or frame where only longer stretches of the sound agree"),
            column("offset_uncertainty_seconds", _real, "How far the offset may be off", "s"),
            column("coverage", _real, "Share of the dub's sound that the master explains"),
            column("ambiguous_with", pa.list_(_real), "Offsets that fit alike, where there are several"),
            column("contradiction", _texts, "Methods that are sure of another offset"),
            column("method_used", _text, "What the offset was found with"),
            column("rate", _real, "Seconds of the master per second of the dub"),
            column("drift_ppm", _real, "Difference of rate from its nominal value", "ppm"),
            column("segments", pa.list_(_segment), "Pieces of the dub in order of time"),
            column("channels", pa.list_(_channel), "Offset of each channel of the dub"),
            column("method_results", pa.list_(_method), "What each method found by itself"),
            column("requested_model", _text, "Embedding model that was asked for"),
            column("model_available", pa.bool_(), "Whether that model ran"),
            column("master_track", _text, "Sound track of the master, where it has several"),
            column("dub_track", _text, "Sound track of the dub, where it has several"),
            column("master_start", _text, "Timecode at which the master starts"),
            column("dub_start", _text, "Timecode at which the dub starts"),
            column("master_ltc", _text, "Timecode at which the master starts, by timecode recorded as sound"),
            column("dub_ltc", _text, "Timecode at which the dub starts, by timecode recorded as sound"),
            column("timecode_offset_seconds", _real, "The offset by those timecodes", "s"),
            column("timecode_offset_from", _text, "What said those timecodes"),
            column("dub_sample_rate", _number, "Samples of the dub's sound in a second", "Hz"),
            column("dub_tracks", pa.list_(_track), "Sound tracks of the dub, in their order"),
            column("master_seconds", _real, "Length of the master", "s"),
            column("dub_seconds", _real, "Length of the dub", "s"),
            column("warnings", _texts, "What the decoder complained about"),
            column("timeline", pa.list_(_vote), "What each window of the dub says by itself"),
            column("overlay", _overlay, "Loudness of master and dub around the best window"),
        ]
    ),
    "What was found for every pair of a batch.",
    only_grows=True,
)
