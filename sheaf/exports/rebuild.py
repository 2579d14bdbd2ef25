"""Making an export again from the generations that it names, to see that it comes out the same."""

import hashlib
import shutil
from pathlib import Path

from pydantic import BaseModel

from sheaf.errors import VerificationError
from sheaf.exports.origin import kept_tables
from sheaf.exports.publish import write_and_verify
from sheaf.exports.records import read_manifest
from sheaf.exports.series import Draft
from sheaf.names import ExportId
from sheaf.publication import of_partition
from sheaf.steps import Domain
from sheaf.store.scratch import scratch_folder
from sheaf.store.store import Store


def rebuild(store: Store, domain: Domain, export: ExportId, settings: BaseModel, target: Path) -> list[Path]:
    """Make the files of an export again.

    Args:
        settings: the domain's; those that the tables were made with are in the tables.
        target: where the files go when they are the same; what is there is replaced.

    Returns:
        The files.

    Raises:
        NotFoundError: the export is not complete, or was made before its generations were kept.
        VerificationError: they differ; the sentence says why that may be.
    """
    manifest = read_manifest(store, export)
    series = domain.series_named(export.series.series)
    members = kept_tables(store, domain, manifest)
    with scratch_folder(store) as folder:
        draft = Draft(
            store,
            export.series.partition,
            members,
            folder,
            series.filter.model_validate(manifest.filter),
            series.options.model_validate(manifest.options),
            of_partition(settings, export.series.partition),
            manifest.created_at,
            export.version,
        )
        write_and_verify(series, draft)
        for file in manifest.files:
            made = folder / file.path
            if not made.is_file() or _sha256(made) != file.sha256:
                why = ""
                if manifest.writer_version != series.version:
                    why = f": it was written by version {manifest.writer_version} of its writer, now {series.version}"
                raise VerificationError(f"{export}: {file.path} did not come out the same{why}.")
        done = []
        for file in manifest.files:
            local = target / file.path
            local.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file.path, local)
            done.append(local)
    return done


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
