"""The store that a command works on, loaded when the command runs: what is only explained or completed needs none."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sheaf.store.store import Store


def store() -> "Store":
    """The store that the configuration names."""
    from sheaf.settings import Settings
    from sheaf.store.store import Store

    return Store.open(Settings.load().store_url)
