"""The OpenID provider that other tests log in at: what it gives to its client and to browsers."""

import base64
import hashlib
import json
import secrets
import ssl
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from josepy.jwk import JWK
from josepy.jws import JWS

from tests.e2e.browsers import chromium
from tests.e2e.conftest import certified, free_port
from tests.lab import identity
from tests.lab.identity import DISCOVERY, SCOPES, Provider

HERE = "127.0.0.1"
HOME = "https://mlflow.example.test"
REDIRECT = f"{HOME}/callback"
PASSWORD = "a password of tests"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """A provider that knows two people, one of whom is an admin."""
    folder = tmp_path_factory.mktemp("identity")
    ca, door = certified(folder, HERE)
    place = HERE, free_port()
    with identity.running(folder, place, door, ca, REDIRECT) as running:
        running.add("ana", "ana@example.com", PASSWORD, "mlflow", "mlflow-admin")
        running.add("ben", "ben@example.com", PASSWORD, "mlflow")
        yield running


class Form(HTMLParser):
    """What a page's form sends by itself, such as its proof against forgery."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "input" and given.get("name"):
            self.fields[str(given["name"])] = given.get("value") or ""


class Client:
    """A client and the browser in front of it, in as few lines as that takes."""

    def __init__(self, provider: Provider, redirect: str = REDIRECT) -> None:
        self.provider, self.redirect = provider, redirect
        self.browser = requests.Session()
        self.browser.trust_env = False
        self.browser.verify = str(provider.ca_file)
        self.known = self.get(f"{provider.issuer}{DISCOVERY}").json()
        self.verifier, self.nonce, self.state = (secrets.token_urlsafe(48) for _ in range(3))

    def get(self, url: str, **options: Any) -> requests.Response:
        return self.browser.get(url, timeout=30, **options)

    def question(self) -> str:
        """Give the address at which a person is asked who they are."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self.provider.client_id,
            "redirect_uri": self.redirect,
            "scope": " ".join(SCOPES),
            "state": self.state,
            "nonce": self.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        address = requests.Request("GET", self.known["authorization_endpoint"], params=asked)
        return str(address.prepare().url)

    def log_in(self, name: str, password: str) -> str:
        """Fill in both pages; give where the browser is sent, or nothing if it stays there."""
        page = self.get(self.question())
        for given in ({"login": name}, {"password": password}):
            form = Form(page.text).fields | given
            here = {"Referer": page.url}
            page = self.browser.post(
                page.url, form, headers=here, timeout=30, allow_redirects=False
            )
            while page.is_redirect:
                address = urljoin(page.url, page.headers["Location"])
                if address.startswith(self.redirect):
                    return address
                page = self.get(address, allow_redirects=False)
        return ""

    def tokens(self, answer: str, verifier: str = "") -> requests.Response:
        """Hand in what the browser was sent back with."""
        # Of one second are alike, and the provider keeps each only once (0.3.6: it answers 500).
        time.sleep(1.1)
        [code] = parse_qs(urlsplit(answer).query)["code"]
        proof = verifier or self.verifier
        given = {"code": code, "redirect_uri": self.redirect, "code_verifier": proof}
        return self.ask(grant_type="authorization_code", **given)

    def ask(self, **given: str) -> requests.Response:
        """Ask for tokens, as the client that the provider knows."""
        known = self.provider.client_id, self.provider.client_secret
        return self.browser.post(self.known["token_endpoint"], given, auth=known, timeout=30)

    def verified(self, token: str) -> dict[str, Any]:
        """Give the claims of a token, which a key of the provider has signed by RS256."""
        header = json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))
        assert header["alg"] == "RS256"
        [key] = self.get(self.known["jwks_uri"]).json()["keys"]
        assert key["kid"] == header["kid"]
        signed = JWS.from_compact(token.encode())
        assert signed.verify(JWK.from_json(key))
        claims: dict[str, Any] = json.loads(signed.payload)
        return claims


def groups(provider: Provider, name: str) -> list[str]:
    client = Client(provider)
    token = client.tokens(client.log_in(name, PASSWORD)).json()["id_token"]
    return sorted(client.verified(token).get("groups", []))


def test_the_issuer_is_the_address_with_its_port(provider: Provider) -> None:
    known = Client(provider).known

    assert provider.issuer == known["issuer"]
    assert f"https://{HERE}:{urlsplit(provider.issuer).port}" == provider.issuer
    assert known["end_session_endpoint"].startswith(f"{provider.issuer}/")
    assert "S256" in known["code_challenge_methods_supported"]


def test_the_id_token_says_who_somebody_is_and_their_groups(provider: Provider) -> None:
    client = Client(provider)
    answer = client.log_in("ana", PASSWORD)
    assert [client.state] == parse_qs(urlsplit(answer).query)["state"]
    given = client.tokens(answer).json()
    claims = client.verified(given["id_token"])

    assert provider.issuer == claims["iss"]
    assert provider.client_id in claims["aud"]
    assert client.nonce == claims["nonce"]
    assert "ana" == claims["sub"] == claims["preferred_username"]
    assert "Ana" == claims["name"]
    assert "ana@example.com" == claims["email"]
    assert ["mlflow", "mlflow-admin"] == sorted(claims["groups"])


def test_the_access_token_is_for_the_client_and_says_the_same(provider: Provider) -> None:
    client = Client(provider)
    token = client.tokens(client.log_in("ana", PASSWORD)).json()["access_token"]
    claims = client.verified(token)
    bearer = {"Authorization": f"Bearer {token}"}
    info = client.get(client.known["userinfo_endpoint"], headers=bearer).json()

    assert [provider.client_id] == claims["aud"]
    assert provider.issuer == claims["iss"]
    for said in (claims, info):
        assert ("ana", "ana@example.com") == (said["sub"], said["email"])
        assert ["mlflow", "mlflow-admin"] == sorted(said["groups"])


def test_a_token_is_renewed_with_what_is_true_by_then(provider: Provider) -> None:
    provider.add("eva", "eva@example.com", PASSWORD, "mlflow")
    client = Client(provider)
    given = client.tokens(client.log_in("eva", PASSWORD)).json()
    provider.move("eva", "others")
    renewed = client.ask(grant_type="refresh_token", refresh_token=given["refresh_token"]).json()

    assert ["others"] == client.verified(renewed["access_token"])["groups"]


@pytest.mark.parametrize(("name", "password"), [("ana", "not hers"), ("nobody", PASSWORD)])
def test_a_wrong_name_or_password_gives_nothing(
    provider: Provider, name: str, password: str
) -> None:
    assert "" == Client(provider).log_in(name, password)


def test_a_code_is_worth_nothing_to_who_did_not_ask_for_it(provider: Provider) -> None:
    client = Client(provider)
    stolen = client.tokens(client.log_in("ana", PASSWORD), secrets.token_urlsafe(48))

    assert (400, "invalid_grant") == (stolen.status_code, stolen.json()["error"])


def test_people_move_between_groups_are_locked_out_and_forgotten(provider: Provider) -> None:
    provider.add("eve", "eve@example.com", PASSWORD, "mlflow", "guests")
    assert ["guests", "mlflow"] == groups(provider, "eve")
    provider.move("eve", "mlflow-admin")
    assert ["mlflow-admin"] == groups(provider, "eve")
    provider.move("eve")
    assert [] == groups(provider, "eve")

    provider.lock("eve")
    assert "" == Client(provider).log_in("eve", PASSWORD)
    provider.remove("eve")
    assert "" == Client(provider).log_in("eve", PASSWORD)
    assert ["mlflow"] == groups(provider, "ben")


def test_who_logs_out_is_brought_back_and_asked_again(provider: Provider) -> None:
    client = Client(provider)
    token = client.tokens(client.log_in("ana", PASSWORD)).json()["id_token"]
    known = client.get(client.question(), allow_redirects=False)
    assert known.headers["Location"].startswith(REDIRECT)

    there = {
        "client_id": provider.client_id,
        "id_token_hint": token,
        "post_logout_redirect_uri": f"{HOME}/oidc/ui/auth",
    }
    end = client.known["end_session_endpoint"]
    out = client.get(end, params=there, allow_redirects=False)

    assert f"{HOME}/oidc/ui/auth" == out.headers["Location"]
    assert "login" in Form(client.get(client.question()).text).fields


def test_a_browser_logs_in_by_two_pages(provider: Provider) -> None:
    pin = public_key_pin(provider)
    with chromium(f"--ignore-certificate-errors-spki-list={pin}") as browser:
        page = browser.new_page(locale="de-DE")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        client = Client(provider)

        page.goto(client.question())
        identity.fill_in(page, "ana", "not hers")
        page.get_by_text("Login failed").wait_for()

        page.goto(client.question())
        with page.expect_request(f"{REDIRECT}?*") as sent:
            identity.fill_in(page, "ana", PASSWORD)
        token = client.tokens(sent.value.url).json()["id_token"]

    assert "ana" == client.verified(token)["sub"]
    servers = {url.partition("?")[0] for url in asked if not url.startswith(provider.issuer)}
    assert {REDIRECT} == servers, "its pages come from nowhere else"


def public_key_pin(provider: Provider) -> str:
    """Give what a browser calls the key that the provider shows."""
    parts = urlsplit(provider.issuer)
    shown = ssl.get_server_certificate((HERE, parts.port or 443))
    key = x509.load_pem_x509_certificate(shown.encode()).public_key()
    known = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return base64.b64encode(known.digest()).decode()
