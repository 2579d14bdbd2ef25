"""How Sheaf is driven: the Dagster definitions and the command line."""

import os
import warnings

# Dagster marks backfill policies and partitioned checks as beta and preview. Sheaf uses them on
# purpose and pins Dagster's minor version; operators need not read it at every start.
warnings.filterwarnings("ignore", message=r".*is currently in (beta|preview)")

# The others would wait for work that never comes, which is up to a fifth of what a short step takes: read when numpy is
# loaded, so here. Who reads exports in a process of their own keeps what they have.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
