"""A batch that is dropped into the inbox of a running `sheaf dev`: published and told of, without a click.

Also when everything is killed in the middle of it. `pytest -m ui` runs this.
"""

import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, processes
from media_files import moved, programme, write_endless, write_wave
from webhook_receiver import Receiver, receiving

pytestmark = [pytest.mark.ui, pytest.mark.timeout(900)]

SECRET = "a word that both sides know"
CONFIG = """
quiet_seconds: 2
media:
  webhook_hosts: [127.0.0.1]
  webhook_private: true
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


def about(receiver: Receiver, items: int) -> list[dict[str, Any]]:
    """The messages about a batch of that many items."""
    messages = [json.loads(body) for _, body in receiver.heard]
    return [message for message in messages if message["items_total"] == items]


def drop(home: Path, name: str, dubs: list[str], receiver: Receiver) -> None:
    """A batch arrives: its options, then the CSV that announces it."""
    folder = home / "inbox" / "media"
    options = f"parallel_jobs: 1\nnotification_webhook: {receiver.url}\n"
    (folder / f"{name}.yaml").write_text(options, encoding="utf-8")
    lines = ["master_file,dub_file", *(f"master.wav,{dub}.wav" for dub in dubs)]
    (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def published(home: Path, message: dict[str, Any]) -> list[tuple[str, float]]:
    """Status and offset of each item of the batch that a message is about."""
    exports = home / "store" / "exports" / "media" / message["batch_id"] / "results_json"
    (path,) = exports.glob("v*/results.json")
    items = json.loads(path.read_text("utf-8"))["results"]
    return [(item["status"], round(item["result"]["offset_seconds"], 3)) for item in items]


def test_a_batch_is_published_and_told_of_by_itself_even_after_a_power_cut(tmp_path: Path, receiver: Receiver) -> None:
    (tmp_path / "sheaf.yaml").write_text(CONFIG, encoding="utf-8")
    folder = tmp_path / "inbox" / "media"
    sound = programme(8)
    write_wave(folder / "master.wav", sound)
    write_wave(folder / "early.wav", moved(sound, 0.25))
    write_wave(folder / "late.wav", moved(sound, -0.5))
    write_endless(folder / "endless.wav", sound, hours=3)
    secret = {"SHEAF_WEBHOOK_SECRET": SECRET}

    lab = Lab(tmp_path, secret)
    try:
        lab.wait("the server", lambda: lab.runs() == [])
        drop(tmp_path, "evening", ["early", "late"], receiver)
        lab.wait("the webhook", lambda: receiver.heard)
        ((headers, body),) = receiver.heard
        assert (
            headers["X-Sheaf-Signature-256"] == "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        )
        (message,) = about(receiver, 2)
        assert (message["event"], message["items_completed"]) == ("batch_completed", 2)
        assert published(tmp_path, message) == [("completed", 0.25), ("completed", -0.5)]

        drop(tmp_path, "night", ["late", "endless", "early"], receiver)
        items = tmp_path / "store" / "batches" / "media"
        lab.wait(
            "the second batch to be in the middle",
            lambda: len(list(items.glob("*/items/*.json"))) == 3 and processes(tmp_path, "ffmpeg"),
        )
    finally:
        lab.kill()
    write_wave(folder / "endless.wav", sound)

    lab = Lab(tmp_path, secret)
    try:
        lab.wait("the webhook of the batch that was cut off", lambda: about(receiver, 3))
        (message,) = about(receiver, 3)
        assert (message["event"], message["items_completed"]) == ("batch_completed", 3)
        assert published(tmp_path, message) == [("completed", -0.5), ("completed", 0.0), ("completed", 0.25)]
        assert len(receiver.heard) == 2, "each batch is told of once"
        # The run that was cut off is tried again; for the file that was replaced meanwhile there may be one more.
        assert [status for status, _ in lab.runs() if status not in ("SUCCESS", "STARTED")] == ["FAILURE"]
    finally:
        left = lab.stop()
    assert not left, f"these processes outlived the server: {left}"
