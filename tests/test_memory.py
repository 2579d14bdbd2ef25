"""Long work does not load what it does not need."""

import subprocess
import sys

_LOOKS_FOR_NONE = """
import sys
from sheaf import memory
memory.lean_arrow()
import pyarrow as pa
table = pa.Table.from_pylist([{"a": 1}, {"a": None}])
assert "pandas" not in sys.modules
frame = table.to_pandas()
assert pa.Table.from_pandas(frame)["a"].null_count == 1
"""


def test_arrow_loads_pandas_only_for_who_wants_a_frame() -> None:
    subprocess.run([sys.executable, "-c", _LOOKS_FOR_NONE], check=True)
