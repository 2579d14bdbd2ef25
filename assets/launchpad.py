"""What can be said of an export in Dagster's launchpad: a schema made from the models of its filter and options.

So the launchpad completes keys, shows what they mean, and refuses what cannot be before a run starts. Here: which
field of Dagster a key becomes. Not here: the models (`<domain>/writers/`), which have the last word in `publish`.
"""

import re
from collections.abc import Mapping
from typing import Any

import dagster as dg

from sheaf.choices import Key, keys
from sheaf.exports.options import Options, parse_pairs
from sheaf.exports.series import Series

_SCALARS: dict[str, Any] = {
    "number": dg.Float,
    "whole number": dg.Int,
    "yes or no": dg.Bool,
    "text": dg.String,
    "date": dg.String,
    "JSON": dg.Permissive(),
}
_PAIRS = "The same as pairs such as `{}`, as on the command line."


def config_schema(series: Series) -> dict[str, dg.Field]:
    """The run config of a series; what is left out is as in the canonical export."""
    fields = {
        "where": _shape(series, "filter", series.filter, "Only what fits: the filter."),
        "how": _shape(series, "option", series.options, "How it is written: the options."),
        "name": dg.Field(dg.Noneable(dg.String), is_required=False, description="How to call the export."),
        "always": dg.Field(bool, default_value=False, description="Make a new version even when nothing changed."),
        "filter": dg.Field([str], default_value=[], description=_PAIRS.format("min_hours=4")),
        "options": dg.Field([str], default_value=[], description=_PAIRS.format("gas_balance=upstream")),
        "requested_by": dg.Field(dg.Noneable(dg.String), is_required=False, description="Who asks."),
        "asked": dg.Field(
            bool,
            default_value=False,
            description="Somebody wants this very export: then it is an error that there is nothing for it.",
        ),
        "version": dg.Field(dg.Noneable(dg.Int), is_required=False, description="The number that was reserved for it."),
    }
    return {name: field for name, field in fields.items() if field}


def asked_filter(config: Mapping[str, Any]) -> dict[str, Any]:
    """The filter that was asked for, as pairs, as fields, or both."""
    return {**parse_pairs(config["filter"], "filter"), **config.get("where", {})}


def asked_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were asked for, as pairs, as fields, or both."""
    return {**parse_pairs(config["options"], "option"), **config.get("how", {})}


def _shape(series: Series, what: str, model: type[Options], meaning: str) -> dg.Field | None:
    """A field for each key of a model; none where it has no keys."""
    fields = {
        key.key: dg.Field(
            _type(f"{series.domain}_{series.name}_{what}_{key.key}", key), is_required=False, description=_told(key)
        )
        for key in keys(model, {})
    }
    return dg.Field(dg.Shape(fields), is_required=False, description=meaning) if fields else None


def _told(key: Key) -> str:
    values = f"One of {', '.join(key.allowed)}." if key.allowed else key.bounds and f"{key.bounds.capitalize()}."
    default = "" if key.default in (None, "", [], {}) else f"Default: {key.default}."
    return " ".join(filter(None, (key.meaning[:1].upper() + key.meaning[1:], values, default)))


def _type(name: str, key: Key) -> Any:
    """The type of a key; of several in which Dagster knows no single one, anything, which the model then checks."""
    one = key.type.removeprefix("list of ")
    if key.allowed and one == "text":
        numbers = all(value.lstrip("-").isdecimal() for value in key.allowed)
        of_one: Any = dg.Int if numbers else _enum(name, key.allowed)
    elif one in _SCALARS:
        of_one = _SCALARS[one]
    else:
        return dg.Any
    return dg.Noneable([of_one] if key.type.startswith("list of ") else of_one)


def _enum(name: str, allowed: list[str]) -> dg.Enum:
    return dg.Enum(re.sub(r"\W", "_", name), [dg.EnumValue(value) for value in allowed])
