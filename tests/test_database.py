"""Where MySQL is, as it stands in an address."""

import os
from dataclasses import replace

import pytest
import sqlalchemy as sa

from ops import database
from ops.settings import Settings


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("", "db:3306"),
        ("db.example.com", "db.example.com:3306"),
        ("db.example.com:3307", "db.example.com:3307"),
        ("10.0.0.7", "10.0.0.7:3306"),
        ("[fd00::1]", "[fd00::1]:3306"),
        ("[fd00::1]:3307", "[fd00::1]:3307"),
    ],
)
def test_the_address_of_the_database_has_a_port(
    settings: Settings, given: str, address: str
) -> None:
    elsewhere = replace(settings, database_host=given, database_ca_file=os.devnull)

    assert database.address(elsewhere) == address
    assert f"//{address}/mlflow?" in database.uri(elsewhere)


def test_nobody_is_named_in_the_address_and_sqlalchemy_reads_it_as_meant(
    settings: Settings,
) -> None:
    url = sa.make_url(database.uri(settings))

    assert (url.username, url.password, url.host, url.port) == (None, None, "db", 3306)
    assert url.query["read_default_file"] == "/run/secrets/mysql_client"


def test_no_database_is_spoken_to_in_plain_text_and_another_s_proves_its_name(
    settings: Settings,
) -> None:
    elsewhere = replace(settings, database_host="db.example.com", database_ca_file=os.devnull)
    modes = [sa.make_url(database.uri(each)).query["ssl_mode"] for each in (settings, elsewhere)]

    assert modes == ["REQUIRED", "VERIFY_IDENTITY"]


def test_who_signed_on_is_in_a_database_of_its_own_on_the_same_mysql(settings: Settings) -> None:
    one, other = (sa.make_url(database.uri(settings, *name)) for name in ([], [database.SIGN_ON]))

    assert (one.database, other.database) == ("mlflow", "mlflow_oidc")
    assert other.set(database="mlflow") == one
