"""The key pair of a host, with moto's EC2."""

import pytest

from ops.aws import Account
from ops.ec2_key import KeyPair
from ops.ec2_part import label
from ops.errors import OpsError
from tests.aws import Aws
from tests.ec2 import held, made, wanted

OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB3BMMtB9dyMxFlGEsUdgfXKYgW5Mgw0x3Zp2kV0aBcD"


def test_a_public_key_is_imported_and_removed(account: Account, aws: Aws) -> None:
    key = KeyPair(account, "mlflow")
    made(key, wanted(aws))

    assert {"keys": [label("mlflow")]} == held(aws)
    key.remove()
    assert {} == held(aws)


def test_another_key_of_the_same_name_is_refused(account: Account, aws: Aws) -> None:
    key = KeyPair(account, "mlflow")
    made(key, wanted(aws))

    with pytest.raises(OpsError, match="is another than this folder's"):
        key.todo(wanted(aws, public_key=OTHER))


def test_a_key_pair_that_is_not_ours_is_refused(account: Account, aws: Aws) -> None:
    aws.client("ec2").create_key_pair(KeyName=label("mlflow"))
    with pytest.raises(OpsError, match="has no tag mlflow-compose=mlflow"):
        KeyPair(account, "mlflow").look()
