"""Offsets channel by channel, for a dub whose channels were laid separately (5.1 stems, dual mono).

Each is compared with the same channel of the master, where it has that and something sounds there; else with its
programme.
"""

import numpy as np

from sheaf.media.result import ACCEPTED, ChannelOffset
from sheaf.media.sync.candidates import Candidate
from sheaf.media.sync.confidence import Evidence, confidence
from sheaf.media.sync.decode import SILENCE, Recording, channel_mix
from sheaf.media.sync.lines import Line, fit_lines
from sheaf.media.sync.votes import vote, window_times

_REACH = 0.25  # s a channel may lie from the programme
_WINDOWS = 16


def channel_offsets(master: Recording, dub: Recording, line: Line) -> dict[str, ChannelOffset]:
    """The offset of every channel of the dub against that of the master.

    A channel that shares nothing with it (another language, silence) has no offset and confidence 0.
    Empty for mono.
    """
    if len(dub.channels) < 2:
        return {}
    candidate = Candidate(line.delay_at(dub.seconds / 2), line.assumed, 0.0)
    starts, width = window_times(master, dub, Candidate(line.offset, line.rate, 0.0))
    inside = (starts >= line.votes[0].time - width) & (starts <= line.votes[-1].time)
    starts = starts[inside][:: max(int(inside.sum()) // _WINDOWS, 1)]
    found = {}
    for index, role in enumerate(dub.channels):
        if np.sqrt(dub.covariance[index, index]) < SILENCE:
            found[role] = ChannelOffset(offset_seconds=None, confidence=0.0)
            continue
        found[role] = ChannelOffset(offset_seconds=None, confidence=0.0)
        for against in (_equal(master, role), None):
            votes = vote(master, dub, candidate, starts, width, _REACH, channel_mix(dub, role), against)
            found[role] = _weighed(fit_lines(votes), len(votes))
            if found[role].offset_seconds is not None:
                break
    return found


def _weighed(lines: list[Line], votes: int) -> ChannelOffset:
    if not lines:
        return ChannelOffset(offset_seconds=None, confidence=0.0)
    agreeing = len(lines[0].votes)
    sure = confidence(Evidence(lines[0].weight, agreeing, votes - agreeing))
    offset = round(lines[0].offset, 6) + 0.0 if sure >= ACCEPTED else None
    return ChannelOffset(offset_seconds=offset, confidence=sure)


def _equal(master: Recording, role: str) -> np.ndarray | None:
    """The weights of the master's channel of that role; None where it has none, or nothing sounds there."""
    if role not in master.channels:
        return None
    index = master.channels.index(role)
    return channel_mix(master, role) if np.sqrt(master.covariance[index, index]) >= SILENCE else None
