"""The secrets of a stack as files."""

import configparser
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from ops import oidc, secret_files, stack
from ops.settings import Settings
from ops.values import Secret
from tests.conftest import ROOT

FULL: dict[str, Any] = {
    "s3_access_key_id": "AKIA0",
    "s3_secret_access_key": Secret("s3-secret-key"),
}


def by_name(settings: Settings) -> dict[str, str]:
    return {name.partition("-")[0]: text for name, text in secret_files.files(settings).items()}


def test_the_secret_files_are_those_of_the_compose_file(settings: Settings) -> None:
    text = (ROOT / "compose" / "compose.yaml").read_text("utf-8")
    named = re.findall(r"^  (\w+):\n    file: \$\{(\w+):\?\}$", text, re.MULTILINE)
    full = replace(settings, **FULL)
    files = {name.partition("-")[0]: text for name, text in secret_files.files(full).items()}

    assert sorted(files) == sorted(name for name, _ in named)
    assert {variable for _, variable in named} == set(secret_files.paths(full, "x"))
    assert files["mysql_client"] == '[client]\nuser = mlflow\npassword = "mysql-password-1"\n'
    assert files["web_client"] == '[client]\nuser = web\npassword = "mysql-web-password-1"\n'
    assert files["s3_credentials"] == (
        "[default]\naws_access_key_id = AKIA0\naws_secret_access_key = s3-secret-key\n"
    )


@pytest.mark.parametrize(("user", "written"), [("web", r"a\\nb"), ("backup", r"a\nb")])
def test_a_backslash_in_a_password_is_one_to_the_driver_that_reads_it(
    user: str, written: str
) -> None:
    text = secret_files.option_file(user, Secret(r"a\nb"))

    assert text == f'[client]\nuser = {user}\npassword = "{written}"\n'


def test_without_keys_the_role_of_the_machine_is_used(settings: Settings) -> None:
    (name,) = (name for name in secret_files.files(settings) if name.startswith("s3_credentials-"))

    assert secret_files.files(settings)[name] == ""


def test_another_secret_has_another_file_and_no_secret_is_in_a_name(settings: Settings) -> None:
    before = secret_files.files(settings)
    after = secret_files.files(replace(settings, kek_passphrase=Secret("another-password")))

    assert len(set(before) - set(after)) == 1
    assert not [name for name in after if "another-password" in name]


def test_a_secret_that_was_not_made_is_never_rendered_as_nothing(project: Path) -> None:
    with pytest.raises(ValueError, match="before it was made"):
        secret_files.files(Settings(root=project))


def test_the_secret_files_of_backups_are_those_of_the_overlay(guarded: Settings) -> None:
    text = (ROOT / stack.BACKUPS).read_text("utf-8")
    named = dict(re.findall(r"^  (\w+):\n    file: \$\{(\w+):\?\}$", text, re.MULTILINE))
    files = {name.partition("-")[0]: text for name, text in secret_files.files(guarded).items()}
    without = replace(guarded, backups_destination="")

    assert set(named) == set(files) - {
        name.partition("-")[0] for name in secret_files.files(without)
    }
    assert set(named.values()) < set(secret_files.paths(guarded, "x"))
    assert files["backup_client"] == '[client]\nuser = backup\npassword = "backup-password-1"\n'


def test_the_users_that_mysql_is_given_are_those_of_the_services(guarded: Settings) -> None:
    server = {"web": Secret("mysql-web-password-1")}

    assert secret_files.passwords(replace(guarded, backups_destination="")) == server
    assert secret_files.passwords(guarded) == server | {"backup": Secret("backup-password-1")}


def test_a_login_is_set_up_by_a_file_that_mlflow_reads_back_as_meant(settings: Settings) -> None:
    guarded = replace(settings, auth="basic", admin_password=Secret("50% of = #1; \u00fc"))
    config = configparser.ConfigParser()
    config.read_string(by_name(guarded)["auth_config"])

    assert config["mlflow"]["admin_password"] == "50% of = #1; \u00fc"
    assert config["mlflow"]["default_permission"] == "NO_PERMISSIONS"
    assert config["mlflow"]["database_uri"].startswith("mysql+mysqldb://db:3306/mlflow?")
    assert by_name(guarded)["session_key"] == "session-key-12345"


def company(settings: Settings, **fields: Any) -> Settings:
    return replace(settings, auth="oidc", oidc_client_secret=Secret("of-the-client"), **fields)


def test_the_secret_files_of_sign_on_are_those_of_its_overlay(settings: Settings) -> None:
    text = (ROOT / oidc.OVERLAY).read_text("utf-8")
    named = dict(re.findall(r"^  (\w+):\n    file: \$\{(\w+):\?\}$", text, re.MULTILINE))
    found = company(settings)

    assert set(named) == set(by_name(found)) - set(by_name(settings))
    assert set(named.values()) < set(secret_files.paths(found, "x"))
    assert by_name(found)["oidc_client_secret"] == "of-the-client"
    assert by_name(found)["session_key"] == "session-key-12345"


def test_of_a_login_by_a_provider_the_file_has_the_first_user_only(settings: Settings) -> None:
    config = configparser.ConfigParser()
    config.read_string(
        by_name(company(settings, admin_password=Secret("50% of = #1")))["auth_config"]
    )

    assert dict(config["mlflow"]) == {"admin_username": "admin", "admin_password": "50% of = #1"}


def test_the_provider_s_ca_goes_with_the_secrets_and_another_one_is_another_file(
    settings: Settings, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("one")
    given = company(settings, oidc_ca_file=str(ca))
    before = secret_files.digest(given)

    assert by_name(company(settings))["oidc_ca"] == ""
    assert by_name(given)["oidc_ca"] == "one"
    ca.write_text("other")
    assert secret_files.digest(given) != before


def test_without_a_login_its_files_are_empty(settings: Settings) -> None:
    assert (by_name(settings)["auth_config"], by_name(settings)["session_key"]) == ("", "")


def test_the_key_of_webhooks_is_one_that_mlflow_takes(settings: Settings) -> None:
    key = secret_files.webhook_key(settings)
    other = replace(settings, webhook_key=Secret("another-webhook-key"))

    assert Fernet(key).decrypt(Fernet(key).encrypt(b"x")) == b"x"
    assert secret_files.webhook_key(other) != key
