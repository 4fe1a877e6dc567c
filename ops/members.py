"""Who logs in at an identity provider, and programs, as the plugin in the server knows them.

https://github.com/mlflow-oidc/mlflow-oidc-auth/blob/main/docs/permissions.md (11.0.2)
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ops.errors import refusal
from ops.front_door import RequestError
from ops.resources import EVERY, Resource
from ops.users import Grant, User, Users, in_our_words

__all__ = ["PAGES", "Members"]

PAGES = "/oidc/ui/"
"""The plugin's own pages, where there is more than what the tasks do."""

KINDS = {"experiment": "experiments", "model": "registered-models", "prompt": "prompts"}
"""What can be granted by a task, and what the plugin calls it."""

DENIED = "NO_PERMISSIONS"
"""The plugin's word for DENY."""


class Members(Users):
    """All of a server's, asked as its admin; every error is one of ours."""

    lists_grants = False

    def all(self) -> list[User]:
        """Return everybody who logged in once, and the programs, by name; without their grants."""
        return sorted(map(_member, self._ask("GET", "/users/details")), key=lambda user: user.name)

    def find(self, name: str) -> User:
        """Return somebody with what they may do, or refuse."""
        found = super().find(name.lower())  # as the plugin writes all names
        grants = [grant for kind in KINDS for grant in self._grants(found.name, kind)]
        return User(found.name, admin=found.admin, grants=tuple(grants), program=found.program)

    def add_program(self, name: str, *, admin: bool) -> None:
        """Make a user for a program, which logs in with tokens only."""
        body = {"username": name, "display_name": name, "is_admin": admin}
        self._ask("POST", "/users", {**body, "is_service_account": True})

    def remove(self, name: str) -> None:
        """Remove somebody with their tokens and sessions; a person comes back by logging in."""
        self._ask("DELETE", "/users", {"username": name})

    def grant(self, user: User, resource: Resource, permission: str) -> None:
        """Let somebody do this much to a resource, whatever it was before."""
        body = {"permission": DENIED if permission == "DENY" else permission}
        path = self._path(user, resource)
        self._ask("PATCH" if resource in user.own else "POST", path, body)

    def revoke(self, user: User, resource: Resource) -> None:
        """Take back what somebody was given on a resource."""
        self._ask("DELETE", self._path(user, resource))

    def take_back(self, name: str, label: str) -> bool:
        """Delete a token of somebody; say whether there was one."""
        path = f"/users/{quote(name, safe='')}/tokens"
        for token in self._ask("GET", path)["tokens"]:
            if token["name"] == label:
                self._ask("DELETE", f"{path}/{token['id']}")
                return True
        return False

    def _path(self, user: User, resource: Resource) -> str:
        if resource.kind not in KINDS or resource.name == EVERY:
            raise refusal(
                f"with AUTH=oidc a task grants one experiment, model or prompt, and not {resource}",
                f"give it in the server's own pages: {PAGES}",
            )
        who, what = quote(user.name, safe=""), quote(resource.name, safe="")
        return f"/permissions/users/{who}/{KINDS[resource.kind]}/{what}"

    def _grants(self, name: str, kind: str) -> list[Grant]:
        """Return what somebody may do to each thing of a kind, but for those closed to them."""
        found = self._ask("GET", f"/permissions/users/{quote(name, safe='')}/{KINDS[kind]}")
        return [
            Grant(
                0,
                Resource(kind, each.get("id", each["name"])),
                "DENY" if each["permission"] == DENIED else each["permission"],
                "" if each["kind"] == "user" else each["kind"],
            )
            for each in found
            if each["kind"] == "user" or each["permission"] != DENIED
        ]

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401
        try:
            data = self._door.request(method, f"/api/2.0/mlflow{path}", json=body)
        except RequestError as error:
            raise in_our_words(error) from None
        return json.loads(data) if data else {}


def _member(found: Mapping[str, Any]) -> User:
    program = bool(found["is_service_account"])
    return User(found["username"], admin=bool(found["is_admin"]), grants=(), program=program)
