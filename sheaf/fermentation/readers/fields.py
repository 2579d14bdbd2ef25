"""One JSON object to one validated row, driven by the columns of a table.

Here: how a text, number, flag or time is read, whatever shape the source gives it (decimals as
strings, `Z` or `+00:00`). Not here: which objects a file holds (`batch_file`) or what is computed
from them (`corrections`).
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    import pyarrow as pa

_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_FLAGS = {"true": True, "false": False}


class FieldError(ValueError):
    """A value cannot be used; the message names the key, `code` is what is wrong as a name that stays."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def read_row(schema: "pa.Schema", given: Mapping[str, Any], naive_timezone: str | None) -> dict[str, Any]:
    """Read the columns of `schema` from one JSON object; other keys are left alone.

    Args:
        schema: columns, with `numeric`, `minimum` and `values` in their metadata.
        given: the object, numbers as `Decimal` or `int`.
        naive_timezone: zone of times that carry none; None refuses them.

    Raises:
        FieldError: a value is missing or cannot be used.
    """
    row: dict[str, Any] = {}
    for field in schema:
        value = given.get(field.name)
        if isinstance(value, str) and not value.strip():
            value = None
        if value is None:
            if not field.nullable:
                raise FieldError("missing_value", f"{field.name} is missing")
            row[field.name] = None
            continue
        try:
            row[field.name] = _read(field, value, naive_timezone)
        except FieldError as error:
            raise FieldError(error.code, f"{field.name} {shorten(value)} {error}") from error
    return row


def _read(field: "pa.Field", value: Any, naive_timezone: str | None) -> Any:
    import pyarrow as pa

    rules = {key.decode(): text.decode() for key, text in (field.metadata or {}).items()}
    if pa.types.is_timestamp(field.type):
        return read_time(value, naive_timezone)
    if pa.types.is_boolean(field.type):
        return _read_flag(value)
    if pa.types.is_integer(field.type):
        return _read_integer(value)
    if pa.types.is_floating(field.type):
        number = read_number(value)
        if "numeric" in rules:
            quantise(number, rules["numeric"])  # it has to fit; its digits stay until something is printed
        if "minimum" in rules and number < Decimal(rules["minimum"]):
            raise FieldError("out_of_range", f"is below {rules['minimum']}")
        return float(number)
    text = _read_text(value)
    if "values" in rules and text not in rules["values"].split():
        raise FieldError("unknown_value", f"is not one of {', '.join(rules['values'].split())}")
    return text


def read_time(value: Any, naive_timezone: str | None) -> datetime:
    """Read an ISO 8601 time and return it in UTC.

    Raises:
        FieldError: no such time, or it has no zone and none is configured.
    """
    if not isinstance(value, str):
        raise FieldError("not_a_time", "is not a time such as 2025-10-21T10:30:00+00:00")
    try:
        time = datetime.fromisoformat(value.strip())
        if "T" not in value and " " not in value.strip():
            raise ValueError
        if time.tzinfo is None:
            if naive_timezone is None:
                raise FieldError("naive_time", "has no time zone: write one, or set naive_timezone in the settings")
            time = _in_zone(time, ZoneInfo(naive_timezone))
        return time.astimezone(UTC)
    except FieldError:
        raise
    except (ValueError, OverflowError) as error:
        raise FieldError("not_a_time", "is not a time such as 2025-10-21T10:30:00+00:00") from error


def _in_zone(time: datetime, zone: ZoneInfo) -> datetime:
    first, second = (time.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        raise FieldError("clock_change", f"falls into a clock change of {zone.key}: write its offset")
    return first


def clock_changes(zone: str, first: datetime, last: datetime) -> list[tuple[datetime, datetime]]:
    """Local times that a zone has twice or not at all, as `[from, to)` without a zone.

    Args:
        first, last: the span to look at, without a zone.
    """
    info, day = ZoneInfo(zone), timedelta(days=1)

    def offset(moment: datetime) -> timedelta:
        return moment.replace(tzinfo=UTC).astimezone(info).utcoffset() or timedelta()

    found = []
    moment = first - 2 * day
    while moment < last + 2 * day:
        before, after = offset(moment), offset(moment + day)
        if before != after:
            low, high = moment, moment + day
            while high - low > timedelta(seconds=1):
                middle = low + (high - low) / 2
                low, high = (middle, high) if offset(middle) == before else (low, middle)
            change = high.replace(microsecond=0)
            found.append((change + min(before, after), change + max(before, after)))
        moment += day
    return found


def read_number(value: Any) -> Decimal:
    """Read a finite number, also from a string.

    Raises:
        FieldError: it is not one.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise FieldError("not_a_number", "is not a number")
    try:
        number = Decimal(value.strip() if isinstance(value, str) else str(value))
    except (InvalidOperation, ValueError) as error:
        raise FieldError("not_a_number", "is not a number") from error
    if not number.is_finite():
        raise FieldError("not_finite", "is not a finite number")
    return number


def quantise(number: Decimal, size: str) -> Decimal:
    """Round half away from zero to `precision,scale`, as PostgreSQL's `numeric(precision,scale)` does.

    Raises:
        FieldError: the number does not fit the precision.
    """
    precision, scale = (int(part) for part in size.split(","))
    if abs(number) >= Decimal(10) ** (precision - scale):
        raise FieldError("out_of_range", f"is too large for numeric({size})")
    return number.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP)


def _read_integer(value: Any) -> int:
    number = read_number(value)
    if abs(number) >= 2**63 or number != number.to_integral_value():
        raise FieldError("not_a_number", "is not a whole number")
    return int(number)


def _read_flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.strip().lower() in _FLAGS:
        return _FLAGS[value.strip().lower()]
    raise FieldError("not_a_flag", "is neither true nor false")


def _read_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise FieldError("not_a_text", "is not a text")
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FieldError("broken_text", "holds half a character (an unpaired surrogate)") from error
    return text


def repair_text(text: str) -> str:
    """Undo UTF-8 that was once read as Mac Roman (`‚ÇÜ` for `₆`); other text stays as it is."""

    def undo(match: re.Match[str]) -> str:
        try:
            return match[0].encode("mac_roman").decode("utf-8")
        except UnicodeError:
            return match[0]

    return _NOT_ASCII.sub(undo, text)


def shorten(value: Any) -> str:
    """A value as it may appear in a message; a number without the zeros at its end that only databases keep."""
    if isinstance(value, Decimal):
        value = str(value)
        if "." in value and value[-1].isdecimal() and "E" not in value:
            value = value.rstrip("0").removesuffix(".")
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
