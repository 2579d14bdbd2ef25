"""Run generated master/dub pairs through `sheaf run media` and hold what it publishes against their truth.

Usage: python .ci/media_checks.py SHARED_DIR [--seeds 0,100-109]

`SHARED_DIR/tools/make_sync_pairs.py --seed N` makes the pairs of one seed: a batch of the inbox, whose CSV does
not say the truth. Prints a line for each seed and every miss, and exits with 1 when a goal was missed. Needs
ffmpeg and espeak-ng.
"""

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command import Home

DEFAULT_SEEDS = "0"  # 85 s on two cores
COLUMNS = ("master_file", "dub_file", "methods", "ai_model", "description", "tags")
DRIFTS = ("pal_speedup", "pull_24_23976", "drift_50ppm")
HARDER = ("reverb", "g711_8k", "ac3_51", "eac3_51_mp4", "noise0")  # 2 ms instead of 1
MEDIAN_MS, RATE_PPM, BOUNDARY_S, FRAME_MS, SURE = 0.02, 1.0, 0.1, 1000 / 24, 0.9
REASONS = {  # what may be said of a file that cannot be used
    "silent": ("SILENT",),
    "corrupt": ("UNREADABLE", "NO_AUDIO"),
    "trunc_mp4": ("UNREADABLE", "NO_AUDIO"),
}


@dataclass(frozen=True)
class Pair:
    """One pair: a row of the generator's truth and its item of the published results."""

    truth: dict[str, str]
    item: dict[str, Any]

    @property
    def kind(self) -> str:
        """What was done to the dub."""
        return self.truth["kind"]

    @property
    def found(self) -> dict[str, Any]:
        """The result, empty where there is none."""
        return self.item["result"] or {}

    @property
    def offset_ms(self) -> float | None:
        """How far the offset is off; None where there is none to compare."""
        if self.found.get("offset_seconds") is None or not self.truth["truth_decoded"]:
            return None
        valid = [piece[2] for piece in self.pieces] or [float(self.truth["truth_decoded"])]
        return min(abs(self.found["offset_seconds"] - offset) for offset in valid) * 1000

    @property
    def rate_ppm(self) -> float:
        """How far the rate is off."""
        return abs(self.found["rate"] - float(self.truth["rate"])) * 1e6

    @property
    def pieces(self) -> list[list[float]]:
        """Start, end (in the dub) and offset of the pieces of an edited dub."""
        return json.loads(self.truth["segments"])

    @property
    def boundary_s(self) -> float:
        """The worst boundary between pieces."""
        both = list(zip(self.found["segments"], self.pieces, strict=True))
        starts = [abs(found["dub_start"] - piece[0]) for found, piece in both[1:]]
        return max(starts + [abs(found["dub_end"] - piece[1]) for found, piece in both[:-1]])

    def faults(self) -> Iterator[str]:
        """Every goal that was missed."""
        status, confidence = self.item["status"], self.found.get("confidence") or 0.0
        if self.truth["expect"] == "error":
            code = (self.item["error"] or {}).get("code")
            if status != "failed" or code not in REASONS[self.kind]:
                yield f"is {status} ({code}), not failed with {' or '.join(REASONS[self.kind])}"
            return
        if self.truth["expect"] == "reject":
            if status != "no_match" or confidence >= 0.5:
                yield f"is {status} with confidence {confidence}, but the programmes are unrelated"
            return
        if status != "completed" or self.offset_ms is None:
            yield f"is {status} with confidence {confidence}: {self.item['error']}"
            return
        if self.offset_ms > FRAME_MS and confidence >= SURE:
            yield f"is wrong by {self.offset_ms:.1f} ms with confidence {confidence}"
        limit = 2.0 if self.kind in HARDER else 1.0
        if self.offset_ms > limit:
            yield f"is off by {self.offset_ms:.3f} ms, more than {limit:g} ms"
        if self.rate_ppm > RATE_PPM:
            yield f"has a rate that is off by {self.rate_ppm:.3f} ppm"
        yield from self._faulty_pieces()

    def _faulty_pieces(self) -> Iterator[str]:
        wanted, found = max(len(self.pieces), 1), self.found["segments"]
        if len(found) != wanted:
            yield f"has {len(found)} pieces, not {wanted}"
            return
        for number, (one, piece) in enumerate(zip(found, self.pieces, strict=False), start=1):
            if abs(one["offset_seconds"] - piece[2]) > 0.001:
                yield f"piece {number} is off by {abs(one['offset_seconds'] - piece[2]) * 1000:.3f} ms"
        if self.pieces and self.boundary_s > BOUNDARY_S:
            yield f"has a boundary that is off by {self.boundary_s:.3f} s"


def publish(shared: Path, seed: int, folder: Path) -> list[Pair]:
    """The pairs of a seed, analysed and published through the command line."""
    home = Home(folder)
    media = home.inbox / "media"
    pairs = media / f"pairs_{seed}"
    generator = [sys.executable, shared / "tools" / "make_sync_pairs.py", "--out", pairs, "--seed", str(seed)]
    subprocess.run(generator, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command
    told = (pairs / "cases.csv").rename(folder / "cases.csv")  # in the inbox it would be a batch in the wrong place
    with told.open(encoding="utf-8", newline="") as file:
        truth = list(csv.DictReader(file))
    with (media / f"seed_{seed}.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(truth)
    results = {result["series"]: result for result in home.sheaf("run", "media", "--inbox", str(home.inbox))}
    document = json.loads(home.files(results["results_json"])["results.json"].read_text("utf-8"))
    return [Pair(row, item) for row, item in zip(truth, document["results"], strict=True)]


def judge(seed: int, pairs: list[Pair], seconds: float) -> list[str]:
    """Print the line of a seed; return what was missed."""
    missed = [f"{pair.truth['case_id']} {fault}" for pair in pairs for fault in pair.faults()]
    match = [pair for pair in pairs if pair.truth["expect"] == "match" and pair.offset_ms is not None]
    constant = [pair.offset_ms or 0.0 for pair in match if pair.kind not in DRIFTS and not pair.pieces]
    median = statistics.median(constant)
    if median > MEDIAN_MS:
        missed.append(f"median error of constant offsets {median:.4f} ms, more than {MEDIAN_MS} ms")
    rates = [pair.rate_ppm for pair in match if pair.kind in DRIFTS]
    edits = [pair.boundary_s for pair in match if len(pair.found["segments"]) == len(pair.pieces) > 0]
    print(
        f"seed {seed}: {len(pairs)} pairs, {len(missed)} misses; {len(constant)} constant offsets, median "
        f"{median:.4f} ms, worst {max(constant):.4f} ms; worst rate {max(rates, default=0):.4f} ppm, worst boundary "
        f"{max(edits, default=0):.3f} s; least confidence {min(pair.found['confidence'] for pair in match):.3f}, "
        f"highest of unrelated {max(_strangers(pairs), default=0):.3f}; {seconds:.0f} s",
        flush=True,
    )
    for miss in missed:
        print(f"  MISS {miss}", flush=True)
    return missed


def _strangers(pairs: list[Pair]) -> list[float]:
    return [pair.found.get("confidence", 0.0) for pair in pairs if pair.truth["expect"] == "reject"]


def seeds(text: str) -> list[int]:
    """`0,100-109` as numbers."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def main() -> int:
    """Run all seeds, one after the other; 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shared", type=Path)
    parser.add_argument("--seeds", type=seeds, default=seeds(DEFAULT_SEEDS))
    asked = parser.parse_args()
    missed = 0
    for seed in asked.seeds:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="sheaf-media-") as folder:
            pairs = publish(asked.shared.absolute(), seed, Path(folder))
            missed += len(judge(seed, pairs, time.monotonic() - started))
    print(f"{len(asked.seeds)} seeds, {missed} misses")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
