"""A person's consent, without which nothing is changed."""

from ops import console
from ops.errors import refusal

__all__ = ["ask"]


def ask(question: str, *, answer: str = "yes", elsewhere: str) -> None:
    """Go on only if a person types the answer; `elsewhere` is the way where nobody is to be asked.

    Raises a refusal otherwise.
    """
    said = console.ask(f"{question} (type {answer} to go on) ")
    if said is None:
        raise refusal("nobody is here to agree to it; nothing was changed", elsewhere)
    if said != answer:
        raise refusal("not confirmed; nothing was changed", f"type {answer} once you want it")
