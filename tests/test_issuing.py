"""The job that makes a token, on a stand-in for the plugin, whose own part is in tests/e2e."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import ROOT

STAND_IN = """
import sys, types

class Refused(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.error_code, self.message = code, f"the plugin says {code}"

class Store:
    def create_user_token(self, user, label, ends, by):
        if user.isupper():
            raise Refused(user)
        print("a word of the plugin's own")
        return "a record", "|".join([user, label, ends.isoformat(), by])

for name, fields in {
    "mlflow": {},
    "mlflow.exceptions": {"MlflowException": Refused},
    "mlflow_oidc_auth": {},
    "mlflow_oidc_auth.store": {"store": Store()},
}.items():
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(fields)
"""


def run(user: str, days: int = 90) -> "subprocess.CompletedProcess[str]":
    """Run the job as it is run: its text is given to Python, what it is told is on stdin."""
    source = (ROOT / "ops" / "issuing.py").read_text("utf-8")
    return subprocess.run(
        [sys.executable, "-I", "-c", f"{STAND_IN}\n{source}"],
        input=json.dumps({"user": user, "label": "nightly", "days": days}),
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.mark.parametrize("days", [1, 365])
def test_the_token_is_the_last_line_and_good_for_as_long_as_was_asked(days: int) -> None:
    before = datetime.now(UTC)
    done = run("ci", days)
    after = datetime.now(UTC)
    user, label, ends, by = done.stdout.splitlines()[-1].split("|")

    assert (0, "") == (done.returncode, done.stderr)
    assert ("ci", "nightly", "invoke token") == (user, label, by)
    assert before <= datetime.fromisoformat(ends) - timedelta(days=days) <= after


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("RESOURCE_ALREADY_EXISTS", "take it back with --revoke, or make one with another --label"),
        ("INVALID_STATE", "take one back that is not needed: --revoke"),
        ("RESOURCE_DOES_NOT_EXIST", "see who there is: invoke list-users"),
    ],
)
def test_what_the_plugin_refuses_is_an_error_with_a_way_on(code: str, remedy: str) -> None:
    done = run(code)

    assert (2, "") == (done.returncode, done.stdout)
    assert f"error: the plugin says {code}\n  try: {remedy}\n" == done.stderr
