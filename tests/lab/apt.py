"""Debian packages: where this machine gets them, and how to add some without changing that."""

from __future__ import annotations

import fcntl
import logging
import os
import shlex
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .command import run
from .errors import LabError
from .turn import workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = logging.getLogger(__name__)
ETC, VAR = Path("/etc/apt"), Path("/var/lib")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# A mirror's sid can be past its date; what the machine says of clocks and proxies counts too.
STALE = ("Acquire::Check-Valid-Until", "false")
FORWARDED = ("Acquire::Check-Date", "Acquire::http::Proxy", "Acquire::https::Proxy")
ALONE = threading.Lock()  # images are built side by side, packages are not installed so
PATIENCE = 300  # seconds for another apt on this machine
PATIENT = ("-o", f"DPkg::Lock::Timeout={PATIENCE}", "-o", "Acquire::Retries=3")


@dataclass(frozen=True, slots=True)
class Source:
    """One archive that apt reads: an address and the suites taken from it."""

    address: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    """Split a deb822 file into its stanzas, keys in lower case."""
    stanza: dict[str, str] = {}
    key = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, key = {}, ""
        elif line[0] in " \t":
            stanza[key] = f"{stanza.get(key, '')} {line.strip()}".strip()
        else:
            key, _, value = line.partition(":")
            key = key.strip().lower()
            stanza[key] = value.strip()


def deb822(text: str) -> list[Source]:
    """Read a `.sources` file."""
    found = []
    for stanza in _stanzas(text):
        off = stanza.get("enabled", "yes").lower() in {"no", "false", "0"}
        if off or "deb" not in stanza.get("types", "").split():
            continue
        found += [
            Source(
                address,
                tuple(stanza.get("suites", "").split()),
                tuple(stanza.get("components", "").split()),
                stanza.get("signed-by", ""),
            )
            for address in stanza.get("uris", "").split()
        ]
    return found


def one_line(text: str) -> list[Source]:
    """Read a `.list` file."""
    found = []
    for line in text.splitlines():
        kind, _, rest = line.partition("#")[0].strip().partition(" ")
        rest = rest.strip()
        if kind != "deb" or not rest:
            continue
        options = ""
        if rest.startswith("["):
            options, _, rest = rest[1:].partition("]")
        given = dict(word.partition("=")[::2] for word in options.split())
        address, suite, *components = rest.split()
        found.append(Source(address, (suite,), tuple(components), given.get("signed-by", "")))
    return found


def sources(etc: Path = ETC) -> list[Source]:
    """Read every archive that apt on this machine reads."""
    parts = etc / "sources.list.d"
    lists = [etc / "sources.list", *sorted(parts.glob("*.list"))]
    found = [source for path in lists if path.is_file() for source in one_line(path.read_text())]
    for path in sorted(parts.glob("*.sources")):
        found += deb822(path.read_text())
    return found


def debian(found: list[Source]) -> Source:
    """Choose the Debian archive itself, not its updates and not another vendor's."""
    for source in found:
        plain = [suite for suite in source.suites if "-" not in suite and "/" not in suite]
        named = source.address.rstrip("/").endswith("/debian")
        if plain and "main" in source.components and named:
            return source
    raise LabError(
        "apt on this machine reads no Debian archive",
        "install Docker Engine with Compose v2 and make a registry with the official images "
        "reachable; then nothing has to be built from Debian packages",
    )


def options() -> list[tuple[str, str]]:
    """Give the apt options that a container needs to use the same archive as this machine."""
    dump = run("apt-config", "dump", remedy="run the lab on Debian").splitlines()
    found = [line for line in dump if line.split(" ", 1)[0] in FORWARDED]
    pairs = [shlex.split(line.rstrip(";")) for line in found]
    return [STALE, *((key, value) for key, value in pairs if value)]


def _wait() -> None:
    """Let another apt finish, such as that of a killed run, which does not stop half-way."""
    end = time.monotonic() + PATIENCE
    for name in ("dpkg/lock-frontend", "dpkg/lock", "apt/lists/lock"):
        with (VAR / name).open("ab") as lock:
            while time.monotonic() < end:
                try:
                    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    time.sleep(0.5)
                else:
                    break


def _install(*words: str) -> None:
    """Install packages, after mending whatever an interrupted installation left."""
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    remedy = "run the same apt-get line by hand and mend what it reports, then repeat"
    run("dpkg", "--configure", "-a", remedy=remedy, environ=quiet)
    line = ["apt-get", "install", "-y", "--no-install-recommends", *PATIENT, *words]
    run(*line, remedy=remedy, environ=quiet)


def _private(suite: str, folder: Path) -> list[str]:
    """Describe one more suite, ranked below everything installed, in a folder of our own."""
    for name in ("sources", "preferences", "lists/partial"):
        (folder / name).mkdir(parents=True)
    source = debian(sources())
    signed = source.signed_by or str(KEYRING)
    text = f"Types: deb\nURIs: {source.address}\nSuites: {suite}\nComponents: main\n"
    (folder / "sources" / "lab.sources").write_text(f"{text}Signed-By: {signed}\n")
    for path in (ETC / "sources.list.d").glob("*"):
        if path.suffix in {".list", ".sources"}:
            shutil.copy(path, folder / "sources")
    pin = f"Package: *\nPin: release n={suite}\nPin-Priority: 50\n"
    (folder / "preferences" / "lab").write_text(pin)
    given = [
        f"Dir::Etc::SourceParts={folder / 'sources'}",
        f"Dir::Etc::PreferencesParts={folder / 'preferences'}",
        f"Dir::State::Lists={folder / 'lists'}",
        "Dir::Cache::pkgcache=",
        "Dir::Cache::srcpkgcache=",
        "=".join(STALE),
    ]
    return [word for option in given for word in ("-o", option)]


def install(*packages: str, suite: str = "") -> None:
    """Install packages of this machine's release, or of another suite without subscribing to it."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise LabError(
            f"{', '.join(packages)} missing, and only root on Debian can have the lab install it",
            f"install {' and '.join(packages)} (or what your system calls them), then repeat",
        )
    remedy = "check that apt-get update works on this machine"
    _wait()
    if not suite:
        run("apt-get", "update", *PATIENT, remedy=remedy)
        _install(*packages)
        return
    with workspace() as folder:
        folder.chmod(0o755)  # apt drops its privileges to read its lists
        given = _private(suite, folder)
        run("apt-get", "update", *PATIENT, *given, remedy=remedy)
        _install(*given, "-t", suite, *packages)


def unpack(package: str, suite: str, target: Path) -> None:
    """Put the files of a package of some suite into a folder; nothing is installed."""
    remedy = f"install {package} (or what your system calls it), then repeat"
    with workspace() as folder:
        folder.chmod(0o755)  # apt drops its privileges to read its lists
        given = _private(suite, folder)
        run("apt-get", "update", *given, "-o", "Acquire::Retries=3", remedy=remedy)
        # It writes to where it is started.
        fetch = ["apt-get", "download", *given, "-o", "APT::Sandbox::User=root"]
        run("env", "-C", str(folder), *fetch, f"{package}/{suite}", remedy=remedy)
        [file] = folder.glob("*.deb")
        run("dpkg-deb", "--extract", str(file), str(target), remedy=remedy)


def provide(program: str, *packages: str) -> None:
    """Install the packages that bring a program, unless it is there."""
    with ALONE:
        if shutil.which(program) is None:
            LOG.info("installing %s", " and ".join(packages))
            install(*packages)
