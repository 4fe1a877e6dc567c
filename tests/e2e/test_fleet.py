"""Three hosts as one server: one MySQL elsewhere, a load balancer in front, moved together."""

import datetime as dt
import ipaddress
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests import lab
from tests.e2e.conftest import Project, output, s3_settings
from tests.e2e.load import Load
from tests.e2e.machines import known, on, several, sweep, team_settings
from tests.e2e.test_deploy import Upload, changed, cost, releases, servers

COUNT = 3
PASSWORD = "fleet-password-0123456789"
DATABASE = "e2e-fleet-db"
BALANCER = "e2e-fleet-balancer"

# Requests go round; none is tried on another host, so that each failure is seen.
BALANCE = """
events {{}}
http {{
    access_log off;
    upstream hosts {{ {servers} keepalive 32; }}
    server {{
        listen 80;
        client_max_body_size 0;
        location / {{
            proxy_pass http://hosts;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_read_timeout 300s;
            proxy_next_upstream off;
        }}
    }}
}}
"""


def certificate(folder: Path, address: str) -> None:
    """Make a CA, and the key and certificate of a server at an address."""
    now = dt.datetime.now(dt.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("the CA", address)
    ]
    for number, (key, name) in enumerate(zip(keys, names, strict=True)):
        is_ca = number == 0
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(names[0])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=2))
            .not_valid_after(now + dt.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if not is_ca:
            place = x509.IPAddress(ipaddress.ip_address(address))
            builder = builder.add_extension(x509.SubjectAlternativeName([place]), critical=False)
        made = builder.sign(keys[0], hashes.SHA256())
        pem = made.public_bytes(serialization.Encoding.PEM)
        (folder / ("ca.pem" if is_ca else "server.pem")).write_bytes(pem)
    private = keys[1].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "server-key.pem").write_bytes(private)
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)


def neighbour(machine: lab.Host, number: int) -> str:
    """Return an address on the network of the hosts."""
    return f"{machine.address.rpartition('.')[0]}.{number}"


def network(machine: lab.Host) -> str:
    form = "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}"
    return output("docker", "inspect", "--format", form, machine.name)


def remove(name: str) -> None:
    if output("docker", "ps", "--all", "--quiet", "--filter", f"name=^{name}$"):
        output("docker", "rm", "--force", "--volumes", name)


@pytest.fixture(scope="module")
def machines(the_lab: lab.Lab) -> list[lab.Host]:
    """Three hosts with the official images they need, as they could pull them."""
    assert the_lab.s3
    return several(COUNT)


@pytest.fixture(scope="module")
def database(
    machines: list[lab.Host], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """A MySQL beside the hosts that takes TLS only; the settings that lead to it."""
    folder = tmp_path_factory.mktemp("certificates")
    address = neighbour(machines[0], 200)
    certificate(folder, address)
    remove(DATABASE)
    environ = {"MYSQL_DATABASE": "mlflow", "MYSQL_USER": "mlflow", "MYSQL_PASSWORD": PASSWORD}
    given = environ | {"MYSQL_RANDOM_ROOT_PASSWORD": "yes"}
    output(
        *("docker", "run", "--detach", "--name", DATABASE, "--network", network(machines[0])),
        *("--ip", address, f"--volume={folder}:/certificates:ro"),
        *(f"--env={key}={value}" for key, value in given.items()),
        *("mysql:9.7", "--log-bin-trust-function-creators=ON", "--require-secure-transport=ON"),
        *("--character-set-server=utf8mb4", "--collation-server=utf8mb4_0900_bin"),
        *("--ssl-ca=/certificates/ca.pem", "--ssl-cert=/certificates/server.pem"),
        "--ssl-key=/certificates/server-key.pem",
    )
    yield {
        "DATABASE_HOST": address,
        "DATABASE_CA_FILE": str(folder / "ca.pem"),
        "MYSQL_PASSWORD": PASSWORD,
    }
    remove(DATABASE)


@pytest.fixture(scope="module")
def fleet(
    make_project: Callable[..., Project],
    machines: list[lab.Host],
    database: dict[str, str],
    the_lab: lab.Lab,
) -> Iterator[Project]:
    """A folder of the operator's, and its release on three hosts behind a load balancer."""
    project = make_project(
        "fleet",
        **s3_settings(the_lab, "s3://mlflow-artifacts/fleet"),
        **database,
        **team_settings(*machines),
        BIND_ADDRESS="0.0.0.0",
        # The load balancer ends TLS, in networks that are not of a lab.
        TLS="off",
        ALLOW_INSECURE="true",
        WEB_WORKERS="1",
        WATCH_SECONDS="3",
        DRAIN_SECONDS="120",
    )
    known(project, machines[0])
    for machine in machines:
        sweep(project, machine)
    balance(project, machines)
    project.invoke("deploy", timeout=900)
    yield project
    remove(BALANCER)
    for machine in machines:
        sweep(project, machine)


@pytest.fixture(scope="module")
def team(fleet: Project) -> Project:
    """Whose admin the clients of these tests are."""
    return fleet


def balance(project: Project, machines: list[lab.Host]) -> None:
    """Have a load balancer at the project's address."""
    remove(BALANCER)
    addresses = " ".join(f"server {each.address}:{project.port} max_fails=0;" for each in machines)
    file = project.root.parent / "balancer.conf"
    file.write_text(BALANCE.format(servers=addresses), "utf-8")
    output(
        *("docker", "run", "--detach", "--name", BALANCER, "--network", network(machines[0])),
        *(f"--publish=127.0.0.1:{project.port}:80", f"--volume={file}:/etc/nginx/nginx.conf:ro"),
        "nginx:1.30",
    )


def live(project: Project) -> set[str]:
    """Return the ids of the live releases: one, when the hosts agree."""
    found = [each for each in releases(project) if each["live"]]
    assert COUNT == len(found)
    return {each["id"] for each in found}


@pytest.mark.usefixtures("impatient", "logged_in")
def test_three_hosts_move_together_and_no_request_fails(
    fleet: Project, machines: list[lab.Host], tmp_path: Path, measured: Callable[[str], None]
) -> None:
    before = live(fleet)
    with Load(fleet.url, writers=2, readers=1).running() as load:
        upload = Upload(fleet.url, tmp_path)
        upload.start()
        with changed(fleet, "mlflow/entrypoint.sh", "# changed for the fleet\n"):
            done = fleet.invoke("deploy", timeout=900)
        changed_to = live(fleet)
        back = fleet.invoke("rollback", timeout=900)
        upload.verify()

    measured(f"probes: {cost(done.stderr)}, {cost(back.stderr)} (made, failed); {load.report()}")
    assert (0, 0) == (cost(done.stderr)[1], cost(back.stderr)[1]), done.stderr + back.stderr
    assert ([], 0) == (load.failures, load.failed_reads)
    assert load.writes > 20
    load.verify()
    assert len(before | changed_to | live(fleet)) == 3
    assert {"rollback"} == {each["what"].split()[0] for each in releases(fleet) if each["live"]}
    assert [1] * COUNT == [len(servers(fleet, machine)) for machine in machines]
    assert all(not on(each, "docker", "ps", "-aq", "--filter", "name=-db-") for each in machines)


def test_when_one_host_fails_all_go_back(fleet: Project, machines: list[lab.Host]) -> None:
    before, running = live(fleet), [servers(fleet, machine) for machine in machines]
    last = machines[-1]
    used = on(last, "docker", "ps", "--all", "--format", "{{.Names}}").split()
    taken = sorted({f"{fleet.name}-web-{number}" for number in range(1, 9)} - {*used})
    for name in taken:
        on(last, "docker", "create", "--name", name, "nginx:1.30")
    try:
        with changed(fleet, "mlflow/entrypoint.sh", "# never to be seen\n"):
            done = fleet.invoke("deploy", expect=1, timeout=900)
    finally:
        on(last, "docker", "rm", *taken)

    assert "new server failed: going back" in done.stderr
    assert any(f'The container name "/{name}" is already in use' in done.stderr for name in taken)
    assert before == live(fleet)
    assert running == [servers(fleet, machine) for machine in machines]
    fleet.smoke()


def test_a_server_that_does_not_prove_its_name_is_not_talked_to(
    fleet: Project, machines: list[lab.Host], tmp_path: Path
) -> None:
    before = live(fleet)
    certificate(tmp_path, neighbour(machines[0], 200))  # another CA
    right = _setting(fleet, "DATABASE_CA_FILE")
    fleet.set(DATABASE_CA_FILE=str(tmp_path / "ca.pem"))
    try:
        done = fleet.invoke("deploy", expect=1, timeout=900)
    finally:
        fleet.set(DATABASE_CA_FILE=right)

    assert "does not prove that it is the database" in done.stderr
    assert "set DATABASE_CA_FILE to the CA" in done.stderr
    assert before == live(fleet)


def _setting(fleet: Project, key: str) -> str:
    lines = (fleet.root / ".env").read_text("utf-8").splitlines()
    [found] = [line.split("'")[1] for line in lines if line.startswith(f"{key}=")]
    return found


def test_every_host_is_well_and_doctor_asks_the_database_elsewhere(
    fleet: Project, machines: list[lab.Host]
) -> None:
    rows = json.loads(fleet.invoke("doctor", "--json", expect=None, timeout=300).stdout)
    names = {f"{each.user}@{each.address}" for each in machines}
    asked = {row["host"]: row for row in rows if row["check"] == "mysql"}

    assert names == set(asked)
    assert {"ok"} == {row["state"] for row in asked.values()}, asked
    assert {"ok"} == {row["state"] for row in rows if row["check"] == "services"}


def test_two_hosts_with_a_database_each_are_refused(
    make_project: Callable[..., Project], machines: list[lab.Host]
) -> None:
    project = make_project("apart", **team_settings(*machines[:2]))
    known(project, machines[0])
    done = project.invoke("deploy", expect=2)

    assert "2 hosts would each have a database of their own" in done.stderr
    for machine in machines[:2]:
        assert not on(machine, "sh", "-c", f"ls -d /home/{machine.user}/{project.name} || :")
