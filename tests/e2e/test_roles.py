"""Who may do what: every kind of user against every kind of thing, by real requests."""

import json
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.asking import API, Answer, Door, Stack, User, ask, let_in

API_3 = "/api/3.0/mlflow"
AJAX = "/ajax-api/2.0/mlflow"
ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"

ROLES = ("admin", "manager", "editor", "reader", "outsider", "stranger")
"""Strangers have no login, outsiders have one and nothing else; the rest may do more and more."""

PERMISSIONS = {"manager": "MANAGE", "editor": "EDIT", "reader": "READ"}

Request = tuple[str, str, bytes | dict[str, Any] | None]


@dataclass
class World:
    """One of everything, made by the admin, and the users who come to it."""

    door: Door
    users: dict[str, User | None]
    experiment: str = ""
    run: str = ""
    model: str = ""
    trace: str = ""
    mark: str = field(default_factory=lambda: uuid.uuid4().hex[:8])
    names: list[str] = field(default_factory=list)

    def ask(self, role: str, request: Request) -> Answer:
        """Send a request as one of the users."""
        return ask(self.door, self.users[role], *request)

    def made(self, request: Request) -> dict[str, Any]:
        """Send a request of the admin's that has to succeed; return the answer."""
        answer = self.ask("admin", request)
        assert 200 == answer.status, (request, answer)
        found: dict[str, Any] = answer.json if answer.body else {}
        return found

    def new_user(self) -> dict[str, str]:
        """Return what makes a user."""
        self.names.append(f"user-{self.mark}-{len(self.names)}")
        return {"username": self.names[-1], "password": secrets.token_urlsafe(16)}

    def fresh_user(self) -> User:
        """Make a user."""
        body = self.new_user()
        self.made(("POST", f"{API}/users/create", body))
        return body["username"], body["password"]

    def fresh_run(self) -> str:
        """Make a run with an artifact."""
        made = self.made(("POST", f"{API}/runs/create", {"experiment_id": self.experiment}))
        run = str(made["run"]["info"]["run_id"])
        self.made(("PUT", self.artifact(run), b"text"))
        return run

    def fresh_experiment(self) -> str:
        """Make an experiment on which the users have their permissions."""
        name = f"experiment {self.mark} {uuid.uuid4().hex}"
        made = self.made(("POST", f"{API}/experiments/create", {"name": name}))
        self.permit("experiment", str(made["experiment_id"]))
        return str(made["experiment_id"])

    def fresh_model(self) -> str:
        """Make a model with one version, on which the users have their permissions."""
        name = f"model-{self.mark}-{uuid.uuid4().hex}"
        self.made(("POST", f"{API}/registered-models/create", {"name": name}))
        self.permit("registered_model", name)
        self.made(("POST", f"{API}/model-versions/create", self.version(name)))
        return name

    def version(self, model: str) -> dict[str, Any]:
        """Return a version of a model: the artifacts of the run."""
        source = f"mlflow-artifacts:/{self.experiment}/{self.run}/artifacts"
        return {"name": model, "source": source, "run_id": self.run}

    def fresh_trace(self) -> str:
        """Make a trace."""
        request = self.start_trace()
        self.made(request)
        assert isinstance(request[2], dict)
        return str(request[2]["trace"]["trace_info"]["trace_id"])

    def start_trace(self) -> Request:
        """Return the request that makes a trace."""
        place = {
            "type": "MLFLOW_EXPERIMENT",
            "mlflow_experiment": {"experiment_id": self.experiment},
        }
        info = {
            "trace_id": f"tr-{uuid.uuid4().hex}",
            "trace_location": place,
            "request_time": "2026-11-25T12:00:00Z",
            "execution_duration": "1s",
            "state": "OK",
        }
        return "POST", f"{API_3}/traces", {"trace": {"trace_info": info}}

    def artifact(self, run: str, name: str = "file.txt") -> str:
        """Return the path of an artifact of a run, through the server."""
        return f"{ARTIFACTS}/{self.experiment}/{run}/artifacts/{name}"

    def permit(self, kind: str, name: str) -> None:
        """Give each user the permission that makes its role."""
        for role, permission in PERMISSIONS.items():
            user = self.users[role]
            assert user
            grant = {
                "username": user[0],
                "resource_type": kind,
                "resource_id": name,
                "permission": permission,
            }
            self.made(("POST", f"{API_3}/users/permissions/grant", grant))


@pytest.fixture(scope="module")
def world(guarded: Stack) -> Iterator[World]:
    """One of everything, gone afterwards."""
    door = Door.of(guarded)
    made = World(door, {"admin": door.admin, "stranger": None})
    let_in(door, door.admin)
    for role in ROLES:
        if role not in made.users:
            made.users[role] = user = made.fresh_user()
            let_in(door, user)
    made.experiment = made.fresh_experiment()
    made.run = made.fresh_run()
    made.model = made.fresh_model()
    made.trace = made.fresh_trace()
    yield made
    for name in made.names:
        made.ask("admin", ("DELETE", f"{API}/users/delete", {"username": name}))


READ = ("admin", "manager", "editor", "reader")
EDIT = ("admin", "manager", "editor")
MANAGE = ("admin", "manager")
ADMIN = ("admin",)
ALL = ("admin", "manager", "editor", "reader", "outsider")

MATRIX: dict[str, tuple[tuple[str, ...], Callable[[World], Request]]] = {
    # Experiments.
    "makes an experiment": (
        ALL,
        lambda w: ("POST", f"{API}/experiments/create", {"name": f"{w.mark} {uuid.uuid4()}"}),
    ),
    "reads an experiment": (
        READ,
        lambda w: ("GET", f"{API}/experiments/get?experiment_id={w.experiment}", None),
    ),
    "renames an experiment": (
        EDIT,
        lambda w: (
            "POST",
            f"{API}/experiments/update",
            {"experiment_id": w.experiment, "new_name": f"{w.mark} {uuid.uuid4()}"},
        ),
    ),
    "tags an experiment": (
        EDIT,
        lambda w: (
            "POST",
            f"{API}/experiments/set-experiment-tag",
            {"experiment_id": w.experiment, "key": "k", "value": "v"},
        ),
    ),
    "deletes an experiment": (
        MANAGE,
        lambda w: ("POST", f"{API}/experiments/delete", {"experiment_id": w.fresh_experiment()}),
    ),
    # Runs.
    "makes a run": (
        EDIT,
        lambda w: ("POST", f"{API}/runs/create", {"experiment_id": w.experiment}),
    ),
    "reads a run": (READ, lambda w: ("GET", f"{API}/runs/get?run_id={w.run}", None)),
    "reads a run as the page of a run does": (
        READ,
        lambda w: ("GET", f"{AJAX}/runs/get?run_id={w.run}", None),
    ),
    "logs a metric": (
        EDIT,
        lambda w: (
            "POST",
            f"{API}/runs/log-metric",
            {"run_id": w.run, "key": "m", "value": 1.0, "timestamp": 1},
        ),
    ),
    "logs a batch": (
        EDIT,
        lambda w: (
            "POST",
            f"{API}/runs/log-batch",
            {"run_id": w.run, "params": [{"key": uuid.uuid4().hex, "value": "v"}]},
        ),
    ),
    "tags a run": (
        EDIT,
        lambda w: ("POST", f"{API}/runs/set-tag", {"run_id": w.run, "key": "k", "value": "v"}),
    ),
    "reads the history of a metric": (
        READ,
        lambda w: ("GET", f"{API}/metrics/get-history?run_id={w.run}&metric_key=m", None),
    ),
    "reads histories as the page of a chart does": (
        READ,
        lambda w: ("GET", f"{AJAX}/metrics/get-history-bulk?run_id={w.run}&metric_key=m", None),
    ),
    "deletes a run": (
        MANAGE,
        lambda w: ("POST", f"{API}/runs/delete", {"run_id": w.fresh_run()}),
    ),
    # Artifacts.
    "lists the artifacts of a run": (
        READ,
        lambda w: ("GET", f"{API}/artifacts/list?run_id={w.run}", None),
    ),
    "lists artifacts through the server": (
        READ,
        lambda w: ("GET", f"{ARTIFACTS}?path={w.experiment}/{w.run}/artifacts", None),
    ),
    "gets an artifact": (READ, lambda w: ("GET", w.artifact(w.run), None)),
    "gets an artifact as the page of a run does": (
        READ,
        lambda w: ("GET", f"/get-artifact?run_id={w.run}&path=file.txt", None),
    ),
    "puts an artifact": (EDIT, lambda w: ("PUT", w.artifact(w.run, "another.txt"), b"text")),
    "puts an artifact as a page does": (
        EDIT,
        lambda w: (
            "POST",
            f"{AJAX}/upload-artifact?run_uuid={w.run}&path=of-a-page.txt",
            b"text",
        ),
    ),
    "deletes an artifact": (
        MANAGE,
        lambda w: ("DELETE", w.artifact(w.fresh_run()), None),
    ),
    "lists the artifacts of everybody": (ADMIN, lambda _: ("GET", ARTIFACTS, None)),
    # Models.
    "makes a model": (
        ALL,
        lambda w: (
            "POST",
            f"{API}/registered-models/create",
            {"name": f"of-a-user-{w.mark}-{uuid.uuid4()}"},
        ),
    ),
    "reads a model": (
        READ,
        lambda w: ("GET", f"{API}/registered-models/get?name={w.model}", None),
    ),
    "describes a model": (
        EDIT,
        lambda w: (
            "PATCH",
            f"{API}/registered-models/update",
            {"name": w.model, "description": "d"},
        ),
    ),
    "deletes a model": (
        MANAGE,
        lambda w: ("DELETE", f"{API}/registered-models/delete", {"name": w.fresh_model()}),
    ),
    "makes a version": (
        EDIT,
        lambda w: ("POST", f"{API}/model-versions/create", w.version(w.model)),
    ),
    "reads a version": (
        READ,
        lambda w: ("GET", f"{API}/model-versions/get?name={w.model}&version=1", None),
    ),
    "finds where a version is": (
        READ,
        lambda w: ("GET", f"{API}/model-versions/get-download-uri?name={w.model}&version=1", None),
    ),
    "gets a file of a version": (
        READ,
        lambda w: (
            "GET",
            f"/model-versions/get-artifact?name={w.model}&version=1&path=file.txt",
            None,
        ),
    ),
    "tags a version": (
        EDIT,
        lambda w: (
            "POST",
            f"{API}/model-versions/set-tag",
            {"name": w.model, "version": "1", "key": "k", "value": "v"},
        ),
    ),
    "names a version": (
        EDIT,
        lambda w: (
            "POST",
            f"{API}/registered-models/alias",
            {"name": w.model, "alias": "champion", "version": "1"},
        ),
    ),
    "deletes a version": (
        MANAGE,
        lambda w: (
            "DELETE",
            f"{API}/model-versions/delete",
            {"name": w.fresh_model(), "version": "1"},
        ),
    ),
    # Traces.
    "starts a trace": (EDIT, lambda w: w.start_trace()),
    "reads a trace": (READ, lambda w: ("GET", f"{API_3}/traces/{w.trace}", None)),
    "tags a trace": (
        EDIT,
        lambda w: ("PATCH", f"{API_3}/traces/{w.trace}/tags", {"key": "k", "value": "v"}),
    ),
    "searches traces": (
        READ,
        lambda w: (
            "POST",
            f"{API_3}/traces/search",
            {
                "locations": [
                    {
                        "type": "MLFLOW_EXPERIMENT",
                        "mlflow_experiment": {"experiment_id": w.experiment},
                    }
                ]
            },
        ),
    ),
    "deletes traces": (
        MANAGE,
        lambda w: (
            "POST",
            f"{API_3}/traces/delete-traces",
            {"experiment_id": w.experiment, "request_ids": [w.fresh_trace()]},
        ),
    ),
    # Users.
    "makes a user": (ADMIN, lambda w: ("POST", f"{API}/users/create", w.new_user())),
    "makes an admin of a user": (
        ADMIN,
        lambda w: (
            "PATCH",
            f"{API}/users/update-admin",
            {"username": w.fresh_user()[0], "is_admin": True},
        ),
    ),
    "deletes a user": (
        ADMIN,
        lambda w: ("DELETE", f"{API}/users/delete", {"username": w.fresh_user()[0]}),
    ),
    "lets another read an experiment": (
        MANAGE,
        lambda w: (
            "POST",
            f"{API_3}/users/permissions/grant",
            {
                "username": w.fresh_user()[0],
                "resource_type": "experiment",
                "resource_id": w.experiment,
                "permission": "READ",
            },
        ),
    ),
    "makes a role": (
        ADMIN,
        lambda w: (
            "POST",
            f"{API_3}/roles/create",
            {"name": f"{w.mark}-{uuid.uuid4()}", "workspace": "default"},
        ),
    ),
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("what", MATRIX)
def test_each_role_may_do_what_it_may_and_no_more(world: World, what: str, role: str) -> None:
    allowed, request = MATRIX[what]
    answer = world.ask(role, request(world))
    if role == "stranger":
        assert (401, False) == (answer.status, answer.by_mlflow)
    elif role in allowed:
        assert 200 == answer.status, answer
    else:
        assert 403 == answer.status, answer


def found(world: World, role: str, request: Request, mark: str) -> bool:
    """Tell whether what a search finds for a role holds some text."""
    answer = world.ask(role, request)
    assert answer.status in (200, 403), answer
    return mark in answer.body.decode()


@pytest.mark.parametrize("role", ROLES[:-1])
def test_a_search_finds_what_one_may_read(world: World, role: str) -> None:
    expected = role != "outsider"
    experiments = ("POST", f"{API}/experiments/search", {"max_results": 1000})
    assert expected == found(world, role, experiments, f'"{world.experiment}"')

    runs = ("POST", f"{API}/runs/search", {"experiment_ids": [world.experiment]})
    assert expected == found(world, role, runs, world.run)

    models = f"{API}/registered-models/search?filter=name%3D'{world.model}'"
    assert expected == found(world, role, ("GET", models, None), world.model)

    versions = f"{API}/model-versions/search?filter=name%3D'{world.model}'"
    assert expected == found(world, role, ("GET", versions, None), world.run)

    query = f'{{mlflowGetRun(input: {{runId: "{world.run}"}}) {{run {{info {{runId}}}}}}}}'
    graph = ("POST", "/graphql", {"query": query})
    assert expected == found(world, role, graph, world.run)


def test_who_makes_an_experiment_or_a_model_manages_it_and_others_do_not_see_it(
    world: World,
) -> None:
    name = f"own {world.mark} {uuid.uuid4()}"
    made = world.ask("outsider", ("POST", f"{API}/experiments/create", {"name": name})).json
    read = ("GET", f"{API}/experiments/get?experiment_id={made['experiment_id']}", None)
    assert 200 == world.ask("outsider", read).status
    for role in ("reader", "editor", "manager"):
        assert 403 == world.ask(role, read).status
    gone = ("POST", f"{API}/experiments/delete", {"experiment_id": made["experiment_id"]})
    assert 200 == world.ask("outsider", gone).status


def test_a_permission_taken_away_or_given_counts_at_once(world: World) -> None:
    user = world.users["reader"]
    assert user
    place = world.fresh_experiment()
    read = ("GET", f"{API}/experiments/get?experiment_id={place}", None)
    permission = {"username": user[0], "resource_type": "experiment", "resource_id": place}
    assert 200 == world.ask("reader", read).status
    world.made(("POST", f"{API_3}/users/permissions/revoke", permission))
    assert 403 == world.ask("reader", read).status
    again = {**permission, "permission": "READ"}
    world.made(("POST", f"{API_3}/users/permissions/grant", again))
    assert 200 == world.ask("reader", read).status


def test_a_changed_password_and_a_deleted_user_are_refused_within_a_minute(
    world: World, measured: Callable[[str], None]
) -> None:
    """At once by the worker of MLflow that did it, within half a minute by the others."""
    first = world.fresh_user()
    let_in(world.door, first)
    second = (first[0], secrets.token_urlsafe(16))
    change = {"username": first[0], "password": second[1]}
    world.made(("PATCH", f"{API}/users/update-password", change))
    measured(f"the old password is refused after {refused(world, first):.0f} s")
    let_in(world.door, second)
    world.made(("DELETE", f"{API}/users/delete", {"username": first[0]}))
    measured(f"a deleted user is refused after {refused(world, second):.0f} s")


def refused(world: World, user: User) -> float:
    """Return after how many seconds a user is refused; fail after 75."""
    begin = time.monotonic()
    while ask(world.door, user, "GET", "/version").status == 200:
        assert time.monotonic() - begin < 75
        time.sleep(1)
    return time.monotonic() - begin


def test_a_user_changes_the_own_password_and_nobody_else_s(world: World) -> None:
    reader, outsider = world.users["reader"], world.users["outsider"]
    assert reader
    assert outsider
    of_another = {"username": reader[0], "password": secrets.token_urlsafe(16)}
    change = ("PATCH", f"{API}/users/update-password", of_another)
    assert 403 == world.ask("outsider", change).status
    own = (outsider[0], secrets.token_urlsafe(16))
    body = {"username": own[0], "password": own[1], "current_password": outsider[1]}
    answer = world.ask("outsider", ("PATCH", f"{API}/users/update-password", body))
    assert 200 == answer.status, answer
    world.users["outsider"] = own
    let_in(world.door, own)
    short = json.dumps({"username": own[0], "password": "short"}).encode()
    refusal = ("PATCH", f"{API}/users/update-password", short)
    assert 400 == world.ask("admin", refusal).status
