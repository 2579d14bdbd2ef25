"""Running jobs from the command line, on the same Dagster instance that the UI shows."""

import getpass
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipelines import dead_runs, offload
from pipelines.definitions import build_definitions
from pipelines.instance import open_instance
from pipelines.jobs import campaign_job_name
from pipelines.results import Result, completed
from sheaf.errors import SheafError
from sheaf.exports.publish import Request, prepare
from sheaf.exports.records import Status, records
from sheaf.exports.series import CAMPAIGN, Domain, Series
from sheaf.matches.settings import OffloadSettings
from sheaf.names import ExportId, SeriesId, check_partition, parse_export
from sheaf.options import as_pairs
from sheaf.settings import Settings
from sheaf.store import Store

if TYPE_CHECKING:
    import dagster as dg


class Runner:
    """Runs jobs in this process, one partition after another."""

    def __init__(self, settings: Settings) -> None:
        self.store = Store.open(settings.store_url)
        self._definitions = build_definitions(settings)
        self._instance = open_instance(settings)

    def run_partition(self, domain: Domain, partition: str) -> list[Result]:
        """Ingest, analyse and publish one partition; a failure is in the results, not raised."""
        self._register(domain, partition)
        series = [series for series in domain.series if not series.campaign]
        return self._run(domain, domain.name, series, partition)

    def run_campaign(self, domain: Domain) -> list[Result]:
        """Publish the exports over all partitions."""
        series = [series for series in domain.series if series.campaign]
        return self._run(domain, campaign_job_name(domain.name), series, CAMPAIGN) if series else []

    def export(self, domain: Domain, series: Series, request: Request) -> Result:
        """Publish one export, with the filter and options of a request.

        Raises:
            SheafError: the request itself is wrong; nothing ran.
        """
        prepare(self.store, series, domain.rejects, request)
        job = campaign_job_name(domain.name) if series.campaign else domain.name
        if not series.campaign:
            self._register(domain, request.partition)
        config = {
            "filter": as_pairs(request.filter),
            "options": as_pairs(request.options),
            "requested_by": request.requested_by,
            "always": request.always,
        } | ({"name": request.name} if request.name else {})
        return self._run(domain, job, [series], request.partition, config)[0]

    def offload(self, settings: OffloadSettings) -> dict[str, Any]:
        """Offload old match logs; returns what the run says of it.

        Raises:
            SheafError: it failed; nothing was deleted that is not in a verified archive.
        """
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        job = self._definitions.resolve_job_def(offload.JOB_NAME)
        run = job.execute_in_process(
            instance=self._instance,
            run_config=quiet | offload.run_config(settings),
            raise_on_error=False,
            tags={dead_runs.PROCESS: dead_runs.this_process()},
        )
        if not run.success:
            raise SheafError(_why(run, "offload_logs"))
        (event,) = [event for event in run.all_events if event.is_successful_output]
        return {key: value.value for key, value in event.step_output_data.metadata.items()}

    def _register(self, domain: Domain, partition: str) -> None:
        name = f"{domain.name}_{domain.kind}"
        if not self._instance.has_dynamic_partition(name, check_partition(partition)):
            self._instance.add_dynamic_partitions(name, [partition])

    def _run(
        self,
        domain: Domain,
        job: str,
        series: Sequence[Series],
        partition: str,
        config: dict[str, Any] | None = None,
    ) -> list[Result]:
        import dagster as dg

        quiet: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        only = None
        if config is not None:
            only = [dg.AssetKey([domain.name, series[0].name])]
            quiet["ops"] = {f"{domain.name}__{series[0].name}": {"config": config}}
        run = self._definitions.resolve_job_def(job).execute_in_process(
            instance=self._instance,
            partition_key=None if partition == CAMPAIGN else partition,
            run_config=quiet,
            asset_selection=only,
            raise_on_error=False,
            tags={
                "sheaf/partition": partition,
                "sheaf/requested_by": getpass.getuser(),
                dead_runs.PROCESS: dead_runs.this_process(),
            },
        )
        found = (self._result(run, SeriesId(domain.name, partition, entry.name)) for entry in series)
        return [result for result in found if result]

    def _result(self, run: "dg.ExecuteInProcessResult", series: SeriesId) -> Result | None:
        """One series of a finished run: from its materialisation, or from why there is none.

        None when the partition has nothing for it.
        """
        step = f"{series.domain}__{series.series}"
        for event in run.get_asset_materialization_events():
            if event.step_key == step:
                metadata = event.step_materialization_data.materialization.metadata
                if not metadata["export"].value:
                    return None
                found, version = parse_export(str(metadata["export"].value))
                return completed(self.store, ExportId(found, version or 0), unchanged=bool(metadata["unchanged"].value))
        result = Result(
            domain=series.domain,
            partition=series.partition,
            series=series.series,
            status=Status.FAILED,
            error=_why(run, step),
        )
        try:
            for record in records(self.store, series)[:5]:
                if record.run_id == run.run_id:
                    return result.model_copy(update={"version": record.version, "path": record.id.path})
        except SheafError:
            pass  # the store itself may be what failed; the reason is known already
        return result


def _why(run: "dg.ExecuteInProcessResult", step: str) -> str:
    """The reason a step has no result: its own failure, or that of the step it waited for."""
    failures = {event.step_key: event for event in run.all_events if event.is_step_failure}
    event = failures.get(step) or next(iter(failures.values()), None)
    if event is None:
        failed = [event.message for event in run.all_events if event.is_run_failure]
        return failed[0] if failed and failed[0] else "The run ended without a result; see it in the Dagster UI."
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    return data.error.message.strip() if data.error else "The step failed; see its run in the Dagster UI."
