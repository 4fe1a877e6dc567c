"""Settings: where a value comes from, what is refused, and the secrets that are made."""

import json
import os
import re
import stat
from contextlib import nullcontext
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops import envfile
from ops.errors import OpsError
from ops.settings import GENERATED, PARSERS, UNQUOTABLE, Settings
from ops.values import Secret

WORD = "open-sesame-0123"
RECIPIENT = "age1gde3ncmahlqd9gg50tanl99r960llztrhfapnmx853s4tjum03uqfssgdh"


def load(root: Path, env: str | None = None, **environ: str) -> Settings:
    if env is not None:
        (root / ".env").write_text(env, "utf-8")
    return Settings.load(root, environ)


def test_without_a_file_every_setting_has_its_default(tmp_path: Path) -> None:
    assert load(tmp_path) == Settings(root=tmp_path)


def test_the_file_wins_over_the_default_and_the_environment_over_the_file(tmp_path: Path) -> None:
    env = "HTTP_PORT='6000'\nWEB_WORKERS='3'\n"
    settings = load(tmp_path, env, HTTP_PORT="7000")

    assert (settings.http_port, settings.web_workers) == (7000, 3)
    assert settings.db_memory_limit == Settings().db_memory_limit


def test_an_empty_value_means_the_default(tmp_path: Path) -> None:
    assert load(tmp_path, "HTTP_PORT=''\nPUBLIC_URL=\n") == Settings(root=tmp_path)


def test_variables_of_other_programs_are_no_business_of_ours(tmp_path: Path) -> None:
    assert load(tmp_path, EDITOR="vi", MLFLOW_TRACKING_URI="x") == Settings(root=tmp_path)


def test_every_field_has_one_key_and_every_key_one_field() -> None:
    names = {field.name.upper() for field in fields(Settings)} - {"ROOT"}

    assert names == set(PARSERS)
    assert set(GENERATED) <= names


def test_settings_are_frozen(tmp_path: Path) -> None:
    name: Any = "http_port"
    with pytest.raises(FrozenInstanceError):
        setattr(load(tmp_path), name, 1)


def test_all_problems_are_in_one_error(tmp_path: Path) -> None:
    with pytest.raises(OpsError) as caught:
        load(tmp_path, "HTTP_PROT='1'\nHTTP_PORT='0'\n", WEB_WORKERS="x", ARTIFACT_ACCESS="direct")

    assert caught.value.code == 2
    assert caught.value.cause.splitlines() == [
        "4 problems in the settings",
        "  .env line 1: unknown key HTTP_PROT: did you mean HTTP_PORT?",
        "  .env: HTTP_PORT '0' is not a port between 1 and 65535",
        "  environment: WEB_WORKERS 'x' is not a number between 1 and 64",
        "  ARTIFACT_ACCESS=direct needs ARTIFACTS_DESTINATION=s3://…",
    ]


def test_signed_addresses_need_a_region_or_another_server_than_amazon_s(tmp_path: Path) -> None:
    given = {"ARTIFACT_ACCESS": "presigned", "ARTIFACTS_DESTINATION": "s3://bucket"}
    for more in ({"S3_REGION": "eu-central-1"}, {"S3_ENDPOINT_URL": "https://s3.example.com"}):
        assert load(tmp_path, **given, **more).artifact_access == "presigned"


def test_one_problem_is_not_called_problems(tmp_path: Path) -> None:
    with pytest.raises(OpsError, match="1 problem in the settings"):
        load(tmp_path, HTTP_PORT="0")


@pytest.mark.parametrize(
    "key",
    [*GENERATED, *("BACKUP_RECIPIENTS", "S3_SECRET_ACCESS_KEY", "PUBLIC_URL", "S3_ENDPOINT_URL")],
)
@pytest.mark.parametrize("value", ["ftp://joe:open sesame@x", "it's open sesame", "open\nsesame"])
def test_a_refused_value_that_may_hold_a_secret_is_not_shown(
    tmp_path: Path, key: str, value: str
) -> None:
    with pytest.raises(OpsError) as caught:
        load(tmp_path, **{key: value})

    assert key in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_a_folder_that_no_env_file_can_name_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "joe's stack"
    root.mkdir()
    with pytest.raises(OpsError, match="single quote or backslash: move the repository"):
        load(root)


@given(
    st.text(
        st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="'\\/~?#%"), min_size=1
    )
)
def test_a_data_folder_of_any_characters_that_are_not_refused_is_read_back(name: str) -> None:
    assert not re.search(UNQUOTABLE, name)
    root = Path("/nowhere")
    settings = Settings.load(root, {"DATA_FOLDER": f"/srv/{name}"})

    assert settings.data == Path(f"/srv/{name}")


@pytest.mark.parametrize(
    ("folder", "path"),
    [("data", "/srv/stack/data"), ("/var/lib/x", "/var/lib/x"), ("~/x", "/home/joe/x")],
)
def test_the_data_folder_is_relative_to_the_repository(
    folder: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/joe")
    assert Settings(root=Path("/srv/stack"), data_folder=folder).data == Path(path)


def test_the_address_of_clients_is_the_public_one_or_this_machine(tmp_path: Path) -> None:
    assert load(tmp_path, HTTP_PORT="6000").url == "http://localhost:6000"
    assert load(tmp_path, PUBLIC_URL="https://x.example/").url == "https://x.example"


def test_settings_show_no_secret(tmp_path: Path) -> None:
    secrets = dict.fromkeys((*GENERATED, "S3_SECRET_ACCESS_KEY"), WORD)
    settings = load(tmp_path, **secrets, S3_ACCESS_KEY_ID="AKIA0")

    assert WORD not in repr(settings) + str(settings) + f"{settings}"
    with pytest.raises(TypeError):
        json.dumps(settings.mysql_password)


@pytest.mark.usefixtures("zero_umask")
def test_missing_secrets_are_made_once_and_kept_for_the_owner_only(tmp_path: Path) -> None:
    first = load(tmp_path).with_secrets()
    file = tmp_path / ".env"
    text = file.read_text("utf-8")

    assert first.missing_secrets() == []
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load(tmp_path) == first
    assert load(tmp_path).with_secrets() == first
    assert file.read_text("utf-8") == text
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


@pytest.mark.parametrize(
    ("artifacts", "overlap"),
    [
        ("s3://bucket", True),
        ("s3://bucket/backups", True),
        ("s3://bucket/backups/artifacts", True),
        ("s3://bucket/backups-2", False),
        ("s3://bucket/artifacts", False),
        ("s3://bucket-2", False),
        ("", False),
    ],
)
def test_backups_are_not_where_the_server_may_delete(
    tmp_path: Path, artifacts: str, *, overlap: bool
) -> None:
    environ = {
        "ARTIFACTS_DESTINATION": artifacts,
        "BACKUPS_DESTINATION": "s3://bucket/backups",
        "BACKUP_RECIPIENTS": RECIPIENT,
    }
    cause = "BACKUPS_DESTINATION and ARTIFACTS_DESTINATION overlap"
    with pytest.raises(OpsError, match=cause) if overlap else nullcontext():
        Settings.load(tmp_path, environ)


def test_made_secrets_are_long_and_differ_from_one_another_and_each_time(tmp_path: Path) -> None:
    made = set()
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        given = {"BACKUPS_DESTINATION": "s3://backups", "BIND_ADDRESS": "0.0.0.0"}
        settings = load(tmp_path / name, **given).with_secrets()
        for key in GENERATED:
            secret: Secret = getattr(settings, key.lower())
            made.add(secret.reveal())

    assert len(made) == 3 * len(GENERATED)
    assert min(len(secret) for secret in made) >= 32


@pytest.mark.parametrize("end", ["\n", ""])
def test_secrets_are_added_after_what_the_file_holds(tmp_path: Path, end: str) -> None:
    text = f"# mine\nHTTP_PORT='6000'\nMYSQL_PASSWORD='{WORD}'{end}"
    settings = load(tmp_path, text).with_secrets()
    lines = (tmp_path / ".env").read_text("utf-8").splitlines()

    assert lines[:3] == text.splitlines()
    assert [line.partition("=")[0] for line in lines[3:]] == [
        "MYSQL_ROOT_PASSWORD",
        "KEK_PASSPHRASE",
        *("MYSQL_WEB_PASSWORD", "WEBHOOK_KEY"),
    ]
    assert settings.mysql_password == Secret(WORD)
    assert load(tmp_path) == settings


def test_a_secret_of_the_environment_is_not_written_down(tmp_path: Path) -> None:
    settings = load(tmp_path, **dict.fromkeys(GENERATED, WORD)).with_secrets()

    assert settings.missing_secrets() == []
    assert not (tmp_path / ".env").exists()


@pytest.mark.usefixtures("zero_umask")
def test_a_file_that_others_could_read_is_closed_when_it_gets_secrets(tmp_path: Path) -> None:
    settings = load(tmp_path, "HTTP_PORT='6000'\n")
    (tmp_path / ".env").chmod(0o644)
    settings.with_secrets()

    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600


def test_a_link_as_env_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "stack.env"
    target.write_text("HTTP_PORT='6000'\n", "utf-8")
    (tmp_path / ".env").symlink_to(target)
    settings = load(tmp_path).with_secrets()

    assert (tmp_path / ".env").is_symlink()
    assert target.read_text("utf-8").startswith("HTTP_PORT='6000'\nMYSQL_PASSWORD='")
    assert load(tmp_path) == settings


def test_the_old_file_stays_when_the_secrets_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load(tmp_path, "HTTP_PORT='6000'\n")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        settings.with_secrets()

    assert (tmp_path / ".env").read_text("utf-8") == "HTTP_PORT='6000'\n"


def test_the_real_environment_is_read_when_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in PARSERS:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setitem(os.environ, "HTTP_PORT", "6000")

    assert Settings.load(tmp_path) == Settings(root=tmp_path, http_port=6000)


def test_the_root_password_of_a_database_elsewhere_is_not_ours_to_make(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    environ = {
        "DATABASE_HOST": "db.example.com",
        "DATABASE_CA_FILE": str(tmp_path / "ca.pem"),
        "MYSQL_PASSWORD": "0123456789abcdef",
    }

    assert Settings.load(tmp_path, environ).missing_secrets() == ["KEK_PASSPHRASE", "WEBHOOK_KEY"]


def test_a_database_elsewhere_is_not_what_the_backup_service_backs_up(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    environ = {
        "DATABASE_HOST": "db.example.com",
        "DATABASE_CA_FILE": str(tmp_path / "ca.pem"),
        "MYSQL_PASSWORD": "0123456789abcdef",
        "BACKUPS_DESTINATION": "s3://my-backups",
    }
    with pytest.raises(
        OpsError, match="BACKUPS_DESTINATION is for the stack's own MySQL"
    ) as caught:
        Settings.load(tmp_path, environ)

    assert caught.value.code == 2


def test_the_passwords_of_services_are_made_anew_and_lock_nothing(tmp_path: Path) -> None:
    settings = load(tmp_path, BACKUPS_DESTINATION="s3://my-backups", MYSQL_PASSWORD=WORD)

    assert settings.missing_secrets() == [
        *("MYSQL_ROOT_PASSWORD", "KEK_PASSPHRASE"),
        *("MYSQL_WEB_PASSWORD", "BACKUP_PASSWORD", "WEBHOOK_KEY"),
    ]
    assert settings.lost_secrets() == ["MYSQL_ROOT_PASSWORD", "KEK_PASSPHRASE"]


def test_what_is_refused_is_what_quotes_cannot_carry() -> None:
    refused = [chr(number) for number in range(0x3000) if re.search(UNQUOTABLE, chr(number))]

    assert set(refused) == {*map(chr, range(32)), "\x7f", "'", "\\"}
    assert envfile.quote("a b") == "'a b'"


def test_hosts_to_deploy_to_are_a_list_and_their_keys_lie_with_the_data(tmp_path: Path) -> None:
    settings = load(tmp_path, "DEPLOY_HOST='a, me@b:2222'\n")

    assert settings.deploy_hosts == ["a", "me@b:2222"]
    assert Settings(root=tmp_path).deploy_hosts == []
    assert settings.known_hosts == tmp_path / "data" / "known_hosts"


def test_a_place_for_backups_is_read_without_a_key_and_not_used_without_one(tmp_path: Path) -> None:
    env = "BACKUPS_DESTINATION='s3://my-backups/mlflow'\n"
    with pytest.raises(OpsError, match="names no key to encrypt for") as caught:
        load(tmp_path, env).require_recipients()

    assert ("make one: invoke backup-key", 2) == (caught.value.remedy, caught.value.code)
    load(tmp_path, "").require_recipients()
    with pytest.raises(OpsError, match="S3_REGION does not say") as unplaced:
        load(tmp_path, env, BACKUP_RECIPIENTS=RECIPIENT).require_for_backups()
    assert unplaced.value.code == 2
    load(tmp_path, env, BACKUP_RECIPIENTS=RECIPIENT, S3_REGION="x").require_for_backups()
    load(tmp_path, env, BACKUP_RECIPIENTS=RECIPIENT).require_recipients()


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ("", "/home/joe/.config/mlflow-compose"),
        ("/srv/config", "/srv/config/mlflow-compose"),
        ("relative", "/home/joe/.config/mlflow-compose"),
    ],
)
def test_what_a_person_keeps_is_in_their_own_folder(
    monkeypatch: pytest.MonkeyPatch, given: str, folder: str
) -> None:
    monkeypatch.setenv("HOME", "/home/joe")
    monkeypatch.setenv("XDG_CONFIG_HOME", given)

    assert Path(folder) == Settings().personal


# --- The front door ---


@pytest.mark.parametrize(
    ("given", "door"),
    [
        ({}, ("off", "none", 5050)),
        ({"PUBLIC_URL": "http://localhost:5050"}, ("off", "none", 5050)),
        ({"PUBLIC_URL": "https://mlflow.example.com"}, ("off", "basic", 5050)),
        ({"BIND_ADDRESS": "0.0.0.0"}, ("private-ca", "basic", 80)),
        ({"BIND_ADDRESS": "::1"}, ("off", "none", 5050)),
        ({"BIND_ADDRESS": "10.0.0.7", "TLS": "acme", "HTTP_PORT": "8080"}, ("acme", "basic", 8080)),
        ({"TLS": "private-ca", "AUTH": "basic"}, ("private-ca", "basic", 80)),
    ],
)
def test_who_reaches_a_stack_decides_how_it_is_guarded(
    tmp_path: Path, given: dict[str, str], door: tuple[str, str, int]
) -> None:
    settings = load(tmp_path, **given)

    assert (settings.tls, settings.auth, settings.http_port) == door


def test_the_address_has_the_port_at_which_the_site_is_served(tmp_path: Path) -> None:
    guarded = load(tmp_path, TLS="private-ca", HTTPS_PORT="8443")

    assert (guarded.url, guarded.site_port) == ("https://localhost:8443", 8443)
    assert (load(tmp_path).url, load(tmp_path).site_port) == ("http://localhost:5050", 5050)


@pytest.mark.parametrize("given", [{"TLS": "off"}, {"AUTH": "none"}])
def test_a_stack_that_others_reach_is_open_only_where_that_is_said_twice(
    tmp_path: Path, given: dict[str, str]
) -> None:
    with pytest.raises(OpsError, match="is reached by others") as caught:
        load(tmp_path, BIND_ADDRESS="0.0.0.0", **given)
    assert caught.value.code == 2

    load(tmp_path, BIND_ADDRESS="0.0.0.0", ALLOW_INSECURE="true", **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"TLS": "files"}, "go together"),
        ({"TLS": "private-ca", "TLS_KEY_FILE": "/etc/hostname"}, "go together"),
        ({"TLS": "private-ca", "HTTP_PORT": "443"}, "HTTP_PORT and HTTPS_PORT are one"),
        ({"TLS": "private-ca", "PUBLIC_URL": "http://x.example"}, "write https:"),
        ({"TLS": "on"}, "is not one of"),
        ({"AUTH": "saml"}, "is not one of basic, oidc, none"),
    ],
)
def test_what_does_not_fit_together_at_the_door_is_refused(
    tmp_path: Path, given: dict[str, str], said: str
) -> None:
    with pytest.raises(OpsError, match=said):
        load(tmp_path, **given)


SIGN_ON = {
    "AUTH": "oidc",
    "OIDC_ISSUER": "https://login.example.com",
    "OIDC_CLIENT_ID": "mlflow",
    "OIDC_CLIENT_SECRET": "of-the-client-of-the-provider",
    "PUBLIC_URL": "https://mlflow.example.com",
}


def test_login_by_an_identity_provider_takes_what_only_the_provider_knows(tmp_path: Path) -> None:
    settings = load(tmp_path, **SIGN_ON)
    secrets = {"ADMIN_PASSWORD", "SESSION_KEY"}

    assert "of-the-client-of-the-provider" not in repr(settings)
    assert secrets <= set(settings.missing_secrets())
    assert not secrets & set(load(tmp_path, **SIGN_ON | {"AUTH": "none"}).missing_secrets())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        *(({key: ""}, f"AUTH=oidc needs {key}: from") for key in [*SIGN_ON][1:4]),
        ({"OIDC_ISSUER": "", "OIDC_CLIENT_ID": ""}, "AUTH=oidc needs OIDC_ISSUER, OIDC_CLIENT_ID:"),
        ({"PUBLIC_URL": "http://mlflow.example.com"}, "their sessions in clear"),
        ({"PUBLIC_URL": ""}, "sends people back to http://localhost:5050, and their sessions"),
    ],
)
def test_what_login_by_an_identity_provider_lacks_is_named(
    tmp_path: Path, given: dict[str, str], said: str
) -> None:
    with pytest.raises(OpsError, match=said) as caught:
        load(tmp_path, **SIGN_ON | given)
    assert caught.value.code == 2

    if "PUBLIC_URL" in given:
        load(tmp_path, **SIGN_ON | given, ALLOW_INSECURE="true", TLS="off")
    else:
        load(tmp_path, **SIGN_ON | given | {"AUTH": "none"})


def test_what_is_refused_of_a_provider_is_shown_only_where_it_is_no_secret(tmp_path: Path) -> None:
    given = {"OIDC_ISSUER": "https://me:swordfish@login.example.com", "OIDC_CLIENT_SECRET": "cod"}
    with pytest.raises(OpsError) as caught:
        load(tmp_path, **SIGN_ON | given, OIDC_GROUPS="anglers,")

    assert all(each not in caught.value.cause for each in ("swordfish", "cod"))
    assert all(key in caught.value.cause for key in [*given, "OIDC_GROUPS", "anglers,"])


def test_features_are_closed_unless_named_and_jobs_follow_job_execution(tmp_path: Path) -> None:
    assert [] == load(tmp_path).features
    opened = load(tmp_path, OPEN_FEATURES="webhooks, gateway,webhooks", JOB_EXECUTION="true")
    assert ["webhooks", "gateway", "jobs"] == opened.features
    with pytest.raises(OpsError, match="is not one of gateway, signup, webhooks"):
        load(tmp_path, OPEN_FEATURES="gateway,assistant")


def test_secrets_are_made_for_what_is_used_only(tmp_path: Path) -> None:
    here = set(load(tmp_path).missing_secrets())
    guarded = set(load(tmp_path, BIND_ADDRESS="0.0.0.0").missing_secrets())

    assert guarded - here == {"ADMIN_PASSWORD", "SESSION_KEY", "CA_SECRET"}
    assert "ADMIN_PASSWORD" not in load(tmp_path, BIND_ADDRESS="0.0.0.0").lost_secrets()


def test_a_note_is_added_once_and_is_read_as_nothing(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("STACK_NAME=x\n")
    settings = load(tmp_path)
    for _ in range(2):
        settings.note("an earlier KEK_PASSPHRASE: swordfish")

    assert (
        "STACK_NAME=x\n# an earlier KEK_PASSPHRASE: swordfish\n" == (tmp_path / ".env").read_text()
    )
    assert 0o600 == (tmp_path / ".env").stat().st_mode & 0o777
    assert settings == load(tmp_path)


def test_the_environment_is_known_to_count_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Settings.overridden("SESSION_KEY")
    monkeypatch.setenv("SESSION_KEY", "x" * 20)
    assert Settings.overridden("SESSION_KEY")
