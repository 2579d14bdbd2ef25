"""The object store that holds all tables and exports."""

import dagster as dg

from sheaf.store.store import Store


class StoreResource(dg.ConfigurableResource):
    """A local directory or `s3://bucket/prefix`; credentials come from the standard AWS variables."""

    url: str

    def open(self) -> Store:
        """Open the store; raises `StoreError` when that cannot work."""
        return Store.open(self.url)
