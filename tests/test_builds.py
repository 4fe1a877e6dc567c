"""The server image: built once, named by its content, brought where it is needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from ops import builds, stack
from ops.errors import OpsError
from ops.settings import Settings
from ops.site import Site
from ops.transfer import Sent
from tests.aws import Aws
from tests.conftest import FAILS, FakeHost
from tests.synthetic_images import EngineDouble
from tests.test_ecr import MANIFEST

ANSWERS = {
    "docker version": "28.2",
    "docker compose version": "2.40",
    "docker image inspect": "[]",
    "docker image tag": "",
    "docker build": "",
}


@pytest.fixture
def local(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    host = FakeHost(ANSWERS)
    monkeypatch.setattr(builds, "LocalHost", lambda: host)
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: settings))
    return host


def test_an_image_that_is_there_is_not_built_again(
    local: FakeHost, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    builds.build("")
    assert f"{stack.web_image(settings)}\n" == capsys.readouterr().out
    assert not local.ran("docker build")

    local.answers["docker image inspect"] = FAILS
    builds.build("")
    assert local.ran("docker build", stack.web_image(settings))


def test_a_tag_is_given_beside_the_name(local: FakeHost, settings: Settings) -> None:
    builds.build("v1.2")

    assert local.ran(f"docker image tag {stack.web_image(settings)} mlflow-compose/web:v1.2")


@pytest.mark.parametrize("tag", ["-x", "a b", "$(id)", "a'b", "a\nb", "a:b", "a" * 129, ".a"])
def test_what_is_no_tag_is_refused(local: FakeHost, tag: str) -> None:
    with pytest.raises(OpsError) as caught:
        builds.build(tag)

    assert 2 == caught.value.code
    assert not local.ran("docker image tag")


def test_without_docker_nothing_is_built(local: FakeHost) -> None:
    local.answers["docker version"] = FAILS
    with pytest.raises(OpsError, match="no Docker Engine answers"):
        builds.build("")


def test_with_a_registry_it_is_pushed_there(
    local: FakeHost,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = replace(settings, registry="registry.example/team")
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: own))
    local.answers["docker image push"] = ""
    builds.push("")
    name = stack.web_image(own).replace("mlflow-compose", "registry.example/team")

    assert local.ran("docker image inspect")
    assert f"docker image push {name}" == local.lines[-1]
    assert f"{name}\n" == capsys.readouterr().out


@pytest.fixture
def with_ecr(aws: Aws, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> EngineDouble:
    """Let REGISTRY be in ECR; the engine here has nothing."""
    del aws
    own = replace(settings, registry="123456789012.dkr.ecr.eu-west-2.amazonaws.com/team")
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: own))
    host = EngineDouble({**ANSWERS, "docker --config": "", "mktemp": "/tmp/x\n", "rm": ""})
    monkeypatch.setattr(builds, "LocalHost", lambda: host)
    return host


def test_the_first_push_to_ecr_makes_the_repository_and_the_second_finds_it(
    aws: Aws, with_ecr: EngineDouble
) -> None:
    builds.push("")
    assert with_ecr.ran("image push")
    assert 1 == aws.operations.count("CreateRepository")

    builds.push("")
    assert 1 == aws.operations.count("CreateRepository")
    assert 1 == aws.operations.count("PutLifecyclePolicy")


def test_without_docker_ecr_is_not_asked(aws: Aws, with_ecr: EngineDouble) -> None:
    with_ecr.answers["docker version"] = FAILS
    with pytest.raises(OpsError, match="no Docker Engine answers"):
        builds.push("")

    assert not aws.calls


def test_an_image_that_ecr_has_is_fetched_and_neither_built_nor_pushed(
    aws: Aws, with_ecr: EngineDouble, settings: Settings
) -> None:
    name = stack.web_image(settings)
    client = aws.client("ecr")
    client.create_repository(repositoryName="team/web")
    tag = name.rpartition(":")[2]
    client.put_image(repositoryName="team/web", imageManifest=MANIFEST, imageTag=tag)
    builds.push("")

    assert with_ecr.ran(f"image pull 123456789012.dkr.ecr.eu-west-2.amazonaws.com/team/web:{tag}")
    assert not with_ecr.ran("docker build")
    assert not with_ecr.ran("image push")


def test_without_one_it_is_sent_to_the_hosts(
    local: FakeHost,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert local

    @contextmanager
    def reach(_: Settings, hosts: str) -> Iterator[list[Site]]:
        yield [Site(FakeHost({}), settings) for _ in hosts.split(",")]

    monkeypatch.setattr("ops.fleet.reach", reach)
    sent = [Sent("a", 7, 1, 2), Sent("b", 0, 0, 3)]
    monkeypatch.setattr("ops.transfer.send_image", lambda *_: sent)
    builds.push("a,b")
    said = capsys.readouterr()

    assert f"{stack.web_image(settings)}\n" == said.out
    assert "b has it already" in said.err
    assert "a has it already" not in said.err


# --- Both images ---


@pytest.fixture
def both(local: FakeHost, guarded: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The names of both images, of a stack that is backed up."""
    assert local
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: guarded))
    server, service = stack.own_images(guarded)
    return server, service


def test_both_images_are_built_and_the_server_s_is_named(
    both: tuple[str, str], local: FakeHost, capsys: pytest.CaptureFixture[str]
) -> None:
    local.answers["docker image inspect"] = FAILS
    builds.build("")

    assert f"{both[0]}\n" == capsys.readouterr().out
    built = [line.split()[3] for line in local.lines if line.startswith("docker build")]
    assert list(both) == built


def test_each_image_has_its_own_id(
    both: tuple[str, str], local: FakeHost, guarded: Settings
) -> None:
    form = "docker image inspect --format '{{.Id}}'"
    local.answers |= {f"{form} {both[0]}": "sha256:1\n", f"{form} {both[1]}": "sha256:2\n"}

    assert {both[0]: "sha256:1", both[1]: "sha256:2"} == builds.identities(guarded, local)


def test_only_what_the_registry_has_not_is_built(
    both: tuple[str, str],
    local: FakeHost,
    guarded: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    local.answers["docker image inspect"] = FAILS
    monkeypatch.setattr("ops.registry.fetch", lambda _, __, name: name == both[0])
    builds.shared(replace(guarded, registry="registry.example/team"), local)
    assert not local.ran("docker build", both[0])
    assert local.ran("docker build", both[1])


def test_both_are_pushed_to_the_registry(
    both: tuple[str, str],
    local: FakeHost,
    guarded: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = replace(guarded, registry="registry.example/team")
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: own))
    local.answers["docker image push"] = ""
    builds.push("")
    there = [name.replace("mlflow-compose", "registry.example/team") for name in both]

    assert there == capsys.readouterr().out.splitlines()
    assert [f"docker image push {name}" for name in there] == [
        line for line in local.lines if " push " in line
    ]


def test_both_are_sent_to_the_hosts(
    both: tuple[str, str],
    guarded: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sent: list[str] = []

    @contextmanager
    def reach(_: Settings, hosts: str) -> Iterator[list[Site]]:
        yield [Site(FakeHost({}), guarded) for _ in hosts.split(",")]

    def send(*words: Any) -> list[Sent]:
        sent.append(words[2])
        return []

    monkeypatch.setattr("ops.fleet.reach", reach)
    monkeypatch.setattr("ops.transfer.send_image", send)
    builds.push("a")

    assert list(both) == sent == capsys.readouterr().out.splitlines()


def test_the_second_repository_in_ecr_is_made_too(
    aws: Aws, with_ecr: EngineDouble, guarded: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(guarded, registry="123456789012.dkr.ecr.eu-west-2.amazonaws.com/team")
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: own))
    builds.push("")
    made = aws.client("ecr").describe_repositories()["repositories"]

    assert with_ecr.ran("image push")
    assert {"team/web", "team/backup"} == {each["repositoryName"] for each in made}
