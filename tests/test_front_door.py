"""The front door, against a real HTTP server on this machine."""

import socket
from base64 import b64decode
from dataclasses import replace

import pytest

from ops import front_door
from ops.errors import OpsError
from ops.front_door import FrontDoor, RequestError
from ops.settings import Settings
from ops.values import Secret
from tests.conftest import StandInServer

PROBE = "POST /experiments/search"


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def test_a_server_that_answers_raises_nothing(server: StandInServer) -> None:
    FrontDoor(server.url).answers()

    assert server.requests == [PROBE]


def test_a_trailing_slash_of_the_address_does_not_matter(server: StandInServer) -> None:
    FrontDoor(f"{server.url}/").answers()

    assert server.requests == [PROBE]


@pytest.mark.parametrize("status", [301, 400, 403, 404, 413, 500, 502, 503])
def test_an_answer_that_is_no_success_has_its_status_and_text(
    server: StandInServer, status: int
) -> None:
    server.broken[PROBE] = (status, b"Invalid Host header " + b"x" * 1000)
    with pytest.raises(RequestError, match=f"HTTP {status}: Invalid Host header") as caught:
        FrontDoor(server.url).answers()

    assert caught.value.status == status
    assert len(str(caught.value)) < 400
    assert server.requests == [PROBE]  # and it was not tried again


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "x"}', "RESOURCE_DOES_NOT_EXIST"),
        (b'{"error_code": "INVALID", "message": "' + b"x" * 1000 + b'"}', "INVALID"),
        (b"{}", ""),
        (b"[1]", ""),
        (b"Permission denied", ""),
    ],
)
def test_an_error_has_mlflow_s_name_for_it(server: StandInServer, body: bytes, code: str) -> None:
    server.broken[PROBE] = (404, body)
    with pytest.raises(RequestError) as caught:
        FrontDoor(server.url).answers()

    assert code == caught.value.code


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("5", 5), ("0", 0), ("", 1), ("-3", 1), ("soon", 1), ("Sun, 29 Nov 2026 12:00:00 GMT", 1)],
)
def test_an_error_says_how_long_the_server_wants_to_be_left_alone(
    server: StandInServer, said: str, seconds: float
) -> None:
    server.broken[PROBE] = (429, b"")
    server.headers["Retry-After"] = said
    with pytest.raises(RequestError) as caught:
        FrontDoor(server.url).answers()

    assert seconds == caught.value.retry_after


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_another_version_of_the_api_is_asked_at_its_own_path(
    server: StandInServer, method: str
) -> None:
    line = f"{method} /api/3.0/mlflow/roles/list"
    server.broken[line] = (200, b'{"roles": []}')

    assert {"roles": []} == FrontDoor(server.url).call(method, "/roles/list", {"a": "b"}, "3.0")
    assert [line] == server.requests


def test_an_empty_answer_shows_the_reason(server: StandInServer) -> None:
    server.broken[PROBE] = (502, b"")
    with pytest.raises(RequestError, match="HTTP 502: Bad Gateway"):
        FrontDoor(server.url).answers()


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[1, 2]", b"\xff"])
def test_an_answer_that_is_not_mlflow_s_is_an_error(server: StandInServer, body: bytes) -> None:
    server.broken[PROBE] = (200, body)
    with pytest.raises(RequestError, match="answered something that is not"):
        FrontDoor(server.url).answers()


def test_no_server_is_status_0() -> None:
    with pytest.raises(RequestError, match=r"no answer from http://127\.0\.0\.1") as caught:
        FrontDoor(f"http://127.0.0.1:{closed_port()}").answers()

    assert caught.value.status == 0


def test_a_server_that_hangs_up_is_status_0(server: StandInServer) -> None:
    server.broken[PROBE] = None
    with pytest.raises(RequestError) as caught:
        FrontDoor(server.url).answers()

    assert caught.value.status == 0


def test_no_request_is_ever_repeated(server: StandInServer) -> None:
    """A repeated write could be done twice."""
    server.broken["GET /runs/get"] = None
    with pytest.raises(RequestError):
        FrontDoor(server.url).call("GET", "/runs/get", {"run_id": "1"})

    assert server.requests == ["GET /runs/get"]


@pytest.mark.parametrize("url", ["http://", "http://a..b", "nonsense://x", "http://[::1"])
def test_an_address_that_is_none_is_an_error_of_ours(url: str) -> None:
    with pytest.raises(RequestError):
        FrontDoor(url).answers()


@pytest.mark.parametrize(
    ("bind", "public", "address", "host"),
    [
        ("127.0.0.1", "", "http://127.0.0.1:6000", "localhost:6000"),
        ("0.0.0.0", "https://x.example", "https://127.0.0.1:443", "x.example"),
        ("10.1.2.3", "https://x.example:8080", "https://10.1.2.3:443", "x.example:8080"),
        ("::", "", "https://[::1]:443", "localhost:443"),
    ],
)
def test_the_local_door_is_asked_under_the_public_name(
    bind: str, public: str, address: str, host: str
) -> None:
    settings = Settings(bind_address=bind, public_url=public, http_port=6000)
    door = front_door.local(settings)

    assert door.url == address
    assert door._headers == {"Host": host}


def test_the_admin_logs_in_where_there_is_a_login(settings: Settings) -> None:
    guarded = replace(settings, auth="basic", admin_password=Secret("geh\u00e4mes"))
    name, _, login = front_door.headers(guarded)["authorization"].partition(" ")

    assert (name, b64decode(login).decode()) == ("Basic", "admin:geh\u00e4mes")
    assert list(front_door.headers(settings)) == ["Host"]


def test_the_public_name_arrives_at_the_server(server: StandInServer) -> None:
    settings = Settings(public_url="https://x.example", http_port=server.port)
    front_door.local(settings).answers()
    front_door.local(replace(settings, public_url="")).answers()

    assert server.hosts == ["x.example", f"localhost:{server.port}"]


def test_waiting_ends_with_the_first_answer(
    server: StandInServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.broken[PROBE] = (502, b"")
    monkeypatch.setattr("time.sleep", lambda _: server.broken.clear())
    asked: list[str] = []
    front_door.wait(FrontDoor(server.url), 30, lambda: asked.append("alive"))

    assert asked == ["alive"]
    assert server.requests == [PROBE, PROBE]


def test_waiting_gives_up_after_its_time_and_says_what_came_last(server: StandInServer) -> None:
    server.broken[PROBE] = (502, b"")
    with pytest.raises(OpsError) as caught:
        front_door.wait(FrontDoor(server.url), -1, lambda: None)

    assert "no answer at the front door after" in caught.value.cause
    assert "HTTP 502: Bad Gateway" in caught.value.cause
    assert caught.value.code == 1


def test_waiting_for_a_server_that_died_ends_at_once(server: StandInServer) -> None:
    server.broken[PROBE] = (502, b"")

    def alive() -> None:
        raise OpsError("it died", "look")

    with pytest.raises(OpsError, match="it died"):
        front_door.wait(FrontDoor(server.url), 30, alive)


def test_the_pages_that_may_read_an_answer_are_known(server: StandInServer) -> None:
    door = FrontDoor(server.url)
    assert door.allowed_origin("https://page.test") == ""

    server.headers["Access-Control-Allow-Origin"] = "https://page.test"
    assert door.allowed_origin("https://page.test") == "https://page.test"

    server.broken["GET /experiments/search"] = None
    with pytest.raises(RequestError, match="no answer from"):
        door.allowed_origin("https://page.test")


@pytest.mark.parametrize(
    ("bind", "found"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("10.0.0.1", "10.0.0.1")],
)
def test_a_machine_finds_its_own_door_whatever_it_listens_on(bind: str, found: str) -> None:
    assert front_door.address(Settings(bind_address=bind)) == found
