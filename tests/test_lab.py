"""The parts of the lab that need no Docker: what it reads, and what it decides from that."""

import ipaddress
import subprocess
from pathlib import Path

import pytest

from tests.lab import apt, hub, images, network, turn, wheels
from tests.lab.errors import LabError
from tests.lab.place import Place

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
 contrib
Signed-By: /usr/share/keyrings/some.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: https://vendor.example/node_20.x
Suites: nodistro
Components: main
"""
ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
br-1\t0000D50A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
"""


def test_a_deb822_file_gives_enabled_archives_with_their_continuation_lines() -> None:
    main, vendor = apt.deb822(DEB822)

    assert main.address == "http://mirror.example/debian"
    assert main.suites == ("bookworm", "bookworm-updates")
    assert main.components == ("main", "contrib")
    assert main.signed_by == "/usr/share/keyrings/some.gpg"
    assert vendor.address == "https://vendor.example/node_20.x"


def test_a_one_line_file_gives_its_options_too() -> None:
    text = (
        "# deb http://no.example a main\ndeb [arch=amd64 signed-by=/k.gpg] http://m/debian sid main"
    )

    assert apt.one_line(text) == [apt.Source("http://m/debian", ("sid",), ("main",), "/k.gpg")]
    assert apt.one_line("deb-src http://m/debian sid main\n\n") == []


def test_both_formats_are_read_from_one_machine(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://one/debian trixie main\n")
    (parts / "more.sources").write_text(DEB822)
    (parts / "off.list.disabled").write_text("deb http://two/debian trixie main\n")

    found = [source.address for source in apt.sources(tmp_path)]

    assert found[:2] == ["http://one/debian", "http://mirror.example/debian"]
    assert "http://two/debian" not in found


def test_the_archive_itself_is_chosen_before_its_updates_and_other_vendors() -> None:
    updates = apt.Source("http://m/debian", ("bookworm-updates",), ("main",))
    vendor = apt.Source("http://vendor/apt", ("stable",), ("main",))
    archive = apt.Source("http://m/debian", ("bookworm", "bookworm-updates"), ("main",))

    assert apt.debian([updates, vendor, archive]) == archive
    with pytest.raises(LabError, match="no Debian archive"):
        apt.debian([updates, vendor])


def test_a_subnet_that_something_uses_is_known_from_the_routes() -> None:
    assert network.routes(ROUTES) == [ipaddress.IPv4Network("10.213.0.0/24")]


def test_a_second_lab_has_its_own_name_and_folder(tmp_path: Path) -> None:
    second = Place.read({"MLFLOW_LAB_NAME": "other", "MLFLOW_LAB_STATE": str(tmp_path)})

    assert second.folder == tmp_path / "other"
    assert second.label == "mlflow-compose.lab=other"
    assert Place.read({}).name == "mlflow-lab"
    with pytest.raises(LabError, match="MLFLOW_LAB_NAME"):
        Place.read({"MLFLOW_LAB_NAME": "../up"})


def test_state_is_private_and_written_whole(tmp_path: Path) -> None:
    place = Place("one", tmp_path / "state" / "one")
    place.make()
    place.write("key", "secret")

    assert oct(place.folder.stat().st_mode & 0o777) == "0o700"
    assert oct((place.folder / "key").stat().st_mode & 0o777) == "0o600"
    assert [path.name for path in place.folder.iterdir()] == ["key"]
    place.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_turn_sweeps_what_a_killed_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"{turn.PREFIX}-left" / "deep").mkdir(parents=True)
    (tmp_path / "not-ours").mkdir()
    for _ in range(2):
        with turn.taken(), turn.workspace() as folder:
            assert {"not-ours", folder.name} < {path.name for path in tmp_path.iterdir()}

    assert {path.name for path in tmp_path.iterdir()} == {"not-ours", f"{turn.PREFIX}.lock"}


def test_a_stand_in_is_rebuilt_when_any_input_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "FOLDER", tmp_path)
    (tmp_path / "thing").mkdir()
    script = tmp_path / "thing" / "script"
    script.write_text("one")
    one = images.StandIn("thing:1", "thing", "sid")
    versions = {one.version(), images.StandIn("thing:1", "thing", "trixie").version()}

    script.chmod(0o755)
    versions.add(one.version())
    script.write_text("two")
    versions.add(one.version())

    assert len(versions) == 4


def test_every_stand_in_has_its_dockerfile() -> None:
    for stand_in in (*images.OFFICIAL, *images.OWN):
        assert (images.FOLDER / stand_in.folder / "Dockerfile").is_file()


def test_a_registry_that_failed_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fail(name: str) -> bool:
        asked.append(name)
        return False

    monkeypatch.setattr(hub, "_pull", fail)
    one = hub.Hub()

    assert not one.pull("python:3.13-slim")
    assert not one.pull("mysql:9.7")
    assert asked == ["python:3.13-slim"]


def test_an_unreachable_package_index_is_a_clear_error(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"no-such-program==1 --hash=sha256:{'0' * 64}\n--no-index\n")

    with pytest.raises(LabError, match="try: check that pip"):
        wheels.programs(requirements, tmp_path / "bin")


def test_no_file_of_the_lab_names_a_mirror() -> None:
    done = subprocess.run(
        ["grep", "-rnE", r"https?://[a-z0-9.-]+/debian", str(images.FOLDER.parent)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == ""
