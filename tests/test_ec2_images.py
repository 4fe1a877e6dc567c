"""Which image a host is started from."""

import pytest

from ops.aws import Account
from ops.ec2_images import SYSTEMS, newest, system
from ops.errors import OpsError
from tests.aws import Aws


@pytest.fixture
def amazon_s_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have moto load the images that are Amazon's own."""
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "true")


@pytest.mark.usefixtures("amazon_s_images")
def test_the_newest_image_of_amazon_linux_is_found_with_its_root_device(account: Account) -> None:
    image, device = newest(account, "al2023", "x86_64")

    assert image.startswith("ami-")
    assert "/dev/xvda" == device


def test_a_region_without_the_image_is_refused(account: Account, aws: Aws) -> None:
    """moto has no parameters of Debian, as a region without them."""
    with pytest.raises(OpsError, match="eu-west-2 has no image of debian for arm64") as caught:
        newest(account, "debian", "arm64")

    assert "/aws/service/debian/release/13/latest/arm64" in caught.value.cause
    assert "GetParameter" == aws.operations[-1]


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
@pytest.mark.parametrize("name", list(SYSTEMS))
def test_every_system_has_a_parameter_for_every_architecture(name: str, architecture: str) -> None:
    debian = {"x86_64": "amd64", "arm64": "arm64"}[architecture]
    text = SYSTEMS[name].parameter.format(arch=architecture, debian=debian)

    assert text.startswith("/aws/service/")
    assert architecture in text or debian in text


def test_a_system_that_is_none_of_ours_is_refused() -> None:
    with pytest.raises(OpsError, match="is not one of ubuntu, debian, al2023"):
        system("windows")
