"""What InfluxDB's own client writes as line protocol is read back, whatever its names and values hold."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from influxdb_client.client.write.point import Point

from sheaf.fermentation.readers.line_protocol import read_line_protocol
from sheaf.fermentation.readers.series import series_text

NAMES = st.text(st.sampled_from('aZ7µ ,="._-'), min_size=1, max_size=8)
VALUES = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**63), 2**63 - 1)
    | st.booleans()
    | st.text(st.sampled_from('a1 ,="\\'), max_size=8)
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PRECISIONS = {"ns": 10**9, "us": 10**6, "ms": 1000, "s": 1}
POINTS = st.lists(
    st.tuples(
        NAMES,
        st.dictionaries(NAMES, NAMES, max_size=3),
        st.dictionaries(NAMES, VALUES, min_size=1, max_size=3) | st.fixed_dictionaries({"value": VALUES}),
        st.integers(-(10**9), 4 * 10**9),
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("points") / "sensors.lp"


@settings(max_examples=12, deadline=None)
@given(points=POINTS, precision=st.sampled_from(list(PRECISIONS)))
def test_what_the_client_writes_is_read_back(path, points, precision):
    lines, wanted = [], []
    for number, (measurement, tags, fields, seconds) in enumerate(points, start=1):
        point = Point.from_dict({"measurement": measurement, "tags": tags, "fields": fields})
        lines.append(point.time(seconds * PRECISIONS[precision], precision).to_line_protocol(precision=precision))
        time = EPOCH + timedelta(seconds=seconds)
        wanted += [
            (number, measurement if name == "value" else name, series_text(tags), time, value)
            for name, value in sorted(fields.items())
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [row for batch in read_line_protocol(path, precision, frozenset()) for row in batch.to_pylist()]
    assert {row["problem"] for row in rows} == {None}
    found = [(row["line"], row["sensor"], row["series"], row["time"], row["value_text"]) for row in rows]
    assert [row[:-1] for row in found] == [row[:-1] for row in wanted]
    for (*_, text), (*_, value) in zip(found, wanted, strict=True):
        if isinstance(value, str):
            assert text == '""'
        elif isinstance(value, bool):
            assert text == str(value).lower()
        else:
            assert type(value)(text) == value
