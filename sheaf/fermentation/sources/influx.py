"""Sensor points from InfluxDB into a Parquet file, as a stream: memory stays that of one block.

2.x is asked in Flux through `influxdb-client`, 1.x and 3.x in InfluxQL over `/query`; both answer
with CSV. A bucket or database that does not exist is an error: InfluxQL itself answers with an
empty CSV then, so that points are counted first, as JSON. Not here: which points belong to a batch
(`vessel_window`), what a good point is (`sensor_points`).
"""

import json
import os
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from sheaf.errors import SourceError
from sheaf.fermentation.readers.series import FoundSeries, listed, series_text
from sheaf.fermentation.source_settings import InfluxSettings
from sheaf.fermentation.sources import influx_queries as queries
from sheaf.fermentation.sources.influx_csv import OF_AN_ANSWER, POINTS, read_points, rows_of
from sheaf.fermentation.sources.influx_queries import Selection
from sheaf.outside.addresses import hidden, secret
from sheaf.outside.http import PASSING, Incoming, Limits, PassingError, Service, no_more_than, patiently, retry_after
from sheaf.tables.parquet import write_parquet

_LIMITS = Limits(read_s=120, total_s=3600, most_bytes=16 << 30, attempts=3)
"""The points of a long run are many, and a database that has to look for them is silent for a while."""


class InfluxSensors:
    """The sensor series of a laboratory.

    Attributes:
        settings: where they are, and how they are named.
    """

    def __init__(self, settings: InfluxSettings) -> None:
        self.settings = settings

    def fetch(self, chosen: Selection, target: Path, counted: int | None = None) -> int:
        """Write points to a Parquet file with the columns `time`, `sensor`, `value`, in the source's order.

        Args:
            chosen: what to read, by the sensors' clock; the times written are by the records' clock.
            target: replaced when an attempt begins anew.
            counted: how many points there are, where that was asked already.

        Returns:
            How many points were written.

        Raises:
            SourceError: the database cannot be asked, has no such bucket, or broke off.
        """
        # An InfluxQL answer in CSV cannot tell that it broke off; a Flux answer does.
        expected = 0 if self.settings.kind == "influx2" else (self.count(chosen) if counted is None else counted)
        written = patiently(lambda: self._write(chosen, target), _LIMITS)
        if written < expected:
            raise SourceError(
                f"{self.settings.url} counts {expected} points but gave {written}: the answer broke off; try again."
            )
        return written

    def count(self, chosen: Selection) -> int:
        """How many points there are; a point with several of the fields may count once or more."""
        return sum(one.points for one in self.series(chosen))

    def series(self, chosen: Selection) -> list[FoundSeries]:
        """The series that have points, by the sensor's name as it is in the database and its tags beside the vessel.

        Raises:
            SourceError: the database cannot be asked, or has no such bucket.
        """
        if self.settings.kind == "influx2":
            with self._flux(queries.flux_count(self.settings, chosen)) as answer:
                text = b"".join(answer).decode()
            found = [
                self._series(row.get("_measurement", ""), row.get("_field", ""), row, int(row["_value"] or 0))
                for row in rows_of(text)
            ]
            return [one for one in found if one.points]
        body = self._json(queries.influxql_count(self.settings, chosen))
        found = []
        for entry in (each for result in body["results"] for each in result.get("series", ())):
            for _, *counts in entry["values"]:
                if queries.by_field(self.settings):
                    fields = zip(chosen.sensors, counts, strict=True)
                else:
                    fields = [("", max(int(count or 0) for count in counts))]
                found += [self._series(entry["name"], field, entry["tags"], int(count or 0)) for field, count in fields]
        return [one for one in found if one.points]

    def _series(self, measurement: str, field: str, tags: Mapping[str, str], points: int) -> FoundSeries:
        own = self.settings
        left = {key: value for key, value in tags.items() if value and key not in {own.vessel_tag, *OF_AN_ANSWER}}
        sensor = field if queries.by_field(own) else measurement
        if own.measurement and own.sensor_tag:
            before, _, sensor = tags.get(own.sensor_tag, "").rpartition("/")
            left = left | {own.sensor_tag: before}  # the same sensor may come under two topics
        return FoundSeries(sensor, series_text(left), points, left)

    def texts(self, chosen: Selection) -> list[str]:
        """The sensors whose values the database holds as text, of which InfluxQL says nothing beside numbers."""
        if self.settings.kind == "influx2":
            return []  # Flux gives text as well
        found = self._types(chosen.sensors)
        if queries.by_field(self.settings):
            of_fields = found.get(self.settings.measurement or "", {})
            return sorted(name for name in chosen.sensors if of_fields.get(name) == {"string"})
        fields = self.settings.fields

        def kinds(name: str) -> set[str]:
            return {kind for field in fields for kind in found[name].get(field, ())}

        return sorted(name for name in found if kinds(name) == {"string"})

    def _types(self, sensors: Sequence[str] | None) -> dict[str, dict[str, set[str]]]:
        """Of each measurement the fields, with their types."""
        found: dict[str, dict[str, set[str]]] = {}
        for result in self._json(queries.influxql_types(self.settings, sensors))["results"]:
            for entry in result.get("series", ()):
                for field, kind in entry["values"]:
                    found.setdefault(entry["name"], {}).setdefault(field, set()).add(kind)
        return found

    def there_is(self, chosen: Selection) -> str:
        """What the database holds, for a person who looks for a name that is spelled otherwise."""
        if self.settings.kind == "influx2":
            columns = (self.settings.vessel_tag, "_measurement", "_field")
            vessels, measurements, fields = (self._values(column, chosen.start) for column in columns)
        else:
            body = self._json(queries.influxql_vessels(self.settings))
            series = [entry for result in body["results"] for entry in result.get("series", ())]
            vessels = {value for entry in series for _, value in entry["values"]}
            types = self._types(None)
            measurements, fields = set(types), {field for each in types.values() for field in each}
        named = {self.settings.vessel_tag: vessels, "measurements": measurements, "fields": fields}
        return "; ".join(f"{name} {listed(values) or 'none'}" for name, values in named.items())

    def _values(self, column: str, start: datetime) -> set[str]:
        with self._flux(queries.flux_values(self.settings, column, start)) as answer:
            return {row["_value"] for row in rows_of(b"".join(answer).decode())}

    def check(self) -> str:
        """Ask for next to nothing; names what is missing."""
        if self.settings.kind == "influx2":
            with self._flux(queries.flux_probe(self.settings)) as answer:
                b"".join(answer)
        else:
            self._json(queries.influxql_probe(self.settings))
        return f"{self.settings.bucket} at {self.settings.url}"

    def _write(self, chosen: Selection, target: Path) -> int:
        """Equal points give equal bytes, however the answer was cut on its way."""
        ahead_s = self.settings.clock_ahead_s
        with self._answer(chosen) as answer:
            points = (_by_the_records_clock(batch, ahead_s) for batch in read_points(answer, self.settings))
            return write_parquet(target, POINTS, points)

    @contextmanager
    def _answer(self, chosen: Selection) -> Iterator[Iterable[bytes]]:
        if self.settings.kind == "influx2":
            with self._flux(queries.flux_points(self.settings, chosen)) as answer:
                yield answer
            return
        query = queries.influxql_points(self.settings, chosen)
        with self._influxql(query, "application/csv", {"epoch": "ns", "chunked": "true"}) as answer:
            yield answer.pieces()

    @contextmanager
    def _flux(self, query: str) -> Iterator[Iterable[bytes]]:
        """A Flux query by the vendor's client, its answer unparsed."""
        from influxdb_client.client.influxdb_client import InfluxDBClient
        from influxdb_client.domain.dialect import Dialect
        from influxdb_client.rest import ApiException
        from urllib3.exceptions import HTTPError

        url, timeout = self.settings.url, int(_LIMITS.read_s * 1000)
        dialect = Dialect(header=True, annotations=[], delimiter=",", date_time_format="RFC3339")
        try:
            with InfluxDBClient(
                url, secret(self.settings.token_env, "token of InfluxDB"), org=self.settings.org, timeout=timeout
            ) as client:
                answer = client.query_api().query_raw(query, dialect=dialect)
                try:
                    yield no_more_than(_LIMITS.most_bytes, answer.stream(1 << 16, decode_content=True), url)
                finally:
                    answer.release_conn()
        except ApiException as error:
            said = error.body.decode(errors="replace") if isinstance(error.body, bytes) else error.body
            raise self._refused(error.status, str(said or error.reason), retry_after(error.headers or {})) from None
        except HTTPError as error:
            raise PassingError(f"{url} cannot be read: {hidden(str(error), *self._secrets())}") from None

    def _json(self, query: str) -> dict[str, Any]:
        """An InfluxQL query whose errors are told; in CSV they are not."""

        def ask() -> dict[str, Any]:
            with self._influxql(query, "application/json", {}) as answer:
                try:
                    return json.loads(answer.read())
                except ValueError:
                    raise SourceError(f"{self.settings.url} did not answer with JSON: is it InfluxDB?") from None

        body = patiently(ask, _LIMITS)
        for entry in (body, *body.get("results", ())):
            if "error" in entry:
                reason = hidden(str(entry["error"]), *self._secrets())
                raise SourceError(f"{self.settings.url} cannot be read: {reason}.")
        return body

    @contextmanager
    def _influxql(self, query: str, accept: str, how: dict[str, str]) -> Iterator[Incoming]:
        headers, login = {"Accept": accept, "Accept-Encoding": "identity"}, None
        if self.settings.kind == "influx3":
            headers["Authorization"] = f"Bearer {secret(self.settings.token_env, 'token of InfluxDB')}"
        elif user := os.environ.get(self.settings.user_env):
            login = (user, secret(self.settings.password_env, "password of InfluxDB"))
        values = {"db": self.settings.bucket, "q": query, **how}
        with (
            closing(Service(self.settings.url, headers=headers, login=login, limits=_LIMITS)) as service,
            service.stream("POST", "query", data=values) as answer,
        ):
            if answer.status != 200:
                raise self._refused(answer.status, answer.read().decode(errors="replace"))
            yield answer

    def _secrets(self) -> list[str]:
        user, password = (os.environ.get(name, "") for name in (self.settings.user_env, self.settings.password_env))
        return [
            os.environ.get(self.settings.token_env, ""),
            password,
            b64encode(f"{user}:{password}".encode()).decode(),
        ]

    def _refused(self, status: int | None, said: str, after_s: float | None = None) -> SourceError:
        if status in (401, 403):
            variable = self.settings.user_env if self.settings.kind == "influx1" else self.settings.token_env
            return SourceError(f"{self.settings.url} refuses the login ({status}): check {variable}.")
        # Some repeat what they were sent.
        reason = " ".join(hidden(said, *self._secrets()).split())[:200]
        told = f"{self.settings.url} answered {status} to a query of {self.settings.bucket!r}: {reason}"
        return PassingError(told, after_s) if status in PASSING else SourceError(told)


def _by_the_records_clock(batch: pa.RecordBatch, ahead_s: float) -> pa.RecordBatch:
    if not ahead_s:
        return batch
    import pyarrow.compute as pc

    shift = pa.scalar(timedelta(seconds=ahead_s), pa.duration("us"))
    return batch.set_column(0, POINTS.field("time"), pc.call_function("subtract", [batch.column("time"), shift]))
