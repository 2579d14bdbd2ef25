"""Work that is asked to stop commits nothing, whatever a library made of the interrupt."""

import pytest
from demo_domain import BATCH, DEMO, SERIES, SETTINGS, deliver, ingest, publish_readings

from sheaf.errors import StoppedError
from sheaf.exports.latest import newest_canonical
from sheaf.exports.publish import Request, publish
from sheaf.exports.records import Status, records
from sheaf.running import How
from sheaf.store.store import Store
from sheaf.tables import generations

STOPPING = How(cancelled=lambda: True)


@pytest.mark.parametrize("values", [("a", "b"), ("a", "bad"), ()], ids=["good", "with a bad row", "a refusal"])
def test_a_step_that_is_stopped_commits_nothing(local_store: Store, values: tuple[str, ...]) -> None:
    before = ingest(local_store, "x").generation
    with pytest.raises(StoppedError, match="what was there before stays"):
        deliver(local_store, *values, steps=["readings"], how=STOPPING)
    assert generations.newest(local_store, DEMO.place(DEMO.reading, "batch-1")) == before
    assert deliver(local_store, "x", "y", steps=["readings"])["readings"].generation.number == before.number + 1


def test_an_export_that_is_stopped_is_given_up_and_the_next_one_is_whole(local_store: Store) -> None:
    ingest(local_store, "x")
    with pytest.raises(StoppedError):
        publish(local_store, DEMO, SERIES, Request("batch-1"), SETTINGS, lambda: True)
    (record,) = records(local_store, BATCH)
    assert (record.status, "was stopped" in (record.error or "")) == (Status.FAILED, True)
    assert newest_canonical(local_store, BATCH) is None
    assert publish_readings(local_store).export.version == 2


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_export_says_that_it_was_stopped(
    local_store: Store, monkeypatch: pytest.MonkeyPatch, interrupt: type[BaseException]
) -> None:
    ingest(local_store, "x")

    def stop(*_: object) -> None:
        raise interrupt

    monkeypatch.setattr("sheaf.exports.publish._upload", stop)
    with pytest.raises(interrupt):
        publish_readings(local_store)
    (record,) = records(local_store, BATCH)
    assert (record.status, record.error) == (
        Status.FAILED,
        "Whoever made it was stopped; the next run makes it anew.",
    )
