"""NGINX's configuration as its container reads it: rendered from `nginx/`, switched by a pointer.

The container mounts a folder of releases and starts from `live/nginx/nginx.conf`. Locally `live` is
a folder; on a host it is a link to the release that serves, so that a new configuration can lie
beside the old one, be tested by the running NGINX, and take its place at once.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = [
    "CANDIDATE",
    "CONFIG",
    "HOLD",
    "LIVE",
    "NEXT",
    "can_hold",
    "files",
    "holding",
    "identity",
    "upcoming",
]

LIVE = "live"
"""The name of the release that NGINX serves from."""

NEXT = "next.conf"
"""The file beside the releases that names a server before it is switched to."""

HOLD = "hold.conf"
"""The file beside the releases that keeps writes waiting (nginx/snippets/held.conf)."""

MOUNT = "/etc/nginx/releases"
CONFIG = f"{MOUNT}/{LIVE}/nginx/nginx.conf"
CANDIDATE = f"{MOUNT}/{{release}}/nginx/nginx.conf"
PORT = 5000


def files(root: Path, site: Mapping[str, str]) -> dict[str, str]:
    """Return every file of the configuration but those of `identity`, by its path in the folder.

    Templates keep NGINX's own `$variables`; names in braces are ours, those of `site`. Those in
    templates/tls are for a server that speaks TLS only, those in templates/login for one with a
    login, of the kind that has a folder of its own.
    """
    top = root / "nginx"
    folders = {"templates", site["LISTEN"], site["LOGIN"]}
    if site["LOGIN"] != "none":
        folders.add("login")
    found = {}
    for file in sorted(path for path in top.rglob("*") if path.is_file()):
        name, text = str(file.relative_to(top)), file.read_text("utf-8")
        if file.suffix == ".template":
            if file.parent.name not in folders:
                continue
            name = f"conf.d/{file.stem}"
            for key, value in site.items():
                text = text.replace(f"${{{key}}}", value)
        found[name] = text
    return found


def identity(web: str) -> dict[str, str]:
    """Return the two files that name a release's server: where requests go, and what to say."""
    return {
        "upstream.conf": f"server {web}:{PORT} resolve max_fails=0;\n",
        "release.conf": f'map "" $release {{ default "{web}"; }}\n',
    }


def upcoming(web: str) -> str:
    """Return `next.conf`: a server whose address is looked up, and which gets no request yet."""
    return f"server {web}:{PORT} resolve down;\n"


def holding(seconds: int, note: str) -> str:
    """Return `hold.conf`: clients come again after `seconds`; the note is one line of text."""
    return f"set $held {seconds};\n# {note}\n"


def can_hold(paths: Iterable[str]) -> bool:
    """Say whether a configuration with these files knows of `hold.conf`."""
    return "nginx/snippets/held.conf" in paths
