"""How fast a large project becomes a Darwin Core Archive, CSV and JSON, and how much memory that takes.

    .venv/bin/python benchmarks/occurrences.py [--occurrences 100000 1000000] [--json] [--postgres]

Every step runs in a process of its own, so that its peak memory is its own; on a busy machine its CPU seconds count.
Beside the tables, on the same machine in the same run: bare DuckDB reading and writing the same rows, and joining,
grouping and sorting them; beside the archive a bare DuckDB `COPY` of the same columns, and zlib's default level; beside
JSON, bare orjson. With `--postgres` the project is also read from a real server, beside `COPY … TO STDOUT`.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import orjson
from occurrences_database import create_tables, load
from running import current, run_steps
from servers import postgres_server

from sheaf import memory, sql
from sheaf.exports.series import Draft, Written
from sheaf.exports.zips import Zip
from sheaf.occurrences import schema
from sheaf.occurrences.domain import OCCURRENCES
from sheaf.occurrences.input_tables import SOURCES
from sheaf.occurrences.readers.fields import SQL_TYPES
from sheaf.occurrences.readers.ingest import ingest
from sheaf.occurrences.settings import OccurrencesSettings
from sheaf.occurrences.sources import postgres
from sheaf.occurrences.writers.camtrap_dp import write_camtrap_dp
from sheaf.occurrences.writers.dwca import write_dwca
from sheaf.occurrences.writers.dwca_verify import verify_dwca
from sheaf.occurrences.writers.occurrences_api_json import write_json
from sheaf.occurrences.writers.occurrences_simple_csv import write_csv
from sheaf.occurrences.writers.request import ArchiveOptions, OccurrenceFilter, Profile
from sheaf.occurrences.writers.selection import select
from sheaf.store.store import Store

PROJECT = "p1"
_SESSIONS = 400
_NOW = datetime(2026, 1, 1, tzinfo=UTC)

# Three detections for each occurrence, two classifications for each detection, every tenth identified.
_TABLES = {
    "main_project": "SELECT 1 AS id, 'Large season' AS name, 'CC-BY-4.0' AS license",
    "users_user": "SELECT 1 AS id, 'Ada Field' AS name",
    "ml_algorithm": "SELECT range + 1 AS id, 'Moths ' || range AS name, 'moths-' || range AS key FROM range(3)",
    "main_deployment": (
        "SELECT range + 1 AS id, 'Station ' || range AS name, 1 AS project_id, 47 + range / 100 AS latitude,"
        " 8 + range / 100 AS longitude FROM range(4)"
    ),
    "main_event": f"""SELECT range + 1 AS id, range % 4 + 1 AS deployment_id, 1 AS project_id,
        '2024-05-01 22:00:00'::TIMESTAMP + to_days((range // 4)::INTEGER) AS start, start + INTERVAL 6 HOUR AS "end",
        360 AS captures_count, start AS created_at, start AS updated_at FROM range({_SESSIONS})""",
    "main_sourceimage": """SELECT range + 1 AS id, 'season/' || range || '.jpg' AS path,
        'https://images.example.org/' AS public_base_url,
        '2024-05-01 22:00:00'::TIMESTAMP + to_minutes(range::BIGINT) AS timestamp, 4096 AS width, 2160 AS height,
        range % 4 + 1 AS deployment_id, 1 AS project_id FROM range(100000)""",
    "main_taxon": """SELECT range + 1 AS id, 'Genus' || chr((97 + range % 26)::INTEGER) || ' species' || range AS name,
        'SPECIES' AS rank, '[{"id": 100001, "name": "Lepidoptera", "rank": "ORDER"}]' AS parents_json
        FROM range(2000)""",
    "main_occurrence": f"""SELECT range + 1 AS id, range % 2000 + 1 AS determination_id,
        (range % 1000) / 1000 AS determination_score, range % {_SESSIONS} + 1 AS event_id,
        range % 4 + 1 AS deployment_id, 1 AS project_id, '2024-06-01'::TIMESTAMP AS created_at,
        created_at AS updated_at FROM range($n)""",
    "main_detection": """SELECT range + 1 AS id, range % 100000 + 1 AS source_image_id, range // 3 + 1 AS occurrence_id,
        1 AS detection_algorithm_id, '[' || range % 3000 || ', 100, ' || range % 3000 + 150 || ', 300]' AS bbox,
        'https://images.example.org/crops/' || range || '.jpg' AS path,
        '2024-06-01 22:00:00'::TIMESTAMP + to_seconds(range % 20000) AS timestamp,
        0.9 AS detection_score, '2024-07-01'::TIMESTAMP + to_seconds(range) AS updated_at FROM range(3 * $n)""",
    "main_classification": """SELECT range + 1 AS id, range // 2 + 1 AS detection_id, range // 6 % 2000 + 1 AS taxon_id,
        range % 2 + 2 AS algorithm_id, (range % 997) / 997 AS score, range % 2 = 1 AS terminal,
        '2024-06-01 22:00:00'::TIMESTAMP AS timestamp, '2024-07-01'::TIMESTAMP + to_seconds(range) AS updated_at
        FROM range(6 * $n)""",
    "main_identification": """SELECT range + 1 AS id, range * 10 + 1 AS occurrence_id, 1 AS user_id,
        range * 10 % 2000 + 1 AS taxon_id, false AS withdrawn, '' AS comment,
        '2024-07-01'::TIMESTAMP AS created_at FROM range($n // 10)""",
}


def main() -> None:
    """Run everything and print one line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--occurrences", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--json", action="store_true", help="also JSON, about ten kilobytes for each occurrence")
    parser.add_argument("--postgres", action="store_true", help="also reading from a PostgreSQL server")
    asked = parser.parse_args()
    for count in asked.occurrences:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            print(f"{count} occurrences, {3 * count} detections, {6 * count} classifications")
            _measured("write the inbox", _inbox, root, count)
            if asked.postgres:
                _postgres(root, count)
            _measured("ingest", _ingest, root, count)
            _measured("bare DuckDB, the same tables", _bare_tables, root, count)
            _measured("build the tables", _build, root, count)
            _measured("bare DuckDB, such joins and sorts", _bare_joins, root, count)
            _measured("dwca, profile spec", _dwca, root, count)
            _measured("verify it", _verify, root, count)
            _measured("dwca, profile gbif", _dwca_gbif, root, count)
            _measured("bare COPY and deflate of such text", _bare_gbif, root, count)
            _measured("bare COPY of the columns of spec", _bare_copy, root, count)
            _measured("zip of that at zlib's default", _default_zip, root, count)
            _measured("csv", _csv, root, count)
            _measured("camtrap dp", _camtrap_dp, root, count)
            if asked.json:
                _measured("json", _json, root, count)
                _measured("bare orjson of such objects", _bare_orjson, root, count)


def _inbox(root: Path, count: int) -> None:
    import duckdb

    folder = root / "inbox" / PROJECT
    folder.mkdir(parents=True)
    with duckdb.connect() as database:
        database.execute("SET enable_progress_bar = false")
        for table, query in _TABLES.items():
            query = query.replace("$n", str(count))
            database.execute(f"COPY ({query}) TO '{folder / table}.parquet' (FORMAT parquet)")


def _store(root: Path) -> Store:
    return Store.open(str(root / "store"))


def _ingest(root: Path, count: int) -> None:
    assert _step(root, "records")["main_occurrence"] == count


def _build(root: Path, count: int) -> None:
    assert _step(root, "occurrences")["occurrences"] == count


def _step(root: Path, name: str) -> Mapping[str, int | float]:
    """One step as its asset does it, hashing and committing included; returns its counts."""
    inbox, settings = root / "inbox" / PROJECT, OccurrencesSettings()
    made = run_steps(_store(root), OCCURRENCES, PROJECT, settings, inbox, ingest, only=[name])[name]
    assert made.generation.refused is None, made.generation.refused
    return made.report.counts


def _draft(root: Path, name: str, profile: Profile = Profile.SPEC) -> Draft:
    folder, store, options = root / name, _store(root), ArchiveOptions(profile=profile)
    folder.mkdir()
    members = {PROJECT: current(store, OCCURRENCES, PROJECT)}
    return Draft(store, PROJECT, members, folder, OccurrenceFilter(), options, OccurrencesSettings(), _NOW, 1)


def _dwca(root: Path, count: int) -> None:
    assert write_dwca(_draft(root, "spec")).record_count == count


def _verify(root: Path, count: int) -> None:
    verify_dwca(root / "spec", Written(count, counts={"occurrences": count, "events": _SESSIONS}))


def _dwca_gbif(root: Path, count: int) -> None:
    assert write_dwca(_draft(root, "gbif", Profile.GBIF)).record_count == count


def _csv(root: Path, count: int) -> None:
    assert write_csv(_draft(root, "csv")).record_count == count


def _json(root: Path, count: int) -> None:
    assert write_json(_draft(root, "json")).record_count == count


def _camtrap_dp(root: Path, count: int) -> None:
    written = write_camtrap_dp(_draft(root, "camtrap"))
    print(f"    {written.record_count:,} records: {dict(written.counts)}")


def _bare_orjson(root: Path, count: int) -> None:
    """Objects that are in memory already, written without anything that had to be looked up."""
    (found,) = (root / "json").glob("*.json")
    with found.open("rb") as lines:
        some = [orjson.loads(line.lstrip(b"[").rstrip(b"],\n")) for line in islice(lines, 1000)]
    with (root / "bare.json").open("wb") as file:
        for _ in range(count // len(some)):
            file.writelines(orjson.dumps(one, option=orjson.OPT_APPEND_NEWLINE) for one in some)


def _bare_tables(root: Path, count: int) -> None:
    """All rows read, typed as the tables are, sorted and written again, without a look at any of them."""
    import duckdb

    folder = root / "bare-tables"
    folder.mkdir()
    with duckdb.connect(config={"memory_limit": "500MB", "threads": 2, "temp_directory": str(root)}) as database:
        database.execute("SET enable_progress_bar = false")
        for source in SOURCES:
            path = root / "inbox" / PROJECT / f"{source.name}.parquet"
            if not path.exists():
                continue
            there = database.sql(f"FROM '{path}'").columns
            read = [
                f"CAST({sql.name(field.name) if field.name in there else 'NULL'} AS {SQL_TYPES[field.type]})"
                f" AS {sql.name(field.name)}"
                for field in source.table.schema
            ]
            database.execute(
                f"COPY (SELECT {', '.join(read)} FROM '{path}' ORDER BY {'id' if source.keyed else 'ALL'})"
                f" TO '{folder / source.name}.parquet' (FORMAT parquet, COMPRESSION zstd)"
            )


# Of the large derived tables only what is joined, grouped and sorted: no address is looked at, no box measured, no
# clock asked, no name understood.
_BARE = {
    "place": """SELECT o.*, e.start, row_number() OVER (ORDER BY e.start, o.event_id, o.id) AS position
        FROM main_occurrence o JOIN main_event e ON e.id = o.event_id
        WHERE o.id IN (SELECT DISTINCT occurrence_id FROM main_detection WHERE bbox IS NOT NULL)""",
    "detections": """SELECT p.position, d.*, i.public_base_url || i.path AS url, i.timestamp AS taken, i.width,
        i.height, s.score FROM main_detection d JOIN place p ON p.id = d.occurrence_id
        JOIN main_sourceimage i ON i.id = d.source_image_id
        LEFT JOIN (SELECT detection_id, max(score) AS score FROM main_classification GROUP BY detection_id) s
            ON s.detection_id = d.id
        ORDER BY p.position, d.id""",
    "predictions": """SELECT d.position, c.* FROM main_classification c JOIN detections d ON d.id = c.detection_id
        ORDER BY d.position, c.id""",
    "occurrences": """SELECT p.*, t.name, t.rank, t.parents_json, seen.* EXCLUDE (position), best.* EXCLUDE (position)
        FROM place p JOIN main_taxon t ON t.id = p.determination_id
        JOIN (SELECT position, count(*) AS count, min(timestamp) AS first, max(timestamp) AS last,
            arg_max(struct_pack(id, path, bbox, url), (score, -id)) AS detection FROM detections GROUP BY position
        ) seen ON seen.position = p.position
        JOIN (SELECT position, arg_max(struct_pack(id, taxon_id, algorithm_id, score, timestamp), (terminal, score, id))
            AS prediction FROM predictions GROUP BY position
        ) best ON best.position = p.position
        ORDER BY p.position""",
}


def _bare_joins(root: Path, count: int) -> None:
    """The large tables as bare DuckDB makes them; with the 500 MB that a step may have it runs out of memory."""
    import duckdb

    folder = root / "bare-joins"
    folder.mkdir()
    with duckdb.connect(config={"memory_limit": "2GB", "threads": 2, "temp_directory": str(root)}) as database:
        database.execute("SET enable_progress_bar = false")
        for table in _TABLES:
            database.execute(f"CREATE VIEW {table} AS FROM '{root / 'inbox' / PROJECT / table}.parquet'")
        for table, query in _BARE.items():
            database.execute(f"COPY ({query}) TO '{folder / table}.parquet' (FORMAT parquet, COMPRESSION zstd)")
            database.execute(f"CREATE VIEW {table} AS FROM '{folder / table}.parquet'")
        assert database.execute("SELECT count(*) FROM occurrences").fetchall() == [(count,)]


def _bare_copy(root: Path, count: int) -> None:
    """The stored columns that the archive shows, without order, quotes or cleaning."""
    with select(_draft(root, "bare"), []) as chosen:
        chosen.database.execute(
            f"""COPY (SELECT event_id, id, determination_name, rank, kingdom, phylum, class, "order", family, genus,
            specific_epithet, common_name, gbif_taxon_key, verified, updated_at FROM occurrences)
            TO '{root / "bare" / "occurrence.txt"}' (DELIMITER '\t', HEADER)"""
        )


# The text of the three large files of profile gbif, from columns as they are stored: not joined, cleaned, nor in order.
_GBIF_TEXT = {
    "occurrence": """SELECT 'urn:ami:event:large-season:' || event_id, 'urn:ami:occurrence:large-season:' || id,
        basis_of_record, 'present', scientific_name, authorship, scientific_rank, kingdom, phylum, class, "order",
        family, genus, specific_epithet, common_name, gbif_taxon_key, individual_count, identified_by,
        strftime(identified_at, '%Y-%m-%dT%H:%M:%S') || '+02:00', verified,
        'http://creativecommons.org/licenses/by/4.0/legalcode', '', detection_capture_url,
        detection_capture_url, detection_capture_url, strftime(updated_at, '%Y-%m-%dT%H:%M:%S'),
        strftime(first_appearance, '%Y-%m-%d'), strftime(first_appearance, '%H:%M:%S') || '+02:00', determination_name,
        qualifier FROM occurrences""",
    "media": """SELECT 'urn:ami:event:large-season:' || occurrence_id // 2500,
        'urn:ami:occurrence:large-season:' || occurrence_id, 'StillImage', 'image/jpeg', address,
        strftime(timestamp, '%Y-%m-%dT%H:%M:%S') || '+02:00', 'http://creativecommons.org/licenses/by/4.0/legalcode',
        '', '', 'Crop of a detection' FROM (SELECT *, unnest([capture_url, url]) AS address FROM detections)""",
    "measurements": """SELECT 'urn:ami:event:large-season:' || event_id, 'urn:ami:occurrence:large-season:' || id,
        'urn:ami:occurrence:large-season:' || id || ':' || kind, kind,
        CASE kind WHEN 'boundingBox' THEN detection_bbox ELSE printf('%.6f', prediction_score) END, 'proportion',
        prediction_algorithm FROM (SELECT *,
            unnest(['classificationScore', 'detectionScore', 'boundingBox']) AS kind FROM occurrences)""",
}


def _bare_gbif(root: Path, count: int) -> None:
    """As much text of the same kind, written by DuckDB alone, then deflated as archives are."""
    with select(_draft(root, "bare-gbif"), [schema.DETECTIONS]) as chosen:
        for name, query in _GBIF_TEXT.items():
            chosen.database.execute(
                f"COPY ({query}) TO '{root / 'bare-gbif' / name}.txt' (DELIMITER '\t', QUOTE '', ESCAPE '')"
            )
    with Zip(root / "bare-gbif.zip", hashed=False) as target:
        for name in _GBIF_TEXT:
            with (root / "bare-gbif" / f"{name}.txt").open("rb") as text, target.member(name) as member:
                while block := text.read(1 << 20):
                    member.write(block)


def _default_zip(root: Path, count: int) -> None:
    with zipfile.ZipFile(root / "spec.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        (found,) = (root / "spec").glob("*.zip")
        with (
            zipfile.ZipFile(found) as source,
            source.open("occurrence.txt") as lines,
            archive.open("occurrence.txt", "w", force_zip64=True) as entry,
        ):
            while block := lines.read(1 << 20):
                entry.write(block)


def _postgres(root: Path, count: int) -> None:
    """Fill a server, read it in our way, and beside it with `COPY … TO STDOUT` alone."""
    with postgres_server() as server:
        (root / "dsn").write_text(server.get_uri())
        _measured("fill the server", _fill, root, count)
        _measured("postgres to Parquet", _refresh, root, count)
        _measured("refresh without a change", _refresh, root, count)
        _measured("COPY … TO STDOUT alone", _copy_out, root, count)


def _fill(root: Path, count: int) -> None:
    dsn = (root / "dsn").read_text()
    create_tables(dsn)
    load(dsn, root / "inbox" / PROJECT)


def _refresh(root: Path, count: int) -> None:
    read = postgres.refresh((root / "dsn").read_text(), PROJECT, root / "mirror" / PROJECT, OccurrencesSettings())
    print(f"    {sum(read.values()):,} rows read")


def _copy_out(root: Path, count: int) -> None:
    import psycopg2

    with psycopg2.connect((root / "dsn").read_text()) as connection, connection.cursor() as cursor:
        for source in SOURCES:
            columns = ", ".join(f'"{name}"' for name in source.columns)
            with Path(os.devnull).open("wb") as sink:
                cursor.copy_expert(f"COPY {source.name} ({columns}) TO STDOUT (FORMAT csv)", sink)


def _measured(name: str, work: Callable[[Path, int], Any], root: Path, count: int) -> None:
    """Run one step in a new process and print its time, rate and peak memory."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_run, args=(work, root, count, answers))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{name} failed")
    seconds, cpu, megabytes = answers.get()
    rate = f"{count / seconds:12,.0f} occurrences/s"
    print(f"  {name:32} {seconds:7.2f} s {rate} {cpu:7.2f} CPU s {megabytes:7.0f} MB", flush=True)


def _run(work: Callable[[Path, int], Any], root: Path, count: int, answers: Any) -> None:
    memory.share()  # as every process of Sheaf does
    memory.lean_arrow()
    started, used = time.perf_counter(), time.process_time()
    work(root, count)
    spent = time.perf_counter() - started, time.process_time() - used
    answers.put((*spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


if __name__ == "__main__":
    main()
