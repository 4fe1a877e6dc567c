"""Which host keys are known, and what is said of one that is not."""

import base64
import shutil
import stat
import subprocess
from pathlib import Path

import paramiko
import pytest

from ops import host_keys
from ops.errors import OpsError
from ops.host_keys import HostKey
from ops.settings import Settings

ED25519 = HostKey(
    "ssh-ed25519",
    base64.b64decode("AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"),
)
OTHER = HostKey("ssh-ed25519", ED25519.blob[:-1] + b"\0")
GITHUB = "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
"""What GitHub publishes for this key: docs.github.com, SSH key fingerprints."""

HASHED = "|1|" + "|".join(
    paramiko.HostKeys.hash_host("[db.example.com]:2222", "|1|" + "A" * 27 + "=|x").split("|")[2:]
)


def test_a_fingerprint_is_the_one_that_is_published() -> None:
    assert ED25519.fingerprint == GITHUB


def test_a_port_other_than_22_is_part_of_the_name() -> None:
    assert host_keys.entry_name("DB.example.com", 22) == "db.example.com"
    assert host_keys.entry_name("10.0.0.1", 2222) == "[10.0.0.1]:2222"


@pytest.mark.parametrize(
    ("field", "name", "means_it"),
    [
        ("db.example.com", "db.example.com", True),
        ("web,db.example.com,10.0.0.1", "10.0.0.1", True),
        ("DB.example.com", "db.example.com", True),
        ("*.example.com", "db.example.com", True),
        ("*.example.com,!db.example.com", "db.example.com", False),
        ("db?.example.com", "db1.example.com", True),
        ("[db.example.com]:2222", "[db.example.com]:2222", True),
        ("[db.example.com]:2222", "db.example.com", False),
        ("db.example.com", "[db.example.com]:2222", False),
        ("[d]b.example.com", "db.example.com", False),
        (HASHED, "[db.example.com]:2222", True),
        (HASHED, "[db.example.com]:2223", False),
        ("|1|broken", "db.example.com", False),
    ],
)
def test_a_line_speaks_of_the_hosts_it_means(
    tmp_path: Path, field: str, name: str, means_it: bool
) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"# comment\n\n{field} {ED25519.words} a comment\n", "utf-8")

    assert [entry.key for entry in host_keys.known(name, [file])] == [ED25519] * means_it


@pytest.mark.parametrize("line", ["db", "db ssh-ed25519", "db ssh-ed25519 not!base64", "@x db a b"])
def test_a_line_that_is_none_says_nothing(tmp_path: Path, line: str) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"{line}\n", "utf-8")

    assert host_keys.known("db", [file, tmp_path / "no-such-file"]) == []


def test_an_authority_of_certificates_is_no_host_key(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"@cert-authority * {ED25519.words}\n", "utf-8")

    assert host_keys.known("db", [file]) == []


def refused(tmp_path: Path, text: str, key: HostKey, name: str = "[10.0.0.1]:2222") -> OpsError:
    """Return the refusal of a host that shows `key` where a file says `text`."""
    file = tmp_path / "known_hosts"
    file.write_text(text, "utf-8")
    with pytest.raises(OpsError) as caught:
        host_keys.verify(key, name, "me@10.0.0.1:2222", host_keys.known(name, [file]))
    assert caught.value.code == 2
    return caught.value


def test_an_unknown_host_is_refused_with_the_way_to_trust_it(tmp_path: Path) -> None:
    error = refused(tmp_path, "", ED25519)

    assert error.cause == f"the host key of [10.0.0.1]:2222 is not known: ssh-ed25519 {GITHUB}"
    assert error.remedy == "invoke trust --host me@10.0.0.1:2222"


def test_a_changed_key_is_refused_with_both_fingerprints_and_the_line_that_forgets_it(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "it's here"
    folder.mkdir()
    error = refused(folder, f"[10.0.0.1]:2222 {ED25519.words}\n", OTHER)

    assert GITHUB in error.cause
    assert OTHER.fingerprint in error.cause
    line, then = error.remedy.removeprefix("if you know why: ").split("; ")
    assert line == f"""ssh-keygen -R '[10.0.0.1]:2222' -f '{tmp_path}/it'"'"'s here/known_hosts'"""
    assert then == "invoke trust --host me@10.0.0.1:2222"
    if shutil.which("ssh-keygen"):
        subprocess.run(["sh", "-c", line], check=True, capture_output=True)
        assert host_keys.known("[10.0.0.1]:2222", [folder / "known_hosts"]) == []


def test_a_key_of_a_kind_that_is_not_known_is_a_changed_one(tmp_path: Path) -> None:
    ecdsa = HostKey("ecdsa-sha2-nistp256", b"blob")

    assert "has changed" in refused(tmp_path, f"db {ED25519.words}\n", ecdsa, "db").cause


def test_a_revoked_key_is_refused_even_where_it_is_known_too(tmp_path: Path) -> None:
    text = f"db {ED25519.words}\n@revoked db {ED25519.words}\n"

    assert "revoked" in refused(tmp_path, text, ED25519, "db").cause


def test_a_known_key_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"db {OTHER.words}\ndb {ED25519.words}\n", "utf-8")

    host_keys.verify(ED25519, "db", "db", host_keys.known("db", [file]))


def test_the_user_s_own_file_counts_too(home: Path, tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)

    assert host_keys.files(settings) == (
        tmp_path / "data" / "known_hosts",
        home / ".ssh" / "known_hosts",
    )


def test_pinning_replaces_what_was_said_of_that_host_and_of_no_other(
    tmp_path: Path, zero_umask: None
) -> None:
    del zero_umask
    settings = Settings(root=tmp_path)
    host_keys.pin(settings, "db", [OTHER])
    host_keys.pin(settings, "web", [OTHER])
    host_keys.pin(settings, "db", [ED25519])
    file = settings.known_hosts

    assert [entry.key for entry in host_keys.known("db", [file])] == [ED25519]
    assert [entry.key for entry in host_keys.known("web", [file])] == [OTHER]
    assert file.read_text("utf-8").startswith("# Host keys of")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert paramiko.HostKeys(str(file)).lookup("db") is not None
