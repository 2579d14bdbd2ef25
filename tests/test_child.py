"""Whatever a file does to its reader, it happens in a child process, and whoever asked hears one sentence."""

import os
import signal
import time
from pathlib import Path

import pytest

from sheaf.errors import InputError, SourceError
from sheaf.outside.child import ChildError, answers

MEMORY = 1 << 30


@pytest.fixture(autouse=True)
def _hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def ask(what: str, seconds: float = 20.0) -> list[bytes]:
    return [bytes(piece) for piece in answers("hostile_child", what, MEMORY, seconds)]


@pytest.mark.parametrize(
    ("what", "sentence", "seconds"),
    [("crash", "makes its reader crash", 20.0), ("hang", "too long", 1.0), ("fill memory", "more memory", 20.0)],
)
def test_what_a_file_does_to_its_reader_stays_in_the_child(what: str, sentence: str, seconds: float) -> None:
    with pytest.raises(ChildError, match=sentence):
        ask(what, seconds)
    assert len(ask("nothing")) == 1


def test_a_child_is_asked_one_thing_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = ask("print")
    with pytest.raises(InputError, match="is damaged"):
        ask("refuse")
    with pytest.raises(SourceError, match="away"):
        ask("outage")
    assert ask("nothing") == [first]
    os.kill(int(first), signal.SIGKILL)
    (second,) = ask("nothing")
    assert second != first
    pieces = answers("hostile_child", "hang", MEMORY)
    assert next(pieces) == second
    pieces.close()  # who asked does not want the rest
    assert ask("nothing") != [second]


def test_a_child_knows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    (_, before) = ask("environment")
    assert b"AWS" not in before
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    pid, *_ = ask("nothing")
    os.kill(int(pid), signal.SIGKILL)
    (_, environment) = ask("environment")
    assert b"canary" not in environment


def test_an_orphan_does_not_go_on(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    parent = os.fork()
    if not parent:
        told.write_bytes(next(answers("hostile_child", "hang", MEMORY, 1.0)))
        os._exit(0)
    os.waitpid(parent, 0)
    child, until = Path("/proc") / told.read_text() / "stat", time.monotonic() + 60
    while child.exists() and child.read_text().split()[2] != "Z":
        assert time.monotonic() < until
        time.sleep(0.1)
