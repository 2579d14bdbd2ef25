"""How exactly, how surely and how cheaply Sheaf finds the offset of a dub.

    .venv/bin/python benchmarks/media.py [--seeds 2] [--unrelated 100] [--long] [--batch 50] [--foreign FOLDER]
        [--peers FOLDER]

Pairs with known truth are synthesised (`media_pairs.py`). Printed are the goals with what was
measured, each kind of pair, CPU time and memory beside bare decoding, with `--foreign` the
recordings of `media_foreign.py`, and with `--peers` the same pairs by audio-offset-finder,
syncstart and audalign, which are installed below that folder. How far the confidence can be
trusted is `media_confidence.py`'s question. `--seeds 0` leaves the synthesised pairs out.
"""

import argparse
import itertools
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import wave
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from media_foreign import Foreign, foreign_pairs
from media_pairs import Case, build, encode
from media_peers import PEERS, ask, install

from sheaf.media.analysis.pair import FRAME, analyse_pair
from sheaf.media.errors import MediaError
from sheaf.media.result import PairResult
from sheaf.media.sample.synthesis import RATE, scene
from sheaf.media.sync.ffmpeg import executable

_DRIFTS = ("pal_speedup", "pull_24_23976", "drift_50ppm")


@dataclass(frozen=True)
class Measured:
    """One pair and what came of it."""

    case: Case
    found: PairResult | None
    error: str | None

    @property
    def error_ms(self) -> float:
        """How far the offset is off; NaN where there is none or none is expected."""
        if self.found is None or self.found.offset_seconds is None or self.case.expect != "match":
            return math.nan
        return abs(self.found.offset_seconds - self.case.offset) * 1000

    @property
    def right(self) -> bool:
        """Whether the answer is what the truth asks for."""
        if self.case.expect == "error":
            return self.error is not None
        if self.case.expect == "reject":
            return (
                self.error is None and math.isnan(self.error_ms) and self.found is not None and not self.found.segments
            )
        return self.error_ms <= self.case.tolerance_ms and len(self.found.segments if self.found else ()) == max(
            len(self.case.segments), 1
        )

    @property
    def boundary_s(self) -> float:
        """The worst boundary of an edited dub; NaN when the pieces are not those of the truth."""
        segments = self.found.segments if self.found else []
        if len(segments) != len(self.case.segments):
            return math.nan
        ends = zip(segments, self.case.segments, strict=True)
        return max(max(abs(s.dub_start - t[0]), abs(s.dub_end - t[1])) for s, t in ends)


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="sets of pairs")
    parser.add_argument("--unrelated", type=int, default=100, help="pairs of different programmes")
    parser.add_argument("--long", action="store_true", help="also 25 minutes and 2 hours")
    parser.add_argument("--batch", type=int, default=0, help="pairs that one worker analyses one after another")
    parser.add_argument(
        "--foreign", type=Path, help="also the recordings of media_foreign.py, unpacked below this folder"
    )
    parser.add_argument("--peers", type=Path, help="also the other tools, installed below this folder")
    asked = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory(prefix="sheaf-bench-") as name:
        folder = Path(name)
        accuracy = [measure(case) for seed in range(asked.seeds) for case in build(folder, 100 + seed)]
        strangers = list(measure_unrelated(folder, asked.unrelated))
        if accuracy:
            print_goals(accuracy, strangers)
            print_kinds(accuracy)
        if accuracy or asked.long:
            print_costs(folder, long=asked.long)
        if asked.batch:
            print_batch(folder, asked.batch)
        peers = asked.peers and asked.peers.absolute()
        if asked.peers and accuracy:
            print_peers(accuracy, peers)
        if asked.foreign:
            pairs = foreign_pairs(Foreign(asked.foreign), folder, 1)
            print_foreign([measure(case) for case in pairs], peers)


def measure(case: Case) -> Measured:
    """Analyse one pair."""
    found, error = None, None
    try:
        found = analyse_pair(case.master, case.dub)
    except MediaError as raised:
        error = raised.code
    return Measured(case, found, error)


def measure_unrelated(folder: Path, count: int) -> Iterator[Measured]:
    """Different programmes by the same voices and instruments, each against each."""
    programmes = []
    for number in range(math.ceil((1 + math.sqrt(1 + 4 * count)) / 2)):
        programmes.append(folder / f"stranger_{number}.wav")
        encode(programmes[-1], scene(30, 200, number).mix)
    for one, other in itertools.islice(itertools.permutations(programmes, 2), count):
        yield measure(Case("stranger", one, other, expect="reject"))


def print_goals(accuracy: Sequence[Measured], strangers: Sequence[Measured]) -> None:
    """The goals, one line each."""
    match = [one for one in accuracy if one.case.expect == "match"]
    constant = [one for one in match if one.case.kind not in _DRIFTS and not one.case.segments]
    errors = [one.error_ms for one in match if not math.isnan(one.error_ms)]
    drifts = [one for one in match if one.case.kind in _DRIFTS and one.found and one.found.rate]
    ppm = [abs((one.found.rate or 0) - one.case.rate) * 1e6 for one in drifts if one.found]
    edits = [one for one in match if one.case.segments]
    wrong = [one for one in match if one.error_ms > FRAME * 1000 and one.found and one.found.confidence >= 0.9]
    bad = [one for one in accuracy if one.case.expect == "error"]
    false = [one for one in [*strangers, *accuracy] if one.case.expect == "reject" and not one.right]
    rejects = len(strangers) + sum(one.case.expect == "reject" for one in accuracy)
    lines = [
        ("constant offsets within tolerance", f"{_share(constant)}", "100 %"),
        ("median error of all offsets (ms)", f"{np.median(errors):.4f}", "<= 0.02"),
        ("speed changes and drift, worst rate error (ppm)", f"{max(ppm, default=math.nan):.3f}", "<= 1"),
        ("speed changes and drift, offset within 1 ms", f"{_share(drifts)}", "100 %"),
        ("edited dubs with every offset right", f"{_share(edits)}", "100 %"),
        ("worst boundary of an edit (s)", f"{max((one.boundary_s for one in edits), default=math.nan):.3f}", "<= 0.1"),
        ("unrelated pairs accepted", f"{len(false)} of {rejects}", "0"),
        ("wrong by a frame with confidence >= 0.9", str(len(wrong)), "0"),
        ("unreadable or silent files with a typed error", f"{_share(bad)}", "100 %"),
    ]
    print(f"\n{'goal':<52}{'measured':>14}   wanted")
    for what, measured, wanted in lines:
        print(f"{what:<52}{measured:>14}   {wanted}")


def _share(measured: Sequence[Measured]) -> str:
    return f"{sum(one.right for one in measured)}/{len(measured)}"


def print_kinds(accuracy: Sequence[Measured]) -> None:
    """Each kind: how many right, the worst error, the least confidence."""
    by_kind: dict[str, list[Measured]] = defaultdict(list)
    for one in accuracy:
        by_kind[one.case.kind].append(one)
    print(f"\n{'kind':<18}{'right':>7}{'worst ms':>12}{'confidence':>12}")
    for kind, group in by_kind.items():
        errors = [one.error_ms for one in group if not math.isnan(one.error_ms)]
        sure = [one.found.confidence for one in group if one.found]
        worst = f"{max(errors):.4f}" if errors else group[0].error or "no match"
        print(
            f"{kind:<18}{_share(group):>7}{worst:>10}{min(sure):>12.3f}"
            if sure
            else f"{kind:<18}{_share(group):>7}{worst:>13}"
        )


def print_costs(folder: Path, *, long: bool) -> None:
    """CPU time with imports, and peak memory, beside decoding both files with ffmpeg alone."""
    print(f"\n{'pair':<14}{'CPU s':>8}{'decode s':>10}{'ratio':>7}{'peak MB':>9}{'wall s':>8}")
    lengths = [("60 s", 60)] + ([("25 min", 1500), ("2 h", 7200)] if long else [])
    for name, seconds in lengths:
        master, dub = long_pair(folder, seconds)
        bare = sum(_cpu([executable(), *_BARE, "-i", str(path), *_TO_NOTHING]) for path in (master, dub))
        started = time.monotonic()
        cpu = _cpu([sys.executable, "-c", _CHILD, str(master), str(dub)], peak := [])
        wall = time.monotonic() - started
        print(f"{name:<14}{cpu:>8.2f}{bare:>10.2f}{cpu / bare:>7.1f}{peak[0]:>9.0f}{wall:>8.1f}")
        master.unlink()
        dub.unlink()


_BARE = ("-v", "error", "-nostdin", "-threads", "1")
_TO_NOTHING = ("-vn", "-ac", "1", "-ar", "16000", "-f", "s16le", "-y", "/dev/null")
_ALONE = """
import sys
from contextlib import suppress
from pathlib import Path
from sheaf.media.analysis.pair import analyse_pair
from sheaf.media.errors import MediaError
with suppress(MediaError):
    analyse_pair(Path(sys.argv[1]), Path(sys.argv[2]))
"""
_CHILD = """
import sys
from pathlib import Path
from sheaf.media.analysis.pair import analyse_pair
found = analyse_pair(Path(sys.argv[1]), Path(sys.argv[2]))
assert found.offset_seconds is not None and abs(found.offset_seconds + 15.023) < 0.001, found.offset_seconds
status = Path("/proc/self/status").read_text()  # ru_maxrss would still hold the peak of the parent
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def _cpu(command: list[str], peak: list[float] | None = None) -> float:
    """CPU seconds of a program and all it starts; its own peak memory (MB) where it prints it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if peak is not None:
        peak.append(float(ran.stdout))
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def long_pair(folder: Path, seconds: int) -> tuple[Path, Path]:
    """A programme of any length and its dub, 15.023 s late, both in AAC; made in pieces of a minute."""
    names = [folder / f"{which}_{seconds}.wav" for which in ("master", "dub")]
    with wave.open(str(names[0]), "wb") as master, wave.open(str(names[1]), "wb") as dub:
        for file in (master, dub):
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
        dub.writeframes(bytes(2 * round(15.023 * RATE)))
        for minute in range(seconds // 60):
            samples = (np.clip(scene(60, 400, minute).mix, -1, 1) * 32767).astype("<i2").tobytes()
            master.writeframes(samples)
            dub.writeframes(samples)
    coded = [name.with_suffix(".m4a") for name in names]
    for name, target in zip(names, coded, strict=True):
        subprocess.run(
            [executable(), *_BARE, "-y", "-i", str(name), "-c:a", "aac", "-b:a", "128k", str(target)], check=True
        )
        name.unlink()
    return coded[0], coded[1]


def print_batch(folder: Path, count: int) -> None:
    """CPU seconds of one pair of a batch, beside decoding both its files: one worker, its imports shared out."""
    master, dub = long_pair(folder, 60)
    bare = sum(_cpu([executable(), *_BARE, "-i", str(path), *_TO_NOTHING]) for path in (master, dub) for _ in range(5))
    each, alone = _cpu([sys.executable, "-c", _WORKER, str(master), str(dub), str(count)]) / count, bare / 5
    print(f"\na pair of a batch of {count}, 60 s: {each:.3f} CPU s, decoding {alone:.3f}: {each / alone:.2f} times")


_WORKER = """
import sys
from pathlib import Path
from sheaf.media.analysis.item import Job, Worker, run_item
from sheaf.media.readers.content import identify
from sheaf.media.result import PairOptions
master, dub = (identify(Path(path).resolve(), {}) for path in sys.argv[1:3])
job = Job(master=master, dub=dub, master_file="master", dub_file="dub", options=PairOptions(listen=True))
worker = Worker()
for number in range(int(sys.argv[3])):
    found = run_item(f"item_{number}", job, lambda: False, worker)
    assert found.result and abs(found.result.offset_seconds + 15.023) < 0.001, found
worker.end()
"""


def print_peers(accuracy: Sequence[Measured], folder: Path) -> None:
    """What the other tools make of the same pairs; for edits and drift any offset that is valid somewhere counts."""
    print(f"\n{'tool':<22}{'<= 1 ms':>9}{'<= 10 ms':>10}{'<= 1 frame':>12}{'false accepts':>15}{'CPU s/pair':>12}")
    for name, answers, cost in asked_all(accuracy, folder):
        match = [_nearest(case, offset) for case, offset in answers if case.expect == "match"]
        false = sum(offset is not None for case, offset in answers if case.expect != "match")
        shares = [f"{sum(error <= limit for error in match)}/{len(match)}" for limit in (0.001, 0.01, FRAME)]
        print(f"{name:<22}{shares[0]:>9}{shares[1]:>10}{shares[2]:>12}{false:>15}{cost:>12.1f}")


def print_foreign(accuracy: Sequence[Measured], folder: Path | None) -> None:
    """Recordings that Sheaf did not make, by what was done to the dub: right to a frame, or accepted."""
    sure = [(one.found.confidence if one.found else 0.0, one.error_ms <= FRAME * 1000) for one in accuracy]
    told = [value for value, one in zip(sure, accuracy, strict=True) if one.case.expect != "ambiguous"]
    print(f"\nforeign pairs: Brier score {np.mean([(value - right) ** 2 for value, right in told]):.4f}")
    table: dict[str, list[str]] = {}
    heads = []
    for name, answers, cost in asked_all(accuracy, folder):
        heads.append(f"{name} ({cost:.1f} CPU s)")
        rows: dict[str, list[bool]] = defaultdict(list)
        for case, offset in answers:
            family, kind = case.kind.split("/")
            if case.expect == "match":
                rows[kind].append(offset is not None and abs(offset - case.offset) <= FRAME)
            else:
                rows[f"{family}, accepted"].append(offset is not None)
        for row, right in rows.items():
            table.setdefault(row, []).append(f"{sum(right)} of {len(right)}")
    print(f"{'':<22}" + "".join(f"{head:>34}" for head in heads))
    for row, cells in table.items():
        print(f"{row:<22}" + "".join(f"{cell:>34}" for cell in cells))


_Answers = list[tuple[Case, float | None]]


def asked_all(accuracy: Sequence[Measured], folder: Path | None) -> Iterator[tuple[str, _Answers, float]]:
    """Sheaf and the other tools: what each answers, and CPU seconds for a pair, each in a process with its imports."""
    alone = [[sys.executable, "-c", _ALONE, str(one.case.master), str(one.case.dub)] for one in accuracy]
    answers: _Answers = [(one.case, one.found.offset_seconds if one.found else None) for one in accuracy]
    yield "sheaf", answers, sum(_cpu(command) for command in alone) / len(accuracy)
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for peer in PEERS:
        python = install(peer, folder)
        if python is None:
            print(f"{peer.name} cannot be installed here")
            continue
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        answers = [(one.case, ask(peer, python, one.case.master, one.case.dub, folder)) for one in accuracy]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        yield peer.name, answers, spent / len(accuracy)


def _nearest(case: Case, offset: float | None) -> float:
    """Distance to the nearest offset that holds somewhere in the dub, s."""
    if offset is None:
        return math.inf
    valid = [piece[2] for piece in case.segments] or [case.offset]
    if case.rate != 1:
        return 0.0 if abs(offset - case.offset) < abs(case.rate - 1) * 600 else abs(offset - case.offset)
    return min(abs(offset - one) for one in valid)


if __name__ == "__main__":
    main()
