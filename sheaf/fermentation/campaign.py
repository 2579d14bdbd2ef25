"""Which batches a campaign export takes, the same for each of its formats."""

from collections.abc import Mapping, Sequence
from typing import Any

from sheaf import tables
from sheaf.exports.series import Draft
from sheaf.fermentation import schema

Chosen = Sequence[tuple[str, Mapping[str, Any]]]


def campaign_batches(draft: Draft) -> Chosen:
    """Partition and batch row of every batch that is taken, by number, phase and partition.

    A batch counts as eligible only after its training samples were built.
    """
    chosen = []
    for partition in tables.partitions(draft.store, schema.BATCHES):
        batch = tables.read(draft.store, schema.BATCHES, partition).to_pylist()[0]
        if not draft.filter.keeps_batch(partition, batch["phase"]):
            continue
        if draft.options.include == "all":
            taken = batch["status"] == "complete"
        else:
            taken = _is_training_batch(draft, partition)
        if taken:
            chosen.append((partition, batch))
    return sorted(chosen, key=lambda entry: (entry[1]["batch_number"], entry[1]["phase"], entry[0]))


def _is_training_batch(draft: Draft, partition: str) -> bool:
    if tables.version(draft.store, schema.ELIGIBILITY, partition) is None:
        return False
    verdict = tables.read(draft.store, schema.ELIGIBILITY, partition).to_pylist()[0]
    return verdict["eligible"] and verdict["split"] == "train"


def campaign_warnings(draft: Draft, chosen: Chosen) -> list[str]:
    """What a reader of the export should know."""
    warnings = []
    if not chosen and draft.options.include == "eligible":
        warnings.append(
            "No batch is eligible for training, so the export is empty: "
            "see ineligible_reason of each batch, or use include=all."
        )
    elif not chosen:
        warnings.append("No batch is complete, so the export is empty.")
    if draft.options.include == "all":
        if any(batch["phase"] == "C" for _, batch in chosen):
            warnings.append("Phase C batches are in this export: they are the hold-out, never train on them.")
        warnings.append("Batches that fail the acceptance rules are in this export too.")
    ids = [batch["batch_id"] for _, batch in chosen]
    if repeated := sorted({each for each in ids if ids.count(each) > 1}):
        warnings.append(f"These batch ids are in more than one partition: {', '.join(repeated)}.")
    return warnings
