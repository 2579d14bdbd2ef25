"""Checking that an export still holds exactly what its manifest says."""

from collections.abc import Iterable

from sheaf.errors import VerificationError
from sheaf.exports.records import File, Manifest, read_manifest
from sheaf.names import ExportId
from sheaf.store.store import Store

DOCUMENTS = ("_record.json", "_manifest.json", "record.json", "manifest.json")
"""The two of an export, as they are called now and as they were in Sheaf 0.1."""


def verify(store: Store, export: ExportId) -> Manifest:
    """Read every file of a completed export back and compare size and sha256.

    Raises:
        NotFoundError: the export is not complete.
        VerificationError: a file is missing, different, or not in the manifest.
    """
    manifest = read_manifest(store, export)
    confirm_listing(store, export, manifest.files)
    for file in manifest.files:
        confirm_content(store, export, file)
    return manifest


def confirm_listing(store: Store, export: ExportId, files: Iterable[File]) -> None:
    """Compare names and sizes of what the store holds below an export with a list of files.

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
    if extra := stored.keys() - set(DOCUMENTS):
        raise VerificationError(f"{export}: {sorted(extra)[0]} is in the store but not in the manifest.")


def confirm_content(store: Store, export: ExportId, file: File) -> None:
    """Read one file back and compare its sha256.

    Raises:
        VerificationError: it differs.
    """
    if store.sha256(f"{export.path}/{file.path}") != file.sha256:
        raise VerificationError(f"{export}: {file.path} differs from what was published (sha256).")
