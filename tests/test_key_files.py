"""Key files: made for their owner alone, and their public half."""

import stat
import subprocess
from pathlib import Path

import pytest

from ops import key_files
from ops.errors import REFUSED, OpsError


def test_a_key_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "mlflow"
    public = key_files.make(file)

    assert public.startswith("ssh-ed25519 AAAA")
    assert public == key_files.public_half(file)
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert 0o700 == stat.S_IMODE(file.parent.stat().st_mode)


def test_ssh_keygen_says_the_same_of_it(tmp_path: Path) -> None:
    public = key_files.make(tmp_path / "key")
    said = subprocess.run(
        ["ssh-keygen", "-y", "-f", tmp_path / "key"], capture_output=True, text=True, check=True
    )

    assert public == " ".join(said.stdout.split()[:2])


def locked(file: Path) -> None:
    """Give a key a passphrase, with the public half beside it."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "open sesame", "-f", file], check=True
    )


def test_the_public_half_beside_a_locked_key_is_enough(tmp_path: Path) -> None:
    locked(tmp_path / "key")

    assert key_files.public_half(tmp_path / "key").startswith("ssh-ed25519 AAAA")


def test_a_locked_key_without_it_is_refused_with_how_to_write_it(tmp_path: Path) -> None:
    locked(tmp_path / "key")
    (tmp_path / "key.pub").unlink()
    with pytest.raises(OpsError, match="has a passphrase") as caught:
        key_files.public_half(tmp_path / "key")

    assert f"ssh-keygen -y -f {tmp_path / 'key'} > {tmp_path / 'key.pub'}" in caught.value.remedy


@pytest.mark.parametrize(
    ("mode", "cause", "remedy"),
    [
        (0o644, "is open to others (0644)", "chmod 600"),
        (0o600, "is no private key", "correct DEPLOY_KEY"),
    ],
)
def test_a_key_that_will_not_do_is_refused(
    tmp_path: Path, mode: int, cause: str, remedy: str
) -> None:
    file = tmp_path / "key"
    file.write_text("nonsense", "utf-8")
    file.chmod(mode)
    with pytest.raises(OpsError) as caught:
        key_files.public_half(file)

    assert cause in caught.value.cause
    assert remedy in caught.value.remedy
    assert REFUSED == caught.value.code


def test_a_key_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OpsError, match="cannot read the key"):
        key_files.public_half(tmp_path / "gone")
