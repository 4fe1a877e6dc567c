"""What an engine is asked, and what its answers mean. The engine is a double."""

import json

import pytest

from ops import images
from ops.errors import OpsError
from ops.hosts import Result
from ops.sizing import Machine
from tests.conftest import docker_info
from tests.synthetic_images import (
    ALL,
    INFO,
    INSPECT,
    LIST,
    NAME,
    EngineDouble,
    Synthetic,
    info,
    sha,
)

FORM = (
    "[{{json .ServerVersion}},{{json .DriverStatus}},{{json .DockerRootDir}},"
    "{{json .Architecture}},{{json .NCPU}},{{json .MemTotal}}]"
)
IMAGE = Synthetic((b"base", b"own"))
OTHER = Synthetic((b"base", b"theirs"))


def lines(*found: tuple[Synthetic, list[str] | None]) -> str:
    return "".join(json.dumps({"layers": i.diff_ids, "tags": tags}) + "\n" for i, tags in found)


@pytest.mark.parametrize(
    ("version", "containerd", "packing"),
    [
        ("20.10.24+dfsg1", False, "gzip"),
        ("23.0.0", False, "gzip"),
        ("26.1.5+dfsg1", False, "gzip"),
        ("24.0.9", True, "plain"),
        ("28.5.2", True, "gzip"),
    ],
)
def test_the_packing_is_what_the_engine_takes(version: str, containerd: bool, packing: str) -> None:
    host = EngineDouble({INFO: info(version, containerd=containerd)})

    assert images.engine(host).packing == packing
    assert images.engine(host).containerd == containerd
    assert images.engine(host).architecture == "amd64"


def test_an_engine_tells_what_machine_it_is_on() -> None:
    host = EngineDouble({INFO: docker_info(cores=4, memory=16_000_000_000)})

    assert Machine(4, 16_000_000_000) == images.engine(host).machine
    assert [f"{INFO} --format '{FORM}'"] == host.lines


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "what?",
        '["",null,"","",2,1]',
        '[null,null,"","",2,1]',
        '["28.2",null,"",""]',
        '["28.2",null,"","",null,1]',
    ],
)
def test_an_engine_that_does_not_tell_its_version_or_its_machine_is_an_error(answer: str) -> None:
    with pytest.raises(OpsError, match="did not tell of its engine"):
        images.engine(EngineDouble({INFO: answer}))


def test_an_image_that_is_not_there_is_none_and_an_engine_that_is_not_there_an_error() -> None:
    for said in ("Error: No such image: x", "Error response from daemon: No such image: x:1"):
        assert images.image(EngineDouble({INSPECT: Result(1, "[]", said)}), NAME) is None
    for code, said in ((1, "Cannot connect to the Docker daemon"), (127, "docker: not found")):
        with pytest.raises(OpsError, match=said):
            images.image(EngineDouble({INSPECT: Result(code, "", said)}), NAME)


def test_an_image_is_known_by_its_facts_where_the_ids_differ() -> None:
    one = images.image(EngineDouble({INSPECT: IMAGE.inspected()}), NAME)
    same = images.image(EngineDouble({INSPECT: IMAGE.inspected(sha(b"manifest"))}), NAME)
    other = images.image(EngineDouble({INSPECT: OTHER.inspected(sha(b"manifest"))}), NAME)
    assert one is not None
    assert same is not None
    assert other is not None

    assert one.identity != same.identity
    assert one.facts == same.facts
    assert one.facts != other.facts


def test_a_host_without_images_has_no_layers() -> None:
    host = EngineDouble({LIST: "\n"})

    assert images.present(host, NAME, containerd=False) == frozenset()
    assert host.lines == [LIST]


def test_layers_of_every_image_count_untagged_ones_too() -> None:
    host = EngineDouble({LIST: "b\na\nb\n", ALL: lines((IMAGE, None), (OTHER, ["mysql:9.7"]))})

    assert images.present(host, NAME, containerd=False) == {*IMAGE.chains, *OTHER.chains}
    assert host.lines[-1].endswith("' a b")


def test_with_containerd_only_images_of_the_same_repository_count() -> None:
    answer = lines((IMAGE, ["mlflow-compose/web:before"]), (OTHER, ["mlflow-compose/web2:1"]))
    host = EngineDouble({LIST: "a\nb\n", ALL: answer})

    assert images.present(host, NAME, containerd=True) == set(IMAGE.chains)


def test_an_image_that_went_away_meanwhile_leaves_the_others_counted() -> None:
    gone = Result(1, lines((IMAGE, [])), "Error: No such image: b")

    assert images.present(EngineDouble({LIST: "a\nb\n", ALL: gone}), NAME, containerd=False) == set(
        IMAGE.chains
    )
