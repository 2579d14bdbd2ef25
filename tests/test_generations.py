"""Generations: what one run of a step wrote belongs together, and nothing is replaced by less in silence."""

import dataclasses
import threading
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from demo_domain import (
    ALL_TOTALS_CSV,
    DEMO,
    POINTS,
    READINGS,
    SERIES,
    SETTINGS,
    TOTALS,
    TOTALS_CSV,
    DemoSettings,
    Values,
    deliver,
    publish_series,
)
from running import current

from sheaf.coherence import pin, stale_steps
from sheaf.errors import DamagedError, NotFoundError, RefusedError, StaleError, StoreError
from sheaf.exports.kept import prune_tables
from sheaf.exports.rebuild import rebuild
from sheaf.exports.verify import verify
from sheaf.running import How, run_step
from sheaf.sources import Sources
from sheaf.steps import Domain, Step
from sheaf.store.lease import lease
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.parquet import PART
from sheaf.tables.repair import confirm_current

READING, TOTALLING = DEMO.steps


def with_version(step: str, version: int) -> Domain:
    """The domain with a newer version of one step's code."""
    steps = tuple(dataclasses.replace(one, version=version) if one.name == step else one for one in DEMO.steps)
    return dataclasses.replace(DEMO, steps=steps)


def numbers(store: Store, step: Step = READING) -> list[int]:
    return generations.numbers(store, DEMO.place(step, "batch-1"))


def totals(store: Store, version: int) -> str:
    return store.get(f"exports/demo/batch-1/totals_csv/v{version:04d}/totals.csv").decode()


def test_a_step_that_would_make_the_same_does_nothing(store: Store) -> None:
    first = deliver(store, "a", "b")
    assert [made.unchanged for made in first.values()] == [False, False]
    before = {item.path for item in store.list("")}
    again = deliver(store, "a", "b")
    assert [made.unchanged for made in again.values()] == [True, True]
    assert {item.path for item in store.list("")} == before
    assert again["totals"].generation == first["totals"].generation
    assert again["totals"].report.counts == {"total": 2}


def test_a_table_that_is_the_same_is_stored_once_and_stops_the_wave(store: Store) -> None:
    deliver(store, "a", "bad")
    made = deliver(store, "a", "bad", "bad")
    assert numbers(store) == [1, 2]
    assert made["totals"].unchanged
    one, two = (generations.read(store, DEMO.place(READING, "batch-1"), number) for number in (1, 2))
    assert one.tables["readings"] == two.tables["readings"]
    assert [account.seen for account in one.account + two.account] == [2, 3]


def test_of_a_long_table_that_grew_only_the_end_is_stored(atomic_store: Store) -> None:
    place, many = DEMO.place(READING, "batch-1"), ["a"] * (PART + 3)
    first = deliver(atomic_store, *many)["readings"].generation.tables["points"]
    then = deliver(atomic_store, *many, "b")["readings"].generation.tables["points"]
    assert [part.rows for part in then.parts] == [PART, 4]
    assert then.parts[0] == first.parts[0]
    assert first.parts[1].path != then.parts[1].path
    points = pin(atomic_store, DEMO, "batch-1", [POINTS], SETTINGS)
    assert points.read(POINTS)["value"].to_pylist() == [*many, "b"]
    assert sum(batch.num_rows for batch in points.batches(POINTS)) == then.rows == PART + 4
    with points.dataset(POINTS) as dataset:
        assert dataset.count_rows() == PART + 4
    assert [one.generations for one in prune_tables(atomic_store, [DEMO], young=timedelta(0))] == [[1], [1]]
    assert atomic_store.size(first.parts[1].path) is None
    assert points.read(POINTS).num_rows == PART + 4
    atomic_store.delete([then.parts[0].path])
    with pytest.raises(DamagedError, match=r"points-0000\.parquet is gone"):
        points.read(POINTS)
    assert [damage.path for damage in confirm_current(atomic_store, place)] == [then.parts[0].path]
    again = deliver(atomic_store, *many, "b", how=How(again=True))["readings"].generation.tables["points"]
    assert (again.sha256, again.parts[1]) == (then.sha256, then.parts[1])
    assert pin(atomic_store, DEMO, "batch-1", [POINTS], SETTINGS).read(POINTS).num_rows == PART + 4


def test_what_is_made_names_what_it_was_made_with(atomic_store: Store) -> None:
    made = deliver(atomic_store, "a", "bad", settings=DemoSettings(factor=3))
    reading, totalling = made["readings"].generation, made["totals"].generation
    assert (reading.source, reading.made_with.settings, reading.made_with.inputs) == ("values", {}, {})
    assert totalling.made_with.settings == {"factor": 3}
    assert totalling.made_with.inputs == {
        name: file.sha256 for name, file in reading.tables.items() if name != "rejects"
    }
    assert totalling.generations == {"readings": 1}
    assert totalling.checks["few"].passed
    done = publish_series(atomic_store, TOTALS_CSV, DemoSettings(factor=3))
    manifest = done.manifest
    assert manifest.made_with == {"factor": 3}
    assert manifest.code == {"readings": 1, "totals": 1}
    (origin,) = manifest.made_from
    assert origin.delivery == reading.made_with.delivery
    assert origin.generations == {"readings": 1, "totals": 1}
    assert [(item.table, item.step, item.generation) for item in manifest.inputs] == [
        ("readings", "readings", 1), ("totals", "totals", 1),
    ]  # fmt: skip
    assert [(of.table, of.seen, of.used, of.rejected) for of in manifest.account["batch-1"]] == [("readings", 2, 1, 1)]
    assert "1 of 2 readings rejected: bad value (1): sheaf rejects demo batch-1" in manifest.warnings
    assert manifest.problems[0].check == "rejects"


def test_a_delivery_that_only_one_step_has_seen_is_published_nowhere(atomic_store: Store) -> None:
    deliver(atomic_store, "a")
    publish_series(atomic_store, TOTALS_CSV)
    deliver(atomic_store, "b", "c", steps=["readings"])
    with pytest.raises(
        StaleError, match=r"totals has to be made again \(it was made from an earlier state of readings\)"
    ):
        publish_series(atomic_store, TOTALS_CSV)
    with pytest.raises(StaleError, match="sheaf run demo batch-1"):
        publish_series(atomic_store, ALL_TOTALS_CSV, partition="campaign")
    assert publish_series(atomic_store, SERIES).export.version == 1  # reads nothing that is stale
    deliver(atomic_store, "b", "c")
    publish_series(atomic_store, TOTALS_CSV)
    assert totals(atomic_store, 2) == "batch-1,2,2,2,b,b\n"


@pytest.mark.case("core/settings-not-in-data")
def test_a_changed_setting_or_a_new_version_of_the_code_makes_stale_and_is_told(atomic_store: Store) -> None:
    deliver(atomic_store, "a")
    publish_series(atomic_store, TOTALS_CSV)
    changed = DemoSettings(factor=2)
    with pytest.raises(StaleError, match="factor was 1 and is 2"):
        publish_series(atomic_store, TOTALS_CSV, changed, always=True)
    assert [stale.step.name for stale in stale_steps(atomic_store, DEMO, "batch-1", changed)] == ["totals"]
    assert not deliver(atomic_store, "a", settings=changed)["totals"].unchanged
    assert publish_series(atomic_store, TOTALS_CSV, changed).manifest.made_with == {"factor": 2}
    assert totals(atomic_store, 2) == "batch-1,1,2,1,a,a\n"
    newer = with_version("readings", 2)
    with pytest.raises(StaleError, match=r"made again \(it was made by version 1 of its code, now 2"):
        publish_series(atomic_store, TOTALS_CSV, changed, newer)
    assert [stale.step.name for stale in stale_steps(atomic_store, newer, "batch-1", changed)] == ["readings", "totals"]


def test_a_setting_that_no_step_declares_has_no_effect_and_makes_nothing_stale(local_store: Store) -> None:
    deliver(local_store, "a")
    assert stale_steps(local_store, DEMO, "batch-1", DemoSettings(unused=1)) == []
    undeclared = dataclasses.replace(TOTALLING, settings=())
    domain = dataclasses.replace(DEMO, steps=(READING, undeclared))
    deliver(local_store, "b", settings=DemoSettings(factor=9), domain=domain)
    assert current(local_store, DEMO, "batch-1").read(TOTALS)["readings"].to_pylist() == [1]


def test_a_step_never_reads_what_is_stale_before_it(local_store: Store) -> None:
    third = Step("third", "Reads the totals.", writes=(), reads=(TOTALS,), work=lambda work: work_report())
    domain = dataclasses.replace(DEMO, steps=(*DEMO.steps, third))

    def work_report() -> object:
        raise AssertionError("it must not run")

    deliver(local_store, "a")
    deliver(local_store, "b", steps=["readings"])
    with pytest.raises(StaleError, match="totals has to be made again"):
        deliver(local_store, "b", steps=["third"], domain=domain)


def test_a_refused_delivery_leaves_what_was_there_and_is_told_everywhere(atomic_store: Store) -> None:
    deliver(atomic_store, "a")
    published = publish_series(atomic_store, TOTALS_CSV)
    refused = deliver(atomic_store, steps=["readings"])["readings"]
    assert refused.generation.refused == "The delivery is empty: deliver something."
    assert not refused.generation.checks["readable"].passed
    assert not refused.generation.checks["rejects"].passed  # it could not look
    with pytest.raises(RefusedError, match="batch-1: The delivery is empty"):
        publish_series(atomic_store, TOTALS_CSV)
    assert deliver(atomic_store, steps=["readings"])["readings"].unchanged  # not tried again before something changes
    assert current(atomic_store, DEMO, "batch-1").read(READINGS)["value"].to_pylist() == ["a"]
    campaign = publish_series(atomic_store, ALL_TOTALS_CSV, partition="campaign")
    assert campaign.manifest.warnings == [
        "batch-1: its newest delivery was refused, so its last good records are used."
    ]
    assert deliver(atomic_store, "a")["readings"].generation.number == 3
    assert publish_series(atomic_store, TOTALS_CSV).export == published.export


def test_a_partition_that_was_only_ever_refused_is_left_out_of_a_campaign_by_name(local_store: Store) -> None:
    deliver(local_store, steps=["readings"], partition="broken")
    deliver(local_store, "a")
    done = publish_series(local_store, ALL_TOTALS_CSV, partition="campaign")
    assert [origin.partition for origin in done.manifest.made_from] == ["batch-1"]
    assert done.manifest.warnings == ["broken is left out: The delivery is empty: deliver something."]


def test_a_delivery_all_of_whose_rows_were_rejected_is_refused(local_store: Store) -> None:
    deliver(local_store, "a")
    made = deliver(local_store, "bad", "bad", steps=["readings"])["readings"].generation
    assert made.refused == "All 2 readings were rejected: The value is bad."
    assert [(of.seen, of.rejected) for of in made.account] == [(2, 2)]
    assert made.tables.keys() == {"rejects"}


def test_rows_that_are_stored_are_not_replaced_by_less_without_a_yes(atomic_store: Store) -> None:
    deliver(atomic_store, "a", "b", "c")
    refused = deliver(atomic_store, "a", "b", steps=["readings"])["readings"].generation
    assert refused.refused is not None
    assert "points: 3 → 2" in refused.refused
    assert "sheaf run demo batch-1 --accept-loss" in refused.refused
    assert current(atomic_store, DEMO, "batch-1").rows(POINTS) == 3
    accepted = deliver(atomic_store, "a", "b", how=How(accept_loss=True))
    assert accepted["readings"].generation.refused is None
    assert current(atomic_store, DEMO, "batch-1").rows(POINTS) == 2
    assert deliver(atomic_store, "a", "b")["readings"].unchanged


def test_what_an_attempt_left_is_swept_by_the_next_generation(local_store: Store) -> None:
    deliver(local_store, "a")
    place = DEMO.place(READING, "batch-1")
    local_store.put(f"{place.folder}/000002-0123abcd/readings.parquet", b"half")
    local_store.put(f"{place.folder}/000003-0123abcd/readings.parquet", b"may be alive")
    deliver(local_store, "b")
    left = {item.path.split("/")[-2] for item in local_store.list(place.folder) if item.path.endswith(".parquet")}
    assert "000002-0123abcd" not in left
    assert "000003-0123abcd" in left


def test_of_two_that_read_different_deliveries_the_last_one_is_whole(local_store: Store) -> None:
    """Who is overtaken between reading and committing looks again, and never puts an older delivery on top."""
    deliver(local_store, "first")
    original = generations.commit
    raced = []

    def overtaken(*args: object) -> object:
        if not raced:
            raced.append(True)
            deliver_now(local_store, "newest")
        return original(*args)  # type: ignore[arg-type]

    source = Sources({"demo": (_Changing(["older", "newest"]),)})

    def deliver_now(store: Store, value: str) -> None:
        place = DEMO.place(READING, "batch-1")
        number = generations.numbers(store, place)[-1] + 1
        current_ = generations.current(store, place)
        assert current_ is not None
        store.create(
            place.commit_path(number), current_.model_copy(update={"number": number}).model_dump_json().encode()
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generations, "commit", overtaken)
        made = run_step(local_store, DEMO, READING, "batch-1", SETTINGS, source)
    assert current(local_store, DEMO, "batch-1").read(READINGS)["value"].to_pylist() == ["newest"]
    assert made.generation.number == 3


class _Changing(Values):
    """A source that holds something else at every look."""

    def __init__(self, values: list[str]) -> None:
        super().__init__((values[0],))
        object.__setattr__(self, "_left", values)

    def deliver(self, store: Store, partition: str, folder: Path):
        left: list[str] = self._left  # type: ignore[attr-defined]
        value = left.pop(0) if len(left) > 1 else left[0]
        return Values((value,)).deliver(store, partition, folder)


def test_pruning_waits_for_who_works_on_the_partition(local_store: Store) -> None:
    """What is being committed may name a table of a generation that would go."""
    for value in ("a", "b", "c"):
        deliver(local_store, value)
    gone: list[object] = []
    pruning = threading.Thread(target=lambda: gone.extend(prune_tables(local_store, [DEMO], young=timedelta(0))))
    with lease(local_store, "demo/batch-1", "readings"):
        pruning.start()
        pruning.join(1.0)
        assert pruning.is_alive()
        assert gone == []
    pruning.join()
    assert gone


def test_a_lease_that_the_store_does_not_take_back_keeps_nobody_waiting(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a full disk, where what failed has an error of its own."""

    def refuse(*_: object, **__: object) -> bool:
        raise StoreError("The disk is full.")

    with lease(local_store, "demo/batch-1", "readings"):
        monkeypatch.setattr(local_store, "swap", refuse)
    monkeypatch.undo()
    with lease(local_store, "demo/batch-1", "readings", waiting=lambda holder: pytest.fail(f"waits for {holder}")):
        pass


def test_pruning_keeps_what_exports_were_made_from_and_they_can_be_made_again(
    atomic_store: Store, tmp_path: Path
) -> None:
    for value in ("a", "b", "c"):
        deliver(atomic_store, value)
        if value != "b":
            publish_series(atomic_store, TOTALS_CSV)
    assert prune_tables(atomic_store, [DEMO]) == []  # what was replaced so lately may still be read
    gone = prune_tables(atomic_store, [DEMO], young=timedelta(0))
    assert [(one.step, one.generations) for one in gone] == [("readings", [2]), ("totals", [2])]
    assert numbers(atomic_store) == [1, 3]
    for version in (1, 2):
        export = publish_series(atomic_store, TOTALS_CSV).export
        (made,) = rebuild(
            atomic_store, DEMO, dataclasses.replace(export, version=version), SETTINGS, tmp_path / str(version)
        )
        assert made.read_text() == totals(atomic_store, version)


def test_an_export_whose_generations_are_gone_cannot_be_made_again(local_store: Store, tmp_path: Path) -> None:
    deliver(local_store, "a")
    done = publish_series(local_store, TOTALS_CSV)
    deliver(local_store, "b")
    local_store.delete([DEMO.place(READING, "batch-1").commit_path(1)])
    with pytest.raises(NotFoundError, match="was made from tables that are gone"):
        rebuild(local_store, DEMO, done.export, SETTINGS, tmp_path)


def test_what_was_pinned_stays_the_same_while_others_are_made(local_store: Store) -> None:
    deliver(local_store, "a")
    tables = pin(local_store, DEMO, "batch-1", [READINGS, TOTALS], SETTINGS)
    deliver(local_store, "b", "c")
    assert tables.read(READINGS)["value"].to_pylist() == ["a"]
    assert tables.read(TOTALS)["first"].to_pylist() == ["a"]
    with pytest.raises(NotFoundError):
        tables.read(POINTS)  # was not asked for


def test_a_declaration_that_reads_what_nobody_writes_is_refused() -> None:
    with pytest.raises(ValueError, match="demo/readings_csv reads readings, which no step writes"):
        dataclasses.replace(DEMO, steps=())
    with pytest.raises(ValueError, match="demo/totals reads readings, which no step before it writes"):
        dataclasses.replace(DEMO, steps=tuple(reversed(DEMO.steps)))


def test_tables_of_a_store_from_before_generations_go_when_their_partition_is_read_anew(local_store: Store) -> None:
    old = [f"tables/demo/{table}/batch=batch-1/data.parquet" for table in ("readings", "points", "totals", "rejects")]
    others = "tables/demo/readings/batch=batch-2/data.parquet"
    for path in (*old, others):
        local_store.put(path, b"old")
    with pytest.raises(NotFoundError, match="run `sheaf run demo batch-1`"):
        publish_series(local_store)
    refused = deliver(local_store, steps=["readings"])["readings"].generation
    assert refused.refused
    assert all(local_store.size(path) for path in old), "nothing goes before there is something better"
    made = deliver(local_store, "a")
    assert made["readings"].generation.warnings == [
        "4 tables of an earlier Sheaf are removed: they were made anew from the source."
    ]
    assert not any(local_store.size(path) for path in old)
    assert local_store.size(others)
    assert publish_series(local_store).export.version == 1


def test_an_export_of_a_store_from_before_generations_stays_readable(local_store: Store, tmp_path: Path) -> None:
    deliver(local_store, "a")
    done = publish_series(local_store, TOTALS_CSV)
    manifest = orjson.loads(local_store.get(done.export.manifest_path))
    for key in ("made_from", "made_with", "code", "account", "problems"):
        del manifest[key]
    for entry in manifest["inputs"]:
        del entry["step"], entry["generation"]
    local_store.put(done.export.manifest_path, orjson.dumps(manifest))
    assert verify(local_store, done.export).files == done.manifest.files
    with pytest.raises(NotFoundError, match="is of an earlier Sheaf, which did not keep what it was made from"):
        rebuild(local_store, DEMO, done.export, SETTINGS, tmp_path)
