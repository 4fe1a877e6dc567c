"""Compose on a host: the package while it is new enough, else a download that is proven there."""

import hashlib
from pathlib import Path

import pytest

from ops import plugin
from ops.errors import OpsError
from ops.hosts import LocalHost, Result
from ops.packages import Apt
from ops.steps import Step
from tests.conftest import FAILS, OK, FakeHost

MISSING = Result(1, "", "docker: 'compose' is not a docker command.")
ASK, POLICY = "docker compose version --short", "env LC_ALL=C apt-cache policy"
DRAFT = "/tmp/tmp.abc"
URL = "https://github.com/docker/compose/releases/download/v2.40.3/docker-compose-linux-aarch64"
FLAGS = "--fail --silent --show-error --location --proto =https --retry 3"
DOWNLOAD: dict[str, Result | str] = {
    ASK: MISSING,
    "curl --version": "curl 8",
    "mktemp": f"{DRAFT}\n",
    "curl --fail": OK,
    "sha256sum": OK,
    "sudo -n install": OK,
    "sudo -n mv": OK,
    "rm -f": OK,
}


def step(host: FakeHost, package: str = "", machine: str = "x86_64") -> Step:
    return plugin.step(host, Apt(host), package, machine)


@pytest.mark.parametrize("found", ["2.24.0", "v2.40.3", "2.26.1-4", "5.6.0"])
def test_a_compose_that_is_new_enough_stays(found: str) -> None:
    assert step(FakeHost({ASK: f"{found}\n"})).found == found


@pytest.mark.parametrize("found", ["2.23.9", "1.29.2", "", "unknown", "dev"])
def test_an_older_one_is_replaced(found: str) -> None:
    assert step(FakeHost({ASK: found})).state == "will do"


@pytest.mark.parametrize("offered", ["2.26.1-4", "2.40.3+ds1-0ubuntu1~22.04.1", "1:2.24.6"])
def test_the_system_s_package_is_taken_while_it_is_new_enough(offered: str) -> None:
    host = FakeHost({ASK: MISSING, POLICY: f"c:\n  Candidate: {offered}\n", "sudo -n env": ""})
    found = step(host, "docker-compose")
    found.act()

    assert found.todo == f"install the package docker-compose {offered}"
    assert host.ran("apt-get install", " docker-compose")
    assert not host.ran("curl")


@pytest.mark.parametrize("offered", ["1.29.2-3", "2.20.2", "(none)"])
def test_else_the_pinned_release_is_downloaded_proven_and_put_in_place(offered: str) -> None:
    policy = {POLICY: f"c:\n  Candidate: {offered}\n", "sudo -n env": ""}
    host = FakeHost({**DOWNLOAD, **policy})
    found = step(host, "docker-compose", "aarch64")
    host.lines.clear()
    found.act()

    assert plugin.RELEASE in found.todo
    assert "sha256" in found.todo
    assert host.lines == [
        "curl --version",
        "mktemp",
        f"curl {FLAGS} --output {DRAFT} {URL}",
        "sha256sum --check --status",
        f"sudo -n install -D -m 0755 -o root -g root {DRAFT} {plugin.PATH}.new",
        f"sudo -n mv -f {plugin.PATH}.new {plugin.PATH}",
        f"rm -f {DRAFT}",
    ]
    assert host.given == [f"{plugin.SHA256['aarch64']}  {DRAFT}\n".encode()]


def test_curl_is_installed_where_it_is_missing() -> None:
    host = FakeHost({**DOWNLOAD, "curl --version": Result(127, "", ""), "sudo -n env": ""})
    step(host).act()

    assert host.ran("apt-get install", "curl ca-certificates")


def test_a_file_that_is_not_the_released_one_is_removed_and_never_put_in_place() -> None:
    host = FakeHost({**DOWNLOAD, "sha256sum": FAILS})
    with pytest.raises(OpsError, match="is not what was released") as caught:
        step(host).act()

    assert caught.value.code == 1
    assert host.lines[-1] == f"rm -f {DRAFT}"
    assert not host.ran("sudo -n install")


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        (6, "curl: (6) Could not resolve host: github.com", "let it reach github.com"),
        (28, "curl: (28) Connection timed out", "let it reach github.com"),
        (23, "curl: (23) Failure writing output to destination", "make room"),
        (22, "curl: (22) The requested URL returned error: 404", "mend that"),
    ],
)
def test_a_download_that_fails_says_why_and_leaves_nothing(
    code: int, said: str, words: str
) -> None:
    host = FakeHost({**DOWNLOAD, "curl --fail": Result(code, "", said)})
    with pytest.raises(OpsError) as caught:
        step(host).act()

    assert said in caught.value.cause
    assert words in caught.value.remedy
    assert host.lines[-1] == f"rm -f {DRAFT}"


@pytest.mark.parametrize("machine", ["riscv64", "armv7l", "", "x86_64; reboot"])
def test_a_processor_without_a_pinned_sum_is_refused(machine: str) -> None:
    with pytest.raises(OpsError, match="not pinned for") as caught:
        step(FakeHost(DOWNLOAD), machine=machine)

    assert caught.value.code == 2


def test_the_pinned_sums_are_sums() -> None:
    assert set(plugin.SHA256) == {"x86_64", "aarch64"}
    for text in plugin.SHA256.values():
        assert len(bytes.fromhex(text)) == 32
    assert plugin.version(plugin.RELEASE) >= plugin.OLDEST


def test_the_real_sha256sum_tells_the_right_file_from_another(tmp_path: Path) -> None:
    draft = tmp_path / "compose"
    draft.write_bytes(b"what was released")
    right = hashlib.sha256(b"what was released").hexdigest()
    plugin._prove(LocalHost(), str(draft), right)
    draft.write_bytes(b"<html>log in first</html>")

    with pytest.raises(OpsError, match="is not what was released"):
        plugin._prove(LocalHost(), str(draft), right)
