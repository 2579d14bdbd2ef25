"""How a batch as a whole is run: an optional `<name>.yaml` beside its CSV."""

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sheaf.errors import InputError


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
        notification_webhook: URL that is told when the batch is completed or failed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str = ""
    priority: Priority = Priority.NORMAL
    parallel_jobs: int | None = Field(default=None, ge=1, le=64)
    timeout_seconds: float | None = Field(default=None, gt=0)
    notification_webhook: str | None = None


def read_batch_options(csv_path: Path) -> BatchOptions:
    """The options beside a CSV; defaults where there is no such file.

    Raises:
        InputError: the file is not what it should be.
    """
    import yaml

    path = csv_path.with_suffix(".yaml")
    if not path.is_file():
        return BatchOptions()
    try:
        return BatchOptions.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path.name} is not valid YAML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or path.name
        raise InputError(f"{path.name}: {key}={first['input']!r} cannot be used: {first['msg'].lower()}.") from error
