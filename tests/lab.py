"""A running `sheaf dev` on a home of its own, as an operator starts, uses, stops and kills it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from sheaf.settings import Settings

PROGRAM = Path(sys.executable).with_name("sheaf")


def environment(home: Path) -> dict[str, str]:
    """What a command of this home is started with, and nothing that this process was told."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("SHEAF_", "DAGSTER_"))}
    return ours | {"SHEAF_HOME": str(home)}


def configured(variables: Mapping[str, str]) -> Settings:
    """The configuration of a process that is told some variables, and none of those that this one was told."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SHEAF_")}
    with mock.patch.dict(os.environ, ours | dict(variables), clear=True):
        return Settings.load()


def processes(home: Path, program: str = "") -> list[int]:
    """What is alive of the commands of a home and all that they started; those of a program, if one is named."""
    alive = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "environ").read_bytes().split(b"\0") if entry.name.isdigit() else []
            if f"SHEAF_HOME={home}".encode() in words and program in _program(entry):
                alive.append(int(entry.name))
        except OSError:
            continue
    return alive


def _program(entry: Path) -> str:
    return (entry / "cmdline").read_bytes().split(b"\0")[0].decode()


class Server(ABC):
    """A Dagster server that can be asked, at `url`."""

    url: str

    @abstractmethod
    def is_alive(self) -> bool:
        """Whether it makes sense to wait for it."""

    @abstractmethod
    def said(self) -> str:
        """The end of what it printed."""

    def ask(self, query: str) -> dict[str, Any]:
        """A GraphQL query to the server."""
        body = json.dumps({"query": query}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]

    def wait(self, what: str, done: Callable[[], object], seconds: float = 420) -> float:
        """Wait until something is so, and return how many seconds that took; the server may not answer at first."""
        began = time.monotonic()
        while time.monotonic() < began + seconds and self.is_alive():
            try:
                if done():
                    return time.monotonic() - began
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(1)
        pytest.fail(f"Waited in vain for {what}. The end of what was printed:\n{self.said()}")

    def runs(self) -> list[tuple[str, str]]:
        """Status and starter of all runs."""
        found = self.ask("{runsOrError {... on Runs {results {status tags {key value}}}}}")["runsOrError"]["results"]
        tags = [{tag["key"]: tag["value"] for tag in run["tags"]} for run in found]
        return [
            (run["status"], tag.get("dagster/sensor_name", "somebody")) for run, tag in zip(found, tags, strict=True)
        ]


class Lab(Server):
    """A running `sheaf dev` on a home of its own."""

    def __init__(self, home: Path, more: Mapping[str, str] | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.home = home
        self.url = f"http://127.0.0.1:{port}"
        self._log = home / "dev.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "dev", "--port", str(port)],
                env=environment(home) | dict(more or {}),
                cwd=home,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A shell that starts tests in the background may have set it to be ignored.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text()[-3000:]

    def stop(self) -> list[int]:
        """Ctrl+C, as an operator stops it; returns what had to be killed."""
        self._process.send_signal(signal.SIGINT)
        end = time.monotonic() + 60
        while time.monotonic() < end and processes(self.home):
            self._process.poll()
            time.sleep(0.5)
        left = processes(self.home)
        for process in left:
            os.kill(process, signal.SIGKILL)
        self._process.wait()
        return left

    def is_alive(self) -> bool:
        """Whether the command still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """Everything at once, as when the machine loses its power."""
        while left := processes(self.home):
            for process in left:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            self._process.poll()
            time.sleep(0.1)
        self._process.wait()
