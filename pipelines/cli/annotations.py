"""The commands that only annotations has: `sheaf splits …`."""

import csv
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli import show
from sheaf.errors import UsageError
from sheaf.names import check_partition

app = typer.Typer(help="Divide a project's images into train, val and test.", no_args_is_help=True)


@app.callback()
def splits() -> None:
    """Divide a project's images into train, val and test."""


@app.command()
def suggest(
    project: Annotated[str, typer.Argument(metavar="PROJECT")],
    shares: Annotated[
        str, typer.Option(metavar="SPLIT=SHARE,…", help="How many images each split gets.")
    ] = "train=0.8,val=0.1,test=0.1",
    group_by: Annotated[
        str | None, typer.Option(metavar="WHAT", help="What stays together: folder, capture or tag:<category>.")
    ] = None,
    anew: Annotated[bool, typer.Option("--anew", help="Divide also images that are in a split already.")] = False,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it there; splits.csv of the project's inbox is read.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")
    ] = False,
) -> None:
    """Propose a split for each image: every label in its share, copies and similar pictures together.

    The project's newest records are looked at. With `--output` the proposal is written as a CSV; put it into the
    project's inbox folder as `splits.csv`, and it counts from the next run on. Asked for again, images that are in
    a split stay there.
    """
    from sheaf.annotations.domain import ANNOTATIONS
    from sheaf.annotations.schema import TABLES
    from sheaf.annotations.writers.splits import suggest_splits
    from sheaf.coherence import pin
    from sheaf.settings import Settings
    from sheaf.store.store import Store

    settings = Settings.load()
    tables = pin(Store.open(settings.store_url), ANNOTATIONS, check_partition(project), TABLES, settings.annotations)
    found = suggest_splits(tables, _shares(shares), group_by, keep=not anew)
    if output:
        with output.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("file_path", "split"))
            writer.writerows(sorted(found.items()))
    if as_json:
        show.json(found)
        return
    counts = {split: list(found.values()).count(split) for split in sorted(set(found.values()))}
    show.table(("split", "images"), counts.items(), "There are no images.")
    if output:
        show.say(f"{output} is written: put it into the inbox folder of {project} as splits.csv and run again.")


def _shares(text: str) -> dict[str, float]:
    found = {}
    for part in text.split(","):
        split, _, share = part.partition("=")
        try:
            found[split.strip()] = float(share)
        except ValueError as error:
            raise UsageError(f"{part!r} is no share: write train=0.8,val=0.1,test=0.1.") from error
        if split.strip() not in ("train", "val", "test"):
            raise UsageError(f"There is no split {split.strip()!r}: there are train, val and test.")
    return found
