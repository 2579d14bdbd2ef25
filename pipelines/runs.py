"""Running jobs from the command line, on the same Dagster instance that the UI shows."""

import getpass
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from assets.exports import export_config, export_key
from assets.partitions import partitions_name
from assets.steps import step_key
from pipelines import offload
from pipelines.cli import stop
from pipelines.cli.results import Result, completed, nothing_to_publish, with_account
from pipelines.definitions import build_definitions
from pipelines.in_process import Ran, run_job
from pipelines.instance import open_instance
from pipelines.jobs import campaign_job_name
from sheaf.coherence import stale_steps
from sheaf.errors import SheafError, StaleError
from sheaf.exports.publish import Request, prepare
from sheaf.exports.records import Status, records
from sheaf.exports.series import Series
from sheaf.matches.settings import OffloadSettings
from sheaf.names import CAMPAIGN, SeriesId, check_partition, parse_exact
from sheaf.settings import Settings
from sheaf.steps import Domain, Step
from sheaf.store.scratch import abandon
from sheaf.store.store import Store
from sheaf.tables import generations

if TYPE_CHECKING:
    import dagster as dg


class Runner:
    """Runs jobs in this process, one partition after another."""

    def __init__(self, settings: Settings) -> None:
        self.store = Store.open(settings.store_url)
        self._settings = settings
        self._definitions = build_definitions(settings)
        self._instance = open_instance(settings)

    def run_partition(
        self, domain: Domain, partition: str, *, accept_loss: bool = False, again: bool = False
    ) -> list[Result]:
        """Ingest, analyse and publish one partition; a failure is in the results, not raised."""
        self._register(domain, partition)
        series = [series for series in domain.series if not series.campaign]
        how = {"accept_loss": accept_loss, "again": again}
        config = {_op(domain, step.name): how for step in domain.steps if any(how.values())}
        return self._run(domain, domain.name, series, partition, config)

    def run_campaign(self, domain: Domain) -> list[Result]:
        """Publish the exports over all partitions."""
        series = [series for series in domain.series if series.campaign]
        return self._run(domain, campaign_job_name(domain.name), series, CAMPAIGN) if series else []

    def export(self, domain: Domain, series: Series, request: Request) -> Result:
        """Publish one export, with the filter and options of a request; steps that are stale are made first.

        Raises:
            SheafError: the request itself is wrong; nothing ran.
        """
        stale: list[Step] = []
        try:
            prepare(self.store, domain, series, request, self._settings.of(domain.name))
        except StaleError:
            stale = self._make_stale(domain, series, request.partition)
        job = campaign_job_name(domain.name) if series.campaign else domain.name
        if not series.campaign:
            self._register(domain, request.partition)
        return self._run(
            domain, job, [series], request.partition, {_op(domain, series.name): export_config(request)}, stale
        )[0]

    def _make_stale(self, domain: Domain, series: Series, partition: str) -> list[Step]:
        """The steps that have to run with an export; those of a campaign's partitions run at once, each in its run."""
        settings = self._settings.of(domain.name)
        if not series.campaign:
            return [stale.step for stale in stale_steps(self.store, domain, partition, settings)]
        for key in generations.partitions(self.store, domain.name, domain.reading.name, domain.kind):
            if stale := [found.step for found in stale_steps(self.store, domain, key, settings)]:
                self._register(domain, key)
                self._run(domain, domain.name, [], key, steps=stale)
        return []

    def offload(self, settings: OffloadSettings) -> dict[str, Any]:
        """Offload old match logs; returns what the run says of it.

        Raises:
            SheafError: it failed; nothing was deleted that is not in a verified archive.
        """
        ran = self._execute(offload.JOB_NAME, offload.run_config(settings), {})
        if not ran.success:
            raise SheafError(_why(ran, "offload_logs"))
        (event,) = [event for event in ran.events if event.is_successful_output]
        return {key: value.value for key, value in event.step_output_data.metadata.items()}

    def _register(self, domain: Domain, partition: str) -> None:
        name = partitions_name(domain)
        if not self._instance.has_dynamic_partition(name, check_partition(partition)):
            self._instance.add_dynamic_partitions(name, [partition])

    def _run(
        self,
        domain: Domain,
        job: str,
        series: Sequence[Series],
        partition: str,
        config: dict[str, dict[str, Any]] | None = None,
        steps: Sequence[Step] | None = None,
    ) -> list[Result]:
        """Run a job.

        Args:
            series: what to report on.
            config: of its steps and exports, by name of the op.
            steps: run only these steps and the series; None for all of the job.
        """
        selected = [*(step_key(domain, step) for step in steps or ()), *(export_key(domain, one) for one in series)]
        ran = self._execute(
            job,
            {"ops": {op: {"config": values} for op, values in (config or {}).items()}},
            {"sheaf/partition": partition} | ({} if partition == CAMPAIGN else {"dagster/partition": partition}),
            None if steps is None else selected,
        )
        found = (self._result(ran, SeriesId(domain.name, partition, entry.name)) for entry in series)
        results = [result for result in found if result]
        if series and not results:
            results = [nothing_to_publish(domain, partition)]
        return [with_account(self.store, domain, result) for result in results]

    def _execute(
        self, job: str, config: dict[str, Any], tags: dict[str, str], selection: Sequence["dg.AssetKey"] | None = None
    ) -> Ran:
        definition = self._definitions.resolve_job_def(job)
        tags = {"sheaf/requested_by": getpass.getuser()} | tags
        with stop.hurried(lambda: abandon(self.store)):
            return run_job(self._instance, definition, config, tags, selection)

    def _result(self, ran: Ran, series: SeriesId) -> Result | None:
        """One series of a finished run: from its materialisation, or from why there is none.

        None when the partition has nothing for it.
        """
        step = f"{series.domain}__{series.series}"
        for event in ran.events:
            if event.is_step_materialization and event.step_key == step:
                metadata = event.step_materialization_data.materialization.metadata
                if not metadata["export"].value:
                    return None
                found = parse_exact(str(metadata["export"].value))
                return completed(self.store, found, unchanged=bool(metadata["unchanged"].value))
        result = Result(
            domain=series.domain,
            partition=series.partition,
            series=series.series,
            status=Status.FAILED,
            error=_why(ran, step),
        )
        try:
            for record in records(self.store, series)[:5]:
                if record.run_id == ran.run_id:
                    return result.model_copy(update={"version": record.version, "path": record.id.path})
        except SheafError:
            pass  # the store itself may be what failed; the reason is known already
        return result


def _op(domain: Domain, name: str) -> str:
    """What Dagster calls the op of a step or series."""
    return f"{domain.name}__{name}"


def _why(ran: Ran, step: str) -> str:
    """The reason a step has no result: its own failure, or that of the step it waited for."""
    failures = {event.step_key: event for event in ran.events if event.is_step_failure}
    event = failures.get(step) or next(iter(failures.values()), None)
    if event is None:
        failed = [event.message for event in ran.events if event.is_run_failure]
        return failed[0] if failed and failed[0] else "The run ended without a result; see it in the Dagster UI."
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    return data.error.message.strip() if data.error else "The step failed; see its run in the Dagster UI."
