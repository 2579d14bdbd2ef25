"""The three licences under which GBIF accepts data, and how people write them: one reading for all domains.

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
_HOST = r"(?:https?://)?(?:www\.)?creativecommons\.org/"
_SPDX = r"(?:https?://)?(?:www\.)?spdx\.org/licenses/"
_VERSION = r"(?:v-?)?4(?:[.-]0)?"
_BY, _BY_NC = "(?:creative-commons-)?attribution", "(?:creative-commons-)?attribution-non-?commercial"
_TAIL = r"(?:-public)?(?:-licen[cs]e)?"
_WRITTEN = {  # with the version: an earlier one is another licence; of CC0 there is only one
    "CC0-1.0": (
        r"(?:cc-?0|cc-?zero|creative-commons-zero)(?:-(?:v-?)?1[.-]0)?(?:-universal)?"
        rf"(?:-\(cc0-1\.0\))?(?:-public-domain-dedication)?{_TAIL}"
        rf"|public-domain-\(cc0-1\.0\)|{_HOST}publicdomain/zero/1\.0|{_SPDX}cc0-1\.0(?:\.html)?"
    ),
    "CC-BY-NC-4.0": (
        rf"(?:(?:creative-commons-)?cc-?by-?nc|{_BY_NC}(?:-\(cc-by-nc\))?)-?{_VERSION}(?:-international)?(?:-\(cc-by-nc-4\.0\))?{_TAIL}"
        rf"|{_BY_NC}-\(cc-by-nc-4\.0\){_TAIL}|{_HOST}licenses/by-nc/4\.0|{_SPDX}cc-by-nc-4\.0(?:\.html)?"
    ),
    "CC-BY-4.0": (
        rf"(?:(?:creative-commons-)?cc-?by|{_BY}(?:-\(cc-by\))?)-?{_VERSION}(?:-international)?(?:-\(cc-by-4\.0\))?{_TAIL}"
        rf"|{_BY}-\(cc-by-4\.0\){_TAIL}|{_HOST}licenses/by/4\.0|{_SPDX}cc-by-4\.0(?:\.html)?"
    ),
}


def recognise(*texts: str) -> str:
    """The short name of a licence however it is written, in the first text that is one; else the first text as it is.

    Example:
        >>> recognise("CC BY 4.0")
        'CC-BY-4.0'
        >>> recognise("Attribution License", "https://creativecommons.org/publicdomain/zero/1.0/")
        'CC0-1.0'
        >>> recognise("CC BY 1.0")
        'CC BY 1.0'
    """
    given = [text.strip() for text in texts if text.strip()]
    for text in given:
        text = re.sub(r"[‐-―−]", "-", text.rstrip(". "))
        plain = re.sub(r"(?:/(?:(?:legalcode|deed)(?:\.[a-z-]+)?)?)?(?:[?#].*)?$", "", text.lower(), count=1)
        plain = re.sub(r"[\s_-]+", "-", plain) if "/" not in plain else plain
        for name, pattern in _WRITTEN.items():
            if re.fullmatch(pattern, plain):
                return name
    return given[0] if given else ""


def address(*texts: str) -> str:
    """Where a licence is, if it is one of these three; else what the first text says.

    Example:
        >>> address("CC_BY_4_0")
        'http://creativecommons.org/licenses/by/4.0/legalcode'
    """
    name = recognise(*texts)
    return GBIF_LICENCES[name].url if name in GBIF_LICENCES else name


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
