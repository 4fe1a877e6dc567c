"""The certificate service: what it makes when, and what it does when that fails.

The stack's own CA is the real one; a CA that fails is a double.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops import certifier
from ops.acme_orders import Directory, OrderError
from ops.certifier import Acme, Certifier, Private, pause
from ops.key_pairs import Pair, Shelf
from ops.private_ca import LIFE, Authority
from ops.values import Secret
from tests.conftest import ROOT

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SECRET = Secret("a-secret-of-tests")
NAME = "mlflow.example.test"
Capture = pytest.CaptureFixture[str]


@dataclass
class Clock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Failing:
    """A CA that gives no certificate, until it has no more reasons."""

    reasons: list[Exception] = field(default_factory=list)
    authority: Authority = field(default_factory=lambda: Authority(SECRET, "tests", [NAME]))
    asked: int = 0

    @property
    def purpose(self) -> dict[str, Any]:
        return {"mode": "acme", "names": self.authority.names, "by": "a CA that fails"}

    def issue(self, now: datetime) -> Pair:
        self.asked += 1
        if self.reasons:
            raise self.reasons.pop(0)
        return self.authority.issue(now)

    def renewal(self, pair: Pair, now: datetime) -> datetime:
        del now
        return pair.last_third


def private(*names: str, secret: Secret = SECRET) -> Private:
    return Private(Authority(secret, "tests", names or [NAME]))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(tmp_path: Path, clock: Clock) -> Callable[..., Certifier]:
    """Start a service, on the folder that the last one left."""

    def start(issuer: certifier.Issuer | None = None) -> Certifier:
        return Certifier(issuer or private(), tmp_path, clock)

    return start


Service = Callable[..., Certifier]


def live(service: Certifier) -> Pair:
    pair = service.shelf.read()
    assert pair is not None
    return pair


def state(service: Certifier) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(service.file.read_text("utf-8"))
    return found


# --- When a certificate is made ---


def test_the_first_look_makes_one(service: Service, capsys: Capture) -> None:
    ours = service()
    assert ours.turn() is None

    assert live(ours).names == [NAME]
    assert f"a new certificate for {NAME}, until 2026-12-25T11:00:00+00:00" in (
        capsys.readouterr().err
    )
    assert state(ours) == {
        "mode": "private-ca",
        "names": [NAME],
        "by": private().authority.fingerprint,
        "last_attempt": NOW.isoformat(),
        "at": NOW.isoformat(),
        "fits": True,
        "not_before": (NOW - timedelta(hours=1)).isoformat(),
        "not_after": (NOW + LIFE - timedelta(hours=1)).isoformat(),
        "renewal": (NOW + timedelta(days=20, hours=-1)).isoformat(),
    }


def test_the_next_one_makes_none(service: Service, capsys: Capture) -> None:
    first = service()
    first.turn()
    made = live(first)
    capsys.readouterr()

    for ours in (first, service()):
        assert ours.turn() is None
        assert ours.turn(now_or_never=True) is None
        assert live(ours) == made
    assert capsys.readouterr().err == ""


def test_it_is_renewed_when_a_third_of_its_life_is_left(service: Service, clock: Clock) -> None:
    ours = service()
    ours.turn()
    first = live(ours)

    clock.now = first.last_third - timedelta(seconds=1)
    ours.turn()
    assert live(ours) == first

    clock.now = first.last_third
    ours.turn()
    assert live(ours).begin == first.last_third - timedelta(hours=1)


@pytest.mark.parametrize(
    "issuer",
    [
        private("other.example.test"),
        private(NAME, "other.example.test"),
        private(secret=Secret("another-secret-of-tests")),
        Failing(),
    ],
    ids=["name", "one more", "secret", "CA"],
)
def test_another_name_secret_or_ca_has_one_made_at_once(
    service: Service, issuer: certifier.Issuer
) -> None:
    ours = service()
    ours.turn()
    first = live(ours)

    after = service(issuer)
    after.turn()
    assert live(after) != first
    assert live(after).names == issuer.purpose["names"]


@pytest.mark.parametrize("file", ["chain.pem", "key.pem", "purpose"])
def test_what_is_damaged_is_made_anew(service: Service, file: str) -> None:
    ours = service()
    ours.turn()
    path = ours.shelf.live / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    ours.turn()
    assert live(ours).names == [NAME]
    assert state(ours)["fits"] is True


def test_one_that_expired_while_nobody_was_here_is_made_anew(
    service: Service, clock: Clock
) -> None:
    service().turn()
    clock.now += timedelta(days=400)

    ours = service()
    ours.turn()
    assert live(ours).begin < clock.now < live(ours).end


def test_a_clock_that_is_put_right_has_one_made_at_once(service: Service, clock: Clock) -> None:
    clock.now = NOW + timedelta(days=1000)
    ours = service()
    ours.turn()

    clock.now = NOW
    ours.turn()
    assert live(ours).begin == NOW - timedelta(hours=1)


# --- When it fails ---


def test_a_failure_is_said_in_one_line_and_kept(service: Service, capsys: Capture) -> None:
    ours = service(Failing([OrderError("the CA refuses:\nno", "ask nicely")]))
    error = ours.turn()

    assert error is not None
    [line] = capsys.readouterr().err.splitlines()
    assert "the CA refuses: no; try: ask nicely; next at 2026-11-25T12:0" in line
    found = state(ours)
    assert found["error"] == {"cause": "the CA refuses:\nno", "remedy": "ask nicely"}
    assert (found["failures"], found["not_after"], found["fits"]) == (1, None, False)
    assert ours.shelf.read() is None


def test_it_is_tried_again_after_a_pause_and_then_forgotten(service: Service, clock: Clock) -> None:
    issuer = Failing([OrderError("no", "wait")])
    service(issuer).turn()

    clock.now += timedelta(seconds=50)
    service(issuer).turn()
    assert issuer.asked == 1

    clock.now += timedelta(seconds=20)
    ours = service(issuer)
    ours.turn()
    assert issuer.asked == 2
    assert live(ours).names == [NAME]
    assert not {"error", "failures", "next_attempt"} & {*state(ours)}


def test_pauses_grow_and_end_at_six_hours() -> None:
    minutes = [1, 4, 16, 64, 256, 360, 360]
    for failures, meant in enumerate(minutes, 1):
        for _ in range(20):
            assert 0.9 * meant <= pause(failures).total_seconds() / 60 <= 1.1 * meant
    assert len({pause(1) for _ in range(20)}) > 1
    assert pause(10**9) <= timedelta(hours=7)


def test_attempts_within_an_hour_stay_below_what_lets_encrypt_allows(
    service: Service, clock: Clock
) -> None:
    issuer = Failing([OrderError("no", "wait")] * 100)
    while clock.now < NOW + timedelta(hours=1):
        service(issuer).turn()
        clock.now += timedelta(seconds=30)

    assert issuer.asked < 5


@pytest.mark.parametrize(
    ("asked", "waits"),
    [
        (timedelta(hours=9), timedelta(hours=9)),
        (timedelta(seconds=1), timedelta(seconds=54)),
        (timedelta(days=900), timedelta(days=8)),
    ],
    ids=["longer", "shorter", "absurd"],
)
def test_a_ca_may_ask_for_a_longer_pause_but_not_for_ever(
    service: Service, asked: timedelta, waits: timedelta
) -> None:
    ours = service(Failing([OrderError("rateLimited", "wait", NOW + asked)]))
    ours.turn()

    until = datetime.fromisoformat(state(ours)["next_attempt"])
    assert waits <= until - NOW <= max(waits, timedelta(seconds=66))


def test_an_order_to_try_now_does_not_wait(service: Service) -> None:
    issuer = Failing([OrderError("no", "wait")] * 2)
    service(issuer).turn()

    assert service(issuer).turn() is None
    assert service(issuer).turn(now_or_never=True) is not None
    assert issuer.asked == 2


def test_with_other_names_nothing_has_failed_yet(service: Service) -> None:
    service(Failing([OrderError("no", "wait")])).turn()

    other = Failing(authority=Authority(SECRET, "tests", ["other.example.test"]))
    ours = service(other)
    ours.turn()
    assert live(ours).names == ["other.example.test"]


def test_what_was_to_wait_for_under_a_wrong_clock_is_not_waited_for(
    service: Service, clock: Clock
) -> None:
    issuer = Failing([OrderError("no", "wait")])
    clock.now = NOW + timedelta(days=1000)
    service(issuer).turn()

    clock.now = NOW
    service(issuer).turn()
    assert issuer.asked == 2


def test_a_certificate_stays_while_the_next_one_cannot_be_had(
    service: Service, clock: Clock
) -> None:
    issuer = Failing()
    ours = service(issuer)
    ours.turn()
    first = live(ours)

    issuer.reasons = [OrderError("no", "wait")]
    clock.now = first.last_third
    ours.turn()
    assert live(ours) == first
    assert state(ours)["fits"] is True
    assert state(ours)["not_after"] == first.end.isoformat()
    assert state(ours)["error"]["cause"] == "no"


def test_a_full_disk_is_said_and_tried_again(service: Service) -> None:
    ours = service(Failing([OSError(28, "No space left on device")]))
    error = ours.turn()

    assert error is not None
    assert "No space left on device" in error.cause
    assert "disk" in error.remedy


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"failures": 3}'])
def test_a_state_that_cannot_be_read_is_none(service: Service, text: str) -> None:
    ours = service()
    ours.file.write_text(text)

    assert ours.turn() is None
    assert state(ours)["fits"] is True


def test_an_attempt_that_is_killed_counts(service: Service, tmp_path: Path) -> None:
    """Else a container that is killed each time would use up what a CA allows."""
    issuer = Failing()
    child = os.fork()
    if child == 0:
        issuer.issue = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign, assignment, return-value]
        service(issuer).turn()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)

    ours = service(issuer)
    assert ours.turn() is None
    assert issuer.asked == 0
    assert state(ours)["failures"] == 1
    assert (tmp_path / "lock").exists()


def test_an_order_waits_for_the_service_that_is_at_it(service: Service, tmp_path: Path) -> None:
    begun, go_on = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        issuer = private()

        class Slow(Private):
            def issue(self, now: datetime) -> Pair:
                os.write(begun[1], b".")
                os.read(go_on[0], 1)
                return issuer.issue(now)

        service(Slow(issuer.authority)).turn()
        os._exit(0)
    os.read(begun[0], 1)
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(ROOT), str(tmp_path), "once"],
        env={**os.environ, **environ(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as once:
        with pytest.raises(subprocess.TimeoutExpired):
            once.wait(2)
        os.write(go_on[1], b".")
        os.waitpid(child, 0)
        _, said = once.communicate(timeout=30)
    for end in (*begun, *go_on):
        os.close(end)

    assert (once.returncode, said) == (0, "")
    assert len([*(tmp_path / "pairs").iterdir()]) == 1


# --- ACME's advice ---


def advised(tmp_path: Path, *answers: tuple[datetime | None, datetime] | OrderError) -> Acme:
    """Return a CA by ACME that gives advice, each piece once."""
    left = list(answers)

    class Advising(Directory):
        def advice(self, pair: Pair) -> tuple[datetime | None, datetime]:
            del pair
            given = left.pop(0)
            if isinstance(given, OrderError):
                raise given
            return given

    return Acme(Advising("http://ca.test", "", "", tmp_path, tmp_path, ""), [NAME])


def test_a_ca_may_wish_for_an_earlier_renewal_and_not_for_a_later_one(tmp_path: Path) -> None:
    pair = private().issue(NOW)
    early, late = NOW + timedelta(days=1), pair.end - timedelta(hours=1)
    hours = NOW + timedelta(hours=2)

    assert advised(tmp_path, (early, hours)).renewal(pair, NOW) == early
    assert advised(tmp_path, (late, hours)).renewal(pair, NOW) == pair.last_third
    assert advised(tmp_path, (None, hours)).renewal(pair, NOW) == pair.last_third


def test_a_ca_is_asked_for_advice_when_it_said_and_no_oftener(tmp_path: Path) -> None:
    pair = private().issue(NOW)
    early = NOW + timedelta(days=1)
    issuer = advised(tmp_path, (None, NOW + timedelta(hours=2)), (early, NOW))

    assert issuer.renewal(pair, NOW) == pair.last_third
    assert issuer.renewal(pair, NOW + timedelta(hours=1)) == pair.last_third
    assert issuer.renewal(pair, NOW + timedelta(hours=2)) == early
    assert issuer.renewal(pair, NOW + timedelta(hours=2, seconds=30)) == early


def test_without_advice_the_last_third_counts(tmp_path: Path) -> None:
    pair = private().issue(NOW)
    issuer = advised(tmp_path, OrderError("away", "wait"))

    assert issuer.renewal(pair, NOW) == pair.last_third
    assert issuer.renewal(pair, NOW + timedelta(hours=5)) == pair.last_third


# --- The program ---

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
folder = Path(sys.argv[2])
from ops import certifier
certifier.FOLDER, certifier.WEBROOT = folder, folder / "challenges"
certifier.CA_SECRET = folder / "secret"
sys.argv[1:] = sys.argv[3:]
sys.exit(certifier.main())
"""


def environ(folder: Path, **others: str) -> dict[str, str]:
    (folder / "secret").write_text(f"{SECRET.reveal()}\n")
    return {"TLS": "private-ca", "CERTIFICATE_NAMES": NAME, "STACK_NAME": "tests", **others}


def run(folder: Path, command: str, **others: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT), str(folder), command],
        env={**os.environ, **environ(folder, **others)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_the_state_is_empty_at_first_and_then_what_was_written(tmp_path: Path) -> None:
    assert run(tmp_path, "state").stdout == "{}"

    done = run(tmp_path, "once")
    assert done.returncode == 0
    assert SECRET.reveal() not in done.stdout + done.stderr
    assert json.loads(run(tmp_path, "state").stdout)["names"] == [NAME]


def test_the_same_secret_makes_the_certificate_of_the_same_ca(tmp_path: Path) -> None:
    run(tmp_path, "once")

    found = Shelf(tmp_path).read()
    assert found is not None
    found.leaf.verify_directly_issued_by(private().authority.certificate)


def test_an_order_that_fails_says_so_with_its_exit_code(tmp_path: Path) -> None:
    acme = {"TLS": "acme", "ACME_DIRECTORY": "http://127.0.0.1:9/", "ACME_EMAIL": ""}
    (tmp_path / "challenges").write_text("no folder")
    done = run(tmp_path, "once", **acme, ACME_CA_FILE="/dev/null")

    assert done.returncode == 1
    assert "NotADirectoryError" in done.stderr
    assert json.loads(run(tmp_path, "state").stdout)["by"] == "http://127.0.0.1:9/"
    assert "Traceback" not in done.stderr


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(ROOT), str(tmp_path), "serve"],
        env={**os.environ, **environ(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        assert "a new certificate for" in running.stderr.readline()
        assert running.poll() is None
        running.terminate()
        _, said = running.communicate(timeout=30)

    assert (running.returncode, said) == (143, "")
