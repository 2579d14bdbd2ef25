"""How the exports of a batch are named and what is said about its state."""

from collections.abc import Mapping
from typing import Any


def export_name(batch: Mapping[str, Any]) -> str:
    """Start of a file name, such as `batch_1_phase_A`.

    Number and phase were checked when the batch was read: a whole number, and A, B or C.
    """
    return f"batch_{int(batch['batch_number'])}_phase_{batch['phase']}"


def provisional(batch: Mapping[str, Any]) -> list[str]:
    """A warning for batches that are not finished."""
    if batch["status"] in ("running", "pending"):
        return [f"The batch is {batch['status']}: this export is provisional."]
    return []
