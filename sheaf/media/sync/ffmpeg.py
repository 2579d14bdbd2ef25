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
    "aac,ac3,adp,aiff,amr,amrnb,amrwb,ape,apm,aptx,asf,ast,au,avi,avr,caf,daud,dsf,dts,dtshd,dv,eac3,flac,flv,g722,"
    "g726,g729,gsm,gxf,iff,ircam,kvag,lmlm4,loas,lvf,matroska,webm,mlp,mmf,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,"
    "mpegts,mtv,mxf,nistsphere,nsv,nut,oma,ogg,pva,qcp,r3d,rm,rso,shn,smjpeg,sol,sox,spdif,svag,swf,tak,truehd,tta,"
    "ty,voc,vqf,w64,wav,wsd,wtv,wv,xwma"
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


def reading(path: Path, start: float = 0.0) -> list[str]:
    """The start of a command that reads one local file and nothing else.

    Args:
        start: what this ffmpeg calls the start of the file, s. Below zero it is what a codec adds in front of the
            sound, and older ones would take it for the zero of all times.

    Raises:
        MissingFileError: `path` is no regular file.
    """
    if not path.is_file():
        raise MissingFileError(f"{path} is not there, or is no regular file.")
    safety = ["-protocol_whitelist", "file,pipe", "-format_whitelist", _DEMUXERS]
    zero = ["-itsoffset", f"{start:.6f}"] if start < 0 else []
    return [executable(), "-hide_banner", "-nostdin", "-threads", "1", *safety, *zero, "-i", f"file:{path.absolute()}"]
