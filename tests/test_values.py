"""Kinds of value: what is taken, in which form, and what is refused."""

import json
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ops import values
from ops.values import Secret, SshAddress

WORD = "open-sesame-0123"


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (values.public_url, "https://mlflow.example.com", "https://mlflow.example.com"),
        (values.public_url, "https://mlflow.example.com/", "https://mlflow.example.com"),
        (values.public_url, "http://mlflow.example.com:8080", "http://mlflow.example.com:8080"),
        (values.public_url, "http://10.1.2.3", "http://10.1.2.3"),
        (values.public_url, "http://[fe80::1]:5050", "http://[fe80::1]:5050"),
        (values.public_url, "https://xn--mnchen-3ya.example", "https://xn--mnchen-3ya.example"),
        (values.endpoint, "http://minio:9000/", "http://minio:9000"),
        (
            values.issuer,
            "https://login.example.com/realms/a/",
            "https://login.example.com/realms/a/",
        ),
        (values.issuer, "https://login.example.com:8443", "https://login.example.com:8443"),
        (
            values.words,
            "openid  email\tapi://mlflow/.default",
            "openid email api://mlflow/.default",
        ),
        (values.names, "data science , admins", "data science,admins"),
        (values.names, "CN=ml", "CN=ml"),
        (values.endpoint, "http://my_minio:9000/x", "http://my_minio:9000/x"),
        (values.endpoint, "http://[fe80::1]:9000", "http://[fe80::1]:9000"),
        (values.server_addresses, "a.example.com", "a.example.com"),
        (values.server_addresses, "A.example.com, b:8443,b:8443", "a.example.com,b:8443"),
        (values.server_addresses, "10.1.2.3:443,[fd00::1]:8443", "10.1.2.3:443,[fd00::1]:8443"),
        (values.port, "1", 1),
        (values.port, "65535", 65535),
        (values.address, "127.0.0.1", "127.0.0.1"),
        (values.address, "0:0::1", "::1"),
        (values.s3_uri, "s3://my-bucket", "s3://my-bucket"),
        (values.s3_uri, "s3://my.bucket/a/b_c/", "s3://my.bucket/a/b_c"),
        (values.registry, "registry.example.com/team", "registry.example.com/team"),
        (values.registry, "10.0.0.1:5000/a/b_c/d--e", "10.0.0.1:5000/a/b_c/d--e"),
        (values.registry, "localhost/mlflow", "localhost/mlflow"),
        (values.flag, "true", True),
        (values.flag, "false", False),
        (values.workers, "64", 64),
        (values.memory, "1536m", "1536m"),
        (values.memory, "4g", "4g"),
        (values.stack_name, "team-a_1", "team-a_1"),
        (values.word, "eu-central-1", "eu-central-1"),
        (values.folder, " as it is ", " as it is "),
        (values.secret, WORD, Secret(WORD)),
    ],
)
def test_a_good_value_is_taken(parse: Callable[[str], object], text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (values.public_url, ""),
        (values.endpoint, 'http://a"b:9000'),
        (values.endpoint, "http://a>b"),
        (values.server_addresses, "a.example.com,"),
        (values.server_addresses, "https://a.example.com"),
        (values.server_addresses, "a.example.com/x"),
        (values.server_addresses, "joe@a.example.com"),
        (values.server_addresses, "a.example.com:0"),
        (values.server_addresses, "*.example.com"),
        (values.server_addresses, "localhost:3306"),
        (values.server_addresses, "x.localhost"),
        (values.server_addresses, "127.0.0.2"),
        (values.server_addresses, "127.1"),
        (values.server_addresses, "2130706433"),
        (values.server_addresses, "169.254.169.254:80"),
        (values.server_addresses, "[::1]:443"),
        (values.server_addresses, "0.0.0.0"),
        (values.public_url, "https://-example.com"),
        (values.public_url, "ftp://example.com"),
        (values.public_url, "https://example.com:65536"),
        (values.public_url, "https://example.com:"),
        (values.public_url, "https://example..com"),
        (values.public_url, f"https://{'a' * 64}.com"),
        (values.public_url, "https://example.com#top"),
        (values.public_url, "https://exa mple.com"),
        (values.endpoint, "http://"),
        (values.endpoint, "http://ho st:9000"),
        (values.endpoint, " http://minio:9000"),
        (values.issuer, "http://login.example.com"),
        (values.issuer, "https://login.example.com?realm=a"),
        (values.issuer, "https://me:password@login.example.com"),
        (values.issuer, "login.example.com"),
        (values.words, "openid e\u00efmail"),
        (values.names, ""),
        (values.names, "mlflow,"),
        (values.names, " ,mlflow"),
        (values.port, ""),
        (values.port, "-1"),
        (values.port, "1" * 5000),
        (values.address, "127.0.0.1/8"),
        (values.registry, ""),
        (values.registry, "registry.example.com"),
        (values.registry, "registry.example.com/"),
        (values.registry, "team/mlflow"),
        (values.registry, "https://registry.example.com/team"),
        (values.registry, "me:password@registry.example.com/team"),
        (values.registry, "registry.example.com:0/team"),
        (values.registry, "registry.example.com:05000/team"),
        (values.registry, "Registry.example.com/team"),
        (values.registry, "registry.example.com/Team"),
        (values.registry, "registry.example.com/team:latest"),
        (values.registry, "registry.example.com/../team"),
        (values.registry, "registry.example.com//team"),
        (values.registry, "registry.example.com/team web"),
        (values.registry, "registry.example.com/team\n"),
        (values.registry, "registry.example.com/$(id)"),
        (values.registry, "--config=x.example.com/team"),
        (values.registry, f"registry.example.com/{'a' * 200}"),
        (values.s3_uri, "S3://bucket"),
        (values.s3_uri, "s3:///prefix"),
        (values.s3_uri, "s3://ab"),
        (values.s3_uri, "s3://bucket/my models"),
        (values.s3_uri, "s3://bucket/a//"),
        (values.s3_uri, "s3://xn--bucket/a"),
        (values.s3_uri, "s3://192.168.5.4/a"),
        (values.flag, "True"),
        (values.workers, "65"),
        (values.memory, "1.5g"),
        (values.memory, "0g"),
        (values.memory, "1G"),
        (values.memory, "1g\n"),
        (values.stack_name, "-team"),
        (values.stack_name, "a" * 42),
        (values.word, "two words"),
        (values.secret, "ein-langes-größeres-wort"),
    ],
)
def test_a_bad_value_is_refused(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(text)


def test_a_file_is_taken_by_its_absolute_path_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.pem").touch()
    monkeypatch.chdir(tmp_path)

    assert values.readable_file(str(tmp_path / "ca.pem")) == str(tmp_path / "ca.pem")
    with pytest.raises(ValueError, match="by its absolute path"):
        values.readable_file("ca.pem")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a readable file"):
        values.readable_file(str(tmp_path))


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{!r}".format,
        lambda secret: f"{secret}",
        lambda secret: "%s" % secret,  # noqa: UP031 - the way under test
        lambda secret: repr([secret]),
        lambda secret: repr({"key": secret}),
    ],
)
def test_a_secret_never_shows_itself(show: Callable[[Secret], str]) -> None:
    assert "***" in show(Secret(WORD))
    assert WORD not in show(Secret(WORD))


@pytest.mark.parametrize("carry", [json.dumps, pickle.dumps, "".join, bytes, "x".__add__])
def test_a_secret_cannot_be_carried_away(carry: Callable[[object], object]) -> None:
    with pytest.raises(TypeError):
        carry(Secret(WORD))


def test_a_secret_does_not_show_in_a_traceback_with_local_variables() -> None:
    def fail(secret: Secret) -> None:
        raise RuntimeError(secret)

    with pytest.raises(RuntimeError) as caught:
        fail(Secret(WORD))
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)

    assert "Secret(***)" in "".join(shown.format())
    assert f"Secret('{WORD}')" not in "".join(shown.format())


def test_secrets_are_compared_by_value_and_revealed_only_on_demand() -> None:
    assert Secret(WORD) == Secret(WORD)
    assert hash(Secret(WORD)) == hash(Secret(WORD))
    assert Secret(WORD) != Secret(WORD + "4")
    assert Secret(WORD) != WORD
    assert Secret(WORD).reveal() == WORD


# --- Buckets ---


@pytest.mark.parametrize(
    "name",
    [
        "abc",
        "a" * 63,
        "0-9",
        "my.bucket",
        "a.-b",
        "1.2.3.4.5",
        "1234.1.1.1",
        "mrap",
        "my-mrap",
        "xn-a",
    ],
)
def test_the_name_of_a_bucket_is_taken(name: str) -> None:
    assert name == values.bucket_name(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        *((name, "is not 3 to 63") for name in ("", "ab", "a" * 64, "Team", "my_bucket", "bücket")),
        *(
            (name, "is not 3 to 63")
            for name in ("-abc", "abc-", ".abc", "abc.", "a..b", "a b", "abc\n")
        ),
        *((name, "an IP address") for name in ("192.168.5.4", "999.1.1.1")),
        *((name, "keeps for other") for name in ("xn--abc", "sthree-abc", "sthree-configurator")),
        *((name, "keeps for other") for name in ("amzn-s3-demo-a", "abc-s3alias", "abc--ol-s3")),
        *((name, "keeps for other") for name in ("abc.mrap", "abc--x-s3", "abc--table-s3")),
    ],
)
def test_a_name_that_s3_forbids_is_refused(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        values.bucket_name(name)


@given(st.text("ab-._A ", max_size=70))
@example("a" * 63)
@example("a" * 64)
@example("a-.-a")
def test_a_name_is_taken_exactly_if_it_keeps_each_rule(name: str) -> None:
    good = (
        3 <= len(name) <= 63
        and set(name) <= set("ab-.")
        and {name[0], name[-1]} <= set("ab")
        and ".." not in name
    )
    try:
        taken = values.bucket_name(name) == name
    except ValueError:
        taken = False

    assert good == taken


# --- Hosts to log in to ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("host", SshAddress("host")),
        ("ubuntu@ec2-3-8-1-2.eu-west-2.compute.amazonaws.com", None),
        ("Prod_db", SshAddress("Prod_db")),
        ("me@10.0.0.1:2222", SshAddress("10.0.0.1", "me", 2222)),
        ("[fe80:0:0::1]:22", SshAddress("fe80::1", "", 22)),
        ("first.last@h", SshAddress("h", "first.last")),
    ],
)
def test_a_host_to_log_in_to_is_taken(text: str, value: SshAddress | None) -> None:
    found = values.ssh_host(text)

    assert value in (found, None)
    assert values.ssh_host(str(found)) == found


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "a b",
            " a",
            "a ",
            "a\n",
            "\na",
            "a\tb",
            "a\0b",
            "-oProxyCommand=id",
            "-a",
            "me@-a",
        ),
        *(
            "a'b",
            'a"b',
            "$(id)",
            "`id`",
            "a;id",
            "a|b",
            "a&b",
            "a>b",
            "a*",
            "a?",
            "~",
            "a/b",
            "a\\b",
        ),
        *("@a", "me@", "a@b@c", "-me@a", "me me@a", "$me@a", ":22", "a:", "a:0", "a:65536", "a:-1"),
        *(
            "a:x",
            "a:22:22",
            "::1",
            "[::1",
            "[::1]x",
            "[x]",
            "a..b",
            ".a",
            "a.",
            "ö",
            "a:２２",
            "a" * 64,
        ),
        ".".join(["a" * 60] * 5),
    ],
)
def test_what_is_no_host_to_log_in_to_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not"):
        values.ssh_host(text)


def test_hosts_are_parted_by_commas() -> None:
    assert values.ssh_hosts("a, me@b:2222 ,[::1]") == "a,me@b:2222,[::1]"
    for text in ("a,,b", ",a", "a,", "a;b"):
        with pytest.raises(ValueError, match="is not a host"):
            values.ssh_hosts(text)


@pytest.mark.parametrize("text", ["", "-me", "me me", "$me", "me\n", "a@b"])
def test_what_is_no_user_is_refused(text: str) -> None:
    assert values.user_name("ec2-user") == "ec2-user"
    with pytest.raises(ValueError, match="is not a user name"):
        values.user_name(text)


def test_a_key_is_named_by_a_path_from_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert values.key_file("~/.ssh/my key") == "/home/me/.ssh/my key"
    with pytest.raises(ValueError, match="is not an absolute path"):
        values.key_file("id_rsa")


def test_recipients_are_public_keys_of_age() -> None:
    one = "age1gde3ncmahlqd9gg50tanl99r960llztrhfapnmx853s4tjum03uqfssgdh"
    assert values.recipients(f"{one} , {one}") == f"{one},{one}"
    for text in ("", f"{one},", one[:-1], "age1é", "ssh-ed25519 AAAA"):
        with pytest.raises(ValueError, match="is not a list of public keys"):
            values.recipients(text)


def test_a_private_key_among_the_public_ones_is_told_from_a_typo() -> None:
    for text in ("AGE-SECRET-KEY-1ABC", "age1x,age-secret-key-1abc"):
        with pytest.raises(ValueError, match="holds a private key"):
            values.recipients(text)
