"""The three licences under which GBIF accepts data, and how people write them.

https://www.gbif.org/terms names CC0 1.0, CC BY 4.0 and CC BY-NC 4.0.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Licence:
    """A licence with its title and the address that machines know it by."""

    name: str
    title: str
    url: str


GBIF_LICENCES = {
    licence.name: licence
    for licence in (
        Licence(
            "CC0-1.0",
            "Public Domain (CC0 1.0)",
            "http://creativecommons.org/publicdomain/zero/1.0/legalcode",
        ),
        Licence(
            "CC-BY-4.0",
            "Creative Commons Attribution (CC BY 4.0) License",
            "http://creativecommons.org/licenses/by/4.0/legalcode",
        ),
        Licence(
            "CC-BY-NC-4.0",
            "Creative Commons Attribution Non Commercial (CC BY-NC 4.0) License",
            "http://creativecommons.org/licenses/by-nc/4.0/legalcode",
        ),
    )
}
_HOST = r"https?://(?:www\.)?creativecommons\.org/"
_WRITTEN = {  # with the version: an earlier one is another licence; of CC0 there is only one
    "CC0-1.0": rf"cc[ -]?(?:0|zero)(?:[ -]1\.0)?(?: universal)?|{_HOST}publicdomain/zero/1\.0",
    "CC-BY-NC-4.0": rf"cc[ -]by[ -]nc[ -]4\.0(?: international)?|{_HOST}licenses/by-nc/4\.0",
    "CC-BY-4.0": rf"(?:cc[ -]by|creative commons attribution)[ -]4\.0(?: international)?|{_HOST}licenses/by/4\.0",
}


def recognise(text: str) -> str:
    """The short name of a licence however it is written; other texts as they are.

    Example:
        >>> recognise("CC BY 4.0")
        'CC-BY-4.0'
        >>> recognise("https://creativecommons.org/publicdomain/zero/1.0/")
        'CC0-1.0'
        >>> recognise("CC BY 1.0")
        'CC BY 1.0'
    """
    text = text.strip()
    plain = re.sub(r"/(?:(?:legalcode|deed)(?:\.[a-z-]+)?)?$", "", text.lower())
    for name, pattern in _WRITTEN.items():
        if re.fullmatch(pattern, plain):
            return name
    return text


def current(text: str) -> str:
    """The short name of a licence as platforms write it that offer version 4.0 only.

    Example:
        >>> current("CC-BY-NC")
        'CC-BY-NC-4.0'
        >>> current("all rights reserved")
        'all rights reserved'
    """
    name = recognise(text)
    versioned = recognise(f"{name} 4.0")
    return versioned if versioned in GBIF_LICENCES else name
