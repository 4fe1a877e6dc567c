"""The people who may log in to a server, as MLflow keeps them, and what each of them may do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ops.errors import OpsError, refusal
from ops.front_door import FrontDoor, RequestError
from ops.resources import EVERY, Resource
from ops.settings import ADMIN
from ops.values import Secret

__all__ = ["Grant", "User", "Users"]

# What is given to one user is in a role that MLflow makes for that user alone.
OWN_ROLE = re.compile(r"__user_[0-9]+__")


@dataclass(frozen=True)
class Grant:
    """One permission on one resource; `role` is empty where the user has it for themselves."""

    identity: int
    resource: Resource
    permission: str
    role: str


@dataclass(frozen=True)
class User:
    """Somebody who may log in."""

    name: str
    admin: bool
    grants: tuple[Grant, ...]
    program: bool = False

    @property
    def kind(self) -> str:
        """What it is to a person who reads a list."""
        return "admin" if self.admin else "program" if self.program else "user"

    @property
    def own(self) -> dict[Resource, Grant]:
        """What was given to this user, and not to a role."""
        return {each.resource: each for each in self.grants if not each.role}


class Users:
    """All users of a server, asked as its admin; every error is one of ours."""

    lists_grants = True
    """Whether a list of everybody comes with what each of them was given."""

    def __init__(self, door: FrontDoor) -> None:
        self._door = door

    def all(self) -> list[User]:
        """Return everybody, by name."""
        found = self._call("GET", "/users/list", {})["users"]
        return sorted(map(_user, found), key=lambda user: user.name)

    def find(self, name: str) -> User:
        """Return a user, or refuse."""
        for user in self.all():
            if user.name == name:
                return user
        raise refusal(f"there is no user {name!r}", "see who there is: invoke list-users")

    def add(self, name: str, password: Secret) -> None:
        """Make a user, who has no rights yet."""
        body = {"username": name, "password": password.reveal()}
        self._call("POST", "/users/create", body)

    def make_admin(self, name: str) -> None:
        """Let a user do everything."""
        self._call("PATCH", "/users/update-admin", {"username": name, "is_admin": True})

    def remove(self, name: str) -> None:
        """Remove a user and what was given to them."""
        self._call("DELETE", "/users/delete", {"username": name})

    def set_password(self, name: str, password: Secret, current: Secret | None = None) -> None:
        """Give a user another password; who is asking has to say the `current` one of their own."""
        body = {"username": name, "password": password.reveal()}
        if current is not None:
            body["current_password"] = current.reveal()
        self._call("PATCH", "/users/update-password", body)

    def grant(self, user: User, resource: Resource, permission: str) -> None:
        """Let a user do this much to a resource, whatever it was before, in one step."""
        if before := user.own.get(resource):
            body = {"role_permission_id": before.identity, "permission": permission}
            self._call("PATCH", "/roles/permissions/update", body, "3.0")
        else:
            body = {"username": user.name, **resource.fields, "permission": permission}
            self._call("POST", "/users/permissions/grant", body, "3.0")

    def revoke(self, user: User, resource: Resource) -> None:
        """Take back what a user was given on a resource."""
        body = {"username": user.name, **resource.fields}
        self._call("POST", "/users/permissions/revoke", body, "3.0")

    def locate(self, resource: Resource) -> Resource | None:
        """Return a resource as MLflow names it in grants: an experiment by its id.

        None where there is no such thing. Only experiments, models and prompts are looked for.
        """
        if resource.name == EVERY:
            return resource
        if resource.kind == "experiment":
            return self._experiment(resource.name)
        if resource.kind in ("model", "prompt"):
            return self._model(resource)
        return resource

    def title(self, resource: Resource) -> str:
        """Return a resource as a person knows it: an experiment with its name."""
        if resource.kind != "experiment" or resource.name == EVERY:
            return str(resource)
        found = self._look("/experiments/get", {"experiment_id": resource.name})
        return f"{resource} ({found['experiment']['name'] if found else 'gone'})"

    def _experiment(self, name: str) -> Resource | None:
        found = [self._look("/experiments/get-by-name", {"experiment_name": name})]
        if re.fullmatch("[0-9]+", name):
            found.append(self._look("/experiments/get", {"experiment_id": name}))
        ids = {each["experiment"]["experiment_id"] for each in found if each}
        if len(ids) > 1:
            raise refusal(
                f"{name} is the name of one experiment and the id of another",
                "write the id of the one, or the name of the other",
            )
        return Resource("experiment", ids.pop()) if ids else None

    def _model(self, resource: Resource) -> Resource | None:
        found = self._look("/registered-models/get", {"name": resource.name})
        if found is None:
            return None
        tags = {tag["key"]: tag["value"] for tag in found["registered_model"].get("tags", [])}
        kind = "prompt" if tags.get("mlflow.prompt.is_prompt") == "true" else "model"
        if kind != resource.kind:
            raise refusal(f"{resource.name} is a {kind}", f"write {kind}:{resource.name}")
        return resource

    def _look(self, path: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        """Return what there is, or None where there is none."""
        try:
            return self._door.call("GET", path, query)
        except RequestError as error:
            if error.code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise in_our_words(error) from None

    def _call(
        self, method: str, path: str, body: Mapping[str, Any], version: str = "2.0"
    ) -> dict[str, Any]:
        try:
            return self._door.call(method, path, body, version)
        except RequestError as error:
            raise in_our_words(error) from None


def in_our_words(error: RequestError) -> OpsError:
    """Return the error for an answer; nothing was changed by the request that got it."""
    if error.code in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
        # Not its text: that has the SQL, with the hash of the password.
        return refusal(
            "somebody else changed the same just now", "look, then try again: invoke list-users"
        )
    match error.status:
        case 401:
            return refusal(
                f"the server knows {ADMIN} by another password than ADMIN_PASSWORD",
                'see docs/runbook.md, "the admin\'s password"',
            )
        case 403 if not error.code and "Permission denied" in str(error):
            return refusal(
                f"{ADMIN} is no admin on the server any more",
                "have another admin make it one again, in MLflow's own pages",
            )
        case 404 if not error.code:
            return refusal(
                "the server has no users: it was started without a login", "start it: invoke up"
            )
        case 0 | 502 | 503 | 504:
            return OpsError(f"the server does not answer: {error}", "see: invoke status")
        case _:
            return OpsError(
                f"the server says: {error}", "see what it says of it: invoke logs --service web"
            )


def _user(found: Mapping[str, Any]) -> User:
    grants = [
        Grant(
            each["id"],
            Resource.known_as(each["resource_type"], each["resource_pattern"]),
            each["permission"],
            "" if OWN_ROLE.fullmatch(role["name"]) else role["name"],
        )
        for role in found["roles"]
        for each in role["permissions"]
    ]
    return User(found["username"], bool(found["is_admin"]), tuple(grants))
