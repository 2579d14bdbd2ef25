"""Checking that an export still holds exactly what its manifest says."""

from collections.abc import Iterable

from sheaf.errors import VerificationError
from sheaf.exports.records import File, Manifest, read_manifest
from sheaf.names import ExportId
from sheaf.store import Store

DOCUMENTS = ("record.json", "manifest.json")


def verify(store: Store, export: ExportId) -> Manifest:
    """Read every file of a completed export back and compare size and sha256.

    Raises:
        NotFoundError: the export is not complete.
        VerificationError: a file is missing, different, or not in the manifest.
    """
    manifest = read_manifest(store, export)
    confirm_files(store, export, manifest.files)
    return manifest


def confirm_files(store: Store, export: ExportId, files: Iterable[File]) -> None:
    """Compare what the store holds below an export with a list of files.

    Raises:
        VerificationError: naming the first file that differs.
    """
    stored = {item.path.removeprefix(export.path + "/"): item.size for item in store.list(export.path)}
    for file in files:
        size = stored.pop(file.path, None)
        if size is None:
            raise VerificationError(f"{export}: {file.path} is missing in the store.")
        if size != file.size:
            raise VerificationError(f"{export}: {file.path} has {size} bytes, its manifest says {file.size}.")
        if store.sha256(f"{export.path}/{file.path}") != file.sha256:
            raise VerificationError(f"{export}: {file.path} differs from what was published (sha256).")
    if extra := stored.keys() - set(DOCUMENTS):
        raise VerificationError(f"{export}: {sorted(extra)[0]} is in the store but not in the manifest.")
