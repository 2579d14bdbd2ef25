"""What Sheaf knows: records, tables, analysis and the publishing of exports.

Pure Python, readable and testable on its own. Nothing here imports Dagster.
"""

import os
import sys

if sys.platform == "linux":  # where Arrow has it: it gives memory back that the other one would keep
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")

__version__ = "0.1.0"
