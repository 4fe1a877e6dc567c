"""MySQL's users, each with the least it needs: made, and brought to what `.env` says."""

from collections.abc import Sequence

from ops.hosts import Host
from ops.values import Secret

__all__ = ["provide"]

CLIENT = ("mysql", "--defaults-extra-file=/run/secrets/mysql_root_client", "--batch")

# Clone and lock: BACKUP_ADMIN. FLUSH: RELOAD. Positions: REPLICATION CLIENT. Deleting what is
# stored: BINLOG_ADMIN. Counting and dumping: the rest, which all only reads.
# https://dev.mysql.com/doc/refman/9.7/en/privileges-provided.html
RIGHTS = (
    *("BACKUP_ADMIN", "BINLOG_ADMIN", "RELOAD", "REPLICATION CLIENT"),
    *("SELECT", "SHOW VIEW", "TRIGGER", "EVENT", "LOCK TABLES", "PROCESS"),
)

# Nothing of it is in the binary log: a restored database gets it from whoever restores it.
# Root is at home in the container only, also in a volume of an earlier version.
# The plugin is installed and not named on the command line: an upgrade would fail (MY-013238).
SQL = """
SET SESSION sql_log_bin = 0;
SET @install = IF(
  (SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name = 'clone') = 0,
  "INSTALL PLUGIN clone SONAME 'mysql_clone.so'", 'DO 0');
PREPARE install FROM @install;
EXECUTE install;
CREATE USER IF NOT EXISTS 'backup'@'%' IDENTIFIED BY '{password}';
ALTER USER 'backup'@'%' IDENTIFIED BY '{password}';
REVOKE IF EXISTS ALL PRIVILEGES, GRANT OPTION FROM 'backup'@'%';
GRANT {rights} ON *.* TO 'backup'@'%';
DROP USER IF EXISTS 'root'@'%';
"""


def provide(host: Host, inside: Sequence[str], password: Secret) -> None:
    """Have the user of the backup service in a MySQL; `inside` runs a command in its container."""
    sql = SQL.format(password=password.reveal(), rights=", ".join(RIGHTS))
    remedy = "see what it says: invoke logs --service db; was .env made with this database?"
    host.check((*inside, *CLIENT), remedy, stdin=sql.encode())
