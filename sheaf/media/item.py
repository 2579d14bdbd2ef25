"""One item of a batch in a process of its own.

The process leads a process group that holds its ffmpeg too, so that time-out and cancellation end
everything at once, and a decoder that exhausts memory takes only its own item with it. The same
module is the program that runs in it: `python -m sheaf.media.item`.
"""

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sheaf import clock
from sheaf.media.batch_record import FinishedItem, ItemError
from sheaf.media.errors import MediaError, OutsideRootsError
from sheaf.media.result import PairOptions, PairResult, Status

ENGINE_VERSION = 3
"""Raise it when the same files may get another answer: finished items are then analysed again."""

_GRACE_S = 3.0  # an item ends itself at its time limit; after this it is ended
_TRY_AGAIN = ("TIMEOUT", "TOOL", "CRASHED")


class Job(BaseModel):
    """What an item's process is told."""

    master: Path
    dub: Path
    options: PairOptions


class _Answer(BaseModel):
    result: PairResult | None = None
    error: ItemError | None = None


def fingerprint(job: Job) -> str:
    """Identity of what an item is made from: both files by place, size and time, and the options."""
    digest = hashlib.sha256(f"{ENGINE_VERSION}\n{job.model_dump_json()}".encode())
    for path in (job.master, job.dub, *sorted(job.options.models.values())):
        with suppress(OSError):
            state = path.stat()
            digest.update(f"\n{path}\n{state.st_size}\n{state.st_mtime_ns}".encode())
    return digest.hexdigest()


def is_final(item: FinishedItem, wanted: str) -> bool:
    """Whether a kept item answers for these files and options, so that it is not analysed again."""
    if item.fingerprint != wanted or item.status is Status.CANCELLED:
        return False
    return item.error is None or item.error.code not in _TRY_AGAIN


def run_item(item_id: str, job: Job, stopped: Callable[[], bool]) -> FinishedItem:
    """Analyse one pair in a process of its own.

    Args:
        stopped: asked several times a second; the item is ended when it says yes.

    Returns:
        The finished item, whatever happened to it.
    """
    started = time.monotonic()
    identity = fingerprint(job)
    answer = _Answer(error=ItemError(code="CANCELLED", message="The batch was cancelled."))
    if not stopped():
        answer = _ask(job, stopped)
    status = Status.FAILED
    if answer.result:
        status = answer.result.status
    elif answer.error and answer.error.code == "CANCELLED":
        status = Status.CANCELLED
    return FinishedItem(
        item_id=item_id,
        fingerprint=identity,
        status=status,
        error=answer.error,
        analysed_at=clock.now(),
        analysis_seconds=round(time.monotonic() - started, 3),
        result=answer.result,
    )


def _ask(job: Job, stopped: Callable[[], bool]) -> _Answer:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    limit = time.monotonic() + job.options.timeout_seconds + _GRACE_S
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            [sys.executable, "-m", "sheaf.media.item"],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=complaints,
            env=environment,
            start_new_session=True,
        )
        try:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.write(job.model_dump_json().encode() + b"\n")
                process.stdin.flush()  # and kept open: its end tells the item that nobody waits for it any more
            while True:
                try:
                    process.wait(timeout=0.1)
                    break
                except subprocess.TimeoutExpired:
                    if stopped():
                        return _Answer(error=ItemError(code="CANCELLED", message="The batch was cancelled."))
                    if time.monotonic() > limit:
                        return _Answer(error=_timed_out(job))
        finally:
            _end_group(process)
        out.seek(0)
        try:
            return _Answer.model_validate_json(out.read())
        except ValueError:
            complaints.seek(0)
            last = (complaints.read().decode("utf-8", "replace").strip().splitlines() or ["no reason given"])[-1]
            message = f"The analysis ended unexpectedly (exit {process.returncode}): {last[:300]}"
            return _Answer(error=ItemError(code="CRASHED", message=message))


def _end_group(process: subprocess.Popen[Any]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin:
        with suppress(BrokenPipeError):
            process.stdin.close()


def _timed_out(job: Job) -> ItemError:
    seconds = job.options.timeout_seconds
    return ItemError(code="TIMEOUT", message=f"The analysis took longer than {seconds:g} s: raise timeout_seconds.")


def _main() -> None:
    """Read one job, write one answer."""
    from sheaf.media.analysis import analyse_pair

    job = Job.model_validate_json(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        for path in (job.master, job.dub):
            if path.resolve() != path:
                raise OutsideRootsError(f"{path} has become a link since the batch was read.")
        answer = _Answer(result=analyse_pair(job.master, job.dub, job.options))
    except MediaError as error:
        answer = _Answer(
            error=_timed_out(job) if error.code == "TIMEOUT" else ItemError(code=error.code, message=str(error))
        )
    sys.stdout.write(answer.model_dump_json())
    sys.stdout.flush()
    os._exit(0)  # the watching thread still waits for the parent


def _end_with_parent() -> None:
    """End the whole group when the process that waits for the answer is gone."""
    sys.stdin.buffer.read()
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    _main()
