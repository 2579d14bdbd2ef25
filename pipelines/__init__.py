"""How Sheaf is driven: the Dagster definitions and the command line."""

import warnings

# Dagster marks backfill policies and partitioned checks as beta and preview. Sheaf uses them on
# purpose and pins Dagster's minor version; operators need not read it at every start.
warnings.filterwarnings("ignore", message=r".*is currently in (beta|preview)")
