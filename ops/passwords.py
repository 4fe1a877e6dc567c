"""Passwords of the people who log in: typed unseen, piped in, or made."""

import re
import secrets

from ops import console
from ops.errors import refusal
from ops.values import MIN_SECRET, Secret

__all__ = ["obtain"]

LONGEST = 256
"""Beyond any need, and far below what NGINX takes as a header."""

# A control character ends a header (RFC 7617); MLflow reads the login of artifacts and traces as
# ASCII and knows nobody whose password is not: `_authenticate_fastapi_request` in
# https://github.com/mlflow/mlflow/blob/master/mlflow/server/auth/__init__.py
TYPED = re.compile(r"[ -~]+")

SHIPPED = "password1234"
"""MLflow shipped it as the admin's, and lets no admin in with it: GHSA-gq3w-7jj3-x7gr."""


def obtain(name: str, *, generate: bool) -> Secret:
    """Return a password: a made one, or as typed twice at a terminal, or the line piped in.

    Raises a refusal if it is none that MLflow takes everywhere.
    """
    if generate:
        return Secret(secrets.token_urlsafe(18))
    typed = console.ask_hidden(f"password for {name}: ")
    if typed is None:
        return Secret(checked(console.piped()))
    good = Secret(checked(typed))
    if Secret(console.ask_hidden("once more: ") or "") != good:
        raise refusal("the two are not the same; nothing was changed", "type it twice alike")
    return good


def checked(password: str) -> str:
    """Return a password, or refuse it; the error does not show it."""
    problem = ""
    if not password:
        raise refusal(
            "no password is given; nothing was changed",
            "type it at a terminal, pipe it in, or have one made: --generate",
        )
    if len(password) < MIN_SECRET:
        problem = f"is shorter than {MIN_SECRET} characters"
    elif len(password) > LONGEST:
        problem = f"is longer than {LONGEST} characters"
    elif not TYPED.fullmatch(password):
        problem = "holds something else than ASCII's letters, digits, spaces and punctuation"
    elif password == SHIPPED:
        problem = "is the one that MLflow once shipped: everybody knows it"
    if problem:
        raise refusal(
            f"the password {problem}; nothing was changed", "take another, or: --generate"
        )
    return password
