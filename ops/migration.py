"""The migration job: brings the database to the schema of the installed MLflow, or says why not.

There is the one of what is tracked, and one of who may log in: with AUTH=basic in the same
database, with AUTH=oidc in another. Runs beside MLflow, in the server image or the embedded
environment, never inside the server, and imports SQLAlchemy and Alembic only, which MLflow brings
(the login's migrations import parts of it, or of the plugin).

MySQL cannot undo a schema change, so a killed migration leaves a half-made schema on which every
later try fails ("table already exists", https://github.com/mlflow/mlflow/issues/23721). A row in a
journal table marks the time in between: it is written before the first change and removed after
the last.

Exit codes: 0 the schema is current; 1 tried and failed; 2 refused, nothing touched.
"""

import argparse
import configparser
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from alembic.command import upgrade as run_migrations
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import ForeignKeyConstraint
from sqlalchemy.sql.compiler import DDLCompiler


def journal_table(name: str) -> sa.Table:
    """Return a journal.

    Its name begins with "alembic_" because MLflow takes a database for empty when the name of every
    table does (mlflow/store/db/utils.py, _is_empty_database).
    """
    return sa.Table(
        f"alembic_{name}",
        sa.MetaData(),
        sa.Column("from_revision", sa.String(64), nullable=False),
        sa.Column("to_revision", sa.String(64), nullable=False),
        sa.Column("started_at", sa.String(20), nullable=False),
    )


@dataclass(frozen=True)
class Schema:
    """One of the schemas: where its migrations are, and which tables are its own.

    `used` is the table that has rows once somebody uses it.
    """

    name: str
    package: str
    migrations: tuple[str, ...]
    version_table: str
    journal: sa.Table
    used: str


TRACKING = Schema(
    "schema",
    "mlflow",
    ("store", "db_migrations"),
    "alembic_version",
    journal_table("migration_journal"),
    "runs",
)
LOGIN = Schema(
    "login's schema",
    "mlflow",
    ("server", "auth", "db", "migrations"),
    "alembic_version_auth",
    journal_table("login_journal"),
    "users",
)
SIGN_ON = Schema(
    "sign-on's schema",
    "mlflow_oidc_auth",
    ("db", "migrations"),
    "alembic_version",
    journal_table("sign_on_journal"),
    "users",
)
SIGN_ON_DATABASE = "mlflow_oidc"
"""A database of its own: its tables have the names of MLflow's login's."""

BOOKKEEPING = {
    name for each in (TRACKING, LOGIN, SIGN_ON) for name in (each.version_table, each.journal.name)
}

LOGIN_TABLES = re.compile(r"users|roles|user_role_assignments|[a-z_]+_permissions")
"""What its migrations make; a test compares it with them."""

# "exists already" for a table, column, key, foreign key: what a half-made schema answers.
# https://dev.mysql.com/doc/mysql-errors/9.7/en/server-error-reference.html
HALF_MADE = re.compile(r"\((1050|1060|1061|1826), |already exists|duplicate column name")

SERVER = "SELECT @@log_bin, @@log_bin_trust_function_creators, @@collation_database"

UNQUOTED = re.compile(r"^(UPDATE|DELETE FROM) groups\b")
"""A table of its migrations whose name is a word of MySQL's own since 8.0 (11.0.2)."""

NEVER = datetime(9999, 12, 31)  # noqa: DTZ001 - the column has no zone
"""When the first user's password ends."""

NEWEST = "mlflow_compose_newest"
"""An index of our own."""

LOGIN_FILE = Path("/run/secrets/auth_config")
"""Name and password of the first user, as MLflow reads them."""

CONNECT_SECONDS = 60
LOCK_SECONDS = 120
ACCESS_DENIED = 1045
UNKNOWN_DATABASE = 1049
TLS_FAILED = 2026
UNPROVEN = re.compile("certificate|Hostname")
"""Words for a server's certificate that is not good, among others for a connection that ended."""


class JobError(Exception):
    """Why the job stopped: cause, remedy and exit code."""

    def __init__(self, cause: str, remedy: str, code: int) -> None:
        super().__init__(cause)
        self.cause, self.remedy, self.code = cause, remedy, code


def main() -> int:
    """Run the job on the database in MLFLOW_BACKEND_STORE_URI."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--existing",
        action="store_true",
        help="also migrate a database that already holds data of an older MLflow",
    )
    parser.add_argument("--head", action="store_true", help="print the revision needed, and end")
    parser.add_argument(
        "--plan",
        metavar="SCHEMA=REVISION",
        nargs="+",
        help="print what would be done to schemas at these revisions, and end",
    )
    options = parser.parse_args()
    if options.head:
        print(head_revision())
        return 0
    try:
        if options.plan:
            print(json.dumps(plan(options.plan)))
            return 0
        uri = os.environ["MLFLOW_BACKEND_STORE_URI"]
        engine = sa.create_engine(uri)
        with connect(engine) as connection, exclusive(connection):
            migrate(engine, uri, existing=options.existing)
            keep_index(engine)
            if os.environ.get("AUTH") == "basic":
                migrate(engine, uri, existing=options.existing, schema=LOGIN)
            if os.environ.get("AUTH") == "oidc":
                prepare_sign_on(engine.url, existing=options.existing)
    except JobError as error:
        say(f"error: {error.cause}\n  try: {error.remedy}")
        return error.code
    return 0


def plan(found: list[str]) -> dict[str, object]:
    """Return what MLflow this is, and the migrations from revisions to its own, in order."""
    by_name = {each.name: each for each in (TRACKING, LOGIN, SIGN_ON)}
    schemas = []
    for name, _, current in (each.partition("=") for each in found):
        schema, head = by_name[name], head_revision(by_name[name])
        check_known(current, schema)
        ahead = reversed(list(scripts(schema).iterate_revisions(head, current)))
        steps = [{"revision": each.revision, "what": each.doc} for each in ahead]
        schemas.append({"name": name, "from": current, "to": head, "migrations": steps})
    return {"mlflow": importlib.metadata.version("mlflow"), "schemas": schemas}


def migrate(engine: sa.Engine, uri: str, *, existing: bool, schema: Schema = TRACKING) -> None:
    """Look at the database, then do what it needs; checks end where the journal is opened."""
    head, current = head_revision(schema), revision(engine, schema)
    begun = journal(engine, schema)
    if current == head:
        if begun is not None:
            close_journal(engine, schema)
        say(f"{schema.name} is current: {head}")
        return
    if begun is not None:
        start = undo_first_migration(engine, begun, schema)
        say(
            f"note: an interrupted first migration of {start} was undone: the database held no data"
        )
        current = None
    elif current is None and own_tables(engine, schema):
        raise half_made("holds tables but names no schema revision")
    elif current is not None:
        check_older(current, head, schema, existing=existing)
    check_server(engine)
    open_journal(engine, schema, current or "", head)
    say(f"migrating the {schema.name} from {current or 'nothing'} to {head}")
    match schema.name:
        case LOGIN.name:
            upgrade_login(engine)
        case SIGN_ON.name:
            upgrade_sign_on(engine)
        case _:
            upgrade(uri)
    close_journal(engine, schema)
    say(f"{schema.name} is current: {head}")


def keep_index(engine: sa.Engine) -> None:
    """Have an index by which MySQL knows the newest runs of an experiment without looking at all.

    Of 100,000 the first page came in 17 ms instead of 587, the one after 90,000 in 69 instead of
    611 (measured). MLflow's migrations know nothing of it, and MySQL keeps it in step with its
    columns. It is made while others read and write.
    https://dev.mysql.com/doc/refman/9.7/en/innodb-online-ddl-operations.html
    """
    if engine.dialect.name != "mysql":
        return
    if any(index["name"] == NEWEST for index in sa.inspect(engine).get_indexes("runs")):
        return
    columns = "experiment_id, lifecycle_stage, start_time DESC, run_uuid"
    say(f"making the index {NEWEST}")
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE INDEX {NEWEST} ON runs ({columns})"))


def check_older(current: str, head: str, schema: Schema, *, existing: bool) -> None:
    """Refuse a database of a newer MLflow always, of an older one unless that is wanted."""
    check_known(current, schema)
    if not existing:
        raise JobError(
            f"the database is at revision {current} of an older MLflow; this one needs {head}",
            "with backups: invoke upgrade; without, back it up by hand, then: invoke up --migrate",
            2,
        )


def check_known(current: str, schema: Schema) -> None:
    """Refuse a database that a newer MLflow has migrated."""
    try:
        scripts(schema).get_revision(current)
    except CommandError:
        raise JobError(
            f"the database is at revision {current}, which this MLflow does not know: "
            "a newer MLflow has migrated it",
            "check out the release of this repository that ran before",
            2,
        ) from None


def check_server(engine: sa.Engine) -> None:
    """Refuse a MySQL on which the migration would die half-way, or that would change names."""
    if engine.dialect.name != "mysql":
        return
    with engine.connect() as connection:
        logs, trusts, collation = connection.execute(sa.text(SERVER)).one()
    if logs and not trusts:
        raise JobError(
            "MySQL would refuse a trigger that MLflow makes (error 1419): it has a binary log and "
            "log_bin_trust_function_creators is off",
            "switch it on there: in RDS, a parameter group",
            2,
        )
    if not str(collation).startswith("utf8mb4"):
        raise JobError(
            f"the database's collation is {collation}, which has no room for every character",
            "make it anew: CREATE DATABASE mlflow CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin",
            2,
        )


def undo_first_migration(
    engine: sa.Engine, begun: sa.Row[tuple[str, str, str]], schema: Schema
) -> str:
    """Drop what an interrupted first migration made; return when it began.

    Only a migration that began on an empty database is undone, and only while it holds no run, or
    nobody to log in: the server starts after the job, so nothing can be lost.
    """
    if begun.from_revision or is_used(engine, schema):
        raise half_made(
            f"was being migrated from {begun.from_revision or 'empty'} to {begun.to_revision} "
            f"since {begun.started_at} and that was interrupted"
        )
    made = sa.MetaData()
    names = own_tables(engine, schema) | {schema.version_table}
    made.reflect(engine, only=lambda name, _: name in names)
    made.drop_all(engine)
    return str(begun.started_at)


def half_made(what: str) -> JobError:
    """Return the error for a schema between two revisions."""
    return JobError(
        f"the database is half-migrated: it {what}",
        "restore the copy made before it (docs/runbook.md, 'half-migrated')",
        2,
    )


def upgrade(uri: str) -> None:
    """Run MLflow's own migration; on failure say whether the schema was half-made before."""
    command = [sys.executable, "-I", "-m", "mlflow", "db", "upgrade", uri]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            sys.stderr.write(line)
            lines.append(line.strip())
    if process.returncode == 0:
        return
    last = next((line for line in reversed(lines) if line), f"exit code {process.returncode}")
    found = next((line for line in lines if HALF_MADE.search(line)), None)
    if found:
        raise half_made(f"already holds parts of a later revision: {found}")
    raise JobError(f"the migration failed: {last}", "read the lines above; nothing was retried", 1)


@compiles(ForeignKeyConstraint, "mysql")
def unnamed(constraint: ForeignKeyConstraint, compiler: DDLCompiler, **options: object) -> str:
    """Leave names of foreign keys to MySQL: the login's migrations use one twice (error 1826)."""
    constraint.name = None
    return compiler.visit_foreign_key_constraint(constraint, **options)


def upgrade_login(engine: sa.Engine) -> None:
    """Run the migrations of MLflow's login, as its server would at a start."""
    utils = importlib.import_module("mlflow.server.auth.db.utils")
    with explained():
        utils.migrate(engine, "head")


def prepare_sign_on(url: sa.URL, *, existing: bool) -> None:
    """Bring the database of those who sign on to its schema, with the first user in it."""
    engine = sa.create_engine(url.set(database=SIGN_ON_DATABASE))
    with connect(engine):
        migrate(engine, "", existing=existing, schema=SIGN_ON)
    keep_admin(engine)


def upgrade_sign_on(engine: sa.Engine) -> None:
    """Run the plugin's migrations, on connections of their own.

    Its server would run them while it holds a transaction open, and wait for itself for ever.
    """
    config = Config()
    config.set_main_option("script_location", scripts(SIGN_ON).dir)
    url = engine.url.render_as_string(hide_password=False)
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    config.attributes["configure_logging"] = False
    sa.event.listen(sa.Engine, "before_cursor_execute", quoted, retval=True)
    with explained():
        run_migrations(config, "head")


def quoted(
    _connection: object, _cursor: object, statement: str, given: object, *_others: object
) -> tuple[str, object]:
    """Put a name that MySQL has taken for itself into quotes."""
    return UNQUOTED.sub(r"\1 `groups`", statement), given


def keep_admin(engine: sa.Engine) -> None:
    """Have the first user, whom no identity provider knows, with the password of the settings.

    For our own commands, and for when the provider is away. The plugin keeps such a password as one
    of an account for programs: with a year to live at most if it makes it itself.
    """
    orm = importlib.import_module("sqlalchemy.orm")
    models = importlib.import_module("mlflow_oidc_auth.db.models")
    security = importlib.import_module("werkzeug.security")
    told = configparser.ConfigParser()
    told.read(LOGIN_FILE)
    name, password = told["mlflow"]["admin_username"], told["mlflow"]["admin_password"]
    with orm.Session(engine) as session, session.begin():
        user = session.query(models.SqlUser).filter_by(username=name).one_or_none()
        if user is None:
            user = models.SqlUser(username=name, display_name=name)
            session.add(user)
        user.is_admin, user.active, user.managed_by = True, True, "manual"
        user.is_service_account, user.service_account_source = True, "internal"
        session.flush()
        its = {"user_id": user.id, "token_prefix": None}
        token = session.query(models.SqlUserToken).filter_by(**its).one_or_none()
        if token and security.check_password_hash(token.token_hash, password):
            return
        if token is None:
            token = models.SqlUserToken(**its, name="ADMIN_PASSWORD", expires_at=NEVER)
            session.add(token)
        token.token_hash = security.generate_password_hash(password)
        token.created_at = datetime.now(UTC).replace(tzinfo=None)


@contextmanager
def explained() -> Iterator[None]:
    """Say of a failed migration of a login whether its schema was half-made before."""
    try:
        yield
    except DBAPIError as error:
        said = str(error.orig)
        if HALF_MADE.search(said):
            raise half_made(f"already holds parts of a later revision: {said}") from None
        raise JobError(
            f"the migration of the login failed: {said}", "nothing was retried", 1
        ) from None


def scripts(schema: Schema) -> ScriptDirectory:
    """Return the migrations of a schema, without importing what brings them."""
    spec = importlib.util.find_spec(schema.package)
    assert spec is not None
    assert spec.origin is not None
    return ScriptDirectory(str(Path(spec.origin).parent.joinpath(*schema.migrations)))


def head_revision(schema: Schema = TRACKING) -> str:
    """Return the schema revision the installed MLflow needs."""
    head = scripts(schema).get_current_head()
    assert head is not None
    return head


def revision(engine: sa.Engine, schema: Schema) -> str | None:
    """Return the schema revision of the database; None where there is none."""
    if schema.version_table not in sa.inspect(engine).get_table_names():
        return None
    table = sa.table(schema.version_table, sa.column("version_num", sa.String))
    with engine.connect() as connection:
        found: str | None = connection.scalar(sa.select(table.c.version_num))
    return found


def own_tables(engine: sa.Engine, schema: Schema) -> set[str]:
    """Return the tables of a schema that are there, without the migrations' bookkeeping."""
    every = set(sa.inspect(engine).get_table_names()) - BOOKKEEPING
    if schema is SIGN_ON:
        return every
    login = {name for name in every if LOGIN_TABLES.fullmatch(name)}
    return login if schema is LOGIN else every - login


def is_used(engine: sa.Engine, schema: Schema) -> bool:
    """Say whether any run was ever logged to the database, or anybody may log in."""
    if schema.used not in own_tables(engine, schema):
        return False
    query = sa.select(sa.literal(1)).select_from(sa.table(schema.used)).limit(1)
    with engine.connect() as connection:
        return connection.scalar(query) is not None


def journal(engine: sa.Engine, schema: Schema) -> "sa.Row[tuple[str, str, str]] | None":
    """Return the migration that was begun and not finished, if there is one."""
    if schema.journal.name not in sa.inspect(engine).get_table_names():
        return None
    with engine.connect() as connection:
        return connection.execute(sa.select(schema.journal)).first()


def open_journal(engine: sa.Engine, schema: Schema, start: str, head: str) -> None:
    """Mark the beginning of a migration; an entry left by an undone one is replaced."""
    schema.journal.create(engine, checkfirst=True)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with engine.begin() as connection:
        connection.execute(schema.journal.delete())
        connection.execute(
            schema.journal.insert().values(from_revision=start, to_revision=head, started_at=now)
        )


def close_journal(engine: sa.Engine, schema: Schema) -> None:
    """Mark the end of a migration."""
    schema.journal.drop(engine)


@contextmanager
def connect(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Connect, waiting up to CONNECT_SECONDS for a database that is just starting."""
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            connection = engine.connect()
            break
        except OperationalError as error:
            number = getattr(error.orig, "args", (None,))[0]
            if number == ACCESS_DENIED:
                raise JobError(
                    "the database refuses the password in .env: it was made with another",
                    "put the MYSQL_PASSWORD of that time back into .env",
                    2,
                ) from None
            if number == UNKNOWN_DATABASE:
                raise JobError(
                    f"the MySQL at {engine.url.host} has no database {engine.url.database}",
                    f"make it there, with all rights on it for {engine.url.username or 'mlflow'}: "
                    "docs/front-door.md, 'Login by an identity provider'",
                    2,
                ) from None
            if number == TLS_FAILED and UNPROVEN.search(str(error.orig)):
                raise JobError(
                    f"{engine.url.host} does not prove that it is the database: {error.orig}",
                    "set DATABASE_CA_FILE to the CA that signed its certificate, and DATABASE_HOST "
                    "to a name in it",
                    2,
                ) from None
            if time.monotonic() > deadline:
                raise JobError(
                    f"cannot reach the database: {error.orig}",
                    "see what the database says (invoke logs --service db); with DATABASE_HOST, "
                    "whether that can be reached",
                    1,
                ) from None
            time.sleep(1)
    with connection:
        yield connection


@contextmanager
def exclusive(connection: sa.Connection) -> Iterator[None]:
    """Keep a second job out while this one works; the lock ends with the connection."""
    if connection.dialect.name == "mysql":
        lock = sa.text("SELECT GET_LOCK('mlflow-compose-migration', :seconds)")
        if connection.scalar(lock, {"seconds": 0}) != 1:
            say("waiting for another migration to end")  # of a command that was killed, say
            if connection.scalar(lock, {"seconds": LOCK_SECONDS}) != 1:
                raise JobError(
                    "another migration is running", "wait for it to end, then try again", 2
                )
    yield


def say(text: str) -> None:
    """Print to stderr, where the job's caller reads."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
