"""What can be asked of a series: every key of its filter and options, with the values that a partition has for it.

Here: reading that from the models and the tables, for the command line, the API and the page alike. Not here:
the models (`<domain>/writers/`), nor what a domain finds in its tables (`<domain>/choices.py`).
"""

from collections.abc import Mapping
from datetime import date
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sheaf.coherence import last_good
from sheaf.errors import UsageError
from sheaf.exports.options import Options
from sheaf.exports.publish import canonical_options
from sheaf.exports.series import Series
from sheaf.meanings import meanings
from sheaf.names import CAMPAIGN
from sheaf.steps import Domain
from sheaf.store.store import Store
from sheaf.tables import generations

Values = dict[str, dict[str, str]]
"""By key: what can stand there, each with a word about it."""


class Key(BaseModel):
    """One key of a filter or of options.

    Attributes:
        type: in words: `text`, `number`, `whole number`, `yes or no`, `date`, `JSON`, or a `list of` one of these.
        default: what holds when nothing is said.
        allowed: the only values there are; empty where others are possible.
        bounds: such as `from 0 to 1`.
        found: values that the partition has, each with a word about it.
    """

    key: str
    type: str
    default: Any
    meaning: str
    allowed: list[str] = []
    bounds: str = ""
    found: dict[str, str] = {}


class SeriesChoices(BaseModel):
    """What can be asked of one series."""

    series: str
    description: str
    formats: list[str]
    campaign: bool
    filter: list[Key]
    options: list[Key]


class DomainChoices(BaseModel):
    """What can be asked of a domain or one of its partitions.

    Attributes:
        found: what else a partition or the site has to choose from, such as sensors, tags of pairs, methods.
    """

    domain: str
    partition: str | None
    series: list[SeriesChoices]
    found: Values


def choices(
    store: Store, domain: Domain, settings: BaseModel, partition: str | None = None, series: Series | None = None
) -> DomainChoices:
    """What can be asked of a domain, of one partition, or of one series.

    Args:
        settings: the domain's.
        partition: whose values are looked up; none, and only the models are asked.
        series: only this one.
    """
    found = values(store, domain, partition) if partition else {}
    offered = [one for one in domain.series if partition is None or one.campaign == (partition == CAMPAIGN)]
    wanted = [series] if series else offered
    told = [
        SeriesChoices(
            series=one.name,
            description=one.description,
            formats=list(one.kinds),
            campaign=one.campaign,
            filter=keys(one.filter, found),
            options=keys(one.options, found, canonical_options(domain, one, partition or "", settings)),
        )
        for one in wanted
    ]
    known = {key.key for one in told for key in (*one.filter, *one.options)}
    besides = {key: these for key, these in found.items() if key not in known and not series}
    if domain.choices and domain.choices.of_site:
        besides |= domain.choices.of_site(settings)
    return DomainChoices(domain=domain.name, partition=partition, series=told, found=besides)


def check_filter(domain: Domain, partition: str | None, values: Mapping[str, Any]) -> None:
    """See that at least one series understands a filter that is to be saved.

    Args:
        partition: whose it will be; None for the whole domain.

    Raises:
        UsageError: an unknown key or an impossible value.
    """
    problems = []
    for series in domain.series:
        if partition is None or series.campaign == (partition == CAMPAIGN):
            try:
                series.filter.of(values, "filter")
            except UsageError as error:
                problems.append(error)
            else:
                return
    raise problems[0] if problems else UsageError(f"{domain.name} has no series for {partition!r}.")


def values(store: Store, domain: Domain, partition: str) -> Values:
    """What the records of a partition have for each key; of a campaign, those of all partitions together."""
    if domain.choices is None:
        return {}
    if partition != CAMPAIGN:
        return domain.choices.values(last_good(store, domain, partition, domain.choices.tables))
    together: Values = {}
    for member in generations.partitions(store, domain.name, domain.reading.name, domain.kind):
        if generations.current(store, domain.place(domain.reading, member)) is None:
            continue
        for key, those in values(store, domain, member).items():
            together.setdefault(key, {}).update(dict.fromkeys(those, ""))
    return together


def keys(model: type[Options], found: Mapping[str, dict[str, str]], defaults: Options | None = None) -> list[Key]:
    """The keys of a model in its order.

    Args:
        found: the values that a partition has, by key.
        defaults: where the settings name others than the model.
    """
    meaning = meanings(model)
    return [
        Key(
            key=name,
            type=_type(field.annotation),
            default=_default(field, getattr(defaults, name, None) if defaults else None),
            meaning=meaning.get(name, ""),
            allowed=_allowed(field.annotation),
            bounds=_bounds(field),
            found=found.get(name, {}),
        )
        for name, field in model.model_fields.items()
    ]


_WORDS = {bool: "yes or no", int: "whole number", float: "number", str: "text", date: "date", dict: "JSON"}


def _arms(annotation: Any) -> list[Any]:
    """What a value may be, without None."""
    if get_origin(annotation) is Annotated:
        return _arms(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [arm for one in get_args(annotation) if one is not NoneType for arm in _arms(one)]
    return [annotation]


def _type(annotation: Any) -> str:
    words = []
    for arm in _arms(annotation):
        origin = get_origin(arm)
        if origin in (list, tuple):
            words.append(f"list of {_type(get_args(arm)[0])}")
        elif origin is Literal or (isinstance(arm, type) and issubclass(arm, Enum)):
            words.append("text")
        else:
            words.append(_WORDS.get(origin or arm, "text"))
    return " or ".join(dict.fromkeys(words))


def _allowed(annotation: Any) -> list[str]:
    found = []
    for arm in _arms(annotation):
        if get_origin(arm) is Literal:
            found += [str(value) for value in get_args(arm)]
        elif isinstance(arm, type) and issubclass(arm, Enum):
            found += [str(member.value) for member in arm]
        elif get_origin(arm) in (list, tuple):
            found += _allowed(get_args(arm)[0])
    return found


def _bounds(field: FieldInfo) -> str:
    """From the constraints of a field, which stand beside it or inside its annotation."""
    said = [*field.metadata]
    for part in (field.annotation, *get_args(field.annotation)):
        for extra in getattr(part, "__metadata__", ()):
            said += getattr(extra, "metadata", [extra])
    words = {}
    for word, names in (("from", ("ge",)), ("above", ("gt",)), ("to", ("le",)), ("below", ("lt",))):
        for name in names:
            for one in said:
                if (bound := getattr(one, name, None)) is not None:
                    words[word] = f"{word} {bound:g}"
    return " ".join(words.values())


def _default(field: FieldInfo, other: Any) -> Any:
    value = field.get_default(call_default_factory=True) if other is None else other
    return list(value) if isinstance(value, tuple) else getattr(value, "value", value)
