"""What the docstring of a model says of each of its attributes: written once, shown wherever people ask."""

import inspect
import re

from pydantic import BaseModel


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """The sentence for each attribute, from the model and those it extends."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        text = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
        _, _, attributes = text.partition("Attributes:\n")
        for match in re.finditer(r"^ {4}(\w[\w, ]*): (.*(?:\n {8}.*)*)", attributes, re.MULTILINE):
            found |= dict.fromkeys(match[1].split(", "), " ".join(match[2].split()))
    return found
