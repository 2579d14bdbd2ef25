"""Read what the demo published with readers of gigabytes: Spark, and torchvision, which trains a detector.

Usage: python .ci/large_readers.py STORE

STORE is a store where the demo has published. Each reader runs in an environment of its own; Spark needs Java. Exits
with 1 where Spark finds other rows in a folder than Sheaf's own reader, or the detector does not learn. A reader that
cannot be fetched is named.
"""

import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

import sheaf
from sheaf.exports.records import read_latest
from sheaf.names import SeriesId
from sheaf.store.store import Store

SPARK = """
import json, sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
tables = {folder: spark.read.parquet(folder) for folder in sys.argv[1:]}
print(json.dumps({folder: [table.count(), len(table.columns)] for folder, table in tables.items()}))
"""


def main(store: Path) -> int:
    """Ask both; 1 when one is wrong."""
    return max(spark(store), detector(store))


def spark(store: Path) -> int:
    """Each folder of a Parquet series as one table."""
    folders: dict[str, str] = {}
    for pointer in sorted(store.glob("exports/*/*/*/latest.json")):
        domain, partition, series = pointer.parts[-4:-1]
        latest = read_latest(Store.open(str(store)), SeriesId(domain, partition, series))
        folder = pointer.parent / f"v{latest.version:04d}" if latest else pointer.parent
        if list(folder.glob("*.parquet")):
            folders[str(folder)] = f"{domain}/{partition}/{series}"
    printed = _run(("pyspark==4.3.0",), "-c", SPARK, *folders)
    if printed is None:
        return 0
    found, wrong = json.loads(printed.splitlines()[-1]), 0
    for folder, name in folders.items():
        table = sheaf.open(name, str(store)).to_arrow()
        same = found[folder] == [table.num_rows, table.num_columns]
        wrong += not same
        print(f"{name}: Spark {table.num_rows} rows: {'ok' if same else f'DIFFERS: {found[folder]}'}")
    return 1 if wrong or not folders else 0


def detector(store: Path) -> int:
    """The example as it stands, with the packages of this environment behind its own."""
    printed = _run(
        ("torch==2.14.1", "torchvision==0.29.1"), "examples/train_detector.py", "drawn-shapes", str(store), "--steps=12"
    )
    if printed is None:
        return 0
    print(printed.strip())
    first, last = re.findall(r"\d+\.\d+", printed.splitlines()[-1])
    return 0 if float(last) < float(first) else 1


def _run(packages: tuple[str, ...], *program: str) -> str | None:
    """What a program prints in an environment of its own; None where that cannot be made."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-cache-dir", *packages]
        if subprocess.run(install, stderr=subprocess.DEVNULL).returncode:  # noqa: S603 - our own command
            print(f"NOT RUN: {', '.join(packages)} cannot be fetched here")
            return None
        where = {"PYTHONPATH": f"{Path.cwd()}{os.pathsep}{sysconfig.get_path('purelib')}"}
        run = subprocess.run([python, *program], check=True, stdout=subprocess.PIPE, text=True, env=os.environ | where)  # noqa: S603
        return run.stdout


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
