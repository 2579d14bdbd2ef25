"""The launchpad knows the keys of every export: their types, values and meanings; what cannot be is refused at once."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from demo_domain import DEMO, SETTINGS, deliver

from assets.exports import export_assets
from assets.launchpad import config_schema
from assets.partitions import partitions_name
from resources.store import StoreResource
from sheaf.exports.history import history
from sheaf.fermentation.domain import FERMENTATION
from sheaf.occurrences.domain import OCCURRENCES
from sheaf.settings import ServeSettings
from sheaf.steps import Domain
from sheaf.store.store import Store


def job(domain: Domain, series: str) -> dg.JobDefinition:
    """The job that makes one series."""
    assets = [one for one in export_assets(domain) if one.key.path[-1] == series]
    return dg.Definitions(
        assets=assets,
        jobs=[dg.define_asset_job("one", assets)],
        resources={"store": StoreResource(url="/nowhere"), "settings": dg.ResourceDefinition.none_resource()},
    ).resolve_job_def("one")


def config(domain: Domain, series: str, **said: Any) -> dict[str, Any]:
    """A run config for it."""
    return {"ops": {f"{domain.name}__{series}": {"config": said}}}


@pytest.mark.parametrize(
    ("domain", "series", "good", "bad", "why"),
    [
        (FERMENTATION, "samples_csv", {"where": {"min_hours": 4}}, {"where": {"min_hours": "x"}}, "min_hours"),
        (FERMENTATION, "samples_csv", {"where": {"has_dcw": True}}, {"where": {"has_dwc": True}}, "has_dwc"),
        (FERMENTATION, "sensors_csv", {"how": {"decimal": "comma"}}, {"how": {"decimal": "dot"}}, "decimal"),
        (FERMENTATION, "sensors_csv", {"how": {"step_s": 60}}, {"how": {"step_s": "often"}}, "step_s"),
        (OCCURRENCES, "dwca", {"how": {"profile": "gbif"}}, {"how": {"profile": "eml"}}, "profile"),
    ],
)
def test_what_cannot_be_is_refused_before_a_run(
    domain: Domain, series: str, good: dict[str, Any], bad: dict[str, Any], why: str
) -> None:
    made = job(domain, series)
    assert dg.validate_run_config(made, config(domain, series, **good))
    assert dg.validate_run_config(made, config(domain, series, filter=["min_hours=4"], options=[], asked=True))
    with pytest.raises(dg.DagsterInvalidConfigError, match=why):
        dg.validate_run_config(made, config(domain, series, **bad))


def test_every_key_says_what_it_means() -> None:
    samples = config_schema(FERMENTATION.series_named("sensors_csv"))["how"]
    step = samples.config_type.fields["step_s"]  # type: ignore[attr-defined]
    assert step.description.startswith("Length of a step of the grid in seconds. One of 30, 60, 300")
    assert step.description.endswith("Default: 30.")


def test_fields_and_pairs_mean_the_same(local_store: Store, tmp_path: Path) -> None:
    deliver(local_store, "a", "b", "c")
    (asset,) = [one for one in export_assets(DEMO) if one.key.path[-1] == "readings_csv"]

    class Demo:
        serve = ServeSettings()

        def of(self, domain: str) -> Any:
            return SETTINGS

    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(partitions_name(DEMO), ["batch-1"])
        for said in (
            {"where": {"min_id": 2, "values": ["b", "c"]}, "how": {"upper": True}, "name": "typed"},
            {"filter": ["min_id=2", "values=b,c"], "options": ["upper=true"]},
            {"filter": ["min_id=1"], "where": {"min_id": 3}},
        ):
            dg.materialize(
                [asset],
                instance=instance,
                partition_key="batch-1",
                resources={"store": StoreResource(url=local_store.url), "settings": Demo()},
                run_config=config(DEMO, "readings_csv", asked=True, **said),
            )
    found = {record.version: record for record in history(local_store)}
    assert {version: record.filter for version, record in found.items()} == {
        1: {"min_id": 2, "values": ["b", "c"]},
        2: {"min_id": 3},
    }
    assert (found[1].name, found[1].options) == ("typed", {"upper": True})
