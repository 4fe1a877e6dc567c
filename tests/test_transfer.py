"""An image on its way, between doubles of engines; real ones are in tests/e2e/test_images.py."""

import gzip
import json
from pathlib import Path

import pytest

from ops import transfer
from ops.errors import OpsError
from ops.transfer import Sent
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
    untar,
)

IMAGE = Synthetic((b"base", b"server", b"own files"))
BEFORE = Synthetic((b"base", b"server", b"own files of before"))
DF = "df -Pk /var/lib/docker"
ROOMY = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/x 9 9 9999999 1% /\n"
SAVE = f"docker image save {NAME}"
LOAD = "docker image load"


def here(image: Synthetic = IMAGE) -> EngineDouble:
    return EngineDouble({INSPECT: image.inspected()}, saved=image.old())


def there(name: str = "host", **answers: str) -> EngineDouble:
    """A host with the image of the last release, which takes what it is sent."""
    layers = json.dumps({"layers": BEFORE.diff_ids, "tags": []})
    host = EngineDouble({LIST: "a\n", ALL: layers, DF: ROOMY, **answers}, name=name)
    host.loaded = {INSPECT: IMAGE.inspected()}
    return host


def unpacked(host: EngineDouble) -> dict[str, bytes]:
    return untar(gzip.decompress(host.received))


def blobs(host: EngineDouble) -> set[str]:
    return {"sha256:" + name[13:] for name in unpacked(host) if name.startswith("blobs/")}


def test_only_the_layer_that_is_missing_is_sent(tmp_path: Path) -> None:
    host = there()
    sent = transfer.send_image(here(), [host], NAME, tmp_path)

    assert sent == [Sent("host", len(host.received), layers_sent=1, layers_kept=2)]
    assert blobs(host) & set(IMAGE.diff_ids) == {IMAGE.diff_ids[2]}
    assert list(tmp_path.iterdir()) == []


def test_an_old_engine_is_sent_gzip(tmp_path: Path) -> None:
    host = there(**{INFO: info("20.10.24")})
    transfer.send_image(here(), [host], NAME, tmp_path)

    assert "manifest.json" in untar(gzip.decompress(host.received))


def test_a_host_that_has_the_image_is_sent_nothing_and_nothing_is_saved(tmp_path: Path) -> None:
    local, host = here(), there(**{INSPECT: IMAGE.inspected()})

    assert transfer.send_image(local, [host], NAME, tmp_path) == [Sent("host", 0, 0, 3)]
    assert not local.ran(SAVE)
    assert not host.ran(LOAD)


def test_with_containerd_the_same_image_is_known_under_another_id(tmp_path: Path) -> None:
    answers = {INFO: info(containerd=True), INSPECT: IMAGE.inspected(sha(b"manifest"))}
    host = there(**answers)

    assert transfer.send_image(here(), [host], NAME, tmp_path) == [Sent("host", 0, 0, 3)]


def test_an_image_like_ours_with_another_id_is_replaced_where_ids_can_be_compared(
    tmp_path: Path,
) -> None:
    host = there(**{INSPECT: IMAGE.inspected(sha(b"another configuration"))})

    assert transfer.send_image(here(), [host], NAME, tmp_path)[0].layers_sent == 1


def test_a_host_that_has_the_image_under_another_name_is_told_the_name(tmp_path: Path) -> None:
    identity = sha(IMAGE.config)
    host = there(**{f"{INSPECT} {identity}": IMAGE.inspected(), "docker image tag": ""})
    transfer.send_image(here(), [host], NAME, tmp_path)

    assert host.lines[-1] == f"docker image tag {identity} {NAME}"


def test_several_hosts_each_get_what_they_lack_from_one_save(tmp_path: Path) -> None:
    local, first, empty = here(), there("first"), there("empty", **{LIST: ""})
    last = there("last", **{INSPECT: IMAGE.inspected()})
    sent = transfer.send_image(local, [first, empty, last], NAME, tmp_path)

    assert [(s.host, s.layers_sent, s.layers_kept) for s in sent] == [
        ("first", 1, 2),
        ("empty", 3, 0),
        ("last", 0, 3),
    ]
    assert [line for line in local.lines if line == SAVE] == [SAVE]


def test_a_disk_too_small_on_any_host_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    full = ROOMY.replace("9999999", "1000")
    roomy, small = there("roomy"), there("small", **{DF: full})

    with pytest.raises(OpsError, match=r"needs 256 MiB on small; \S+ has 1000 KiB free") as caught:
        transfer.send_image(here(), [roomy, small], NAME, tmp_path)
    assert caught.value.code == 2
    assert not roomy.ran(LOAD)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_too_small_here_is_refused_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = here()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))

    with pytest.raises(OpsError, match=r"taking .* apart needs") as caught:
        transfer.send_image(local, [there()], NAME, tmp_path)
    assert caught.value.code == 2
    assert not local.ran(SAVE)


def test_an_image_that_is_not_here_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OpsError, match="there is no image") as caught:
        transfer.send_image(EngineDouble({}), [there()], NAME, tmp_path)
    assert caught.value.code == 2


def test_an_image_for_another_processor_is_refused(tmp_path: Path) -> None:
    host = there(**{INFO: info(cpu="aarch64")})

    with pytest.raises(OpsError, match="is made for amd64, host has arm64") as caught:
        transfer.send_image(here(), [host], NAME, tmp_path)
    assert caught.value.code == 2


@pytest.mark.parametrize("containerd", [False, True])
def test_an_image_with_another_id_than_computed_loses_its_name(
    containerd: bool, tmp_path: Path
) -> None:
    host = there(**{INFO: info(containerd=containerd), "docker image rm": ""})
    host.loaded = {INSPECT: IMAGE.inspected(sha(b"something else"))}

    with pytest.raises(OpsError, match="host made sha256:") as caught:
        transfer.send_image(here(), [host], NAME, tmp_path)
    assert caught.value.code == 1
    assert host.lines[-1] == f"docker image rm {NAME}"


def test_with_containerd_the_id_has_to_be_the_digest_of_the_manifest(tmp_path: Path) -> None:
    first = there(**{INFO: info(containerd=True), "docker image rm": ""})
    with pytest.raises(OpsError) as caught:
        transfer.send_image(here(), [first], NAME, tmp_path)
    computed = caught.value.cause.rpartition(" ")[2]
    assert sha(unpacked(first)[f"blobs/sha256/{computed[7:]}"]) == computed

    second = there(**{INFO: info(containerd=True)})
    second.loaded = {INSPECT: IMAGE.inspected(computed)}
    assert transfer.send_image(here(), [second], NAME, tmp_path)[0].layers_sent == 3


def test_a_load_that_fails_gives_the_engine_s_words_and_puts_the_name_back(tmp_path: Path) -> None:
    old = sha(BEFORE.config)
    host = there(
        **{
            f"{INSPECT} {NAME}": BEFORE.inspected(),
            "docker image rm": "",
            "docker image tag": "",
        }
    )
    host.loaded = {f"{INSPECT} {NAME}": IMAGE.inspected(sha(b"half"))}
    host.fails = "exit code 1 from: docker image load\n  write /x: no space left on device"

    with pytest.raises(OpsError, match="no space left on device") as caught:
        transfer.send_image(here(), [host], NAME, tmp_path)
    assert "free some space there" in caught.value.remedy
    assert host.lines[-2:] == [f"docker image rm {NAME}", f"docker image tag {old} {NAME}"]
    assert list(tmp_path.iterdir()) == []
