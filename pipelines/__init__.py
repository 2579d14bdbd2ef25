"""How Sheaf is driven: the Dagster definitions and the command line."""
