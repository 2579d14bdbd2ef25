"""What the server starts: `python -m pipelines.http.worker export NAME`, or `media BATCH`.

One run in a process of its own, on the same Dagster instance as all others.
"""

import os
import socket
import sys
from datetime import UTC, datetime

from pipelines.runs import Runner
from sheaf.domains import domain_named
from sheaf.errors import SheafError
from sheaf.exports.outcome import give_up
from sheaf.exports.publish import Request
from sheaf.exports.records import Status, read_record, write_record
from sheaf.names import parse_exact
from sheaf.settings import Settings


def export(runner: Runner, name: str) -> None:
    """Make an export that is pending; whatever happens, its record tells how it ended."""
    named = parse_exact(name)
    series_id, version = named.series, named.version
    record = read_record(runner.store, named)
    if record.status is not Status.PENDING:
        return
    ours = {"host": socket.gethostname(), "pid": os.getpid(), "heartbeat_at": datetime.now(UTC)}
    write_record(runner.store, record.model_copy(update=ours))
    domain = domain_named(series_id.domain)
    request = Request(
        partition=series_id.partition,
        filter=record.filter,
        options=record.options,
        name=record.name,
        requested_by=record.requested_by,
        always=True,
        version=version,
    )
    reason = "Its run ended without it; see it in the Dagster UI."
    try:
        reason = runner.export(domain, domain.series_named(series_id.series), request).error or reason
    except SheafError as error:
        reason = str(error)
    finally:
        record = read_record(runner.store, record.id)
        if record.status.is_open:
            give_up(runner.store, record, reason)


def main(what: str, name: str) -> None:
    """Do one piece of work."""
    runner = Runner(Settings.load())
    if what == "export":
        export(runner, name)
    else:
        runner.run_partition(domain_named("media"), name)


if __name__ == "__main__":
    main(*sys.argv[1:])
