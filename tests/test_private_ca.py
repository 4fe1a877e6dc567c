"""The stack's own CA: the same wherever it is made, and good for its names only.

What clients accept is asked of two that have nothing in common: OpenSSL, and the verifier of
cryptography, which can be told the time.
"""

import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from ops.key_pairs import Pair, general_names, new_key, private_pem
from ops.private_ca import LIFE, Authority
from ops.values import Secret
from tests.conftest import ROOT
from tests.tls import handshake

SECRET = Secret("a-secret-of-tests")
NAME = "mlflow.example.test"
NAMES = [NAME, "localhost", "127.0.0.1", "::1"]
CA = Authority(SECRET, "mlflow-compose", NAMES)
FINGERPRINT = (
    "F2:C0:5F:CB:1F:84:6E:2B:97:61:93:56:E5:6E:42:5E:"
    "3C:B9:8A:DC:E6:F6:3E:4D:BA:A1:5F:EC:6E:98:ED:A5"
)


def now() -> datetime:
    return datetime.now(UTC)


def forged(names: list[str], by: Authority = CA) -> Pair:
    """Return what somebody could issue who has the key of a CA, and no respect for its limits."""
    key = new_key()
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now() - timedelta(hours=1))
        .not_valid_after(now() + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(general_names(names)), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.certificate.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
        .sign(by._key, SHA256())
    )
    return Pair(made.public_bytes(Encoding.PEM), private_pem(key))


# --- The same everywhere ---


def test_the_ca_is_the_same_in_every_release() -> None:
    """Else an upgrade would leave every client with a CA that is none any more."""
    assert CA.fingerprint == FINGERPRINT


def test_another_process_makes_the_same_bytes() -> None:
    script = (
        "from ops.private_ca import Authority; from ops.values import Secret;"
        f"print(Authority(Secret({SECRET.reveal()!r}), 'mlflow-compose', {NAMES[::-1]!r}).pem,"
        "end='')"
    )
    made = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert made.stdout == CA.pem


@pytest.mark.parametrize(
    "other",
    [
        Authority(Secret("another-secret-of-tests"), "mlflow-compose", NAMES),
        Authority(SECRET, "another", NAMES),
        Authority(SECRET, "mlflow-compose", [*NAMES, "other.example.test"]),
    ],
    ids=["secret", "stack", "names"],
)
def test_another_secret_stack_or_name_makes_another_certificate(other: Authority) -> None:
    assert other.pem != CA.pem
    assert other.certificate.serial_number != CA.certificate.serial_number


def test_other_names_keep_the_key() -> None:
    other = Authority(SECRET, "mlflow-compose", ["other.example.test"])

    assert other.certificate.public_key() == CA.certificate.public_key()


def test_the_ca_says_whose_it_is_and_never_its_key() -> None:
    [name] = CA.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)

    assert name.value == "mlflow-compose private CA"
    assert repr(CA) == "Authority('CN=mlflow-compose private CA')"
    assert "PRIVATE" not in CA.pem


# --- What clients accept ---


@pytest.mark.parametrize("name", NAMES)
def test_a_certificate_verifies_for_each_of_its_names(name: str) -> None:
    assert handshake(CA.issue(now()), name, CA.pem)


def test_a_certificate_verifies_for_no_other_name() -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(CA.issue(now()), "other.example.test", CA.pem)


@pytest.mark.parametrize("name", ["other.example.test", "example.test", "127.0.0.2", "::2"])
def test_a_name_that_the_ca_may_not_speak_for_is_refused_though_it_signed_it(name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(forged([name]), name, CA.pem)


def test_a_ca_for_names_alone_signs_no_address_and_one_for_addresses_no_name() -> None:
    names = Authority(SECRET, "names", [NAME])
    addresses = Authority(SECRET, "addresses", ["192.0.2.1", "2001:db8::1"])
    assert handshake(names.issue(now()), NAME, names.pem)
    assert handshake(addresses.issue(now()), "192.0.2.1", addresses.pem)

    for ca, name in ((names, "127.0.0.1"), (names, "::1"), (addresses, NAME)):
        with pytest.raises(ssl.SSLCertVerificationError, match="excluded subtree violation"):
            handshake(forged([name], ca), name, ca.pem)


def test_a_server_s_certificate_signs_no_others() -> None:
    pair = CA.issue(now())
    false = Authority(SECRET, "mlflow-compose", NAMES)
    false._key, false.certificate = new_key(), pair.leaf
    child = forged([NAME], false)

    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(Pair(child.chain + pair.chain, child.key), NAME, CA.pem)


def test_the_ca_of_another_stack_is_not_trusted() -> None:
    other = Authority(Secret("another-secret-of-tests"), "mlflow-compose", NAMES)

    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(CA.issue(now()), NAME, other.pem)


def test_a_client_with_the_ca_of_before_refuses_a_name_that_came_later() -> None:
    later = Authority(SECRET, "mlflow-compose", [*NAMES, "other.example.test"])

    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
        handshake(later.issue(now()), NAME, CA.pem)


# --- Times ---


def verify_at(moment: datetime, pair: Pair, name: str = NAME) -> None:
    """Have a client with some clock verify a certificate."""
    try:
        subject: x509.DNSName | x509.IPAddress = x509.IPAddress(ip_address(name))
    except ValueError:
        subject = x509.DNSName(name)
    policy = PolicyBuilder().store(Store([CA.certificate])).time(moment)
    policy.build_server_verifier(subject).verify(pair.leaf, [])


@pytest.mark.parametrize("off", [timedelta(minutes=-59), timedelta(0), LIFE - timedelta(hours=2)])
def test_clients_whose_clocks_differ_verify_it(off: timedelta) -> None:
    moment = now()
    verify_at(moment + off, CA.issue(moment))


@pytest.mark.parametrize("off", [timedelta(minutes=-61), LIFE])
def test_it_is_good_for_a_month_and_no_longer(off: timedelta) -> None:
    moment = now()
    with pytest.raises(VerificationError, match="not valid at validation time"):
        verify_at(moment + off, CA.issue(moment))


def test_one_made_under_a_wrong_clock_verifies_once_that_is_the_time() -> None:
    moment = datetime(2031, 1, 1, tzinfo=UTC)
    pair = CA.issue(moment)

    verify_at(moment, pair)
    with pytest.raises(VerificationError):
        verify_at(now(), pair)


def test_each_certificate_has_a_key_and_a_number_of_its_own() -> None:
    one, other = CA.issue(now()), CA.issue(now())

    assert one.leaf.public_key() != other.leaf.public_key()
    assert one.leaf.serial_number != other.leaf.serial_number
