"""NGINX's configuration as it is rendered; `nginx -t` reads it in tests/e2e."""

import re

from ops import nginx
from tests.conftest import ROOT

NAMES = ["mlflow.example.test", "[::1]"]


def test_templates_are_filled_in_and_the_rest_is_copied() -> None:
    files = nginx.files(ROOT, NAMES)

    assert set(files) == {
        "nginx.conf",
        "conf.d/default.conf",
        "conf.d/mlflow.conf",
        "snippets/compress.conf",
        "snippets/proxy.conf",
        "snippets/stream.conf",
    }
    assert "server_name mlflow.example.test [::1];" in files["conf.d/mlflow.conf"]
    assert files["nginx.conf"] == (ROOT / "nginx" / "nginx.conf").read_text("utf-8")


def test_no_placeholder_is_left_and_nginx_s_own_variables_are() -> None:
    text = "\n".join(nginx.files(ROOT, NAMES).values())

    assert "${" not in re.sub(r"#.*", "", text)
    assert "$http_host" in text


def test_every_included_file_is_rendered() -> None:
    files = nginx.files(ROOT, NAMES) | nginx.identity("web")
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
