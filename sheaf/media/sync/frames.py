"""The verdict to a frame: what the longer stretches agree on where no sharp arrival can be found.

The candidates of all methods together are heard by `stretches`; the line through the delays of those that fit is the
offset. Where the clocks agree it is refined: averaged over the dub, the whitened correlation of the waveforms is the
response of the room, and its first arrival is the direct sound, however weak (Knapp & Carter 1976; the direct
path comes before every echo).
"""

from dataclasses import dataclass, replace

import numpy as np

from sheaf.media.result import Segment
from sheaf.media.sync.candidates import Agreement, Candidate
from sheaf.media.sync.confidence import FrameEvidence, frame_confidence
from sheaf.media.sync.decode import RATE, SILENCE, Recording
from sheaf.media.sync.fourier import fast_length, irfft, rfft
from sheaf.media.sync.stretches import Stretch, Stretches, as_good

_TRIED = 4
_RIVAL = 0.8  # of the strength of the first; a weaker proposal is no rival
_APART = 0.25  # s; nearer lines are the same place
_WINDOW = 4.0  # s averaged at once
_REACH = 0.15  # s around the features' offset in which the direct sound lies: echoes pull them late
_BAND = (90.0, 7200.0)  # Hz
_CLEAR, _AUDIBLE = 8.0, 6.0  # deviations of the strongest arrival, and of the first
_FIRST = 0.35  # of the strongest arrival


@dataclass(frozen=True)
class FrameFit:
    """A line to a frame: `t_master = offset + rate · t_dub`.

    Attributes:
        candidate: the proposal it came from.
        stretches: all that were heard, `agreeing` those that fit and lie on the line.
        uncertainty: how far the offset may be off, s.
        strength: of all methods that propose it.
    """

    candidate: Candidate
    offset: float
    rate: float
    uncertainty: float
    stretches: tuple[Stretch, ...]
    agreeing: tuple[Stretch, ...]
    strength: float

    def piece(self, master_seconds: float, dub_seconds: float) -> Segment:
        """The piece of the dub that it holds for: to the ends of both files where the first and last stretches fit."""
        first, last = max(0.0, -self.offset / self.rate), min(dub_seconds, (master_seconds - self.offset) / self.rate)
        start = first if self.agreeing[0] is self.stretches[0] else max(self.agreeing[0].start, first)
        end = last if self.agreeing[-1] is self.stretches[-1] else min(self.agreeing[-1].end, last)
        return Segment(
            dub_start=round(start, 3),
            dub_end=round(end, 3),
            offset_seconds=round(self.offset, 4) + 0.0,
            rate=round(self.rate, 9),
            confidence=self.confidence,
        )

    @property
    def confidence(self) -> float:
        """Probability of being right to a frame."""
        return frame_confidence(FrameEvidence(self.strength, len(self.agreeing), len(self.stretches)))


def fit_frames(heard: Stretches, agreed: list[Agreement]) -> FrameFit | None:
    """The best of the first few proposals; None when nothing fits any.

    One stretch is never enough: where the files hardly overlap there is only one, and it fits somewhere by chance.
    """
    fits = [fit for one in agreed[:_TRIED] if (fit := _fit(heard, one)) and len(fit.agreeing) > 1]
    return max(fits, key=lambda fit: (fit.confidence, fit.strength), default=None)


def fit_at(heard: Stretches, candidate: Candidate, agreed: list[Agreement]) -> FrameFit | None:
    """What the stretches say of a line that is known, with the strength of the proposal it came from."""
    middle = candidate.offset + candidate.rate * (heard.spans[0][0] if heard.spans else 0.0)
    near = [
        one.strength
        for one in agreed
        if abs(one.candidate.offset + one.candidate.rate * (heard.spans[0][0] if heard.spans else 0.0) - middle)
        < _APART
    ]
    return _fit(heard, Agreement(candidate, max(near, default=0.0)))


def _fit(heard: Stretches, agreed: Agreement) -> FrameFit | None:
    stretches = heard.hear(agreed.candidate)
    agreeing = [one for one in stretches if one.fits]
    if not agreeing:
        return None
    times, delays = (np.array([getattr(one, name) for one in agreeing]) for name in ("middle", "delay"))
    slope, spread = _slope(times, delays)
    offset = float(np.median(delays - slope * times))
    uncertainty = 0.03 + spread + agreed.candidate.uncertainty
    rate = agreed.candidate.rate + slope
    return FrameFit(agreed.candidate, offset, rate, uncertainty, tuple(stretches), tuple(agreeing), agreed.strength)


def _slope(times: np.ndarray, delays: np.ndarray) -> tuple[float, float]:
    """The median slope between stretches (Theil-Sen) where a drift explains the delays, and their spread, s."""
    flat = float(np.median(np.abs(delays - np.median(delays))))
    if len(times) < 5:
        return 0.0, flat
    first, second = np.triu_indices(len(times), 1)
    slope = float(np.median((delays[second] - delays[first]) / (times[second] - times[first])))
    left = delays - slope * times
    spread = float(np.median(np.abs(left - np.median(left))))
    if abs(slope) * np.ptp(times) > 0.04 and spread < 0.5 * flat:
        return slope, spread
    return 0.0, flat


def rivals(heard: Stretches, fit: FrameFit, agreed: list[Agreement]) -> list[Candidate]:
    """Other places where the same stretches fit as well, strongest first."""
    return [one for one in elsewhere(fit, agreed) if as_good(fit.stretches, heard.hear(one))]


def elsewhere(fit: FrameFit, agreed: list[Agreement]) -> list[Candidate]:
    """Proposals for other places that are nearly as strong, strongest first."""
    middle = float(np.mean([one.middle for one in fit.agreeing]))
    found: list[Candidate] = []
    taken = [fit.offset + fit.rate * middle]
    for one in agreed:
        place = one.candidate.offset + one.candidate.rate * middle
        if one.strength >= _RIVAL * fit.strength and all(abs(place - other) >= _APART for other in taken):
            found.append(one.candidate)
            taken.append(place)
    return found


def refine(master: Recording, dub: Recording, fit: FrameFit) -> FrameFit:
    """The same line at the direct sound, where one can be told; else as it is."""
    if fit.candidate.rate != 1:
        return fit  # the speed was changed and the pitch kept, or votes had found it: there is no common waveform
    response = _response(master, dub, fit)
    if response is None:
        return fit
    middle = float(np.median(response))
    clear = (response - middle) / max(1.4826 * float(np.median(np.abs(response - middle))), 1e-12)
    top = float(clear.max())
    if top < _CLEAR:
        return fit
    first = int(np.flatnonzero(clear >= max(_FIRST * top, _AUDIBLE))[-1])  # the earlier in the dub, the later here
    offset = fit.offset + first / RATE - _REACH
    return replace(fit, offset=offset, uncertainty=0.005 if top > 2 * _CLEAR else 0.03)


def _response(master: Recording, dub: Recording, fit: FrameFit) -> np.ndarray | None:
    """Absolute value of the whitened correlation over ± _REACH, averaged over the stretches that agree."""
    total, reach = None, round(_REACH * RATE)
    for one in fit.agreeing:
        count = round(min(_WINDOW, one.end - one.start) * RATE)
        for start in range(round(one.start * RATE), round(one.end * RATE) - count + 1, count):
            window = dub.read(start, count)
            if float(np.std(window)) < SILENCE:
                continue
            place = round(fit.offset * RATE + fit.rate * start)
            around = master.read(place - reach, count + 2 * reach)
            size = fast_length(len(around))
            cross = rfft(around, size) * np.conj(rfft(window * np.hanning(count).astype(np.float32), size))
            low, high = (int(edge * size / RATE) for edge in _BAND)
            whitened = np.zeros_like(cross)
            whitened[low:high] = cross[low:high] / (np.abs(cross[low:high]) + 1e-12)
            curve = irfft(whitened, size)[: 2 * reach + 1]
            curve /= max(float(np.median(np.abs(curve))), 1e-12)
            total = curve if total is None else total + curve
    return None if total is None else np.abs(total)
