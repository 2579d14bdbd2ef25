"""The tables of a media batch: what was asked (`pairs`), the batch as a whole, what was found (`results`)."""

import pyarrow as pa

from sheaf.tables import UTC_TIME, Table, column, rejects_table

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
            column("master_path", _text, "Where the master is; empty when the row cannot be used"),
            column("dub_path", _text, "Where the dub is; empty when the row cannot be used"),
        ]
    ),
    "The pairs of a batch, one for each row of its CSV.",
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
            column("status", _text, "completed, failed or cancelled", null=False),
            column("items_total", _number, "Pairs in the batch", null=False),
            column("started_at", UTC_TIME, "When its analysis first started", null=False),
            column("finished_at", UTC_TIME, "When its analysis ended", null=False),
            column("processing_seconds", _real, "Time its pairs took, added up", "s", null=False),
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
_vote = pa.struct([("dub_time", _real), ("offset_seconds", _real), ("score", _real), ("agrees", pa.bool_())])
_curve = pa.list_(_real)
_overlay = pa.struct([("start", _real), ("step", _real), ("master", _curve), ("before", _curve), ("after", _curve)])

RESULTS = Table(
    DOMAIN,
    "results",
    KIND,
    pa.schema(
        [
            *_ASKED,
            column("status", _text, "completed, no_match, failed or cancelled", null=False),
            column("analysed_at", UTC_TIME, "When the pair was analysed"),
            column("analysis_id", _text, "Name of the analysis"),
            column("analysis_seconds", _real, "Time it took", "s"),
            column("offset_seconds", _real, "t_master - t_dub; negative when the dub is late", "s"),
            column("offset_samples", _number, "The same in samples of the dub"),
            column("timecode", _text, "The same as timecode at frame_rate"),
            column("frame_rate", _text, "Frames per second, an exact fraction"),
            column("confidence", _real, "Probability of being right to a frame"),
            column("method_used", _text, "What the offset was found with"),
            column("rate", _real, "Seconds of the master per second of the dub"),
            column("drift_ppm", _real, "Difference of rate from its nominal value", "ppm"),
            column("segments", pa.list_(_segment), "Pieces of the dub in order of time"),
            column("channels", pa.list_(_channel), "Offset of each channel of the dub"),
            column("method_results", pa.list_(_method), "What each method found by itself"),
            column("requested_model", _text, "Embedding model that was asked for"),
            column("model_available", pa.bool_(), "Whether that model ran"),
            column("master_seconds", _real, "Length of the master", "s"),
            column("dub_seconds", _real, "Length of the dub", "s"),
            column("warnings", _texts, "What the decoder complained about"),
            column("timeline", pa.list_(_vote), "What each window of the dub says by itself"),
            column("overlay", _overlay, "Loudness of master and dub around the best window"),
        ]
    ),
    "What was found for every pair of a batch.",
)

REJECTS = rejects_table(DOMAIN, KIND)
