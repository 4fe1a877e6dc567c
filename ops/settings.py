"""Every setting of a stack: read once from `.env` and the environment, checked, frozen."""

import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from ops import envfile, values
from ops.errors import refusal
from ops.values import Secret

__all__ = ["ADMIN", "GENERATED", "ROOT", "Settings", "of_a_client"]

ROOT = Path(__file__).resolve().parent.parent

GENERATED = (
    *("MYSQL_PASSWORD", "MYSQL_ROOT_PASSWORD", "KEK_PASSPHRASE"),
    *("MYSQL_WEB_PASSWORD", "BACKUP_PASSWORD"),
    *("ADMIN_PASSWORD", "SESSION_KEY", "WEBHOOK_KEY", "CA_SECRET"),
)
"""Secrets made on first use and kept in `.env`; losing them loses what they lock."""

LOCKING = ("MYSQL_PASSWORD", "MYSQL_ROOT_PASSWORD", "KEK_PASSPHRASE")
"""Those of them that a database which is there already was made with, whatever its age."""

ADMIN = "admin"
"""The name of the user that MLflow is made with."""

PARSERS: Mapping[str, Callable[[str], Any]] = {
    "STACK_NAME": values.stack_name,
    "PUBLIC_URL": values.public_url,
    "BIND_ADDRESS": values.address,
    "HTTP_PORT": values.port,
    "HTTPS_PORT": values.port,
    "TLS": values.choice("private-ca", "acme", "files", "off"),
    "ACME_EMAIL": values.word,
    "ACME_DIRECTORY": values.endpoint,
    "ACME_CA_FILE": values.readable_file,
    "TLS_CERTIFICATE_FILE": values.readable_file,
    "TLS_KEY_FILE": values.readable_file,
    "AUTH": values.choice("basic", "oidc", "none"),
    "OIDC_ISSUER": values.issuer,
    "OIDC_CLIENT_ID": values.word,
    "OIDC_CLIENT_SECRET": values.secret,
    "OIDC_CA_FILE": values.readable_file,
    "OIDC_SCOPES": values.words,
    "OIDC_GROUPS_CLAIM": values.word,
    "OIDC_GROUPS": values.names,
    "OIDC_ADMIN_GROUPS": values.names,
    "ALLOW_INSECURE": values.flag,
    "OPEN_FEATURES": values.choices("gateway", "signup", "webhooks"),
    "DATA_FOLDER": values.folder,
    "ARTIFACTS_DESTINATION": values.s3_uri,
    "ARTIFACT_ACCESS": values.choice("proxied", "presigned", "direct"),
    "S3_ENDPOINT_URL": values.endpoint,
    "S3_REGION": values.word,
    "S3_ACCESS_KEY_ID": values.word,
    "S3_SECRET_ACCESS_KEY": Secret,
    "OUTBOUND_HOSTS": values.server_addresses,
    "DATABASE_HOST": values.server_address,
    "DATABASE_CA_FILE": values.readable_file,
    "BACKUPS_DESTINATION": values.s3_uri,
    "BACKUP_RECIPIENTS": values.recipients,
    "BACKUP_AT": values.time_of_day,
    "WEB_WORKERS": values.workers,
    "JOB_EXECUTION": values.flag,
    "WEB_MEMORY_LIMIT": values.memory,
    "DB_MEMORY_LIMIT": values.memory,
    "NGINX_MEMORY_LIMIT": values.memory,
    "KEEP_RELEASES": values.count(1, 100),
    "DRAIN_SECONDS": values.count(0, 86400),
    "WATCH_SECONDS": values.count(0, 3600),
    "BUILD_CA_FILE": values.readable_file,
    "BUILD_PIP_CONFIG_FILE": values.readable_file,
    "DEPLOY_HOST": values.ssh_hosts,
    "DEPLOY_USER": values.user_name,
    "DEPLOY_PORT": values.port,
    "DEPLOY_KEY": values.key_file,
    "REGISTRY": values.registry,
    **dict.fromkeys(GENERATED, values.secret),
}


OF_A_CLIENT = ("USERNAME", "PASSWORD", "SERVER_CERT_PATH")

LOCAL_NAMES = (None, "localhost", "127.0.0.1", "::1")
"""Host names of a PUBLIC_URL, or of none, that lead to the machine they are used on."""

UNQUOTABLE = r"[\x00-\x1f\x7f'\\\ud800-\udfff]"
UNQUOTABLE_MESSAGE = "holds a line break, control character, single quote or backslash"
"""What no env file carries to every reader alike (docs/decisions/0004-one-env-dialect.md)."""

HIDDEN = {
    *("BACKUP_RECIPIENTS", "PUBLIC_URL", "REGISTRY", "S3_ENDPOINT_URL", "S3_SECRET_ACCESS_KEY"),
    *("OIDC_ISSUER", "OIDC_CLIENT_SECRET"),
    *GENERATED,
}
"""Keys whose refused value is never shown: it may hold a password or a private key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `.env` and the environment ask for; each field is the key of the same name.

    An empty string stands for "not set", but for those whose default follows from others (below).
    `.env.example` says what each one means.
    """

    root: Path = ROOT
    stack_name: str = "mlflow-compose"
    public_url: str = ""
    bind_address: str = "127.0.0.1"
    http_port: int = 0
    https_port: int = 443
    tls: str = ""
    acme_email: str = ""
    acme_directory: str = "https://acme-v02.api.letsencrypt.org/directory"
    acme_ca_file: str = ""
    tls_certificate_file: str = ""
    tls_key_file: str = ""
    auth: str = ""
    oidc_issuer: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: Secret | None = None
    oidc_ca_file: str = ""
    oidc_scopes: str = "openid email profile"
    oidc_groups_claim: str = "groups"
    oidc_groups: str = "mlflow"
    oidc_admin_groups: str = "mlflow-admin"
    allow_insecure: bool = False
    open_features: str = ""
    data_folder: str = "data"
    artifacts_destination: str = ""
    artifact_access: str = "proxied"
    s3_endpoint_url: str = ""
    s3_region: str = ""
    s3_access_key_id: str = ""
    s3_secret_access_key: Secret | None = None
    outbound_hosts: str = ""
    database_host: str = ""
    database_ca_file: str = ""
    backups_destination: str = ""
    backup_recipients: str = ""
    backup_at: str = "03:00"
    web_workers: int | None = None
    job_execution: bool = False
    web_memory_limit: str = ""
    db_memory_limit: str = ""
    nginx_memory_limit: str = "128m"
    keep_releases: int = 5
    drain_seconds: int = 600
    watch_seconds: int = 15
    build_ca_file: str = ""
    build_pip_config_file: str = ""
    deploy_host: str = ""
    deploy_user: str = ""
    deploy_port: int | None = None
    deploy_key: str = ""
    registry: str = ""
    mysql_password: Secret | None = None
    mysql_root_password: Secret | None = None
    kek_passphrase: Secret | None = None
    mysql_web_password: Secret | None = None
    backup_password: Secret | None = None
    admin_password: Secret | None = None
    session_key: Secret | None = None
    webhook_key: Secret | None = None
    ca_secret: Secret | None = None

    def __post_init__(self) -> None:
        """Fill in what was not set and follows from who reaches the stack."""
        here = self.listens_here
        public = not here or urlsplit(self.public_url).hostname not in LOCAL_NAMES
        given = {"tls": self.tls or ("off" if here else "private-ca")}
        given["auth"] = self.auth or ("basic" if public else "none")
        for name, value in given.items():
            object.__setattr__(self, name, value)
        port = self.http_port or (5050 if self.tls == "off" else 80)
        object.__setattr__(self, "http_port", port)

    @classmethod
    def load(cls, root: Path = ROOT, environ: Mapping[str, str] | None = None) -> Self:
        """Read `root/.env`, then the environment over it.

        Raises one `OpsError` (code 2) that lists every problem found.
        """
        environ = os.environ if environ is None else environ
        problems: list[str] = []
        given = {
            key: (f".env: {key}", text)
            for key, text in envfile.read(root / ".env", PARSERS, problems)
        }
        given |= {key: (f"environment: {key}", environ[key]) for key in PARSERS if environ.get(key)}
        fields: dict[str, Any] = {}
        for key, (where, text) in given.items():
            try:
                if text:
                    fields[key.lower()] = _parse(key, text)
            except ValueError as problem:
                shown = "" if key in HIDDEN else f" {text!r}"
                problems.append(f"{where}{shown} {problem}")
        settings = cls(root=root, **fields)
        problems.extend(settings._contradictions())
        if problems:
            count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the settings"
            raise refusal(
                "\n  ".join([count, *problems]), "correct .env; .env.example explains every key"
            )
        return settings

    def _contradictions(self) -> Iterator[str]:
        """Yield what no single key shows."""
        if not self.artifacts_destination:
            if self.artifact_access != "proxied":
                yield f"ARTIFACT_ACCESS={self.artifact_access} needs ARTIFACTS_DESTINATION=s3://…"
            if self.s3_endpoint_url and not self.backups_destination:
                yield "S3_ENDPOINT_URL needs ARTIFACTS_DESTINATION or BACKUPS_DESTINATION=s3://…"
        elif self.artifact_access == "presigned" and not (self.s3_endpoint_url or self.s3_region):
            # The server follows S3 to the region of a bucket; an address is signed for one.
            yield "ARTIFACT_ACCESS=presigned needs S3_REGION, where the bucket is"
        if bool(self.s3_access_key_id) != bool(self.s3_secret_access_key):
            yield "S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY go together: set both or neither"
        yield from self._contradictions_of_the_door()
        yield from self._contradictions_of_sign_on()
        yield from self._contradictions_of_backups()
        if bool(self.database_host) != bool(self.database_ca_file):
            yield "DATABASE_HOST and DATABASE_CA_FILE go together: set both or neither"
        if self.database_host and self.mysql_password is None:
            yield "DATABASE_HOST needs MYSQL_PASSWORD: the password of the user mlflow there"
        if re.search(UNQUOTABLE, str(self.data)):
            yield f"DATA_FOLDER {str(self.data)!r} {UNQUOTABLE_MESSAGE}: move the repository"
        if re.search("[?#%]", str(self.data)):  # they end or change a path in a database address
            yield f"DATA_FOLDER {str(self.data)!r} holds a ?, # or %: use another folder"

    def _contradictions_of_the_door(self) -> Iterator[str]:
        reached = f"BIND_ADDRESS {self.bind_address} is reached by others"
        if not self.allow_insecure and not self.listens_here:
            if self.tls == "off":
                yield f"{reached}, and TLS=off sends what they log in with in clear: {_INSIST}"
            if self.auth == "none":
                yield f"{reached}, and AUTH=none lets all of them in: {_INSIST}"
        given = (bool(self.tls_certificate_file), bool(self.tls_key_file))
        if given != ((self.tls == "files"),) * 2:
            yield "TLS=files, TLS_CERTIFICATE_FILE and TLS_KEY_FILE go together: set all or none"
        if self.tls != "off":
            if self.http_port == self.https_port:
                yield "HTTP_PORT and HTTPS_PORT are one: set HTTP_PORT to another, such as 80"
            if self.public_url.startswith("http:"):
                yield f"PUBLIC_URL begins with http: and TLS={self.tls}: write https:"

    def _contradictions_of_sign_on(self) -> Iterator[str]:
        if self.auth != "oidc":
            return
        needed = ("OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET")
        missing = [key for key in needed if not getattr(self, key.lower())]
        if missing:
            yield f"AUTH=oidc needs {', '.join(missing)}: from your identity provider"
        if not self.url.startswith("https:") and not self.allow_insecure:
            yield (
                f"AUTH=oidc sends people back to {self.url}, and their sessions in clear: "
                "set PUBLIC_URL='https://…'"
            )

    def _contradictions_of_backups(self) -> Iterator[str]:
        if self.backups_destination and self.database_host:
            yield (
                "BACKUPS_DESTINATION is for the stack's own MySQL, and DATABASE_HOST is another's: "
                "use the backups that come with it"
            )
        if _overlap(self.backups_destination, self.artifacts_destination):
            yield (
                "BACKUPS_DESTINATION and ARTIFACTS_DESTINATION overlap, and the server may delete "
                "artifacts: give each a bucket, or a folder, of its own"
            )

    @property
    def url(self) -> str:
        """The address clients and browsers use, without a trailing slash."""
        return self.public_url or f"{self.scheme}://localhost:{self.site_port}"

    @property
    def scheme(self) -> str:
        """What NGINX speaks; where another proxy is in front of it, not what clients speak."""
        return "http" if self.tls == "off" else "https"

    @property
    def site_port(self) -> int:
        """The port of the machine at which NGINX serves the site."""
        return self.http_port if self.tls == "off" else self.https_port

    @property
    def listens_here(self) -> bool:
        """Whether only programs of the machine itself reach the front door."""
        return ip_address(self.bind_address).is_loopback

    @property
    def data(self) -> Path:
        """The folder that holds everything this stack writes on this machine."""
        return self.root / Path(self.data_folder).expanduser()

    @property
    def features(self) -> list[str]:
        """The parts of MLflow that NGINX would close, and does not."""
        opened = self.open_features.split(",") if self.open_features else []
        return [*opened, *(["jobs"] if self.job_execution else [])]

    @property
    def deploy_hosts(self) -> list[str]:
        """The hosts to deploy to, as they were written."""
        return self.deploy_host.split(",") if self.deploy_host else []

    @property
    def recipients(self) -> list[str]:
        """The public keys that backups are encrypted for."""
        return self.backup_recipients.split(",") if self.backup_recipients else []

    def require_for_backups(self) -> None:
        """Refuse a place for backups that the service could not write to, or nobody read."""
        self.require_recipients()
        if self.backups_destination and not (self.s3_endpoint_url or self.s3_region):
            raise refusal(
                "BACKUPS_DESTINATION is set, and S3_REGION does not say where its bucket is",
                "set S3_REGION in .env, such as eu-central-1",
            )

    def require_recipients(self) -> None:
        """Refuse a place for backups without a key to encrypt them for.

        Not when settings are read: `invoke backup-key` has to read them before there is a key.
        """
        if self.backups_destination and not self.backup_recipients:
            raise refusal(
                "BACKUPS_DESTINATION is set, and BACKUP_RECIPIENTS names no key to encrypt for",
                "make one: invoke backup-key",
            )

    @property
    def personal(self) -> Path:
        """The folder of what a person keeps for such stacks, apart from every repository.

        https://specifications.freedesktop.org/basedir-spec/latest/ (a relative path is void)
        """
        given = Path(os.environ.get("XDG_CONFIG_HOME", ""))
        base = given if given.is_absolute() else Path("~/.config").expanduser()
        return base / "mlflow-compose"

    @property
    def known_hosts(self) -> Path:
        """The file that says which hosts are the right ones."""
        return self.data / "known_hosts"

    def used_secrets(self) -> list[str]:
        """Return the generated secrets that this stack needs."""
        used = {
            "MYSQL_ROOT_PASSWORD": not self.database_host,
            "MYSQL_WEB_PASSWORD": not self.database_host,
            "BACKUP_PASSWORD": bool(self.backups_destination),
            "ADMIN_PASSWORD": self.auth != "none",
            "SESSION_KEY": self.auth != "none",
            "CA_SECRET": self.tls == "private-ca",
        }
        return [key for key in GENERATED if used.get(key, True)]

    def missing_secrets(self) -> list[str]:
        """Return those of them that `.env` does not hold yet."""
        return [key for key in self.used_secrets() if getattr(self, key.lower()) is None]

    def lost_secrets(self) -> list[str]:
        """Return those of them without which a database that is there already stays locked."""
        return [key for key in self.missing_secrets() if key in LOCKING]

    def with_secrets(self) -> Self:
        """Return these settings with every missing secret made and kept in `.env` (0600)."""
        made = {key: secrets.token_urlsafe(24) for key in self.missing_secrets()}
        if not made:
            return self
        self.keep(made)
        fields: dict[str, Any] = {key.lower(): Secret(value) for key, value in made.items()}
        return replace(self, **fields)

    def keep(self, values: Mapping[str, str]) -> None:
        """Write values to `.env` (0600), in place of the lines that set the same keys."""
        file = (self.root / ".env").resolve()  # a link stays a link
        text = file.read_text("utf-8") if file.exists() else _HEADER
        envfile.write_private(file, envfile.with_values(text, values))

    @staticmethod
    def overridden(key: str) -> bool:
        """Say whether the environment sets a key, whatever `.env` says."""
        return bool(os.environ.get(key))

    def note(self, line: str) -> None:
        """Add a comment to `.env`, unless it is there."""
        file = (self.root / ".env").resolve()
        text = file.read_text("utf-8")
        if f"# {line}\n" not in text:
            envfile.write_private(file, f"{text}# {line}\n")


_INSIST = "leave it out, or say ALLOW_INSECURE=true (docs/front-door.md)"

_HEADER = """\
# Settings of this stack; .env.example explains every key. Keep this file: it holds the only copy
# of the secrets below.
"""


def of_a_client() -> list[str]:
    """Return the user name, the password and the CA's file that an MLflow client is to use here.

    https://mlflow.org/docs/latest/self-hosting/security/basic-http-auth/
    """
    return [os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in OF_A_CLIENT]


def _overlap(one: str, other: str) -> bool:
    """Return whether one place in S3 is within the other; without one there is nothing to be in."""
    return bool(one and other) and (
        f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
    )


def _parse(key: str, text: str) -> Any:  # noqa: ANN401 - the type is the field's
    """Return the value of a key, or raise ValueError with what is wrong with it."""
    if re.search(UNQUOTABLE, text):
        raise ValueError(UNQUOTABLE_MESSAGE)
    return PARSERS[key](text)
