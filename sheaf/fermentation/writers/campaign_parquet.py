"""`all_batches_training_data.parquet`: the training samples of many batches in one file.

By default eligible rows of training batches; with `include=all` every complete batch.
"""

import pyarrow as pa

from sheaf.exports.series import Draft, Written
from sheaf.fermentation import schema
from sheaf.fermentation.writers.campaign import campaign_batches, campaign_warnings
from sheaf.fermentation.writers.training_parquet import write_parquet
from sheaf.fermentation.writers.wide import with_sensors

FILE = "all_batches_training_data.parquet"


def write_campaign_parquet(draft: Draft) -> Written:
    """Write the training samples of the chosen batches, by batch number, phase and time."""
    chosen = campaign_batches(draft)
    plan = draft.made_with["plan"] if draft.members else draft.settings.plan.model_dump(mode="json")
    none = schema.SAMPLE_SENSORS.schema.empty_table()
    parts = [with_sensors(schema.TRAINING_SAMPLES.schema.empty_table(), none, "sample_id", plan)]
    for partition, _ in chosen:
        samples = draft.members[partition].read(schema.TRAINING_SAMPLES)
        only_eligible = draft.options.include == "eligible"
        keep = [draft.filter.keeps(row) and (row["eligible"] or not only_eligible) for row in samples.to_pylist()]
        kept = samples.filter(pa.array(keep, pa.bool_()))
        parts.append(with_sensors(kept, draft.members[partition].read(schema.SAMPLE_SENSORS), "sample_id", plan))
    data = pa.concat_tables(parts).combine_chunks()
    write_parquet(draft, FILE, data)
    return Written(
        record_count=data.num_rows,
        rows={FILE: data.num_rows},
        counts={"batches": len(chosen), "samples": data.num_rows},
        warnings=tuple(campaign_warnings(draft, chosen)),
    )
