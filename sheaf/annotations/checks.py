"""What is checked of a project before anybody trains on it. Not here: what exports refuse (`selection`)."""

from collections import Counter

from sheaf.annotations.settings import AnnotationsSettings
from sheaf.annotations.writers.request import SPLITS
from sheaf.annotations.writers.splits import CONFLICT, homes
from sheaf.report import Report
from sheaf.tables.generations import Verdict
from sheaf.tables.pinned import Tables


def splits_disjoint(tables: Tables, _: Report, __: AnnotationsSettings) -> Verdict:
    """No image, and no copy of one, may be in two splits; copies of an image without file cannot be seen."""
    found = homes(tables)
    counts = Counter(found.splits)
    leaking, several = sum(found.leaking), counts[CONFLICT]
    populated = [split for split in SPLITS if counts[split]]
    faults = []
    if leaking:
        faults.append(f"{leaking} images have the same bytes as one in another split.")
    if several:
        faults.append(f"{several} images are in tasks of different splits.")
    if found.without_file and len(populated) > 1:
        placed = sum(counts[split] for split in populated)
        faults.append(f"{found.without_file} of {placed} images have no file, so copies of them cannot be seen.")
    if faults:
        return Verdict(passed=False, detail=" ".join(faults))
    shown = ", ".join(f"{counts[split]} images in {split}" for split in populated)
    return Verdict(passed=True, detail=shown or "no image is in a split")
