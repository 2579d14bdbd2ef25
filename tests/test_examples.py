"""The examples do what they say, on the demo's data."""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from fermentation_inbox import all_steps

from sheaf.exports.publish import Request, publish
from sheaf.fermentation.domain import FERMENTATION
from sheaf.fermentation.sample import campaign
from sheaf.fermentation.settings import FermentationSettings
from sheaf.store.store import Store


@pytest.fixture(scope="module")
def example() -> ModuleType:
    return loaded("train_on_campaign")


def loaded(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / f"examples/{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store after the demo's batches that train or test, with one point of each sensor in 30 s."""
    root = tmp_path_factory.mktemp("demo")
    store = Store.open(str(root / "store"))
    settings = FermentationSettings()
    for key in ("batch-12-b", "batch-13-b", "batch-16-c"):
        campaign.write(root, key)
        log = root / "fermentation" / key / "sensors.parquet"
        points = pq.read_table(log)
        seconds = pc.call_function("second", [points.column("time")])
        pq.write_table(points.filter(pc.call_function("is_in", [seconds], pc.SetLookupOptions(pa.array([0, 30])))), log)
        all_steps(store, log.parent, key, settings)
        publish(store, FERMENTATION, FERMENTATION.series_named("training_parquet"), Request(key), settings)
    publish(store, FERMENTATION, FERMENTATION.series_named("campaign_parquet"), Request("campaign"), settings)
    return root / "store"


def test_a_model_of_the_campaign_beats_the_baselines_on_batches_it_has_not_seen(example, demo):
    found = example.main(demo)
    assert found["training"] == {"batches": 2, "samples": 15}
    assert found["holdout"]["batches"] == 1
    for where in ("left_out_batches", "holdout"):
        errors = found["rmse_g_per_l"][where]
        assert errors["model"] < 0.5 * min(errors["mean"], errors["plan"])


def test_it_refuses_to_learn_from_the_holdout(example, demo, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(demo, store)
    publish(
        Store.open(str(store)),
        FERMENTATION,
        FERMENTATION.series_named("campaign_parquet"),
        Request("campaign", options={"include": "all"}),
        FermentationSettings(),
    )
    latest = store / "exports/fermentation/campaign/campaign_parquet/latest.json"
    latest.write_text(latest.read_text().replace("v0001", "v0002"))
    with pytest.raises(SystemExit, match="hold-out"):
        example.main(store)


def test_all_batches_are_compared(demo):
    found = loaded("compare_batches").compare(str(demo)).set_index("batch")
    assert found["eligible"].to_dict() == {"batch-12-b": True, "batch-13-b": True, "batch-16-c": True}
    assert found["mu_max"].between(0.2, 0.5).all()
    assert found.loc["batch-12-b", "yield_on_substrate"] == pytest.approx(0.46, abs=0.03)
