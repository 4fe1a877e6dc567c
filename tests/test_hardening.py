"""What no service may have or lack, in every kind of stack; linters do not look at all of it.

The list is that of the CIS Docker Benchmark, as far as a description can show it.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from ops import stack
from tests.rendered import KINDS, described, flat, nginx_files, settings

Service = dict[str, Any]

SERVICES = [
    pytest.param(kind, name, service, id=f"{kind}-{name}")
    for kind in KINDS
    for name, service in described(kind)["services"].items()
    if service is not None
]
each_service = pytest.mark.parametrize(("kind", "name", "service"), SERVICES)
each_kind = pytest.mark.parametrize("kind", KINDS)

CONFIGURATIONS = {
    "nginx": ["/etc/nginx/releases"],
    "egress": ["/usr/local/apache2/conf/egress"],
}
ROOTS = {"0", "root"}
SECRET = re.compile(r"password|passphrase|secret|token|(?:^|_)key(?:_|$)|credential", re.IGNORECASE)


@each_kind
def test_the_services_are_those_of_the_model(kind: str) -> None:
    found = [name for name, service in described(kind)["services"].items() if service]

    assert sorted(found) == sorted(stack.services(settings(kind)))


@each_service
def test_it_is_nobody_special_in_a_container_that_it_cannot_change(
    kind: str, name: str, service: Service
) -> None:
    user, group = service["user"].split(":")

    assert not {user, group} & ROOTS, f"{kind} {name}"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@each_service
@pytest.mark.parametrize(
    "key",
    [
        *("privileged", "cap_add", "devices", "device_cgroup_rules", "group_add", "sysctls"),
        *("network_mode", "pid", "ipc", "uts", "userns_mode", "cgroup", "cgroup_parent"),
        *("extra_hosts", "env_file", "external_links", "volumes_from", "build", "container_name"),
    ],
)
def test_it_has_nothing_that_opens_it(kind: str, name: str, service: Service, key: str) -> None:
    assert key not in service, f"{kind} {name}"


@each_service
def test_it_has_limits(kind: str, name: str, service: Service) -> None:
    limits = service["deploy"]["resources"]["limits"]

    assert re.fullmatch(r"\d+[mg]", limits["memory"]), f"{kind} {name}"
    assert 0 < limits["pids"] <= 8192


@each_service
def test_it_starts_again_and_says_how_it_is_unless_it_is_a_job(
    kind: str, name: str, service: Service
) -> None:
    if name == "migrate":
        assert (service["restart"], "healthcheck" in service) == ("no", False)
        return
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, f"{kind} {name}"
    assert {"interval", "timeout", "retries", "start_period"} <= service["healthcheck"].keys()


@each_service
def test_its_logs_end(kind: str, name: str, service: Service) -> None:
    assert service["logging"]["driver"] == "json-file", f"{kind} {name}"
    assert {"max-size", "max-file"} <= service["logging"]["options"].keys()


def mounts(service: Service) -> Iterator[tuple[str, str]]:
    """Yield the source and the target of what a service mounts."""
    for each in service.get("volumes", []):
        if isinstance(each, str):
            source, target = each.split(":")[:2]
            yield source, target
        else:
            yield each["source"], each["target"]


@each_service
def test_it_mounts_nothing_of_the_machine_but_its_configuration(
    kind: str, name: str, service: Service
) -> None:
    binds = [(source, target) for source, target in mounts(service) if "/" in source]
    volumes = described(kind)["volumes"]

    assert [target for _, target in binds] == CONFIGURATIONS.get(name, [])
    assert all(source in volumes for source, _ in mounts(service) if "/" not in source)
    for each in service.get("volumes", []):
        if isinstance(each, dict) and each["type"] == "bind":
            assert each["read_only"] is True


@each_service
def test_what_it_may_write_to_in_memory_is_small_and_runs_nothing(
    kind: str, name: str, service: Service
) -> None:
    for each in service.get("tmpfs", []):
        options = each.partition(":")[2].split(",")
        sizes = [option for option in options if re.fullmatch(r"size=\d+m", option)]

        assert len(sizes) == 1, f"{kind} {name}: {each}"
        assert {"noexec", "nosuid", "nodev"} <= set(options)


@each_service
def test_its_image_is_one_of_ours_or_of_a_named_series(
    kind: str, name: str, service: Service
) -> None:
    image = service["image"]
    ours = image.startswith(stack.OWN)

    assert image in (*stack.BASES, *stack.own_images(settings(kind))), f"{kind} {name}"
    assert ours == (service.get("pull_policy") == "never")
    assert image.rpartition(":")[2] not in {"", "latest", image}


@each_service
def test_no_secret_is_in_its_environment_its_command_or_its_labels(
    kind: str, name: str, service: Service
) -> None:
    environ = service.get("environment", {})
    named = {key: value for key, value in environ.items() if SECRET.search(key)}
    shown = repr({**service, "secrets": []})

    assert all(re.match(r"/run/secrets/|true$", each) for each in named.values()), f"{kind} {name}"
    for secret in ("mysql-password-1", "mysql-root-password-1", "kek-passphrase-1"):
        assert secret not in shown


@each_kind
def test_only_nginx_listens_outside_and_only_on_the_address_that_is_set(kind: str) -> None:
    found = {
        name: service["ports"]
        for name, service in described(kind)["services"].items()
        if service and "ports" in service
    }

    assert [*found] == ["nginx"]
    assert {port["host_ip"] for port in found["nginx"]} == {settings(kind).bind_address}


@each_kind
def test_server_and_database_have_no_way_out_and_nginx_none_to_the_latter(kind: str) -> None:
    made = described(kind)
    networks = {
        name: set(service["networks"]) for name, service in made["services"].items() if service
    }
    inside = {
        name for name, network in made["networks"].items() if network and network.get("internal")
    }

    assert networks["nginx"] & {"database"} == set()
    if "db" in networks:
        out = {"frontend"} if kind == "calling" else set()
        assert networks["db"] | networks["migrate"] | networks["web"] - out <= inside
        assert networks["web"] & networks["nginx"] & inside
        assert out <= networks["web"]
    for name in inside - {"nobody"}:
        assert "com.docker.network.bridge.inhibit_ipv4" in made["networks"][name]["driver_opts"]


@each_kind
def test_every_secret_is_a_file_and_somebody_reads_it(kind: str) -> None:
    made = described(kind)
    secrets = {name: secret for name, secret in made["secrets"].items() if secret}
    read = {
        each if isinstance(each, str) else each["source"]
        for service in made["services"].values()
        if service
        for each in service.get("secrets", [])
    }

    assert all(secret.keys() == {"file"} for secret in secrets.values())
    assert read == secrets.keys()


@each_kind
def test_nginx_is_told_no_user_and_the_places_that_it_may_write_to(kind: str) -> None:
    lines = [line.strip() for line in flat(nginx_files(kind))]
    tmpfs = [each.partition(":")[0] for each in described(kind)["services"]["nginx"]["tmpfs"]]
    [pid] = [line for line in lines if line.startswith("pid ")]

    assert not [line for line in lines if line.startswith("user ")]
    assert pid == "pid /run/nginx.pid;"
    assert tmpfs == ["/run", "/var/cache/nginx"]
    # Else it would write where the root of the container is, which it may not.
    assert not [line for line in lines if re.match(r"\w+_temp_path ", line)]
    listens = [
        int(line.rpartition(":")[2])
        for line in re.findall(r"listen (?:[\d.]+:)?(\d+)", "\n".join(lines))
    ]
    assert min(listens) >= 1024
