"""What the table assets of all domains share: everything about them but their work."""

from collections.abc import Callable, Mapping, Sequence

import dagster as dg

from assets.steps import OWNER, backfill_policy, column_schema
from sheaf.tables import Table


def table_asset(
    key: dg.AssetKey,
    partitions: dg.PartitionsDefinition,
    table: Table | None,
    *,
    deps: Sequence[dg.AssetKey] = (),
    checks: Mapping[str, str] | None = None,
    kinds: Sequence[str] = ("parquet",),
    pool: str | None = None,
    in_one_run: int | None = None,
) -> Callable[..., dg.AssetsDefinition]:
    """The decorator of a step that writes tables; its docstring is what the UI says about it.

    Args:
        key: domain and name.
        partitions: the domain's partitions.
        table: the main one; its columns are shown on the asset's page. None for a step that only looks.
        deps: the steps whose tables it reads.
        checks: what it checks, by name of the check.
        kinds: what it is made with.
        pool: concurrency pool, for steps that press on a shared resource.
        in_one_run: how many partitions of a backfill share a run; None for all, where they are light.
    """
    return dg.asset(
        key=key,
        partitions_def=partitions,
        deps=list(deps),
        group_name=key.path[0],
        kinds=set(kinds),
        owners=[OWNER],
        tags={"sheaf/step": "table"},
        metadata={"dagster/column_schema": column_schema(table)} if table else None,
        pool=pool,
        backfill_policy=backfill_policy(in_one_run),
        check_specs=[
            dg.AssetCheckSpec(name, asset=key, description=description, partitions_def=partitions)
            for name, description in (checks or {}).items()
        ],
    )
