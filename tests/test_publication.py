"""What is set for one partition: it reaches that partition's steps and exports, and no other's."""

import pytest
from demo_domain import BATCH, DEMO, DemoPublication, DemoSettings, deliver, publish_readings, publish_series

from sheaf.coherence import stale_steps
from sheaf.errors import UsageError
from sheaf.exports.records import read_latest
from sheaf.names import SeriesId
from sheaf.store.store import Store


def settings(**of_batch_1: object) -> DemoSettings:
    return DemoSettings(projects={"batch-1": DemoPublication.model_validate(of_batch_1)})


UPPER = {"readings_csv": {"upper": True}}


def latest(store: Store, partition: str = "batch-1") -> int | None:
    found = read_latest(store, SeriesId("demo", partition, "readings_csv"))
    return found.version if found else None


def test_latest_has_the_options_that_the_settings_name_for_the_partition(local_store: Store) -> None:
    for partition in ("batch-1", "batch-2"):
        deliver(local_store, "a", partition=partition)
        done = publish_series(local_store, settings=settings(canonical=UPPER), partition=partition)
        upper = partition == "batch-1"
        assert (done.manifest.options, done.manifest.canonical) == ({"upper": upper}, True)
        expected = b"id,value\n1,A\n" if upper else b"id,value\n1,a\n"
        assert local_store.get(f"{done.export.path}/readings.csv") == expected
    other = publish_series(local_store, settings=settings(canonical=UPPER), options={"upper": False})
    assert (other.manifest.canonical, latest(local_store)) == (False, 1)
    spelt_out = publish_series(local_store, settings=settings(canonical=UPPER), options={"upper": "yes"})
    assert (spelt_out.unchanged, spelt_out.export.version) == (True, 1)


def test_options_for_a_whole_domain_hold_where_a_partition_has_none_of_its_own(local_store: Store) -> None:
    deliver(local_store, "a")
    everywhere = DemoSettings(canonical=UPPER)
    assert publish_series(local_store, settings=everywhere).manifest.options == {"upper": True}
    own = DemoSettings(canonical=UPPER, projects={"batch-1": DemoPublication(canonical={})})
    assert publish_series(local_store, settings=own).manifest.options == {"upper": False}


def test_latest_follows_the_settings_there_and_back(local_store: Store) -> None:
    deliver(local_store, "a")
    assert publish_readings(local_store).export.version == 1
    assert publish_readings(local_store, options={"upper": True}).export.version == 2
    assert latest(local_store) == 1
    canonical = settings(canonical=UPPER)
    assert publish_series(local_store, settings=canonical).export.version == 3  # v2 was not published as latest
    assert latest(local_store) == 3
    assert publish_series(local_store, settings=canonical).unchanged
    assert publish_readings(local_store).export.version == 4  # v1 is what was asked for, but not what latest names
    assert latest(local_store) == 4
    assert publish_readings(local_store).unchanged


def test_a_canonical_setting_that_cannot_be_used_is_an_error_before_anything_is_allocated(local_store: Store) -> None:
    deliver(local_store, "a")
    for canonical, complaint in (
        ({"reading_csv": {}}, "demo has no series 'reading_csv': there are readings_csv"),
        ({"readings_csv": {"uper": True}}, "Unknown option 'uper': known are upper"),
        ({"readings_csv": {"upper": "perhaps"}}, "Option upper='perhaps' cannot be used"),
    ):
        with pytest.raises(UsageError, match=f"The setting `canonical` of demo batch-1 cannot be used: {complaint}"):
            publish_series(local_store, settings=settings(canonical=canonical))
    assert list(local_store.list(BATCH.path)) == []


def test_a_setting_of_one_partition_makes_only_its_own_steps_stale(local_store: Store) -> None:
    for partition in ("batch-1", "batch-2"):
        deliver(local_store, "a", partition=partition)
    changed = settings(factor=3)
    assert [stale.why for stale in stale_steps(local_store, DEMO, "batch-1", changed)] == ["factor was 1 and is 3"]
    assert stale_steps(local_store, DEMO, "batch-2", changed) == []
    assert deliver(local_store, "a", settings=changed)["totals"].report.counts == {"total": 3}
    assert deliver(local_store, "a", partition="batch-2", settings=changed)["totals"].unchanged
