"""Certificates by ACME (RFC 8555), as Let's Encrypt and others give them: HTTP-01, by a webroot.

The library of certbot without its program: errors come as documents, with what the CA asks for, and
not as text. https://acme-python.readthedocs.io
"""

import hashlib
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import requests
from acme import challenges, client, errors, messages
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from ops.errors import OpsError
from ops.key_pairs import Pair, general_names, new_key, private_pem, write

__all__ = ["CHALLENGES", "Directory", "OrderError"]

CHALLENGES = ".well-known/acme-challenge"
"""Where the CA looks on port 80 (RFC 8555, 8.3)."""

PATIENCE = timedelta(minutes=3)
"""For the CA to look, and to sign."""

WHO = "mlflow-compose"

SHORT = "shortlived"
"""The profile without which Let's Encrypt has no certificates for IP addresses.

https://letsencrypt.org/docs/profiles/
"""

REMEDIES = {
    "dns": "have the name's DNS lead to this host (A, and AAAA where there is one)",
    "connection": "see that the name's DNS leads to this host, and who may reach its port 80: all",
    "unauthorized": "something else answers on port 80 of the name: see where its DNS leads",
    "caa": "allow this CA in the CAA record of the name's DNS, or take the record away",
    "rejectedIdentifier": "use a name that the CA gives certificates for, or TLS=private-ca",
    "rateLimited": "wait: it tries again by itself; and read the CA's page on its limits",
    "externalAccountRequired": "use a CA that needs no account made beforehand (ACME_DIRECTORY)",
    "invalidContact": "correct ACME_EMAIL in .env, or leave it empty",
    "userActionRequired": "read what the CA asks for, at the address above",
    "serverInternal": "wait: it tries again by itself; the CA has trouble of its own",
}
REMEDIES["incorrectResponse"] = REMEDIES["unauthorized"]
LOOK = "see what the CA says above; it tries again by itself"


class OrderError(OpsError):
    """No certificate was given; `until` is when the CA wants to be asked again, if it said so."""

    def __init__(self, cause: str, remedy: str, until: datetime | None = None) -> None:
        super().__init__(cause, remedy)
        self.until = until


@dataclass(slots=True)
class Directory:
    """A CA as one account uses it."""

    url: str
    email: str
    ca_file: str
    """Who vouches for the directory itself; empty for the CAs that everybody knows."""

    folder: Path
    """Where accounts are kept."""

    webroot: Path
    """What NGINX serves on port 80."""

    door: str
    """Where NGINX is reached from here."""

    answer: requests.Response | None = field(default=None, init=False)
    """The last one that was a failure."""

    def order(self, names: Sequence[str]) -> Pair:
        """Return a certificate for these names, with a new key."""
        self._served(names[0])
        with self._told():
            acme, account = self._open()
            key = new_key()
            profile = self._profile(acme, names)
            order = acme.new_order(_request(key, names), profile)
            with self._shown(order, account) as answers:
                for challenge, response in answers:
                    acme.answer_challenge(challenge, response)
                # The library compares with the local time, without a zone.
                deadline = datetime.now() + PATIENCE  # noqa: DTZ005
                order = acme.poll_and_finalize(order, deadline)
            return Pair(order.fullchain_pem.encode(), private_pem(key))

    def advice(self, pair: Pair) -> tuple[datetime | None, datetime]:
        """Return when the CA would renew, if it says, and when to ask again (RFC 9773)."""
        with self._told():
            acme = client.ClientV2(self._listing(self._net(None)), self._net(None))
            first = pair.leaf.public_bytes(Encoding.PEM)
            wished, again = acme.renewal_time(first)
            return wished, again.astimezone(UTC)

    def _served(self, name: str) -> None:
        """Wait until NGINX shows what we lay out: it may start after us, and a CA counts failures.

        Whether the world reaches it, nobody on this host can say, and the CA will.
        """
        word = secrets.token_urlsafe(16)
        file = self.webroot / CHALLENGES / word
        _publish(file, word)
        host = f"[{name}]" if ":" in name else name
        end = time.monotonic() + PATIENCE.total_seconds()
        try:
            while (seen := self._seen(word, host)) != "":
                if time.monotonic() > end:
                    raise OrderError(
                        f"NGINX does not show on port 80 what a CA asks for: {seen}",
                        "see what NGINX says: invoke logs --service nginx",
                    )
                time.sleep(1)
        finally:
            file.unlink(missing_ok=True)

    def _seen(self, word: str, host: str) -> str:
        """Return what is wrong with what NGINX shows; "" for nothing."""
        url = f"{self.door}/{CHALLENGES}/{word}"
        try:
            answer = requests.get(url, headers={"Host": host}, timeout=5, allow_redirects=False)
        except requests.exceptions.RequestException as error:
            return f"no answer: {_line(error)}"
        return "" if answer.ok and answer.text == word else f"HTTP {answer.status_code}"

    def _open(self) -> tuple[client.ClientV2, JWKEC]:
        """Return the CA with our account there, which is made the first time."""
        account = JWKEC(key=self._account_key())
        net = self._net(account)
        acme = client.ClientV2(self._listing(net), net)
        wish = messages.NewRegistration.from_data(
            email=self.email or None, terms_of_service_agreed=True
        )
        try:
            acme.new_account(wish)
        except errors.ConflictError as known:
            net.account = messages.RegistrationResource(
                uri=known.location, body=messages.Registration()
            )
        return acme, account

    def _net(self, key: JWKEC | None) -> client.ClientNetwork:
        verify: Any = self.ca_file or True  # the library hands it on to requests, which takes both
        net = client.ClientNetwork(key, alg=ES256, verify_ssl=verify, user_agent=WHO)
        net.session.hooks["response"].append(self._remember)
        return net

    def _remember(self, answer: requests.Response, *_: Any, **__: Any) -> None:  # noqa: ANN401
        """Keep an answer that is a failure: the library's errors lack its headers."""
        self.answer = None if answer.ok else answer

    def _listing(self, net: client.ClientNetwork) -> messages.Directory:
        found = client.ClientV2.get_directory(self.url, net)
        for name in ("newNonce", "newAccount", "newOrder"):
            found[name]  # raises KeyError
        return found

    def _account_key(self) -> ec.EllipticCurvePrivateKey:
        """Return the key of the account; another CA or address has another account."""
        name = hashlib.sha256(f"{self.url}\0{self.email}".encode()).hexdigest()[:16]
        file = self.folder / f"{name}.pem"
        if not file.exists():
            self.folder.mkdir(mode=0o700, exist_ok=True)
            write(file, private_pem(new_key()))
        key = load_pem_private_key(file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return key

    def _profile(self, acme: client.ClientV2, names: Sequence[str]) -> str | None:
        addresses = any(isinstance(each, x509.IPAddress) for each in general_names(names))
        return SHORT if addresses and SHORT in (acme.directory.meta.profiles or {}) else None

    @contextmanager
    def _shown(
        self, order: messages.OrderResource, account: JWKEC
    ) -> Iterator[list[tuple[Any, Any]]]:
        """Lay out what the CA looks for while it looks; yield its challenges, and the answers."""
        folder = self.webroot / CHALLENGES
        files, answers = [], []
        for each in order.authorizations:
            if each.body.status == messages.STATUS_VALID:
                continue
            challenge = _http(each)
            response, content = challenge.response_and_validation(account)
            files.append(folder / challenge.chall.encode("token"))
            answers.append((challenge, response))
            _publish(files[-1], content)
        try:
            yield answers
        finally:
            for file in files:
                file.unlink(missing_ok=True)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Raise what the library raises as an error with a remedy."""
        self.answer = None
        try:
            yield
        except errors.ValidationError as error:
            raise self._invalid(error) from None
        except (messages.Error, errors.IssuanceError) as error:
            problem = error.error if isinstance(error, errors.IssuanceError) else error
            code = _code(problem)
            cause = f"the CA refuses: {code}: {_line(problem.detail or problem.title)}"
            raise OrderError(cause, REMEDIES.get(code, LOOK), self._until()) from None
        except errors.TimeoutError:
            raise OrderError(
                f"the CA at {self.url} did not finish within {PATIENCE.seconds // 60} min", LOOK
            ) from None
        except requests.exceptions.SSLError as error:
            raise OrderError(
                f"{self.url} does not prove who it is: {_line(error)}",
                "name the CA of its certificate in ACME_CA_FILE, if it is not a public one",
            ) from None
        except (requests.exceptions.RequestException, ValueError) as error:
            raise OrderError(
                f"no answer from {self.url}: {_line(error)}",
                "let this host connect to it, or correct ACME_DIRECTORY in .env",
                self._until(),
            ) from None
        except (errors.Error, JoseError, KeyError) as error:
            said = f"HTTP {self.answer.status_code}" if self.answer is not None else _line(error)
            raise OrderError(
                f"{self.url} does not answer as a CA: {said}",
                "correct ACME_DIRECTORY in .env, or wait until it is well",
                self._until(),
            ) from None

    def _invalid(self, error: errors.ValidationError) -> OrderError:
        """Return the error for names that the CA could not see are ours."""
        found = [
            (each.body.identifier.value, challenge.error)
            for each in error.failed_authzrs
            for challenge in each.body.challenges
            if challenge.error is not None
        ]
        causes = [f"{name}: {_code(why)}: {_line(why.detail)}" for name, why in found]
        remedy = REMEDIES.get(_code(found[0][1]), LOOK)
        return OrderError(f"the CA could not verify {'; '.join(causes)}", remedy)

    def _until(self) -> datetime | None:
        """Return when the CA wants to be asked again, if its last answer says that."""
        if self.answer is None:
            return None
        given = self.answer.headers.get("Retry-After", "")
        if given.isascii() and given.isdigit():
            return datetime.now(UTC) + timedelta(seconds=min(int(given), 10**7))
        try:
            return parsedate_to_datetime(given).astimezone(UTC)
        except ValueError:
            return None


def _http(authorization: messages.AuthorizationResource) -> Any:  # noqa: ANN401 - the library's
    """Return the challenge of HTTP-01 among those that are offered."""
    for each in authorization.body.challenges:
        if isinstance(each.chall, challenges.HTTP01):
            return each
    name = authorization.body.identifier.value
    raise OrderError(
        f"the CA does not verify {name} by HTTP, which is all that this service can",
        "use another CA (ACME_DIRECTORY), or TLS=files with a certificate from elsewhere",
    )


def _publish(file: Path, content: str) -> None:
    """Write a file for NGINX, which serves it to everybody."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, "ascii")
    file.chmod(0o644)


def _request(key: ec.EllipticCurvePrivateKey, names: Sequence[str]) -> bytes:
    """Return what the CA is to sign."""
    made = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName(general_names(names)), critical=False)
        .sign(key, SHA256())
    )
    return made.public_bytes(Encoding.PEM)


def _code(problem: messages.Error) -> str:
    """Return the kind of a problem; the library has none for what it does not know."""
    return problem.typ.rpartition(":")[2]


def _line(text: object) -> str:
    """Return something said as one line of bearable length."""
    return " ".join(str(text).split())[:300]
