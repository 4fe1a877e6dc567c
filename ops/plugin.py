"""Docker Compose on a host: the system's package, or the released program, checked there."""

import re

from ops import console
from ops.errors import OpsError, refusal
from ops.hosts import Host
from ops.packages import Packages
from ops.steps import AGAIN, Step, as_root

__all__ = ["OLDEST", "PATH", "RELEASE", "SHA256", "step", "version"]

OLDEST = (2, 24)
"""The first that knows all that compose/compose.yaml asks for."""

RELEASE = "2.40.3"
# Both sums stand alike in docker-library/docker (28/cli/Dockerfile, commit 1b231c4) and, in base64,
# in periareon/rules_docker_compose (docker_compose/private/versions.bzl, commit 330172a).
SHA256 = {
    "x86_64": "dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372",
    "aarch64": "d26373b19e89160546d15407516cc59f453030d9bc5b43ba7faf16f7b4980137",
}
ADDRESS = "https://github.com/docker/compose/releases/download/v{}/docker-compose-linux-{}"
PATH = "/usr/local/lib/docker/cli-plugins/docker-compose"
DOWNLOAD_SECONDS = 900.0
CURL_UNREACHED = (5, 6, 7, 28, 35, 56)
CURL_DISK = 23


def version(text: str) -> tuple[int, int]:
    """Return the first two numbers of a version; (0, 0) for what is none."""
    found = re.match(r"v?(?:\d+:)?(\d+)\.(\d+)", text.strip())
    return (int(found[1]), int(found[2])) if found else (0, 0)


def step(host: Host, packages: Packages, package: str, machine: str) -> Step:
    """Return the step that brings Compose; `package` is "" where the system's cannot be used."""
    title = "Docker Compose"
    found = host.run(("docker", "compose", "version", "--short"))
    if found.code == 0 and version(found.out) >= OLDEST:
        return Step(title=title, found=found.out.strip())
    if package:
        packages.refresh()
        offered = packages.candidate(package)
        if version(offered) >= OLDEST:
            return Step(
                title=title,
                todo=f"install the package {package} {offered}",
                installs=True,
                act=lambda: packages.install([package]),
            )
    if machine not in SHA256:
        raise refusal(
            f"{host.name} has a processor that Compose is not pinned for: {machine[:40]!r}",
            f"use {' or '.join(SHA256)}, or install Compose {RELEASE} there yourself",
        )
    return Step(
        title=title,
        todo=f"download {RELEASE} ({machine}), check its sha256, put it at {PATH}",
        act=lambda: _download(host, packages, machine),
    )


def _download(host: Host, packages: Packages, machine: str) -> None:
    if host.run(("curl", "--version")).code != 0:
        packages.install(["curl", "ca-certificates"])
    draft = host.check(("mktemp",), AGAIN).strip()
    try:
        with console.progress(f"{host.name}: downloading Docker Compose {RELEASE}"):
            _fetch(host, draft, ADDRESS.format(RELEASE, machine))
        _prove(host, draft, SHA256[machine])
        mode = ("-D", "-m", "0755", "-o", "root", "-g", "root")
        host.check(as_root("install", *mode, draft, f"{PATH}.new"), AGAIN)
        host.check(as_root("mv", "-f", f"{PATH}.new", PATH), AGAIN)
    finally:
        host.run(("rm", "-f", draft))


def _fetch(host: Host, draft: str, address: str) -> None:
    """Have the host fetch a file."""
    flags = ("--fail", "--silent", "--show-error", "--location", "--proto", "=https")
    words = ("curl", *flags, "--retry", "3", "--output", draft, address)
    done = host.run(words, deadline=DOWNLOAD_SECONDS)
    said = done.err.strip()[-200:]
    if done.code == CURL_DISK:
        raise OpsError(f"{host.name} cannot keep Docker Compose: {said}", f"make room; {AGAIN}")
    if done.code in CURL_UNREACHED:
        raise OpsError(
            f"{host.name} cannot fetch Docker Compose: {said}",
            f"let it reach {address.split('/', 3)[2]}, or put that file at {PATH} yourself",
        )
    if done.code != 0:
        raise OpsError(f"{host.name} cannot fetch {address}: {said}", AGAIN)


def _prove(host: Host, draft: str, sha256: str) -> None:
    """Have the host compare the file with the sum that is pinned here."""
    words = ("sha256sum", "--check", "--status")
    if host.run(words, stdin=f"{sha256}  {draft}\n".encode()).code != 0:
        raise OpsError(
            f"what {host.name} got as Docker Compose {RELEASE} is not what was released "
            "(its sha256 is another); it was removed",
            "see who answers for the download: a proxy that puts in a page of its own?",
        )
