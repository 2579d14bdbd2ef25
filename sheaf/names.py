"""Names that become paths: partition keys, and how an export is called.

A partition key is checked here, at the door, so that no later code has to wonder whether a
name can leave its folder.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from sheaf.errors import UsageError

CAMPAIGN = "campaign"
"""In the place of a partition: all of them together."""
PARTITION_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"v0*([1-9][0-9]{0,8})")
_UNSTORABLE = re.compile(r"[\x00-\x1f\x7f]|#[0-9]+(/|$)")


def check_partition(key: str) -> str:
    """Return `key` when it is a valid partition key.

    Raises:
        UsageError: the key is empty, longer than 100 characters, or holds anything but
            letters, digits, dot, underscore and hyphen.
    """
    if PARTITION_KEY.fullmatch(key):
        return key
    shown = key if len(key) <= 40 else key[:40] + "…"
    raise UsageError(
        f"{shown!r} is not a valid partition name: use 1 to 100 letters, digits, '.', '_' or '-', "
        "starting with a letter or digit."
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names what is alike, to go behind a sentence; empty where nothing is."""
    folded = {one.casefold(): one for one in known}
    alike = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f" Did you mean {folded[alike[0]]!r}?" if alike else ""


def is_file_name(path: str) -> bool:
    """Whether a file of an export can be called so in every store.

    Stores refuse control characters, names that are not Unicode, and paths over 1024 bytes (kept
    to 800 here, since the export's own folder comes before); a local one keeps `name#1` for itself.
    """
    try:
        return not _UNSTORABLE.search(path) and 0 < len(path.encode()) <= 800
    except UnicodeEncodeError:
        return False


@dataclass(frozen=True, order=True)
class SeriesId:
    """One kind of export of one partition, such as `fermentation/batch-1/samples_csv`."""

    domain: str
    partition: str
    series: str

    def __post_init__(self) -> None:
        for part in (self.domain, self.partition, self.series):
            check_partition(part)

    def __str__(self) -> str:
        return f"{self.domain}/{self.partition}/{self.series}"

    @property
    def path(self) -> str:
        """The folder of the series in the store."""
        return f"exports/{self}"

    @property
    def latest_path(self) -> str:
        """The pointer to the newest canonical export."""
        return f"{self.path}/latest.json"

    @property
    def tags_path(self) -> str:
        """The versions that people have given names, such as `@paper`."""
        return f"{self.path}/tags.json"


@dataclass(frozen=True, order=True)
class ExportId:
    """One immutable version of a series, such as `fermentation/batch-1/samples_csv/v3`."""

    series: SeriesId
    version: int

    def __str__(self) -> str:
        return f"{self.series}/v{self.version}"

    @property
    def path(self) -> str:
        """The folder of the export in the store."""
        return f"{self.series.path}/v{self.version:04d}"

    @property
    def record_path(self) -> str:
        """The export's life: status, who asked, why it failed.

        It starts with `_`, so that who reads the folder as a table (pandas, Arrow, Spark) passes it over.
        """
        return f"{self.path}/_record.json"

    @property
    def manifest_path(self) -> str:
        """What the completed export holds."""
        return f"{self.path}/_manifest.json"

    @property
    def earlier_paths(self) -> tuple[str, str]:
        """Where both documents of an export lie that Sheaf 0.1 published."""
        return f"{self.path}/record.json", f"{self.path}/manifest.json"


def parse_exact(text: str) -> ExportId:
    """Read `domain/partition/series/vN`, as records and manifests call themselves.

    Raises:
        UsageError: the text has another shape.
    """
    series, version = parse_export(text)
    if isinstance(version, int):
        return ExportId(series, version)
    raise UsageError(f"{text!r} names no version: write domain/partition/series/v3.")


def parse_version(text: str) -> int | None:
    """The number in `v3` or `v0003`; None for anything else."""
    match = _VERSION.fullmatch(text)
    return int(match[1]) if match else None


def check_tag(tag: str) -> str:
    """Return a tag, without `@`, when it can be one.

    Raises:
        UsageError: it holds what a partition's name must not hold.
    """
    if PARTITION_KEY.fullmatch(tag):
        return tag
    raise UsageError(f"{tag[:40]!r} cannot be a tag: use 1 to 100 letters, digits, '.', '_' or '-'.")


def parse_export(text: str) -> tuple[SeriesId, int | str | None]:
    """Read `domain/partition/series/vN`, `…/latest` or `…/@tag`.

    Returns:
        The series, and the version, the tag without `@`, or None for `latest`.

    Raises:
        UsageError: the text has another shape.
    """
    parts = text.strip("/").split("/")
    if len(parts) == 4:
        *series, last = parts
        version = parse_version(last)
        if version or last == "latest":
            return SeriesId(*series), version
        if last.startswith("@"):
            return SeriesId(*series), check_tag(last[1:])
    raise UsageError(
        f"{text!r} does not name an export: write domain/partition/series/v3 or domain/partition/series/latest."
    )
