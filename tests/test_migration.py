"""The migration job on real SQLite files; a small Alembic folder stands in for MLflow's."""

import ast
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest
import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import orm
from sqlalchemy.exc import OperationalError
from werkzeug.security import check_password_hash

from ops import migration
from ops.migration import LOGIN, SIGN_ON, TRACKING, JobError

FIRST = """
revision, down_revision = "aaa1", None
import sqlalchemy as sa
from alembic import op
def upgrade():
    op.create_table("experiments", sa.Column("id", sa.Integer, primary_key=True))
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("experiment", sa.Integer, sa.ForeignKey("experiments.id")),
    )
"""
SECOND = """
revision, down_revision = "bbb2", "aaa1"
import sqlalchemy as sa
from alembic import op
def upgrade():
    op.create_table("traces", sa.Column("id", sa.Integer, primary_key=True))
    op.add_column("runs", sa.Column("name", sa.String(10)))
"""


class Job:
    """The job on one database, with the stand-in's scripts and upgrade."""

    def __init__(self, folder: Path) -> None:
        versions = folder / "scripts" / "versions"
        versions.mkdir(parents=True)
        (versions / "first.py").write_text(FIRST, "utf-8")
        (versions / "second.py").write_text(SECOND, "utf-8")
        self.file = folder / "mlflow.db"
        self.uri = f"sqlite:///{self.file}"
        self.engine = sa.create_engine(self.uri)
        self.script = ScriptDirectory(str(folder / "scripts"))
        self.upgrades: list[str] = []
        self.target = "bbb2"

    def upgrade_to(self, revision: str) -> None:
        """Bring the database to a revision, as `mlflow db upgrade` of that time did."""

        def steps(current: str, _: object) -> object:
            return self.script._upgrade_revs(revision, current)

        with (
            EnvironmentContext(Config(), self.script, fn=steps) as context,
            self.engine.begin() as connection,
        ):
            context.configure(connection=connection)
            context.run_migrations()

    def upgrade(self, uri: str) -> None:
        """Stand in for MLflow's own migration."""
        self.upgrades.append(uri)
        self.upgrade_to(self.target)

    def killed_upgrade(self, _: str) -> None:
        """Stand in for a migration that is killed half-way."""
        self.upgrade_to("aaa1")
        raise KeyboardInterrupt

    def run(self, *, existing: bool = False) -> None:
        migration.migrate(self.engine, self.uri, existing=existing)

    def do(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement))

    def tables(self) -> set[str]:
        return set(sa.inspect(self.engine).get_table_names())

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement))]

    def content(self) -> list[str]:
        """Return all of the database as SQL."""
        with closing(sqlite3.connect(self.file)) as connection:
            return list(connection.iterdump())


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    made = Job(tmp_path)
    monkeypatch.setattr(migration, "scripts", lambda _: made.script)
    monkeypatch.setattr(migration, "upgrade", made.upgrade)
    monkeypatch.setattr(migration, "CONNECT_SECONDS", 0)
    yield made
    made.engine.dispose()


WHOLE = {"alembic_version", "experiments", "runs", "traces"}


def test_the_module_needs_sqlalchemy_and_alembic_only() -> None:
    tree = ast.parse(Path(migration.__file__).read_text("utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(str(node.module).partition(".")[0])

    assert names - sys.stdlib_module_names == {"sqlalchemy", "alembic"}


def test_an_empty_database_is_brought_to_the_newest_revision(job: Job) -> None:
    job.run()

    assert job.upgrades == [job.uri]
    assert migration.revision(job.engine, TRACKING) == "bbb2"
    assert job.tables() == WHOLE


def test_a_current_database_is_left_alone(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.run()
    job.do("INSERT INTO runs VALUES (1, NULL, 'x')")
    before = job.file.read_bytes()
    job.run()
    job.run(existing=True)

    assert job.upgrades == [job.uri]
    assert job.file.read_bytes() == before
    assert capsys.readouterr().err.splitlines()[-1] == "schema is current: bbb2"


def test_the_journal_is_open_exactly_while_the_migration_runs(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def upgrade(_: str) -> None:
        seen.append(migration.journal(job.engine, TRACKING))
        job.upgrade_to("bbb2")

    monkeypatch.setattr(migration, "upgrade", upgrade)
    job.run()
    (row,) = seen

    assert row is not None
    assert (row.from_revision, row.to_revision) == ("", "bbb2")
    assert row.started_at.endswith("Z")
    assert migration.journal(job.engine, TRACKING) is None


def test_mlflow_takes_a_database_with_nothing_but_the_journal_for_empty(job: Job) -> None:
    """The rule of mlflow/store/db/utils.py, _is_empty_database, MLflow 3.17.2."""
    migration.open_journal(job.engine, TRACKING, "", "bbb2")

    assert all(name.startswith("alembic_") for name in job.tables())


def test_an_interrupted_first_migration_is_undone_and_said(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(migration, "upgrade", job.killed_upgrade)
    with pytest.raises(KeyboardInterrupt):
        job.run()
    assert "runs" in job.tables()

    monkeypatch.setattr(migration, "upgrade", job.upgrade)
    job.run()
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]

    assert len(notes) == 1
    assert "was undone: the database held no data" in notes[0]
    assert migration.revision(job.engine, TRACKING) == "bbb2"
    assert job.tables() == WHOLE


def test_a_first_migration_may_be_interrupted_any_number_of_times(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        monkeypatch.setattr(migration, "upgrade", job.killed_upgrade)
        with pytest.raises(KeyboardInterrupt):
            job.run()
        row = migration.journal(job.engine, TRACKING)
        assert row is not None
        assert row.from_revision == ""

    monkeypatch.setattr(migration, "upgrade", job.upgrade)
    job.run()
    assert job.tables() == WHOLE


def test_a_kill_after_the_last_change_only_leaves_the_journal_to_close(job: Job) -> None:
    migration.open_journal(job.engine, TRACKING, "", "bbb2")
    job.upgrade_to("bbb2")
    job.do("INSERT INTO runs VALUES (1, NULL, 'x')")
    job.run()

    assert job.upgrades == []
    assert job.tables() == WHOLE
    assert job.rows("SELECT id FROM runs") == [(1,)]


def refused(job: Job, *, existing: bool = False) -> JobError:
    """Return the error of a job that must not touch the database."""
    before = job.content()
    with pytest.raises(JobError) as caught:
        job.run(existing=existing)
    assert caught.value.code == 2
    assert job.content() == before
    assert job.upgrades == []
    return caught.value


@pytest.mark.parametrize("existing", [False, True])
def test_an_interrupted_first_migration_is_not_undone_once_a_run_was_logged(
    job: Job, existing: bool
) -> None:
    migration.open_journal(job.engine, TRACKING, "", "bbb2")
    job.upgrade_to("aaa1")
    job.do("INSERT INTO runs VALUES (1, NULL)")
    error = refused(job, existing=existing)

    assert "half-migrated: it was being migrated from empty to bbb2 since 20" in error.cause
    assert "restore the copy" in error.remedy


@pytest.mark.parametrize("existing", [False, True])
def test_an_interrupted_later_migration_is_refused_and_never_tried_again(
    job: Job, existing: bool
) -> None:
    job.upgrade_to("aaa1")
    migration.open_journal(job.engine, TRACKING, "aaa1", "bbb2")
    error = refused(job, existing=existing)

    assert "half-migrated: it was being migrated from aaa1 to bbb2" in error.cause


@pytest.mark.parametrize("existing", [False, True])
def test_tables_without_a_revision_are_refused(job: Job, existing: bool) -> None:
    job.do("CREATE TABLE somebody (id INTEGER)")

    assert "holds tables but names no schema revision" in refused(job, existing=existing).cause


def test_a_plan_says_what_is_ahead_in_order_and_touches_nothing(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "3.17.2")
    steps = [{"revision": "aaa1", "what": ""}, {"revision": "bbb2", "what": ""}]

    for current, ahead in (("aaa1", steps[1:]), ("bbb2", [])):
        found = {"name": "schema", "from": current, "to": "bbb2", "migrations": ahead}
        assert {"mlflow": "3.17.2", "schemas": [found]} == migration.plan([f"schema={current}"])
    assert not job.file.exists()


def test_a_plan_from_a_newer_mlflow_is_refused(job: Job) -> None:
    assert job.file
    with pytest.raises(JobError, match="at revision zzz9, which this MLflow does not know"):
        migration.plan(["schema=zzz9"])


def test_a_database_of_an_older_mlflow_is_migrated_only_when_asked(job: Job) -> None:
    job.upgrade_to("aaa1")
    job.do("INSERT INTO experiments VALUES (7)", "INSERT INTO runs VALUES (1, 7)")
    error = refused(job)
    assert error.cause == "the database is at revision aaa1 of an older MLflow; this one needs bbb2"
    assert "invoke up --migrate" in error.remedy

    job.run(existing=True)
    assert migration.revision(job.engine, TRACKING) == "bbb2"
    assert job.rows("SELECT * FROM runs") == [(1, 7, None)]


@pytest.mark.parametrize("existing", [False, True])
def test_a_database_of_a_newer_mlflow_is_refused(job: Job, existing: bool) -> None:
    job.do("CREATE TABLE alembic_version (version_num VARCHAR(32))")
    job.do("INSERT INTO alembic_version VALUES ('zzz9')")
    error = refused(job, existing=existing)

    assert "revision zzz9, which this MLflow does not know" in error.cause


def test_a_failed_migration_keeps_its_journal(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise JobError("the migration failed: no space", "look", 1)

    job.upgrade_to("aaa1")
    monkeypatch.setattr(migration, "upgrade", fail)
    with pytest.raises(JobError, match="no space"):
        job.run(existing=True)

    assert migration.journal(job.engine, TRACKING) is not None


# --- What MLflow says when it fails: its command is a stand-in program ---


@pytest.fixture
def mlflow_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    def say(text: str, code: int) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{text}\nEND\nexit {code}\n", "utf-8")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))

    return say


@pytest.mark.parametrize(
    "line",
    [
        "(MySQLdb.OperationalError) (1050, \"Table 'experiments' already exists\")",
        "(MySQLdb.OperationalError) (1060, \"Duplicate column name 'name'\")",
        "(MySQLdb.OperationalError) (1061, \"Duplicate key name 'index'\")",
        "(MySQLdb.OperationalError) (1826, \"Duplicate foreign key constraint name 'x'\")",
        "(sqlite3.OperationalError) table experiments already exists",
        "(sqlite3.OperationalError) duplicate column name: name",
    ],
)
def test_a_schema_that_was_half_made_is_recognised_by_what_the_database_says(
    mlflow_says: Callable[[str, int], None], line: str
) -> None:
    mlflow_says(f"Traceback …\n{line}\n[SQL: …]", 1)
    with pytest.raises(JobError) as caught:
        migration.upgrade("sqlite://")

    assert "half-migrated: it already holds parts of a later revision" in caught.value.cause
    assert line in caught.value.cause
    assert caught.value.code == 2


def test_any_other_failure_shows_its_last_line(mlflow_says: Callable[[str, int], None]) -> None:
    mlflow_says("Traceback …\n(1419, 'You do not have the SUPER privilege')\n\n", 1)
    with pytest.raises(JobError) as caught:
        migration.upgrade("sqlite://")

    assert caught.value.code == 1
    assert "(1419, 'You do not have the SUPER privilege')" in caught.value.cause


def test_a_failure_without_a_word_shows_the_exit_code(
    mlflow_says: Callable[[str, int], None],
) -> None:
    mlflow_says("", 137)
    with pytest.raises(JobError, match="exit code 137"):
        migration.upgrade("sqlite://")


def test_a_migration_that_succeeds_raises_nothing(
    mlflow_says: Callable[[str, int], None],
) -> None:
    mlflow_says("INFO: table x already exists, fine", 0)
    migration.upgrade("sqlite://")


# --- The program ---


def main(job: Job, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", job.uri)
    monkeypatch.setattr(sys, "argv", ["migration.py", *words])
    return migration.main()


def test_the_program_ends_with_0_when_the_schema_is_current(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(job, monkeypatch) == 0
    assert main(job, monkeypatch) == 0


def test_the_program_prints_its_error_and_ends_with_its_code(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job.upgrade_to("aaa1")
    assert main(job, monkeypatch) == 2
    out, err = capsys.readouterr()

    assert out == ""
    assert err.splitlines()[0].startswith("error: the database is at revision aaa1")
    assert err.splitlines()[1].startswith("  try: ")
    assert main(job, monkeypatch, "--existing") == 0


def test_a_database_that_cannot_be_reached_is_an_error(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job.uri = "sqlite:////no/such/folder/mlflow.db"

    assert main(job, monkeypatch) == 1
    assert "error: cannot reach the database: unable to open" in capsys.readouterr().err


class Refusing(sa.Engine):
    """What the driver answers where one does not get in."""

    def __init__(self, *error: object) -> None:
        self.error = RuntimeError(*error)
        self.url = sa.make_url("mysql+mysqldb://db:3306/mlflow_oidc")

    def connect(self) -> sa.Connection:
        raise OperationalError("", None, self.error)


@pytest.mark.parametrize(
    ("error", "cause", "remedy"),
    [
        (
            (1045, "Access denied for user 'mlflow'@'172.18.0.4'"),
            "the database refuses the password",
            "put the MYSQL_PASSWORD of that time back",
        ),
        (
            (1049, "Unknown database 'mlflow_oidc'"),
            "the MySQL at db has no database mlflow_oidc",
            "make it there, with all rights on it for mlflow",
        ),
        (
            (2026, "TLS/SSL error: self-signed certificate in certificate chain"),
            "db does not prove that it is the database",
            "set DATABASE_CA_FILE to the CA",
        ),
        (
            (2026, "TLS/SSL error: Hostname verification failed"),
            "db does not prove that it is the database",
            "DATABASE_HOST to a name in it",
        ),
    ],
)
def test_a_database_that_does_not_let_in_is_told_from_one_that_is_starting(
    error: tuple[int, str], cause: str, remedy: str
) -> None:
    with pytest.raises(JobError, match=cause) as caught, migration.connect(Refusing(*error)):
        pass

    assert caught.value.code == 2
    assert remedy in caught.value.remedy


def test_a_handshake_that_a_starting_server_ends_is_not_one_of_another_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ops.migration.CONNECT_SECONDS", 0)
    refusing = Refusing(2026, "TLS/SSL error: unexpected eof while reading")
    with pytest.raises(JobError, match="cannot reach") as caught, migration.connect(refusing):
        pass

    assert caught.value.code == 1


# --- Those who sign on at an identity provider: the plugin's scripts and models are stand-ins ---

SIGN_ON_FIRST = """
revision, down_revision = "ooo1", None
from alembic import op
from mlflow_oidc_auth.db.models import Base
def upgrade():
    Base.metadata.create_all(op.get_bind())
"""
SIGN_ON_SECOND = """
revision, down_revision = "ooo2", "ooo1"
from alembic import op
def upgrade():
    op.execute("UPDATE groups SET name = 'x'")
"""
SIGN_ON_ENV = """
import sqlalchemy as sa
from alembic import context
engine = sa.create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.begin() as connection:
    context.configure(connection=connection)
    context.run_migrations()
engine.dispose()
"""


class Base(orm.DeclarativeBase):
    """The plugin's tables, as far as the job knows them (11.0.2)."""


class SqlUser(Base):
    __tablename__ = "users"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    username: orm.Mapped[str] = orm.mapped_column(unique=True)
    display_name: orm.Mapped[str]
    is_admin: orm.Mapped[bool]
    active: orm.Mapped[bool]
    managed_by: orm.Mapped[str]
    is_service_account: orm.Mapped[bool]
    service_account_source: orm.Mapped[str]


class SqlUserToken(Base):
    __tablename__ = "user_tokens"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    user_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("users.id"))
    name: orm.Mapped[str]
    token_prefix: orm.Mapped[str | None]
    token_hash: orm.Mapped[str]
    created_at: orm.Mapped[datetime]
    expires_at: orm.Mapped[datetime]


class SqlGroup(Base):
    __tablename__ = "groups"

    name: orm.Mapped[str] = orm.mapped_column(primary_key=True)


class SignOn:
    """The job where people log in at a provider: two databases, and the file of the first user."""

    def __init__(self, job: Job, folder: Path) -> None:
        self.job, self.login = job, folder / "auth_config"
        versions = folder / "sign-on" / "versions"
        versions.mkdir(parents=True)
        (versions / "first.py").write_text(SIGN_ON_FIRST, "utf-8")
        (versions / "second.py").write_text(SIGN_ON_SECOND, "utf-8")
        (versions.parent / "env.py").write_text(SIGN_ON_ENV, "utf-8")
        self.script = ScriptDirectory(str(versions.parent))
        self.engine = sa.create_engine(f"sqlite:///{folder}/{migration.SIGN_ON_DATABASE}")

    def set_password(self, password: str) -> None:
        text = f"[mlflow]\nadmin_username = admin\nadmin_password = {password}\n"
        self.login.write_text(text, "utf-8")

    def users(self) -> list[SqlUser]:
        with orm.Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(sa.select(SqlUser)))

    def tokens(self) -> list[SqlUserToken]:
        with orm.Session(self.engine, expire_on_commit=False) as session:
            return list(session.scalars(sa.select(SqlUserToken).order_by(SqlUserToken.id)))


@pytest.fixture
def sign_on(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SignOn]:
    made = SignOn(job, tmp_path)
    made.set_password("swordfish")
    models = {"Base": Base, "SqlUser": SqlUser, "SqlUserToken": SqlUserToken}
    for name, fields in (
        ("mlflow_oidc_auth", {}),
        ("mlflow_oidc_auth.db", {}),
        ("mlflow_oidc_auth.db.models", models),
    ):
        module = ModuleType(name)
        vars(module).update(fields)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(
        migration, "scripts", lambda schema: made.script if schema is SIGN_ON else job.script
    )
    monkeypatch.setattr(migration, "LOGIN_FILE", made.login)
    monkeypatch.setenv("AUTH", "oidc")
    monkeypatch.chdir(tmp_path)  # SQLite has its databases in files
    yield made
    made.engine.dispose()
    if sa.event.contains(sa.Engine, "before_cursor_execute", migration.quoted):
        sa.event.remove(sa.Engine, "before_cursor_execute", migration.quoted)


def test_who_signs_on_is_in_a_database_of_its_own_with_the_first_user(
    sign_on: SignOn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(sign_on.job, monkeypatch) == 0
    [admin], [token] = sign_on.users(), sign_on.tokens()

    assert capsys.readouterr().err.splitlines()[-2:] == [
        "migrating the sign-on's schema from nothing to ooo2",
        "sign-on's schema is current: ooo2",
    ]
    assert sign_on.job.tables() == WHOLE
    assert migration.revision(sign_on.engine, SIGN_ON) == "ooo2"
    assert migration.journal(sign_on.engine, SIGN_ON) is None
    assert (admin.username, admin.is_admin, admin.active) == ("admin", True, True)
    assert (token.user_id, token.token_prefix) == (admin.id, None)
    assert check_password_hash(token.token_hash, "swordfish")
    assert token.expires_at.year == 9999


@pytest.mark.parametrize("auth", ["basic", "none"])
def test_nobody_else_has_such_a_database(
    sign_on: SignOn, monkeypatch: pytest.MonkeyPatch, auth: str
) -> None:
    monkeypatch.setenv("AUTH", auth)
    monkeypatch.setattr(migration, "upgrade_login", lambda _: None)
    main(sign_on.job, monkeypatch)

    assert sa.inspect(sign_on.engine).get_table_names() == []


def test_what_is_as_it_should_be_is_left_alone(
    sign_on: SignOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(sign_on.job, monkeypatch)
    [before] = sign_on.tokens()
    assert main(sign_on.job, monkeypatch) == 0
    [after] = sign_on.tokens()

    assert (before.token_hash, before.created_at) == (after.token_hash, after.created_at)


def test_another_password_takes_the_place_of_the_one_before_and_of_no_token(
    sign_on: SignOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(sign_on.job, monkeypatch)
    now = datetime.now(UTC)
    with orm.Session(sign_on.engine) as session, session.begin():
        [admin] = sign_on.users()
        its = {"user_id": admin.id, "token_hash": "x", "created_at": now, "expires_at": now}
        session.add(SqlUserToken(**its, name="nightly", token_prefix="0123abcd"))
    sign_on.set_password("herring%%")
    assert main(sign_on.job, monkeypatch) == 0
    password, token = sign_on.tokens()

    assert check_password_hash(password.token_hash, "herring%")
    assert not check_password_hash(password.token_hash, "swordfish")
    assert ("nightly", "x") == (token.name, token.token_hash)


def test_a_first_user_that_somebody_has_made_less_of_is_the_admin_again(
    sign_on: SignOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    main(sign_on.job, monkeypatch)
    with sign_on.engine.begin() as connection:
        connection.execute(sa.text("UPDATE users SET is_admin = 0, active = 0"))
    main(sign_on.job, monkeypatch)
    [admin] = sign_on.users()

    assert (admin.is_admin, admin.active, admin.managed_by) == (True, True, "manual")


def test_an_interrupted_first_migration_of_it_is_undone_while_nobody_signed_on(
    sign_on: SignOn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    migration.open_journal(sign_on.engine, SIGN_ON, "", "ooo2")
    with sign_on.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE groups (name TEXT)"))
    assert main(sign_on.job, monkeypatch) == 0
    assert "an interrupted first migration of" in capsys.readouterr().err

    migration.open_journal(sign_on.engine, SIGN_ON, "", "ooo2")
    with sign_on.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'ooo1'"))
    assert main(sign_on.job, monkeypatch) == 2
    assert "half-migrated: it was being migrated from empty" in capsys.readouterr().err
    assert 1 == len(sign_on.users())


def test_an_older_database_of_those_who_signed_on_is_migrated_only_when_asked(
    sign_on: SignOn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(sign_on.job, monkeypatch)
    with sign_on.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'ooo1'"))
        connection.execute(sa.text("INSERT INTO groups VALUES ('y')"))
    assert main(sign_on.job, monkeypatch) == 2
    assert "the database is at revision ooo1" in capsys.readouterr().err

    assert main(sign_on.job, monkeypatch, "--existing") == 0
    with sign_on.engine.connect() as connection:
        assert "x" == connection.scalar(sa.text("SELECT name FROM groups"))


def test_its_migrations_run_with_the_names_that_mysql_keeps_for_itself_in_quotes(
    sign_on: SignOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def hear(_c: object, _u: object, statement: str, *_: object) -> None:
        said.append(statement)

    sa.event.listen(sa.Engine, "after_cursor_execute", hear)
    try:
        main(sign_on.job, monkeypatch)
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", hear)

    assert "UPDATE `groups` SET name = 'x'" in said


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE groups SET a = 1", "UPDATE `groups` SET a = 1"),
        ("DELETE FROM groups WHERE a", "DELETE FROM `groups` WHERE a"),
        ("UPDATE groups_of_it SET groups = 1", "UPDATE groups_of_it SET groups = 1"),
        ("UPDATE `groups` SET a = 1", "UPDATE `groups` SET a = 1"),
        ("SELECT 'UPDATE groups'", "SELECT 'UPDATE groups'"),
    ],
)
def test_nothing_but_that_name_is_put_in_quotes(statement: str, expected: str) -> None:
    given = {"a": 1}

    assert migration.quoted(None, None, statement, given, None, False) == (expected, given)


@pytest.mark.usefixtures("sign_on")
def test_an_address_with_a_percent_sign_is_the_one_that_is_migrated(tmp_path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/50%.db")
    migration.migrate(engine, "", existing=False, schema=SIGN_ON)

    assert migration.revision(engine, SIGN_ON) == "ooo2"
    engine.dispose()


def test_all_that_is_in_a_database_of_their_own_is_of_those_who_sign_on(job: Job) -> None:
    job.do("CREATE TABLE runs (id INTEGER)", "CREATE TABLE users (id INTEGER)")
    for schema in (TRACKING, LOGIN, SIGN_ON):
        migration.open_journal(job.engine, schema, "", "x")

    assert migration.own_tables(job.engine, TRACKING) == {"runs"}
    assert migration.own_tables(job.engine, LOGIN) == {"users"}
    assert migration.own_tables(job.engine, SIGN_ON) == {"runs", "users"}
