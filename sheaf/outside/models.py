"""What a model finds wrong with what others wrote, in the same words everywhere.

Here: the first problem of pydantic's `ValidationError` as plain values and as a sentence. Not here: where it was
written (whoever reads a file, an option or a variable names it).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from sheaf.outside.yaml_files import shown

_MOST_OF_KEY = 80


@dataclass(frozen=True)
class Problem:
    """Why something does not fit.

    Attributes:
        key: where, with dots between keys and positions; empty where the whole does not fit.
        value: what is there; it may be a secret.
        kind: pydantic's name of the kind of problem, such as `missing`.
        reason: why, as the end of a sentence without its full stop.
    """

    key: str
    value: Any
    kind: str
    reason: str

    @property
    def is_unknown_key(self) -> bool:
        """Whether nobody reads this key."""
        return self.kind == "extra_forbidden"


def first_problem(error: ValidationError) -> Problem:
    """The first problem that a model found; an unknown key before others, since it may be why one is missing."""
    found = error.errors(include_url=False)
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    reason = first["msg"].removeprefix("Value error, ").removesuffix(".")
    key = ".".join(str(part) for part in first["loc"])
    return Problem(key, first["input"], first["type"], reason[:1].lower() + reason[1:])


def explain(error: ValidationError, known: Iterable[str] = ()) -> str:
    """The first problem of a document as one sentence that names the key.

    Args:
        known: keys to name beside one that is not known.
    """
    problem = first_problem(error)
    key, known = repr(problem.key)[1:-1][:_MOST_OF_KEY], ", ".join(known)
    if problem.is_unknown_key:
        return f"unknown key '{key}'" + (f": known are {known}." if known and "." not in key else ".")
    if problem.kind == "missing":
        return f"{key} is missing."
    what = f"{key}={shown(problem.value)}" if key else shown(problem.value)
    return f"{what} cannot be used: {problem.reason}."
