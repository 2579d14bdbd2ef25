"""What came of an export, in the shape that `--json` prints."""

from pydantic import BaseModel

from sheaf.exports.records import File, Status, read_manifest
from sheaf.names import ExportId
from sheaf.store import Store


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
    warnings: list[str] = []
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
    )
