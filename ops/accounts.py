"""MySQL's users, each with the least it needs: made, and brought to what `.env` says.

`mlflow`, which the image makes, owns the tables and changes them: the migration job's. `web` is the
server's, `backup` the backup service's.
"""

from collections.abc import Mapping, Sequence

from ops.hosts import Host
from ops.values import Secret

__all__ = ["RIGHTS", "provide"]

CLIENT = ("mysql", "--defaults-extra-file=/run/secrets/mysql_root_client", "--batch")

RIGHTS: Mapping[str, str] = {
    # All that a server does once the schema is current (tried on 3.17.2). The trigger of MLflow's
    # tables acts with the rights of `mlflow`, which made it.
    "web": "SELECT, INSERT, UPDATE, DELETE ON mlflow.*",
    # Clone and lock: BACKUP_ADMIN. FLUSH: RELOAD. Positions: REPLICATION CLIENT. Deleting what is
    # stored: BINLOG_ADMIN. Counting and dumping: the rest, which all only reads.
    # https://dev.mysql.com/doc/refman/9.7/en/privileges-provided.html
    "backup": (
        "BACKUP_ADMIN, BINLOG_ADMIN, RELOAD, REPLICATION CLIENT, "
        "SELECT, SHOW VIEW, TRIGGER, EVENT, LOCK TABLES, PROCESS ON *.*"
    ),
}
"""What each user may; one that has more loses nothing here, as it may be at work."""

# Nothing of it is in the binary log: a restored database gets it from whoever restores it.
# The plugin is installed and not named on the command line: an upgrade would fail (MY-013238).
# Root is at home in the container only, also in a volume of an earlier version.
SQL = """
SET SESSION sql_log_bin = 0;
SET @install = IF(
  (SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name = 'clone') = 0,
  "INSTALL PLUGIN clone SONAME 'mysql_clone.so'", 'DO 0');
PREPARE install FROM @install;
EXECUTE install;
DROP USER IF EXISTS 'root'@'%';
"""

# The password before stays good until the next time: while a deploy lasts the old server has it.
# https://dev.mysql.com/doc/refman/9.7/en/password-management.html#dual-passwords
USER = """
CREATE USER IF NOT EXISTS '{name}'@'%' IDENTIFIED BY '{password}';
ALTER USER '{name}'@'%' IDENTIFIED BY '{password}' RETAIN CURRENT PASSWORD;
GRANT {rights} TO '{name}'@'%';
"""


def provide(host: Host, inside: Sequence[str], passwords: Mapping[str, Secret]) -> None:
    """Have these users in a MySQL; `inside` runs a command in its container."""
    users = [
        USER.format(name=name, password=password.reveal(), rights=RIGHTS[name])
        for name, password in passwords.items()
    ]
    remedy = "see what it says: invoke logs --service db; was .env made with this database?"
    host.check((*inside, *CLIENT), remedy, stdin="".join([SQL, *users]).encode())
