"""Finding out what there is: partitions with their facts, keys and values, names that were mistyped, old exports."""

import json
import shutil

import pytest
from test_cli import home, sheaf, write_batch  # noqa: F401  # fixtures

from pipelines.cli import main
from sheaf import choices, listing
from sheaf.domains import DOMAINS, domain_named
from sheaf.errors import NotFoundError
from sheaf.settings import Settings
from sheaf.store.store import Store

UUID = "8f0e2d3c-5b5a-4c43-9c0d-0d5c2f3a1b11"


@pytest.fixture(scope="module")
def home_with_batches(tmp_path_factory):
    """Two batches, of which one is running; published once for all tests."""
    folder = tmp_path_factory.mktemp("home")
    write_batch(folder / "inbox", "b4")
    write_batch(folder / "inbox", "b5", batch_id=UUID.replace("8", "9"), batch_number=5, status="running")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHEAF_HOME", str(folder))
        with pytest.raises(SystemExit) as ended:
            main.main(["run", "fermentation", "--json"])
    assert not ended.value.code
    return folder


@pytest.fixture
def published(home_with_batches, home, sheaf):  # noqa: F811
    """A copy of it, to look at and to change."""
    shutil.copytree(home_with_batches, home, dirs_exist_ok=True)
    return sheaf


@pytest.mark.case("front-door/no-batch-listing")
def test_batches_are_listed_with_their_facts_and_found_by_their_own_id(published, home):  # noqa: F811
    code, out, _ = published("list", "fermentation", "--where", "status=complete", "--json")
    (line,) = json.loads(out)
    assert (code, line["partition"], line["latest"]["samples_csv"]) == (0, "b4", 1)
    assert (
        line["facts"] | {"id": UUID, "batch_number": 4, "phase": "B", "status": "complete", "samples": 3}
        == (line["facts"])
    )
    assert "b4" in published("list", "fermentation")[1]
    one = json.loads(published("list", "fermentation", UUID, "--json")[1])
    assert one["partition"] == "b4"
    assert {record["series"] for record in one["exports"]} == set(line["latest"])
    counts = json.loads(published("list", "--json")[1])
    assert {found["domain"]: found["partitions"] for found in counts} == dict.fromkeys(DOMAINS, 0) | {"fermentation": 2}
    code, _, err = published("list", "fermentation", "--where", "statis=complete")
    assert (code, "Did you mean 'status'?" in err) == (2, True)


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(published):
    for arguments, said in (
        (("list", "fermentatoin"), "Did you mean 'fermentation'?"),
        (("choices", "fermentation", "b4", "sample_csv"), "Did you mean 'samples_csv'?"),
        (("export", "fermentation", "b4", "samples_csv", "--filter", "min_hour=4"), "Did you mean 'min_hours'?"),
        (("why", "fermentation", "B4"), "Did you mean 'b4'?"),
        (("history", "fermentation", "b44"), "Did you mean 'b4'?"),
    ):
        code, out, err = published(*arguments)
        assert (code > 0, out, said in err) == (True, "", True), err


def test_choices_tell_every_key_with_the_values_that_the_partition_has(published):
    told = json.loads(published("choices", "fermentation", "b4", "training_parquet", "--json")[1])
    (series,) = told["series"]
    keys = {key["key"]: key for key in series["filter"] + series["options"]}
    assert keys["min_hours"]["type"] == "number"
    assert "hours" in keys["min_hours"]["meaning"]
    assert keys["gas_balance"]["allowed"] == ["inert", "upstream"]
    assert keys["gas_balance"]["default"] == "inert"
    campaign = json.loads(published("choices", "fermentation", "campaign", "--json")[1])
    phases = {key["key"]: key["found"] for one in campaign["series"] for key in one["filter"]}
    assert (phases["phase"], set(phases["batches"])) == ({"B": ""}, {"b4", "b5"})
    assert "gas_balance" in published("choices", "fermentation")[1]
    media = json.loads(published("choices", "media", "--json")[1])
    assert media["found"]["ai_model"]["spectral"] == "built in"
    assert media["found"]["ai_model"]["yamnet"].startswith("not installed")


def test_every_key_of_every_series_has_a_type_and_a_meaning(local_store: Store):
    settings = Settings.load()
    for domain in DOMAINS.values():
        for series in choices.choices(local_store, domain, settings.of(domain.name)).series:
            for key in (*series.filter, *series.options):
                assert all((key.type, key.meaning)), f"{series.series} {key.key}"


@pytest.mark.case("front-door/empty-filter")
def test_a_filter_that_leaves_nothing_says_so(published):
    export = ("export", "fermentation", "b4", "samples_csv", "--filter")
    code, _, err = published(*export, "min_hours=4", "--filter", "max_hours=3")
    assert (code, "min_hours 4 is above max_hours 3" in err) == (2, True)
    code, _, err = published(*export, "min_hours=900")
    assert (code, "The filter leaves nothing: min_hours=900." in err) == (0, True)
    _, _, err = published("preview", *export[1:], "min_hours=900")
    assert "The filter leaves nothing" in err


def test_the_history_shows_size_counts_and_the_filter_as_typed_and_is_narrowed(published):
    published("export", "fermentation", "b4", "samples_csv", "--filter", "min_hours=4", "--name", "Late samples")
    (line,) = [line for line in published("history", "fermentation", "b4")[1].splitlines() if "min_hours=4" in line]
    assert "on request" in line
    (record,) = json.loads(published("history", "--name", "late", "--json")[1])
    assert (record["record_count"], record["size"] > 0) == (2, True)
    assert json.loads(published("history", "--since", "2100-01-01", "--json")[1]) == []
    newest = json.loads(published("history", "--limit", "1", "--json")[1])
    assert [one["name"] for one in newest] == ["Late samples"]


def test_saved_filters_have_names_as_people_write_them(published):
    save = ("filters", "save", "fermentation")
    assert published(*save, "b4", "late samples", "--filter", "min_hours=4")[0] == 0
    assert published(*save, "every one", "--filter", "max_hours=900")[0] == 0
    code, _, err = published(*save, "b44", "late", "--filter", "min_hours=4")
    assert (code, "Did you mean 'b4'?" in err) == (1, True)
    for name, count in (("late samples", 2), ("every one", 3)):
        out = published("export", "fermentation", "b4", "samples_csv", "--saved", name, "--json")[1]
        assert json.loads(out)[0]["record_count"] == count
    code, _, err = published("filters", "delete", "fermentation", "b4", "every one")
    assert (code, "is a filter of all of fermentation" in err) == (2, True)
    assert published("filters", "rename", "fermentation", "every one", "all")[0] == 0
    assert published("filters", "delete", "fermentation", "all")[0] == 0


def test_a_batch_is_found_by_folder_id_or_number_and_is_never_a_second_partition(published, home):  # noqa: F811
    store, domain = Store.open(Settings.load().store_url), domain_named("fermentation")
    assert [listing.find(store, domain, name) for name in ("b4", UUID, "4-B")] == ["b4"] * 3
    assert json.loads(published("run", "fermentation", UUID, "--json")[1])[0]["partition"] == "b4"
    write_batch(home / "inbox", "b6", batch_id=UUID)
    code, out, _ = published("run", "fermentation", "b6", "--json")
    assert code == 1
    assert f"Batch {UUID} is the partition b4 already, so b6 is not read: name the folder so." in out
    with pytest.raises(NotFoundError, match="was never read"):
        listing.find(store, domain, "nothing-like-it")


def test_the_shell_completes_names_and_never_fails(published, monkeypatch, capfd):
    def offered(line: str) -> list[str]:
        monkeypatch.setenv("_SHEAF_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        capfd.readouterr()
        with pytest.raises(SystemExit):
            main.app(prog_name="sheaf")
        return capfd.readouterr().out.split()

    assert offered("sheaf list fer") == ["fermentation"]
    assert offered("sheaf export fermentation b") == ["b4", "b5"]
    assert "samples_csv" in offered("sheaf export fermentation b4 ")
    assert "min_hours=" in offered("sheaf export fermentation b4 samples_csv --filter min")
    assert offered("sheaf show fermentation/b4/samples_csv/") == [
        f"fermentation/b4/samples_csv/{version}" for version in ("latest", "v1")
    ]
    monkeypatch.setenv("SHEAF_STORE_URL", "s3://user:secret@nowhere/x")
    assert offered("sheaf export fermentation b") == []
