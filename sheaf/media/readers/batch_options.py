"""How a batch as a whole is run: an optional `<name>.yaml` or `.yml` beside its CSV."""

import os
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sheaf.errors import InputError
from sheaf.outside.addresses import shown_url, without_secrets
from sheaf.outside.files import require_inside
from sheaf.outside.models import explain
from sheaf.outside.yaml_files import read_yaml


class Priority(StrEnum):
    """How urgent a batch is; `dagster` is the value of the tag `dagster/priority`."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"

    @property
    def dagster(self) -> str:
        """Larger runs earlier."""
        return {"low": "-10", "normal": "0", "high": "10"}[self.value]


class BatchOptions(BaseModel):
    """What may be said about a batch.

    Attributes:
        parallel_jobs: pairs analysed at the same time; the site's setting when null.
        timeout_seconds: wall time for one pair; the site's setting when null.
        repair: publish every dub corrected, too (`repaired_wav`).
        notification_webhook: URL that is told when the batch is completed or failed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    priority: Priority = Priority.NORMAL
    parallel_jobs: int | None = Field(default=None, ge=1, le=64)
    timeout_seconds: float | None = Field(default=None, gt=0)
    repair: bool = False
    notification_webhook: str | None = None


def options_files(csv_path: Path) -> list[Path]:
    """What lies beside a CSV under the name of its options, whatever it is; there should be one at most."""
    return [path for ending in (".yaml", ".yml") if os.path.lexists(path := csv_path.with_suffix(ending))]


def read_batch_options(csv_path: Path) -> BatchOptions:
    """The options beside a CSV; defaults where there are none.

    Raises:
        InputError: what is there is not what it should be.
    """
    found = options_files(csv_path)
    if not found:
        return BatchOptions()
    if len(found) > 1:
        raise InputError(f"{found[0].name} and {found[1].name} both say how {csv_path.name} is run: remove one.")
    path = found[0]
    require_inside(path, csv_path.parent)
    values = read_yaml(path)
    try:
        options = BatchOptions.model_validate({} if values is None else values)
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error, BatchOptions.model_fields)}") from error
    webhook = options.notification_webhook or ""
    try:
        without_secrets(webhook)
    except ValueError as error:
        raise InputError(f"{path}: notification_webhook={shown_url(webhook)} cannot be used: {error}.") from None
    return options
