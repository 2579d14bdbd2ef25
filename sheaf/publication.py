"""What an operator sets for single partitions, on top of what holds for their whole domain.

Here: the model of such settings, and a domain's settings as they are for one partition. Not here: what
else can be set (`sheaf/<domain>/settings.py`).
"""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

SettingsT = TypeVar("SettingsT", bound=BaseModel)


class Publication(BaseModel):
    """What can be set for one partition; a domain that knows more settings of this kind extends it.

    The settings of a domain extend it too and hold those of single partitions in `projects`.

    Attributes:
        canonical: the options of the canonical export by series, such as `{dwca: {profile: gbif}}`; it is
            what `latest` names and what is published when nobody asks for anything else.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    canonical: dict[str, dict[str, Any]] = Field(default_factory=dict)


def of_single(settings: BaseModel) -> Mapping[str, Publication]:
    """What is set for single partitions, by partition."""
    return getattr(settings, "projects", {})


def of_partition(settings: SettingsT, partition: str) -> SettingsT:
    """The settings of a domain as they are for one partition: its own win, those of others are not there."""
    single = of_single(settings)
    if not single:
        return settings
    own = single.get(partition)
    values = {name: getattr(own, name) for name in own.model_fields_set} if own else {}
    return settings.model_copy(update={**values, "projects": {}})
