"""Images on their way to hosts: which way each takes. Engines are doubles."""

from dataclasses import replace
from typing import Any

import pytest

from ops import stack, supply
from ops.errors import OpsError
from ops.hosts import LocalHost
from ops.images import Image
from ops.release import Release
from ops.settings import Settings
from tests.conftest import FAILS, FakeHost, a_release


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was sent, pushed and pulled, instead of doing it."""
    taken: list[str] = []

    def send(_: Any, hosts: Any, name: str, __: Any) -> list[Any]:
        taken.extend(f"send {name} {host.name}" for host in hosts)
        return [name]

    monkeypatch.setattr("ops.transfer.send_image", send)
    monkeypatch.setattr("ops.registry.push", lambda *words: taken.append(f"push {words[2]}"))
    monkeypatch.setattr("ops.registry.pull", lambda *words: taken.append(f"pull {words[1]}"))
    return taken


def has(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let every machine have these images, each of the id of the release."""

    def image(_: Any, name: str) -> Image | None:
        return Image("sha256:1", (), 0, "amd64", "") if name in names else None

    monkeypatch.setattr("ops.images.image", image)


def provide(settings: Settings, host: FakeHost, **fields: Any) -> list[Any]:
    one = a_release(image=supply.image_name(settings), **fields)
    return list(supply.provide(settings, LocalHost(), [host], one))


def test_a_host_that_has_all_is_sent_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, ways: list[str]
) -> None:
    has(monkeypatch, supply.image_name(settings), *stack.BASES)

    assert [] == provide(settings, FakeHost({}))
    assert [] == ways


def test_an_image_of_the_name_but_another_id_is_sent(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, ways: list[str]
) -> None:
    has(monkeypatch, supply.image_name(settings), *stack.BASES)
    provide(settings, FakeHost({}), image_id="sha256:2")

    assert [f"send {stack.web_image(settings)} this machine"] == ways


def test_with_a_registry_it_goes_that_way(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, ways: list[str]
) -> None:
    own = replace(settings, registry="registry.example:5000/team")
    has(monkeypatch, *stack.BASES)
    provide(own, FakeHost({}))

    assert supply.image_name(own).startswith("registry.example:5000/team/web:")
    assert [f"push {stack.web_image(own)}", f"pull {supply.image_name(own)}"] == ways


@pytest.mark.parametrize("now", ["registry.example:5000/team", "another.example/team", ""])
def test_a_rollback_takes_the_image_of_its_release_from_where_that_came_from(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, ways: list[str], now: str
) -> None:
    own = replace(settings, registry=now)
    has(monkeypatch, *stack.BASES)
    old = a_release(image="registry.example:5000/team/web:older")
    supply.provide(own, LocalHost(), [FakeHost({})], old)

    assert ["pull registry.example:5000/team/web:older"] == ways


def test_a_rollback_to_before_there_was_a_registry_sends_the_image(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, ways: list[str]
) -> None:
    own = replace(settings, registry="registry.example:5000/team")
    has(monkeypatch, *stack.BASES)
    supply.provide(own, LocalHost(), [FakeHost({})], a_release(image="mlflow-compose/web:older"))

    assert ["send mlflow-compose/web:older this machine"] == ways


def test_a_host_fetches_the_official_images_itself(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, ways: list[str]
) -> None:
    has(monkeypatch, supply.image_name(settings))
    host = FakeHost({"docker pull": ""})
    provide(settings, host)

    assert [f"docker pull {name}" for name in stack.BASES] == host.lines
    assert [] == ways


def test_a_host_without_a_registry_in_reach_is_sent_them_from_here(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, ways: list[str]
) -> None:
    """The first look is at the host, the second at this machine."""
    answers = iter([Image("sha256:1", (), 0, "", ""), None, Image("", (), 0, "", "")] * 2)
    monkeypatch.setattr("ops.images.image", lambda *_: next(answers))
    monkeypatch.setattr(stack, "BASES", stack.BASES[:1])
    provide(settings, FakeHost({"docker pull": FAILS}))

    assert [f"send {stack.BASES[0]} this machine"] == ways


def test_an_image_nobody_has_is_an_error_that_names_both_ways_out(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(monkeypatch, supply.image_name(settings))
    with pytest.raises(OpsError, match="cannot fetch mysql") as caught:
        provide(settings, FakeHost({"docker pull": FAILS}))

    assert "docker pull mysql" in caught.value.remedy


# --- Two images of ours, and one that is not ---


def two(settings: Settings, **fields: Any) -> Release:
    """Return a release with both our images, under their names on hosts."""
    server, service = supply.image_names(settings).values()
    named = {"image": server, "others": {service: "sha256:1"}}
    return a_release(**named | fields)


def test_both_our_images_have_a_name_on_hosts(guarded: Settings) -> None:
    own = replace(guarded, registry="registry.example:5000/team")
    server, service = stack.own_images(own)

    assert {name: name for name in (server, service)} == supply.image_names(guarded)
    assert supply.image_names(own) == {
        server: server.replace("mlflow-compose", own.registry),
        service: service.replace("mlflow-compose", own.registry),
    }


def test_of_two_images_only_the_one_that_lacks_is_sent(
    guarded: Settings, monkeypatch: pytest.MonkeyPatch, ways: list[str]
) -> None:
    has(monkeypatch, stack.web_image(guarded), *stack.BASES)
    supply.provide(guarded, LocalHost(), [FakeHost({})], two(guarded))

    assert [f"send {stack.backup_image(guarded)} this machine"] == ways


def test_both_images_go_by_way_of_the_registry(
    guarded: Settings, monkeypatch: pytest.MonkeyPatch, ways: list[str]
) -> None:
    own = replace(guarded, registry="registry.example:5000/team")
    has(monkeypatch, *stack.BASES)
    supply.provide(own, LocalHost(), [FakeHost({})], two(own))

    assert [
        line
        for here, there in supply.image_names(own).items()
        for line in (f"push {here}", f"pull {there}")
    ] == ways


def test_an_image_of_ours_is_provided_by_itself(
    guarded: Settings, monkeypatch: pytest.MonkeyPatch, ways: list[str]
) -> None:
    has(monkeypatch)
    name = stack.backup_image(guarded)
    supply.own(guarded, LocalHost(), [FakeHost({})], name, "sha256:1")
    has(monkeypatch, name)
    assert [] == supply.own(guarded, LocalHost(), [FakeHost({})], name, "sha256:1")
    supply.own(guarded, LocalHost(), [FakeHost({})], name, "sha256:2")

    assert [f"send {name} this machine"] * 2 == ways


def test_an_image_that_is_not_ours_is_fetched_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, ways: list[str]
) -> None:
    host = FakeHost({"docker pull": ""})
    has(monkeypatch)
    assert [] == supply.base(LocalHost(), [host], stack.BASES[0], settings.data)
    has(monkeypatch, stack.BASES[0])
    supply.base(LocalHost(), [host], stack.BASES[0], settings.data)

    assert [f"docker pull {stack.BASES[0]}"] == host.lines
    assert [] == ways
