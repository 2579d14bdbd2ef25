"""Media batches in the inbox: their place in the queue, and what an interrupted run says of itself."""

import pytest

from sheaf.media import batch as analysis
from sheaf.media import sample_pairs
from sheaf.media.batch import analyse_batch
from sheaf.media.batch_record import BatchStatus, read_record
from sheaf.media.inbox import MediaInbox
from sheaf.media.settings import MediaSettings
from sheaf.store import Store


@pytest.fixture
def source(tmp_path):
    sample_pairs.write(tmp_path / "inbox")
    return MediaInbox(tmp_path / "inbox", str(tmp_path / "store"), MediaSettings())


@pytest.mark.parametrize(("said", "tag"), [("high", "10"), ("low", "-10"), ("normal", "0")])
def test_the_priority_of_a_batch_is_that_of_its_run(source, said, tag):
    (options,) = (source.root / "media").glob("*.yaml")
    options.write_text(f"priority: {said}\n", encoding="utf-8")
    (state,) = source.states(source.offers().partitions)
    assert state.tags == {"dagster/priority": tag}


def test_options_that_cannot_be_read_still_let_the_batch_arrive(source):
    (options,) = (source.root / "media").glob("*.yaml")
    options.write_text("priority: urgent\n", encoding="utf-8")
    (state,) = source.states(source.offers().partitions)
    assert (state.tags, state.problem) == ({}, "")
    assert state.token


@pytest.mark.parametrize(("stopped_by", "status"), [(KeyboardInterrupt, "cancelled"), (MemoryError, "failed")])
def test_a_run_that_is_stopped_does_not_say_that_it_goes_on(source, monkeypatch, stopped_by, status):
    store = Store.open(source.store_url)
    (batch,) = source.offers().partitions
    source.ingest(store, batch)

    def stop(*args, **kwargs):
        raise stopped_by

    monkeypatch.setattr(analysis, "run_item", stop)
    with pytest.raises(stopped_by):
        analyse_batch(store, batch, MediaSettings(parallel_jobs=1))
    record = read_record(store, batch)
    assert record.status == BatchStatus(status)
    assert record.finished_at is not None
    assert record.items_processing == 0
