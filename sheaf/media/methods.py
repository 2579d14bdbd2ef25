"""By what sync analysis finds candidates, by name. Imports nothing, since every command line names them."""

from enum import StrEnum


class Method(StrEnum):
    """A coarse method, in the order in which they are reported."""

    MFCC = "mfcc"
    ONSET = "onset"
    SPECTRAL = "spectral"
    CORRELATION = "correlation"
    AI = "ai"


class Model(StrEnum):
    """What the method `ai` compares; `spectral` is built in."""

    WAV2VEC2 = "wav2vec2"
    YAMNET = "yamnet"
    SPECTRAL = "spectral"


DEFAULT_METHODS = (Method.MFCC, Method.ONSET, Method.SPECTRAL)
