"""Starting runs: each in a process of its own, some at once, the others wait; the server's end is not theirs.

What is launched are the same runs that the command line makes, so the UI shows them. A pending export whose server
ended before it was started is taken up by the next one.
"""

import logging
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from sheaf.errors import SheafError
from sheaf.exports.records import Record, Status, all_series, read_record, records, write_record
from sheaf.settings import Settings
from sheaf.store import scratch
from sheaf.store.store import Store

AT_ONCE = 2
BEAT_S = 60.0
_LOG = logging.getLogger(__name__)


class Launcher:
    """Runs that this server has started, and those that wait."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="launch")
        self._waiting: dict[str, Record] = {}
        self._stop = threading.Event()
        self._beat = threading.Thread(target=self._renew, name="waiting exports", daemon=True)
        self._beat.start()

    def export(self, record: Record) -> None:
        """Make a pending export."""
        self._waiting[str(record.id)] = record
        self._pool.submit(self._run, "export", str(record.id))

    def media_batch(self, batch: str) -> None:
        """Analyse a media batch."""
        self._pool.submit(self._run, "media", batch)

    def resume(self) -> None:
        """Take up what an earlier server of this machine left pending."""
        for series in all_series(self._store):
            for record in records(self._store, series):
                if (
                    record.status is Status.PENDING
                    and record.host == socket.gethostname()
                    and not scratch.process_runs(record.pid)
                ):
                    ours = record.model_copy(update={"pid": os.getpid(), "heartbeat_at": datetime.now(UTC)})
                    write_record(self._store, ours)
                    self.export(ours)

    def close(self) -> None:
        """Start nothing more; what runs goes on."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, what: str, name: str) -> None:
        self._waiting.pop(name, None)
        command = [sys.executable, "-m", "pipelines.http.worker", what, name]
        environment = os.environ | {"SHEAF_HOME": str(self._settings.home)}
        ended = subprocess.run(  # noqa: S603  # its arguments were checked as names
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            check=False,
        )
        if ended.returncode:
            _LOG.warning("%s %s: %s", what, name, ended.stderr.decode(errors="replace").strip()[-2000:])

    def _renew(self) -> None:
        """Those that wait are not dead."""
        while not self._stop.wait(BEAT_S):
            for record in list(self._waiting.values()):
                try:
                    current = read_record(self._store, record.id)
                    if current.status is Status.PENDING:
                        beat = {"heartbeat_at": datetime.now(UTC)}
                        write_record(self._store, current.model_copy(update=beat))
                except SheafError:
                    continue
