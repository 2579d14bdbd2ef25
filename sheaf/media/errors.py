"""Why a media file or pair cannot be analysed: one type for each way to fail.

`code` is what results and rejects carry; the message is the sentence for a person.
"""

from sheaf.errors import SheafError


class MediaError(SheafError):
    """A pair cannot be analysed; the other pairs of its batch can."""

    code = "MEDIA"


class MissingFileError(MediaError):
    """There is no such file, or it is a folder, a device or a pipe."""

    code = "MISSING_FILE"


class OutsideRootsError(MediaError):
    """The path leaves the media roots."""

    code = "OUTSIDE_ROOTS"


class UnreadableError(MediaError):
    """The bytes are no media file of a kind that is accepted, or nothing can be decoded from them."""

    code = "UNREADABLE"


class NoAudioError(MediaError):
    """The file has no sound track."""

    code = "NO_AUDIO"


class MissingTrackError(MediaError):
    """The file has no sound track of the number that was asked for."""

    code = "NO_TRACK"


class SilentError(MediaError):
    """The sound track holds nothing but silence."""

    code = "SILENT"


class TooShortError(MediaError):
    """There is too little sound to compare."""

    code = "TOO_SHORT"


class TooLongError(MediaError):
    """The sound is longer than the limit that bounds disk and memory."""

    code = "TOO_LONG"


class TimedOutError(MediaError):
    """The analysis took longer than it may."""

    code = "TIMEOUT"


class ToolError(MediaError):
    """The decoder cannot be started or ended unexpectedly."""

    code = "TOOL"


class ChangedError(MediaError):
    """The file is gone, or holds something else than when the batch was read."""

    code = "CHANGED"


class CancelledError(SheafError):
    """A batch was cancelled before all its pairs were analysed."""
