"""Sensor points from InfluxDB into a Parquet file, as a stream: memory stays that of one block.

2.x is asked in Flux through `influxdb-client`, 1.x and 3.x in InfluxQL over `/query`; both answer
with CSV. A bucket or database that does not exist is an error: InfluxQL itself answers with an
empty CSV then, so that points are counted first, as JSON. Not here: which points belong to a batch
(`vessel_window`), what a good point is (`sensor_points`).
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sheaf.errors import SourceError
from sheaf.fermentation import influx_queries as queries
from sheaf.fermentation.influx_csv import POINTS, read_points
from sheaf.fermentation.influx_queries import Selection
from sheaf.fermentation.source_settings import InfluxSettings
from sheaf.outside import secret

if TYPE_CHECKING:
    import httpx

_PASSING = (429, 502, 503, 504)
_TIMEOUT_S = 120
_ATTEMPTS = 3


class InfluxSensors:
    """The sensor series of a laboratory.

    Attributes:
        settings: where they are, and how they are named.
    """

    def __init__(self, settings: InfluxSettings) -> None:
        self.settings = settings

    def fetch(self, chosen: Selection, target: Path) -> int:
        """Write points to a Parquet file with the columns `time`, `sensor`, `value`, in the source's order.

        Args:
            chosen: what to read, by the sensors' clock; the times written are by the records' clock.
            target: replaced when an attempt begins anew.

        Returns:
            How many points were written.

        Raises:
            SourceError: the database cannot be asked, has no such bucket, or broke off.
        """
        # An InfluxQL answer in CSV cannot tell that it broke off; a Flux answer does.
        expected = 0 if self.settings.kind == "influx2" else self.count(chosen)
        written = _patiently(lambda: self._write(chosen, target))
        if written < expected:
            raise SourceError(
                f"{self.settings.url} counts {expected} points but gave {written}: the answer broke off; try again."
            )
        return written

    def count(self, chosen: Selection) -> int:
        """How many points there are; a point with several of the fields may count once or more."""
        if self.settings.kind == "influx2":
            query = queries.flux_count(self.settings, chosen)
            with self._flux(query) as answer:
                lines = b"".join(answer).decode().split()
            return int(float(lines[1].rsplit(",", 1)[1])) if len(lines) > 1 else 0
        body = self._json(queries.influxql_count(self.settings, chosen))
        rows = [row for entry in body["results"] for series in entry.get("series", ()) for row in series["values"]]
        return sum(max(int(number or 0) for number in row[1:]) for row in rows)

    def check(self) -> str:
        """Ask for next to nothing; names what is missing."""
        if self.settings.kind == "influx2":
            with self._flux(queries.flux_probe(self.settings)) as answer:
                b"".join(answer)
        else:
            self._json(queries.influxql_probe(self.settings))
        return f"{self.settings.bucket} at {self.settings.url}"

    def _write(self, chosen: Selection, target: Path) -> int:
        import pyarrow.parquet as pq

        rows = 0
        with self._answer(chosen) as answer, pq.ParquetWriter(target, POINTS, compression="zstd") as writer:
            for batch in read_points(answer, self.settings):
                writer.write_batch(_by_the_records_clock(batch, self.settings.clock_ahead_s))
                rows += batch.num_rows
        return rows

    @contextmanager
    def _answer(self, chosen: Selection) -> Iterator[Iterable[bytes]]:
        if self.settings.kind == "influx2":
            with self._flux(queries.flux_points(self.settings, chosen)) as answer:
                yield answer
            return
        query = queries.influxql_points(self.settings, chosen)
        with self._influxql(query, "application/csv", {"epoch": "ns", "chunked": "true"}) as answer:
            yield answer.iter_bytes()

    @contextmanager
    def _flux(self, query: str) -> Iterator[Iterable[bytes]]:
        """A Flux query by the vendor's client, its answer unparsed."""
        from influxdb_client.client.influxdb_client import InfluxDBClient
        from influxdb_client.domain.dialect import Dialect
        from influxdb_client.rest import ApiException
        from urllib3.exceptions import HTTPError

        url, timeout = self.settings.url, _TIMEOUT_S * 1000
        dialect = Dialect(header=True, annotations=[], delimiter=",", date_time_format="RFC3339")
        try:
            with InfluxDBClient(
                url, secret(self.settings.token_env, "token of InfluxDB"), org=self.settings.org, timeout=timeout
            ) as client:
                answer = client.query_api().query_raw(query, dialect=dialect)
                try:
                    yield answer.stream(1 << 16, decode_content=True)
                finally:
                    answer.release_conn()
        except ApiException as error:
            said = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
            raise self._refused(error.status, str(said or error.reason)) from error
        except HTTPError as error:
            raise _PassingError(f"{url} cannot be read: {error}") from error

    def _json(self, query: str) -> dict[str, Any]:
        """An InfluxQL query whose errors are told; in CSV they are not."""

        def ask() -> dict[str, Any]:
            with self._influxql(query, "application/json", {}) as answer:
                answer.read()
                try:
                    return answer.json()
                except ValueError as error:
                    raise SourceError(f"{self.settings.url} did not answer with JSON: is it InfluxDB?") from error

        body = _patiently(ask)
        for entry in (body, *body.get("results", ())):
            if "error" in entry:
                raise SourceError(f"{self.settings.url} cannot be read: {entry['error']}.")
        return body

    @contextmanager
    def _influxql(self, query: str, accept: str, how: dict[str, str]) -> Iterator["httpx.Response"]:
        import httpx

        headers, login = {"Accept": accept, "Accept-Encoding": "identity"}, None
        if self.settings.kind == "influx3":
            headers["Authorization"] = f"Bearer {secret(self.settings.token_env, 'token of InfluxDB')}"
        elif user := os.environ.get(self.settings.user_env):
            login = (user, secret(self.settings.password_env, "password of InfluxDB"))
        values = {"db": self.settings.bucket, "q": query, **how}
        try:
            with (
                httpx.Client(timeout=_TIMEOUT_S, auth=login) as client,
                client.stream("POST", f"{self.settings.url}/query", data=values, headers=headers) as answer,
            ):
                if answer.status_code != 200:
                    raise self._refused(answer.status_code, answer.read().decode(errors="replace"))
                yield answer
        except httpx.TransportError as error:
            raise _PassingError(f"{self.settings.url} cannot be read: {error or type(error).__name__}") from error

    def _refused(self, status: int | None, said: str) -> SourceError:
        if status in (401, 403):
            variable = self.settings.user_env if self.settings.kind == "influx1" else self.settings.token_env
            return SourceError(f"{self.settings.url} refuses the login ({status}): check {variable}.")
        kind = _PassingError if status in _PASSING else SourceError
        return kind(
            f"{self.settings.url} answered {status} to a query of {self.settings.bucket!r}: {said.strip()[:200]}"
        )


class _PassingError(SourceError):
    """A failure that may pass by itself."""


def _patiently(ask: Any) -> Any:
    """Do it again when what went wrong may pass by itself."""
    import stamina

    for attempt in stamina.retry_context(on=_PassingError, attempts=_ATTEMPTS, wait_initial=0.5, wait_max=5):
        with attempt:
            return ask()
    raise AssertionError("unreachable")


def _by_the_records_clock(batch: pa.RecordBatch, ahead_s: float) -> pa.RecordBatch:
    if not ahead_s:
        return batch
    import pyarrow.compute as pc

    shift = pa.scalar(timedelta(seconds=ahead_s), pa.duration("us"))
    return batch.set_column(0, POINTS.field("time"), pc.call_function("subtract", [batch.column("time"), shift]))
