"""What came of an export, in the shape that `--json` prints."""

from typing import TYPE_CHECKING

from pydantic import BaseModel

from sheaf.exports.records import File, Problem, Status, read_manifest
from sheaf.names import CAMPAIGN, ExportId
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.accounts import Account

if TYPE_CHECKING:
    from sheaf.steps import Domain


class Result(BaseModel):
    """What came of one series of one partition; the shape that `--json` prints."""

    domain: str
    partition: str
    series: str
    version: int | None = None
    status: Status
    unchanged: bool = False
    path: str | None = None
    record_count: int | None = None
    files: list[File] = []
    account: list[Account] = []
    warnings: list[str] = []
    problems: list[Problem] = []
    error: str | None = None


def completed(store: Store, export: ExportId, *, unchanged: bool = False) -> Result:
    """The result that describes a completed export."""
    manifest = read_manifest(store, export)
    return Result(
        domain=export.series.domain,
        partition=export.series.partition,
        series=export.series.series,
        version=export.version,
        status=Status.COMPLETED,
        unchanged=unchanged,
        path=export.path,
        record_count=manifest.record_count,
        files=manifest.files,
        warnings=manifest.warnings,
        problems=manifest.problems,
    )


def with_account(store: Store, domain: "Domain", result: Result) -> Result:
    """The result with what became of the rows of its partition's newest delivery, refused or not."""
    if result.partition == CAMPAIGN:
        return result
    newest = generations.newest(store, domain.place(domain.reading, result.partition))
    return result.model_copy(update={"account": newest.account if newest else []})


def nothing_to_publish(domain: "Domain", partition: str) -> Result:
    """A partition that was read and has nothing for any series: somebody expected something of it."""
    return Result(
        domain=domain.name,
        partition=partition,
        series="",
        status=Status.FAILED,
        error="It was read, but has nothing to publish: "
        f"see `sheaf why {domain.name} {partition}`, or what was delivered.",
    )
