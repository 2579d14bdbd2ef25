"""InfluxDB for the tests: a real server, 1.6 from Debian, and in front of it the HTTP surface of 2.x.

The server is real: storage, InfluxQL, CSV and errors are its own. No 2.x server can be had from a
package registry, so that surface is a stand-in: it takes the few shapes of Flux that Sheaf sends,
turns them into InfluxQL and answers with CSV as the 2.x documentation describes it. Whether the Flux
itself is valid is for the vendor's checker to say (`.ci/check_flux`). Not here: what is tested.
"""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from servers import free_ports

TOKEN = "token-of-the-tests"
ORG = "bioprocess"
_CONFIG = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
  wal-fsync-delay = "100ms"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{http}"
  log-enabled = false
[logging]
  level = "error"
"""


class Influx:
    """A running server; `process` may be killed by a test."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.process = process

    def create(self, database: str) -> None:
        """An empty database."""
        self.query(f'CREATE DATABASE "{database}"')

    def write(self, database: str, lines: str) -> None:
        """Points in line protocol, times in nanoseconds."""
        request = urllib.request.Request(f"{self.url}/write?db={database}", data=lines.encode(), method="POST")
        urllib.request.urlopen(request, timeout=60).close()

    def query(self, text: str, database: str = "") -> dict[str, Any]:
        """Any InfluxQL."""
        data = urllib.parse.urlencode({"q": text, "db": database}).encode()
        with urllib.request.urlopen(f"{self.url}/query", data=data, timeout=60) as answer:
            return json.load(answer)


@contextmanager
def influx_server(folder: Path) -> Iterator[Influx]:
    """A server with no database in it."""
    program = shutil.which("influxd") or "/usr/bin/influxd"
    rpc, http = free_ports(2)
    (folder / "influx.conf").write_text(_CONFIG.format(folder=folder, rpc=rpc, http=http))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INFLUX")}
    with (folder / "influxd.log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-config", str(folder / "influx.conf")], stdout=log, stderr=log, env=environment
        )
    url = f"http://127.0.0.1:{http}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{url}/ping", timeout=1).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        else:
            raise RuntimeError((folder / "influxd.log").read_text())
        yield Influx(url, process)
    finally:
        process.terminate()
        process.wait(timeout=20)


_FROM = re.compile(r'from\(bucket: "((?:[^"\\]|\\.)*)"\)')
_RANGE = re.compile(r"range\(start: (\S+?)(?:, stop: (\S+?))?\)")
_FILTER = re.compile(r"filter\(fn: \(r\) => (.*)\)$")
_EQUAL = re.compile(r'r\["([^"]+)"\] == "((?:[^"\\]|\\.)*)"')
_MATCH = re.compile(r'r\["([^"]+)"\] =~ (/.*/)')


_VALUES = re.compile(
    r'import "influxdata/influxdb/schema"\n\nschema\.tagValues\(bucket: "([^"]+)", tag: "([^"]+)", start: (\S+)\)'
)


class FluxSurface(BaseHTTPRequestHandler):
    """`/api/v2/query` of 2.x, as far as Sheaf uses it."""

    influx: Influx
    protocol_version = "HTTP/1.1"
    broken_off = False
    repeat_header = True

    def do_POST(self) -> None:
        """Answer one query."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers.get("Authorization") != f"Token {TOKEN}":
            return self._fail(401, "unauthorized", "unauthorized access")
        assert self.path.split("?")[0] == "/api/v2/query"
        if f"org={ORG}" not in self.path:
            return self._fail(404, "not found", "organization name not found")
        try:
            database, statement, shape = _translate(body["query"])
        except ValueError as error:
            return self._fail(400, "invalid", str(error))
        answer = self.influx.query(statement, database)["results"][0]
        if "database not found" in answer.get("error", ""):
            return self._fail(404, "not found", f'could not find bucket "{database}"')
        return self._answer(_as_flux_csv(answer.get("series", []), shape, self.repeat_header))

    def _answer(self, text: str) -> None:
        data = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/csv; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        half = len(data) // 2 if self.broken_off else len(data)
        for start in range(0, half, 10_000):
            piece = data[start : min(start + 10_000, half)]
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if self.broken_off:  # as 2.x reports what fails after the first rows
            said = b"\r\n,error,reference\r\n,query terminated: engine closed,897\r\n"
            self.wfile.write(f"{len(said):x}\r\n".encode() + said + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _fail(self, status: int, code: str, message: str) -> None:
        data = json.dumps({"code": code, "message": message}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


def _translate(flux: str) -> tuple[str, str, str]:
    """Database, InfluxQL, and what comes of the rows: `points <column>`, `count`, `values` or `probe`."""
    if "'" in flux or "\\" in flux.replace("\\/", ""):
        raise ValueError("the stand-in knows no escapes")
    if known := _VALUES.fullmatch(flux):
        shown = {"_measurement": "SHOW MEASUREMENTS", "_field": "SHOW FIELD KEYS"}
        return known[1], shown.get(known[2], f'SHOW TAG VALUES WITH KEY = "{known[2]}"'), "values"
    first, span, *steps = [step.strip() for step in flux.split("\n  |> ")]
    bucket, hours = _FROM.fullmatch(first), _RANGE.fullmatch(span)
    if not bucket or not hours:
        raise ValueError("the stand-in does not know this query")
    if steps == ["limit(n: 1)"]:
        return bucket[1], 'SELECT * FROM "pH" LIMIT 1', "probe"
    where = [f"time >= '{hours[1]}'", f"time < '{hours[2]}'"]
    values: dict[str, list[str]] = {}
    for step in steps[:3]:
        condition = _FILTER.fullmatch(step)
        if condition and (matched := _MATCH.fullmatch(condition[1])):
            where.append(f'"{matched[1]}" =~ {matched[2]}')
            continue
        pairs = _EQUAL.findall(condition[1]) if condition else []
        if not pairs or " or ".join(f'r["{column}"] == "{value}"' for column, value in pairs) != condition[1]:
            raise ValueError(f"the stand-in does not know {step}")
        values[pairs[0][0]] = [value for _, value in pairs]
    names, fields = ([f'"{value}"' for value in values.pop(key)] for key in ("_measurement", "_field"))
    where += [f"\"{column}\" = '{value}'" for column, (value,) in values.items()]
    tail = f"FROM {', '.join(names)} WHERE {' AND '.join(where)}"
    if steps[3:] == ["count()"]:
        counts = ", ".join(f"count({field}) AS {field}" for field in fields)
        return bucket[1], f"SELECT {counts} {tail} GROUP BY *", "count"
    by = re.fullmatch(r'keep\(columns: \["_time", "_value", "([^"]+)"\]\)', steps[-1])
    if len(steps) != 4 or not by:
        raise ValueError(f"the stand-in does not know {steps[3:]}")
    tag = [] if by[1] in ("_measurement", "_field") else [f'"{by[1]}"']
    return bucket[1], f"SELECT {', '.join(fields + tag)} {tail}", f"points {by[1]}"


def _as_flux_csv(series: list[dict[str, Any]], shape: str, repeat_header: bool) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    if shape == "values":
        found = sorted({row[-1 if "value" in entry["columns"] else 0] for entry in series for row in entry["values"]})
        writer.writerows([["", "result", "table", "_value"], *(["", "_result", 0, value] for value in found)])
        return out.getvalue()
    if shape == "count":
        for entry in series:
            _write_counts(entry, out)
        return out.getvalue()
    by = shape.partition(" ")[2]
    for number, entry in enumerate(series if by else []):
        if number and repeat_header:
            out.write("\r\n")
        if not number or repeat_header:
            writer.writerow(["", "result", "table", "_time", "_value", by])
        tagged = by not in ("_measurement", "_field")
        for row in entry["values"]:
            if by == "_field":
                found = [
                    (name, value)
                    for name, value in zip(entry["columns"][1:], row[1:], strict=True)
                    if value is not None
                ]
                writer.writerows(["", "_result", number, row[0], value, name] for name, value in found)
                continue
            values = row[1:-1] if tagged else row[1:]
            value = next((value for value in values if value is not None), None)
            writer.writerow(["", "_result", number, row[0], value, row[-1] if tagged else entry["name"]])
    return out.getvalue()


def _write_counts(entry: dict[str, Any], out: io.StringIO) -> None:
    """A table for each field of a series that has points."""
    writer = csv.writer(out, lineterminator="\r\n")
    tags = {key: value for key, value in entry["tags"].items() if value}
    for field, number in zip(entry["columns"][1:], entry["values"][0][1:], strict=True):
        if number:
            writer.writerow(["", "result", "table", "_measurement", "_field", *tags, "_value"])
            writer.writerow(["", "_result", 0, entry["name"], field, *tags.values(), number])
            out.write("\r\n")


@contextmanager
def flux_surface(influx: Influx) -> Iterator[tuple[str, type[FluxSurface]]]:
    """The surface of 2.x in front of a server; yields its address and what a test may change."""
    handler = type("Surface", (FluxSurface,), {"influx": influx})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
    finally:
        server.shutdown()
        server.server_close()
