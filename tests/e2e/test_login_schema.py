"""The login's tables, by MLflow's own migrations: on SQLite here, on MySQL in a guarded stack."""

import importlib.util
import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from ops import migration
from ops.migration import LOGIN, LOGIN_TABLES, TRACKING, JobError

# What MLflow imports is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database that the job has brought to both schemas."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('login') / 'mlflow.db'}"
    engine = sa.create_engine(uri)
    migration.migrate(engine, uri, existing=False)
    migration.migrate(engine, uri, existing=False, schema=LOGIN)
    return uri


def tables(uri: str) -> set[str]:
    return set(sa.inspect(sa.create_engine(uri)).get_table_names())


def test_what_is_taken_for_the_login_s_tables_is_what_its_migrations_make() -> None:
    spec = importlib.util.find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    made = {
        schema.name: {
            name
            for file in folder.joinpath(*schema.migrations, "versions").glob("*.py")
            for name in re.findall(r'create_table\(\s*"(\w+)"', file.read_text("utf-8"))
        }
        for schema in (TRACKING, LOGIN)
    }

    assert made[LOGIN.name]
    assert [] == [name for name in made[LOGIN.name] if not LOGIN_TABLES.fullmatch(name)]
    assert [] == [name for name in made[TRACKING.name] if LOGIN_TABLES.fullmatch(name)]


def test_both_schemas_are_current_and_a_second_time_changes_nothing(
    migrated: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tables(migrated)
    engine = sa.create_engine(migrated)
    for schema in (TRACKING, LOGIN):
        migration.migrate(engine, migrated, existing=False, schema=schema)

    assert "login's schema is current" in capsys.readouterr().err
    assert {"users", "roles", "runs", "alembic_version_auth"} <= before == tables(migrated)


def half_made(migrated: str) -> sa.Engine:
    """Leave the login's schema as a migration that was killed would."""
    engine = sa.create_engine(migrated)
    migration.open_journal(engine, LOGIN, "", migration.head_revision(LOGIN))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE user_role_assignments"))
        connection.execute(sa.text("DELETE FROM alembic_version_auth"))
    return engine


def test_an_interrupted_first_migration_of_the_login_is_undone_and_done_anew(
    migrated: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tables(migrated)
    engine = half_made(migrated)
    migration.migrate(engine, migrated, existing=False, schema=LOGIN)

    assert "an interrupted first migration" in capsys.readouterr().err
    assert before == tables(migrated)


def test_it_is_not_undone_once_somebody_can_log_in(migrated: str) -> None:
    engine = half_made(migrated)
    user = "INSERT INTO users (username, password_hash, is_admin) VALUES ('ana', 'x', 0)"
    with engine.begin() as connection:
        connection.execute(sa.text(user))
    with pytest.raises(JobError, match="half-migrated"):
        migration.migrate(engine, migrated, existing=True, schema=LOGIN)
