"""Offsets channel by channel, for a dub whose channels were laid separately (5.1 stems, dual mono)."""

import numpy as np

from sheaf.media.candidates import Candidate
from sheaf.media.confidence import Evidence, confidence
from sheaf.media.decode import SILENCE, Recording, channel_mix
from sheaf.media.lines import Line, fit_lines
from sheaf.media.result import ACCEPTED, ChannelOffset
from sheaf.media.verify import vote

_REACH = 0.25  # s a channel may lie from the programme
_WINDOWS = 12


def channel_offsets(master: Recording, dub: Recording, line: Line) -> dict[str, ChannelOffset]:
    """The offset of every channel of the dub against the master's programme.

    A channel that shares nothing with it (another language, silence) has no offset and confidence 0.
    Empty for mono.
    """
    if len(dub.channels) < 2:
        return {}
    candidate = Candidate(line.delay_at(dub.seconds / 2), line.assumed, 0.0)
    best = sorted(sorted(line.votes, key=lambda vote: -vote.score)[:_WINDOWS], key=lambda vote: vote.time)
    found = {}
    for index, role in enumerate(dub.channels):
        if np.sqrt(dub.covariance[index, index]) < SILENCE:
            found[role] = ChannelOffset(offset_seconds=None, confidence=0.0)
            continue
        mix = channel_mix(dub, role)
        votes = []
        for one in best:
            votes += vote(master, dub, candidate, [one.time - one.width / 2], one.width, _REACH, mix)
        lines = fit_lines(votes)
        sure = 0.0
        if lines:
            agreeing = len(lines[0].votes)
            sure = confidence(Evidence(lines[0].weight, agreeing, len(votes) - agreeing))
        offset = round(lines[0].offset, 6) + 0.0 if lines and sure >= ACCEPTED else None
        found[role] = ChannelOffset(offset_seconds=offset, confidence=sure)
    return found
