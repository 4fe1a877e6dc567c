"""A host on paper: what a dry run prints is what would be run."""

import shlex
from typing import Any

import pytest

from ops.hosts import Host, Result
from ops.paper import PaperHost
from ops.ssh import SshHost
from ops.values import Secret
from tests.ssh_server import SshServer
from tests.test_hosts import HARD_WORDS


def test_a_dry_run_prints_each_step_and_does_none(capsys: pytest.CaptureFixture[str]) -> None:
    host: Host = PaperHost("ec2-3")
    assert isinstance(host, PaperHost)
    with host:
        assert host.run(["echo", "a b"], stdin=b"secret") == Result(0, "", "")
        assert host.check(["true"], "no remedy", env={"A": "b c"}) == ""
        assert host.follow(["docker", "compose", "up"], print) == Result(0, "", "")
        host.put("mlflow/.env", b"secret" * 500, 0o600)
        assert host.send(["docker", "load"], [bytes(1024 * 1024)] * 3, print).code == 0
        with host.forward(5050) as port:
            assert port == 5050
        assert host.interact(["sh"]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "ec2-3$ echo 'a b' < 6 B",
        "ec2-3$ env 'A=b c' true",
        "ec2-3$ docker compose up",
        "ec2-3: put mlflow/.env (3 KiB, 0600)",
        "ec2-3: send 3 MiB to: docker load",
        "ec2-3: forward to 127.0.0.1:5050",
        "ec2-3$ sh",
    ]


def test_the_line_printed_is_the_line_that_is_run(
    remote: SshHost, sshd: SshServer, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["printf", "%s|", *HARD_WORDS]
    for host in (remote, PaperHost("h")):
        host.run(words, env={"A": "it's $b"})

    assert capsys.readouterr().out == f"h$ {sshd.commands[0].decode()}\n"
    assert shlex.split(sshd.commands[0].decode()) == ["env", "A=it's $b", *words]


def test_what_a_host_refuses_is_refused_on_paper_too() -> None:
    word: Any = Secret("open-sesame-0123")
    with pytest.raises(TypeError):
        PaperHost("h").run(["mysql", word])
