"""What is removed from a host after a deploy: files with real programs, Docker's answers faked."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops import prune
from ops.hosts import LocalHost, Result
from ops.settings import Settings
from ops.site import Facts, Site
from tests.conftest import a_container, a_release

IDS = [f"2026112{day}T000000Z" for day in range(1, 6)]


class Here(LocalHost):
    """This machine; its Docker Engine knows three images and no container."""

    def __init__(self) -> None:
        self.removed: list[str] = []

    def run(self, words: Any, **more: Any) -> Result:
        if words[:3] == ("docker", "image", "ls"):
            return Result(0, "web:1\nweb:2\nweb:old\n", "")
        if words[:3] == ("docker", "image", "rm"):
            self.removed += words[3:]
        if words[0] == "docker":
            return Result(0, "", "")
        return super().run(words, **more)


def facts(live: str, results: dict[str, str]) -> Facts:
    releases = {each: a_release(id=each) for each in IDS}
    record = [json.dumps({"release": key, "result": result}) for key, result in results.items()]
    return Facts(releases=releases, live=releases[live], record=record)


def test_the_live_release_and_the_newest_good_ones_stay() -> None:
    good = dict.fromkeys(IDS, "ok")

    assert [IDS[4], IDS[3]] == list(prune.wanted(facts(IDS[4], good), 2))
    assert [IDS[0], IDS[4]] == list(prune.wanted(facts(IDS[0], good), 2))
    assert [IDS[4], IDS[2]] == list(prune.wanted(facts(IDS[4], good | {IDS[3]: "failed"}), 2))
    assert [IDS[4]] == list(prune.wanted(facts(IDS[4], good), 1))


def test_folders_secrets_and_images_that_nothing_needs_are_removed(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    host = Here()
    site = Site(host, settings)
    secrets = tmp_path / site.path("secrets")
    secrets.mkdir(parents=True)
    record = tmp_path / site.path("audit.jsonl")
    for number, identity in enumerate(IDS):
        folder = tmp_path / site.release(identity)
        folder.mkdir(parents=True)
        image = "web:1" if number < 3 else "web:2"
        one = a_release(id=identity, image=image, secrets=[f"kek-{number}"])
        (folder / "release.json").write_text(one.as_json(), "utf-8")
        (secrets / f"kek-{number}").write_text("", "utf-8")
        with record.open("a") as stream:
            stream.write(json.dumps({"release": identity, "result": "ok"}) + "\n")
    (tmp_path / site.release("cut-off")).mkdir()
    site.point(IDS[4])
    prune.releases(site, 2)

    left = sorted(path.name for path in (tmp_path / site.path("releases")).iterdir())
    assert [*IDS[3:], "live"] == left
    assert ["kek-3", "kek-4"] == sorted(path.name for path in secrets.iterdir())
    assert ["web:1", "web:old"] == host.removed
    assert site.facts().live is not None


def test_a_secret_that_a_container_would_miss_at_its_start_stays(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    site = Site(LocalHost(), settings)
    folder = tmp_path / site.path("secrets")
    folder.mkdir(parents=True)
    for name in ("old-1", "old-2"):
        (folder / name).write_text("", "utf-8")
    mounted = a_container("db", mounts=(f"/home/ubuntu/{site.path('secrets')}/old-1",))
    prune.secrets(site, Facts(containers=[mounted]), {})

    assert ["old-1"] == [path.name for path in folder.iterdir()]


def test_the_images_of_a_backup_service_that_no_release_has_any_more_go_too(
    settings: Settings,
) -> None:
    removed: list[str] = []

    class Engine(Here):
        def run(self, words: Any, **more: Any) -> Result:
            if words[:3] == ("docker", "image", "ls"):
                return Result(0, f"{words[-1]}:1\n", "")
            if words[:3] == ("docker", "image", "rm"):
                removed.extend(words[3:])
            return super().run(words, **more)

    old = a_release(id=IDS[0], others={"backup:1": "sha256:2"})
    live = a_release(id=IDS[1])
    facts = Facts(releases={IDS[0]: old, IDS[1]: live}, live=live)
    prune.images(Site(Engine(), settings), facts, {IDS[1]: live})
    assert ["backup:1"] == removed

    removed.clear()
    prune.images(Site(Engine(), settings), facts, facts.releases)
    assert [] == removed
