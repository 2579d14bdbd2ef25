"""Deliveries that are zips, as platforms let people download them, unpacked into a folder; and tables that are gzipped.

Here: what is taken out of them. Not here: what the files are (`camtrap_dp`, `wildlife_insights`, `inaturalist`).
"""

import gzip
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from sheaf.errors import InputError
from sheaf.outside.files import open_file, top_files
from sheaf.tables.work import Work

_READ = (".csv", ".json", ".gz")
_DESCRIPTION = "datapackage.json"
_MOST = 16 << 30


def unpacked(folder: Path, work: Work) -> Path:
    """The folder itself, or what is in its zips where it holds nothing else that is read.

    Raises:
        InputError: one is damaged, holds no dataset, or is too large, or there is more than one Camtrap DP.
    """
    files = top_files(folder)
    zips = [path for path in files if path.suffix.lower() == ".zip"]
    if not zips or any(path.suffix.lower() in (*_READ, ".parquet", ".ndjson") for path in files):
        return folder
    place = work.scratch / "unpacked"
    place.mkdir()
    for path in zips:
        _unpack(path, place)
    return place


def gunzipped(path: Path, work: Work) -> Path:
    """The file itself, or what is in it where it is gzipped, in a file of the same name.

    Raises:
        InputError: it is damaged, or too large.
    """
    if path.suffix.lower() != ".gz":
        return path
    place = work.scratch / "gunzipped"
    place.mkdir(exist_ok=True)
    try:
        with open_file(path) as file, gzip.open(file) as source:
            _copy(source, place / path.name, path)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"{path} is no whole gzip file ({error}): copy it again.") from error
    return place / path.name


def _unpack(path: Path, place: Path) -> None:
    """Unpack a dataset: the files beside its description or first table, and what is below a description."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = {PurePosixPath(info.filename): info for info in archive.infolist() if not info.is_dir()}
            read = [name for name in inside if name.suffix.lower() in _READ and name.parts[0] != "__MACOSX"]
            if not read:
                raise InputError(f"{path} holds neither a {_DESCRIPTION} nor a CSV: it is no dataset.")
            first = min(read, key=lambda name: (name.name != _DESCRIPTION, len(name.parts), name))
            for name in read:
                if name.parent == first.parent or (first.name == _DESCRIPTION and _is_below(name, first.parent)):
                    target = _target(place / name.relative_to(first.parent), path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(inside[name]) as source:
                        _copy(source, target, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{path} is no whole zip file ({error}): copy it again.") from error


def _is_below(name: PurePosixPath, top: PurePosixPath) -> bool:
    return name.is_relative_to(top) and ".." not in name.parts


def _target(wanted: Path, path: Path) -> Path:
    """Where a file of a zip goes; parts of a download may have the same names."""
    if wanted.exists() and wanted.name == _DESCRIPTION:
        raise InputError(f"{path} is not the only zip with a {_DESCRIPTION}: keep one dataset.")
    return wanted.with_name(f"{path.stem} {wanted.name}") if wanted.exists() else wanted


def _copy(source: IO[bytes] | gzip.GzipFile, target: Path, path: Path) -> None:
    """Copy what is unpacked, whatever size it claims to have."""
    with target.open("wb") as file:
        while block := source.read(1 << 20):
            if file.tell() > _MOST:
                raise InputError(f"{path}: {target.name} is larger than {_MOST >> 30} GB: deliver a folder.")
            file.write(block)
