"""What loading the code location costs on top of Dagster, which every run of a daemon pays again.

Usage: python benchmarks/location.py [RUNS]

Measured in fresh processes, beside `import dagster` alone. CPU seconds, because wall time on a shared
machine says little; the median counts. What a run costs is the question of `nothing_new.py`.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

LIMIT_S = 2.0
PROGRAMS = {
    "import dagster": "import dagster",
    "the code location": (
        "from pipelines.definitions import build_definitions; from sheaf.settings import Settings; "
        "build_definitions(Settings.load()).get_repository_def()"
    ),
}


def cpu_of_process(program: str, home: Path) -> float:
    """CPU seconds of a fresh Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "SHEAF_HOME": str(home)})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(runs: int) -> int:
    """Print the table; 1 when loading takes more than its limit."""
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        rounds = [{name: cpu_of_process(program, home) for name, program in PROGRAMS.items()} for _ in range(runs)]
    loaded = {name: statistics.median(found[name] for found in rounds) for name in PROGRAMS}
    floor, location = loaded.values()
    print(f"{f'median of {runs} runs':20} {'CPU s':>6} {'of it':>6} {'limit':>6}")
    print(f"{'import dagster':20} {floor:6.2f}")
    print(f"{'the code location':20} {location:6.2f} {location / floor:5.2f}x {LIMIT_S:6.2f}")
    return int(location > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
