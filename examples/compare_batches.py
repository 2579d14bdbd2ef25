"""Compare all batches: growth, oxygen and yields of each, from its newest export, with DuckDB.

Usage: python examples/compare_batches.py [STORE]     (a folder or s3://…; without it, where the commands publish)

Each batch has tables of samples, of feature windows in 30 s and of yields in its `training_parquet`. They are read with
`sheaf.open_every`, which compares every byte with its sha256, and asked together.
"""

import sys

import duckdb
import pandas as pd
import pyarrow as pa

import sheaf

QUESTION = """
FROM (SELECT batch, max(mu) AS mu_max, max(OUR) AS our_max, max(OD) AS od_max FROM windows GROUP BY batch)
JOIN (SELECT batch, bool_and(eligible) AS eligible, count(*) AS samples FROM samples GROUP BY batch) USING (batch)
LEFT JOIN (SELECT batch, Y_XS AS yield_on_substrate FROM yields) USING (batch)
ORDER BY batch
"""


def compare(store: str | None = None) -> pd.DataFrame:
    """A row for each batch."""
    batches = sheaf.open_every("fermentation/training_parquet", store)
    if not batches:
        raise SystemExit("No batch has been published yet: `sheaf run fermentation`, or `sheaf demo`.")
    with duckdb.connect() as database:
        for name, table in {"samples": "training_samples", "windows": "features_30s", "yields": "yields"}.items():
            database.register(name, pa.concat_tables(_of(batches, table), promote_options="permissive"))
        return database.execute(QUESTION).df()


def _of(batches: dict[str, "sheaf.reader.Dataset"], table: str) -> list[pa.Table]:
    """A table of each batch, with the name of the batch in a column."""
    found = []
    for batch, published in batches.items():
        rows = published.to_arrow(table)
        found.append(rows.append_column("batch", pa.array([batch] * len(rows), pa.string())))
    return found


if __name__ == "__main__":
    print(compare(*sys.argv[1:2]).round(3).to_string(index=False))
