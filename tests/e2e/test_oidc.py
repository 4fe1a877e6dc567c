"""Login by an identity provider: a real one, and a real Chromium that goes there and comes back."""

import base64
import hashlib
import json
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from playwright.sync_api import BrowserContext, expect

from tests import lab
from tests.e2e.asking import API, Answer, Door, ask, connection, let_in, send
from tests.e2e.browsers import chromium
from tests.e2e.conftest import (
    SMOKE_STEPS,
    Project,
    certified,
    free_port,
    output,
    s3_settings,
    wait_for,
)
from tests.e2e.test_gate import CLOSED, PARAMETER_VALUE, routes_of
from tests.e2e.test_identity import Client
from tests.lab import identity
from tests.lab.identity import Provider

HERE = Path(__file__).parent
KNOWN = HERE / "routes-oidc.txt"

OPEN = re.compile(r"\w+ (/(login|callback|providers)|/oidc/ui(/.*)?)|(CONNECT|TRACE) .*")
"""What who has not logged in has to reach; and what NGINX answers with 400 or 405 whatever is."""

WHY = re.compile("not allowed|not authorized", re.IGNORECASE)
"""What the plugin says to whom it does not let in."""

PASSWORD = "a password at the provider"
SECONDS = 120


@pytest.fixture(scope="module")
def company(make_project: Callable[..., Project], the_lab: lab.Lab) -> Project:
    """A stack that is to be told who its identity provider is."""
    return make_project(
        "company",
        **s3_settings(the_lab, "s3://mlflow-artifacts/company"),
        TLS="private-ca",
        WEB_WORKERS="2",
    )


@pytest.fixture(scope="module")
def provider(
    company: Project, the_lab: lab.Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Provider]:
    """An identity provider with somebody of each kind, and the stack up that trusts it."""
    folder = tmp_path_factory.mktemp("provider")
    address = urlsplit(the_lab.s3.endpoint).hostname or ""
    ca, door = certified(folder, address)
    place = address, free_port()
    with identity.running(folder, place, door, ca, f"{company.url}/callback") as found:
        for name, groups in {"root": ["mlflow-admin"], "ana": ["mlflow"], "eve": []}.items():
            found.add(name, f"{name}@example.com", PASSWORD, *groups)
        company.set(
            AUTH="oidc",
            OIDC_ISSUER=found.issuer,
            OIDC_CLIENT_ID=found.client_id,
            OIDC_CLIENT_SECRET=found.client_secret,
            OIDC_CA_FILE=str(found.ca_file),
            OIDC_SCOPES=" ".join(identity.SCOPES),
        )
        company.invoke("up", "--engine", "compose")
        yield found


@pytest.fixture
def door(company: Project, provider: Provider) -> Door:
    """The door of the stack, to which the first user has the key."""
    assert provider.issuer.startswith("https:")
    made = Door.of(company)
    let_in(made, made.admin)
    return made


@contextmanager
def logged_in(company: Project, name: str) -> Iterator[BrowserContext]:
    """Have a browser in which somebody has gone through the provider's own pages."""
    with chromium() as browser:
        context = browser.new_context(ignore_https_errors=True)
        context.set_default_timeout(SECONDS * 1000)
        page = context.new_page()
        page.goto(f"{company.url}/")
        identity.fill_in(page, name, PASSWORD)
        page.wait_for_url(f"{company.url}/**")
        yield context


def cookie(context: BrowserContext) -> dict[str, str]:
    """Return the header with which that browser goes on."""
    found = {each["name"]: each["value"] for each in context.cookies()}
    return {"Cookie": f"mlflow_session={found['mlflow_session']}"}


# --- People ---


def test_a_person_logs_in_at_the_provider_and_works_in_the_pages(
    company: Project, door: Door
) -> None:
    with logged_in(company, "ana") as context:
        page = context.pages[0]
        said: list[str] = []
        page.on("console", lambda line: said.append(line.text))
        page.goto(f"{company.url}/#/experiments")
        expect(page.get_by_role("button", name="Create", exact=True).first).to_be_visible()
        kept = {each["name"]: each for each in context.cookies()}["mlflow_session"]
        who = ask(door, None, "GET", f"{API}/users/current", headers=cookie(context))
        page.get_by_text("Logout").first.wait_for()
        page.goto(f"{company.url}/oidc/ui/user")
        expect(page.get_by_text("ana@example.com").first).to_be_visible()

    assert (True, True, "Lax") == (kept["secure"], kept["httpOnly"], kept["sameSite"])
    assert 0 < kept["expires"] - time.time() <= 43200
    assert ("ana@example.com", False) == (who.json["username"], who.json["is_admin"])
    assert [] == [line for line in said if "Content Security Policy" in line]


def test_the_access_log_knows_whose_a_session_is(company: Project, door: Door) -> None:
    mark = f"/api/2.0/mlflow/experiments/get-by-name?experiment_name={uuid.uuid4()}"
    with logged_in(company, "ana") as context:
        ask(door, None, "GET", mark, headers=cookie(context))

    def paths() -> list[str]:
        lines = company.invoke("audit", "--json", "--user", "ana@example.com").stdout.splitlines()
        return [json.loads(line)["path"] for line in lines]

    wait_for(lambda: mark.partition("?")[0] in paths(), 60, "the request under her name")


def test_whoever_is_in_no_group_is_told_so_and_gets_no_further(
    company: Project, door: Door
) -> None:
    with logged_in(company, "eve") as context:
        page = context.pages[0]
        assert "/oidc/ui/" in page.url
        expect(
            page.get_by_text(re.compile("not allowed|not authorized", re.IGNORECASE)).first
        ).to_be_visible()
        headers = cookie(context) if context.cookies(company.url) else {}

    assert 401 == ask(door, None, "GET", "/version", headers=headers).status


def test_rights_are_as_the_provider_and_the_admin_give_them(company: Project, door: Door) -> None:
    name = f"of the admin {uuid.uuid4().hex[:6]}"
    made = ask(door, door.admin, "POST", f"{API}/experiments/create", {"name": name})
    read = ("GET", f"{API}/experiments/get?experiment_id={made.json['experiment_id']}")
    sessions = {}
    for who in ("ana", "root"):
        with logged_in(company, who) as context:
            sessions[who] = cookie(context)

    def seen_by(who: str) -> int:
        return ask(door, None, *read, headers=sessions[who]).status

    assert (403, 200) == (seen_by("ana"), seen_by("root"))
    company.invoke("grant", "ana@example.com", f"experiment:{name}", "READ")
    wait_for(lambda: seen_by("ana") == 200, 60, "what was granted counts")
    listed = company.invoke("list-users", "--name", "ana@example.com").stdout
    company.invoke("revoke", "ana@example.com", f"experiment:{name}")
    wait_for(lambda: seen_by("ana") == 403, 60, "what was revoked does not")

    assert f"READ    experiment:{made.json['experiment_id']} ({name})" in listed
    everybody = company.invoke("list-users").stdout
    assert {
        "admin": "admin",
        "ana@example.com": "user",
        "root@example.com": "admin",
    }.items() <= dict(line.split() for line in everybody.splitlines()).items()


def test_a_session_ends_with_the_logout(company: Project, door: Door) -> None:
    with logged_in(company, "ana") as context:
        headers = cookie(context)
        assert 200 == ask(door, None, "GET", "/version", headers=headers).status
        context.pages[0].goto(f"{company.url}/logout")

    wait_for(
        lambda: ask(door, None, "GET", "/version", headers=headers).status == 401,
        60,
        "a copy of the cookie opens nothing",
    )


# --- Programs ---


@pytest.fixture
def robot(company: Project, door: Door) -> Iterator[tuple[str, str]]:
    """A program with a token."""
    name = f"robot-{uuid.uuid4().hex[:6]}"
    company.invoke("add-user", name)
    token = company.invoke("token", name, "--label", "ci").stdout.strip()
    let_in(door, (name, token))
    yield name, token
    company.invoke("remove-user", name, "--confirm", name)


def test_a_program_logs_runs_with_a_token(
    company: Project,
    robot: tuple[str, str],
    door: Door,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", company.ca)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", robot[0])
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", robot[1])
    mlflow.set_tracking_uri(company.url)
    mlflow.set_experiment(f"of {robot[0]}")
    (tmp_path / "large.bin").write_bytes(b"\0" * 20_000_000)
    with mlflow.start_run() as run:
        mlflow.log_metric("loss", 0.5)
        mlflow.log_artifact(str(tmp_path / "large.bin"))
    back = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, dst_path=str(tmp_path / "b"))

    assert 20_000_000 == (Path(back) / "large.bin").stat().st_size
    assert 0.5 == mlflow.get_run(run.info.run_id).data.metrics["loss"]
    company.invoke("token", robot[0], "--label", "ci", "--revoke")
    wait_for(
        lambda: ask(door, robot, "GET", "/version").status == 401,
        60,
        "a token taken back is refused",
    )
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(MlflowException, match=r"no such user and token|Authentication required"):
        mlflow.get_run(run.info.run_id)


def test_the_first_user_proves_the_server(company: Project, door: Door) -> None:
    assert door.admin[0] == "admin"
    assert SMOKE_STEPS == len(company.smoke().stdout.splitlines())


def test_a_token_of_the_provider_counts_if_it_is_one_for_this_server(
    company: Project, provider: Provider, door: Door
) -> None:
    with logged_in(company, "ana"):
        pass  # whoever was here once is known
    client = Client(provider, f"{company.url}/callback")
    good = client.tokens(client.log_in("ana", PASSWORD)).json()["id_token"]
    body = good.split(".")[1]
    unsigned = f"{encoded({'alg': 'none', 'typ': 'JWT'})}.{body}."
    other = good[:-20] + ("A" * 20 if good[-20:] != "A" * 20 else "B" * 20)

    def status(token: str) -> int:
        return ask(
            door, None, "GET", "/version", headers={"Authorization": f"Bearer {token}"}
        ).status

    assert [200, 401, 401, 401] == [status(each) for each in (good, unsigned, other, "abc")]


def encoded(value: object) -> str:
    """Return a part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


# --- Strangers ---


def test_every_route_of_the_plugin_is_known(company: Project, door: Door) -> None:
    assert door
    now, before = set(routes_of(company, "oidc")), set(KNOWN.read_text("utf-8").splitlines())

    assert len(now) > 1000
    assert now == before, (
        "this MLflow, or the plugin, has other routes than the list; see whether a new one has to "
        f"be closed (nginx/templates/refusals.conf.template), then renew {KNOWN.name} by routes.py"
    )


def test_a_stranger_gets_no_further_than_the_door_on_any_route(door: Door) -> None:
    wrong = []
    with connection(door) as made:
        for line in KNOWN.read_text("utf-8").splitlines():
            method, path = line.split(" ", 1)
            path = PARAMETER_VALUE.sub("1", path)
            if OPEN.fullmatch(f"{method} {path}"):
                continue
            answer = send(made, method, path, headers={"Accept": "*/*"})
            expected = 403 if any(part in path for part in CLOSED) else 401
            if answer.status != expected or answer.by_mlflow:
                wrong.append((line, answer.status, answer.by_mlflow))

    assert [] == wrong


def test_a_stranger_who_opens_a_page_is_sent_to_the_provider(
    provider: Provider, door: Door
) -> None:
    first = ask(door, None, "GET", "/", headers={"Accept": "text/html"})
    second = ask(door, None, "GET", "/login")
    where = urlsplit(second.header("location"))

    assert (302, "/login") == (first.status, first.header("location"))
    assert provider.issuer == f"{where.scheme}://{where.netloc}"
    assert "code_challenge_method=S256" in where.query
    assert f"localhost%3A{door.port}%2Fcallback" in where.query


@pytest.mark.parametrize(
    "headers",
    [
        {"Cookie": "mlflow_session=eyJzZXNzaW9uX2lkIjogIjEifQ==.aSqg.AAAA"},
        {"Cookie": "mlflow_session=\x7f"},
        {"X-Forwarded-Prefix": "/oidc/ui"},
        {"X-Forwarded-User": "admin", "X-Remote-User": "admin", "X-Gate-User": "admin"},
        {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "evil.example.test"},
    ],
    ids=["forged", "broken", "prefix", "claims", "forwarded"],
)
def test_what_a_stranger_claims_opens_nothing(door: Door, headers: dict[str, str]) -> None:
    assert 401 == ask(door, None, "GET", "/version", headers=headers).status


def test_an_answer_that_nobody_asked_the_provider_for_logs_nobody_in(door: Door) -> None:
    answer = ask(door, None, "GET", "/callback?code=abc&state=def")

    assert 302 == answer.status
    assert "/oidc/ui/auth" in answer.header("location")
    assert "session_id" not in "".join(answer.headers.get("set-cookie", []))


def test_beginning_logins_by_the_hundred_is_refused(door: Door) -> None:
    def begun() -> list[Answer]:
        return [ask(door, None, "GET", "/login") for _ in range(60)]

    statuses = {answer.status for answer in begun()}
    assert {302, 429} == statuses
    assert 200 == ask(door, door.admin, "GET", "/version").status


# --- The machine room ---


def test_no_secret_is_in_what_docker_or_a_process_shows(company: Project, door: Door) -> None:
    settings = company.settings
    assert settings.oidc_client_secret
    hidden = [settings.oidc_client_secret.reveal(), door.admin[1]]
    web = company.container("web")
    shown = output("docker", "inspect", web, company.container("migrate"))
    shown += output("docker", "top", web, "-eo", "pid,args")
    environ = "for each in /proc/[0-9]*/environ; do cat $each 2>/dev/null; done; true"
    inside = subprocess.run(
        ["docker", "exec", web, "sh", "-c", environ], capture_output=True, check=True
    ).stdout.decode(errors="replace")
    logs = subprocess.run(["docker", "logs", web], capture_output=True, check=True, text=True)

    for secret in hidden:
        assert secret not in shown + inside + logs.stdout + logs.stderr


def test_without_the_provider_the_first_user_and_programs_get_in(
    company: Project, provider: Provider, door: Door, robot: tuple[str, str]
) -> None:
    company.set(OIDC_ISSUER="https://127.0.0.1:9")
    company.invoke("up")
    let_in(door, door.admin)
    let_in(door, robot)
    away = ask(door, None, "GET", "/login")
    company.set(OIDC_ISSUER=provider.issuer)
    company.invoke("up")

    assert (500, "") == (away.status, away.header("location"))
    assert 302 == ask(door, None, "GET", "/login").status


def test_the_first_user_s_password_is_replaced(company: Project, door: Door) -> None:
    company.invoke("rotate-secret", "ADMIN_PASSWORD")
    now = company.admin

    assert now != door.admin
    assert 401 == ask(door, door.admin, "GET", "/version").status
    assert 200 == ask(door, now, "GET", "/version").status


def test_the_scripts_in_the_pages_are_those_that_the_policy_names(door: Door) -> None:
    """Else a newer plugin's pages stay empty."""
    policy = ask(door, door.admin, "GET", "/").header("content-security-policy")
    pages = [ask(door, door.admin, "GET", path).body.decode() for path in ("/", "/oidc/ui/")]
    scripts = [
        each for page in pages for each in re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    ]

    assert len(scripts) >= 3
    for script in scripts:
        assert f"'sha256-{sha256(script)}'" in policy


def sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
