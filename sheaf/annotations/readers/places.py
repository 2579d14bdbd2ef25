"""Where a file lies whose path is of another machine: by as much of the end of the path as is there.

Not here: which paths may be used at all (`paths`), nor what tools call their images (`label_studio`, `coco`).
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

_ROOT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^/]*|[A-Za-z]:|(?=[/~])")


def is_absolute(path: str) -> bool:
    """Whether a path with slashes begins at a drive, a server (also of an address), a root or a home."""
    return _ROOT.match(path) is not None


def ends(path: str) -> list[str]:
    """The path without its root, then without its first folder, and so on to the bare file name."""
    parts = [part for part in _ROOT.sub("", path, count=1).split("/") if part not in ("", ".", "~")]
    return ["/".join(parts[at:]) for at in range(len(parts))]


def found(names: Mapping[str, Sequence[str]], is_there: Callable[[str], bool]) -> dict[str, str]:
    """For each source the first of its names that is a file, else the first.

    Several sources cannot be one file: where they would be, the first name of each has to do.

    Args:
        names: what the file of a source may be called, the best first.
    """
    first = {source: next(iter(of), "") for source, of in names.items()}
    chosen = {source: next(filter(is_there, of), first[source]) for source, of in names.items()}
    times = Counter(chosen.values())
    return {source: name if times[name] == 1 else first[source] for source, name in chosen.items()}
