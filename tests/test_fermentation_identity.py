"""One batch is one partition, whichever source has it; series of two machines are never mixed."""

import json
from collections.abc import Generator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fermentation_inbox import SETTINGS, put_batch, record, rows_of

from sheaf.errors import NotFoundError
from sheaf.fermentation import schema
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.readers.series import FoundSeries
from sheaf.fermentation.sources.eln import Fingerprint, Record, Run
from sheaf.fermentation.sources.inbox import BatchInbox
from sheaf.fermentation.sources.influx_queries import Selection
from sheaf.fermentation.sources.live import ElnSource
from sheaf.fermentation.sources.live_sensors import written_at_once
from sheaf.running import run_step
from sheaf.sources import Sources, meant
from sheaf.store.store import Store

UUID = "8f0e2d3c-5b5a-4c43-9c0d-0d5c2f3a1b11"
OTHER = "9f0e2d3c-5b5a-4c43-9c0d-0d5c2f3a1b22"


class Eln:
    """An ELN that holds two batches."""

    name = "eln_rest"

    def __init__(self) -> None:
        self.documents = {
            key: record(batch={"batch_id": key, "batch_number": number, "phase": "B"})
            for key, number in ((UUID, 12), (OTHER, 13))
        }

    def runs(self) -> list[Run]:
        return [Run(key, "V-1", number=int(of["batch"]["batch_number"]), phase="B") for key, of in self._all()]

    def fingerprints(self, batches: Sequence[str]) -> Generator[Fingerprint, None, None]:
        yield from (Fingerprint(key, "same") for key in batches)

    def record(self, batch: str) -> Record:
        if batch not in self.documents:
            raise NotFoundError(f"There is no {batch}.")
        return Record(json.dumps(self.documents[batch]).encode())

    def check(self) -> str:
        return "there"

    def _all(self) -> list:
        return sorted(self.documents.items())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"))


@pytest.fixture
def sources(tmp_path: Path, store: Store) -> Sources:
    (tmp_path / "inbox").mkdir()
    inbox = BatchInbox(tmp_path / "inbox", store.url, SETTINGS)
    return Sources({"fermentation": (inbox, ElnSource(Eln(), SETTINGS, inbox))})


def read(store: Store, sources: Sources, partition: str) -> str | None:
    """Read one partition; returns why it was refused."""
    return run_step(store, FERMENTATION, FERMENTATION.reading, partition, SETTINGS, sources).generation.refused


@pytest.mark.parametrize("own", [{"batch_id": UUID}, {"batch_id": None, "batch_number": 12, "phase": "B"}])
def test_a_folder_and_the_eln_have_one_batch_under_the_folders_name(tmp_path, store, sources, own):
    folder = put_batch(tmp_path / "inbox/fermentation/run-12", record(batch=own, samples=[]))
    inbox, eln = sources.of("fermentation")
    assert eln.offers().partitions == (OTHER, "run-12")
    assert sources.hidden("fermentation", "eln_rest") == {"run-12"}
    assert [state.partition for state in eln.states(["run-12", OTHER])] == ["run-12", OTHER]
    assert read(store, sources, "run-12") is None
    assert rows_of(store, schema.SAMPLES, "run-12") == []
    assert {meant(sources.of("fermentation"), name) for name in (UUID, "12-B", "run-12")} == {"run-12"}
    for file in folder.iterdir():  # tidied away: the ELN goes on with the same partition
        file.unlink()
    folder.rmdir()
    if own["batch_id"]:
        assert eln.offers().partitions == (OTHER, "run-12")
        assert read(store, sources, "run-12") is None
        assert len(rows_of(store, schema.SAMPLES, "run-12")) == 8
    assert inbox.offers().partitions == ()


@pytest.mark.parametrize("own", [{"batch_id": OTHER}, {"batch_id": None, "batch_number": 13, "phase": "B"}])
def test_a_folder_that_comes_after_the_eln_was_read_is_no_second_partition(tmp_path, store, sources, own):
    assert read(store, sources, OTHER) is None
    put_batch(tmp_path / "inbox/fermentation/run-13", record(batch=own))
    refused = read(store, sources, "run-13") or ""
    assert f"is the partition {OTHER} already, so run-13 is not read: name the folder so." in refused
    assert refused == read(store, sources, "run-13"), "nor the next time"
    put_batch(tmp_path / f"inbox/fermentation/{OTHER}", record(batch=own))
    assert read(store, sources, OTHER) is None


T0 = datetime(2026, 3, 2, tzinfo=UTC)
WHOLE = Selection("v1", T0, T0 + timedelta(hours=24), ["pH"])
MACHINES = {host: FoundSeries("pH", f"host={host}", 1, {"host": host}) for host in ("a", "b")}


@pytest.mark.parametrize(
    ("spans", "mixed"),
    [
        ({"a": (0, 9.3), "b": (9.3, 24)}, False),
        ({"a": (0, 24), "b": (0, 24)}, True),
        ({"a": (0, 24), "b": (17.0, 17.2)}, True),
        ({"a": (0, 12.01), "b": (11.99, 24)}, True),
    ],
    ids=["handover", "all along", "for minutes", "around the middle"],
)
def test_two_machines_may_take_over_from_each_other_but_not_write_at_once(spans, mixed):
    asked = []

    def series(chosen: Selection) -> list[FoundSeries]:
        asked.append(chosen)
        first, last = ((moment - T0) / timedelta(hours=1) for moment in (chosen.start, chosen.stop))
        return [MACHINES[host] for host, (start, stop) in spans.items() if start < last and stop > first]

    group = list(MACHINES.values())
    assert list(written_at_once(series, WHOLE, [group])) == (group if mixed else [])
    assert len(asked) <= 24
