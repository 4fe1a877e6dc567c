"""What the parts of the repository promise one another."""

import ast
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from invoke.collection import Collection

import tasks
from ops import certificates, stack, values
from ops.settings import PARSERS, Settings
from tests.conftest import ROOT
from tests.e2e.conftest import GROUPS

MODULES = sorted(path for path in (ROOT / "ops").glob("*.py") if path.stem != "__init__")
COMPOSE_FILES = sorted((ROOT / "compose").glob("*.yaml"))
REQUIREMENTS = [
    *("requirements.txt", "requirements-dev.txt"),
    *(f"mlflow/{name}.txt" for name in ("requirements", "driver", "driver-build")),
    *("backup/requirements.txt", "certificates/requirements.txt", "tests/e2e/tools/client.txt"),
]
LONG_RUNNING = ["db", "web", "nginx"]


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def code(name: str) -> str:
    """Return a file without its comments."""
    lines = read(name).splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


CODE = code(stack.BASE)


def service(name: str, text: str = CODE) -> str:
    """Return the text of a service of a compose file."""
    services = text[text.index("\nservices:\n") :]
    found = re.search(rf"^  {name}:\n((?:    .*\n|\n)+)", services, re.MULTILINE)
    assert found is not None
    return found[1]


def networks(name: str) -> list[str]:
    """Return the networks of a service, given as a list or, with aliases, as a map."""
    listed = re.search(r"^    networks: \[(.*)\]$", service(name), re.MULTILINE)
    if listed:
        return listed[1].split(", ")
    block = re.search(r"^    networks:\n((?:      .*\n)+)", service(name), re.MULTILINE)
    return re.findall(r"^      (\w+):$", block[1], re.MULTILINE) if block else []


# --- Documents ---


@pytest.mark.parametrize(
    "name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "docs/runbook.md"]
)
def test_the_document_is_there_and_says_something(name: str) -> None:
    assert len(read(name)) > 200


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "decisions").glob("0*.md"))

    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("name", sorted(Collection.from_module(tasks).task_names))
def test_every_task_is_in_the_readme(name: str) -> None:
    assert f"`invoke {name}`" in read("README.md")


def test_every_link_within_the_documents_leads_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_document_that_code_speaks_of_is_there() -> None:
    files = [*MODULES, *COMPOSE_FILES, ROOT / ".env.example"]
    for file in files:
        # Not what is a part of an address.
        for name in re.findall(r"(?<![\w/])docs/[\w/-]+\.md", file.read_text("utf-8")):
            assert (ROOT / name).exists(), f"{file.name}: {name}"


@pytest.mark.parametrize("symptom", ["half-migrated", "foreign volume"])
def test_the_runbook_has_the_symptoms_that_errors_name(symptom: str) -> None:
    assert symptom in read("docs/runbook.md").lower()


def test_every_file_that_contributing_sends_to_is_there() -> None:
    for name in re.findall(
        r"`((?:tests|ops|docs|compose|nginx|mlflow|backup|certificates)/[\w./-]*)`",
        read("CONTRIBUTING.md"),
    ):
        assert (ROOT / name).exists(), name


# --- End-to-end tests ---

# What must not be used side by side, as the files that use it say it.
SHARED = {
    "hosts": r"from tests\.e2e\.machines import|lab\.up\(hosts=",
    "stacks": r"\b(stack|small|guarded|embedded): (Project|Stack)\b",
}


@pytest.mark.parametrize("group", SHARED)
def test_end_to_end_tests_that_share_something_never_run_side_by_side(group: str) -> None:
    files = sorted((ROOT / "tests" / "e2e").glob("test_*.py"))
    users = [file.name for file in files if re.search(SHARED[group], file.read_text("utf-8"))]

    assert users
    assert sorted(GROUPS[group]) == users


# --- Settings ---


def example() -> dict[str, str]:
    """Return the keys of .env.example with the values shown."""
    return dict(
        re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)='(.*)'$", read(".env.example"), re.MULTILINE)
    )


def test_the_example_has_every_key_once_and_no_other() -> None:
    keys = re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=", read(".env.example"), re.MULTILINE)

    assert sorted(keys) == sorted(PARSERS)
    assert set(keys) == set(example())


def test_the_example_shows_the_defaults() -> None:
    """Where the default is "not set", it shows a value as it may be."""
    defaults = Settings()
    for key, shown in example().items():
        default = getattr(defaults, key.lower())
        if default not in ("", None):
            assert shown == str(default).lower(), key


def test_every_value_of_the_example_is_a_good_one() -> None:
    for key, shown in example().items():
        if shown and PARSERS[key] is not values.readable_file:
            PARSERS[key](shown)


# --- The compose file ---


def test_the_compose_file_has_no_version_no_container_names_and_no_defaults() -> None:
    assert not re.search(r"^version:", CODE, re.MULTILINE)
    assert "container_name" not in CODE
    assert re.findall(r"\$\{\w+:?-[^}]*\}", CODE) == []
    assert re.findall(r"(?<!\$)\$\{\w+\}|(?<!\$)\$\w+", CODE) == []


def test_exactly_one_port_is_published_and_it_is_nginx_s() -> None:
    assert len(re.findall(r"^ +ports:", CODE, re.MULTILINE)) == 1
    assert len(re.findall(r"published:", CODE)) == 1
    assert "published: ${HTTP_PORT:?}" in service("nginx")
    assert "host_ip: ${BIND_ADDRESS:?}" in service("nginx")


def test_the_services_are_those_of_the_model() -> None:
    services = CODE[CODE.index("\nservices:\n") : CODE.index("\nnetworks:\n")]

    assert tuple(re.findall(r"^  (\w+):$", services, re.MULTILINE)) == stack.SERVICES


@pytest.mark.parametrize("name", stack.SERVICES)
def test_a_service_has_limit_restart_policy_logging_and_networks(name: str) -> None:
    text = service(name)

    assert re.search(r"limits:\n +memory: \$\{\w+_MEMORY_LIMIT:\?\}", text)
    assert re.search(r"^    restart: (unless-stopped|\"no\")$", text, re.MULTILINE)
    assert re.search(
        r"^    logging:( \*logging|\n(      .*\n)*        max-file:)", text, re.MULTILINE
    )
    assert networks(name)
    assert "privileged" not in text


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_a_service_that_keeps_running_has_a_health_check_and_starts_again(name: str) -> None:
    assert "    healthcheck:\n" in service(name)
    assert "    restart: unless-stopped\n" in service(name)


def test_the_migration_is_tried_once() -> None:
    assert '    restart: "no"\n' in service("migrate")


def test_only_nginx_has_a_way_out_and_none_to_the_database() -> None:
    assert {name: networks(name) for name in stack.SERVICES} == {
        "db": ["database"],
        "migrate": ["database"],
        "web": ["server", "database"],
        "nginx": ["frontend", "server"],
    }


def test_an_internal_network_leads_nowhere_and_not_to_the_machine_either() -> None:
    assert re.search(
        r"^x-closed: &closed\n"
        r"  internal: true\n"
        r"  driver_opts:\n"
        r'    com\.docker\.network\.bridge\.inhibit_ipv4: "true"$',
        CODE,
        re.MULTILINE,
    )
    assert CODE.count("\n    <<: *closed\n") == len(("server", "database"))


def test_logs_are_rotated() -> None:
    assert re.search(r"driver: json-file\n  options:\n    max-size: \w+\n    max-file: ", CODE)


def test_the_database_s_data_is_in_a_named_volume() -> None:
    assert "- db:/var/lib/mysql\n" in service("db")
    assert re.search(r"^volumes:\n  db:\n", CODE, re.MULTILINE)


def test_the_model_knows_the_series_of_the_database_image() -> None:
    assert f"    image: mysql:{stack.MYSQL_SERIES}\n" in service("db")


@pytest.mark.parametrize(
    "option",
    [
        "--log-bin-trust-function-creators=ON",
        "--gtid-mode=ON",
        "--enforce-gtid-consistency=ON",
        "--character-set-server=utf8mb4",
        "--collation-server=utf8mb4_0900_bin",
        "--innodb-buffer-pool-size=${DB_BUFFER_POOL:?}",
        "--max-connections=${DB_MAX_CONNECTIONS:?}",
        "--require-secure-transport=ON",
    ],
)
def test_the_database_has_the_options_that_mlflow_and_backups_need(option: str) -> None:
    assert f"- {option}\n" in service("db")


def test_connections_are_renewed_before_mysql_closes_them() -> None:
    found = re.search(r'POOL_RECYCLE: "(\d+)"', service("web"))

    assert found is not None
    assert 0 < int(found[1]) < 28_800


def test_the_server_opens_as_many_connections_as_it_is_told_and_migrate_its_own_few() -> None:
    for name, variable in (("POOL_SIZE", "WEB_POOL_SIZE"), ("MAX_OVERFLOW", "WEB_MAX_OVERFLOW")):
        line = f"MLFLOW_SQLALCHEMYSTORE_{name}: ${{{variable}:?}}\n"
        assert line in service("web")
        assert line not in service("migrate")


def test_no_secret_is_in_the_environment_of_a_container() -> None:
    assert re.findall(r"(?:PASSWORD|SECRET_ACCESS_KEY|PASSPHRASE): ", CODE) == []


# --- The services of backups, which are in an overlay ---

BACKUPS = code(stack.BACKUPS)
GUARDS = ["dump", "backup"]


def test_the_overlay_has_no_version_no_container_names_and_no_defaults() -> None:
    assert not re.search(r"^version:", BACKUPS, re.MULTILINE)
    assert "container_name" not in BACKUPS
    assert re.findall(r"\$\{\w+:?-[^}]*\}", BACKUPS) == []
    assert re.findall(r"(?<!\$)\$\{\w+\}|(?<!\$)\$\w+", BACKUPS) == []
    assert re.findall(r"(?:PASSWORD|SECRET_ACCESS_KEY|PASSPHRASE): ", BACKUPS) == []


def test_the_overlay_adds_its_services_and_what_mysql_has_in_common_with_them() -> None:
    services = BACKUPS[BACKUPS.index("\nservices:\n") : BACKUPS.index("\nvolumes:\n")]

    assert re.findall(r"^  (\w+):$", services, re.MULTILINE) == ["db", *GUARDS]
    assert re.findall(r"^    (\w+):", service("db", BACKUPS), re.MULTILINE) == ["volumes"]


@pytest.mark.parametrize("name", GUARDS)
@pytest.mark.parametrize(
    "line",
    [
        '    user: "999:999"',
        "    read_only: true",
        "    cap_drop: [ALL]",
        "    security_opt: [no-new-privileges:true]",
        "    restart: unless-stopped",
        "    healthcheck:",
        "      mlflow-compose.secrets: ${SECRETS_DIGEST:?}",
    ],
)
def test_a_service_of_backups_may_do_no_more_than_it_has_to(name: str, line: str) -> None:
    assert f"{line}\n" in service(name, BACKUPS)


@pytest.mark.parametrize("name", GUARDS)
def test_a_service_of_backups_has_a_limit_and_logs_that_end(name: str) -> None:
    text = service(name, BACKUPS)

    assert re.search(r"limits:\n +memory: \$\{BACKUP_MEMORY_LIMIT:\?\}", text)
    assert re.search(r"driver: json-file\n +options:\n +max-size: \w+\n +max-file: ", text)


def test_nobody_reaches_the_services_of_backups_and_they_reach_no_docker() -> None:
    assert "ports:" not in BACKUPS
    assert "docker.sock" not in BACKUPS
    assert "privileged" not in BACKUPS


def test_only_the_backup_service_has_a_way_out() -> None:
    assert "    networks: [database]\n" in service("dump", BACKUPS)
    assert "    networks: [frontend, database]\n" in service("backup", BACKUPS)


def test_the_services_of_backups_write_to_a_volume_of_their_own_and_mysql_s_is_read_only() -> None:
    volumes = {
        name: re.findall(r"^    volumes:\n((?:      .*\n)+)", service(name, BACKUPS), re.MULTILINE)
        for name in GUARDS
    }

    assert volumes == {
        "dump": ["      - spool:/spool\n"],
        "backup": [
            (
                "      - type: volume\n"
                "        source: db\n"
                "        target: /var/lib/mysql\n"
                "        read_only: true\n"
                "      - spool:/spool\n"
            )
        ],
    }


def test_the_services_of_backups_have_the_secrets_of_their_own_user_only() -> None:
    assert "    secrets: [backup_client]\n" in service("dump", BACKUPS)
    assert "    secrets: [backup_client, s3_credentials]\n" in service("backup", BACKUPS)
    assert "      AWS_SHARED_CREDENTIALS_FILE: /run/secrets/s3_credentials\n" in BACKUPS


def test_the_images_of_backups_are_ours_and_the_database_s() -> None:
    assert f"    image: mysql:{stack.MYSQL_SERIES}\n" in service("dump", BACKUPS)
    assert "    image: ${BACKUP_IMAGE:?}\n    pull_policy: never\n" in service("backup", BACKUPS)


# --- The service of certificates, which is in overlays too ---

CERTIFICATES, ACME = code(certificates.OVERLAY), code(certificates.PUBLIC_CA)


@pytest.mark.parametrize("text", [CERTIFICATES, ACME], ids=["certificates", "acme"])
def test_the_overlays_of_certificates_have_no_version_no_container_names_and_no_defaults(
    text: str,
) -> None:
    assert not re.search(r"^version:", text, re.MULTILINE)
    assert "container_name" not in text
    assert re.findall(r"\$\{\w+:?-[^}]*\}", text) == []
    assert re.findall(r"(?<!\$)\$\{\w+\}|(?<!\$)\$\w+", text) == []


@pytest.mark.parametrize(
    "line",
    [
        '    user: "101:101"',
        "    read_only: true",
        "    cap_drop: [ALL]",
        "    security_opt: [no-new-privileges:true]",
        "    restart: unless-stopped",
        "    healthcheck:",
        "      mlflow-compose.secrets: ${SECRETS_DIGEST:?}",
        "    image: ${CERTIFICATES_IMAGE:?}",
        "    pull_policy: never",
        "          memory: ${CERTIFICATES_MEMORY_LIMIT:?}",
        "    secrets: [ca_secret]",
    ],
)
def test_the_service_of_certificates_may_do_no_more_than_it_has_to(line: str) -> None:
    assert f"{line}\n" in service("certificates", CERTIFICATES)


def test_who_makes_certificates_by_itself_reaches_nobody_and_who_asks_for_them_no_database() -> (
    None
):
    assert "    networks: [nobody]\n" in service("certificates", CERTIFICATES)
    assert "  nobody:\n    internal: true\n" in CERTIFICATES
    assert "    networks: !override [frontend]\n" in service("certificates", ACME)
    assert "ports:" not in CERTIFICATES + ACME
    assert "docker.sock" not in CERTIFICATES + ACME


def test_who_asks_a_ca_has_no_key_to_one() -> None:
    assert "    secrets: !override [acme_ca]\n" in service("certificates", ACME)
    assert re.search(r"^secrets:\n  ca_secret: !reset null\n", ACME, re.MULTILINE)


def test_nginx_reads_certificates_and_writes_none() -> None:
    text = service("nginx", CERTIFICATES)

    assert re.findall(r"source: (\w+)\n +target: (\S+)\n +read_only: true", text) == [
        ("certificates", "/certificates"),
        ("challenges", "/challenges"),
    ]
    # Whoever comes first to an empty volume says whose it is, and NGINX's image has no such folder.
    assert text.count("nocopy: true") == 2


@pytest.mark.parametrize("folder", ["compose", "nginx", "mlflow", "backup", "certificates"])
def test_folders_of_configuration_hold_no_python_but_the_server_s_own_plugin(folder: str) -> None:
    found = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py")}

    assert found <= {*stack.PLUGIN}


# --- Requirements ---


def pins(name: str) -> dict[str, str]:
    """Return the pinned versions of a requirements file, with their markers."""
    found = re.findall(r"^([a-z0-9._-]+)==(\S+)(?: ; (.*?))? \\$", read(name), re.MULTILINE)
    return {f"{package} {marker}": version for package, version, marker in found}


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_are_pinned_by_hash_and_name_no_address(name: str) -> None:
    text = read(name)
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    heads = [line for line in lines if not line.startswith(" ")]

    assert "://" not in text
    assert not re.search(r"--(?:extra-)?index-url|--find-links|--trusted-host", text)
    assert len(heads) == len(pins(name))
    for head, following in pairwise(lines):
        if not head.startswith(" "):
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?", following), head


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_are_of_their_input_file(name: str) -> None:
    wanted = re.findall(r"^([a-z][\w-]*)", read(name.replace(".txt", ".in")), re.MULTILINE)
    pinned = {key.split()[0] for key in pins(name)}

    assert {re.sub("[-_.]+", "-", package) for package in wanted} <= pinned


def test_what_several_requirement_files_pin_they_pin_alike() -> None:
    versions: dict[str, set[str]] = {}
    for name in REQUIREMENTS:
        for package, version in pins(name).items():
            versions.setdefault(package.split()[0], set()).add(version)
    # Two versions of one package for two Pythons are in one file, with markers.
    forked = {
        key.split()[0]
        for name in REQUIREMENTS
        for key in pins(name)
        if "python" in key.split(" ", 1)[1]
    }

    assert {package for package, found in versions.items() if len(found) > 1} <= forked


def test_operators_do_not_install_mlflow() -> None:
    assert not [key for key in pins("requirements.txt") if key.startswith("mlflow")]
    assert not [key for key in pins("requirements-dev.txt") if key.startswith("mlflow")]
    assert pins("mlflow/requirements.txt")["mlflow "] == "3.17.2"


# --- Modules ---


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports, of ops with their names, of others by package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "ops":
            found |= {f"ops.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_module_has_its_test_file(path: Path) -> None:
    assert (ROOT / "tests" / f"test_{path.stem}.py").exists()


@pytest.mark.parametrize("path", [*MODULES, ROOT / "tasks.py"], ids=lambda path: path.stem)
def test_nothing_here_imports_mlflow(path: Path) -> None:
    assert not [name for name in imports(path) if name.partition(".")[0] == "mlflow"]


def order() -> list[str]:
    """Return the modules in the order in which ops/__init__.py lists them."""
    text = ast.get_docstring(ast.parse(read("ops/__init__.py"))) or ""
    return [name for name in re.findall(r"`(\w+)`", text) if (ROOT / "ops" / f"{name}.py").exists()]


def test_the_list_of_modules_is_whole() -> None:
    assert sorted({*order()}) == [path.stem for path in MODULES]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_point_up_the_list_only(path: Path) -> None:
    above = order()[: order().index(path.stem)]
    own = {name.removeprefix("ops.") for name in imports(path) if name.startswith("ops.")}

    assert own - set(above) == set()


@pytest.mark.parametrize("name", ["migration", "rekeying", "issuing", "reader"])
def test_a_job_beside_mlflow_stands_apart(name: str) -> None:
    for path in [*MODULES, ROOT / "tasks.py"]:
        assert f"ops.{name}" not in imports(path)
    assert not [each for each in imports(ROOT / "ops" / f"{name}.py") if each.startswith("ops")]


def closure(name: str) -> tuple[set[str], set[str]]:
    """Return what a module imports, by itself or by others: modules of ops, and packages.

    Within functions too: there, what is slow to import is imported late.
    """
    own, others, ahead = set[str](), set[str](), [name]
    while ahead:
        module = ahead.pop()
        if module not in own:
            own.add(module)
            found = imports(ROOT / "ops" / f"{module}.py")
            ahead += [each.removeprefix("ops.") for each in found if each.startswith("ops.")]
            others |= {each.partition(".")[0] for each in found if not each.startswith("ops")}
    return own, others - sys.stdlib_module_names


@pytest.mark.parametrize(
    ("name", "program", "modules", "inputs"),
    [
        ("backup", "keeper", stack.BACKUP_MODULES, stack.BACKUP_INPUTS),
        ("certificates", "certifier", certificates.MODULES, certificates.INPUTS),
    ],
    ids=["backup", "certificates"],
)
def test_the_image_of_a_service_of_ours_has_the_modules_that_it_imports_and_no_other(
    name: str, program: str, modules: tuple[str, ...], inputs: tuple[str, ...]
) -> None:
    ignored, *seen = read(f"{name}/Dockerfile.dockerignore").split()
    own = {f"!{name}/Dockerfile", f"!{name}/Dockerfile.dockerignore"}

    assert set(modules) == closure(program)[0]
    assert len(modules) == len({*modules})
    assert ignored == "*"
    assert {*seen} == {f"!{each}" for each in inputs} - own


def test_the_certificate_service_is_given_every_package_that_it_imports_and_no_other() -> None:
    wanted = re.findall(r"^([a-z][\w-]*)", read("certificates/requirements.in"), re.MULTILINE)

    # `values` reads public keys of age with pyrage, and is asked for none here.
    assert {*wanted} == closure("certifier")[1] - {"pyrage"}


PACKAGES = {"dotenv": "python-dotenv", "botocore": "boto3"}
"""Packages that are called otherwise than what is imported, or come with another."""


def test_the_backup_service_is_given_every_package_that_it_imports_and_no_other() -> None:
    wanted = re.findall(r"^([a-z][\w-]*)", read("backup/requirements.in"), re.MULTILINE)
    imported = {PACKAGES.get(name, name) for name in closure("keeper")[1]}
    imported -= {name for name in imported if name.startswith("mypy_")}  # types only

    # PyMySQL asks for it once MySQL does.
    assert {*wanted} == imported | {"cryptography"}


def test_tasks_import_nothing_of_ops_before_they_are_called() -> None:
    tree = ast.parse(read("tasks.py"))
    top = [node for node in tree.body if isinstance(node, ast.ImportFrom | ast.Import)]

    assert not [node for node in top if "ops" in ast.dump(node)]
