"""A home may be called as its owner likes: what libraries take for patterns or quotes is only a name."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from lab import PROGRAM, environment
from test_cli import write_batch

from pipelines.samples import write_samples
from sheaf.duck import connect, quoted


def sheaf(home: Path, *args: str) -> tuple[int, str, str]:
    done = subprocess.run([PROGRAM, *args], env=environment(home), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.campaign
@pytest.mark.parametrize("name", ['it\'s [a] *b* \\ "quoted" {x} $y; #1 & ü'])
def test_two_domains_are_published_below_an_odd_home(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    write_samples(home / "inbox")
    for domain, partition in (("fermentation", ""), ("occurrences", "p1")):
        code, out, err = sheaf(home, "run", domain, *([partition] if partition else []), "--json")
        found = json.loads(out)
        assert code == 0, [one["error"] for one in found]
        assert {one["status"] for one in found} == {"completed"}
        assert "Traceback" not in err
    assert sheaf(home, "doctor", "--deep")[0] == 0
    export = "fermentation/campaign/campaign_csv/latest"
    assert sheaf(home, "rebuild", export, str(tmp_path / "again"))[0] == 0
    assert [path.name for path in tmp_path.iterdir() if path.name not in (name, "again")] == []


@pytest.mark.parametrize("name", ["what?", pytest.param("100%41", marks=pytest.mark.campaign)])
def test_a_home_that_dagster_cannot_have_is_refused_and_nothing_is_made_elsewhere(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    write_batch(home / "inbox", "b4")
    code, _, err = sheaf(home, "run", "fermentation", "b4")
    assert code == 2, err
    assert "Dagster cannot keep its databases below a name with ? or %" in err
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208


@pytest.mark.parametrize("name", ["it's", "[a]", "*", "?", "a\\b", "{a,b}", "plain"])
def test_a_path_in_a_query_is_that_file(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    with connect() as database:
        database.execute(f"COPY (SELECT 42 AS x) TO {quoted(folder / 'one.parquet')}")
        assert (folder / "one.parquet").exists()
        assert database.execute(f"SELECT x FROM read_parquet({quoted(folder / 'one.parquet')})").fetchall() == [(42,)]
        assert database.execute(f"SELECT x FROM read_parquet({quoted(folder / '*.parquet')})").fetchall() == [(42,)]
    with connect(str(folder / "work.duckdb")) as database:
        database.execute("CREATE TABLE t AS SELECT 1")
