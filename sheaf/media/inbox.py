"""The batches that wait in the inbox: one CSV each, in `inbox/media/`.

Here: which there are and whether one changed. Reading one is `ingest`.
"""

import hashlib
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sheaf.errors import InputError, NotFoundError
from sheaf.inbox import domain_folder
from sheaf.media.batch_options import read_batch_options
from sheaf.media.ingest import batch_id, ingest
from sheaf.media.settings import MediaSettings
from sheaf.report import Report
from sheaf.sources import Offer, State
from sheaf.store import Store


@dataclass(frozen=True)
class MediaInbox:
    """The CSVs as a source.

    Attributes:
        root: the inbox.
        store_url: the store that knows which batches there were; the same bytes again are the same batch.
        settings: media roots and defaults.
    """

    root: Path
    store_url: str
    settings: MediaSettings
    name: str = "inbox"
    authoritative: bool = False

    def offers(self) -> Offer:
        """The batches; a CSV that cannot be used has a file with the reason beside it and offers none."""
        return Offer(tuple(sorted(self._files())))

    def states(self, partitions: Sequence[str]) -> Generator[State, None, None]:
        """What a batch asks for, and how long nobody has written to it."""
        files = self._files()
        for batch in partitions:
            if batch not in files:
                yield State(batch, problem=f"There is no CSV of batch {batch} in {self.root / 'media'} any more.")
                continue
            digest = hashlib.sha256()
            newest = 0.0
            for path in (files[batch], files[batch].with_suffix(".yaml")):
                if path.is_file():
                    digest.update(path.read_bytes())
                    newest = max(newest, path.stat().st_mtime)
            yield State(batch, digest.hexdigest()[:16], time.time() - newest, tags=_tags(files[batch]))

    def ingest(self, store: Store, partition: str) -> Report:
        """Read one batch; raises `NotFoundError` when the inbox has none of that name."""
        files = self._files()
        if partition not in files:
            raise NotFoundError(f"The inbox has no media batch {partition!r}: see `sheaf sources`.")
        return ingest(files[partition], store, partition, self.settings)

    def check(self) -> str:
        """How many batches wait there."""
        return f"{self.root / 'media'}: {len(self._files())} partitions"

    def _files(self) -> dict[str, Path]:
        """The CSV of each batch; of several with the same bytes the first."""
        folder = domain_folder(self.root, "media")
        store = Store.open(self.store_url)
        found: dict[str, Path] = {}
        for path in sorted(folder.glob("*.csv")):
            with suppress(InputError):
                found.setdefault(batch_id(path, store), path)
        return found


def _tags(csv_path: Path) -> dict[str, str]:
    """Where the batch stands in the queue; options that cannot be read are told by the run."""
    try:
        return {"dagster/priority": read_batch_options(csv_path).priority.dagster}
    except InputError:
        return {}
