"""The inbox: the folder in which records arrive as files."""

from pathlib import Path

import dagster as dg

from sheaf import inbox


class InboxResource(dg.ConfigurableResource):
    """An inbox root with one folder per domain and, below it, one per partition."""

    root: str

    @property
    def path(self) -> Path:
        """The root as a path."""
        return Path(self.root)

    def folder(self, domain: str, partition: str) -> Path:
        """Where the files of one partition are; raises `InputError` when there are none."""
        return inbox.partition_folder(self.path, domain, partition)
