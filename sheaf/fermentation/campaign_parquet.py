"""`all_batches_training_data.parquet`: the training samples of many batches in one file.

By default eligible rows of training batches; with `include=all` every complete batch.
"""

import pyarrow as pa

from sheaf import tables
from sheaf.exports.series import Draft, Written
from sheaf.fermentation import schema
from sheaf.fermentation.campaign import campaign_batches, campaign_warnings
from sheaf.fermentation.training_parquet import write_parquet

FILE = "all_batches_training_data.parquet"


def write_campaign_parquet(draft: Draft) -> Written:
    """Write the training samples of the chosen batches, by batch number, phase and time."""
    chosen = [
        (partition, batch)
        for partition, batch in campaign_batches(draft)
        if tables.version(draft.store, schema.TRAINING_SAMPLES, partition) is not None
    ]
    parts = [schema.TRAINING_SAMPLES.schema.empty_table()]
    for partition, _ in chosen:
        samples = tables.read(draft.store, schema.TRAINING_SAMPLES, partition)
        only_eligible = draft.options.include == "eligible"
        keep = [draft.filter.keeps(row) and (row["eligible"] or not only_eligible) for row in samples.to_pylist()]
        parts.append(samples.filter(pa.array(keep, pa.bool_())))
    data = pa.concat_tables(parts).combine_chunks()
    write_parquet(draft.folder / FILE, data, draft.options.gas_balance)
    return Written(
        record_count=data.num_rows,
        rows={FILE: data.num_rows},
        counts={"batches": len(chosen), "samples": data.num_rows},
        warnings=tuple(campaign_warnings(draft, chosen)),
    )
