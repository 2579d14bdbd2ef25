"""What an analysis is asked and what it answers, in the names that reports and exports use.

Sign: `offset_seconds` = t_master - t_dub of the same event. Negative: the dub is late.
With a change of speed: t_master = offset_seconds + rate · t_dub.
"""

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from sheaf.media.methods import DEFAULT_METHODS, Method, Model

ENGINE_VERSION = 11
"""Raise it when the same files may get another answer: finished items are then analysed again."""
ACCEPTED = 0.5
"""Confidence from which an offset is reported."""


class Status(StrEnum):
    """What became of a pair."""

    COMPLETED = "completed"
    NO_MATCH = "no_match"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Precision(StrEnum):
    """How exactly an offset is known."""

    SAMPLE = "sample"
    FRAME = "frame"


class PairOptions(BaseModel):
    """How one pair is analysed.

    Attributes:
        methods: the coarse methods that propose candidates; their order doesn't matter.
        ai_model: which embeddings `ai` compares; `spectral` is built in and the default.
        models: ONNX files for `wav2vec2` and `yamnet`.
        timeout_seconds: wall time for the whole analysis.
        max_seconds: longest sound that is accepted.
        master_track, dub_track: which sound track, from 1; by default the one that players choose, then the others.
        listen: also keep a few seconds to listen to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    methods: tuple[Method, ...] = Field(default=DEFAULT_METHODS, min_length=1)
    ai_model: Model | None = None
    models: dict[Model, Path] = Field(default_factory=dict)
    timeout_seconds: float = Field(default=300.0, gt=0)
    max_seconds: float = Field(default=4 * 3600.0, gt=0)
    master_track: int | None = Field(default=None, ge=1)
    dub_track: int | None = Field(default=None, ge=1)
    listen: bool = False


class MethodResult(BaseModel):
    """What one coarse method found by itself, judged by the same verifier."""

    method: Method
    offset_seconds: float | None
    confidence: float


class Segment(BaseModel):
    """A piece of the dub with one offset and speed; times in the dub, s."""

    dub_start: float
    dub_end: float
    offset_seconds: float
    rate: float
    confidence: float


class ChannelOffset(BaseModel):
    """The offset of one channel of the dub against the master."""

    offset_seconds: float | None
    confidence: float


class SoundTrack(BaseModel):
    """One sound track of a file, as it says itself."""

    sample_rate: int
    layout: str
    language: str = ""
    title: str = ""


class WindowVote(BaseModel):
    """What one short window says by itself: its place in the dub (s), its offset (s), whether it agrees."""

    dub_time: float
    offset_seconds: float
    score: float
    agrees: bool


class Overlay(BaseModel):
    """Loudness curves of a few seconds, for a picture; 0 to 1, equal steps of `step` seconds.

    Attributes:
        start: first moment on the master's clock, s.
        before: the dub at the same moments of its own clock.
        after: the dub where the offset puts it.
    """

    start: float
    step: float
    master: list[float]
    before: list[float]
    after: list[float]


class Snippets(BaseModel):
    """A few seconds as MP3 in base64, master left and dub right, before and after the correction."""

    before: str
    after: str


class PairResult(BaseModel):
    """How a dub lies against its master.

    Attributes:
        status: `completed`, or `no_match` when no offset has a confidence of 0.5.
        offset_seconds: of the longest segment, to a microsecond; null without a match.
        offset_samples: the same at the dub's own sample rate.
        offset_frames: the same in frames of each usual rate.
        timecode: the same as `[-]HH:MM:SS:FF` at `frame_rate`.
        frame_rate: of the picture, exact as a fraction; 24000/1001 where there is none.
        confidence: calibrated probability that the offset is right to a frame.
        precision: `sample`, or `frame` where only longer stretches agree; null without a match.
        offset_uncertainty_seconds: how far the offset may be off.
        coverage: share of the dub's sound that the master explains.
        ambiguous_with: offsets that fit alike, where there are several; none of them is then reported as the offset.
        contradiction: methods that are sure of another offset.
        rate: seconds of the master per second of the dub.
        drift_ppm: how much `rate` differs from its nominal value (1, or a usual change of speed), in millionths.
        segments: pieces of an edited dub in order of time; one for a dub without edits.
        channels: offsets by channel, where the dub has several.
        requested_model: the AI model that was asked for.
        model_available: whether that model ran; null when `ai` was not asked for.
        master_track, dub_track: the sound track that was compared, with language and title; null where it is all.
        master_start, dub_start: timecode at which each file starts, where it says so.
        master_ltc, dub_ltc: the same by timecode that was recorded as sound.
        timecode_offset_seconds: the offset that those say, to compare with the one that was measured.
        timecode_offset_from: what said so of master and dub.
        dub_sample_rate: of its sound, Hz.
        dub_tracks: all sound tracks of the dub, in their order.
    """

    status: Status
    offset_seconds: float | None = None
    offset_samples: int | None = None
    offset_frames: dict[str, float] | None = None
    timecode: str | None = None
    frame_rate: str | None = None
    confidence: float = 0.0
    precision: Precision | None = None
    offset_uncertainty_seconds: float | None = None
    coverage: float | None = None
    ambiguous_with: list[float] = Field(default_factory=list)
    contradiction: list[Method] = Field(default_factory=list)
    method_used: str = ""
    rate: float | None = None
    drift_ppm: float | None = None
    segments: list[Segment] = Field(default_factory=list)
    channels: dict[str, ChannelOffset] = Field(default_factory=dict)
    method_results: list[MethodResult] = Field(default_factory=list)
    requested_model: Model | None = None
    model_available: bool | None = None
    master_track: str | None = None
    dub_track: str | None = None
    master_start: str | None = None
    dub_start: str | None = None
    master_ltc: str | None = None
    dub_ltc: str | None = None
    timecode_offset_seconds: float | None = None
    timecode_offset_from: str | None = None
    dub_sample_rate: int | None = None
    dub_tracks: list[SoundTrack] = Field(default_factory=list)
    master_seconds: float = 0.0
    dub_seconds: float = 0.0
    warnings: list[str] = Field(default_factory=list)
    timeline: list[WindowVote] = Field(default_factory=list)
    overlay: Overlay | None = None
    snippets: Snippets | None = None
    analysis_seconds: float = 0.0
