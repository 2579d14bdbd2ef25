"""Figures of all domains: the same bytes each time, of bounded size, whatever other people call their things."""

import io

import pytest

from sheaf import figures


def _noise(width: float, height: float) -> bytes:
    import numpy as np

    figure = figures.figure(width, height, constrained=False)
    figure.add_axes((0, 0, 1, 1)).imshow(np.random.default_rng(1).random((400, 400)))
    return figures.png(figure)


@pytest.mark.campaign
def test_a_picture_that_would_be_large_is_made_small() -> None:
    from PIL import Image

    found = _noise(300, 12)
    assert len(found) <= figures.MOST_BYTES
    with Image.open(io.BytesIO(found)) as picture:
        assert max(picture.size) <= 960
        assert picture.info == {}
    assert _noise(300, 12) == found


@pytest.mark.parametrize("name", ["$x^$ and $", "a\nb\tc", "x" * 500, "鶏\u202e", "<script>`|"])
def test_other_peoples_names_are_one_short_label_and_no_formula(name: str) -> None:
    shown = figures.label(name)
    assert len(shown.replace("\\", "")) <= 30
    assert shown.isprintable()
    figure = figures.figure(4, 2)
    figure.subplots().set_title(shown)
    assert figures.png(figure).startswith(b"\x89PNG")
