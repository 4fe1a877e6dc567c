"""The configuration files as the real programs read them."""

import sys
from pathlib import Path

from tests.e2e.conftest import Project, output

FILE = "/etc/nginx/releases/live/nginx/nginx.conf"
GIXY = str(Path(sys.executable).with_name("gixy"))


def test_nginx_finds_no_fault_with_its_configuration(stack: Project) -> None:
    said = output(
        "docker", "exec", stack.container("nginx"), "sh", "-c", f"nginx -t -c {FILE} 2>&1"
    )

    assert "syntax is ok" in said
    assert "[warn]" not in said


def test_gixy_finds_no_known_mistake_in_the_nginx_configuration(
    stack: Project, tmp_path: Path
) -> None:
    dump = tmp_path / "nginx.conf"
    dump.write_text(
        output("docker", "exec", stack.container("nginx"), "nginx", "-T", "-c", FILE), "utf-8"
    )

    # The Host header is passed on as it came on purpose: MLflow checks it against its own list.
    output(GIXY, "-l", "--skips", "host_spoofing", str(dump))
