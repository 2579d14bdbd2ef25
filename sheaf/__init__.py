"""What Sheaf knows: records, tables, analysis and the publishing of exports.

Pure Python, readable and testable on its own. Nothing here imports Dagster.
"""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sheaf.reader import Dataset

if sys.platform == "linux":  # the C library gives back what its own allocator freed, Arrow's others keep half of it
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

__version__ = "0.1.0"


def open(name: str, store: str | None = None) -> "Dataset":  # noqa: A001  # `sheaf.open`, as people know `open`
    """Open a published export to read it; see `sheaf.reader.Dataset`.

    Args:
        name: `domain/partition/series`, which is its latest export, or with `/v7` that one for ever.
        store: the store's URL, as in `SHEAF_STORE_URL`; without it, what the settings name.

    Raises:
        UsageError: the name has another shape.
        NotFoundError: there is no such export.

    Example:
        >>> sheaf.open("fermentation/campaign/campaign_parquet").to_pandas()
    """
    from sheaf.reader import open_export  # what it needs takes longer to load than most scripts take

    return open_export(name, store)


def open_every(series: str, store: str | None = None) -> "dict[str, Dataset]":
    """Open the latest export of a series in every partition that has one, by partition.

    Args:
        series: `domain/series`.
        store: as for `sheaf.open`.

    Raises:
        UsageError: the name has another shape.

    Example:
        >>> for batch, samples in sheaf.open_every("fermentation/samples_csv").items():
        ...     print(batch, len(samples.to_pandas()))
    """
    from sheaf.reader import open_every

    return open_every(series, store)
