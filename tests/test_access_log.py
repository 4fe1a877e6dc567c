"""Lines of the access log: as NGINX 1.30 writes them, and as strangers would like to have them."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.access_log import Asked, Request, narrowing, parse, printable, what
from tests.conftest import ROOT

# Written by NGINX 1.30.6 from nginx/nginx.conf.
LINE = (
    '{"time":"2026-11-25T19:24:47+00:00","id":"81ede21bd74451c57f05408d63438f8d",'
    '"client":"127.0.0.1","user":"ann","claims":"","method":"GET","host":"localhost",'
    '"path":"/api/2.0/mlflow/runs/search","status":200,"bytes_in":143,"bytes_out":173,'
    '"seconds":0.005,"tls":"TLSv1.3","upstream":"172.18.0.3:5000","upstream_seconds":"0.004"}'
)
NONSENSE = (
    '{"time":"2026-11-25T19:24:47+00:00","id":"d50b16b460f369309b28271bcde303cc",'
    '"client":"127.0.0.1","user":"","claims":"","method":"","host":"localhost","path":"",'
    '"status":400,"bytes_in":0,"bytes_out":343,"seconds":0.001,"tls":"","upstream":"",'
    '"upstream_seconds":""}'
)
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
ALL = Asked(since=NOON)


def as_nginx(value: bytes) -> bytes:
    """Return a value as `escape=json` writes it: ngx_escape_json of src/core/ngx_string.c."""
    named = {8: b"b", 9: b"t", 10: b"n", 12: b"f", 13: b"r"}
    return b"".join(
        b"\\" + bytes([each])
        if each in b'"\\'
        else b"\\" + named[each]
        if each in named
        else b"\\u%04X" % each
        if each < 32
        else bytes([each])
        for each in value
    )


def written(**values: bytes) -> str:
    """Return a line with these values, as it comes from Docker."""
    line = LINE.encode()
    for name, value in values.items():
        before, field, rest = line.partition(b'"%s":"' % name.encode())
        line = before + field + as_nginx(value) + rest[rest.index(b'"') :]
    return line.decode(errors="replace")


def a_request(**values: object) -> Request:
    found = parse(LINE)
    assert found is not None
    return replace(found, **{"time": NOON, **values})  # type: ignore[arg-type]


def test_a_line_of_nginx_is_read() -> None:
    found = parse(LINE)

    assert found is not None
    assert datetime(2026, 11, 25, 19, 24, 47, tzinfo=UTC) == found.time
    assert ("ann", "", "GET", 200, 0.005) == (
        *(found.user, found.claims, found.method, found.status, found.seconds),
    )
    assert json.loads(LINE) == found.entry


def test_what_was_no_http_at_all_is_read_too() -> None:
    found = parse(NONSENSE)

    assert found is not None
    assert found.failed
    assert "" == found.method


def test_the_names_in_a_line_are_those_of_the_configuration() -> None:
    text = (ROOT / "nginx" / "nginx.conf").read_text("utf-8")
    said = "".join(re.findall(r"^ +'(.*)';?$", text, re.MULTILINE))

    assert list(json.loads(LINE)) == re.findall(r'"(\w+)":', said)
    assert "$args" not in said
    assert "$request_uri" not in said
    assert not re.search(r"\$(http|cookie|arg)_", said)


@given(st.binary(max_size=40))
def test_no_name_writes_a_line_or_a_field_of_its_own(name: bytes) -> None:
    line = written(claims=name)
    found = parse(line)

    assert 1 == len(re.split("[\r\n]", line))
    assert found is not None
    assert name.decode(errors="replace") == found.claims
    assert ("ann", 200) == (found.user, found.status)
    assert list(json.loads(LINE)) == list(found.entry)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_the_host_keeps_every_line_of_the_user_asked_for(name: str) -> None:
    kept = narrowing(replace(ALL, user=name))

    for field in ("user", "claims"):
        assert any(each in written(**{field: name.encode()}) for each in kept)


@given(st.binary(max_size=40))
def test_the_host_takes_no_value_for_a_field(value: bytes) -> None:
    [user, claims] = narrowing(replace(ALL, user="ann"))
    line = written(user=b"bob", path=value, host=value, method=value)

    assert user not in line
    assert claims not in line


@given(st.text(max_size=200))
def test_a_line_that_is_none_is_passed_over(text: str) -> None:
    assert parse(text) is None
    assert parse(json.dumps({"time": text})) is None
    assert parse(LINE[: len(text)]) is None


@pytest.mark.parametrize(
    "text",
    [
        "/docker-entrypoint.sh: Configuration complete; ready for start up",
        "[" * 100_000,
        LINE.replace("200", '"x"'),
        LINE.replace("0.005", "null"),
        LINE.replace("143", "1e999"),
        LINE.replace("2026-11-25T19", "0001-01-01T01").replace("+00:00", "+14:00"),
    ],
)
def test_a_line_of_something_else_is_passed_over(text: str) -> None:
    assert parse(text) is None


# --- What is asked for ---


@pytest.mark.parametrize(
    ("asked", "request_", "wanted"),
    [
        ({}, {}, True),
        ({"since": NOON + timedelta(seconds=1)}, {}, False),
        ({"until": NOON}, {}, False),
        ({"until": NOON + timedelta(seconds=1)}, {}, True),
        ({"user": "ann"}, {}, True),
        ({"user": "bob"}, {}, False),
        ({"user": "eve"}, {"user": "", "claims": "eve"}, True),
        ({"method": "GET"}, {}, True),
        ({"method": "PUT"}, {}, False),
        ({"path": "runs"}, {}, True),
        ({"path": "my model"}, {"path": "/x/my%20model"}, True),
        ({"path": "experiments"}, {}, False),
        ({"failed": True}, {}, False),
        ({"failed": True}, {"status": 401}, True),
        ({"writes": True}, {}, False),
        ({"writes": True}, {"method": "DELETE"}, True),
    ],
)
def test_a_request_is_asked_for_when_it_fits_all(
    asked: dict[str, object], request_: dict[str, object], wanted: bool
) -> None:
    about = replace(ALL, **asked).about(a_request(**request_))  # type: ignore[arg-type]

    assert wanted == about


@pytest.mark.parametrize(
    ("method", "path", "writes"),
    [
        ("GET", "/api/2.0/mlflow/runs/get", False),
        ("HEAD", "/", False),
        ("POST", "/api/2.0/mlflow/runs/create", True),
        ("POST", "/api/2.0/mlflow/runs/search", False),
        ("POST", "/ajax-api/3.0/mlflow/traces/batchGetInfos", False),
        ("POST", "/graphql", False),
        ("POST", "/research", True),
        ("DELETE", "/api/2.0/mlflow/runs/search", True),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/graphql", True),
        ("MKCOL", "/x", True),
    ],
)
def test_a_long_question_is_no_write_and_what_is_unknown_is_one(
    method: str, path: str, writes: bool
) -> None:
    assert writes == a_request(method=method, path=path).writes


def test_without_a_name_a_401_is_no_refused_login() -> None:
    assert not a_request(user="", status=401).refused_login
    assert not a_request(user="", claims="eve", status=403).refused_login
    assert a_request(user="", claims="eve", status=401).refused_login


def test_the_host_keeps_every_line_of_the_kind_asked_for() -> None:
    kinds = {"method": "GET", "failed": True}
    for name, value in kinds.items():
        kept = narrowing(replace(ALL, **{name: value}))  # type: ignore[arg-type]
        assert any(each in LINE.replace("200", "502") for each in kept)
    assert [""] == narrowing(replace(ALL, writes=True, path="x"))


# --- What a person sees ---


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/api/2.0/mlflow/runs/log-batch", "GET runs/log-batch"),
        ("/ajax-api/3.0/mlflow/traces/search", "GET traces/search"),
        ("/api/2.0/mlflow-artifacts/artifacts/1/a%20b", "GET artifact 1/a b"),
        ("/health", "GET /health"),
        ("/%1b]0;x", r"GET /\x1b]0;x"),
    ],
)
def test_a_route_is_shown_short(path: str, shown: str) -> None:
    assert shown == what(a_request(path=path))


def test_of_a_long_artifact_run_and_name_are_shown() -> None:
    path = f"/api/2.0/mlflow-artifacts/artifacts/1/{'f' * 32}/artifacts/{'x' * 90}/model.pkl"
    shown = what(a_request(path=path))

    assert shown.startswith("GET artifact 1/ffff")
    assert shown.endswith("xx/model.pkl")
    assert 52 == len(shown)


@given(st.text())
def test_what_is_printed_steers_no_terminal(text: str) -> None:
    shown = printable(text)

    assert shown.isprintable()
    if text.isprintable():
        assert text == shown
