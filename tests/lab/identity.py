"""An OpenID provider: Canaille, which knows people, their passwords and their groups.

It runs in an environment of its own, made once from tests/e2e/tools/identity.txt. People are told
to it by SCIM and clients by dynamic registration, both over its one port. Nothing here needs Docker
or root. https://canaille.readthedocs.io
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.e2e import tools

from .command import leashed, run
from .errors import LabError
from .place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from playwright.sync_api import Page

SCOPES = ("openid", "email", "profile", "groups")
DATABASE = "people.sqlite"
DISCOVERY = "/.well-known/openid-configuration"
LOGGED_OUT = ("/", "/oidc/ui/auth")
"""Where a client may bring those who have logged out."""

SCHEMAS = {
    "Users": "urn:ietf:params:scim:schemas:core:2.0:User",
    "Groups": "urn:ietf:params:scim:schemas:core:2.0:Group",
    "PATCH": "urn:ietf:params:scim:api:messages:2.0:PatchOp",
}
"""What a body is: https://www.rfc-editor.org/rfc/rfc7643#section-10.3"""

PATIENCE = 60  # seconds until it answers; a third of that has been seen on a busy machine


def program() -> tuple[Path, Path]:
    """Have the environment that Canaille runs in; give its Python and a database of nobody."""
    locked = (Path(tools.__file__).parent / "identity.txt").read_bytes()
    place = Place.read(os.environ)
    kept = place.folder / f"identity-{hashlib.sha256(locked).hexdigest()[:12]}"
    if not kept.exists():
        place.make()
        with tempfile.TemporaryDirectory(dir=place.folder, prefix=".identity-") as folder:
            made = tools.environment("identity", Path(folder))
            # Canaille makes a database by twenty migrations, which take longer than its start.
            nobody = {"CANAILLE_SQL__DATABASE_URI": f"sqlite:///{made.parent / DATABASE}"}
            remedy = "see whether the pins in tests/e2e/tools/identity.txt belong together"
            run(str(made / "canaille"), "install", environ=nobody, remedy=remedy)
            try:
                made.parent.rename(kept)
            except OSError:  # somebody else was as quick
                if not kept.exists():
                    raise
    return kept / "bin" / "python", kept / DATABASE


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider that is running, one client that may ask it, and the way to tell it of people."""

    issuer: str
    ca_file: Path
    client_id: str
    client_secret: str = field(repr=False)
    token: str = field(repr=False)
    """Lets the holder change who there is."""

    def add(self, name: str, email: str, password: str, *groups: str) -> None:
        """Let somebody in, as a member of groups, which are made if they are missing."""
        person = {
            "userName": name,
            "name": {"formatted": name.title(), "familyName": name.title()},
            "emails": [{"value": email}],
            "password": password,
            "active": True,
        }
        self._scim("POST", "Users", person)
        self.move(name, *groups)

    def move(self, name: str, *groups: str) -> None:
        """Have somebody in these groups, and in no others."""
        there = {each["displayName"]: each for each in self._scim("GET", "Groups")["Resources"]}
        for group in {*there, *groups}:
            known = there.get(group, {})
            before = {each["value"] for each in known.get("members", [])}
            after = before | {name} if group in groups else before - {name}
            members = [{"value": each, "$ref": self._at(f"Users/{each}")} for each in sorted(after)]
            body = {"displayName": group, "members": members}
            if not known:
                self._scim("POST", "Groups", body)
            elif after != before:
                self._scim("PUT", f"Groups/{known['id']}", body)

    def lock(self, name: str) -> None:
        """Let somebody log in no more."""
        change = {"op": "replace", "path": "active", "value": False}
        self._scim("PATCH", f"Users/{name}", {"Operations": [change]})

    def remove(self, name: str) -> None:
        """Forget somebody."""
        self._scim("DELETE", f"Users/{name}")

    def _at(self, path: str) -> str:
        return f"{self.issuer}/scim/v2/{path}"

    def _scim(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Call the interface of RFC 7644, which wants to be told what a body is."""
        kind = "PATCH" if method == "PATCH" else path.partition("/")[0]
        given = None if body is None else {"schemas": [SCHEMAS[kind]], **body}
        bearer = {"Authorization": f"Bearer {self.token}"}
        return call(method, self._at(path), self.ca_file, json=given, headers=bearer)


@contextmanager
def running(
    folder: Path, place: tuple[str, int], door: tuple[Path, Path], ca_file: Path, redirect: str
) -> Iterator[Provider]:
    """Run a provider at an address and port of this machine, for one client.

    It is reached with the certificate and key `door`, which `ca_file` vouches for. It sends those
    who have logged in to the address `redirect`, asks nobody for consent, and lets the client bring
    those who log out to any of LOGGED_OUT below that address's host. Each one is another provider.
    """
    address, port = place
    issuer = f"https://{address}:{port}"
    client = urlsplit(redirect)
    home = f"{client.scheme}://{client.netloc}"
    python, nobody = program()
    database = Path(shutil.copy(nobody, folder))
    environ = settings(database, f"{address}:{port}", str(client.hostname))
    words = [
        *(str(python), "-m", "hypercorn", "--workers", "0", "--bind", f"{address}:{port}"),
        *("--certfile", str(door[0]), "--keyfile", str(door[1]), "--access-logfile", "-"),
        "canaille.hypercorn.app:create_app()",
    ]
    log = folder / "identity.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            leashed(words),
            cwd=folder,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        known = discovered(issuer, ca_file, process, log)
        asking = register(
            known,
            ca_file,
            client_name="MLflow",
            client_uri=home,  # of a trusted host, so there is no page that asks for consent
            redirect_uris=[redirect],
            post_logout_redirect_uris=[f"{home}{path}" for path in LOGGED_OUT],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            scope=" ".join(SCOPES),
        )
        telling = register(
            known,
            ca_file,
            client_name="tests",
            redirect_uris=[],
            grant_types=["client_credentials"],
        )
        grant = {"grant_type": "client_credentials"}
        token = call("POST", known["token_endpoint"], ca_file, data=grant, auth=telling)
        yield Provider(issuer, ca_file, *asking, token["access_token"])
    finally:
        # It would wait half a minute for browsers to hang up; there is nothing to be saved.
        process.kill()
        process.wait()


def call(method: str, url: str, ca_file: Path, **options: Any) -> Any:
    """Send a request to a server of this machine, whatever proxy there is; give what it says."""
    with requests.Session() as session:
        session.trust_env = False
        answer = session.request(method, url, verify=str(ca_file), timeout=30, **options)
    if not answer.ok:
        said = f"{method} {url}: {answer.status_code} {answer.text[:500]}"
        raise LabError(f"the OpenID provider refused {said}", "read identity.log beside it")
    return answer.json() if answer.content else None


def settings(database: Path, server: str, trusted: str) -> dict[str, str]:
    """Give what Canaille is told by its environment."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "SECRET_KEY": secrets.token_hex(),
        "SERVER_NAME": server,  # the issuer is made of it
        # Not "memory", which hands one code out for another: it takes either filter for both.
        "CANAILLE__DATABASE": "sql",
        "CANAILLE_SQL__DATABASE_URI": f"sqlite:///{database}",
        "CANAILLE_SQL__AUTO_MIGRATE": "false",
        "CANAILLE__LANGUAGE": "en",  # not the browser's: tests press buttons by their text
        "CANAILLE__SMTP": "null",
        "CANAILLE__CAPTCHA_ENABLED": "false",
        "CANAILLE_OIDC__ACTIVE_JWKS": json.dumps([pem.decode()]),
        "CANAILLE_OIDC__DYNAMIC_CLIENT_REGISTRATION_OPEN": "true",
        "CANAILLE_OIDC__TRUSTED_DOMAINS": trusted,
        "CANAILLE_OIDC__USERINFO_MAPPING__PREFERRED_USERNAME": "{{ user.user_name }}",
    }


def discovered(
    issuer: str, ca_file: Path, process: subprocess.Popen[bytes], log: Path
) -> dict[str, str]:
    """Wait until a provider that was started answers; give what it says about itself."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            found: dict[str, str] = call("GET", f"{issuer}{DISCOVERY}", ca_file)
        except requests.RequestException as error:
            if process.poll() is not None or time.monotonic() > end:
                raise LabError(
                    f"the OpenID provider does not answer: {error}", f"read {log}"
                ) from None
            time.sleep(0.1)
        else:
            return found


def register(known: Mapping[str, str], ca_file: Path, **metadata: object) -> tuple[str, str]:
    """Register a client that has a secret; give its name and that."""
    made = call(
        "POST",
        known["registration_endpoint"],
        ca_file,
        json={"token_endpoint_auth_method": "client_secret_basic", **metadata},
    )
    return made["client_id"], made["client_secret"]


def fill_in(page: Page, name: str, password: str) -> None:
    """Log in on the provider's pages: who on the first, the password on the second."""
    page.locator("input[name=login]").fill(name)
    page.get_by_role("button", name="Continue").click()
    page.locator("input[name=password]").fill(password)
    page.get_by_role("button", name="Sign in").click()
