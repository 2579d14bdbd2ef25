"""Cron expressions in settings: what is accepted, Dagster can run; the rest is one sentence."""

import pytest
from dagster._utils.schedules import is_valid_cron_schedule
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import configured as settings_of

from pipelines.definitions import build_definitions
from sheaf.cron import check_cron
from sheaf.errors import UsageError


@pytest.mark.case("front-door/bad-cron")
@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("0 25 * * *", "the hour '25' is not 0 to 23"),
        ("60 2 * * *", "the minute '60'"),
        ("0 2 0 * *", "the day of the month '0'"),
        ("0 2 * 13 *", "the month '13'"),
        ("0 2 * * 8", "the day of the week '8'"),
        ("0 2 * * mno", "the day of the week 'mno'"),
        ("0 22-2 * * *", "'22-2' is no range"),
        ("*/0 * * * *", "no range of the minute"),
        ("*/90 * * * *", "no range of the minute"),
        ("0 0 31 2 *", "no such day in any year"),
        ("0 0 31 4,6 1", "no such day in any year"),
        ("0 2 * *", "five fields"),
        ("0 2 * * * *", "five fields"),
        ("@daily", "five fields"),
        ("nightly", "five fields"),
        ("", "five fields"),
        ("0 2 L * *", "the day of the month 'l'"),
        ("0 2 * * 5#1", "no day of the week that cron knows"),
        ("1,,2 * * * *", "no minute that cron knows"),
        ("-1 * * * *", "no minute that cron knows"),
        ("٣ 2 * * *", "no minute that cron knows"),
    ],
)
def test_what_is_no_cron_expression_is_told(expression: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("(", r"\(")):
        check_cron(expression)


def part(lowest: int, highest: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    number = st.integers(lowest, highest).map(str)
    word = number | st.sampled_from(names) if names else number
    ranged = st.tuples(st.integers(lowest, highest), st.integers(lowest, highest)).map(lambda ends: sorted(ends))
    step = st.integers(1, highest).map(lambda by: f"/{by}") | st.just("")
    spans = st.tuples(ranged.map(lambda ends: f"{ends[0]}-{ends[1]}") | st.just("*"), step).map("".join)
    return st.lists(word | spans, min_size=1, max_size=3).map(",".join)


FIELDS = st.tuples(
    part(0, 59), part(0, 23), part(1, 31), part(1, 12, ("jan", "DEC")), part(0, 7, ("mon", "SUN", "Sat"))
).map(" ".join)


@settings(max_examples=80)
@given(FIELDS)
def test_what_is_accepted_dagster_can_run(expression: str) -> None:
    try:
        check_cron(expression)
    except ValueError:
        return
    assert is_valid_cron_schedule(expression)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('nightly: "0 25 * * *"\n', "nightly='0 25 * * *'"),
        ("occurrences: {projects: {p016: {title: x}}}\n", "occurrences.projects"),
        ('matches: {offload: {schedule: "61 3 * * *"}}\n', "matches.offload.schedule='61 3 * * *'"),
    ],
)
def test_settings_name_the_key(tmp_path, text: str, named: str) -> None:
    (tmp_path / "sheaf.yaml").write_text(text)
    with pytest.raises(UsageError) as told:
        settings_of({"SHEAF_HOME": str(tmp_path)})
    assert f"sheaf.yaml: {named}" in str(told.value)


@pytest.mark.parametrize("nightly", ["0 * * * *", "*/10 * * * *", "30 1,2 * * mon-fri"])
def test_exports_may_be_made_more_often_than_nightly(tmp_path, nightly: str) -> None:
    found = settings_of({"SHEAF_HOME": str(tmp_path), "SHEAF_NIGHTLY": nightly})
    schedules = {schedule.name: schedule for schedule in build_definitions(found).schedules or ()}
    assert schedules["fermentation_nightly"].cron_schedule == nightly


def test_the_environment_sets_any_key_and_is_named_where_it_cannot_be_used(tmp_path) -> None:
    (tmp_path / "sheaf.yaml").write_text("fermentation: {vessel_volume_l: 0.7}\ntimezone: Europe/Oslo\n")
    home = {"SHEAF_HOME": str(tmp_path)}
    found = settings_of(home | {"SHEAF_FERMENTATION__VESSEL_VOLUME_L": "0.9", "SHEAF_TIMEZONE": ""})
    assert (found.fermentation.vessel_volume_l, found.timezone) == (0.9, "Europe/Oslo")
    with pytest.raises(UsageError, match=r"SHEAF_FERMENTATION__VESSEL_VOLUME_L='much' cannot be used"):
        settings_of(home | {"SHEAF_FERMENTATION__VESSEL_VOLUME_L": "much"})
    (tmp_path / "sheaf.yaml").write_text("fermentation: {plan: {needed: [pHH]}}\n")
    with pytest.raises(UsageError, match=r"fermentation\.plan cannot be used: the plan needs 'pHH'"):
        settings_of(home)  # the whole plan is not shown
    with pytest.raises(UsageError, match=r"A variable of the environment cannot be used: .*media"):
        settings_of(home | {"SHEAF_MEDIA": "{"})
