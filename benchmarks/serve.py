"""How fast the HTTP API answers: the list of many exports, and a large download beside `cp` and the fastest one.

    python benchmarks/serve.py [EXPORTS] [MEGABYTES]

A store with that many small exports and one large file is made in a temporary folder, and `sheaf serve` started on it.
"""

import hashlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx

from sheaf.exports.records import File, Latest, Manifest, Record, Status, to_json, with_contents
from sheaf.names import ExportId, SeriesId
from sheaf.store.store import Store


def put(store: Store, export: ExportId, files: list[File]) -> None:
    """A completed export with these files, which are there already."""
    now = datetime.now(UTC)
    same = {"canonical": True, "filter": {}, "options": {}, "fingerprint": "", "created_at": now}
    manifest = Manifest(
        export=str(export),
        name=str(export),
        sheaf_version="0",
        writer_version=1,
        inputs=[],
        record_count=8,
        counts={},
        warnings=[],
        files=files,
        **same,
    )
    series = export.series
    record = Record(
        domain=series.domain,
        partition=series.partition,
        series=series.series,
        version=export.version,
        status=Status.COMPLETED,
        name=f"{series.series} v{export.version}",
        requested_by="ada",
        heartbeat_at=now,
        host="",
        pid=0,
        **same,
    )
    store.put(export.manifest_path, to_json(manifest), durable=False)
    store.put(export.record_path, to_json(with_contents(record, manifest)), durable=False)
    latest = Latest(export=str(export), version=export.version, path=export.path, manifest=export.manifest_path)
    store.put(series.latest_path, to_json(latest), durable=False)


def main(exports: int, megabytes: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        store = Store.open(str(home / "store"))
        for number in range(exports):
            series = SeriesId("fermentation", f"batch-{number // 10}", "samples_csv")
            put(store, ExportId(series, number % 10 + 1), [File(path="samples.csv", size=900, sha256="0" * 64, rows=8)])
        large = ExportId(SeriesId("fermentation", "large", "training_parquet"), 1)
        path = home / "store" / large.path / "samples.parquet"
        path.parent.mkdir(parents=True)
        block, digest = os.urandom(1_000_000), hashlib.sha256()
        with path.open("wb") as file:
            for _ in range(megabytes):
                file.write(block)
                digest.update(block)
        put(store, large, [File(path=path.name, size=megabytes * 1_000_000, sha256=digest.hexdigest())])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-c", "from pipelines.cli.main import main; main()", "serve", "--port", str(port)]
        ours = {key: value for key, value in os.environ.items() if not key.startswith("SHEAF_")}
        with subprocess.Popen(command, env=ours | {"SHEAF_HOME": temporary}, stderr=subprocess.DEVNULL) as server:
            try:
                _measure(f"http://127.0.0.1:{port}", exports, home, path, server.pid)
            finally:
                server.terminate()


def _cpu_s(pid: int) -> float:
    """What a process has used so far; on a busy machine that says more than the time a request took."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _measure(url: str, exports: int, home: Path, large: Path, server: int) -> None:
    with httpx.Client(base_url=url, timeout=60) as api:
        for _ in range(200):
            try:
                api.get("/health")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        for what, path in (("list of exports", f"/api/v1/exports?limit={exports}"), ("catalogue", "/api/v1/catalog")):
            times, size, used = [], 0, 0.0
            for turn in range(21):
                if turn == 1:
                    used = _cpu_s(server)
                begin = time.perf_counter()
                answer = api.get(path)
                times.append(time.perf_counter() - begin)
                answer.raise_for_status()
                size = len(answer.content)
            first, *rest = times
            took = f"first {first * 1e3:.0f} ms, then {statistics.median(rest) * 1e3:.0f} ms"
            print(f"{what}: {took}, of which {(_cpu_s(server) - used) / len(rest) * 1e3:.0f} ms CPU, {size} B")
    target = home / "copy"
    with _bare(large) as bare:
        ways = {
            "cp": ["cp", str(large), str(target)],
            "download": _curl(f"{url}/api/v1/exports/fermentation/large/training_parquet/v1/download", target),
            "sendfile and curl, nothing else": _curl(bare, target),
        }
        for where in ("in memory", "from disk to disk"):
            for what, command in ways.items():
                speeds = []
                for _ in range(5):
                    target.unlink(missing_ok=True)
                    _settle(large, forget=where != "in memory")
                    begin = time.perf_counter()
                    subprocess.run(command, check=True)
                    if where != "in memory":
                        _settle(target)
                    speeds.append(large.stat().st_size / 1e6 / (time.perf_counter() - begin))
                print(f"{what}, {where}: {statistics.median(speeds):.0f} MB/s")


def _curl(address: str, target: Path) -> list[str]:
    return ["curl", "-sf", "-o", str(target), address]


def _settle(path: Path, *, forget: bool = False) -> None:
    """Have a file on disk, and if asked no more in memory."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        if forget:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def _bare(path: Path) -> Iterator[str]:
    """The address of a server that can do nothing but hand a file to the kernel: no download is faster."""
    size = path.stat().st_size
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode()

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, path.open("rb") as file:
                connection.recv(65536)
                connection.sendall(head)
                connection.sendfile(file)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


if __name__ == "__main__":
    main(*(int(text) for text in (sys.argv[1:] + ["1000", "500"][len(sys.argv[1:]) :])))
