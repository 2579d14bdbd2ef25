"""A delivery that is one zip, as platforms let people download it, unpacked into a folder.

Here: what is taken out of a zip. Not here: what the files are (`camtrap_dp`, `wildlife_insights`, `inaturalist`).
"""

import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from sheaf.errors import InputError
from sheaf.outside.files import top_files
from sheaf.tables.work import Work

_READ = (".csv", ".json")
_MOST = 16 << 30


def unpacked(folder: Path, work: Work) -> Path:
    """The folder itself, or what is in its zip where it holds nothing else that is read.

    Raises:
        InputError: there are several, or it is damaged, holds no dataset, or is too large.
    """
    files = top_files(folder)
    zips = [path for path in files if path.suffix.lower() == ".zip"]
    if not zips or any(path.suffix.lower() in (*_READ, ".parquet", ".ndjson") for path in files):
        return folder
    if len(zips) > 1:
        raise InputError(f"{folder}: there are {zips[0].name} and {zips[1].name}: keep one dataset.")
    place = work.scratch / "unpacked"
    place.mkdir()
    try:
        with zipfile.ZipFile(zips[0]) as archive:
            inside = {PurePosixPath(info.filename): info for info in archive.infolist() if not info.is_dir()}
            read = [path for path in inside if path.suffix.lower() in _READ and path.parts[0] != "__MACOSX"]
            if not read:
                raise InputError(f"{zips[0]} holds neither a datapackage.json nor a CSV: it is no dataset.")
            top = min(read, key=lambda path: (path.name != "datapackage.json", len(path.parts), path)).parent
            for path in (path for path in read if path.parent == top):
                if inside[path].file_size > _MOST:
                    raise InputError(f"{zips[0]}: {path} is larger than {_MOST >> 30} GB: deliver a folder.")
                with archive.open(inside[path]) as source, (place / path.name).open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{zips[0]} is no whole zip file ({error}): copy it again.") from error
    return place
