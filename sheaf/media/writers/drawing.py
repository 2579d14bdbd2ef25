"""Drawings of one pair for the report page, as SVG without any script.

Loudness of master and dub before and after the correction, and the offset along the dub: flat for
a constant offset, sloping for a drift, in steps for an edited dub.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH, _HEIGHT = 700, 90
_LEFT = 2
_LINE = 22  # of text, which is larger on a phone


def overlay_svg(overlay: Mapping[str, Any]) -> str:
    """Two strips: the dub at the same clock time as the master, and where the offset puts it."""
    count = len(overlay["master"])
    strips = []
    for row, name in enumerate(("before", "after")):
        top = row * (_HEIGHT + _LINE)
        middle = top + _LINE + _HEIGHT // 2
        strips.append(
            f'<text x="{_LEFT}" y="{top + 16}">{name}</text>'
            f'<polygon class="master" points="{_wave(overlay["master"], middle)}"/>'
            f'<polygon class="dub" points="{_wave(overlay[name], middle)}"/>'
        )
    start, end = overlay["start"], overlay["start"] + count * overlay["step"]
    bottom = 2 * (_HEIGHT + _LINE) + 18
    strips.append(
        f'<text x="{_LEFT}" y="{bottom}">master {start:.2f} s</text>'
        f'<text x="{_LEFT + _WIDTH}" y="{bottom}" text-anchor="end">{end:.2f} s</text>'
    )
    return _svg("Loudness of master (filled) and dub (line), before and after", bottom + 6, strips)


def offsets_svg(
    timeline: Sequence[Mapping[str, Any]], segments: Sequence[Mapping[str, Any]], nominal: float, seconds: float
) -> str:
    """Offset against time in the dub: a dot for each window, a line for each segment."""
    ends = [(piece, piece["dub_start"], piece["dub_end"]) for piece in segments]
    lines = [(start, end, _offset(piece, start, nominal), _offset(piece, end, nominal)) for piece, start, end in ends]
    values = [value for line in lines for value in line[2:]]
    if not values:
        values = [vote["offset_seconds"] for vote in timeline] or [0.0]
    spread = max(max(values) - min(values), 0.004)
    low, high = min(values) - 0.2 * spread, max(values) + 0.2 * spread

    def place(time: float, value: float) -> tuple[float, float]:
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        return _LEFT + _WIDTH * time / max(seconds, 1e-9), 8 + (1 - share) * _HEIGHT

    marks = [f'<rect class="frame" x="{_LEFT}" y="8" width="{_WIDTH}" height="{_HEIGHT}"/>']
    for vote in sorted(timeline, key=lambda vote: vote["agrees"]):  # those that agree above the others
        if low <= vote["offset_seconds"] <= high:
            x, y = place(vote["dub_time"], vote["offset_seconds"])
            marks.append(f'<circle class="{"yes" if vote["agrees"] else "no"}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>')
    for start, end, first, last in lines:
        (x1, y1), (x2, y2) = place(start, first), place(end, last)
        marks.append(f'<line class="fit" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    marks += [
        f'<text x="{_LEFT + 6}" y="28">{high:.4f} s</text><text x="{_LEFT + 6}" y="{2 + _HEIGHT}">{low:.4f} s</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT + 28}">dub 0 s</text>',
        f'<text x="{_LEFT + _WIDTH}" y="{_HEIGHT + 28}" text-anchor="end">{seconds:.1f} s</text>',
    ]
    return _svg("Offset along the dub", _HEIGHT + 34, marks)


def _offset(piece: Mapping[str, Any], time: float, nominal: float) -> float:
    """t_master - nominal · t_dub at a time in the dub."""
    return piece["offset_seconds"] + (piece["rate"] - nominal) * time


def _wave(curve: Sequence[float], middle: int) -> str:
    """A curve from 0 to 1 to both sides of a middle line, as an editor shows sound."""
    step = _WIDTH / max(len(curve) - 1, 1)
    places = [(_LEFT + index * step, value * (_HEIGHT - 8) / 2) for index, value in enumerate(curve)]
    above = [f"{x:.0f},{middle - y:.0f}" for x, y in places]
    return " ".join(above + [f"{x:.0f},{middle + y:.0f}" for x, y in reversed(places)])


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    width = _LEFT + _WIDTH + 4
    return (
        f'<svg role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'xmlns="http://www.w3.org/2000/svg"><title>{title}</title>{"".join(parts)}</svg>'
    )
