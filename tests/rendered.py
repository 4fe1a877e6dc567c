"""The stacks of this repository as Compose and NGINX read them, for linters and for tests.

    python -m tests.rendered FOLDER

writes `compose-<stack>.yaml` for each kind of stack, merged and with every value filled in, and
NGINX's configuration of each as one file.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ops import nginx, stack
from ops.settings import Settings
from ops.sizing import Machine, size
from ops.values import Secret
from tests.conftest import BACKUPS, ROOT, with_test_secrets

MACHINE = Machine(2, 3840 * 1024**2)

KINDS: dict[str, Mapping[str, Any]] = {
    "plain": {},
    "guarded": {**BACKUPS, "bind_address": "0.0.0.0", "tls": "private-ca", "auth": "basic"},
    "public": {
        "public_url": "https://mlflow.example.com",
        "bind_address": "0.0.0.0",
        "tls": "acme",
        "auth": "basic",
        "acme_email": "ops@example.com",
    },
    "given": {
        "public_url": "https://mlflow.example.com",
        "bind_address": "0.0.0.0",
        "tls": "files",
        "auth": "basic",
        "tls_certificate_file": str(ROOT / "LICENSE"),
        "tls_key_file": str(ROOT / "README.md"),
    },
    "company": {
        "public_url": "https://mlflow.example.com",
        "bind_address": "0.0.0.0",
        "tls": "private-ca",
        "auth": "oidc",
        "oidc_issuer": "https://login.example.com/realm",
        "oidc_client_id": "mlflow",
        "oidc_client_secret": Secret("of-the-client-of-the-provider"),
    },
    "calling": {
        "artifacts_destination": "s3://bucket",
        "outbound_hosts": "hooks.example.com",
        "open_features": "webhooks",
    },
    "elsewhere": {
        "database_host": "mysql.example.com",
        "database_ca_file": str(ROOT / "LICENSE"),
        "artifacts_destination": "s3://bucket",
    },
}
"""The kinds of stacks: which overlays there are follows from these settings."""


@dataclass(frozen=True, slots=True)
class Tagged:
    """What a later file says of an earlier one: take it away, or put this in its place."""

    tag: str
    value: Any


class Loader(yaml.SafeLoader):
    """YAML with the two tags of Compose."""


def _tagged(loader: Loader, tag: str, node: yaml.Node) -> Tagged:
    if isinstance(node, yaml.SequenceNode):
        return Tagged(tag, loader.construct_sequence(node, deep=True))
    if isinstance(node, yaml.MappingNode):
        return Tagged(tag, loader.construct_mapping(node, deep=True))
    return Tagged(tag, None)


Loader.add_multi_constructor("!", _tagged)


def settings(kind: str, root: Path = ROOT) -> Settings:
    """Return the settings of a kind of stack."""
    return replace(with_test_secrets(Settings(root=root)), **KINDS[kind])


def described(kind: str) -> dict[str, Any]:
    """Return a stack's description, merged and with every value filled in."""
    made = settings(kind)
    variables = stack.compose_env(made, size(made, [MACHINE])) | stack.local_env(made)
    merged: dict[str, Any] = {}
    for name in stack.compose_files(made):
        read = yaml.load((ROOT / name).read_text("utf-8"), Loader)
        merged = merge(merged, filled(read, variables))
    return merged


def filled(read: Any, variables: dict[str, str]) -> Any:
    """Return what was read of a Compose file with the values of its variables."""
    match read:
        case dict():
            return {key: filled(value, variables) for key, value in read.items()}
        case list():
            return [filled(each, variables) for each in read]
        case Tagged(tag, value):
            return Tagged(tag, filled(value, variables))
        case str():
            found = re.sub(r"(?<!\$)\$\{(\w+):?\?\}", lambda name: variables[name[1]], read)
            return found.replace("$$", "$")
    return read


def merge(one: Any, other: Any) -> Any:
    """Return what Compose makes of two files: maps are merged, lists joined.

    https://docs.docker.com/reference/compose-file/merge/
    """
    if isinstance(other, Tagged):
        return None if other.tag == "reset" else other.value
    if isinstance(one, dict) and isinstance(other, dict):
        found = {key: merge(one.get(key), value) for key, value in other.items()}
        gone = {key for key, value in other.items() if _reset(value)}
        return {key: value for key, value in (one | found).items() if key not in gone}
    if isinstance(one, list) and isinstance(other, list):
        return [*one, *(each for each in other if each not in one)]
    return other


def _reset(value: Any) -> bool:
    return isinstance(value, Tagged) and value.tag == "reset"


def nginx_files(kind: str) -> dict[str, str]:
    """Return the configuration by path that NGINX has in a kind of stack."""
    return nginx.files(ROOT, stack.site(settings(kind))) | nginx.identity("web")


def flat(files: dict[str, str], name: str = "nginx.conf") -> Iterator[str]:
    """Yield the lines of NGINX's configuration with what it includes in its place."""
    for line in files[name].splitlines():
        found = re.fullmatch(r"\s*include (\S+);", line)
        if found is None:
            yield line
            continue
        pattern = found[1].replace("*", "[^/]*")
        for each in sorted(each for each in files if re.fullmatch(pattern, each)):
            yield from flat(files, each)


def main(folder: str) -> None:
    """Write all of it."""
    for kind in KINDS:
        text = yaml.safe_dump(described(kind), sort_keys=False)
        (Path(folder) / f"compose-{kind}.yaml").write_text(text, "utf-8")
        configuration = "\n".join(flat(nginx_files(kind)))
        (Path(folder) / f"nginx-{kind}.conf").write_text(configuration, "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
