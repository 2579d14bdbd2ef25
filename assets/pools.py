"""The pools of Dagster that runs share, known to it before two runs ask for one at once.

Dagster registers a pool when a run first asks for it. In a new PostgreSQL, of two that do so at the same moment, one
fails and has to be tried again. Here: which pools there are. Not here: how much runs at once (`dagster.yaml`).
"""

import threading

import dagster as dg

from sheaf.steps import Domain

EXPORTS = "exports"
"""The pool of everything that publishes."""
_ONE_AT_A_TIME = threading.Lock()


def register(instance: dg.DagsterInstance, domain: Domain) -> None:
    """Register the pools of a domain, where pools have a limit and these are not known."""
    if instance.global_op_concurrency_default_limit is None:
        return
    storage = instance.event_log_storage
    with _ONE_AT_A_TIME:  # sensors tick at the same time, in one process
        wanted = {EXPORTS, *(step.pool for step in domain.steps if step.pool)}
        for pool in sorted(wanted - storage.get_concurrency_keys()):
            storage.initialize_concurrency_limit_to_default(pool)
