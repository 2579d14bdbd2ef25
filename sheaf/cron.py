"""Cron expressions as settings hold them: checked when they are read, not when Dagster meets them.

Here: the five fields that every cron knows, and what they come to. What only some crons know (`L`, `#`, `@reboot`,
seconds) is refused.
"""

import calendar
import re

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_FIELDS = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_PART = re.compile(r"(?:(?P<any>\*)|(?P<first>[a-z0-9]+)(?:-(?P<last>[a-z0-9]+))?)(?:/(?P<step>[0-9]+))?", re.ASCII)


def check_cron(expression: str) -> str:
    """The expression, if it is one and ever comes true.

    Raises:
        ValueError: it is not; the sentence names the field.
    """
    _, _, days, months, _ = _parse(expression)
    if not any(day <= _LONGEST[month - 1] for month in months for day in days):
        raise ValueError("there is no such day in any year")
    return expression


def _parse(expression: str) -> list[set[int]]:
    words = expression.split()
    if len(words) != len(_FIELDS):
        raise ValueError("not a cron expression of five fields, such as '0 2 * * *' for two o'clock every night")
    return [_field(word.lower(), *field) for word, field in zip(words, _FIELDS, strict=True)]


def _field(word: str, name: str, lowest: int, highest: int, names: dict[str, int]) -> set[int]:
    found: set[int] = set()
    for text in word.split(","):
        part = _PART.fullmatch(text)
        if part is None:
            raise ValueError(f"{text!r} is no {name} that cron knows")
        step = int(part["step"] or 1)
        if part["any"]:
            first, last = lowest, highest
        else:
            first = _number(part["first"], name, lowest, highest, names)
            last = highest if part["step"] else first
            last = _number(part["last"], name, lowest, highest, names) if part["last"] else last
        if first > last or not 0 < step <= highest:
            raise ValueError(f"{text!r} is no range of the {name} ({lowest} to {highest})")
        found.update(range(first, last + 1, step))
    return {number % 7 for number in found} if names is _DAYS else found


def _number(text: str, name: str, lowest: int, highest: int, names: dict[str, int]) -> int:
    number = names.get(text, int(text) if text.isdigit() else -1)
    if not lowest <= number <= highest:
        raise ValueError(f"the {name} {text!r} is not {lowest} to {highest}")
    return number
