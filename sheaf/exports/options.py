"""Options and filters of an export: `key=value` pairs checked against a model.

A series declares its options and its filter as two small pydantic models. Unknown keys and
impossible values are refused here, before anything is written.
"""

from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, Self, Union, get_args, get_origin

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from sheaf.errors import UsageError
from sheaf.names import did_you_mean
from sheaf.outside.models import first_problem


class Options(BaseModel):
    """Base of every option and filter model: unknown keys are errors, values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, data: Any) -> Any:
        """`phases=A,B` and `phases=A phases=B` mean the same."""
        if not isinstance(data, Mapping):
            return data
        return {key: _split(value) if _is_list(cls, key) else value for key, value in data.items()}

    @classmethod
    def of(cls, values: Mapping[str, Any], what: str) -> Self:
        """Check values given by a user.

        Args:
            what: how to call them in an error: "option" or "filter".

        Raises:
            UsageError: an unknown key or an impossible value, naming the known ones.
        """
        for key in values:
            if key not in cls.model_fields:
                known = ", ".join(cls.model_fields) or "none"
                alike = did_you_mean(key, cls.model_fields)
                raise UsageError(f"Unknown {what} {key!r}: known are {known}.{alike}")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            found = first_problem(error)
            if not found.key:  # of several keys together
                raise UsageError(f"This {what} cannot be used: {found.reason}.") from error
            key = found.key.partition(".")[0]
            raise UsageError(f"{what.capitalize()} {key}={found.value!r} cannot be used: {found.reason}.") from error

    @property
    def is_default(self) -> bool:
        """Whether nothing was asked for beyond the defaults."""
        return not self.model_dump(exclude_defaults=True)


def check_range(values: BaseModel, low: str, high: str) -> None:
    """Refuse a range that nothing can lie in; to be called by a validator of the model.

    Raises:
        ValueError: the lower bound is above the upper one.
    """
    least, most = getattr(values, low), getattr(values, high)
    if least is not None and most is not None and least > most:
        raise ValueError(f"{low} {least:g} is above {high} {most:g}, so nothing is left")


def _split(value: Any) -> Any:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        return value
    return [part.strip() for item in items for part in item.split(",")]


def _is_list(model: type[BaseModel], key: str) -> bool:
    annotation = model.model_fields[key].annotation if key in model.model_fields else None
    if get_origin(annotation) in (Union, UnionType):
        annotation = next((arm for arm in get_args(annotation) if get_origin(arm) in (list, tuple)), None)
    return get_origin(annotation) in (list, tuple)


def parse_pairs(pairs: Iterable[str], what: str) -> dict[str, str | list[str]]:
    """Read `key=value` arguments; a repeated key collects its values.

    Raises:
        UsageError: an argument without `=` or without a key.
    """
    values: dict[str, str | list[str]] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise UsageError(f"{what.capitalize()} {pair!r} is not of the form key=value.")
        if key in values:
            before = values[key]
            values[key] = [*before, value] if isinstance(before, list) else [before, value]
        else:
            values[key] = value
    return values


def typed(values: Mapping[str, Any]) -> list[str]:
    """A filter or options as somebody would type them: `min_hours=4`, `contamination_detected=false`, `phase=A,B`."""
    return [f"{key}={_typed(value)}" for key, value in values.items()]


def _typed(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(_typed(item) for item in value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return orjson.dumps(value).decode()
    return f"{value:g}" if isinstance(value, float) and value.is_integer() and abs(value) < 1e6 else str(value)


def as_pairs(values: Mapping[str, Any] | None) -> list[str]:
    """`{"phase": ["A", "B"], "min_hours": 4}` as the arguments that `parse_pairs` reads; None is what nobody said."""
    return [
        f"{key}={orjson.dumps(item).decode() if isinstance(item, dict) else item}"
        for key, value in (values or {}).items()
        for item in (value if isinstance(value, list | tuple) else [value])
        if item is not None
    ]
