"""The secrets of a stack as files, each named by its content, as the containers read them."""

import base64
import hashlib
from pathlib import Path

from ops import certificates, database, digests
from ops.settings import ADMIN, Settings
from ops.values import Secret

__all__ = [
    "CLIENT",
    "digest",
    "fernet",
    "files",
    "login_secrets",
    "option_file",
    "passwords",
    "paths",
    "revealed",
    "root_password",
    "s3_credentials",
]

CLIENT = "_client"
"""How the names of the option files end with which users come to the stack's own MySQL."""


def files(settings: Settings) -> dict[str, str]:
    """Return the secret files of compose.yaml, named `<secret>-<digest>`, with their content."""
    secrets = {
        **_database_secrets(settings),
        "kek_passphrase": revealed(settings.kek_passphrase),
        "webhook_key": webhook_key(settings),
        **login_secrets(settings),
        **_certificate_secrets(settings),
        "s3_credentials": s3_credentials(settings),
    }
    return {f"{name}-{digests.texts({name: text})}": text for name, text in secrets.items()}


def _database_secrets(settings: Settings) -> dict[str, str]:
    owner = option_file("mlflow", settings.mysql_password)
    if settings.database_host:
        # There is one user.
        client = f"{owner}ssl-ca = /run/secrets/database_ca\n"
        return {
            "mysql_client": client,
            "web_client": client,
            "database_ca": Path(settings.database_ca_file).read_text("utf-8"),
        }
    users = passwords(settings).items()
    return {
        "mysql_password": revealed(settings.mysql_password),
        "mysql_root_password": revealed(settings.mysql_root_password),
        "mysql_client": owner,
        **{f"{user}{CLIENT}": option_file(user, password) for user, password in users},
    }


def option_file(user: str, password: Secret | None) -> str:
    """Return what a driver reads.

    A backslash in it begins an escape, but not to PyMySQL, with which the backup service asks.
    """
    text = revealed(password)
    if user != "backup":
        text = text.replace("\\", "\\\\")
    return f'[client]\nuser = {user}\npassword = "{text}"\n'


def passwords(settings: Settings) -> dict[str, Secret]:
    """Return the users that are made in the stack's own MySQL, with their passwords."""
    made = {"web": settings.mysql_web_password}
    if settings.backups_destination:
        made["backup"] = settings.backup_password
    return {user: Secret(revealed(password)) for user, password in made.items()}


def root_password(settings: Settings) -> Secret:
    """Return the password of MySQL's own administrator."""
    return Secret(revealed(settings.mysql_root_password))


def fernet(secret: Secret) -> str:
    """Return WEBHOOK_KEY as MLflow takes it: a key of Fernet, 32 bytes in base64.

    https://cryptography.io/en/latest/fernet/#cryptography.fernet.Fernet.generate_key
    """
    made = hashlib.sha256(secret.reveal().encode()).digest()
    return base64.urlsafe_b64encode(made).decode()


def webhook_key(settings: Settings) -> str:
    """Return the key that follows from WEBHOOK_KEY."""
    return fernet(Secret(revealed(settings.webhook_key)))


def login_secrets(settings: Settings) -> dict[str, str]:
    """Return what the login needs; of it `auth_config` is the file that MLflow reads."""
    if settings.auth == "none":
        return {"auth_config": "", "session_key": ""}
    # Of these two the first user is made.
    values = {"admin_username": ADMIN, "admin_password": revealed(settings.admin_password)}
    found = {"session_key": revealed(settings.session_key)}
    if settings.auth == "basic":
        values |= {
            # Else everybody who logs in reads everything (MLflow's own default).
            "default_permission": "NO_PERMISSIONS",
            "database_uri": database.uri(settings),
            # Each worker knows that long who has logged in; without, a password's hash takes 0.2 s
            # of each request (measured).
            "auth_cache_ttl_seconds": "30",
        }
    else:
        ca = settings.oidc_ca_file
        found["oidc_client_secret"] = revealed(settings.oidc_client_secret)
        found["oidc_ca"] = Path(ca).read_text("utf-8") if ca else ""
    # MLflow's parser gives % a meaning of its own, unless it stands there twice.
    lines = [f"{key} = {value.replace('%', '%%')}\n" for key, value in values.items()]
    return found | {"auth_config": "".join(["[mlflow]\n", *lines])}


def _certificate_secrets(settings: Settings) -> dict[str, str]:
    if settings.tls == "private-ca":
        return {"ca_secret": revealed(settings.ca_secret)}
    if settings.tls == "acme":
        given = settings.acme_ca_file
        return {"acme_ca": Path(given).read_text("utf-8") if given else ""}
    return certificates.given(settings)


def s3_credentials(settings: Settings) -> str:
    """Return an AWS credentials file; an empty one leaves boto3 to the role of the machine."""
    if not settings.s3_access_key_id:
        return ""
    return (
        "[default]\n"
        f"aws_access_key_id = {settings.s3_access_key_id}\n"
        f"aws_secret_access_key = {revealed(settings.s3_secret_access_key)}\n"
    )


def paths(settings: Settings, where: str) -> dict[str, str]:
    """Return the variables that name the secret files in the folder `where`."""
    found = {
        f"{name.partition('-')[0].upper()}_FILE": f"{where}/{name}" for name in files(settings)
    }
    # Compose fills names in before an overlay takes them away.
    absent = []
    if settings.database_host:
        absent += ["MYSQL_PASSWORD_FILE", "MYSQL_ROOT_PASSWORD_FILE"]
    if settings.tls == "acme":
        absent += ["CA_SECRET_FILE"]
    return found | dict.fromkeys(absent, "/dev/null")


def digest(settings: Settings) -> str:
    """Return what changes with any secret file and tells nothing about it."""
    return digests.texts(files(settings))


def revealed(secret: Secret | None) -> str:
    """Return a secret that has been made."""
    if secret is None:
        raise ValueError("a secret was rendered before it was made")
    return secret.reveal()
