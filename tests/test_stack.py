"""The model of the stack: command lines, rendered files, and what MLflow and NGINX are told."""

import fnmatch
import itertools
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from dotenv import dotenv_values

from ops import secret_files, stack
from ops.settings import Settings
from ops.values import Secret
from tests.conftest import ROOT, SIZE, with_test_secrets

FULL: dict[str, Any] = {
    "artifacts_destination": "s3://bucket/prefix",
    "s3_endpoint_url": "http://minio:9000",
    "s3_region": "eu-central-1",
    "s3_access_key_id": "AKIA0",
    "s3_secret_access_key": Secret("s3-secret-key"),
}


def test_the_compose_line_works_from_anywhere() -> None:
    settings = Settings(root=Path("/srv/stack"))

    assert shlex.join(stack.compose(settings, "up", "--detach")) == (
        "docker compose --env-file /srv/stack/data/compose/compose.env "
        "--file /srv/stack/compose/compose.yaml up --detach"
    )


def test_the_build_line_has_a_secret_for_each_file_given() -> None:
    settings = Settings(root=Path("/srv/stack"))
    line = "docker build --tag web:1 --file /srv/stack/mlflow/Dockerfile"
    assert shlex.join(stack.build(settings, "web:1")) == f"{line} /srv/stack"

    private = replace(settings, build_ca_file="/ca.pem", build_pip_config_file="/etc/pip.conf")
    assert shlex.join(stack.build(private, "web:1")) == (
        f"{line} --secret=id=ca,src=/ca.pem --secret=id=pip_config,src=/etc/pip.conf /srv/stack"
    )


@pytest.mark.parametrize("hard", ["my stack", "joe's", "$HOME", 'a"b', "`id`", "a;b", "größer"])
def test_every_word_survives_a_real_shell(hard: str) -> None:
    settings = Settings(root=Path("/srv") / hard, data_folder=f"{hard} data", build_ca_file=hard)
    for words in (stack.compose(settings, "logs", hard), stack.build(settings, hard)):
        line = shlex.join(("printf", r"%s\n", *words))
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)

        assert done.stdout.splitlines() == list(words)


def test_no_command_line_holds_a_secret(settings: Settings) -> None:
    full = replace(settings, **FULL)
    words = " ".join((*stack.compose(full, "up"), *stack.build(full, "web")))

    for secret in secrets_of(full):
        assert secret not in words


def secrets_of(settings: Settings) -> list[str]:
    found = [getattr(settings, field.name) for field in fields(settings)]
    return [value.reveal() for value in found if isinstance(value, Secret)]


def test_compose_gets_a_value_for_every_name_in_its_file_and_no_other(settings: Settings) -> None:
    text = (ROOT / "compose" / "compose.yaml").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    names = re.findall(r"\$\{(\w+)", "\n".join(lines))

    here, common = set(stack.local_env(settings)), set(stack.compose_env(settings, SIZE))
    assert set(names) == here | common
    assert not here & common


def test_only_what_may_be_empty_is_empty(settings: Settings) -> None:
    text = (ROOT / "compose" / "compose.yaml").read_text("utf-8")
    empty = {key for key, value in stack.compose_env(settings, SIZE).items() if not value}

    assert empty == {"S3_ENDPOINT_URL", "S3_REGION"}
    assert empty == set(re.findall(r"\$\{(\w+)\?\}", text))


def test_what_compose_is_told_by_default(settings: Settings) -> None:
    env = stack.compose_env(settings, SIZE) | stack.local_env(settings)
    folder = settings.root / "data" / "compose"

    assert {key: env[key] for key in ("STACK_NAME", "BIND_ADDRESS", "HTTP_PORT")} == {
        "STACK_NAME": "mlflow-compose",
        "BIND_ADDRESS": "127.0.0.1",
        "HTTP_PORT": "5050",
    }
    assert env["ARTIFACTS_DESTINATION"] == "/var/lib/mlflow/artifacts"
    assert env["DEFAULT_ARTIFACT_ROOT"] == "mlflow-artifacts:/"
    assert env["CORS_ORIGINS"] == "http://localhost:5050"
    assert env["JOB_EXECUTION"] == "false"
    assert env["WEB_NAME"] == "web"
    assert env["RELEASES_FOLDER"] == str(folder / "releases")
    assert env["KEK_PASSPHRASE_FILE"].startswith(f"{folder}/secrets/kek_passphrase-")


def test_sizes_are_written_as_compose_and_mysql_read_them() -> None:
    assert stack.sizes(SIZE) == {
        "WEB_WORKERS": "2",
        "WEB_POOL_SIZE": "20",
        "WEB_MAX_OVERFLOW": "21",
        "WEB_MEMORY_LIMIT": "1152m",
        "DB_MEMORY_LIMIT": "1152m",
        "DB_BUFFER_POOL": "512M",
        "DB_MAX_CONNECTIONS": "1994",
    }


def test_what_compose_is_told_holds_no_secret(settings: Settings) -> None:
    full = replace(settings, **FULL)

    for secret in secrets_of(full):
        assert secret not in stack.render_env(stack.compose_env(full, SIZE) | stack.local_env(full))


def test_the_rendered_file_is_read_back_as_given(settings: Settings, tmp_path: Path) -> None:
    odd = replace(settings, data_folder="größer $HOME #1")
    variables = stack.compose_env(odd, SIZE) | stack.local_env(odd)
    (tmp_path / "compose.env").write_text(stack.render_env(variables), "utf-8")

    assert dotenv_values(tmp_path / "compose.env", interpolate=False) == variables


def test_direct_access_lets_clients_write_to_s3(settings: Settings) -> None:
    proxied = replace(settings, **FULL)
    direct = replace(proxied, artifact_access="direct")

    assert stack.default_artifact_root(proxied) == "mlflow-artifacts:/"
    assert stack.default_artifact_root(direct) == "s3://bucket/prefix"
    assert stack.compose_env(proxied, SIZE)["ARTIFACTS_DESTINATION"] == "s3://bucket/prefix"
    assert stack.client_env(proxied) == {"MLFLOW_TRACKING_URI": "http://localhost:5050"}
    assert stack.client_env(direct) == {
        "MLFLOW_TRACKING_URI": "http://localhost:5050",
        "MLFLOW_S3_ENDPOINT_URL": "http://minio:9000",
    }


def test_presigned_access_lets_the_server_sign_for_clients(settings: Settings) -> None:
    presigned = replace(settings, **FULL, artifact_access="presigned")
    told = stack.compose_env(presigned, SIZE)

    assert (told["ARTIFACT_ACCESS"], told["DEFAULT_ARTIFACT_ROOT"]) == (
        "presigned",
        "mlflow-artifacts:/",
    )
    assert stack.client_env(presigned) == {
        "MLFLOW_TRACKING_URI": "http://localhost:5050",
        "MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD": "true",
        "MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD": "true",
    }


@pytest.fixture
def elsewhere(settings: Settings, tmp_path: Path) -> Settings:
    """Settings of a stack whose MySQL is somewhere else."""
    (tmp_path / "ca.pem").write_text("the CA\n", "utf-8")
    place = {"database_host": "db.example.com", "database_ca_file": str(tmp_path / "ca.pem")}
    return replace(settings, mysql_root_password=None, **place)  # type: ignore[arg-type]


def test_a_database_elsewhere_has_an_overlay_and_no_service(elsewhere: Settings) -> None:
    assert stack.services(elsewhere) == ("migrate", "web", "nginx")
    assert list(stack.compose(elsewhere, "ps"))[4:] == [
        *("--file", str(elsewhere.root / "compose/compose.yaml")),
        *("--file", str(elsewhere.root / "compose/external-database.yaml"), "ps"),
    ]


def test_a_database_elsewhere_is_spoken_to_with_tls_only(elsewhere: Settings) -> None:
    text = (ROOT / stack.EXTERNAL_DATABASE).read_text("utf-8")
    files = {name.partition("-")[0]: text for name, text in secret_files.files(elsewhere).items()}

    assert sorted(files) == [
        *("auth_config", "database_ca", "kek_passphrase", "mysql_client", "s3_credentials"),
        *("session_key", "web_client", "webhook_key"),
    ]
    assert files["web_client"] == files["mysql_client"]
    assert "user = mlflow\n" in files["mysql_client"]
    assert "ssl-ca = /run/secrets/database_ca\n" in files["mysql_client"]
    assert files["database_ca"] == "the CA\n"
    assert re.findall(r"^  (\w+):\n    file: ", text, re.MULTILINE) == ["database_ca"]
    for gone in ("mysql_password", "mysql_root_password"):
        assert f"  {gone}: !reset null\n" in text
        assert stack.local_env(elsewhere)[f"{gone.upper()}_FILE"] == "/dev/null"


# --- Hosts and origins ---


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ["http://localhost:5050", "http://127.0.0.1:5050", "http://[::1]:5050"]),
        (
            {"public_url": "https://mlflow.example.com:443", "tls": "private-ca"},
            ["https://mlflow.example.com", *(f"https://{name}" for name in stack.LOOPBACK)],
        ),
        (
            {"public_url": "https://mlflow.example.com", "http_port": 80},
            ["https://mlflow.example.com", *(f"http://{name}" for name in stack.LOOPBACK)],
        ),
    ],
)
def test_pages_of_this_server_are_known_by_their_origin_as_browsers_send_it(
    given: dict[str, Any], expected: list[str]
) -> None:
    assert stack.origins(Settings(**given)) == expected


def mlflow_takes(allowed_hosts: list[str], host: str) -> bool:
    """MLflow's rule, a faithful copy.

    mlflow/server/security_utils.py, is_allowed_host_header, MLflow 3.17.2. The list comes from
    get_allowed_hosts_from_env of the same file: split at commas, spaces taken away.
    """
    if not host:
        return False
    if "*" in allowed_hosts:
        return True
    return any(
        fnmatch.fnmatch(host, allowed) if "*" in allowed else host == allowed
        for allowed in allowed_hosts
    )


def mlflow_hosts(settings: Settings) -> list[str]:
    env = stack.server_env(with_test_secrets(settings))
    return [host.strip() for host in env["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")]


NAMES = [
    "https://mlflow.example.com",
    "http://a-1.b:8080",
    "http://10.1.2.3:81",
    "http://[fe80::a]",
]
CASES: list[Callable[[str], str]] = [str.lower, str.upper, str.title, str.swapcase]


@pytest.mark.parametrize(("url", "case"), list(itertools.product(["", *NAMES], CASES)))
def test_mlflow_takes_every_name_with_and_without_port_in_any_letter_case(
    url: str, case: Callable[[str], str]
) -> None:
    settings = Settings(public_url=url, http_port=5050)
    port = {"": 5050, NAMES[0]: 443, NAMES[1]: 8080, NAMES[2]: 81, NAMES[3]: 80}[url]
    public = url.partition("//")[2].removesuffix(f":{port}") or "localhost"

    for name in (public, "localhost", "127.0.0.1", "[::1]"):
        for suffix in ("", f":{port}", ":5050"):
            assert mlflow_takes(mlflow_hosts(settings), case(name) + suffix)


@pytest.mark.parametrize("url", ["", *NAMES])
@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.com",
        "localhost.evil.com",
        "evil.localhost",
        "localhost:1",
        "localhost:50500",
        "localhost:5050.evil.com",
        "127.0.0.1.evil.com",
        "mlflow.example.com.evil.com",
        "xmlflow.example.com",
        "mx.evil.lflow.example.com",
        "lx.evil.ocalhost",
        "ax.evil-1.b",
        "mlflow-example.com",
        "mlflowxexample.com",
        "mlflow.example.com:1",
        "10.1.2.4",
        "1001.2.3",
        "localhost,evil.com",
        "localhos",
        "*",
        "[",
        ":5050",
    ],
)
def test_mlflow_refuses_every_other_host(url: str, host: str) -> None:
    assert not mlflow_takes(mlflow_hosts(Settings(public_url=url)), host)


@pytest.mark.parametrize(
    ("url", "names", "origin"),
    [
        ("", ["localhost", "127.0.0.1", "[::1]"], "http://localhost:5050"),
        (
            "https://x.example",
            ["x.example", "localhost", "127.0.0.1", "[::1]"],
            "https://x.example",
        ),
        (
            "http://x.example:8080",
            ["x.example", "localhost", "127.0.0.1", "[::1]"],
            "http://x.example:8080",
        ),
        ("http://127.0.0.1:5050", ["127.0.0.1", "localhost", "[::1]"], "http://127.0.0.1:5050"),
    ],
)
def test_the_public_address_alone_gives_server_names_and_origin(
    url: str, names: list[str], origin: str
) -> None:
    settings = with_test_secrets(Settings(public_url=url))

    assert stack.host_names(settings) == names
    assert stack.compose_env(settings, SIZE)["CORS_ORIGINS"] == origin
    assert stack.server_env(settings)["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == origin


# --- The embedded server ---


def test_the_embedded_server_is_told_what_compose_yaml_tells_web(settings: Settings) -> None:
    text = (ROOT / "compose" / "compose.yaml").read_text("utf-8")
    web = text[text.index("\n  web:") : text.index("\n  nginx:")]
    told = set(re.findall(r"^      ((?:MLFLOW|AWS)_\w+):", web, re.MULTILINE))
    only_mysql = {
        f"MLFLOW_SQLALCHEMYSTORE_{name}" for name in ("POOL_RECYCLE", "POOL_SIZE", "MAX_OVERFLOW")
    }
    elsewhere = {
        *("MLFLOW_BACKEND_STORE_URI", "MLFLOW_CRYPTO_KEK_PASSPHRASE"),
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY",
    }

    assert set(stack.server_env(replace(settings, **FULL))) - elsewhere == told - only_mysql


def test_an_embedded_server_without_s3_is_told_nothing_of_it(settings: Settings) -> None:
    env = stack.server_env(settings)

    assert not [key for key in env if key.startswith("AWS_") or "S3" in key]
    assert env["MLFLOW_ARTIFACTS_DESTINATION"] == str(settings.data / "embedded" / "artifacts")


@pytest.mark.parametrize("name", ["data", "my data", "größer", "50%", "a#b", "a&b", "what?"])
def test_the_sqlite_address_means_the_file_whatever_its_name(name: str, project: Path) -> None:
    settings = with_test_secrets(Settings(root=project, data_folder=name))
    problems = list(settings._contradictions())
    url = sa.make_url(stack.server_env(settings)["MLFLOW_BACKEND_STORE_URI"])

    assert problems or url.database == str(project / name / "embedded" / "mlflow.db")
    assert problems or not url.query


# --- Digests ---


def test_the_image_has_another_name_for_each_changed_input_and_for_nothing_else(
    settings: Settings,
) -> None:
    before = stack.web_image(settings)
    seen = {before}
    assert re.fullmatch(r"mlflow-compose/web:[0-9a-f]{12}", before)

    for name in stack.IMAGE_INPUTS:
        file = settings.root / name
        text = file.read_bytes()
        file.write_bytes(text + b"\n")
        seen.add(stack.web_image(settings))
        file.write_bytes(text)
        mode = file.stat().st_mode
        file.chmod(mode ^ 0o100)
        seen.add(stack.web_image(settings))
        file.chmod(mode)
    assert len(seen) == 1 + 2 * len(stack.IMAGE_INPUTS)

    os.utime(settings.root / "mlflow" / "Dockerfile", (1, 1))
    (settings.root / "ops" / "stack.py").write_text("other", "utf-8")
    (settings.root / "mlflow" / "requirements.in").write_text("other", "utf-8")
    (settings.root / "mlflow" / "Dockerfile").chmod(0o600)
    other = replace(settings, http_port=1, build_ca_file="/x", web_workers=7)
    assert stack.web_image(other) == before


PLUGIN, COMPILED = "mlflow/plugin", "**/__pycache__"


def test_the_image_s_inputs_are_all_that_the_build_sees() -> None:
    everything, *seen = (ROOT / ".dockerignore").read_text("utf-8").split()
    inputs = {*stack.IMAGE_INPUTS} - {"mlflow/Dockerfile"}
    plugin = {name for name in inputs if name.startswith(f"{PLUGIN}/")}
    given = inputs - plugin | {PLUGIN}
    assert everything == "*"
    assert {*seen} == {f"!{name}" for name in given} | {COMPILED}
    # The last one that fits a name decides.
    assert seen.index(f"!{PLUGIN}") < seen.index(COMPILED)
    assert plugin == {
        str(path.relative_to(ROOT))
        for path in (ROOT / PLUGIN).rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }

    copied = re.findall(
        r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$",
        (ROOT / "mlflow" / "Dockerfile").read_text("utf-8"),
        re.MULTILINE,
    )
    assert {*" ".join(copied).split()} == given


def test_a_copy_elsewhere_has_the_same_digest(settings: Settings, tmp_path: Path) -> None:
    shutil.copytree(settings.root, tmp_path / "copy")
    copy = replace(settings, root=tmp_path / "copy")

    assert stack.web_image(copy) == stack.web_image(settings)


def test_a_changed_renamed_or_new_nginx_file_changes_its_digest(settings: Settings) -> None:
    folder = settings.root / "nginx"

    def digest() -> str:
        return stack.local_env(settings)["NGINX_CONFIG_DIGEST"]

    seen = [digest()]
    (folder / "nginx.conf").write_text("other", "utf-8")
    seen.append(digest())
    (folder / "templates" / "new.conf").write_text("new", "utf-8")
    seen.append(digest())
    (folder / "templates" / "new.conf").rename(folder / "templates" / "renamed.conf")
    seen.append(digest())

    assert len(set(seen)) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"mysql_password": Secret("another-password")},
        {"mysql_root_password": Secret("another-password")},
        {"kek_passphrase": Secret("another-password")},
        FULL,
    ],
)
def test_another_secret_replaces_the_container_that_reads_it(
    settings: Settings, change: dict[str, Any]
) -> None:
    before, after = (
        stack.compose_env(each, SIZE)["SECRETS_DIGEST"]
        for each in (settings, replace(settings, **change))
    )

    assert before != after
    assert stack.compose_env(replace(settings, http_port=1), SIZE)["SECRETS_DIGEST"] == before


def test_compose_and_the_embedded_server_are_told_the_same_of_hosts(settings: Settings) -> None:
    told = stack.server_env(settings)["MLFLOW_SERVER_ALLOWED_HOSTS"]

    assert stack.compose_env(settings, SIZE)["ALLOWED_HOSTS"] == told


# --- Backups ---


def test_a_stack_without_a_place_for_backups_has_nothing_of_them(settings: Settings) -> None:
    assert stack.services(settings) == ("db", "migrate", "web", "nginx")
    assert stack.compose_files(settings) == (stack.BASE,)
    assert stack.own_images(settings) == (stack.web_image(settings),)
    assert not [key for key in stack.compose_env(settings, SIZE) if "BACKUP" in key]
    assert not [name for name in secret_files.files(settings) if "backup" in name]
    assert stack.compose_env(settings, SIZE)["DB_EXPIRE_LOGS"] == "ON"


def test_a_place_for_backups_adds_services_their_overlay_and_an_image(guarded: Settings) -> None:
    assert stack.services(guarded) == ("db", "migrate", "web", "nginx", "dump", "backup")
    assert stack.compose_files(guarded) == (stack.BASE, stack.BACKUPS)
    assert stack.own_images(guarded) == (stack.web_image(guarded), stack.backup_image(guarded))
    root = guarded.root
    assert stack.compose(guarded, "ps")[4:] == (
        *("--file", f"{root}/{stack.BASE}", "--file", f"{root}/{stack.BACKUPS}", "ps"),
    )


def test_each_image_is_built_from_its_own_dockerfile(guarded: Settings) -> None:
    dockerfiles = [
        stack.build(guarded, name)[stack.build(guarded, name).index("--file") + 1]
        for name in stack.own_images(guarded)
    ]

    assert dockerfiles == [
        f"{guarded.root}/mlflow/Dockerfile",
        f"{guarded.root}/backup/Dockerfile",
    ]


def test_compose_gets_a_value_for_every_name_in_both_files_and_no_other(guarded: Settings) -> None:
    text = "\n".join((ROOT / name).read_text("utf-8") for name in (stack.BASE, stack.BACKUPS))
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    names = re.findall(r"(?<!\$)\$\{(\w+)", "\n".join(lines))
    env = stack.compose_env(guarded, SIZE)

    assert set(names) == {*env, *stack.local_env(guarded)}
    assert {key for key, value in env.items() if not value} == {
        *("S3_ENDPOINT_URL", "ARTIFACTS_PLACE"),
    }
    assert {"ARTIFACTS_PLACE", "S3_ENDPOINT_URL", "S3_REGION"} == set(
        re.findall(r"\$\{(\w+)\?\}", text)
    )


def test_mysql_deletes_no_log_by_itself_where_logs_are_stored(guarded: Settings) -> None:
    env = stack.compose_env(replace(guarded, backup_at="04:30"), SIZE)

    assert env["DB_EXPIRE_LOGS"] == "OFF"
    assert env["BACKUP_AT"] == "04:30"
    assert env["BACKUPS_DESTINATION"] == "s3://my-backups/mlflow"
    assert env["BACKUP_RECIPIENTS"] == guarded.backup_recipients
    assert env["BACKUP_MEMORY_LIMIT"] == "256m"


def test_the_volume_of_the_database_is_called_after_the_stack(guarded: Settings) -> None:
    other = replace(guarded, stack_name="team")

    assert stack.compose_env(other, SIZE)["DB_VOLUME"] == "team_db"
    assert stack.compose_env(guarded, SIZE)["DB_VOLUME"] == "mlflow-compose_db"


def test_what_compose_is_told_of_backups_holds_no_secret(guarded: Settings) -> None:
    full = replace(guarded, **FULL)
    env = stack.compose_env(full, SIZE)
    text = stack.render_env(env | stack.local_env(full)) + " ".join(stack.compose(full, "up"))

    for secret in secrets_of(full):
        assert secret not in text


def test_another_password_of_the_backup_service_replaces_its_container(guarded: Settings) -> None:
    other = replace(guarded, backup_password=Secret("another-password"))
    before, after = (stack.compose_env(each, SIZE)["SECRETS_DIGEST"] for each in (guarded, other))

    assert before != after


def test_the_backup_image_has_another_name_for_each_changed_input_and_for_nothing_else(
    guarded: Settings,
) -> None:
    before = stack.backup_image(guarded)
    seen = {before}
    assert re.fullmatch(r"mlflow-compose/backup:[0-9a-f]{12}", before)

    for name in stack.BACKUP_INPUTS:
        file = guarded.root / name
        text = file.read_bytes()
        file.write_bytes(text + b"\n")
        seen.add(stack.backup_image(guarded))
        file.write_bytes(text)
    assert len(seen) == 1 + len(stack.BACKUP_INPUTS)

    (guarded.root / "ops" / "stack.py").write_text("other", "utf-8")
    (guarded.root / "mlflow" / "Dockerfile").write_text("other", "utf-8")
    assert stack.backup_image(replace(guarded, backup_at="01:00")) == before


def test_what_the_backup_image_copies_is_among_its_inputs() -> None:
    text = (ROOT / "backup" / "Dockerfile").read_text("utf-8")
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )*(\S+)", text, re.MULTILINE)

    assert copied == ["backup/requirements.txt", "ops/"]
    assert "backup/requirements.txt" in stack.BACKUP_INPUTS
