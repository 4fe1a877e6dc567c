"""The one exception a person is meant to see: cause, remedy, exit code."""

from invoke.exceptions import Exit

__all__ = ["FAILED", "REFUSED", "OpsError", "from_output", "last_lines", "refusal"]

FAILED = 1
"""It was tried and failed: look at the server; a script may try again."""

REFUSED = 2
"""Refused before anything was touched: a script must not try again unchanged."""


SHOWN_LINES = 10


class OpsError(Exit):
    """An error with a way out; Invoke prints it on stderr and exits with `code`.

    `cause` is lower case without a final stop and names the thing and the value seen; `remedy` is
    one imperative sentence or a command to type.
    """

    def __init__(self, cause: str, remedy: str, code: int = FAILED) -> None:
        self.cause = cause
        self.remedy = remedy
        super().__init__(f"error: {cause}\n  try: {remedy}", code)


def refusal(cause: str, remedy: str) -> OpsError:
    """Return the error for input that is refused with nothing touched."""
    return OpsError(cause, remedy, REFUSED)


def from_output(code: int, output: str) -> OpsError:
    """Return the error that a job of ours printed before it ended with `code`."""
    lines = output.splitlines()
    cause = next((line for line in reversed(lines) if line.startswith("error: ")), None)
    remedy = next((line for line in reversed(lines) if line.startswith("  try: ")), None)
    if cause is None or remedy is None:
        said = "\n  ".join([f"a job ended with exit code {code}", *last_lines(output)])
        return OpsError(said, "read the lines above, and: invoke logs")
    return OpsError(cause.removeprefix("error: "), remedy.removeprefix("  try: "), code)


def last_lines(output: str) -> list[str]:
    """Return the last ten lines that say something."""
    return [line for line in output.splitlines() if line.strip()][-SHOWN_LINES:]
