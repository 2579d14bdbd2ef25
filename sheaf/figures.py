"""Figures for run pages and reports of all domains: small PNG files, the same bytes for the same data.

Here: making a figure, turning it into a PNG of bounded size, and other people's text as a figure can show it. Not here:
what is drawn (each domain's `analysis/plots`). Only matplotlib's object interface is used: no display, no global state,
and a figure is gone with its last name.
"""

import io
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image as Picture

MOST_BYTES = 50_000
"""Of one picture: a run page holds them all, and Dagster keeps them in its database."""

DPI = 80
_MOST_INCHES = 12.0
_MOST_LETTERS = 30
_SMALLER = ((64, 1.0), (24, 1.0), (16, 0.7), (8, 0.5), (4, 0.3))
"""Colours and scale, tried in turn until a picture is small enough."""


def figure(width: float, height: float, *, constrained: bool = True) -> "Figure":
    """An empty figure.

    Args:
        width: in inches of 80 pixels, as `height`; neither becomes more than 12.
        constrained: find the places of axes and legends; it costs more than drawing, where they are fixed.
    """
    from matplotlib.figure import Figure

    size = (min(width, _MOST_INCHES), min(height, _MOST_INCHES))
    return Figure(figsize=size, dpi=DPI, layout="constrained" if constrained else None)


def png(drawn: "Figure") -> bytes:
    """A figure as a PNG that names neither a program nor a time, of at most `MOST_BYTES`."""
    out = io.BytesIO()
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # letters that the font does not have
        drawn.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
    if len(out.getvalue()) <= MOST_BYTES:
        return out.getvalue()
    from PIL import Image

    with Image.open(out) as picture:
        return small_png(picture.convert("RGB"))


def small_png(picture: "Picture") -> bytes:
    """A picture as a palette PNG, in fewer colours and then smaller until it has at most `MOST_BYTES`."""
    from PIL import Image

    data = b""
    for colours, scale in _SMALLER:
        size = (max(int(picture.width * scale), 1), max(int(picture.height * scale), 1))
        out = io.BytesIO()
        picture.resize(size).quantize(colours, dither=Image.Dither.NONE).save(out, format="PNG", optimize=True)
        data = out.getvalue()
        if len(data) <= MOST_BYTES:
            break
    return data


def label(text: object) -> str:
    """Other people's text as a figure can show it: short, on one line, and no formula."""
    plain = "".join(letter if letter.isprintable() else " " for letter in str(text))
    plain = plain if len(plain) <= _MOST_LETTERS else plain[: _MOST_LETTERS - 1] + "…"
    return plain.replace("$", r"\$")
