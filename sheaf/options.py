"""Options and filters of an export: `key=value` pairs checked against a model.

A series declares its options and its filter as two small pydantic models. Unknown keys and
impossible values are refused here, before anything is written.
"""

from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from sheaf.errors import UsageError


class Options(BaseModel):
    """Base of every option and filter model: unknown keys are errors, values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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
                raise UsageError(f"Unknown {what} {key!r}: known are {known}.")
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"][:1]) or what
            reason = first["msg"][:1].lower() + first["msg"][1:]
            raise UsageError(f"{what.capitalize()} {key}={first['input']!r} cannot be used: {reason}.") from error

    @property
    def is_default(self) -> bool:
        """Whether nothing was asked for beyond the defaults."""
        return not self.model_dump(exclude_defaults=True)


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


def as_pairs(values: Mapping[str, Any] | None) -> list[str]:
    """`{"phase": ["A", "B"], "min_hours": 4}` as the arguments that `parse_pairs` reads."""
    return [
        f"{key}={item}"
        for key, value in (values or {}).items()
        for item in (value if isinstance(value, list | tuple) else [value])
    ]
