"""Releases: what is in one, how two differ, how one travels."""

import io
import json
import stat
import subprocess
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops import egress, nginx, release, secret_files, stack
from ops.release import Release
from ops.settings import Settings
from tests.conftest import SIZE, a_release


def unpacked(data: bytes) -> dict[str, tuple[str, int]]:
    """Return text and mode of everything in a tar; a folder has no text."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {}
        for entry in tar:
            stream = tar.extractfile(entry)
            found[entry.name] = (stream.read().decode() if stream else "", entry.mode)
        return found


def test_an_id_is_the_time_in_utc_and_sorts_as_text() -> None:
    early, late = (datetime(2026, 11, 9, 8, 0, second, tzinfo=UTC) for second in (1, 2))

    assert "20261109T080001Z" == release.new_id(now=early)
    assert release.new_id(now=early) < release.new_id(now=late)


def test_an_id_comes_after_those_of_somebody_whose_clock_is_ahead() -> None:
    now = datetime(2026, 11, 9, 8, 0, 1, tzinfo=UTC)

    assert "20261109T090002Z" == release.new_id(["20261101T000000Z", "20261109T090001Z"], now)
    assert "20261109T080002Z" == release.new_id(["20261109T080001Z"], now)  # the same second


def test_a_release_is_read_back_as_written() -> None:
    one = a_release(variables={"A": "größer"}, files={"x": "1"}, secrets=["s-1"])

    assert one == Release.from_json(json.loads(one.as_json()))
    assert 1 == one.as_json().count("\n")


@pytest.mark.parametrize("entry", [{}, {"id": "1"}, {**json.loads(a_release().as_json()), "x": 1}])
def test_what_is_no_release_is_not_taken_for_one(entry: dict[str, str]) -> None:
    with pytest.raises(TypeError):
        Release.from_json(entry)


def test_a_release_holds_the_files_compose_and_nginx_read(settings: Settings) -> None:
    files, variables = release.contents(
        settings, SIZE, {stack.web_image(settings): "registry/web:1"}
    )

    assert {"compose.env", "compose/compose.yaml", "nginx/nginx.conf"} < set(files)
    assert "nginx/conf.d/mlflow.conf" in files
    assert "registry/web:1" == variables["WEB_IMAGE"]
    assert "WEB_IMAGE='registry/web:1'\n" in files["compose.env"]


def test_a_release_with_a_database_elsewhere_has_the_overlay(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_text("the CA\n", "utf-8")
    there = replace(
        settings, database_host="db.example.com", database_ca_file=str(tmp_path / "ca.pem")
    )
    files, variables = release.contents(there, SIZE, {stack.web_image(there): "web:1"})
    made = a_release(files=dict.fromkeys(files, ""))

    assert ["compose/compose.yaml", stack.EXTERNAL_DATABASE] == made.compose_files
    assert ("web", "nginx") == made.services
    assert ("db", "web", "nginx") == a_release().services
    assert "//db.example.com:3306/" in variables["DATABASE_URI"]


def test_a_release_with_its_own_names_gives_compose_every_variable(settings: Settings) -> None:
    _, variables = release.contents(settings, SIZE, {stack.web_image(settings): "web:1"})

    assert {*variables, "WEB_NAME"} == {
        *stack.compose_env(settings, SIZE),
        *stack.local_env(settings),
    }


def test_no_file_of_a_release_holds_a_secret_and_nothing_in_it_is_of_this_machine(
    settings: Settings,
) -> None:
    files, _ = release.contents(settings, SIZE, {stack.web_image(settings): "web:1"})
    text = "\n".join(files.values())

    for secret in (settings.mysql_password, settings.mysql_root_password, settings.kek_passphrase):
        assert secret is not None
        assert secret.reveal() not in text
    assert str(settings.root) not in text


def test_an_archive_has_the_release_its_names_and_its_secrets_and_the_manifest_last(
    settings: Settings,
) -> None:
    one = a_release()
    secrets = secret_files.files(settings)
    data = release.archive(one, {"compose.env": "A='1'\n"}, secrets)
    found = unpacked(data)
    top = f"releases/{one.id}"

    assert ("A='1'\n", 0o444) == found[f"{top}/compose.env"]
    assert f"WEB_NAME='{one.web}'\n" == found[f"{top}/release.env"][0]
    assert f"server {one.web}:5000 resolve" in found[f"{top}/nginx/upstream.conf"][0]
    assert {f"secrets/{name}" for name in secrets} < set(found)
    assert f"{top}/release.json" == list(found)[-1]
    assert data == release.archive(one, {"compose.env": "A='1'\n"}, secrets)


def test_what_containers_mount_is_readable_to_all_whatever_the_umask_of_the_host(
    settings: Settings, tmp_path: Path
) -> None:
    one = a_release()
    files = nginx.files(settings.root, stack.site(settings))
    data = release.archive(
        one, {f"nginx/{name}": text for name, text in files.items()}, {"s-1": "secret"}
    )
    top = tmp_path / "top"
    top.mkdir()
    words = ("tar", "--extract", "--file=-", "--preserve-permissions", f"--directory={top}")
    subprocess.run(words, input=data, check=True, umask=0o077)
    modes = {str(path.relative_to(top)): path.stat().st_mode for path in top.rglob("*")}

    assert f"releases/{one.id}/nginx/conf.d/mlflow.conf" in modes
    assert stat.S_IMODE(modes.pop("secrets")) == 0o700
    for name, mode in modes.items():
        assert stat.S_IMODE(mode) == (0o755 if stat.S_ISDIR(mode) else 0o444), name


def test_a_release_whose_server_goes_out_has_a_proxy_and_its_configuration(
    settings: Settings,
) -> None:
    there = replace(settings, artifacts_destination="s3://bucket", s3_region="eu-west-1")
    files, variables = release.contents(there, SIZE, {stack.web_image(there): "web:1"})
    made = a_release(files=dict.fromkeys(files, ""))

    assert [stack.BASE, egress.OVERLAY] == made.compose_files
    assert ("db", "web", "nginx", "egress") == made.services
    assert "bucket" in files["egress/httpd.conf"]
    assert variables["EGRESS_FOLDER"] == "../egress"


def named(settings: Settings) -> dict[str, str]:
    """Return our images by their names here, each called after its place there."""
    server, service = stack.own_images(settings)
    return {server: "registry/web:1", service: "registry/backup:1"}


def test_a_release_that_is_backed_up_has_its_services_their_overlay_and_their_image(
    guarded: Settings,
) -> None:
    files, variables = release.contents(guarded, SIZE, named(guarded))
    made = a_release(files=dict.fromkeys(files, ""), variables=variables)

    assert [stack.BASE, stack.BACKUPS] == made.compose_files
    assert ("db", "web", "nginx", "dump", "backup") == made.services
    assert "BACKUP_IMAGE='registry/backup:1'\n" in files["compose.env"]
    assert "WEB_IMAGE='registry/web:1'\n" in files["compose.env"]
    assert made.movable


def test_a_release_that_is_backed_up_gives_compose_every_variable_and_no_secret(
    guarded: Settings,
) -> None:
    files, variables = release.contents(guarded, SIZE, named(guarded))
    text = "\n".join(files.values())

    assert {*variables, "WEB_NAME"} == {
        *stack.compose_env(guarded, SIZE),
        *stack.local_env(guarded),
    }
    assert guarded.backup_password is not None
    assert guarded.backup_password.reveal() not in text


def test_a_release_has_one_image_of_ours_or_two() -> None:
    assert {"web:1": "sha256:1"} == a_release().images
    assert {"web:1": "sha256:1", "backup:1": "sha256:2"} == a_release(
        others={"backup:1": "sha256:2"}
    ).images


def test_a_release_of_an_older_version_is_read_and_knows_its_first_volume_only() -> None:
    entry = json.loads(a_release().as_json())
    del entry["others"]
    old = Release.from_json(entry)

    assert a_release() == old
    assert not old.movable
    assert a_release(variables={"DB_VOLUME": "x"}).movable
    elsewhere = {stack.EXTERNAL_DATABASE: ""}
    assert not a_release(variables={"DB_VOLUME": "x"}, files=elsewhere).movable


@pytest.mark.parametrize(
    ("was", "now", "line"),
    [
        ({}, {"others": {"backup:1": "a"}}, "image: none -> backup:1"),
        ({"others": {"backup:1": "a"}}, {"others": {}}, "image: backup:1 -> none"),
        (
            {"others": {"backup:1": "a"}},
            {"others": {"backup:1": "b"}},
            "image: backup:1 -> backup:1",
        ),
    ],
)
def test_another_image_of_the_backup_service_is_a_change(
    was: dict[str, str], now: dict[str, str], line: str
) -> None:
    live = a_release(**was)
    new = replace(live, id="20261124T020304Z", **now)  # type: ignore[arg-type]

    assert [line] == release.differences(new, live)
    assert not new.same_content(live)


def test_the_name_on_the_network_is_a_host_name() -> None:
    assert "web-20261124t010203z" == a_release(id="20261124T010203Z").web


DIFFERENCES = [
    ({"image": "web:2"}, "image: web:1 -> web:2"),
    ({"schema": "b"}, "schema: a -> b"),
    ({"variables": {"WEB_WORKERS": "4"}}, "setting: WEB_WORKERS '2' -> '4'"),
    ({"files": {"nginx/nginx.conf": "2"}}, "file: nginx/nginx.conf"),
    ({"secrets": ["kek-2"]}, "secret: kek"),
]


@pytest.mark.parametrize(("change", "line"), DIFFERENCES)
def test_a_plan_names_what_changes(change: dict[str, object], line: str) -> None:
    live = a_release(
        variables={"WEB_WORKERS": "2"}, files={"nginx/nginx.conf": "1"}, secrets=["kek-1"]
    )
    new = replace(live, id="20261124T020304Z", **change)  # type: ignore[arg-type]

    assert [line] == release.differences(new, live)
    assert not new.same_content(live)


def test_a_release_of_the_same_content_differs_in_nothing() -> None:
    live = a_release()
    new = replace(live, id="20261124T020304Z", made_by="somebody@else", commit="other")

    assert [] == release.differences(new, live)
    assert new.same_content(live)


def test_the_first_release_is_said_to_be_the_first() -> None:
    assert ["first release: image web:1, schema a"] == release.differences(a_release(), None)
