"""Another name for a folder whose own name libraries misread: brackets, stars and quotes mean something to them.

A home may be called as its owner likes. Here: a link with a plain name that leads there. Not here: which
folders are passed on to such libraries (`scratch`, `duck`).
"""

import hashlib
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path

from sheaf.errors import StoreError

_PLAIN = re.compile(r"[\w ./@:+,=~-]*")


def plain(folder: Path) -> Path:
    """The folder itself where its name is plain, else a link to it among the machine's temporary files.

    Raises:
        StoreError: somebody else could change the link.
    """
    if _PLAIN.fullmatch(str(folder)):
        return folder
    links = Path(tempfile.gettempdir()) / f"sheaf-links-{os.getuid()}"
    make_private(links)
    link = links / hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:24]
    with suppress(FileExistsError):
        link.symlink_to(folder.absolute())
    return link


def make_private(folder: Path) -> None:
    """Make a folder below the machine's temporary one, where anybody may have made it before.

    Raises:
        StoreError: somebody has: he could read what is checked there, and change it before it is stored.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        opened = None
    try:
        if opened is None or os.fstat(opened).st_uid != os.getuid():
            raise StoreError(
                f"{folder} is not a folder of our own, so that others could change working files: remove it, or set "
                "TMPDIR to a folder that is yours alone."
            )
        os.fchmod(opened, 0o700)
    finally:
        if opened is not None:
            os.close(opened)
