"""Writes kept waiting at NGINX: the file that says so, and who reads it."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ops import hold, nginx
from ops.errors import OpsError
from ops.hosts import Result
from ops.settings import Settings
from ops.site import Facts, Site
from ops.switch import Switch
from tests.conftest import ROOT, FakeHost, a_release
from tests.e2e.test_gate import KNOWN

ABLE = a_release(files={"nginx/snippets/held.conf": "1"})
NOTED = {"release": "r", "before": "2026-11-30T08:00:00.123456+00:00"}


class Nginx(FakeHost):
    """A host with a folder of releases, whose NGINX is told to read it."""

    def __init__(self, leaving: list[str]) -> None:
        super().__init__(dict.fromkeys(("tee", "mv", "rm", "chmod", "docker compose"), ""))
        self.leaving = leaving
        self.files: dict[str, str] = {}

    def run(self, words: Any, **more: Any) -> Result:
        line = " ".join(words)
        if words[0] == "tee":
            self.files[words[1]] = more["stdin"].decode()
        if words[0] == "mv":
            self.files[words[-1]] = self.files.pop(words[-2])
        if words[0] == "rm":
            self.files.pop(words[-1], None)
            return Result(0, "", "")
        if words[0] == "cat":
            found = self.files.get(words[1])
            return Result(0, found, "") if found else Result(1, "", "no such file")
        if "shutting down" in line:
            self.lines.append("leaving?")
            return Result(0, self.leaving.pop(0) if len(self.leaving) > 1 else self.leaving[0], "")
        if "8081/release" in line:
            return Result(0, f"{ABLE.web}\n", "")
        return super().run(words, **more)


@pytest.fixture
def switch_of(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Switch, Nginx]]:
    monkeypatch.setattr(hold, "POLL_SECONDS", 0.001)

    def make(*leaving: str, live: Any = ABLE) -> tuple[Switch, Nginx]:
        host = Nginx([*leaving] or ["0\n"])
        return Switch(Site(host, settings), Facts(live=live), ABLE, live), host

    return make


Make = Callable[..., tuple[Switch, Nginx]]


def test_nginx_reads_it_and_what_is_under_way_is_waited_for(switch_of: Make) -> None:
    switch, host = switch_of("2\n", "1\n", "0\n")

    assert hold.begin(switch, 13, 10)
    file = switch.site.release(nginx.HOLD)
    assert "set $held 13;\n" in host.files[file]
    assert 3 == host.lines.count("leaving?")
    assert any(line.endswith("-s reload") for line in host.lines)
    assert {} == hold.found(switch.site)


def test_what_does_not_end_is_waited_for_so_long(switch_of: Make) -> None:
    switch, _ = switch_of("1\n")

    assert not hold.begin(switch, 13, 0.01)


def test_what_is_noted_is_read_by_the_next_command(switch_of: Make) -> None:
    switch, host = switch_of()
    assert hold.found(switch.site) is None

    hold.note(switch.site, 5, NOTED)
    assert NOTED == hold.found(switch.site)
    assert all(line == "" or line.startswith(("set", "#")) for line in _text(host).splitlines())

    hold.end(switch, ABLE)
    assert hold.found(switch.site) is None
    assert any(line.endswith("-s reload") for line in host.lines)


def _text(host: Nginx) -> str:
    [text] = host.files.values()
    return text


@pytest.mark.parametrize("live", [None, replace(ABLE, files={})])
def test_a_configuration_that_knows_nothing_of_it_is_an_error_and_nothing_is_written(
    switch_of: Make, live: Any
) -> None:
    switch, host = switch_of(live=live)
    with pytest.raises(OpsError, match="cannot keep writes waiting"):
        hold.begin(switch, 5, 1)

    assert {} == host.files


def test_a_file_that_makes_no_sense_is_one_all_the_same(switch_of: Make) -> None:
    switch, host = switch_of()
    host.files[switch.site.release(nginx.HOLD)] = "set $held 5;\n"

    assert {} == hold.found(switch.site)


# --- Which requests wait ---


def asks_only() -> list[re.Pattern[str]]:
    text = (ROOT / "nginx/templates/hold.conf.template").read_text("utf-8")
    block = text.partition("map $asked_path $asks_only {")[2].partition("}")[0]
    return [re.compile(found) for found in re.findall(r"^\s*~(\S+) 1;$", block, re.MULTILINE)]


def test_only_these_posts_go_through_while_others_wait() -> None:
    patterns = asks_only()
    assert 3 == len(patterns)
    routes = [line.split(" ", 1) for line in KNOWN.read_text("utf-8").splitlines()]
    found = {
        re.sub(r"^/(?:ajax-)?api/[0-9.]+/?", "", path)
        for method, path in routes
        if method not in ("GET", "HEAD", "OPTIONS") and any(each.search(path) for each in patterns)
    }
    artifacts = {each for each in found if each.startswith("mlflow-artifacts/")}

    assert {
        "/graphql",
        "jobs/search",
        "mlflow/datasets/search",
        "mlflow/experiments/search",
        "mlflow/experiments/search-datasets",
        "mlflow/issues/search",
        "mlflow/logged-models/search",
        "mlflow/prompt-optimization/jobs/search",
        "mlflow/registered-models/get-latest-versions",
        "mlflow/runs/search",
        "mlflow/traces/batchGetInfos",
        "mlflow/traces/search",
    } == found - artifacts
    assert artifacts
