"""People who log in, on a real MLflow with basic auth: what they may do, and what the tasks do."""

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from ops.front_door import FrontDoor, RequestError
from ops.resources import ALL_ONLY, ONE_OR_ALL, PERMISSIONS, Resource
from tests.conftest import copy_project
from tests.e2e.conftest import ROOT, free_port, wait_for

CONFIG = """\
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///{folder}/auth.db
admin_username = admin
admin_password = {password}
auth_cache_ttl_seconds = 30
"""
PASSWORD = "a-password-of-the-admin"
ANAS = "correct horse battery"
NUMBERS = count(1)


@dataclass
class Server:
    """A server, and a copy of this repository whose settings are for it."""

    project: Path
    url: str
    environ: dict[str, str]

    def invoke(
        self, *words: str, said: str = "", expect: int = 0
    ) -> "subprocess.CompletedProcess[str]":
        """Run a task with `said` piped in; fail the test unless it ends with this code."""
        done = subprocess.run(
            [sys.executable, "-m", "invoke", *words],
            cwd=self.project,
            env=self.environ,
            input=said,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert expect == done.returncode, f"{words}:\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def door(self, name: str, password: str = ANAS) -> FrontDoor:
        """Return the server as a user sees it."""
        login = base64.b64encode(f"{name}:{password}".encode()).decode()
        return FrontDoor(self.url, {"Authorization": f"Basic {login}"})

    def person(self) -> "Person":
        """Add somebody of a new name."""
        name = f"ana{next(NUMBERS)}"
        self.invoke("add-user", name, said=f"{ANAS}\n")
        return Person(name, self.door(name))

    def grants(self, name: str) -> dict[str, str]:
        """Return what somebody was granted, as a script reads it."""
        [found] = json.loads(self.invoke("list-users", "--json", "--name", name).stdout)
        return {each["resource"]: each["permission"] for each in found["grants"]}


@dataclass
class Person:
    """Somebody who logs in."""

    name: str
    door: FrontDoor

    def create(self, name: str) -> str:
        """Create an experiment; return its id."""
        answer = self.door.call("POST", "/experiments/create", {"name": name})
        return str(answer["experiment_id"])

    def log(self, experiment: str) -> str:
        """Begin a run; return its id."""
        run = self.door.call("POST", "/runs/create", {"experiment_id": experiment})["run"]
        return str(run["info"]["run_id"])

    def seen(self) -> list[str]:
        """Return the names of the experiments that are listed."""
        found = self.door.call("POST", "/experiments/search", {"max_results": 1000})
        return [each["name"] for each in found.get("experiments", [])]

    def read(self, experiment: str) -> None:
        self.door.call("GET", "/experiments/get", {"experiment_id": experiment})

    def register(self, name: str) -> None:
        self.door.call("POST", "/registered-models/create", {"name": name})


def answer(action: Callable[[], object]) -> int:
    """Return the status of what a user gets."""
    try:
        action()
    except RequestError as error:
        return error.status
    return 200


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """MLflow with SQLite and basic auth, with NO_PERMISSIONS as the default."""
    folder = tmp_path_factory.mktemp("mlflow")
    (folder / "auth.ini").write_text(CONFIG.format(folder=folder, password=PASSWORD), "utf-8")
    own = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a-key-of-this-test",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    port = free_port()
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--app-name=basic-auth"),
                *("--host=127.0.0.1", f"--port={port}", "--workers=1"),
                *(f"--backend-store-uri=sqlite:///{folder}/mlflow.db", "--serve-artifacts"),
                f"--artifacts-destination={folder}/artifacts",
            ],
            cwd=folder,
            env=os.environ | own,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    project = copy_project(folder / "project")
    env = {"AUTH": "basic", "ADMIN_PASSWORD": PASSWORD, "HTTP_PORT": str(port)}
    lines = "".join(f"{key}='{value}'\n" for key, value in env.items())
    (project / ".env").write_text(lines, "utf-8")
    environ = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    made = Server(project, f"http://localhost:{port}", environ)
    try:
        admin = made.door("admin", PASSWORD)
        wait_for(
            lambda: running.poll() is not None or answer(admin.answers) == 200, 120, "an answer"
        )
        assert running.poll() is None, (folder / "log").read_text("utf-8")
        yield made
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGTERM)
        running.wait(30)


@pytest.fixture
def owner(server: Server) -> Person:
    """Somebody with an experiment of their own."""
    return server.person()


@pytest.fixture
def other(server: Server) -> Person:
    """Somebody who was given nothing."""
    return server.person()


def a_name(what: str) -> str:
    return f"{what}-{next(NUMBERS)}"


def test_who_was_given_nothing_may_make_things_and_sees_nothing_of_others(
    owner: Person, other: Person, server: Server
) -> None:
    theirs, model = a_name("theirs"), a_name("model")
    experiment = owner.create(theirs)
    run = owner.log(experiment)
    owner.register(model)
    artifact = f"/api/2.0/mlflow-artifacts/artifacts/{experiment}/{run}/artifacts/weights"
    owner.door.request("PUT", artifact, body=b"1")

    assert theirs in owner.seen()
    assert {f"experiment:{experiment}": "MANAGE", f"model:{model}": "MANAGE"} == server.grants(
        owner.name
    )
    assert [] == other.seen()
    tried = {
        "read": lambda: other.read(experiment),
        "log": lambda: other.log(experiment),
        "run": lambda: other.door.call("GET", "/runs/get", {"run_id": run}),
        "artifact": lambda: other.door.request("GET", artifact),
        "model": lambda: other.door.call("GET", "/registered-models/get", {"name": model}),
        "default": lambda: other.log("0"),
        "create": lambda: other.create(a_name("own")),
        "register": lambda: other.register(a_name("model")),
        "users": lambda: other.door.call("GET", "/users/list", {}),
        "add": lambda: other.door.call("POST", "/users/create", {"username": "x", "password": "y"}),
    }
    assert {
        **dict.fromkeys(("read", "log", "run", "artifact", "model", "default", "add"), 403),
        **dict.fromkeys(("create", "register", "users"), 200),
    } == {what: answer(action) for what, action in tried.items()}


@pytest.mark.parametrize(
    ("permission", "answers"),
    [
        ("READ", [200, 403, 403, 403, 403]),
        ("USE", [200, 403, 403, 403, 403]),
        ("EDIT", [200, 200, 200, 403, 403]),
        ("MANAGE", [200, 200, 200, 200, 200]),
        ("DENY", [403, 403, 403, 403, 403]),
    ],
)
def test_a_permission_is_for_this_much(
    server: Server, owner: Person, other: Person, permission: str, answers: list[int]
) -> None:
    experiment, name = owner.create(a_name("theirs")), a_name("renamed")
    server.invoke("grant", other.name, f"experiment:{experiment}", permission)
    mine = {"experiment_id": experiment}
    given = {"username": owner.name, "resource_type": "experiment", "resource_id": experiment}
    rename = mine | {"new_name": name}
    share = {**given, "permission": "READ", "username": server.person().name}

    assert answers == [
        answer(lambda: other.read(experiment)),
        answer(lambda: other.log(experiment)),
        answer(lambda: other.door.call("POST", "/experiments/update", rename)),
        answer(lambda: other.door.call("POST", "/users/permissions/grant", share, "3.0")),
        answer(lambda: other.door.call("POST", "/experiments/delete", mine)),
    ]


def test_who_logs_in_needs_the_password_that_was_piped_in(server: Server) -> None:
    name = a_name("ben")
    done = server.invoke("add-user", name, said=f"{ANAS}\n")

    assert "" == done.stdout
    assert f"{name} may log in at http://localhost:" in done.stderr
    assert f"invoke grant {name} experiment:NAME READ" in done.stderr
    assert 200 == answer(server.door(name).answers)
    assert 401 == answer(server.door(name, "another password").answers)
    assert ANAS not in done.stderr


def test_a_made_password_is_all_that_is_on_stdout_and_lets_in(server: Server) -> None:
    name = a_name("ben")
    first = server.invoke("add-user", name, "--generate").stdout
    second = server.invoke("set-password", name, "--generate").stdout

    assert 1 == len(first.splitlines()) == len(second.splitlines())
    assert 401 == answer(server.door(name, first.strip()).answers)
    assert 200 == answer(server.door(name, second.strip()).answers)


def test_a_user_who_is_there_is_not_added_again(server: Server, owner: Person) -> None:
    done = server.invoke("add-user", owner.name, said="some other password\n", expect=2)

    assert f"there is a user {owner.name} already" in done.stderr
    assert 200 == answer(owner.door.answers)


def test_another_admin_may_do_everything(server: Server, owner: Person) -> None:
    name, experiment = a_name("ben"), owner.create(a_name("theirs"))
    server.invoke("add-user", name, "--admin", said=f"{ANAS}\n")
    Person(name, server.door(name)).read(experiment)
    rows = server.invoke("list-users").stdout.splitlines()

    assert [["admin", "admin"], [name, "admin"]] == [
        row.split()[:2] for row in rows if row.split()[1] == "admin"
    ]
    server.invoke("remove-user", name, "--confirm", name)


def test_an_experiment_is_given_by_its_name_or_its_id(
    server: Server, owner: Person, other: Person
) -> None:
    name = a_name("an experiment: of ours")
    experiment = owner.create(name)
    done = server.invoke("grant", other.name, f"experiment:{name}", "read")

    assert f"{other.name} has READ on experiment:{experiment} ({name})\n" == done.stderr
    assert [name] == other.seen()
    server.invoke("revoke", other.name, f"experiment:{experiment}")
    assert [] == other.seen()


def test_a_name_that_is_another_one_s_id_is_refused(
    server: Server, owner: Person, other: Person
) -> None:
    first = owner.create(a_name("first"))
    second = owner.create(first)
    done = server.invoke("grant", other.name, f"experiment:{first}", "EDIT", expect=2)

    assert "is the name of one experiment and the id of another" in done.stderr
    server.invoke("grant", other.name, f"experiment:{second}", "EDIT")
    assert {f"experiment:{second}": "EDIT"} == server.grants(other.name)


def test_a_permission_takes_the_place_of_the_one_before(
    server: Server, owner: Person, other: Person
) -> None:
    experiment = owner.create(a_name("theirs"))
    for permission, code in (("EDIT", 200), ("READ", 403), ("READ", 403), ("MANAGE", 200)):
        server.invoke("grant", other.name, f"experiment:{experiment}", permission)
        assert code == answer(lambda: other.log(experiment))

    assert {f"experiment:{experiment}": "MANAGE"} == server.grants(other.name)


def test_all_of_a_kind_is_given_with_a_star_and_one_of_them_denied(
    server: Server, owner: Person, other: Person
) -> None:
    open_, closed = owner.create(a_name("open")), owner.create(a_name("closed"))
    server.invoke("grant", other.name, "experiment:*", "READ")
    server.invoke("grant", other.name, f"experiment:{closed}", "DENY")

    assert 200 == answer(lambda: other.read(open_))
    assert 403 == answer(lambda: other.read(closed))


def test_models_and_prompts_are_told_apart(server: Server, owner: Person, other: Person) -> None:
    model, prompt = a_name("model"), a_name("prompt")
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]
    owner.register(model)
    owner.door.call("POST", "/registered-models/create", {"name": prompt, "tags": tags})
    server.invoke("grant", other.name, f"model:{model}", "READ")
    server.invoke("grant", other.name, f"prompt:{prompt}", "READ")

    assert {f"model:{model}": "MANAGE", f"prompt:{prompt}": "MANAGE"} == server.grants(owner.name)
    for name in (model, prompt):
        other.door.call("GET", "/registered-models/get", {"name": name})
    done = server.invoke("grant", other.name, f"model:{prompt}", "READ", expect=2)
    assert f"{prompt} is a prompt\n  try: write prompt:{prompt}" in done.stderr


@pytest.mark.parametrize(
    "resource", ["experiment:nowhere", "experiment:999999", "model:nowhere", "prompt:nowhere"]
)
def test_what_is_not_there_is_not_granted(server: Server, other: Person, resource: str) -> None:
    kind, _, name = resource.partition(":")
    done = server.invoke("grant", other.name, resource, "READ", expect=2)
    assert f"error: there is no {kind} {name!r}\n" in done.stderr

    done = server.invoke("revoke", other.name, resource, expect=2)
    assert f"{other.name} was given nothing on {resource}" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("remove-user", "nobody", "--confirm=nobody"),
        ("set-password", "nobody"),
        ("grant", "nobody", "experiment:*", "READ"),
        ("revoke", "nobody", "experiment:*"),
        ("list-users", "--name=nobody"),
    ],
)
def test_who_is_not_there_is_said_so(server: Server, words: tuple[str, ...]) -> None:
    done = server.invoke(*words, said=f"{ANAS}\n", expect=2)

    assert "error: there is no user 'nobody'\n  try: see who there is" in done.stderr


def test_the_rights_of_a_role_are_shown_and_changed_elsewhere(
    server: Server, owner: Person, other: Person
) -> None:
    experiment = owner.create(a_name("theirs"))
    admin, role = server.door("admin", PASSWORD), a_name("readers")
    body = {"workspace": "default", "name": role}
    identity = admin.call("POST", "/roles/create", body, "3.0")["role"]["id"]
    body = {"resource_type": "experiment", "resource_pattern": experiment, "permission": "READ"}
    admin.call("POST", "/roles/permissions/add", {"role_id": identity, **body}, "3.0")
    admin.call("POST", "/roles/assign", {"username": other.name, "role_id": identity}, "3.0")

    listed = server.invoke("list-users", "--name", other.name).stdout
    assert f"READ    experiment:{experiment} (" in listed
    assert f"by the role {role}\n" in listed
    done = server.invoke("revoke", other.name, f"experiment:{experiment}", expect=2)
    assert f"it comes with the role {role}" in done.stderr


def test_who_is_removed_gets_in_no_more_and_what_they_made_stays(
    server: Server, owner: Person
) -> None:
    name = a_name("theirs")
    experiment = owner.create(name)
    refused = server.invoke("remove-user", owner.name, expect=2)
    assert f"repeat it with --confirm {owner.name}" in refused.stderr
    assert 200 == answer(owner.door.answers)
    wrong = server.invoke("remove-user", owner.name, "--confirm", "ben", expect=2)
    assert "--confirm ben is not" in wrong.stderr

    done = server.invoke("remove-user", owner.name, "--confirm", owner.name)
    assert f"{owner.name} manages 1 experiment; all of it stays" in done.stderr
    assert 401 == answer(owner.door.answers)
    Person("admin", server.door("admin", PASSWORD)).read(experiment)

    server.invoke("add-user", owner.name, said=f"{ANAS}\n")
    assert {} == server.grants(owner.name)
    assert 403 == answer(lambda: owner.read(experiment))


def test_the_admin_is_neither_added_nor_removed(server: Server) -> None:
    server.invoke("add-user", "Admin", said=f"{ANAS}\n", expect=2)
    done = server.invoke("remove-user", "admin", "--confirm=admin", expect=2)

    assert "admin stays: the tasks log in as it" in done.stderr
    assert 200 == answer(server.door("admin", PASSWORD).answers)


def test_the_admin_s_new_password_is_in_env_and_the_tasks_go_on(server: Server) -> None:
    env = server.project / ".env"
    server.invoke("set-password", "admin", said="has a 'quote' in it\n", expect=2)
    made = server.invoke("set-password", "admin", "--generate").stdout.strip()

    assert f"ADMIN_PASSWORD='{made}'\n" in env.read_text("utf-8")
    assert 200 == answer(server.door("admin", made).answers)
    assert 401 == answer(server.door("admin", PASSWORD).answers)
    server.invoke("list-users")
    server.invoke("set-password", "admin", said=f"{PASSWORD}\n")
    assert f"ADMIN_PASSWORD='{PASSWORD}'\n" in env.read_text("utf-8")


def test_another_password_of_the_admin_is_named_and_the_runbook_s_lines_help(
    server: Server,
) -> None:
    admin = server.door("admin", PASSWORD)
    body = {"username": "admin", "password": "set elsewhere", "current_password": PASSWORD}
    admin.call("PATCH", "/users/update-password", body)
    done = server.invoke("list-users", expect=2)
    assert "the server knows admin by another password than ADMIN_PASSWORD" in done.stderr

    text = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    section = text[text.index("\n## the admin's password\n") :]
    script = section[section.index("python - <<'END'\n") :].split("\n", 1)[1].split("\nEND\n")[0]
    environ = server.environ | {"MLFLOW_AUTH_CONFIG_PATH": str(server.project.parent / "auth.ini")}
    subprocess.run([sys.executable, "-c", script], env=environ, timeout=120, check=True)
    server.invoke("list-users")


def test_a_server_without_a_login_is_not_asked(server: Server) -> None:
    environ = server.environ
    server.environ = environ | {"AUTH": "none"}
    try:
        done = server.invoke("list-users", expect=2)
    finally:
        server.environ = environ

    assert "error: nobody logs in to this server: AUTH is none\n" in done.stderr


THEIRS = """
import json
from mlflow.server.auth.permissions import RESOURCE_GRANTABLE_PERMISSIONS, TYPE, WILDCARD_ONLY
kinds = {name: grain == WILDCARD_ONLY for name, grain in TYPE.items() if name != "workspace"}
print(json.dumps([kinds, sorted(RESOURCE_GRANTABLE_PERMISSIONS)]))
"""


def test_mlflow_s_kinds_and_permissions_are_these(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", THEIRS],
        cwd=server.project.parent,
        env=server.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    kinds, permissions = json.loads(done.stdout)

    assert kinds == {
        Resource(kind, "*").fields["resource_type"]: kind in ALL_ONLY
        for kind in ONE_OR_ALL + ALL_ONLY
    }
    assert permissions == sorted(PERMISSIONS)


def test_mlflow_takes_a_password_that_is_not_ascii_at_some_doors_only(server: Server) -> None:
    """When it takes it everywhere, so may `ops.passwords`."""
    body = {"username": a_name("jo"), "password": "größer-als-zwölf"}
    server.door("admin", PASSWORD).call("POST", "/users/create", body)
    jo = Person(body["username"], server.door(body["username"], body["password"]))
    path = f"/api/2.0/mlflow-artifacts/artifacts/{jo.create(jo.name)}/x/artifacts/model.bin"

    assert 200 == answer(jo.door.answers)
    assert 401 == answer(lambda: jo.door.request("PUT", path, body=b"1"))
