"""Retention: what no rule keeps goes, and never what `latest`, a tag, a reader or a kept version needs."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
from demo_domain import BATCH, DEMO, SETTINGS, TOTALS_CSV, deliver, publish_readings, publish_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import sheaf
from pipelines.cli import exports as cli_exports
from pipelines.cli.main import app
from pipelines.old_runs import prune_history
from pipelines.pruning import prune
from pipelines.retention import retention_job, retention_schedule
from resources.store import StoreResource
from sheaf.errors import UsageError
from sheaf.exports import catalogue
from sheaf.exports.history import history, resolve
from sheaf.exports.pins import pin, read_pins
from sheaf.exports.rebuild import rebuild
from sheaf.exports.records import Status, read_latest
from sheaf.exports.retention import prune_exports
from sheaf.exports.verify import verify
from sheaf.retention import RetentionSettings, Rules, keep
from sheaf.running import How
from sheaf.settings import Settings
from sheaf.store.store import Store

START = datetime(2026, 1, 5, 2, tzinfo=UTC)
RULES = st.builds(
    RetentionSettings,
    last=st.none() | st.integers(1, 3),
    weekly=st.none() | st.integers(1, 3),
    monthly=st.none() | st.integers(1, 3),
    days=st.none() | st.integers(1, 40),
)

Clock = Callable[[float], None]


@pytest.fixture
def to_day(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Makes it so many days after the start."""

    def turn(days: float) -> None:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int((START + timedelta(days=days)).timestamp())))

    turn(0)
    return turn


def give(store: Store, *values: str) -> None:
    """A new delivery, whatever is lost by it."""
    deliver(store, *values, how=How(accept_loss=True))


def there(store: Store) -> set[int]:
    """The versions of the readings that can be read."""
    return {one.version for one in history(store, "demo", "batch-1", "readings_csv") if one.status is Status.COMPLETED}


def nightly(store: Store, to_day: Clock, days: int) -> None:
    """A version each day."""
    for day in range(days):
        to_day(day)
        give(store, f"day {day}")
        publish_readings(store)


def test_each_rule_keeps_for_itself() -> None:
    daily = [(day + 1, START + timedelta(days=day)) for day in range(70)][::-1]  # 5 January to 15 March
    now = START + timedelta(days=69, hours=1)

    def kept(**rules: int) -> list[int]:
        return sorted(keep(daily, Rules(**rules), 1, now))

    assert kept(last=3) == [68, 69, 70]
    assert kept(weekly=3) == [56, 63, 69, 70]  # Sundays, and what was replaced an hour ago
    assert kept(monthly=2) == [55, 69, 70]
    assert kept(days=4) == [67, 68, 69, 70]
    assert kept(last=3, monthly=3) == [27, 55, 68, 69, 70]


@given(st.lists(st.integers(0, 3000), min_size=1, max_size=40, unique=True), RULES, st.integers(0, 400))
def test_a_further_rule_never_keeps_less(hours: list[int], rules: RetentionSettings, later: int) -> None:
    times = [START + timedelta(hours=hour) for hour in sorted(hours)]
    versions = list(enumerate(times, 1))[::-1]
    now = times[-1] + timedelta(hours=later)
    kept = keep(versions, rules, 1, now)
    for name in ("last", "weekly", "monthly", "days"):
        assert keep(versions, rules.model_copy(update={name: None}), 1, now) <= kept
    for (_, replaced), (older, made) in pairwise(versions):
        readable_lately = now - replaced < timedelta(days=1)
        assert not readable_lately or older in kept
        assert not (rules.days and now - made < timedelta(days=rules.days)) or older in kept
    assert {number for number, _ in versions[: rules.last or 0]} <= kept


STEPS = st.lists(
    st.sampled_from(["deliver", "deliver", "publish", "publish", "ask", "pin", "open", "hours", "days", "prune"]),
    min_size=8,
    max_size=20,
)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, RULES)
def test_never_goes_what_latest_a_tag_a_reader_or_a_kept_version_needs(
    tmp_path_factory: pytest.TempPathFactory, to_day: Clock, steps: list[str], rules: RetentionSettings
) -> None:
    folder = tmp_path_factory.mktemp("life")
    store, day, number = Store.open(str(folder / "store")), 0.0, 0
    readers: list[tuple[sheaf.reader.Dataset, float, bytes]] = []
    give(store, "first")
    publish_readings(store)
    for step in [*steps, "prune"]:
        if step == "deliver":
            number += 1
            give(store, f"value {number}")
        elif step == "publish":
            publish_readings(store)
            publish_series(store, TOTALS_CSV)
        elif step == "ask":
            publish_readings(store, filter={"min_id": 1})
        elif step == "pin":
            pin(store, resolve(store, f"{BATCH}/latest"), f"t{number}", "ada")
        elif step == "open":
            opened = sheaf.open(f"{BATCH}/latest", store.url)
            readers.append((opened, day, opened.read("readings.csv")))
        elif step in ("hours", "days"):
            day += 0.3 if step == "hours" else 9
            to_day(day)
        else:
            would = prune(store, [DEMO], rules, "retention", dry_run=True)
            assert prune(store, [DEMO], rules, "retention") == would
            _confirm(store, folder, readers, day)


def _confirm(store: Store, folder: Path, readers: list, day: float) -> None:
    latest = read_latest(store, BATCH)
    assert latest is not None
    tagged = {one.version for one in read_pins(store, BATCH).values()}
    assert {latest.version, *tagged} <= there(store)
    for reader, since, held in readers:
        if day - since < 1:  # it could be read a day ago, so it still can
            assert reader.read("readings.csv") == held
    for record in history(store, "demo"):
        if record.status is Status.COMPLETED:
            verify(store, record.id)
            rebuild(store, DEMO, record.id, SETTINGS, folder / "again")
    shown = {one.export: one.status for one in catalogue.read(store).exports} if store.size(catalogue.JSON) else {}
    assert all(shown.get(str(one.id), one.status) == one.status for one in history(store, "demo"))


def test_without_a_rule_every_export_stays_and_tables_go_as_ever(local_store: Store, to_day: Clock) -> None:
    nightly(local_store, to_day, 3)
    give(local_store, "never published")
    to_day(9)
    give(local_store, "today")
    to_day(11)
    removed = prune(local_store, [DEMO], RetentionSettings(), "ada")
    assert removed.exports == []
    assert [(one.step, one.generations) for one in removed.tables] == [("readings", [4]), ("totals", [1, 2, 3, 4])]
    assert removed.size == sum(one.size for one in removed.tables) > 0
    assert there(local_store) == {1, 2, 3}


def test_a_series_may_have_rules_of_its_own(local_store: Store, to_day: Clock) -> None:
    for day in range(4):
        to_day(day)
        give(local_store, f"day {day}")
        publish_readings(local_store)
        publish_series(local_store, TOTALS_CSV)
    to_day(9)
    rules = RetentionSettings(last=1, series={"demo/totals_csv": Rules(last=3), "demo/readings_csv": Rules()})
    gone = prune(local_store, [DEMO], rules, "ada").exports
    assert [(one.series, one.version) for one in gone] == [("totals_csv", 1)]
    with pytest.raises(UsageError, match=r"no series 'demo/total_csv'\. Did you mean 'demo/totals_csv'"):
        prune(local_store, [DEMO], RetentionSettings(series={"demo/total_csv": Rules(last=1)}), "ada")
    assert there(local_store) == {1, 2, 3, 4}


def test_what_is_asked_for_pushes_out_nothing_nightly_and_what_cannot_be_read_stays(
    local_store: Store, to_day: Clock
) -> None:
    nightly(local_store, to_day, 3)
    for least in range(4):
        publish_readings(local_store, filter={"min_id": least + 1})
    to_day(30)
    assert [one.version for one in prune_exports(local_store, [DEMO], RetentionSettings(last=2), dry_run=True)] == [
        1, 4, 5,
    ]  # fmt: skip
    local_store.put(BATCH.tags_path, b'{"tags": {"pa')
    assert prune_exports(local_store, [DEMO], RetentionSettings(last=2)) == []
    assert there(local_store) == {1, 2, 3, 4, 5, 6, 7}


def test_the_command_says_first_what_it_does_then(
    local_store: Store, tmp_path: Path, to_day: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_exports, "DOMAINS", {"demo": DEMO})
    monkeypatch.setenv("SHEAF_STORE_URL", local_store.url)
    monkeypatch.setenv("SHEAF_HOME", str(tmp_path))
    monkeypatch.setenv("SHEAF_RETENTION__LAST", "1")
    nightly(local_store, to_day, 3)
    catalogue.write(local_store)
    to_day(30)

    def said(*words: str) -> str:
        return CliRunner().invoke(app, ["prune", *words], catch_exceptions=False).stdout

    would = json.loads(said("--dry-run", "--json"))
    assert [one["version"] for one in would if "series" in one] == [1, 2]
    assert [one["generations"] for one in would if one.get("step") == "readings"] == [[1, 2]]
    assert all(one["size"] > 0 for one in would)
    assert there(local_store) == {1, 2, 3}
    assert "would go" in said("--dry-run")
    assert json.loads(said("--json")) == would
    shown = {one.export: one.status for one in catalogue.read(local_store).exports}
    assert [shown[f"{BATCH}/v{number}"] for number in (1, 2, 3)] == [Status.DELETED, Status.DELETED, Status.COMPLETED]
    assert said() == "There is nothing to remove.\n"


def test_the_weekly_run_waits_for_a_rule_and_removes_by_it(local_store: Store, tmp_path: Path) -> None:
    configured = Settings(home=tmp_path, store_url=local_store.url, inbox=tmp_path / "inbox")
    at = dg.build_schedule_context(scheduled_execution_time=START)
    skipped = retention_schedule(configured)(at)
    assert isinstance(skipped, dg.SkipReason)
    assert "Everything stays" in str(skipped.skip_message)
    configured = configured.model_copy(update={"retention": RetentionSettings(last=1)})
    assert isinstance(retention_schedule(configured)(at), dg.RunRequest)
    left = local_store.scratch / "another-host-1-0123456789ab"
    left.mkdir(parents=True)
    done = retention_job.execute_in_process(
        resources={"store": StoreResource(url=local_store.url), "settings": configured},
        run_config={"ops": {"prune_old": {"config": {"dry_run": True}}}},
    )
    assert done.success


def test_runs_and_ticks_go_but_for_runs_that_made_what_is_there_now() -> None:
    @dg.asset(partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
    def counted() -> None:
        print("one, two")

    def printed(instance: dg.DagsterInstance) -> set[str]:
        return {path.parents[1].name for path in Path(instance.storage_directory()).glob("*/compute_logs/*.out")}

    with dg.instance_for_test() as instance:
        first, of_b, second = (
            dg.materialize([counted], instance=instance, partition_key=key).run_id for key in ("a", "b", "a")
        )
        looked(instance, days_ago=5)
        looked(instance, days_ago=0)
        assert prune_history(instance, 1, dry_run=True) == (0, 1)
        assert prune_history(instance, 1) == (0, 1)
        assert prune_history(instance, -1, dry_run=True) == (1, 1)
        assert {one.run_id for one in instance.get_runs()} == printed(instance) == {first, of_b, second}
        assert prune_history(instance, -1) == (1, 1)
        assert {one.run_id for one in instance.get_runs()} == printed(instance) == {of_b, second}
        assert instance.get_materialized_partitions(counted.key) == {"a", "b"}
        assert prune_history(instance, -1) == (0, 0)


def looked(instance: dg.DagsterInstance, days_ago: float) -> None:
    """A tick of a sensor, as the daemon notes it."""
    location = RegisteredCodeLocationOrigin("sheaf")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), "fermentation_inbox")
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING)
    if not instance.all_instigator_state():
        instance.add_instigator_state(state)
    at = (datetime.now(UTC) - timedelta(days=days_ago)).timestamp()
    tick = TickData(
        state.instigator_origin_id, state.name, InstigatorType.SENSOR, TickStatus.SKIPPED, at,
        selector_id=state.selector_id,
    )  # fmt: skip
    instance.create_tick(tick)
