"""`all_batches_training_data.csv`: the samples of many batches in one file.

By default eligible training batches; with `include=all` every complete batch, as in the specification.
"""

from collections.abc import Iterator

from sheaf.exports.series import Draft, Written
from sheaf.fermentation import schema
from sheaf.fermentation.writers.campaign import campaign_batches, campaign_warnings
from sheaf.fermentation.writers.samples_csv import sample_rows, write_sample_rows
from sheaf.tables.pinned import Tables

FILE = "all_batches_training_data.csv"


def write_campaign_csv(draft: Draft) -> Written:
    """Write the samples of the chosen batches, by batch number, phase and time."""
    chosen = campaign_batches(draft)
    count = 0

    def rows() -> Iterator[list[str]]:
        nonlocal count
        for partition, batch in chosen:
            tables = draft.members[partition]
            samples = tables.read(schema.SAMPLES).to_pylist()
            current = [row for row in samples if row["superseded_by"] is None]
            if draft.options.include == "eligible":
                eligible = _eligible_samples(tables)
                current = [row for row in current if row["id"] in eligible]
            wanted = sample_rows(batch, [row for row in current if draft.filter.keeps(row)])
            count += len(wanted)
            yield from wanted

    write_sample_rows(draft.folder / FILE, rows())
    return Written(
        record_count=count,
        rows={FILE: count},
        counts={"batches": len(chosen), "samples": count},
        warnings=tuple(campaign_warnings(draft, chosen)),
    )


def _eligible_samples(tables: Tables) -> set[int]:
    training = tables.read(schema.TRAINING_SAMPLES, ["sample_id", "eligible"])
    return {row["sample_id"] for row in training.to_pylist() if row["eligible"]}
