"""What the certificate service is told, and which CA clients are given.

Its overlays are in tests/test_contract.py.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ops import certificates
from ops.errors import OpsError
from ops.key_pairs import new_key, private_pem
from ops.private_ca import Authority
from ops.settings import Settings
from ops.values import Secret
from tests.tls import self_signed

NAME = "mlflow.example.test"
HERE = ["localhost", "127.0.0.1", "::1"]
SECRET = Secret("ca-secret-of-tests")


@pytest.fixture
def private(tmp_path: Path) -> Settings:
    """A stack with a CA of its own."""
    return Settings(root=tmp_path, public_url=f"https://{NAME}", tls="private-ca", ca_secret=SECRET)


@pytest.mark.parametrize(
    ("url", "bound", "names"),
    [
        (f"https://{NAME}", "0.0.0.0", [NAME, *HERE]),
        (f"https://{NAME}:8443", "::", [NAME, *HERE]),
        (f"https://{NAME}", "192.0.2.7", [NAME, *HERE, "192.0.2.7"]),
        ("", "127.0.0.1", HERE),
        ("https://[2001:db8::1]", "2001:db8::1", ["2001:db8::1", *HERE]),
    ],
)
def test_a_ca_of_our_own_speaks_for_the_machine_too(url: str, bound: str, names: list[str]) -> None:
    settings = Settings(public_url=url, bind_address=bound, tls="private-ca")

    assert certificates.names(settings) == names


@pytest.mark.parametrize(
    ("url", "name"), [(f"https://{NAME}", NAME), ("https://[2001:db8::1]", "2001:db8::1")]
)
def test_another_ca_is_asked_for_the_public_name_alone(url: str, name: str) -> None:
    settings = Settings(public_url=url, bind_address="192.0.2.7", tls="acme")

    assert certificates.names(settings) == [name]


def test_clients_are_given_the_ca_that_the_service_makes(private: Settings) -> None:
    made = Authority(SECRET, private.stack_name, certificates.names(private))

    assert certificates.authority(private) == made.pem


def test_clients_are_given_the_operator_s_certificate(private: Settings) -> None:
    file = private.root / "certificate.pem"
    file.write_text("a chain")
    settings = replace(private, tls="files", tls_certificate_file=str(file), tls_key_file=str(file))

    assert certificates.authority(settings) == "a chain"


@pytest.mark.parametrize("change", [{"tls": "acme"}, {"tls": "off"}, {"ca_secret": None}])
def test_without_a_ca_of_our_own_there_is_none_to_give(
    private: Settings, change: dict[str, str | None]
) -> None:
    settings = replace(private, **change)  # type: ignore[arg-type]
    certificates.keep_authority(settings)

    assert certificates.authority(settings) == ""
    assert not certificates.authority_file(settings).exists()


def test_the_ca_is_kept_for_clients_and_follows_the_names(private: Settings) -> None:
    certificates.keep_authority(private)
    file = certificates.authority_file(private)
    first = file.read_text("utf-8")
    assert first == certificates.authority(private)

    other = replace(private, public_url="https://other.example.test")
    certificates.keep_authority(other)
    assert file.read_text("utf-8") == certificates.authority(other) != first


# --- A certificate of yours ---


def files(folder: Path, *names: str, days: float = 30) -> dict[str, Any]:
    """Make a certificate as somebody else would, with its key; return the settings of both."""
    pair = self_signed(names, days)
    (folder / "chain.pem").write_bytes(pair.chain)
    (folder / "key.pem").write_bytes(pair.key)
    return {
        "tls": "files",
        "tls_certificate_file": str(folder / "chain.pem"),
        "tls_key_file": str(folder / "key.pem"),
    }


@pytest.mark.parametrize("names", [["mlflow.example.com"], ["*.example.com"], ["x.y", "10.0.0.7"]])
def test_a_certificate_of_ours_by_a_name_or_a_star_is_taken(
    tmp_path: Path, names: list[str]
) -> None:
    host = names[-1].replace("*", "mlflow")
    given = Settings(public_url=f"https://{host}", **files(tmp_path, *names))

    certificates.require_given(given)
    assert set(certificates.given(given)) == {"tls_certificate", "tls_key"}


@pytest.mark.parametrize(
    ("names", "days", "said"),
    [
        (["other.example.com"], 30, "it is for other.example.com, and not for mlflow.example.com"),
        (["*.com"], 30, "not for mlflow.example.com"),
        (["mlflow.example.com"], -1, "it ended at "),
    ],
)
def test_a_certificate_of_another_name_or_time_is_refused(
    tmp_path: Path, names: list[str], days: int, said: str
) -> None:
    given = Settings(public_url="https://mlflow.example.com", **files(tmp_path, *names, days=days))
    with pytest.raises(OpsError, match="is not to be used") as caught:
        certificates.require_given(given)

    assert said in caught.value.cause
    assert caught.value.code == 2


@pytest.mark.parametrize("wrong", ["key", "chain"])
def test_files_that_do_not_belong_together_are_refused(tmp_path: Path, wrong: str) -> None:
    given = Settings(
        public_url="https://mlflow.example.com", **files(tmp_path, "mlflow.example.com")
    )
    (tmp_path / f"{wrong}.pem").write_bytes(
        private_pem(new_key()) if wrong == "key" else b"no certificate"
    )
    with pytest.raises(OpsError, match="is not to be used"):
        certificates.require_given(given)
