"""What tells others: that a media batch has ended, where the batch asked, and of exports, whom the settings name."""

import os
from datetime import UTC, datetime

import dagster as dg

from resources.store import StoreResource
from sheaf import clock, telling
from sheaf.errors import DamagedError, NotFoundError, SheafError
from sheaf.media.batch_record import BatchStatus, batch_message, claim_telling, give_back_telling, read_record
from sheaf.media.settings import MediaSettings
from sheaf.outside.webhook import WebhookPolicy, check_url, send
from sheaf.settings import Settings

SECRET = "SHEAF_WEBHOOK_SECRET"  # noqa: S105  # the variable that holds it


def webhook_sensors() -> list[dg.SensorDefinition]:
    """One sensor for media runs that succeeded, one for those that failed or were cancelled."""
    statuses = {
        "media_webhook": dg.DagsterRunStatus.SUCCESS,
        "media_webhook_failed": dg.DagsterRunStatus.FAILURE,
        "media_webhook_cancelled": dg.DagsterRunStatus.CANCELED,
    }
    return [_sensor(name, status) for name, status in statuses.items()]


def telling_sensor() -> dg.SensorDefinition:
    """What tells those whom `sheaf.yaml` names of exports and deliveries, by webhook or mail."""

    @dg.sensor(
        name="webhooks",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells what became of exports and deliveries to whom `webhooks` and `mail` name.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, store: StoreResource, settings: dg.ResourceParam[Settings]
    ) -> dg.SkipReason:
        done = []
        for listener in telling.listeners(settings, os.environ.get(SECRET)):
            tick = telling.tell(store.open(), listener)
            for sentence in tick.failed:
                context.log.warning(sentence)
            done.append(f"{tick.told} told, {tick.waiting} waiting.")
        return dg.SkipReason(" ".join(done))

    return sensor


def _sensor(name: str, status: dg.DagsterRunStatus) -> dg.SensorDefinition:
    @dg.run_status_sensor(
        run_status=status,
        name=name,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Posts the outcome of a media batch to the address that its options name.",
    )
    def sensor(
        context: dg.RunStatusSensorContext, store: StoreResource, settings: dg.ResourceParam[Settings]
    ) -> dg.SkipReason:
        run = context.dagster_run
        batch = run.tags.get("dagster/partition")
        if run.job_name != "media" or batch is None:
            return dg.SkipReason("Not a media batch.")
        if run.tags.get("dagster/will_retry") == "true":
            return dg.SkipReason("The run is tried again.")
        started = context.instance.get_run_stats(run.run_id).start_time or 0.0
        cut_off = BatchStatus.CANCELLED if status is dg.DagsterRunStatus.CANCELED else BatchStatus.FAILED
        return dg.SkipReason(notify(store, settings.media, batch, started, cut_off))

    return sensor


def notify(
    store: StoreResource,
    media: MediaSettings,
    batch: str,
    since: float,
    cut_off: BatchStatus = BatchStatus.FAILED,
) -> str:
    """Tell who asked for it, unless the batch had already ended before the run, or somebody has told it.

    Args:
        since: when the run began, in seconds since 1970; what ended earlier was told then.
        cut_off: what the batch is called whose run was killed and could not close it.

    Returns:
        What was done, as a sentence.

    Raises:
        WebhookError: every attempt failed.
        UsageError: the address is not on the allow list.
    """
    opened = store.open()
    try:
        record = read_record(opened, batch)
    except (NotFoundError, DamagedError) as error:
        return str(error)
    url = record.options.notification_webhook
    if not url:
        return f"{batch} asked for no notification."
    if record.finished_at and record.finished_at.timestamp() < since:
        return f"{batch} had ended before this run."
    ended = record.finished_at or datetime.fromtimestamp(since, UTC)
    if record.status in (BatchStatus.PENDING, BatchStatus.PROCESSING, BatchStatus.PUBLISHING):
        record = record.model_copy(update={"status": cut_off, "finished_at": clock.now()})
    policy = WebhookPolicy(media.webhook_hosts, media.webhook_private, os.environ.get(SECRET))
    host = check_url(url, policy)
    if not claim_telling(opened, batch, ended):
        return f"{host} was told about {batch} already."
    try:
        status = send(url, batch_message(record), policy)
    except SheafError:
        give_back_telling(opened, batch, ended)
        raise
    return f"Told {host} about {batch}: it answered {status}."
