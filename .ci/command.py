"""Run the `sheaf` command for a check, and read what it published.

Here: one home folder for one check, and nothing that knows a domain.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("sheaf")


class Home:
    """A `SHEAF_HOME` of its own: what a check puts into `inbox` is run, and read back from `store`."""

    def __init__(self, path: Path, environment: dict[str, str] | None = None) -> None:
        self.path, self.inbox, self.store = path, path / "inbox", path / "store"
        ours = {key: value for key, value in os.environ.items() if not key.startswith(("SHEAF_", "DAGSTER_"))}
        self._environment = ours | {"SHEAF_HOME": str(path)} | (environment or {})

    def sheaf(self, *arguments: str) -> Any:
        """What a command prints with `--json`.

        Raises:
            SystemExit: the command failed, or printed a failed export; with what it said.
        """
        command = [PROGRAM, *arguments, "--json"]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            sys.exit(f"sheaf {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def files(self, result: dict[str, Any]) -> dict[str, Path]:
        """The published files of one result of `run` or `export`, by their path in the export."""
        return {file["path"]: self.store / result["path"] / file["path"] for file in result["files"]}
