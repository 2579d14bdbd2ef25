"""An export request as a document: what `--spec FILE` reads."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from sheaf.errors import UsageError
from sheaf.exports import saved_filters
from sheaf.exports.publish import Request
from sheaf.outside.models import explain
from sheaf.outside.yaml_files import read_json, read_yaml
from sheaf.store.store import Store


class ExportSpec(BaseModel):
    """One export to make.

    Attributes:
        filter: keys of the series' filter, on top of the saved one.
        saved: name of a saved filter of the partition.
        options: keys of the series' options.
        name: how to call the export.
        always: make a new version even when nothing changed.
        requested_by: the member of the partition who asks; where members have roles, theirs decides.
    """

    model_config = ConfigDict(extra="forbid")

    domain: str
    partition: str
    series: str
    filter: dict[str, Any] = {}
    saved: str | None = None
    options: dict[str, Any] = {}
    name: str | None = None
    always: bool = False
    requested_by: str | None = None

    def request(self, store: Store, who: str) -> Request:
        """The request, with the saved filter expanded; `who` asks where the document names nobody.

        Raises:
            NotFoundError: there is no saved filter of that name.
        """
        saved = saved_filters.load(store, self.domain, self.partition, self.saved).filter if self.saved else {}
        return Request(
            partition=self.partition,
            filter=saved | self.filter,
            options=self.options,
            name=self.name,
            requested_by=self.requested_by or who,
            always=self.always,
            member=self.requested_by,
        )


def load_spec(path: Path) -> ExportSpec:
    """Read a request from a YAML or JSON file.

    Raises:
        UsageError: the file is missing, no YAML or JSON, or says something a request does not know.
    """
    if not path.exists():
        raise UsageError(f"{path} cannot be read: there is no such file.")
    read = read_json if path.suffix.lower() == ".json" else read_yaml
    try:
        return ExportSpec.model_validate(read(path, UsageError))
    except ValidationError as error:
        raise UsageError(f"{path}: {explain(error, ExportSpec.model_fields)}") from error
