"""A small ELN server of the tests: pages, tokens, roles and errors as the laboratory's behaves.

It answers from documents in the form of `batch.json`. Not here: what is tested.
"""

import csv
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

USER, PASSWORD = "sheaf", "correct horse"
_EXPORTED = {
    "batch": "batch_id batch_number phase vessel_id operator_id status created_at inoculated_at completed_at notes",
    "calibrations": "probe_type buffer_low_value buffer_high_value reading_low reading_high slope_percent pass "
    "calibrated_by calibrated_at",
    "inoculation": "cryo_vial_id inoculum_od600 inoculum_volume_ml go_decision microscopy_observations inoculated_by",
    "samples": "timepoint_hours od600_raw od600_dilution_factor od600_calculated dcw_g_per_l contamination_detected "
    "microscopy_observations sampled_by sampled_at",
    "failures": "deviation_level category description root_cause corrective_action reported_by reported_at",
    "closure": "final_od600 total_runtime_hours glycerol_depletion_time_hours outcome closed_by approved_by notes",
}
_LISTED = {
    "samples": "id timepoint_hours od600_raw od600_calculated dcw_g_per_l contamination_detected sampled_at sampled_by",
    "calibrations": "id probe_type reading_low reading_high slope_percent pass calibrated_at calibrated_by",
    "failures": "id deviation_level category description reported_at reported_by",
}
_CSV = (
    *("batch_id", "batch_number", "phase", "timepoint_hours", "od600_raw", "od600_dilution_factor"),
    *("od600_calculated", "dcw_g_per_l", "contamination_detected", "sampled_at"),
)


def exported(document: dict[str, Any]) -> dict[str, Any]:
    """What the server's JSON export tells of a batch."""

    def chosen(section: str, row: dict[str, Any]) -> dict[str, Any]:
        return {key: row.get(key) for key in _EXPORTED[section].split()}

    found: dict[str, Any] = {}
    for section in _EXPORTED:
        value = document[section]
        found[section] = [chosen(section, row) for row in value] if isinstance(value, list) else value
        if isinstance(value, dict):
            found[section] = chosen(section, value)
    return found


class Eln:
    """The server's state, which tests look at and change.

    Attributes:
        requests: every request as `METHOD path?query status`.
        tokens: the token that is good now is the last one; empty after `expire`.
        technician: whether the account sees more than batches and exports.
        newest: whether the server fails as its newest version does.
        forbidden: batches that nobody may export.
        answer_with: statuses to answer the next requests with, whatever they ask.
        requests_per_token: after so many a token expires.
    """

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        self.batches = {document["batch"]["batch_id"]: document for document in documents}
        self.requests: list[str] = []
        self.tokens: list[str] = []
        self.logins = 0
        self.technician = True
        self.newest = False
        self.forbidden: set[str] = set()
        self.answer_with: list[int] = []
        self.requests_per_token = 10**9
        self._used = 0
        self.url = ""

    def count(self, text: str) -> int:
        """How many requests hold a text."""
        return sum(text in request for request in self.requests)

    def answer(self, method: str, path: str, query: dict[str, str], token: str, body: bytes) -> tuple[int, Any]:
        """Status, and JSON or text."""
        if self.answer_with:
            status = self.answer_with.pop(0)
            return status, {"detail": "as the test wants it"}
        if (method, path) == ("POST", "/auth/login"):
            return self._login(json.loads(body))
        if not token:
            return 403, {"detail": "Not authenticated"}
        self._used += 1
        if self.tokens[-1:] != [token] or self._used > self.requests_per_token:
            self.tokens.append("expired")
            return 401, {"detail": "Could not validate credentials"}
        parts = path.strip("/").split("/")
        if parts == ["batches"]:
            return self._list(query)
        document = self.batches.get(parts[1])
        if document is None:
            return 404, {"detail": f"Batch {parts[1]} not found"}
        return self._of_batch(document, parts[2:], query)

    def _login(self, given: dict[str, str]) -> tuple[int, Any]:
        if given != {"username": USER, "password": PASSWORD}:
            return 401, {"detail": "Incorrect username or password"}
        self.logins += 1
        self._used = 0
        self.tokens.append(f"token-{self.logins}")
        return 200, {"access_token": self.tokens[-1], "token_type": "bearer"}

    def _list(self, query: dict[str, str]) -> tuple[int, Any]:
        limit, offset = int(query.get("limit", 50)), int(query.get("offset", 0))
        if not 1 <= limit <= 100:
            return 422, {"status": "error", "code": 422, "message": "limit must be at most 100"}
        if self.newest and any(document["batch"]["inoculated_at"] for document in self.batches.values()):
            return 500, {"status": "error", "code": 500, "message": "Internal server error"}
        rows = sorted((document["batch"] for document in self.batches.values()), key=lambda row: row["created_at"])
        return 200, [{**row, "runtime_hours": 1.0} for row in rows[::-1][offset : offset + limit]]

    def _of_batch(self, document: dict[str, Any], rest: list[str], query: dict[str, str]) -> tuple[int, Any]:
        inoculated = document["batch"]["inoculated_at"] is not None
        if not rest:
            return (
                (500, {"message": "Internal server error"}) if self.newest and inoculated else (200, document["batch"])
            )
        if rest == ["export"]:
            if document["batch"]["batch_id"] in self.forbidden:
                return 403, {"detail": "Not allowed"}
            if query.get("format") == "csv":
                return 200, _as_csv(document)
            return (500, {"message": "no attribute"}) if self.newest and inoculated else (200, exported(document))
        if rest[0] not in (*_LISTED, "media"):
            return 404, {"detail": "Not Found"}
        if not self.technician:
            return 403, {"detail": "Requires technician"}
        if rest == ["media"]:
            return 404, {"detail": "No media preparation"}
        columns = _LISTED[rest[0]].split()
        rows = [{key: row.get(key) for key in columns} for row in document[rest[0]]]
        # Decimals are strings in lists and numbers in exports; times end with Z in lists.
        return 200, [
            {
                key: str(value) + "00"
                if isinstance(value, float)
                else str(value).replace("+00:00", "Z")
                if key.endswith("_at") and value
                else value
                for key, value in row.items()
            }
            for row in rows
        ]


def _as_csv(document: dict[str, Any]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, _CSV, extrasaction="ignore")
    writer.writeheader()
    writer.writerows({**document["batch"], **row} for row in document["samples"])
    return out.getvalue()


@contextmanager
def eln_server(documents: list[dict[str, Any]]) -> Iterator[Eln]:
    """A server with these batches."""
    eln = Eln(documents)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # head and body in one packet, else each answer waits for an acknowledgement

        def do_GET(self) -> None:
            """Answer, and note what was asked."""
            split = urlsplit(self.path)
            query = {key: values[-1] for key, values in parse_qs(split.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            path = split.path.removeprefix("/api/v1")
            status, found = eln.answer(self.command, path, query, token, body)
            eln.requests.append(f"{self.command} {path}{'?' + split.query if split.query else ''} {status}")
            data = found.encode() if isinstance(found, str) else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/csv" if isinstance(found, str) else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    eln.url = f"http://127.0.0.1:{server.server_address[1]}/api/v1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield eln
    finally:
        server.shutdown()
        server.server_close()
