"""MySQL's users, each with the least it needs: made, and brought to what `.env` says.

`mlflow`, which the image makes, owns the tables and changes them: the migration job's. `web` is the
server's, `backup` the backup service's. `inside` is how a command in MySQL's container begins.
"""

from collections.abc import Mapping, Sequence

from ops.database import SIGN_ON, TRACKING
from ops.errors import OpsError
from ops.hosts import Host
from ops.values import Secret

__all__ = ["RIGHTS", "ROOT", "accepted", "admit", "as_root", "login", "provide", "settle"]

ROOT = "root"
"""MySQL's own administrator."""

REMEDY = "see what it says: invoke logs --service db; was .env made with this database?"

# $1 the user. The first line of stdin is the password, the rest is SQL. The secret file that is in
# the container may be older: it stays as it was when the container was made.
CLIENT = (
    "IFS= read -r MYSQL_PWD && export MYSQL_PWD && "
    'exec mysql --user="$1" --protocol=socket --batch --skip-column-names'
)
ACCESS_DENIED = "ERROR 1045"

RIGHTS: Mapping[str, tuple[str, ...]] = {
    # The image has given it the other database (MYSQL_DATABASE).
    "mlflow": (f"ALL ON {SIGN_ON}.*",),
    # All that a server does once the schema is current (tried on 3.17.2). The trigger of MLflow's
    # tables acts with the rights of `mlflow`, which made it.
    "web": tuple(f"SELECT, INSERT, UPDATE, DELETE ON {name}.*" for name in (TRACKING, SIGN_ON)),
    # Clone and lock: BACKUP_ADMIN. FLUSH: RELOAD. Positions: REPLICATION CLIENT. Deleting what is
    # stored: BINLOG_ADMIN. Counting and dumping: the rest, which all only reads.
    # https://dev.mysql.com/doc/refman/9.7/en/privileges-provided.html
    "backup": (
        "BACKUP_ADMIN, BINLOG_ADMIN, RELOAD, REPLICATION CLIENT ON *.*",
        "SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES, PROCESS ON *.*",
    ),
}
"""What each user may; one that has more loses nothing here, as it may be at work."""

# In the binary log, unlike what follows: the tables that are made in it are, too.
MADE = f"CREATE DATABASE IF NOT EXISTS {SIGN_ON} CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin;\n"

# Nothing of it is in the binary log: a restored database gets it from whoever restores it.
UNLOGGED = "SET SESSION sql_log_bin = 0;"

# The plugin is installed and not named on the command line: an upgrade would fail (MY-013238).
# Root is at home in the container only, also in a volume of an earlier version.
SQL = """
SET @install = IF(
  (SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name = 'clone') = 0,
  "INSTALL PLUGIN clone SONAME 'mysql_clone.so'", 'DO 0');
PREPARE install FROM @install;
EXECUTE install;
DROP USER IF EXISTS 'root'@'%';
"""

USER = """
CREATE USER IF NOT EXISTS '{name}'@'%' IDENTIFIED BY '{password}';
"""

GRANT = """
GRANT {rights} TO '{name}'@'%';
"""

# The password before stays good: while a deploy lasts the old server has it. Only where the new one
# is not good yet: a second time, the old one would be the one that goes (seen on 9.7.4).
# https://dev.mysql.com/doc/refman/9.7/en/password-management.html#dual-passwords
RENEWED = """
ALTER USER '{name}'@'%' IDENTIFIED BY '{password}' RETAIN CURRENT PASSWORD;
"""

# Said first, as it may be the second one of two: else it would be the one that is discarded.
SETTLED = """
ALTER USER '{name}'@'%' IDENTIFIED BY '{password}';
ALTER USER '{name}'@'%' DISCARD OLD PASSWORD;
"""


def provide(
    host: Host, inside: Sequence[str], root: Secret, passwords: Mapping[str, Secret]
) -> None:
    """Have these users in a MySQL; their former passwords stay good."""
    sql = MADE + UNLOGGED + SQL
    for name, password in passwords.items():
        known = accepted(host, inside, name, password)
        text = USER if known else f"{USER}{RENEWED}"
        sql += text.format(name=name, password=password.reveal())
    for name in ("mlflow", *passwords):
        sql += "".join(GRANT.format(name=name, rights=rights) for rights in RIGHTS[name])
    as_root(host, inside, root, sql)


def admit(
    host: Host, inside: Sequence[str], root: Secret, name: str, change: tuple[Secret, Secret]
) -> None:
    """Have a user's new password accepted in addition to the old one, and no third one."""
    old, new = change
    if not accepted(host, inside, name, new):
        settle(host, inside, root, name, old)
        sql = RENEWED.format(name=name, password=new.reveal())
        as_root(host, inside, root, UNLOGGED + sql)


def settle(host: Host, inside: Sequence[str], root: Secret, name: str, password: Secret) -> None:
    """Have a user's password accepted, and no other."""
    sql = SETTLED.format(name=name, password=password.reveal())
    as_root(host, inside, root, UNLOGGED + sql)


def as_root(host: Host, inside: Sequence[str], root: Secret, sql: str) -> str:
    """Have root do something that has to succeed; return what MySQL answers."""
    words, stdin = login(ROOT, root, sql)
    return host.check((*inside, *words), REMEDY, stdin=stdin)


def accepted(host: Host, inside: Sequence[str], user: str, password: Secret) -> bool:
    """Say whether MySQL lets a user in with a password."""
    words, stdin = login(user, password, "DO 0;")
    done = host.run((*inside, *words), stdin=stdin)
    if done.code != 0 and ACCESS_DENIED not in done.err:
        said = done.err.strip().splitlines() or ["no reason given"]
        raise OpsError(f"MySQL does not answer {user}: {said[-1]}", REMEDY)
    return done.code == 0


def login(user: str, password: Secret, sql: str) -> tuple[tuple[str, ...], bytes]:
    """Return a command for MySQL's container in which a user does something, and its stdin."""
    return ("sh", "-c", CLIENT, "mysql", user), f"{password.reveal()}\n{sql}\n".encode()
