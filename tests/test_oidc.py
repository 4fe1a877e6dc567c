"""Login by an identity provider: what the plugin is told. Its own pages are in tests/e2e."""

import re
from dataclasses import replace
from typing import Any

import pytest

from ops import oidc, stack
from ops.settings import Settings
from ops.values import Secret
from tests.conftest import ROOT, SIZE

COMPANY: dict[str, Any] = {
    "auth": "oidc",
    "tls": "acme",
    "acme_email": "ops@example.com",
    "public_url": "https://mlflow.example.com",
    "oidc_issuer": "https://login.example.com/realms/company",
    "oidc_client_id": "mlflow",
    "oidc_client_secret": Secret("of-the-client-of-the-provider"),
}


@pytest.fixture
def company(settings: Settings) -> Settings:
    """Settings with a login by a provider."""
    return replace(settings, **COMPANY)


@pytest.mark.parametrize("auth", ["basic", "none"])
def test_without_it_nothing_is_told_and_nothing_added(company: Settings, auth: str) -> None:
    other = replace(company, auth=auth)

    assert oidc.variables(other) == {}
    assert oidc.OVERLAY not in stack.compose_files(other)
    assert oidc.OVERLAY in stack.compose_files(company)


def test_the_overlay_is_told_everything_that_it_asks_for(company: Settings) -> None:
    text = (ROOT / oidc.OVERLAY).read_text("utf-8")
    asked = set(re.findall(r"\$\{(\w+):?\?\}", text))
    may_be_empty = set(re.findall(r"\$\{(\w+)\?\}", text))
    told = stack.compose_env(company, SIZE) | stack.local_env(company)

    assert asked <= set(told)
    assert set(oidc.variables(company)) <= asked
    assert {name for name in asked if not told[name]} == may_be_empty == {"OIDC_TRUSTED"}


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_provider_is_looked_up_below_its_name_and_called_by_it_to_the_last_slash(
    company: Settings, slash: str
) -> None:
    issuer = f"{company.oidc_issuer}{slash}"
    told = oidc.variables(replace(company, oidc_issuer=issuer))

    assert told["OIDC_DISCOVERY_URL"] == (
        "https://login.example.com/realms/company/.well-known/openid-configuration"
    )
    assert told["OIDC_ISSUER"] == issuer


@pytest.mark.parametrize(
    ("url", "secure"),
    [("https://mlflow.example.com", "true"), ("http://mlflow.example.com:5050", "false")],
)
def test_people_come_back_to_the_address_of_the_stack_with_a_session_that_is_as_safe(
    company: Settings, url: str, secure: str
) -> None:
    told = oidc.variables(replace(company, public_url=url))

    assert told["OIDC_REDIRECT_URI"] == f"{url}/callback"
    assert told["SESSION_COOKIE_SECURE"] == secure


def test_a_ca_of_the_provider_s_is_a_file_in_the_container(company: Settings) -> None:
    given = oidc.variables(replace(company, oidc_ca_file="/etc/hosts"))

    assert given["OIDC_TRUSTED"] == "/run/secrets/oidc_ca"
    assert oidc.variables(company)["OIDC_TRUSTED"] == ""


def test_no_secret_is_told(company: Settings) -> None:
    assert "of-the-client-of-the-provider" not in repr(stack.compose_env(company, SIZE))


def test_a_script_is_named_by_what_it_is_as_a_policy_names_it() -> None:
    scripts = oidc.INLINE_SCRIPTS.split(" ")

    assert len({*scripts}) == 3
    for script in scripts:
        assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", script)
