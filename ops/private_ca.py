"""The private CA of a stack. It follows from CA_SECRET: who has that makes the same CA.

So the hosts of a stack and its operators have one CA, byte for byte, and exchange nothing. Its
certificate says for which names it may speak, and clients hold it to that: with other names it is
another certificate, of the same key.
"""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ops.key_pairs import Pair, general_names, new_key, private_pem
from ops.values import Secret

__all__ = ["Authority"]

PURPOSE = b"mlflow-compose private CA, P-256, version 1"
BEGIN, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2046, 1, 1, tzinfo=UTC)
"""The same wherever it is made; handing a CA to every client once more is work for people."""

LIFE = timedelta(days=30)
"""Of a server's certificate; clocks may be an hour apart."""

CLOCKS = timedelta(hours=1)

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of P-256: https://csrc.nist.gov/pubs/sp/800/186/final, 3.2.1.3"""

EVERY_ADDRESS = [x509.IPAddress(ip_network(each)) for each in ("0.0.0.0/0", "::/0")]
EVERY_NAME = [x509.DNSName("")]

SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


class Authority:
    """The CA of one stack, for the names that it serves; it never shows its key."""

    __slots__ = ("_key", "certificate", "names")

    def __init__(self, secret: Secret, stack: str, names: Sequence[str]) -> None:
        self._key = _derived(secret)
        self.names = sorted(set(names))
        self.certificate = _certificate(self._key, f"{stack} private CA", self.names)

    @property
    def pem(self) -> str:
        """What clients are given to trust."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate, as programs show it to compare."""
        return self.certificate.fingerprint(SHA256()).hex(":").upper()

    def issue(self, now: datetime) -> Pair:
        """Return a certificate for all its names, with a new key."""
        key = new_key()
        begin = now - CLOCKS
        made = (
            x509.CertificateBuilder()
            # Names are in the extension alone, which then has to be critical (RFC 5280, 4.1.2.6).
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + LIFE)
            .add_extension(x509.SubjectAlternativeName(general_names(self.names)), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign=True), critical=True)
            .add_extension(SERVER, critical=False)
            .add_extension(_own_identifier(key.public_key()), critical=False)
            .add_extension(_issuer_identifier(self._key.public_key()), critical=False)
            .sign(self._key, SHA256())
        )
        return Pair(made.public_bytes(Encoding.PEM), private_pem(key))

    def __repr__(self) -> str:
        return f"Authority({self.certificate.subject.rfc4514_string()!r})"


def _derived(secret: Secret) -> ec.EllipticCurvePrivateKey:
    """Return the key that follows from a secret, evenly spread over all there are.

    With 128 bits more than needed the remainder favours none (FIPS 186-5, A.2.1).
    """
    material = HKDF(SHA256(), 48, None, PURPOSE).derive(secret.reveal().encode())
    return ec.derive_private_key(int.from_bytes(material) % (ORDER - 1) + 1, ec.SECP256R1())


def _certificate(
    key: ec.EllipticCurvePrivateKey, subject: str, names: Sequence[str]
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    public = key.public_key()
    # Two certificates of one issuer with one number, browsers refuse: other names, another number.
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    known = b"\0".join([point, subject.encode(), *map(str.encode, names)])
    number = int.from_bytes(hashlib.sha256(known).digest()[:19])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(number)
        .not_valid_before(BEGIN)
        .not_valid_after(END)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(_constraints(names), critical=True)
        .add_extension(SERVER, critical=False)
        .add_extension(_own_identifier(public), critical=False)
        # Without chance (RFC 6979), or the same CA would have as many certificates as makers.
        .sign(key, SHA256(), ecdsa_deterministic=True)
    )


def _constraints(names: Sequence[str]) -> x509.NameConstraints:
    """Return for which names a CA may speak.

    A DNS name stands for those below it too: no form of the extension says otherwise. A kind of
    name that is not spoken of would be unrestricted.
    """
    permitted = [
        x509.IPAddress(ip_network(str(each.value))) if isinstance(each, x509.IPAddress) else each
        for each in general_names(names)
    ]
    excluded: list[x509.GeneralName] = []
    if not any(isinstance(each, x509.IPAddress) for each in permitted):
        excluded += EVERY_ADDRESS
    if not any(isinstance(each, x509.DNSName) for each in permitted):
        excluded += EVERY_NAME
    return x509.NameConstraints(permitted, excluded or None)


def _usage(*, sign: bool) -> x509.KeyUsage:
    """Return the use of a key: to sign handshakes, or certificates."""
    return x509.KeyUsage(
        digital_signature=sign,
        key_cert_sign=not sign,
        crl_sign=not sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _own_identifier(key: ec.EllipticCurvePublicKey) -> x509.SubjectKeyIdentifier:
    return x509.SubjectKeyIdentifier.from_public_key(key)


def _issuer_identifier(key: ec.EllipticCurvePublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key)
