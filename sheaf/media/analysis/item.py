"""One item of a batch in a process that is not ours.

A worker analyses one pair after another, since its imports cost more than a pair does. It leads a process group that
holds its ffmpeg too, so that time-out and cancellation end everything at once, and a decoder that exhausts memory
takes only its own item with it: the next one gets a new worker. One that is not needed any more waits a while for the
next batch. The same module is the program that runs in it: `python -m sheaf.media.analysis.item`.
"""

import hashlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import IO, Any

from pydantic import BaseModel

from sheaf import clock
from sheaf.media.batch_record import FinishedItem, ItemError
from sheaf.media.errors import MediaError
from sheaf.media.methods import Method
from sheaf.media.readers.content import MediaFile, confirm, confirm_unchanged
from sheaf.media.result import ENGINE_VERSION, PairOptions, PairResult, Status
from sheaf.outside.child import environment
from sheaf.outside.waiting import Waiting

CRASHED = "CRASHED"
_MOST_ITEMS = 100
"""After so many a worker is replaced, so that nothing it leaks adds up."""
_IDLE_S = 20.0
"""So long a worker waits for another item; then it ends itself."""
_GRACE_S = 3.0  # an item ends itself at its time limit; after this it is ended


class Job(BaseModel):
    """What an item's process is told.

    Attributes:
        master_file, dub_file: what the batch calls the two files.
        model: the file that the method `ai` runs, where there is one.
    """

    master: MediaFile
    dub: MediaFile
    master_file: str
    dub_file: str
    options: PairOptions
    model: MediaFile | None = None

    @property
    def limits(self) -> tuple[float, float]:
        """Seconds it may take, and seconds of sound it may hold."""
        return self.options.timeout_seconds, self.options.max_seconds

    def named(self, sentence: str) -> str:
        """A sentence with the files called as the batch calls them, since they may be moved."""
        names = {self.master.path: self.master_file, self.dub.path: self.dub_file}
        if self.model and self.options.ai_model:
            names[self.model.path] = f"media.models.{self.options.ai_model}"
        for path in sorted(names, key=lambda path: -len(str(path))):
            sentence = sentence.replace(str(path), names[path])
        return sentence


class _Answer(BaseModel):
    result: PairResult | None = None
    error: ItemError | None = None


def fingerprint(job: Job) -> str:
    """Identity of what an item is made from: the content of its files, and the methods; not where or when."""
    ai = Method.AI in job.options.methods
    asked = [
        str(ENGINE_VERSION),
        job.master.sha256,
        job.dub.sha256,
        ",".join(sorted(job.options.methods)),
        str(job.options.ai_model) if ai else "",
        job.model.sha256 if ai and job.model else "",
        f"{job.options.master_track} {job.options.dub_track}",
    ]
    return hashlib.sha256("\n".join(asked).encode()).hexdigest()


def answers(item: FinishedItem, job: Job) -> bool:
    """Whether a kept item answers a job, so that it is not analysed again.

    What was found holds whatever the limits; what failed may not fail within others.
    """
    if item.fingerprint != fingerprint(job):
        return False
    return item.error is None or item.limits == job.limits


def run_item(item_id: str, job: Job, stopped: Callable[[], bool], worker: "Worker") -> FinishedItem:
    """Analyse one pair in a process that is not ours.

    Args:
        stopped: asked several times a second; the item is ended when it says yes.
        worker: where.

    Returns:
        The finished item, whatever happened to it.
    """
    started = time.monotonic()
    identity = fingerprint(job)
    answer = _CANCELLED
    if not stopped():
        answer = worker.ask(job, stopped)
    status = Status.FAILED
    if answer.result:
        status = answer.result.status
    elif answer.error and answer.error.code == "CANCELLED":
        status = Status.CANCELLED
    return FinishedItem(
        item_id=item_id,
        fingerprint=identity,
        limits=job.limits,
        status=status,
        error=answer.error,
        analysed_at=clock.now(),
        analysis_seconds=round(time.monotonic() - started, 3),
        result=answer.result,
    )


_CANCELLED = _Answer(error=ItemError(code="CANCELLED", message="The batch was cancelled."))


class Worker:
    """A process that analyses pairs, started with the first of them; it doesn't survive a pair that goes wrong."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] | None = None
        self._environment: dict[str, str] = {}
        self._done = 0

    @property
    def kind(self) -> object:
        """Its surroundings: a worker stands only for others that were started in the same."""
        return self._environment

    @property
    def alive(self) -> bool:
        """Whether there is a process that could take an item."""
        return self._process is not None and self._process.poll() is None

    def ask(self, job: Job, stopped: Callable[[], bool]) -> "_Answer":
        """What became of a pair."""
        limit = time.monotonic() + job.options.timeout_seconds + _GRACE_S
        whole = False
        try:
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            with suppress(BrokenPipeError):
                process.stdin.write(job.model_dump_json().encode() + b"\n")
                process.stdin.flush()
            heard = bytearray()
            while not heard.endswith(b"\n"):
                if select.select([process.stdout], [], [], 0.1)[0]:
                    data = os.read(process.stdout.fileno(), 1 << 20)
                    if not data:
                        return self._crashed(process)
                    heard += data
                elif stopped():
                    return _CANCELLED
                elif time.monotonic() > limit:
                    return _Answer(error=_timed_out(job))
            answer = _Answer.model_validate_json(heard)
            whole = True
            self._done += 1
            return answer
        finally:
            if not whole or self._done >= _MOST_ITEMS:
                self.end()

    def end(self) -> None:
        """End the process and all that it started."""
        if self._process:
            _end_group(self._process)
        if self._complaints:
            self._complaints.close()
        self._process, self._complaints, self._done = None, None, 0

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._environment = _environment()
            self._complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sheaf.media.analysis.item"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                env=self._environment,
                start_new_session=True,
            )
        return self._process

    def _crashed(self, process: "subprocess.Popen[bytes]") -> "_Answer":
        process.wait()
        assert self._complaints is not None
        self._complaints.seek(0)
        last = (self._complaints.read().decode("utf-8", "replace").strip().splitlines() or ["no reason given"])[-1]
        message = f"The analysis ended unexpectedly (exit {process.returncode}): {last[:300]}"
        return _Answer(error=ItemError(code=CRASHED, message=message))


_waiting: Waiting[Worker] = Waiting(os.cpu_count() or 1)


def take(count: int) -> list[Worker]:
    """Workers, those first that have imported already what they need."""
    surroundings = _environment()
    return [_waiting.take(surroundings) or Worker() for _ in range(count)]


def give_back(workers: list[Worker]) -> None:
    """Keep workers that nobody needs for the next batch, no more than there are processors."""
    for worker in workers:
        if worker.alive:
            _waiting.give_back(worker)


def _environment() -> dict[str, str]:
    return environment() | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _end_group(process: subprocess.Popen[Any]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(BrokenPipeError):
                pipe.close()


def _timed_out(job: Job) -> ItemError:
    seconds = job.options.timeout_seconds
    return ItemError(code="TIMEOUT", message=f"The analysis took longer than {seconds:g} s: raise timeout_seconds.")


def _main() -> None:
    """Answer one job after another, one line each, until nobody has one for a while."""
    jobs: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(jobs,), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    with suppress(Empty):
        while True:
            job = Job.model_validate_json(jobs.get(timeout=_IDLE_S))
            answers.write(_answer(job).model_dump_json() + "\n")
            answers.flush()


def _answer(job: Job) -> _Answer:
    from sheaf.media.analysis.pair import analyse_pair

    try:
        seen = confirm(file for file in (job.master, job.dub, job.model) if file)
        try:
            result = analyse_pair(job.master.path, job.dub.path, job.options)
        finally:
            confirm_unchanged(seen)  # what went wrong with a file that somebody writes to says nothing about it
        result.warnings = [job.named(warning) for warning in result.warnings]
        return _Answer(result=result)
    except MediaError as error:
        timed_out = error.code == "TIMEOUT"
        return _Answer(
            error=_timed_out(job) if timed_out else ItemError(code=error.code, message=job.named(str(error)))
        )


def _listen(jobs: "SimpleQueue[bytes]") -> None:
    """Hand the jobs on; end the whole group when the process that waits for answers is gone."""
    for line in sys.stdin.buffer:
        jobs.put(line)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    _main()
