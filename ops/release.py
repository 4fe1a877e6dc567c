"""A release: everything a host needs to run one state of the stack, named and never changed.

A release is a folder on the host. `release.json` is written last, so a folder without it is the
remains of an upload that was cut off. The files hold no secret: secrets lie beside the releases,
each under a name made of its content, and a release lists the names.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any, Self
from urllib.parse import urlsplit

from ops import certificates, egress, nginx, secret_files, stack
from ops.settings import Settings
from ops.sizing import Size

__all__ = [
    "MANIFEST",
    "Release",
    "archive",
    "contents",
    "differences",
    "new_id",
    "replaced_secrets",
]

MANIFEST = "release.json"
ID = "%Y%m%dT%H%M%SZ"

ROTATED = ("mysql_client", "web_client", "backup_client", "kek_passphrase", "webhook_key")
"""Secret files that open the database, or what is in it: after a rotation, the old ones do not."""

# A release folder's compose/compose.yaml names these from its own place.
RELEASES_FOLDER = "../.."
SECRETS_FOLDER = "../../../secrets"
EGRESS_FOLDER = "../egress"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What `release.json` says.

    `origin` is the release that brought this content: its own id, or the one rolled back to.
    `others` are our images but for the server's, by their names on the hosts, with their ids.
    `files` maps the path of each file to a digest of it, `variables` are those of compose.env.
    """

    id: str
    origin: str
    made_by: str
    commit: str
    what: str
    image: str
    image_id: str
    schema: str
    others: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)

    @property
    def images(self) -> dict[str, str]:
        """Our images by their names on the hosts, with their ids."""
        return {self.image: self.image_id, **self.others}

    @property
    def web(self) -> str:
        """The name of the release's server on the network."""
        return f"web-{self.id.lower()}"

    @property
    def compose_files(self) -> list[str]:
        """The Compose files of the release, the base first."""
        names = {name for name in self.files if name.startswith("compose/")}
        return [stack.BASE, *sorted(names - {stack.BASE})]

    @property
    def services(self) -> tuple[str, ...]:
        """The services that run all the time."""
        names = (
            ("web", "nginx") if stack.EXTERNAL_DATABASE in self.files else ("db", "web", "nginx")
        )
        if certificates.OVERLAY in self.files:
            names = (*names, "certificates")
        if egress.OVERLAY in self.files:
            names = (*names, "egress")
        return (*names, "dump", "backup") if stack.BACKUPS in self.files else names

    @property
    def movable(self) -> bool:
        """Whether it takes a database that a restore has put into another volume.

        Those of an older version know only the first one.
        """
        return "DB_VOLUME" in self.variables and "db" in self.services

    def same_content(self, other: "Release") -> bool:
        """Say whether another release would run the very same."""
        return all(
            getattr(self, name) == getattr(other, name)
            for name in (
                *("image", "image_id", "others", "schema", "variables", "files", "secrets"),
            )
        )

    def as_json(self) -> str:
        """Return the text of `release.json`: one line, so that many can be read at once."""
        return json.dumps(asdict(self), sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Self:
        """Read what `as_json` wrote, also an older one; raises TypeError on anything else."""
        known = dict(entry)
        name, identity = (known.pop(f"backup_image{end}", "") for end in ("", "_id"))
        if name:  # there was no other image then
            known["others"] = {name: identity}
        return cls(**known)


def new_id(known: Iterable[str] = (), now: datetime | None = None) -> str:
    """Return an id: the time in UTC, which sorts as text.

    It comes after every known one, also where the clock of whoever made those is ahead of ours.
    """
    times = [datetime.strptime(each, ID).replace(tzinfo=UTC) for each in known]
    earliest = [each + timedelta(seconds=1) for each in times]
    return max([now or datetime.now(UTC), *earliest]).strftime(ID)


def contents(
    settings: Settings, size: Size, images: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the files of a release by their path in its folder, and the variables among them.

    `images` are the names of our images on the hosts, by their names here.
    """
    variables = stack.compose_env(settings, size) | {
        "RELEASES_FOLDER": RELEASES_FOLDER,
        **egress.paths(settings, EGRESS_FOLDER),
        "NGINX_CONFIG_DIGEST": "told",
        **secret_files.paths(settings, SECRETS_FOLDER),
    }
    variables |= {key: images[value] for key, value in variables.items() if key.endswith("_IMAGE")}
    files = {
        name: (settings.root / name).read_text("utf-8") for name in stack.compose_files(settings)
    }
    files["compose.env"] = stack.render_env(variables)
    for folder, texts in {
        "nginx": nginx.files(settings.root, stack.site(settings)),
        "egress": egress.files(settings.root, settings),
    }.items():
        files |= {f"{folder}/{name}": text for name, text in texts.items()}
    return files, variables


def archive(release: Release, files: Mapping[str, str], secrets: Mapping[str, str]) -> bytes:
    """Return a tar of a release and its secrets, to be unpacked in the stack's folder on a host.

    That folder is the owner's alone, and so is the one of the secrets. What containers mount is
    readable to all, as the processes in them have other user numbers, whatever the umask there
    (docs/decisions/0005-secrets-in-containers.md).
    """
    top = f"releases/{release.id}"
    named = {f"{top}/{name}": text for name, text in files.items()}
    named |= {
        f"{top}/release.env": stack.render_env({"WEB_NAME": release.web}),
        **{f"{top}/nginx/{name}": text for name, text in nginx.identity(release.web).items()},
        **{f"secrets/{name}": text for name, text in secrets.items()},
    }
    named[f"{top}/{MANIFEST}"] = release.as_json()
    stream = io.BytesIO()
    folders = {str(folder) for name in named for folder in PurePosixPath(name).parents} - {"."}
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(folders):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o700 if name == "secrets" else 0o755
            tar.addfile(entry)
        for name, text in named.items():
            data = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o444
            tar.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def differences(new: Release, live: Release | None) -> list[str]:
    """Return what would change, a line each; [] when nothing would."""
    if live is None:
        return [f"first release: image {new.image}, schema {new.schema}"]
    lines = []
    kinds, known = _by_kind(new), _by_kind(live)
    for kind in _changed(kinds, known):
        before, after = (each.get(kind, "none@").partition("@")[0] for each in (known, kinds))
        lines.append(f"image: {before} -> {after}")
    if new.schema != live.schema:
        lines.append(f"schema: {live.schema} -> {new.schema}")
    for key in _changed(new.variables, live.variables):
        if not key.endswith(("_FILE", "_DIGEST")):  # those are the secrets'
            was, now = live.variables.get(key, "absent"), new.variables.get(key, "absent")
            lines.append(f"setting: {key} {was!r} -> {now!r}")
    lines += [f"file: {name}" for name in _changed(new.files, live.files) if name != "compose.env"]
    gone = {name.partition("-")[0] for name in set(new.secrets) ^ set(live.secrets)}
    return lines + [f"secret: {name}" for name in sorted(gone)]


def replaced_secrets(old: Release, live: Release) -> list[str]:
    """Return the secrets of an earlier release that others took the place of since."""
    if _database(old) != _database(live):
        return []
    gone = {*old.secrets} - {*live.secrets}
    return [name for name in ROTATED if any(each.startswith(f"{name}-") for each in gone)]


def _database(release: Release) -> str:
    """Return where the database of a release is, whichever driver its image reaches it with."""
    return urlsplit(release.variables.get("DATABASE_URI", "")).netloc


def _by_kind(release: Release) -> dict[str, str]:
    """Return the images as `name@id` by what they are: `web`, `backup` and the like."""
    kinds = {name: name.rpartition(":")[0].rpartition("/")[2] for name in release.images}
    return {kinds[name]: f"{name}@{identity}" for name, identity in release.images.items()}


def _changed(new: Mapping[str, str], old: Mapping[str, str]) -> list[str]:
    return sorted(key for key in {*new, *old} if new.get(key) != old.get(key))
