"""The command line `sheaf`, a module for each group of commands."""

from importlib.util import find_spec

if find_spec("typer") is None:
    raise SystemExit("Only the reader is installed (`import sheaf`): for commands, install `sheaf[pipeline]`.")
