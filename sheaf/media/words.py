"""What results say, in words: shared by the command line and the report."""

from collections.abc import Sequence

from sheaf.media.sync.candidates import PAL, PULLDOWN, nominal_speed

_SPEEDS = {
    1.0: "as the master",
    PULLDOWN: "1001/1000, 24 against 23.976",
    1 / PULLDOWN: "1000/1001, 23.976 against 24",
    PAL: "25/24, PAL",
    1 / PAL: "24/25, PAL slowed down",
    PAL * PULLDOWN: "25/23.976, PAL from 23.976",
    1 / (PAL * PULLDOWN): "23.976/25, PAL slowed down to 23.976",
}
_SHOWN = 8


def speed(rate: float) -> str:
    """`25/24, PAL: 1.041667 s of the master for each second of the dub`."""
    nominal = nominal_speed(rate)
    if nominal == 1:
        return _SPEEDS[1.0]
    return f"{_SPEEDS[nominal]}: {rate:.6f} s of the master for each second of the dub"


def sure(confidence: float) -> str:
    """A confidence; what rounds to 1 is not said to be certain."""
    return "> 0.999" if confidence > 0.999 else f"{confidence:.3f}"


def uncertainty(precision: str | None, seconds: float | None) -> str:
    """`to the sample, ± 0.01 ms` or `to a frame, ± 30 ms`."""
    known = "to a frame" if precision == "frame" else "to the sample"
    return f"{known}, ± {1000 * (seconds or 0):.2g} ms"


def coverage(share: float) -> str:
    """How much of the dub's sound is found in the master."""
    return f"{share:.0%} of the dub's sound is found in the master"


def places(offsets: Sequence[float]) -> str:
    """Offsets that fit alike, the first few."""
    more = f" and {len(offsets) - _SHOWN} more" if len(offsets) > _SHOWN else ""
    return f"{len(offsets)} offsets: {', '.join(f'{offset:+.3f}' for offset in offsets[:_SHOWN])}{more} s"
