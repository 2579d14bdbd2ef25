"""Images on their way into the ZIP of an export: as stored, or turned as EXIF says."""

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from sheaf.annotations.readers.image_files import stored_path
from sheaf.annotations.writers.archive import Archive
from sheaf.errors import InputError
from sheaf.exports.series import Draft


def write_images(archive: Archive, draft: Draft, images: pa.Table, names: Sequence[str]) -> None:
    """Add the images under the names given; memory stays bounded by one chunk of a file.

    Raises:
        NotFoundError: the store lost the bytes of an image.
        InputError: an image that has to be turned cannot be decoded.
    """
    digests, orientations = images["sha256"].to_pylist(), images["orientation"].to_pylist()
    transpose = draft.options.exif == "transpose"
    for name, digest, orientation in zip(names, digests, orientations, strict=True):
        path = stored_path(draft.partition, digest)
        if transpose and orientation != 1:
            archive.image(name, [_turned(name, draft.store.get(path))])
        else:
            archive.image(name, draft.store.stream(path))


def _turned(name: str, data: bytes) -> bytes:
    """The image with its EXIF rotation applied and removed, in its own format."""
    from PIL import Image, ImageOps

    out = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data)) as image:
            how: dict[str, Any] = {"quality": 95, "subsampling": 0} if image.format == "JPEG" else {}
            ImageOps.exif_transpose(image).save(out, format=image.format, **how)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{name} cannot be turned as its EXIF says ({error}): ask for exif=as_stored.") from error
    return out.getvalue()
