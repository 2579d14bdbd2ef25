"""The tables of a match. Not here: how they are filled (`ingest`, `runs_tables`)."""

import pyarrow as pa

from sheaf.tables.table import UTC_TIME, Table, column

TEXT, I32, I64, F64, BOOL = pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.bool_()

EVENTS = Table(
    "matches",
    "events",
    "match",
    pa.schema(
        [
            column("event_no", I64, "Position in the match, from 0: by time, within a file never against its order"),
            column("ts", UTC_TIME, "When it happened", null=False),
            column("event_type", TEXT, "Canonical name, such as shot_detected", null=False),
            column("source_type", TEXT, "What the source calls it"),
            column("device", TEXT, "Timer, Sensor or Bridge"),
            column("device_id", TEXT, "Full MAC address with colons where it is known"),
            column("device_position", TEXT, "Bay or plate, as the source says"),
            column("details", TEXT, "Free text of the source"),
            column("session_id", TEXT, "Session of the process that wrote it"),
            column("seq", I64, "Sequence number of the process that wrote it; restarts, has gaps"),
            column("shot_number", I32, "Number of the shot in its string, as the timer says"),
            column("shot_time_s", F64, "Time since the beep, as the timer says", "s"),
            column("split_s", F64, "Time since the previous shot, as the timer says", "s"),
            column("timer_shots", I32, "How many shots the string has, as the timer says"),
            column("magnitude", F64, "Strength of an impact, as the sensor says"),
            column("ambiguous_time", BOOL, "The local time existed twice (end of daylight saving)", null=False),
            column("dialect", TEXT, "Dialect of the source", null=False),
            column("source_file", TEXT, "File below the match folder", null=False),
            column("source_line", I64, "Line in that file from 1, element of an array, or row id in a database"),
            column("byte_offset", I64, "Where the line starts in the (uncompressed) file", "byte"),
            column("raw", TEXT, "The record as it came, as JSON"),
        ]
    ),
    "Canonical events of the match in UTC, each once, with where it came from.",
    only_grows=True,
    needed="lines and rows",
)

EVENT_RUNS = Table(
    "matches",
    "event_runs",
    "match",
    pa.schema(
        [
            column("event_no", I64, "The event; one row for each, in the same order", null=False),
            column("run_no", I32, "The run it belongs to"),
            column("shot_no", I32, "Number of the shot in its run: of this shot, or the one this impact belongs to"),
            column("split_s", F64, "Time since the previous shot of the run", "s"),
            column("delay_ms", F64, "Time from the shot to its impact", "ms"),
            column("matched", BOOL, "Whether shot and impact of a run found each other; null for other events"),
            column("corrected_time", UTC_TIME, "When it happened, where the clock was set within the run"),
        ]
    ),
    "What the analysis says about each event.",
)

RUNS = Table(
    "matches",
    "runs",
    "match",
    pa.schema(
        [
            column("run_no", I32, "Number by start time within the match, from 1", null=False),
            column("run_id", TEXT, "run_<run_no>", null=False),
            column("status", TEXT, "completed or incomplete", null=False),
            column("start_time", UTC_TIME, "Start button, else beep", null=False),
            column("beep_time", UTC_TIME, "Start beep"),
            column("end_time", UTC_TIME, "Summary, else stop button; empty when the run has neither"),
            column("duration_seconds", F64, "String Time (from the button), else end minus start", "s"),
            column("shots_detected", I32, "Shots of the timer, each once", null=False),
            column("shots_doubled", I32, "Shots that were reported again (echoes, repeated messages)", null=False),
            column("shots_lost", I32, "Shots that the timer counted and that no record reports", null=False),
            column("impacts_detected", I32, "Impacts of all sensors", null=False),
            column(
                "correlation_success_rate",
                F64,
                "Shots with an impact over all shots; empty without shots, or in a match without any impact",
            ),
            column("impacts_correlated", I32, "Impacts that belong to a shot", null=False),
            column("uncorrelated_impacts", I32, "Impacts that belong to none (false hits)", null=False),
            column("median_delay_ms", F64, "Median time from shot to impact", "ms"),
            column("first_shot_s", F64, "First shot after the beep", "s"),
            column("last_shot_time", UTC_TIME, "Last shot"),
            column("last_impact_time", UTC_TIME, "Last impact"),
            column("start_device", TEXT, "Device that opened the run"),
            column("start_device_id", TEXT, "Its id"),
            column("stage", TEXT, "Stage of the timer, from match.yaml"),
            column("bay", TEXT, "Bay of the timer, from match.yaml or the log"),
            column("string", I32, "Number of the run at its stage and bay, from 1", null=False),
            column("shooter", TEXT, "Who shot it, from match.yaml or squad.csv"),
            column("flags", TEXT, "What is unusual about it, separated by ';'", null=False),
        ]
    ),
    "One row for each run (string) of the match.",
)

SHOTS = Table(
    "matches",
    "shots",
    "match",
    pa.schema(
        [
            column("run_id", TEXT, "The run", null=False),
            column("shot_no", I32, "Number in the run, from 1", null=False),
            column("time", UTC_TIME, "When the timer heard it", null=False),
            column("since_beep_s", F64, "Time since the beep (since the start without one)", "s"),
            column("split_s", F64, "Time since the previous shot", "s"),
            column("timer_time_s", F64, "Time since the beep as the timer says", "s"),
            column("sensor", TEXT, "Sensor of the impact; empty for a miss"),
            column("target", TEXT, "Target of that sensor, from match.yaml"),
            column("delay_ms", F64, "Time from the shot to the impact", "ms"),
            column("status", TEXT, "hit, miss, or unknown where no sensor reported anything in the match", null=False),
            column("event_no", I64, "The shot's event", null=False),
        ]
    ),
    "One row for each shot: time, split, and the impact it made.",
)

IMPACTS = Table(
    "matches",
    "impacts",
    "match",
    pa.schema(
        [
            column("run_id", TEXT, "The run", null=False),
            column("time", UTC_TIME, "When the sensor reported it", null=False),
            column("sensor", TEXT, "The sensor"),
            column("target", TEXT, "Its target, from match.yaml"),
            column("magnitude", F64, "Strength, as the sensor says"),
            column("shot_no", I32, "The shot it belongs to; empty for a false hit"),
            column("delay_ms", F64, "Time from that shot", "ms"),
            column("event_no", I64, "The impact's event", null=False),
        ]
    ),
    "One row for each impact within a run, with the shot it belongs to.",
)


def _with_interval(name: str, of: str, unit: str | None = None) -> list[pa.Field]:
    end = f"_{unit}" if unit else ""
    return [
        column(
            f"{name}_{side}{end}",
            F64,
            f"{side.title()} end of the 95 % interval of the {of}",
            *([unit] if unit else []),
        )
        for side in ("low", "high")
    ]


SENSORS = Table(
    "matches",
    "sensors",
    "match",
    pa.schema(
        [
            column("sensor", TEXT, "The sensor"),
            column("target", TEXT, "Its target, from match.yaml"),
            column("offset_ms", F64, "Delay used for the assignment", "ms", null=False),
            column("estimated", BOOL, "Whether the delay was estimated from this match", null=False),
            column("impacts", I64, "Impacts within runs", null=False),
            column("matched", I64, "Impacts that belong to a shot", null=False),
            column("median_delay_ms", F64, "Median of the matched delays", "ms"),
            column("mad_ms", F64, "Median absolute deviation of the matched delays", "ms"),
            *_with_interval("median", "median of the matched delays", "ms"),
            column("jitter_ms", F64, "Standard deviation of the matched delays, robust", "ms"),
            *_with_interval("jitter", "jitter", "ms"),
            column("runs", I64, "Runs with shots of its timer", null=False),
            column("silent_share", F64, "Share of these runs in which none of its impacts belongs to a shot"),
            *_with_interval("silent", "silent_share"),
            column("false_share", F64, "Share of its impacts that belong to no shot"),
            *_with_interval("false", "false_share"),
            column("drift_ms_per_h", F64, "Linear drift of the delay, for matches over 30 minutes", "ms/h"),
            column("flags", TEXT, "What is unusual about it, separated by ';'", null=False),
        ]
    ),
    "Delay of each sensor over the match.",
)

SOURCES = Table(
    "matches",
    "sources",
    "match",
    pa.schema(
        [
            column("file", TEXT, "File below the match folder", null=False),
            column("dialect", TEXT, "What it was recognised as; 'unknown' when it was not", null=False),
            column("size", I64, "Bytes that were read; the file may have grown since", "byte", null=False),
            column("sha256", TEXT, "Digest of those bytes", null=False),
            column("lines", I64, "Lines or rows seen", null=False),
            column("pending", I64, "Unfinished last lines", null=False),
        ]
    ),
    "The files the match was read from.",
)

TOTALS = Table(
    "matches",
    "totals",
    "match",
    pa.schema(
        [
            column(name, I64, f"Number of {name.replace('_', ' ')}", null=False)
            for name in (
                *("runs", "completed", "incomplete", "shots", "impacts", "correlated"),
                *("orphan_shots", "orphan_impacts", "orphan_stops", "orphan_summaries"),
                *("count_mismatches", "offset_fallbacks", "shots_doubled", "shots_lost", "clock_steps"),
            )
        ]
        + [column("warnings", pa.list_(TEXT), "What a director should know", null=False)]
    ),
    "One row: what the analysis counted.",
)

COUNTS = ("lines_read", "events", "rejected", "pending", "duplicates", "blank", "skipped", "outside")

MATCH = Table(
    "matches",
    "match",
    "match",
    pa.schema(
        [
            column("match_id", TEXT, "The partition", null=False),
            column("name", TEXT, "Name from match.yaml"),
            column("timezone", TEXT, "Zone of the match; naive times were read in it", null=False),
            column("manifest", TEXT, "match.yaml as JSON, with the zone that holds where it names none", null=False),
            *(column(name, I64, f"Lines: {name.replace('_', ' ')}", null=False) for name in COUNTS),
            column("files", I64, "Files read", null=False),
            column("first_time", UTC_TIME, "First event"),
            column("last_time", UTC_TIME, "Last event"),
            column("warnings", pa.list_(TEXT), "What an operator should know", null=False),
        ]
    ),
    "One row: what was read. lines_read is the sum of the seven counts after it.",
)

ANALYTICS_SCHEMA = pa.schema(
    [
        column("timestamp_iso", UTC_TIME, "When it happened", null=False),
        column("event_type", pa.dictionary(I32, TEXT), "Canonical name", null=False),
        column("device", TEXT, "Timer, Sensor or Bridge"),
        column("device_id", TEXT, "Device"),
        column("device_position", TEXT, "Bay or plate"),
        column("details", TEXT, "Free text of the source"),
        column("session_id", TEXT, "Session of the process that wrote it"),
        column("run_id", TEXT, "The run it belongs to"),
        column("match_id", TEXT, "The match", null=False),
        column("seq", I64, "Sequence number of the process that wrote it"),
        column("shot_number", I32, "Shot in its run, else as the timer says"),
        column("shot_time_s", F64, "Time since the beep as the timer says", "s"),
        column("split_s", F64, "Time since the previous shot", "s"),
        column("magnitude", F64, "Strength of an impact"),
        column("delay_ms", F64, "Time from the shot to its impact", "ms"),
        column("matched", BOOL, "Whether shot and impact found each other"),
        column("raw_data", TEXT, "The record as it came, as JSON"),
        column("source_file", TEXT, "File below the match folder", null=False),
        column("source_line", I64, "Line in that file"),
        column("stage", TEXT, "Stage of its run"),
        column("bay", TEXT, "Bay of its run"),
        column("string", I32, "Number of its run at that stage and bay"),
        column("shooter", TEXT, "Who shot the run"),
        column("target", TEXT, "Target of the sensor of an impact"),
    ],
    metadata={"schema_version": "1.0.0"},
)
