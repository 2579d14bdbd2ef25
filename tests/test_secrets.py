"""Secrets are planted wherever one can stand; runs fail in each way there is; then they are found nowhere.

Searched are what commands print, the store with its records and manifests, and everything Dagster keeps.
"""

import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from lab import PROGRAM, environment
from s3_proxy import Proxy, proxy
from servers import BUCKET
from test_cli import write_batch
from test_http import InTurn, reply, serving

CANARY = "CANARY"


class Home:
    """A home whose commands are told secrets; `said` is all they printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said = ""
        self.secrets: dict[str, str] = {}
        (folder / "inbox").mkdir()

    def sheaf(self, *args: str) -> int:
        """Run a command, which says why it fails in no more than sentences."""
        clean = {name: value for name, value in environment(self.folder).items() if not name.startswith("AWS_")}
        done = subprocess.run(
            [PROGRAM, *args], env=clean | self.secrets, cwd=self.folder, capture_output=True, text=True, check=False
        )
        self.said += done.stdout + done.stderr
        return done.returncode

    def configure(self, text: str) -> None:
        (self.folder / "sheaf.yaml").write_text(text)

    def leaks(self) -> list[str]:
        """Where a secret is found, beside the files that a person wrote it into."""
        written_by_people = {self.folder / "sheaf.yaml", *(self.folder / "inbox").rglob("*")}
        found = [str(path) for path in self.folder.rglob("*") if path.is_file() and path not in written_by_people]
        found = [path for path in found if CANARY.encode() in Path(path).read_bytes()]
        return found + [line for line in self.said.splitlines() if CANARY in line]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


LOGINS = (
    f"s3://{CANARY}1:{CANARY}2@bucket/prefix",
    f"s3://bucket/prefix?signature={CANARY}",
    f"nonsense://{CANARY}@bucket",
    f"https://account.blob.core.windows.net/container?sv=1&sig={CANARY}",
)


@pytest.mark.campaign
@pytest.mark.parametrize("url", LOGINS)
def test_a_login_in_the_address_of_the_store_is_refused_and_not_shown(home: Home, url: str) -> None:
    write_batch(home.folder / "inbox", "b4")
    home.secrets = {"SHEAF_STORE_URL": url}
    others = (("doctor",), ("export", "fermentation", "b4", "batch_json"))
    for command in (("run", "fermentation", "b4"), ("history",), *(others if url is LOGINS[0] else ())):
        assert home.sheaf(*command) in (1, 2)
    assert "does not belong into an address" in home.said
    home.secrets = {}
    home.configure(f"store_url: '{url}'\n")
    assert home.sheaf("run", "fermentation", "b4") == 2
    assert home.leaks() == []


@pytest.fixture
def faulty(moto: dict[str, str]) -> Iterator[Proxy]:
    with proxy(moto["AWS_ENDPOINT_URL"]) as running:
        yield running


@pytest.mark.parametrize(
    ("what", "from_then_on"),
    [
        ("refuse", "_manifest.json"),
        *(
            pytest.param(*other, marks=pytest.mark.campaign)
            for other in (("refuse", "/tables/"), ("refuse", "list-type"), ("expire", "/"))
        ),
    ],
)
def test_keys_of_the_store_are_in_no_error_record_or_database(
    home: Home, faulty: Proxy, what: str, from_then_on: str
) -> None:
    write_batch(home.folder / "inbox", "b4")
    home.secrets = {
        "AWS_ENDPOINT_URL": faulty.url,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": f"AKIA{CANARY}",
        "AWS_SECRET_ACCESS_KEY": f"{CANARY}SECRET",
        "AWS_SESSION_TOKEN": f"{CANARY}TOKEN",
        "SHEAF_STORE_URL": f"s3://{BUCKET}/{home.folder.name}-{what}",
    }
    broken = False

    def rule(_: str, path: str) -> str:
        nonlocal broken
        broken = broken or from_then_on in path
        return what if broken else "pass"

    faulty.rule = rule
    assert home.sheaf("run", "fermentation", "b4") == 1
    assert home.sheaf("doctor") == 1
    assert "Traceback" not in home.said
    assert "have expired" in home.said if what == "expire" else "refuses access" in home.said
    assert home.leaks() == []


DSNS = (
    f"postgresql://sheaf:{CANARY}@127.0.0.1:1/eln",
    f"host=127.0.0.1 port=1 password={CANARY} dbname=eln",
    f"host=127.0.0.1 password='{CANARY} user",
    f"postgresql://127.0.0.1:1/eln?sslmode={CANARY}",
)


@pytest.mark.campaign
@pytest.mark.parametrize("dsn", DSNS)
def test_a_password_in_a_connection_string_is_not_shown(home: Home, dsn: str) -> None:
    home.configure("fermentation: {sources: [{kind: eln_postgres}]}\noccurrences: {sources: [{kind: postgres}]}\n")
    home.secrets = {"SHEAF_ELN_DSN": dsn, "SHEAF_OCCURRENCES_DSN": dsn}
    others = (("run", "occurrences", "p1"), ("doctor",)) if dsn is DSNS[0] else ()
    for command in (("run", "fermentation", "b9"), ("sources",), *others):
        assert home.sheaf(*command) == 1
    assert "Traceback" not in home.said
    assert home.leaks() == []


def echo(handler: BaseHTTPRequestHandler) -> None:
    """A server that repeats what it was sent, as some do."""
    body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    token = (handler.headers.get("Authorization") or "").encode()
    reply(handler, 418, b'{"detail": "' + token + b" " + body.replace(b'"', b"'") + b'"}')


@pytest.mark.campaign
@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("influx2", echo),
        ("influx1", echo),
        ("influx2", InTurn(*[401] * 999)),
        ("influx2", InTurn(*[503] * 999, Retry_After="0")),
        ("influx2", None),
    ],
)
def test_passwords_and_tokens_of_services_are_not_shown(home: Home, answer: object, kind: str) -> None:
    write_batch(home.folder / "inbox", "b4")
    with serving(answer or InTurn()) as url:  # type: ignore[arg-type]
        address = url if answer else "http://127.0.0.1:9"
        home.configure(
            f"fermentation: {{sources: [{{kind: eln_rest, url: '{address}'}}], "
            f"sensors: {{kind: {kind}, url: '{address}', bucket: b, org: o, vessels: {{V-1: V-1}}}}}}\n"
            f"occurrences: {{sources: [{{kind: api, url: '{address}', projects: [p1]}}]}}\n"
        )
        home.secrets = {
            "SHEAF_ELN_USER": "sheaf",
            "SHEAF_ELN_PASSWORD": f"{CANARY}PASSWORD",
            "SHEAF_INFLUX_USER": "sheaf",
            "SHEAF_INFLUX_PASSWORD": f"{CANARY}PASSWORD",
            "INFLUXDB_V2_TOKEN": f"{CANARY}TOKEN",
            "SHEAF_OCCURRENCES_TOKEN": f"{CANARY}TOKEN",
        }
        assert home.sheaf("doctor") == 1, home.said
        assert home.sheaf("run", "fermentation", "b4", "b9") == 1
        assert home.sheaf("run", "occurrences", "p1") == 1
    assert "Traceback" not in home.said
    assert home.leaks() == []


@pytest.mark.campaign
@pytest.mark.parametrize(
    "secret", [f"u:{CANARY}@host.example/", f"host.example/?sig={CANARY}", f"{CANARY}@host.example"]
)
def test_a_login_or_signature_of_a_webhook_is_refused_and_kept_nowhere(home: Home, secret: str) -> None:
    folder = home.folder / "inbox" / "media"
    folder.mkdir()
    (folder / "evening.yaml").write_text(f"notification_webhook: https://{secret}\n")
    (folder / "evening.csv").write_text("master_file,dub_file\na.wav,b.wav\n")
    home.secrets = {"SHEAF_WEBHOOK_SECRET": f"{CANARY}SECRET"}
    assert home.sheaf("run", "media") == 1
    assert "does not belong into an address" in home.said
    assert home.sheaf("sources") in (0, 1)
    assert home.leaks() == []
