"""The model of the stack: settings turned into what Compose, NGINX and MLflow read. Pure."""

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from ops import certificates, database, digests, egress, envfile, nginx, oidc, secret_files
from ops.settings import Settings
from ops.sizing import Size

__all__ = [
    "BACKUPS",
    "BASE",
    "BASES",
    "MYSQL_SERIES",
    "NGINX_IMAGE",
    "OWN",
    "SERVICES",
    "backup_image",
    "build",
    "compose",
    "compose_env",
    "compose_files",
    "database_volume",
    "folder",
    "own_images",
    "server_env",
    "services",
    "sizes",
    "web_image",
]

SERVICES = ("db", "migrate", "web", "nginx")

BASE = "compose/compose.yaml"
"""The file of every stack."""

EXTERNAL_DATABASE = "compose/external-database.yaml"
"""The overlay of a stack whose MySQL is elsewhere."""

BACKUPS = "compose/backups.yaml"
"""The overlay of a stack whose MySQL is backed up."""

TLS = "compose/tls.yaml"
"""The overlay of a stack whose NGINX ends TLS."""

MYSQL_SERIES = "9.7"
"""The release series of the `db` image; a test compares it with compose.yaml."""

NGINX_IMAGE = "nginx:1.30"

BASES = (f"mysql:{MYSQL_SERIES}", NGINX_IMAGE, "httpd:2.4")
"""The images of the Compose files that are not ours; a test compares them with these."""

DEFAULT_PORTS = {"http": 80, "https": 443}
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
PLUGIN = tuple(
    f"mlflow/plugin/{name}"
    for name in (
        *("mlflow_compose-1.dist-info/METADATA", "mlflow_compose-1.dist-info/entry_points.txt"),
        *(
            f"mlflow_compose/{module}.py"
            for module in (
                *("__init__", "application", "artifacts", "gate", "login", "mysql", "proven"),
                *("rendering", "serving", "stores", "tracking"),
            )
        ),
    )
)
"""What the server has of our own."""

IMAGE_INPUTS = (
    "mlflow/Dockerfile",
    *(f"mlflow/{name}.txt" for name in ("requirements", "driver", "driver-build")),
    "mlflow/entrypoint.sh",
    *PLUGIN,
    "ops/migration.py",
)
BACKUP_MODULES = (
    *("errors", "values", "envfile", "settings", "database", "scopes", "permissions", "aws"),
    *("buckets", "gtids", "binlog", "chain", "generations", "seals", "tarball", "vault"),
    *("manifest", "donor", "base", "dump", "shipping", "fetching", "keeper"),
)
"""What the backup service has of this package; a test compares it with what those import."""

BACKUP_INPUTS = (
    "backup/Dockerfile",
    "backup/Dockerfile.dockerignore",
    "backup/requirements.txt",
    *(f"ops/{name}.py" for name in BACKUP_MODULES),
)
BACKUP_MEMORY = 256
"""MiB of the backup service: what it holds of a backup at a time does not grow with it."""

OWN = "mlflow-compose/"
"""How the names of our images begin on the machine that builds them."""

FOLDERS = {"web": "mlflow"}
"""Where the Dockerfile of an image is, if not in a folder of its name."""

ARTIFACTS_VOLUME = "/var/lib/mlflow/artifacts"


def folder(settings: Settings) -> Path:
    """Return the folder of the rendered files of the compose stack."""
    return settings.data / "compose"


def services(settings: Settings) -> tuple[str, ...]:
    """Return the services of a stack, in the order in which they start."""
    names = SERVICES[1:] if settings.database_host else SERVICES
    if _makes_certificates(settings):
        names = (*names, "certificates")
    if egress.rules(settings):
        names = (*names, "egress")
    return (*names, "dump", "backup") if settings.backups_destination else names


def compose_files(settings: Settings) -> tuple[str, ...]:
    """Return the Compose files of a stack, from the repository's root: the base comes first."""
    given = {
        EXTERNAL_DATABASE: bool(settings.database_host),
        BACKUPS: bool(settings.backups_destination),
        oidc.OVERLAY: settings.auth == "oidc",
        egress.OVERLAY: bool(egress.rules(settings)),
        egress.WAY_OUT: bool(egress.OPEN_ENDED & {*settings.features}),
        TLS: settings.tls != "off",
        certificates.OVERLAY: _makes_certificates(settings),
        certificates.PUBLIC_CA: settings.tls == "acme",
        certificates.FILES: settings.tls == "files",
    }
    return (BASE, *(name for name, wanted in given.items() if wanted))


def own_images(settings: Settings) -> tuple[str, ...]:
    """Return the names of the images that are built here; the server's comes first."""
    others = {
        backup_image(settings): bool(settings.backups_destination),
        certificates_image(settings): _makes_certificates(settings),
    }
    return (web_image(settings), *(name for name, wanted in others.items() if wanted))


def _makes_certificates(settings: Settings) -> bool:
    return settings.tls in ("private-ca", "acme")


def database_volume(settings: Settings) -> str:
    """Return the volume that MySQL's data is in, unless a restore has put another in its place."""
    return f"{settings.stack_name}_db"


def compose(settings: Settings, *words: str) -> tuple[str, ...]:
    """Return a `docker compose` line; its files are absolute, so it works from anywhere."""
    files = [("--file", str(settings.root / name)) for name in compose_files(settings)]
    environ = ("--env-file", str(folder(settings) / "compose.env"))
    return ("docker", "compose", *environ, *(word for pair in files for word in pair), *words)


def build(settings: Settings, image: str) -> tuple[str, ...]:
    """Return the `docker build` line of one of our images (needs BuildKit)."""
    given = {"ca": settings.build_ca_file, "pip_config": settings.build_pip_config_file}
    secrets = [f"--secret=id={name},src={file}" for name, file in given.items() if file]
    kind = image.removeprefix(OWN).partition(":")[0]
    dockerfile = str(settings.root / FOLDERS.get(kind, kind) / "Dockerfile")
    return (
        *("docker", "build", "--tag", image, "--file", dockerfile),
        *secrets,
        str(settings.root),
    )


def compose_env(settings: Settings, size: Size) -> dict[str, str]:
    """Return the variables of compose.yaml that are the same wherever the stack runs."""
    return {
        "STACK_NAME": settings.stack_name,
        "WEB_IMAGE": web_image(settings),
        **sizes(size),
        "NGINX_MEMORY_LIMIT": settings.nginx_memory_limit,
        "BIND_ADDRESS": settings.bind_address,
        "HTTP_PORT": str(settings.http_port),
        "AUTH": settings.auth,
        "SECRETS_DIGEST": secret_files.digest(settings),
        "ALLOWED_HOSTS": ",".join(allowed_hosts(settings)),
        "CORS_ORIGINS": settings.url,
        "ARTIFACTS_DESTINATION": settings.artifacts_destination or ARTIFACTS_VOLUME,
        "DEFAULT_ARTIFACT_ROOT": default_artifact_root(settings),
        "ARTIFACT_ACCESS": settings.artifact_access,
        "DATABASE_URI": database.uri(settings),
        "S3_ENDPOINT_URL": settings.s3_endpoint_url,
        "S3_REGION": settings.s3_region,
        "JOB_EXECUTION": str(settings.job_execution).lower(),
        "DB_VOLUME": database_volume(settings),
        # What the backup service has not stored yet, nobody may delete; it deletes the rest.
        "DB_EXPIRE_LOGS": "OFF" if settings.backups_destination else "ON",
        **oidc.variables(settings),
        **_tls(settings),
        **_backups(settings),
        **_egress(settings),
    }


def _egress(settings: Settings) -> dict[str, str]:
    files = egress.files(settings.root, settings)
    if not files:
        return {}
    return {"EGRESS_DIGEST": digests.texts(files), "EGRESS_MEMORY_LIMIT": f"{egress.LIMIT}m"}


def _tls(settings: Settings) -> dict[str, str]:
    if settings.tls == "off":
        return {}
    found = {"HTTPS_PORT": str(settings.https_port)}
    if _makes_certificates(settings):
        found |= {
            "CERTIFICATES_IMAGE": certificates_image(settings),
            "CERTIFICATES_MEMORY_LIMIT": f"{certificates.MEMORY}m",
            "CERTIFICATE_NAMES": ",".join(certificates.names(settings)),
            "TLS": settings.tls,
        }
    if settings.tls == "files":
        found["CERTIFICATE_DIGEST"] = digests.texts(certificates.given(settings))
    if settings.tls == "acme":
        found |= {"ACME_DIRECTORY": settings.acme_directory, "ACME_EMAIL": settings.acme_email}
    return found


def _backups(settings: Settings) -> dict[str, str]:
    if not settings.backups_destination:
        return {}
    return {
        "BACKUP_IMAGE": backup_image(settings),
        "BACKUPS_DESTINATION": settings.backups_destination,
        "BACKUP_RECIPIENTS": settings.backup_recipients,
        "BACKUP_AT": settings.backup_at,
        "BACKUP_MEMORY_LIMIT": f"{BACKUP_MEMORY}m",
        "ARTIFACTS_PLACE": settings.artifacts_destination,
        "KEK_FINGERPRINT": digests.fingerprint(
            secret_files.revealed(settings.kek_passphrase), settings.stack_name
        ),
    }


def sizes(size: Size) -> dict[str, str]:
    """Return the variables of compose.yaml that follow from the machine."""
    return {
        "WEB_WORKERS": str(size.web_workers),
        "WEB_POOL_SIZE": str(size.pool_size),
        "WEB_MAX_OVERFLOW": str(size.max_overflow),
        "WEB_MEMORY_LIMIT": f"{size.web_memory}m",
        "DB_MEMORY_LIMIT": f"{size.db_memory}m",
        "DB_BUFFER_POOL": f"{size.buffer_pool}M",
        "DB_MAX_CONNECTIONS": str(size.max_connections),
    }


def local_env(settings: Settings) -> dict[str, str]:
    """Return the variables that say where the files of a stack on this machine are."""
    here = folder(settings)
    return {
        "WEB_NAME": "web",
        "RELEASES_FOLDER": str(here / "releases"),
        **egress.paths(settings, str(here / "egress")),
        "NGINX_CONFIG_DIGEST": digests.texts(nginx.files(settings.root, site(settings))),
        **secret_files.paths(settings, str(here / "secrets")),
    }


def render_env(variables: dict[str, str]) -> str:
    """Return an env file that Compose reads back as given."""
    return "".join(f"{key}={envfile.quote(value)}\n" for key, value in variables.items())


def default_artifact_root(settings: Settings) -> str:
    """Return where new experiments keep artifacts: behind the server, or S3 itself.

    MLflow writes it into each experiment when it is made; a change is for new experiments only.
    """
    if settings.artifact_access == "direct":
        return settings.artifacts_destination
    return "mlflow-artifacts:/"


def host_names(settings: Settings) -> list[str]:
    """Return the names NGINX answers to: the public one and this machine's own.

    NGINX compares them without port and in any letter case. The loopback names cannot be claimed
    by a foreign page (DNS rebinding brings its own name), and tunnels arrive under them.
    """
    host = urlsplit(settings.url).netloc.removesuffix(f":{_port(settings.url)}")
    return _unique([host, *LOOPBACK])


def allowed_hosts(settings: Settings) -> list[str]:
    """Return the Host headers MLflow accepts: each name with and without port, in any case.

    MLflow compares the whole header, port and letter case included, unless the pattern holds a
    `*`; it then uses `fnmatch` (mlflow/server/security_utils.py, 3.17.2). The star inside the
    first character class matches only itself, which no host name holds.
    """
    port = _port(settings.url)
    listening = [f":{port}", f":{settings.site_port}"]
    return [
        _any_case(name + suffix)
        for name in host_names(settings)
        for suffix in ["", *_unique(listening)]
    ]


def site(settings: Settings) -> dict[str, str]:
    """Return the words that NGINX's templates have in braces."""
    public = urlsplit(settings.url).hostname or ""
    return {
        "SERVER_NAMES": " ".join(host_names(settings)),
        "PUBLIC_URL": settings.url,
        "LOGIN": settings.auth,
        "LISTEN": "plain" if settings.tls == "off" else "tls",
        **certificates.paths(settings),
        # A client that asks for an address names no server in its handshake.
        "UNKNOWN": "address" if re.fullmatch(r"[0-9.]+|.*:.*", public) else "name",
        "ORIGINS": " ".join(f'"{origin}" 0;' for origin in origins(settings)),
        "OPEN_FEATURES": " ".join(f'{name} "";' for name in settings.features),
        "INLINE_SCRIPTS": oidc.INLINE_SCRIPTS if settings.auth == "oidc" else "",
        "PUBLIC_PORT": str(_port(settings.url)),
    }


def origins(settings: Settings) -> list[str]:
    """Return the origins of this server's own pages, as browsers send them: no default port."""
    port = settings.site_port
    suffix = "" if port == DEFAULT_PORTS[settings.scheme] else f":{port}"
    own = [f"{settings.scheme}://{name}{suffix}" for name in LOOPBACK]
    public = settings.url.removesuffix(f":{DEFAULT_PORTS[urlsplit(settings.url).scheme]}")
    return _unique([public, *own])


def _any_case(name: str) -> str:
    classes = [
        f"[{char}{char.upper()}]" if char.isalpha() else "[[]" if char == "[" else char
        for char in name
    ]
    first = next((i for i, text in enumerate(classes) if len(text) > 1 and text != "[[]"), None)
    if first is None:
        return name
    classes[first] = classes[first].replace("]", "*]")
    return "".join(classes)


def _port(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or DEFAULT_PORTS[parts.scheme]


def _unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def server_env(settings: Settings) -> dict[str, str]:
    """Return the environment of an embedded server: what compose.yaml says for `web`."""
    files = settings.data / "embedded"
    env = {
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{files / 'mlflow.db'}",
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(allowed_hosts(settings)),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": settings.url,
        "MLFLOW_ARTIFACTS_DESTINATION": settings.artifacts_destination or str(files / "artifacts"),
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": default_artifact_root(settings),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": str(settings.job_execution).lower(),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_CRYPTO_KEK_PASSPHRASE": secret_files.revealed(settings.kek_passphrase),
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": secret_files.webhook_key(settings),
    }
    if settings.s3_endpoint_url:
        env["MLFLOW_S3_ENDPOINT_URL"] = settings.s3_endpoint_url
    if settings.s3_region:
        env["AWS_DEFAULT_REGION"] = settings.s3_region
    if settings.s3_access_key_id:
        env["AWS_SHARED_CREDENTIALS_FILE"] = str(files / "s3_credentials")
    return env


def client_env(settings: Settings) -> dict[str, str]:
    """Return what a client of this server has to set."""
    env = {"MLFLOW_TRACKING_URI": settings.url}
    if settings.tls == "private-ca":
        # https://mlflow.org/docs/latest/self-hosting/security/basic-http-auth/
        env["MLFLOW_TRACKING_SERVER_CERT_PATH"] = str(certificates.authority_file(settings))
    if settings.artifact_access == "direct" and settings.s3_endpoint_url:
        env["MLFLOW_S3_ENDPOINT_URL"] = settings.s3_endpoint_url
    if settings.artifact_access == "presigned":
        # Newer clients ask the server; older ones have to be told.
        env["MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD"] = "true"
        env["MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"] = "true"
    return env


def web_image(settings: Settings) -> str:
    """Return the name of the server image: it changes when, and only when, its inputs do."""
    return f"{OWN}web:{digests.files(settings.root, IMAGE_INPUTS)}"


def certificates_image(settings: Settings) -> str:
    """Return the name of the image of the certificate service, made in the same way."""
    return f"{OWN}certificates:{digests.files(settings.root, certificates.INPUTS)}"


def backup_image(settings: Settings) -> str:
    """Return the name of the image of the backup service, made in the same way."""
    return f"{OWN}backup:{digests.files(settings.root, BACKUP_INPUTS)}"
