"""Read the Delta tables of the demo with readers that are no dependency: DuckDB's own extension, and Polars.

Usage: python .ci/delta_readers.py STORE

STORE is a store where the demo has published. The readers run in an environment of their own, because the extension
exists for another DuckDB than the product's. What they read must be what deltalake reads: the same columns,
each with as many values. Exits with 1 where it is not.
"""

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import deltalake

READERS = ("duckdb==1.5.5", "duckdb-extension-delta==1.5.5", "polars", "deltalake", "pyarrow")
READ = """
import json, sys, importlib.util, pathlib
import duckdb, polars
extension = importlib.util.find_spec("duckdb_extension_delta").submodule_search_locations[0]
database = duckdb.connect()
database.execute(f"LOAD '{next(pathlib.Path(extension).rglob('delta.duckdb_extension'))}'")
found = {}
for table in sys.argv[1:]:
    scanned = database.sql(f"SELECT count(COLUMNS(*)) FROM delta_scan('{table}')")
    lazily = polars.scan_delta(table).collect().count()
    found[table] = {
        "DuckDB": dict(zip(scanned.columns, scanned.fetchone())),
        "Polars": lazily.row(0, named=True),
    }
print(json.dumps(found))
"""


def main(store: Path) -> int:
    """Read every table with every reader; 1 when one differs."""
    tables = sorted(path.parent for path in store.glob("exports/**/_delta_log"))
    if not tables:
        sys.exit(f"{store} has no Delta table: run `make demo` first.")
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", *READERS]
        subprocess.run(install, check=True, stderr=subprocess.DEVNULL)  # noqa: S603 - our own command
        read = [python, "-c", READ, *map(str, tables)]
        found = json.loads(subprocess.run(read, check=True, capture_output=True, text=True).stdout)  # noqa: S603
    wrong = 0
    for table in tables:
        frame = deltalake.DeltaTable(table).to_pandas()
        for reader, counts in found[str(table)].items():
            same = counts == frame.count().to_dict()
            wrong += not same
            print(f"{table.relative_to(store)}: {reader} {len(frame)} rows: {'ok' if same else 'DIFFERS'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
