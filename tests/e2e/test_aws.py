"""The page that leads from an AWS account to a running server, command by command.

moto's server over HTTP stands for AWS. A host that it makes is only described, so ~/.ssh/config
leads its address to a host of the lab, and the server keeps artifacts in the lab's S3 server.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import lab
from tests.aws import Aws
from tests.e2e.conftest import SMOKE_STEPS, Project, s3_settings
from tests.e2e.machines import several, sweep
from tests.e2e.test_documents import blocks
from tests.ec2 import PRICES, held, ready

BUCKET, BACKUPS = "mlflow-artifacts", "mlflow-backups"


@pytest.fixture
def machine(the_lab: lab.Lab) -> lab.Host:
    assert the_lab.s3
    return several(1)[0]


def show_keys(aws: Aws, machine: lab.Host) -> None:
    """Have the console show the keys of a host of the lab."""
    described = Path(machine.known_hosts).read_text("utf-8").splitlines()
    keys = [line.split(" ", 1)[1] for line in described if line.split()[0] == machine.address]
    ends = ("-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----")
    aws.console("\n".join([ends[0], *keys, ends[1]]))


def lead(project: Project, address: str, machine: lab.Host) -> None:
    """Have an address lead to a host of the lab, which has to prove that it is the one there."""
    name = address.partition("@")[2]
    folder = Path(project.environ["HOME"]) / ".ssh"
    folder.mkdir(mode=0o700)
    text = f"Host {name}\n  HostName {machine.address}\n  HostKeyAlias {name}\n"
    (folder / "config").write_text(text, "utf-8")


def test_the_page_leads_from_an_account_to_a_server_and_back(
    aws: Aws,
    make_project: Callable[..., Project],
    machine: lab.Host,
    the_lab: lab.Lab,
) -> None:
    ready(aws)
    aws.prices(*PRICES)
    project = make_project(
        "account",
        ARTIFACTS_DESTINATION=f"s3://{BUCKET}/account",
        BACKUPS_DESTINATION=f"s3://{BACKUPS}/account",
        DEPLOY_KEY=machine.key,
        BIND_ADDRESS="0.0.0.0",
        WEB_WORKERS="1",
        WATCH_SECONDS="0",
    )
    show_keys(aws, machine)
    sweep(project, machine)
    try:
        *before, server, end = blocks("docs/aws.md")
        script = "\n".join([*before, 'echo "$HOST"'])
        # Where this machine comes from, Amazon is not there to say.
        script = script.replace("provision --yes", "provision --yes --ssh-from 203.0.113.7")
        said = project.shell(script, **aws.environ)
        address = said.splitlines()[-1]

        assert address.startswith("ubuntu@")
        assert 1 == len(held(aws)["machines"])
        made = [each["Name"] for each in aws.client("s3").list_buckets()["Buckets"]]
        assert [BUCKET, BACKUPS] == sorted(made)

        lead(project, address, machine)
        # Backups themselves are for tests/e2e/test_backups.py.
        project.set(**s3_settings(the_lab, f"s3://{BUCKET}/account"), BACKUPS_DESTINATION="")
        said = project.shell(server, HOST=address)

        assert SMOKE_STEPS <= said.count("\n")
        project.shell(end, **aws.environ)
        assert ["volumes"] == list(held(aws))
    finally:
        sweep(project, machine)
