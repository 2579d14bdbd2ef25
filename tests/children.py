"""Child processes that publish: forked from a server that has imported everything, so that each costs little."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

CONTEXT = multiprocessing.get_context("forkserver")
_PRELOADED = ["pytest", "demo_domain", "promises", "pyarrow.parquet", "pyarrow.dataset", "duckdb"]


def preload(*modules: str) -> None:
    """Have the server import more; to be called before the first child starts, later it only costs time."""
    _PRELOADED.extend(modules)
    CONTEXT.set_forkserver_preload(_PRELOADED)


preload()


def start(target: Callable[..., None], *args: Any) -> BaseProcess:
    """Run a function of a test module in a child that knows the same stores."""
    with mock.patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parent)):  # for what the server imports
        ensure_running()
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    child = CONTEXT.Process(target=_run, args=(environment, target, args))
    child.start()
    return child


def _run(environment: dict[str, str], target: Callable[..., None], args: tuple[Any, ...]) -> None:
    os.environ.update(environment)
    target(*args)
