"""NGINX's configuration as it is rendered; `nginx -t` reads it in tests/e2e."""

import re
from collections.abc import Mapping

import pytest

from ops import nginx, oidc, stack
from ops.settings import Settings
from tests.conftest import ROOT
from tests.rendered import KINDS, flat, nginx_files

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
        "conf.d/hold.conf",
        "conf.d/interface.conf",
        "conf.d/limits.conf",
        "conf.d/mlflow.conf",
        "conf.d/refusals.conf",
        "conf.d/who.conf",
        "snippets/compress.conf",
        "snippets/frame.conf",
        "snippets/gate.conf",
        "snippets/gate-basic.conf",
        "snippets/gate-none.conf",
        "snippets/gate-oidc.conf",
        "snippets/held.conf",
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


@pytest.mark.parametrize("login", ["basic", "oidc"])
def test_each_login_has_the_gate_and_its_own_way_to_say_who_somebody_is(login: str) -> None:
    files = nginx.files(ROOT, {**SITE, "LOGIN": login})
    other = {"basic": "oidc", "oidc": "basic"}[login]

    assert f"include snippets/gate-{login}.conf;" in files["conf.d/mlflow.conf"]
    assert "include snippets/gate.conf;" in files[f"snippets/gate-{login}.conf"].splitlines()
    assert "listen 127.0.0.1:8082;" in files["conf.d/gate.conf"]
    assert f"# AUTH={login}: " in files["conf.d/who.conf"]
    assert f"# AUTH={other}: " not in files["conf.d/who.conf"]


SAID = re.compile(r"^\s*(?:map .*|auth_request_set|set) \$(\w+) ", re.MULTILINE)


def rendered(kind: str) -> str:
    """Return all of the configuration of a kind of stack, without comments."""
    return re.sub(r"#.*", "", "\n".join(flat(nginx_files(kind))))


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_stack_uses_a_variable_that_only_another_one_has(kind: str) -> None:
    ours = {name for each in KINDS for name in SAID.findall(rendered(each))}
    used = set(re.findall(r"\$(\w+)", rendered(kind)))

    assert "let_in" in used & ours
    assert used & ours <= set(SAID.findall(rendered(kind)))


def test_scripts_within_pages_are_run_where_they_are_the_plugin_s_only() -> None:
    # Of MLflow's own pages; the frame of an HTML artifact has another policy.
    pages = r"default-src 'self';[^\"]* script-src ([^;]*);"
    found = {kind: re.findall(pages, rendered(kind)) for kind in KINDS}
    company = found.pop("company")

    assert company == [f"'self' 'unsafe-eval' {oidc.INLINE_SCRIPTS}"]
    assert {script.strip() for each in found.values() for script in each} == {
        "'self' 'unsafe-eval'"
    }


@pytest.mark.parametrize(
    ("settings", "port"),
    [
        (Settings(), 5050),
        (Settings(public_url="https://mlflow.example.test"), 443),
        (Settings(public_url="https://mlflow.example.test:8443"), 8443),
    ],
)
def test_the_server_hears_of_the_port_that_clients_see(settings: Settings, port: int) -> None:
    text = nginx.files(ROOT, stack.site(settings))["conf.d/mlflow.conf"]

    assert f'map "" $public_port {{\n    default {port};\n}}' in text


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


@pytest.mark.parametrize("site", [SITE, OPEN, TLS], ids=["named", "open", "tls"])
def test_one_pattern_captures_and_only_its_own_map_reads_what(
    site: Mapping[str, str],
) -> None:
    text = re.sub(r"(?m)^\s*#.*", "", "\n".join(nginx.files(ROOT, site).values()))
    patterns = re.findall(r"(?<=\s)\"?~\*?\s*([^\s\"]+)", text)
    capturing = [each for each in patterns if re.compile(each.replace("(?<", "(?P<")).groups]

    assert len(patterns) > 10
    assert ["^(?<sent>[^?]*)"] == capturing
    assert 1 == text.count("$sent")
    assert not re.search(r"\$\d", text)


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
