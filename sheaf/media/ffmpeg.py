"""Where ffmpeg is and how it is started safely.

Here: the executable and the arguments that every call shares. Not here: what is asked of it
(`probe`, `decode`, `repair`).
"""

import shutil
from functools import cache
from pathlib import Path

from sheaf.media.errors import MissingFileError, ToolError

# Containers that hold sound themselves. Playlists and scripts (hls, concat, dash, lavfi …) name
# other files, so a demuxer that is not listed here is refused by ffmpeg, whatever the file is called.
_DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,dtshd,eac3,flac,flv,gxf,loas,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,"
    "mp3,mpeg,mpegts,mxf,ogg,rm,tak,truehd,tta,voc,w64,wav,wv"
)


@cache
def executable() -> str:
    """The ffmpeg on PATH, or else the one inside the wheel `imageio-ffmpeg`.

    Raises:
        ToolError: there is neither.
    """
    found = shutil.which("ffmpeg")
    if found:
        return found
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise ToolError("There is no ffmpeg: install it, or reinstall the package imageio-ffmpeg.") from error


def reading(path: Path) -> list[str]:
    """The start of a command that reads one local file and nothing else.

    Raises:
        MissingFileError: `path` is no regular file.
    """
    if not path.is_file():
        raise MissingFileError(f"{path} is not there, or is no regular file.")
    safety = ["-protocol_whitelist", "file,pipe", "-format_whitelist", _DEMUXERS]
    return [executable(), "-hide_banner", "-nostdin", "-threads", "1", *safety, "-i", f"file:{path.absolute()}"]
