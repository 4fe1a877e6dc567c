"""What a person can have a right to on a server, and how much of it, in MLflow's terms."""

from typing import NamedTuple, Self

from ops.errors import refusal

__all__ = ["ALL_ONLY", "EVERY", "ONE_OR_ALL", "PERMISSIONS", "Resource", "permission"]

# https://mlflow.org/docs/latest/self-hosting/security/basic-http-auth/
PERMISSIONS = ("READ", "USE", "EDIT", "MANAGE", "DENY")
"""From the least to the most; DENY wins over each of them."""

ONE_OR_ALL = (
    *("experiment", "model", "prompt", "scorer", "mcp_server"),
    *("gateway_endpoint", "gateway_secret", "gateway_model_definition"),
)
ALL_ONLY = (
    *("run", "trace", "assessment", "logged_model", "review_queue"),
    *("model_version", "prompt_version", "scorer_version", "mcp_server_version"),
)
"""Parts of the others: what is not said of them follows from what they are parts of."""

LONGER = {"model": "registered_model", "model_version": "registered_model_version"}
"""What MLflow calls otherwise than people do."""

EVERY = "*"


class Resource(NamedTuple):
    """One thing, or all things of a kind."""

    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Take what a person writes: experiment:churn, model:churn, prompt:*."""
        kind, colon, name = text.partition(":")
        if kind not in ONE_OR_ALL + ALL_ONLY or not colon or not name:
            raise refusal(
                f"{text!r} is not KIND:NAME, such as experiment:churn or model:*",
                f"use one of {', '.join(ONE_OR_ALL)}; with * also {', '.join(ALL_ONLY)}",
            )
        if kind in ALL_ONLY and name != EVERY:
            raise refusal(f"{text!r}: MLflow has no rights to a single {kind}", f"use {kind}:*")
        return cls(kind, name)

    @classmethod
    def known_as(cls, api_type: str, pattern: str) -> Self:
        """Return what MLflow means by a type and a pattern."""
        kinds = {longer: kind for kind, longer in LONGER.items()}
        return cls(kinds.get(api_type, api_type), pattern)

    @property
    def fields(self) -> dict[str, str]:
        """The fields of MLflow's API that name it."""
        return {"resource_type": LONGER.get(self.kind, self.kind), "resource_id": self.name}

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


def permission(text: str) -> str:
    """Take a permission as a person writes it."""
    wanted = text.upper()
    if wanted == "NO_PERMISSIONS":
        raise refusal(
            "NO_PERMISSIONS is what everybody has who is given nothing",
            "take a right away: invoke revoke; or forbid, whatever else is given: DENY",
        )
    if wanted not in PERMISSIONS:
        raise refusal(f"{text!r} is not a permission", f"use one of {', '.join(PERMISSIONS)}")
    return wanted
