"""Which batches a campaign export takes, the same for each of its formats."""

from collections.abc import Mapping, Sequence
from typing import Any

from sheaf.exports.series import Draft
from sheaf.fermentation import schema
from sheaf.tables.pinned import Tables

Chosen = Sequence[tuple[str, Mapping[str, Any]]]


def campaign_batches(draft: Draft) -> Chosen:
    """Partition and batch row of every batch that is taken, by number, phase and partition.

    A batch that is in several partitions (a folder and a live system) is taken once, from the one that is named after
    its id, and for training only where all of them say that it may be.
    """
    found: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for partition, tables in sorted(draft.members.items()):
        batch = tables.read(schema.BATCHES).to_pylist()[0]
        if draft.filter.keeps_batch(partition, batch["phase"]):
            found.setdefault(batch["batch_id"], []).append((partition, batch))
    chosen = []
    for batch_id, same in found.items():
        everything = draft.options.include == "all"
        if everything:
            same = [(partition, batch) for partition, batch in same if batch["status"] == "complete"]
        elif not all(_is_training_batch(draft.members[partition]) for partition, _ in same):
            continue
        if same:
            chosen.append(next((one for one in same if one[0] == batch_id), same[0]))
    return sorted(chosen, key=lambda entry: (entry[1]["batch_number"], entry[1]["phase"], entry[0]))


def _is_training_batch(tables: Tables) -> bool:
    verdict = tables.read(schema.ELIGIBILITY).to_pylist()[0]
    return verdict["eligible"] and verdict["split"] == "train"


def _twice(draft: Draft) -> list[str]:
    """The partitions that hold the same batch, as sentences."""
    found: dict[str, list[str]] = {}
    for partition, tables in sorted(draft.members.items()):
        found.setdefault(tables.read(schema.BATCHES, ["batch_id"]).to_pylist()[0]["batch_id"], []).append(partition)
    return [
        f"Batch {batch_id} is in the partitions {', '.join(same)}: it is taken once."
        for batch_id, same in found.items()
        if len(same) > 1
    ]


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
        held = sorted(
            {batch["phase"] for _, batch in chosen if draft.settings.plan.phase(batch["phase"]).split != "train"}
        )
        if held:
            told = ", ".join(held)
            warnings.append(f"Phase {told} batches are in this export: they are the hold-out, never train on them.")
        warnings.append("Batches that fail the acceptance rules are in this export too.")
    return [*warnings, *_twice(draft)]
