"""How fast and in how much memory a large match goes from logs to six formats.

Usage: python benchmarks/matches.py [--megabytes 100] [--shots 100000]

Each step runs in a process of its own, so that its peak memory and its CPU seconds, with imports, are its own. `run` is
`sheaf run matches` with all steps and series in one process, and `grown` reads the log again after 1 % was added to it.
Beside it, in the same run: DuckDB reading the same file with `read_json` into Parquet; DuckDB and Python's own zip
making of it six such formats as far as they can, reading them back and hashing them (`duckdb_formats`); and the least
that publishing can cost, which is to write and hash the bytes that the formats hold (`copy`).
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

MATCH = "benchmark"
LOG = f"inbox/matches/{MATCH}/logs/bridge_main_20250914.ndjson"
TIMER = "60:09:C3:1F:DC:1A"
SENSORS = ("F8:FE:92:31:12:E3", "EA:18:3D:6D:BA:E5", "C2:1B:DB:F0:55:50", "D1:00:BE:EF:00:04")


def main() -> None:
    """Run the steps and print one line for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--shots", type=int, default=100_000)
    parser.add_argument("--step", choices=[*STEPS, *FORMATS, *BESIDE])
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.step:
        run = {**STEPS, **BESIDE}.get(arguments.step) or (lambda folder: export(folder, arguments.step))
        start = time.perf_counter()
        run(arguments.folder)
        seconds = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps([seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
        return
    print(f"correlation of {arguments.shots} shots with 4 sensors: {correlation(arguments.shots):.2f} s")
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        lines = generate(folder / LOG, arguments.megabytes * 1_000_000)
        print(f"{arguments.megabytes} MB, {lines} lines")
        took = {}
        for step in (*STEPS, *FORMATS, *BESIDE):
            command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, took[step], megabytes = json.loads(done.stdout.splitlines()[-1])
            print(f"{step:18} {seconds:7.2f} s  {took[step]:7.2f} CPU s  {megabytes:6.0f} MB peak", flush=True)
        size = sum(path.stat().st_size for path in (folder / "store" / "exports").rglob("*") if path.is_file())
        total = sum(took[step] for step in took if step not in ("duckdb", *BESIDE))
        print(f"{'logs to 6 formats':18} {total:7.2f} CPU s, which hold {size / 1e6:.0f} MB")
        print(
            f"{total / took['duckdb']:.1f} × duckdb, {total / took['duckdb_formats']:.1f} × duckdb_formats, "
            f"{total / took['copy']:.1f} × writing and hashing those bytes"
        )


def generate(path: Path, size: int) -> int:
    """Write a log of about `size` bytes; returns its number of lines."""
    path.parent.mkdir(parents=True)
    rng = random.Random(1)
    now, written, lines, seq = datetime(2025, 9, 14, tzinfo=UTC), 0, 0, 0
    with path.open("w", encoding="ascii") as file:

        def add(when: datetime, type_: str, device: str, device_id: str, position: str, details: str) -> None:
            nonlocal written, lines, seq
            written += file.write(
                f'{{"timestamp_iso":"{when:%Y-%m-%dT%H:%M:%S.%f}Z","type":"{type_}","device":"{device}",'
                f'"device_id":"{device_id}","device_position":"{position}","details":"{details}","seq":{seq}}}\n'
            )
            lines, seq = lines + 1, seq + 1

        while written < size:
            start, shots, hits = now, rng.randint(4, 10), []
            add(now, "String", "Timer", TIMER, "Bay 1", "Timer Start Button pressed, Random countdown: 2.25s")
            now += timedelta(seconds=2.25)
            add(now, "String", "Timer", TIMER, "Bay 1", "Timer Start Beep")
            events = []
            for _ in range(shots):
                now += timedelta(seconds=rng.uniform(0.6, 2.5))
                events.append((now, None))
                if rng.random() > 0.1:
                    sensor = rng.randrange(4)
                    hits.append((now + timedelta(milliseconds=rng.gauss(250 + 90 * sensor, 12)), sensor))
            for when, sensor in sorted([*events, *hits], key=lambda event: event[0]):
                if sensor is None:
                    add(when, "String", "Timer", TIMER, "Bay 1", "Shot detected")
                else:
                    add(when, "String", "Sensor", SENSORS[sensor], f"Plate {sensor + 1}", "Sensor Impact detected")
            now += timedelta(seconds=2)
            add(now, "String", "Timer", TIMER, "Bay 1", "Timer stop button pressed")
            total = (now - start).total_seconds()
            summary = f"String Time: {total:.2f}s; Shots Detected: {shots}; Impacts Detected: {len(hits)}"
            add(now, "StringSummary", "Bridge", "MCU1", "Bay 1", summary)
            now += timedelta(seconds=10)
    return lines


def duckdb(folder: Path) -> None:
    """The yardstick: the same file into Parquet, with DuckDB's own reader and writer."""
    import duckdb

    source = folder / LOG
    duckdb.sql(f"COPY (SELECT * FROM read_json('{source}')) TO '{folder / 'yardstick.parquet'}' (FORMAT parquet)")


def ingest(folder: Path) -> None:
    """Logs to events."""
    step(folder, "events")


def analyse(folder: Path) -> None:
    """Events to runs, shots correlated with impacts."""
    step(folder, "runs")


def shots(folder: Path) -> None:
    """Shots and impacts, a row for each."""
    step(folder, "shots")


def step(folder: Path, name: str) -> None:
    """Do one step as its asset does, from looking whether there is anything to do to the commit."""
    as_in_a_run()
    from sheaf.matches.domain import MATCHES
    from sheaf.matches.settings import MatchesSettings
    from sheaf.matches.sources.inbox import MatchInbox
    from sheaf.running import run_step
    from sheaf.sources import Sources
    from sheaf.store.store import Store

    settings = MatchesSettings()
    sources = Sources({"matches": (MatchInbox(folder / "inbox", settings),)})
    run_step(Store.open(str(folder / "store")), MATCHES, MATCHES.step_named(name), MATCH, settings, sources)


def export(folder: Path, name: str) -> None:
    """Publish one format."""
    as_in_a_run()
    from sheaf.exports.publish import Request, publish
    from sheaf.matches.domain import MATCHES
    from sheaf.matches.settings import MatchesSettings
    from sheaf.store.store import Store

    store = Store.open(str(folder / "store"))
    publish(store, MATCHES, MATCHES.series_named(name), Request(MATCH), MatchesSettings())


def as_in_a_run() -> None:
    """Hold memory, and threads, as the process of a run does."""
    import pipelines  # noqa: F401  # before numpy is loaded
    from sheaf import memory

    memory.share()
    memory.lean_arrow()


def copy(folder: Path) -> None:
    """The least that publishing costs: write and hash what the formats hold."""
    import hashlib
    import shutil

    for path in sorted((folder / "store" / "exports").rglob("*")):
        if path.is_file():
            with Path(shutil.copyfile(path, folder / "copy")).open("rb") as file:
                hashlib.file_digest(file, "sha256")


def duckdb_formats(folder: Path) -> None:
    """The floor with a well-known tool: six formats of the same log, read back once, and hashed.

    A run is what follows a start button. No duplicates are looked for, no impact is given to a shot, no clock, device,
    squad or flag is known, and nothing is rejected.
    """
    import hashlib
    import zipfile

    import duckdb
    from zlib_ng import zlib_ng

    zipfile.zlib = zlib_ng  # type: ignore[attr-defined]  # the deflater that Sheaf has
    source, made = folder / LOG, folder / "duckdb_formats"
    made.mkdir(exist_ok=True)
    (folder / "work.duckdb").unlink(missing_ok=True)
    names = "type, device, device_id, device_position, details, seq"
    columns = "timestamp_iso: 'TIMESTAMP', " + names.replace(",", ": 'VARCHAR',") + ": 'INT'"
    kinds = {"%Impact detected": "impact_detected", "Shot detected": "shot_detected", "String Time%": "string_summary"}
    case = " ".join(f"WHEN details LIKE '{text}' THEN '{kind}'" for text, kind in kinds.items())
    with duckdb.connect(str(folder / "work.duckdb")) as connection:
        connection.execute(f"""
            CREATE TABLE events AS SELECT *, CASE {case} ELSE 'other' END AS event_type,
                sum((details LIKE 'Timer Start Button%')::INT) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) AS run_no,
            FROM read_json('{source}', columns = {{{columns}}});
            CREATE TABLE runs AS SELECT run_no, min(timestamp_iso) AS start_time, max(timestamp_iso) AS end_time,
                count(*) FILTER (event_type = 'shot_detected') AS shots,
                count(*) FILTER (event_type = 'impact_detected') AS impacts
            FROM events GROUP BY run_no ORDER BY run_no;
            CREATE TABLE shots AS SELECT run_no, row_number() OVER one AS shot_no, timestamp_iso,
                timestamp_iso - lag(timestamp_iso) OVER one AS split
            FROM events WHERE event_type = 'shot_detected' WINDOW one AS (PARTITION BY run_no ORDER BY seq);
            """)
        whole = f"""SELECT timestamp_iso, event_type, device, device_id, device_position, details, NULL AS session_id,
            seq, 'run_' || run_no AS run_id, '{MATCH}' AS match_id, NULL AS stage, device_position AS bay,
            run_no AS string, NULL AS shooter, NULL AS target, '{LOG}' AS _source_file, seq + 1 AS _source_line"""
        record = "{timestamp_iso: timestamp_iso, " + ", ".join(f"{name}: {name}" for name in names.split(", ")) + "}"
        results = "SELECT count(*) AS strings, sum(shots) AS shots, min(end_time - start_time) AS best FROM runs"
        for name, query, how in (
            ("runs.csv", "FROM runs", "FORMAT csv"),
            ("shots.csv", "FROM shots ORDER BY run_no, shot_no", "FORMAT csv"),
            ("results.csv", results, "FORMAT csv"),
            ("events.jsonl", f"{whole}, {record} AS raw_data FROM events ORDER BY seq", "FORMAT json"),
            (
                "events.parquet",
                f"{whole}, to_json({record})::VARCHAR AS raw_data FROM events ORDER BY seq",
                "FORMAT parquet, COMPRESSION gzip",
            ),
        ):
            connection.execute(f"COPY ({query}) TO '{made / name}' ({how})")
        with zipfile.ZipFile(made / "all.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=2) as archive:
            for path in (source, made / "runs.csv", made / "events.jsonl", made / "events.parquet"):
                stored = zipfile.ZIP_STORED if path.suffix == ".parquet" else None
                archive.write(path, path.name, stored)
        for name in ("runs.csv", "shots.csv", "results.csv"):
            connection.execute(f"SELECT count(*) FROM read_csv('{made / name}', all_varchar = true)").fetchall()
        connection.execute(f"SELECT count(timestamp_iso) FROM read_json('{made / 'events.jsonl'}')").fetchall()
        connection.execute(f"SELECT count(COLUMNS(*)) FROM '{made / 'events.parquet'}'").fetchall()
    with zipfile.ZipFile(made / "all.zip") as archive:
        archive.testzip()
    for path in sorted(made.iterdir()):
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")


def run(folder: Path) -> None:
    """All of it as an operator runs it, in a home of its own."""
    import os

    from pipelines.cli.main import main as sheaf

    os.environ.update(SHEAF_HOME=str(folder / "home"), SHEAF_INBOX=str(folder / "inbox"))
    with (folder / "run.json").open("w") as out:
        os.dup2(out.fileno(), 2)
        try:
            sheaf(["run", "matches"])
        except SystemExit as ended:
            if ended.code:
                raise


def grown(folder: Path) -> None:
    """The log again, after 1 % was added to it."""
    path = folder / LOG
    with path.open("rb") as file:
        more = file.read(path.stat().st_size // 100).rpartition(b"\n")[0] + b"\n"
    with path.open("ab") as file:
        file.write(more.replace(b'"2025-', b'"2026-'))
    step(folder, "events")


def correlation(shots: int) -> float:
    """Seconds to correlate runs of ten shots with four sensors, with misses and false hits."""
    import numpy as np

    from sheaf.matches.analysis.correlate import Impacts, Shots, correlate
    from sheaf.matches.settings import Correlation

    rng = np.random.default_rng(1)
    run = np.arange(shots) // 10
    ts = np.cumsum(rng.integers(200_000, 2_500_000, shots)) + run * 30_000_000
    sensor = rng.integers(0, 4, shots)
    hit = rng.random(shots) > 0.1
    false = rng.random(shots) < 0.1
    delays = 250_000 + 90_000 * sensor + rng.normal(0, 15_000, shots).astype(np.int64)
    impacts = Impacts(
        np.concatenate([run[hit], run[false]]),
        np.concatenate([(ts + delays)[hit], ts[false] + rng.integers(0, 800_000, int(false.sum()))]),
        np.concatenate([sensor[hit], sensor[false]]),
    )
    start = time.perf_counter()
    correlate([(Shots(run, ts), impacts)], 4, Correlation())
    return time.perf_counter() - start


STEPS = {"duckdb": duckdb, "ingest": ingest, "analyse": analyse, "shots": shots}
BESIDE = {"copy": copy, "duckdb_formats": duckdb_formats, "run": run, "grown": grown}
FORMATS = ("runs_csv", "shots_csv", "stage_results", "events_ndjson", "analytics_parquet", "match_archive")

if __name__ == "__main__":
    main()
