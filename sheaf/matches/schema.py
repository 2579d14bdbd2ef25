"""The tables of a match. Not here: how they are filled (`ingest`, `runs_tables`)."""

from sheaf.tables.table import FLAG, INTEGER, REAL, TEXT, UTC_TIME, Column, ListOf, Table, column

SMALL = "int32"

EVENTS = Table(
    "matches",
    "events",
    "match",
    (
        column("event_no", INTEGER, "Position in the match, from 0: by time, within a file never against its order"),
        column("ts", UTC_TIME, "When it happened", null=False),
        column("event_type", TEXT, "Canonical name, such as shot_detected", null=False),
        column("source_type", TEXT, "What the source calls it"),
        column("device", TEXT, "Timer, Sensor or Bridge"),
        column("device_id", TEXT, "Full MAC address with colons where it is known"),
        column("device_position", TEXT, "Bay or plate, as the source says"),
        column("details", TEXT, "Free text of the source"),
        column("session_id", TEXT, "Session of the process that wrote it"),
        column("seq", INTEGER, "Sequence number of the process that wrote it; restarts, has gaps"),
        column("shot_number", SMALL, "Number of the shot in its string, as the timer says"),
        column("shot_time_s", REAL, "Time since the beep, as the timer says", "s"),
        column("split_s", REAL, "Time since the previous shot, as the timer says", "s"),
        column("timer_shots", SMALL, "How many shots the string has, as the timer says"),
        column("magnitude", REAL, "Strength of an impact, as the sensor says"),
        column("ambiguous_time", FLAG, "The local time existed twice (end of daylight saving)", null=False),
        column("dialect", TEXT, "Dialect of the source", null=False),
        column("source_file", TEXT, "File below the match folder", null=False),
        column("source_line", INTEGER, "Line in that file from 1, element of an array, or row id in a database"),
        column("byte_offset", INTEGER, "Where the line starts in the (uncompressed) file", "byte"),
        column("raw", TEXT, "The record as it came, as JSON"),
    ),
    "Canonical events of the match in UTC, each once, with where it came from.",
    only_grows=True,
    needed="lines and rows",
)

EVENT_RUNS = Table(
    "matches",
    "event_runs",
    "match",
    (
        column("event_no", INTEGER, "The event; one row for each, in the same order", null=False),
        column("run_no", SMALL, "The run it belongs to"),
        column("shot_no", SMALL, "Number of the shot in its run: of this shot, or the one this impact belongs to"),
        column("split_s", REAL, "Time since the previous shot of the run", "s"),
        column("delay_ms", REAL, "Time from the shot to its impact", "ms"),
        column("matched", FLAG, "Whether shot and impact of a run found each other; null for other events"),
        column("corrected_time", UTC_TIME, "When it happened, where the clock was set within the run"),
    ),
    "What the analysis says about each event.",
)

RUNS = Table(
    "matches",
    "runs",
    "match",
    (
        column(
            "run_no",
            SMALL,
            "Number within the match, from 1: by start time, after a clock was set back in the order of the log",
            null=False,
        ),
        column("run_id", TEXT, "run_<run_no>", null=False),
        column("status", TEXT, "completed or incomplete", null=False),
        column("start_time", UTC_TIME, "Start button, else beep", null=False),
        column("beep_time", UTC_TIME, "Start beep"),
        column("end_time", UTC_TIME, "Summary, else stop button; empty when the run has neither"),
        column("duration_seconds", REAL, "String Time (from the button), else end minus start", "s"),
        column("shots_detected", SMALL, "Shots of the timer, each once", null=False),
        column("shots_doubled", SMALL, "Shots that were reported again (echoes, repeated messages)", null=False),
        column("shots_lost", SMALL, "Shots that the timer counted and that no record reports", null=False),
        column("impacts_detected", SMALL, "Impacts of all sensors", null=False),
        column(
            "correlation_success_rate",
            REAL,
            "Shots with an impact over all shots; empty without shots, or in a match without any impact",
        ),
        column("impacts_correlated", SMALL, "Impacts that belong to a shot", null=False),
        column("uncorrelated_impacts", SMALL, "Impacts that belong to none (false hits)", null=False),
        column("median_delay_ms", REAL, "Median time from shot to impact", "ms"),
        column("first_shot_s", REAL, "First shot after the beep", "s"),
        column("last_shot_time", UTC_TIME, "Last shot"),
        column("last_impact_time", UTC_TIME, "Last impact"),
        column("start_device", TEXT, "Device that opened the run"),
        column("start_device_id", TEXT, "Its id"),
        column("stage", TEXT, "Stage of the timer, from match.yaml"),
        column("bay", TEXT, "Bay of the timer, from match.yaml or the log"),
        column("string", SMALL, "Number of the run at its stage and bay, from 1; none for a false start"),
        column("shooter", TEXT, "Who shot it, from match.yaml or squad.csv"),
        column("flags", TEXT, "What is unusual about it, separated by ';'", null=False),
    ),
    "One row for each run (string) of the match.",
)

SHOTS = Table(
    "matches",
    "shots",
    "match",
    (
        column("run_id", TEXT, "The run", null=False),
        column("shot_no", SMALL, "Number in the run, from 1", null=False),
        column("time", UTC_TIME, "When the timer heard it", null=False),
        column("since_beep_s", REAL, "Time since the beep (since the start without one)", "s"),
        column("split_s", REAL, "Time since the previous shot", "s"),
        column("timer_time_s", REAL, "Time since the beep as the timer says", "s"),
        column("sensor", TEXT, "Sensor of the impact; empty for a miss"),
        column("target", TEXT, "Target of that sensor, from match.yaml"),
        column("delay_ms", REAL, "Time from the shot to the impact", "ms"),
        column("status", TEXT, "hit, miss, or unknown where no sensor reported anything in the match", null=False),
        column("event_no", INTEGER, "The shot's event", null=False),
    ),
    "One row for each shot: time, split, and the impact it made.",
)

IMPACTS = Table(
    "matches",
    "impacts",
    "match",
    (
        column("run_id", TEXT, "The run", null=False),
        column("time", UTC_TIME, "When the sensor reported it", null=False),
        column("sensor", TEXT, "The sensor"),
        column("target", TEXT, "Its target, from match.yaml"),
        column("magnitude", REAL, "Strength, as the sensor says"),
        column("shot_no", SMALL, "The shot it belongs to; empty for a false hit"),
        column("delay_ms", REAL, "Time from that shot", "ms"),
        column("event_no", INTEGER, "The impact's event", null=False),
    ),
    "One row for each impact within a run, with the shot it belongs to.",
)


def _with_interval(name: str, of: str, unit: str | None = None) -> list[Column]:
    end = f"_{unit}" if unit else ""
    return [
        column(
            f"{name}_{side}{end}",
            REAL,
            f"{side.title()} end of the 95 % interval of the {of}",
            *([unit] if unit else []),
        )
        for side in ("low", "high")
    ]


SENSORS = Table(
    "matches",
    "sensors",
    "match",
    (
        column("sensor", TEXT, "The sensor"),
        column("target", TEXT, "Its target, from match.yaml"),
        column("offset_ms", REAL, "Delay used for the assignment", "ms", null=False),
        column("estimated", FLAG, "Whether the delay was estimated from this match", null=False),
        column("impacts", INTEGER, "Impacts within runs", null=False),
        column("matched", INTEGER, "Impacts that belong to a shot", null=False),
        column("median_delay_ms", REAL, "Median of the matched delays", "ms"),
        column("mad_ms", REAL, "Median absolute deviation of the matched delays", "ms"),
        *_with_interval("median", "median of the matched delays", "ms"),
        column("jitter_ms", REAL, "Standard deviation of the matched delays, robust", "ms"),
        *_with_interval("jitter", "jitter", "ms"),
        column("runs", INTEGER, "Runs with shots of its timer", null=False),
        column("silent_share", REAL, "Share of these runs in which none of its impacts belongs to a shot"),
        *_with_interval("silent", "silent_share"),
        column("false_share", REAL, "Share of its impacts that belong to no shot"),
        *_with_interval("false", "false_share"),
        column("drift_ms_per_h", REAL, "Linear drift of the delay, for matches over 30 minutes", "ms/h"),
        column("flags", TEXT, "What is unusual about it, separated by ';'", null=False),
    ),
    "Delay of each sensor over the match.",
)

SOURCES = Table(
    "matches",
    "sources",
    "match",
    (
        column("file", TEXT, "File below the match folder", null=False),
        column("dialect", TEXT, "What it was recognised as; 'unknown' when it was not", null=False),
        column("size", INTEGER, "Bytes that were read; the file may have grown since", "byte", null=False),
        column("sha256", TEXT, "Digest of those bytes", null=False),
        column("lines", INTEGER, "Lines or rows seen", null=False),
        column("pending", INTEGER, "Unfinished last lines", null=False),
    ),
    "The files the match was read from.",
)

PROGRESS = Table(
    "matches",
    "progress",
    "match",
    (column("state", TEXT, "JSON, for the next reading", null=False),),
    "One row: how far each source was read, so that what logs have grown by is all that is read the next time.",
)

TOTALS = Table(
    "matches",
    "totals",
    "match",
    (
        *(
            column(name, INTEGER, f"Number of {name.replace('_', ' ')}", null=False)
            for name in (
                *("runs", "completed", "incomplete", "shots", "impacts", "correlated"),
                *("orphan_shots", "orphan_impacts", "orphan_stops", "orphan_summaries"),
                *("count_mismatches", "offset_fallbacks", "shots_doubled", "shots_lost", "clock_steps"),
            )
        ),
        column("warnings", ListOf(TEXT), "What a director should know", null=False),
    ),
    "One row: what the analysis counted.",
)

COUNTS = ("lines_read", "events", "rejected", "pending", "duplicates", "blank", "skipped", "outside")

MATCH = Table(
    "matches",
    "match",
    "match",
    (
        column("match_id", TEXT, "The partition", null=False),
        column("name", TEXT, "Name from match.yaml"),
        column("timezone", TEXT, "Zone of the match; naive times were read in it", null=False),
        column("manifest", TEXT, "match.yaml as JSON, with the zone that holds where it names none", null=False),
        *(column(name, INTEGER, f"Lines: {name.replace('_', ' ')}", null=False) for name in COUNTS),
        column("files", INTEGER, "Files read", null=False),
        column("first_time", UTC_TIME, "First event"),
        column("last_time", UTC_TIME, "Last event"),
        column("warnings", ListOf(TEXT), "What an operator should know", null=False),
    ),
    "One row: what was read. lines_read is the sum of the seven counts after it.",
)
