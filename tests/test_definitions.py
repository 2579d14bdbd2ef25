"""The asset graph as Dagster sees it, and what loading it costs.

The graph is compared with `tests/snapshots/definitions/`, one file for each domain and one for what belongs to none,
so that it never changes by accident. After a change that is meant, renew them and look at the difference before
committing:

    python tests/test_definitions.py
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import dagster as dg
import pytest

from pipelines.definitions import build_definitions
from sheaf.domains import DOMAINS
from sheaf.settings import Settings

SNAPSHOTS = Path(__file__).parent / "snapshots" / "definitions"
OTHER = "other"
HEAVY = ("pandas", "pyarrow.parquet", "pyarrow.dataset", "duckdb", "scipy", "matplotlib", "librosa", "boto3")


def definitions() -> dg.Definitions:
    """Those of a default configuration; nothing is opened, so the folders need not exist."""
    return build_definitions(Settings(home=Path("home"), store_url="home/store", inbox=Path("home/inbox")))


def described(definitions: dg.Definitions) -> dict[str, dict[str, Any]]:
    """The graph as plain JSON: for each domain, and for the rest, its assets, jobs, schedules and sensors."""
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    assets = {
        node.key.to_user_string(): {
            "group": node.group_name,
            "kinds": sorted(node.kinds),
            "owners": sorted(node.owners),
            "partitions": getattr(node.partitions_def, "name", None),
            "after": sorted(key.to_user_string() for key in node.parent_keys),
            "checks": sorted(check.name for check in node.check_keys),
            "code_version": node.code_version,
            "backfill": node.backfill_policy.policy_type.value if node.backfill_policy else None,
            "pools": sorted(node.pools or ()),
        }
        for node in graph.asset_nodes
    }
    jobs = {
        job.name: sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys)
        for job in repository.get_all_jobs()
        if not job.name.startswith("__")
    }
    schedules = {
        schedule.name: {
            "job": schedule.job_name,
            "cron": schedule.cron_schedule,
            "zone": schedule.execution_timezone,
            "on": schedule.default_status.value,
        }
        for schedule in repository.schedule_defs
    }
    sensors = {
        sensor.name: {
            "jobs": sorted(target.job_name for target in sensor.targets),
            "seconds": sensor.minimum_interval_seconds,
            "on": sensor.default_status.value,
        }
        for sensor in repository.sensor_defs
        if not sensor.name.startswith("default_")
    }
    files: dict[str, dict[str, Any]] = {name: {} for name in (*DOMAINS, OTHER)}
    for kind, found in (("assets", assets), ("jobs", jobs), ("schedules", schedules), ("sensors", sensors)):
        for name, value in found.items():
            domain = re.split("[/_]", name)[0]
            files[domain if domain in DOMAINS else OTHER].setdefault(kind, {})[name] = value
    return files


def as_text(graph: dict[str, Any]) -> str:
    """Sorted, and a short list on one line."""

    def on_one_line(found: re.Match[str]) -> str:
        line = json.dumps(json.loads(found[0]))
        return line if len(line) <= 90 else found[0]

    return re.sub(r"\[[^\[\]]*\]", on_one_line, json.dumps(graph, indent=1, sort_keys=True)) + "\n"


@pytest.fixture(scope="module")
def loaded() -> dg.Definitions:
    return definitions()


def test_the_graph_is_the_one_in_the_snapshots(loaded):
    kept = {path.stem: json.loads(path.read_text()) for path in SNAPSHOTS.iterdir()}
    assert described(loaded) == kept, "meant? then: python tests/test_definitions.py"


def test_every_asset_says_what_it_is_and_whose(loaded):
    for node in loaded.resolve_asset_graph().asset_nodes:
        assert node.group_name in DOMAINS, node.key
        assert node.owners, node.key
        assert node.kinds, node.key
        assert node.description, node.key
        assert node.description.rstrip().endswith((".", ")")), f"{node.key}: a whole sentence, please"


def test_every_check_job_schedule_and_sensor_is_described(loaded):
    repository = loaded.get_repository_def()
    assert all(spec.description for asset in repository.assets_defs_by_key.values() for spec in asset.check_specs)
    named = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    assert all(item.description for item in (*named, *repository.schedule_defs, *repository.sensor_defs))


def test_every_series_is_an_asset_with_a_check(loaded):
    graph = loaded.resolve_asset_graph()
    for domain in DOMAINS.values():
        for series in domain.series:
            node = graph.get(dg.AssetKey([domain.name, series.name]))
            assert [check.name for check in node.check_keys] == ["verified"]
            assert node.is_partitioned is not series.campaign


def test_tables_show_their_columns_with_units(loaded):
    graph = loaded.resolve_asset_graph()
    for name in ("records", "features", "training_samples"):
        schema = graph.get(dg.AssetKey(["fermentation", name])).metadata["dagster/column_schema"]
        assert all(column.description for column in schema.columns), name
    samples = {column.name: column for column in schema.columns}
    assert samples["dcw_g_per_l"].description.endswith("[g/L]")


def test_the_definitions_can_be_run(loaded):
    """Every resource an asset asks for is there, every selection finds something."""
    dg.Definitions.validate_loadable(loaded)


def test_loading_the_location_imports_nothing_heavy(tmp_path):
    """Every run process and the code server pay for what this module imports."""
    program = (
        "import json, sys; from pipelines.definitions import build_definitions; from sheaf.settings import Settings; "
        "build_definitions(Settings.load()).get_repository_def(); print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"SHEAF_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert set(HEAVY) & set(json.loads(done.stdout)) == set()


if __name__ == "__main__":
    for old in SNAPSHOTS.glob("*.json"):
        old.unlink()
    for name, graph in described(definitions()).items():
        (SNAPSHOTS / f"{name}.json").write_text(as_text(graph))
    print(f"wrote {SNAPSHOTS}")


def test_every_function_that_is_loaded_later_is_there():
    named = [
        value
        for domain in DOMAINS.values()
        for one in (*domain.steps, *domain.series, *(check for step in domain.steps for check in step.checks))
        for value in vars(one).values()
        if hasattr(value, "where")
    ]
    assert named
    for function in named:
        assert callable(resolve_name(function.where)), function.where
