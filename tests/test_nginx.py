"""NGINX's configuration as it is rendered; `nginx -t` reads it in tests/e2e."""

import re

import pytest

from ops import nginx, stack
from ops.settings import Settings
from tests.conftest import ROOT

SITE = stack.site(Settings(public_url="https://mlflow.example.test"))
OPEN = stack.site(Settings())
TLS = stack.site(Settings(public_url="https://mlflow.example.test", bind_address="0.0.0.0"))


def test_templates_are_filled_in_and_the_rest_is_copied() -> None:
    files = nginx.files(ROOT, SITE)

    assert set(files) == {
        "nginx.conf",
        "conf.d/default.conf",
        "conf.d/gate.conf",
        "conf.d/headers.conf",
        "conf.d/limits.conf",
        "conf.d/mlflow.conf",
        "conf.d/refusals.conf",
        "snippets/compress.conf",
        "snippets/gate-basic.conf",
        "snippets/gate-none.conf",
        "snippets/limits.conf",
        "snippets/listen-plain.conf",
        "snippets/listen-tls.conf",
        "snippets/proxy.conf",
        "snippets/refusals.conf",
        "snippets/stream.conf",
        "snippets/certificate.conf",
        "snippets/unknown-address.conf",
        "snippets/unknown-name.conf",
    }
    assert "server_name mlflow.example.test localhost" in files["conf.d/mlflow.conf"]
    assert files["nginx.conf"] == (ROOT / "nginx" / "nginx.conf").read_text("utf-8")


def test_without_a_login_there_is_no_gate() -> None:
    files = nginx.files(ROOT, OPEN)

    assert "conf.d/gate.conf" not in files
    assert "include snippets/gate-none.conf;" in files["conf.d/mlflow.conf"]
    assert "include snippets/gate-basic.conf;" in nginx.files(ROOT, SITE)["conf.d/mlflow.conf"]


def test_with_tls_there_is_a_port_without_it_that_leads_to_the_site() -> None:
    text = nginx.files(ROOT, TLS)["conf.d/tls.conf"]

    assert "return 308 https://mlflow.example.test$request_uri;" in text
    assert "include snippets/unknown-name.conf;" in text
    assert "include snippets/listen-tls.conf;" in nginx.files(ROOT, TLS)["conf.d/mlflow.conf"]


@pytest.mark.parametrize(
    ("url", "snippet"),
    [
        ("https://10.0.0.7", "address"),
        ("https://[fd00::7]:8443", "address"),
        ("https://10-0-0-7.example", "name"),
    ],
)
def test_an_address_is_not_asked_for_by_name(url: str, snippet: str) -> None:
    site = stack.site(Settings(public_url=url, bind_address="0.0.0.0"))

    assert f"unknown-{snippet}.conf" in nginx.files(ROOT, site)["conf.d/tls.conf"]


def test_no_placeholder_is_left_and_nginx_s_own_variables_are() -> None:
    text = "\n".join([*nginx.files(ROOT, SITE).values(), *nginx.files(ROOT, TLS).values()])

    assert "${" not in re.sub(r"#.*", "", text)
    assert "$http_origin" in text


def test_every_included_file_is_rendered() -> None:
    files = nginx.files(ROOT, TLS) | nginx.files(ROOT, SITE) | nginx.identity("web")
    included = {
        name
        for text in files.values()
        for name in re.findall(r"^\s*include ([^/*;][^*;]*);", text, re.MULTILINE)
    }

    assert included
    assert included <= set(files)


def test_the_upstream_is_asked_for_again_and_never_taken_for_dead() -> None:
    assert nginx.identity("web-1") == {
        "upstream.conf": "server web-1:5000 resolve max_fails=0;\n",
        "release.conf": 'map "" $release { default "web-1"; }\n',
    }
