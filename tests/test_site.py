"""The stack's folder on a host: read and pointed at with real programs on this machine."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops import audit, secret_files, stack
from ops.errors import OpsError
from ops.hosts import LocalHost, Result
from ops.settings import Settings
from ops.site import Facts, Site
from ops.values import Secret
from tests.conftest import a_container, a_release


class Here(LocalHost):
    """This machine without its Docker Engine."""

    def run(self, words: Any, **more: Any) -> Result:
        if words[0] == "docker":
            return Result(0, "", "")
        return super().run(words, **more)


@pytest.fixture
def site(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A stack's folder with two releases and the remains of a third, in this user's home."""
    monkeypatch.chdir(tmp_path)
    site = Site(Here(), settings)
    for identity in ("20261124T010000Z", "20261124T020000Z"):
        folder = tmp_path / site.release(identity)
        folder.mkdir(parents=True)
        (folder / "release.json").write_text(a_release(id=identity).as_json(), "utf-8")
    (tmp_path / site.release("20261124T030000Z")).mkdir()
    return site


def test_an_empty_host_has_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert Facts() == Site(Here(), settings).facts()


def test_the_live_release_is_the_one_pointed_at(site: Site) -> None:
    assert site.facts().live is None
    site.point("20261124T010000Z")
    site.point("20261124T020000Z")
    facts = site.facts()

    assert facts.live == a_release(id="20261124T020000Z")
    assert {"20261124T010000Z", "20261124T020000Z"} == set(facts.releases)


def test_a_pointer_to_nothing_means_no_live_release(site: Site) -> None:
    site.point("20261124T030000Z")

    assert site.facts().live is None


def test_files_of_a_release_are_read(site: Site) -> None:
    found = site.read("20261124T010000Z", ["release.json"])

    assert "20261124T010000Z" == json.loads(found["release.json"])["id"]
    with pytest.raises(OpsError, match="No such file"):
        site.read("20261124T010000Z", ["missing"])


def test_a_manifest_of_another_make_is_refused_by_name(site: Site) -> None:
    Path(site.release("20261124T010000Z", "release.json")).write_text('{"id": 1}\n', "utf-8")

    with pytest.raises(OpsError, match=r"release.json on the host makes no sense"):
        site.facts()


def test_compose_reads_the_release_and_its_own_names(site: Site) -> None:
    files = {"nginx/x": "1", stack.EXTERNAL_DATABASE: "1", "compose/compose.yaml": "1"}
    words = site.compose(a_release(id="20261124T010000Z", files=files), "up")
    top = f"{site.top}/releases/20261124T010000Z"

    assert [f"{top}/compose.env", f"{top}/release.env"] == list(words[3:6:2])
    assert [f"{top}/compose/compose.yaml", f"{top}/{stack.EXTERNAL_DATABASE}"] == list(
        words[7:11:2]
    )
    assert "up" == words[-1]


def test_the_volume_that_a_restore_put_there_wins_over_the_first_one(site: Site) -> None:
    made = a_release(id="20261124T010000Z", variables={"DB_VOLUME": "first"})
    words = site.compose(made, "up")

    assert ["--env-file", f"{site.top}/database.env"] == list(words[-3:-1])
    assert f"{site.top}/database.env" not in site.compose(a_release(), "up")


def test_a_database_elsewhere_has_no_volume_to_be_named(site: Site) -> None:
    files = {stack.EXTERNAL_DATABASE: "1"}
    words = site.compose(a_release(files=files, variables={"DB_VOLUME": "first"}), "up")

    assert f"{site.top}/database.env" not in words


def test_the_volume_is_the_first_one_until_another_is_named(site: Site) -> None:
    assert "mlflow-compose_db" == site.volume()
    site.set_volume("mlflow-compose_db-2")
    assert "mlflow-compose_db-2" == site.volume()
    site.set_volume("mlflow-compose_db-3")

    file = Path(site.path("database.env"))
    assert "DB_VOLUME=mlflow-compose_db-3\n" == file.read_text("utf-8")
    assert not Path(site.path(".database.env")).exists()


def test_a_volume_can_be_named_on_a_host_that_has_nothing_yet(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    site = Site(Here(), settings)
    site.set_volume("mlflow-compose_db-2")

    assert "mlflow-compose_db-2" == site.volume()
    assert 0o700 == (tmp_path / site.top).stat().st_mode & 0o777


@pytest.mark.parametrize("password", ["0123456789abcdef", "pass=word#1;0123", "a'b`c$d{e}f0123456"])
def test_the_passwords_of_a_release_s_users_are_those_in_its_files(
    site: Site, guarded: Settings, password: str
) -> None:
    files = secret_files.files(replace(guarded, backup_password=Secret(password)))
    folder = Path(site.path("secrets"))
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")

    users = {"web": Secret("mysql-web-password-1"), "backup": Secret(password)}
    older = [name for name in files if not name.startswith("web_")]

    assert users == site.passwords(a_release(secrets=sorted(files)))
    assert {"backup": Secret(password)} == site.passwords(a_release(secrets=older))
    assert {} == site.passwords(a_release(secrets=["mysql_client-1"]))


LIVE = a_release()
WELL = [a_container("db"), a_container("web", release=LIVE.web), a_container("nginx")]
UNWELL = [
    WELL[:2],
    [*WELL, a_container("web", release="web-other")],
    [a_container("db", health="unhealthy"), *WELL[1:]],
    [WELL[0], a_container("web", release="web-other"), WELL[2]],
    [*WELL[:2], a_container("nginx", state="exited")],
]


def facts(result: str, containers: list[Any]) -> Facts:
    line = json.dumps({"release": LIVE.id, "result": result})
    return Facts(live=LIVE, containers=containers, record=[line])


def test_a_host_is_healthy_when_exactly_the_live_release_runs_well() -> None:
    job = a_container("migrate", state="exited", health="")

    assert facts("ok", WELL).healthy
    assert facts("ok", [*WELL, job]).healthy


@pytest.mark.parametrize("containers", UNWELL)
def test_a_missing_second_sick_or_foreign_container_is_not_healthy(containers: list[Any]) -> None:
    assert not facts("ok", containers).healthy


def test_a_release_that_never_ended_well_is_not_healthy() -> None:
    assert not facts("started", WELL).healthy
    assert {LIVE.id: "started"} == audit.outcomes(facts("started", WELL).record)
