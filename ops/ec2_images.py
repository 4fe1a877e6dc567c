"""The systems a host can be started with, and the newest image of each."""

import re
from dataclasses import dataclass

from ops.aws import Account, tolerating
from ops.errors import refusal

__all__ = ["SYSTEMS", "USUAL", "System", "newest", "system"]


@dataclass(frozen=True, slots=True)
class System:
    """A system: whom its image lets in, and the public parameter that names the newest image."""

    user: str
    parameter: str
    session_manager: bool
    """Its image brings the agent of Session Manager."""


SYSTEMS = {
    # https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/
    "ubuntu": System(
        "ubuntu",
        "/aws/service/canonical/ubuntu/server/24.04/stable/current/{debian}/hvm/ebs-gp3/ami-id",
        session_manager=True,
    ),
    # https://wiki.debian.org/Cloud/AmazonEC2Image
    "debian": System(
        "admin", "/aws/service/debian/release/13/latest/{debian}", session_manager=False
    ),
    # https://docs.aws.amazon.com/linux/al2023/ug/ec2.html
    "al2023": System(
        "ec2-user",
        "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{arch}",
        session_manager=True,
    ),
}
USUAL = "ubuntu"
DEBIAN_NAMES = {"x86_64": "amd64", "arm64": "arm64"}


def system(name: str) -> System:
    """Return a system by the name a person gives."""
    if name not in SYSTEMS:
        raise refusal(f"--system {name!r} is not one of {', '.join(SYSTEMS)}", "take one of those")
    return SYSTEMS[name]


def newest(account: Account, name: str, architecture: str) -> tuple[str, str]:
    """Return the newest image of a system and the device its root disk is."""
    parameter = system(name).parameter.format(arch=architecture, debian=DEBIAN_NAMES[architecture])
    image = ""
    with tolerating("ParameterNotFound"):
        image = account.ssm.get_parameter(Name=parameter)["Parameter"].get("Value", "")
    if not re.fullmatch(r"ami-[0-9a-f]{8,17}", image):
        others = ", ".join(other for other in SYSTEMS if other != name)
        raise refusal(
            f"{account.region} has no image of {name} for {architecture}: {parameter}",
            f"take another: --system {others}",
        )
    found = account.ec2.describe_images(ImageIds=[image])["Images"]
    return image, found[0]["RootDeviceName"]
