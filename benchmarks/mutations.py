"""Ten thousand damaged inputs: each is read, or refused in a sentence, in time and in little memory.

    python benchmarks/mutations.py [--inputs 10000] [--only DOMAIN ...] [--seed 1]

Small deliveries of every domain, requests and configurations are damaged a few times each, as disks, editors and
people do it, and read as a run reads them. What is made has an account that adds up, and checks itself whole;
what is not is refused, or a sentence. A traceback, a row that went missing, more than 20 CPU s or 400 MB is
broken, and printed with what brings it about.
"""

import argparse
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from rich.console import Console
from rich.table import Table as Printed

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import children
from lab import configured as settings_of
from two_deliveries import WRITERS, settings

from resources.sources import configured_sources
from sheaf.domains import DOMAINS
from sheaf.errors import SheafError
from sheaf.exports.spec import load_spec
from sheaf.running import How, run_step
from sheaf.store.store import Store
from sheaf.tables import generations

children.preload("mutations")

MOST_S, MOST_MB = 20.0, 400.0
REQUESTS, CONFIGURATION = "requests", "configuration"
REQUEST = (
    b"domain: fermentation\npartition: b4\nseries: samples_csv\nfilter: {min_hours: 4, columns: [a, b]}\n"
    b"options: {include: all}\nname: late samples\nrequested_by: ada\n"
)
SETTINGS = (
    b"timezone: Europe/Oslo\nnightly: '0 2 * * *'\nquiet_seconds: 30\nfermentation: {vessel_volume_l: 0.9}\n"
    b"media: {roots: [/data/films]}\noccurrences:\n"
    b"  sources: [{kind: api, url: 'http://host:8000/api', projects: [p1]}]\n"
)
ODD = (
    *(
        b"\0",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xff",
        b"\r",
        b"\n\n",
        b"\t",
        b'"',
        b"'",
        b"\\",
        b",",
        b";",
        b"{",
        b"[",
        b"}",
    ),
    *(
        b"NaN",
        b"Infinity",
        b"-1e999",
        b"1" * 400,
        b"null",
        b"true",
        b"2026-02-30T25:61:00Z",
        b"20260-01-01",
        b"0001-01-01",
    ),
    *(b"[" * 3000, b'{"a":' * 500, b"&a [*a, *a]", b"!!python/object:os.system", b"../../etc/passwd", b"x" * 70_000),
    *("é".encode("latin-1"), "e\u0301".encode(), "\u202e".encode(), b"%s%n", b"=cmd()", b"' OR 1=1 --"),
)


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The bytes of a file after one to four accidents."""
    for _ in range(chance.randint(1, 4)):
        where, length = chance.randrange(len(data) + 1), chance.choice((1, 2, 8, 64, 1000))
        match chance.randrange(9):
            case 0:
                data = data[:where]
            case 1:
                data = data[:where] + data[where + length :]
            case 2:
                data = data[:where] + chance.choice(ODD) + data[where:]
            case 3:
                data = data[:where] + chance.randbytes(length) + data[where + length :]
            case 4:
                data = data[:where] + data[where : where + length] * chance.choice((2, 3, 50)) + data[where + length :]
            case 5:
                lines = data.splitlines(keepends=True)
                chance.shuffle(lines)
                data = b"".join(lines)
            case 6:
                lines = data.splitlines(keepends=True)
                data = b"".join(line for line in lines if chance.random() > 0.2)
            case 7:
                data = data.replace(b",", chance.choice((b";", b"\t", b",,", b", ")))
            case _:
                digits = chance.choice((b"0", b"-", b"9" * 30, b"1e400", b""))
                data = data[:where] + digits + data[where + 1 :]
    return data


@dataclass
class Found:
    """What came of some inputs of one kind."""

    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    peak_mb: float = 0.0


def read(kind: str, inbox: Path, home: Path) -> str:
    """Read a damaged input as a run does; one word for what came of it.

    Raises:
        AssertionError: it was read, but not accounted for.
    """
    if kind == REQUESTS:
        load_spec(inbox / "request.yaml")
        return "made"
    if kind == CONFIGURATION:
        settings_of({"SHEAF_HOME": str(home), "SHEAF_CONFIG": str(inbox / "sheaf.yaml")})
        return "made"
    domain, configured = DOMAINS[kind], settings(inbox, str(home / "store"))
    sources, store = configured_sources(configured), Store.open(str(home / "store"))
    (source, *_) = sources.of(kind)
    offered = source.offers().partitions
    if not offered:
        return "nothing offered"
    made = run_step(
        store, domain, domain.reading, offered[0], configured.of(kind), sources, How(accept_loss=True)
    ).generation
    if made.refused is not None:
        return "refused"
    assert all(of.adds_up for of in made.account), f"an account does not add up: {made.account}"
    for name, file in made.tables.items():
        assert store.sha256(file.path) == file.sha256, f"{name} is not what was committed"
    assert generations.current(store, domain.place(domain.reading, offered[0])) == made
    return "made"


def work(report: Connection, kind: str, whole: Path, seed: int, inputs: int) -> None:
    """Damage and read one input after another, and say what came of each."""
    chance = random.Random(seed)
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    for _ in range(inputs):
        with tempfile.TemporaryDirectory() as folder:
            home, inbox = Path(folder), Path(folder) / "inbox"
            shutil.copytree(whole, inbox)
            of_texts = [name for name in files if name.suffix not in (".wav", ".png", ".jpg")]
            hit = chance.sample(of_texts, k=min(len(of_texts), chance.choice((1, 1, 2))))
            for name in hit:
                (inbox / name).write_bytes(damaged((inbox / name).read_bytes(), chance))
            began, broken = time.process_time(), ""  # of a processor: the clock tells what else the machine does
            try:
                what = read(kind, inbox, home)
            except SheafError:
                what = "a sentence"
            except BaseException as error:  # whatever it is, nobody may see it
                what, broken = "broken", f"{', '.join(map(str, hit))}: {type(error).__name__}: {error}"[:300]
            seconds = time.process_time() - began
            if seconds > MOST_S:
                what, broken = "broken", f"{', '.join(map(str, hit))}: {seconds:.0f} s"
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        report.send((what, broken, seconds, peak))
    report.close()


def hear(kind: str, whole: Path, inputs: int, seed: int, at_once: int = 100) -> Found:
    """Have children read so many inputs; a child that dies counts as broken, the others go on."""
    found = Found()
    for number in range(0, inputs, at_once):
        reports, report = children.CONTEXT.Pipe(duplex=False)
        child = children.start(work, report, kind, whole, seed * 1_000_003 + number, min(at_once, inputs - number))
        report.close()
        heard, peak = 0, 0.0
        while True:
            try:
                if not reports.poll(MOST_S * 10):
                    child.kill()
                    break
                what, broken, seconds, peak = reports.recv()
            except EOFError:
                break
            heard += 1
            found.counts[what] += 1
            found.broken += [f"seed {seed}, from {number}: {broken}"] if broken else []
            found.slowest_s = max(found.slowest_s, seconds)
        found.peak_mb = max(found.peak_mb, peak)
        child.join()
        if heard < min(at_once, inputs - number):
            found.counts["broken"] += 1
            found.broken.append(f"seed {seed}, from {number}: the process ended after {heard} inputs")
    if found.peak_mb > MOST_MB:
        found.counts["broken"] += 1
        found.broken.append(f"{found.peak_mb:.0f} MB")
    return found


def writers() -> dict[str, Callable[[Path], object]]:
    """What writes a whole input of each kind below a folder."""
    return {name: lambda folder, write=write: write(folder, True) for name, write in WRITERS.items()} | {
        REQUESTS: lambda folder: (folder / "request.yaml").write_bytes(REQUEST),
        CONFIGURATION: lambda folder: (folder / "sheaf.yaml").write_bytes(SETTINGS),
    }


def main() -> int:
    """Print the table; 1 where anything is broken."""
    kinds = writers()
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--inputs", type=int, default=10_000, help="of all kinds together")
    parser.add_argument("--only", nargs="*", choices=kinds, default=list(kinds))
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    columns = ("made", "refused", "a sentence", "nothing offered", "broken")
    printed = Printed(title=f"Damaged inputs, seed {asked.seed}")
    for name in ("what", "inputs", *columns, "slowest, CPU s", "peak MB"):
        printed.add_column(name, justify="left" if name == "what" else "right")
    broken: list[str] = []
    for kind in asked.only:
        with tempfile.TemporaryDirectory() as folder:
            kinds[kind](Path(folder))
            found = hear(kind, Path(folder), asked.inputs // len(asked.only), asked.seed)
        counts = (str(found.counts[name]) for name in columns)
        printed.add_row(kind, str(found.counts.total()), *counts, f"{found.slowest_s:.1f}", f"{found.peak_mb:.0f}")
        broken += [f"{kind}: {line}" for line in found.broken]
        print(f"{kind}: {dict(found.counts)}", file=sys.stderr)  # the whole takes hours
    Console(width=140).print(printed)
    for line in broken[:50]:
        print(line)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
