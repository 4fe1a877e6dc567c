"""The sheet that lies with the private key: how to restore when nothing but the bucket is left."""

import shlex

from ops.settings import Settings
from ops.stack import MYSQL_SERIES

__all__ = ["render"]

TEMPLATE = """\
# Restoring @STACK@ by hand

For the day on which the host is gone and this repository does not help. Needed: a Linux machine
with bash, Docker (image mysql:@SERIES@), `aws`, `age`, `zstd` and `tar`, an identity at AWS that
may read the bucket, and one of the private keys. Keep this sheet where the private key is.

    Backups     @BACKUPS@
    Public keys @KEYS@
    Private key @KEY@
    A second copy of it: ________________________________________________________

## 1. Fetch a backup and check it

The newest is the last of the list. For a moment in the past set BACKUP to the last one before it.
If the key has a passphrase, after these lines: `age -d -o /dev/shm/key "$KEY"; KEY=/dev/shm/key`

```bash
set -o pipefail; export LC_ALL=C; umask 077; mkdir restore && cd restore
KEY=@KEY_WORD@
PLACE=@PLACE_WORD@
@ACCESS@for FOLDER in daily weekly monthly; do aws s3 ls --recursive "$PLACE/$FOLDER/"; done |
    grep -o '[a-z]*/[0-9TZ]*-[0-9a-f]*/manifest[.]json$' | sort -t / -k 2 | tee list
BACKUP=$(dirname "$(tail -n 1 list)")
aws s3 cp --recursive "$PLACE/$BACKUP/" .
for FILE in *.age; do SUM=$(sha256sum "$FILE" | cut -c 1-64)
    grep -q "$SUM" manifest.json && echo "$FILE is whole" || echo "$FILE IS DAMAGED"; done
```

## 2. Unpack it, and make new passwords in place of all that it holds

```bash
mkdir data new tail logs binlogs
[ -e base.tar.zst.age ] && age -d -i "$KEY" base.tar.zst.age | zstd -dc | tar -x -C data
[ -e tail.tar.zst.age ] && age -d -i "$KEY" tail.tar.zst.age | zstd -dc | tar -x -C tail
password() { od -An -N16 -tx1 /dev/urandom | tr -d ' \\n'; }
ROOT=$(password); printf '%s' "$ROOT" > new/root
MLFLOW=$(password); printf '%s' "$MLFLOW" > new/mlflow
printf '[client]\\nuser=root\\npassword=%s\\n' "$ROOT" > new/client.cnf
echo "ALTER USER 'root'@'localhost' IDENTIFIED BY '$ROOT', 'mlflow'@'%' IDENTIFIED BY '$MLFLOW';
ALTER USER 'root'@'localhost' DISCARD OLD PASSWORD, 'mlflow'@'%' DISCARD OLD PASSWORD;
DROP USER IF EXISTS 'root'@'%', 'web'@'%', 'backup'@'%';" > new/passwords.sql
```

## 3. Start MySQL on it, without a network, and bring it to the backup's own state

What the copy has already is skipped, by its GTID. UNTIL, in UTC, is for a moment in the past.

```bash
[ -e base.tar.zst.age ] && INIT=--init-file=/new/passwords.sql || INIT=
docker run --rm --user 0 --volume "$PWD:/r" --entrypoint chown mysql:@SERIES@ \\
    -R 999:999 /r/data /r/new
docker run --detach --name restore --network none --volume "$PWD/data:/var/lib/mysql" \\
    --volume "$PWD/new:/new:ro" --volume "$PWD/tail:/tail:ro" --volume "$PWD/binlogs:/binlogs:ro" \\
    --env MYSQL_ROOT_PASSWORD_FILE=/new/root --env MYSQL_DATABASE=mlflow --env MYSQL_USER=mlflow \\
    --env MYSQL_PASSWORD_FILE=/new/mlflow mysql:@SERIES@ --skip-networking --skip-log-bin \\
    --gtid-mode=ON --enforce-gtid-consistency=ON --max-allowed-packet=1G $INIT
CLIENT='mysql --defaults-extra-file=/new/client.cnf --binary-mode --max-allowed-packet=1G'
ask() { docker exec restore grep -q mysqld /proc/1/comm && docker exec restore $CLIENT -e "$1"; }
for TRY in $(seq 90); do ask 'SELECT 1' > /dev/null 2>&1 && break; sleep 2; done
docker logs --tail 3 restore
UNTIL= # or UNTIL='--stop-datetime=2026-11-25 06:40:00', to stop before a mistake
replay() { docker exec restore /usr/libexec/mysqlsh/mysqlbinlog --verify-binlog-checksum \\
    ${UNTIL:+"$UNTIL"} "$@" | docker exec -i restore $CLIENT; }
[ -e tail.tar.zst.age ] && replay $(cd tail && printf '/tail/%s ' $(ls -v))
[ -e dump.sql.zst.age ] &&
    age -d -i "$KEY" dump.sql.zst.age | zstd -dc | docker exec -i restore $CLIENT mlflow
```

## 4. What came after it

The pieces of each binary log are joined in the order of their names, START-END-…; where two
overlap, the beginning of the second is left out. It stops where a piece is missing.

```bash
entry() { sed -n "/^ *\\"$1\\":/{s/.*: \\"\\(.*\\)\\".*/\\1/p;q}" manifest.json; }
SERVER=$(entry server); FIRST=$(entry first_log); N=$((10#0${FIRST#binlog.}))
while LOG=$(printf 'binlog.%06d' $N); [ -n "$FIRST" ]; do
    aws s3 cp --recursive --quiet "$PLACE/logs/$SERVER/$LOG/" logs/$LOG; [ -d logs/$LOG ] || break
    REACHED=0
    for PIECE in logs/$LOG/*; do
        NAME=${PIECE##*/}; START=$((10#${NAME%%-*})); REST=${NAME#*-}; END=$((10#${REST%%-*}))
        [ $END -gt $REACHED ] || continue
        [ $START -le $REACHED ] || { echo "$LOG: MISSING $REACHED to $START"; break 2; }
        age -d -i "$KEY" "$PIECE" | zstd -dc > piece || { echo "$PIECE IS DAMAGED"; break 2; }
        tail -c +$((REACHED - START + 1)) piece >> binlogs/$LOG; REACHED=$END
    done
    N=$((N + 1))
done
ls -v binlogs | tail -n 1; aws s3 ls "$PLACE/logs/$SERVER/" | sort -V | tail -n 1
```

Both name the same log, or some are missing. Then, if there are any:

```bash
replay $(cd binlogs && printf '/binlogs/%s ' $(ls -v))
ask 'SELECT @@gtid_executed; SELECT COUNT(*) FROM mlflow.runs; SELECT user, host FROM mysql.user'
```

Each server has one range of GTIDs, as in `…:1-8123`; two mean that something between is missing.

## 5. Serve it

```bash
docker exec restore sh -c "$CLIENT < /new/passwords.sql"
docker stop -t 600 restore && docker rm restore && docker volume create @VOLUME@
docker run --rm --user 0 --volume "$PWD/data:/from:ro" --volume @VOLUME@:/to \\
    --entrypoint sh mysql:@SERIES@ \\
    -c 'if [ "$(ls -A /to)" ]; then echo IT IS NOT EMPTY; else cp -a /from/. /to/; fi'
printf "MYSQL_PASSWORD='%s'\\nMYSQL_ROOT_PASSWORD='%s'\\n" "$MLFLOW" "$ROOT"
```

With this repository: put these two lines, STACK_NAME, ARTIFACTS_DESTINATION and the old
KEK_PASSPHRASE, WEBHOOK_KEY and ADMIN_PASSWORD into `.env`, then `invoke up`. Without it: MySQL on
the volume, and an MLflow of the manifest's schema with --artifacts-destination,
MLFLOW_BACKEND_STORE_URI=mysql+mysqldb://mlflow:…@…/mlflow and the old passphrase as
MLFLOW_CRYPTO_KEK_PASSPHRASE. Without passphrase and key, what they lock for gateway and webhooks
is lost, and nothing else. In the end delete, as root, the folder `restore` and /dev/shm/key.
"""


def render(settings: Settings, key: str) -> str:
    """Return the sheet for a stack; `key` is the file of its private key."""
    texts = {
        "STACK": settings.stack_name,
        "SERIES": MYSQL_SERIES,
        "BACKUPS": settings.backups_destination,
        "KEYS": f"\n{' ' * 16}".join(settings.recipients),
        "KEY": key,
        "KEY_WORD": _word(key),
        "PLACE_WORD": shlex.quote(settings.backups_destination),
        "ACCESS": _access(settings),
        "VOLUME": f"{settings.stack_name}_db",
    }
    text = TEMPLATE
    for name, value in texts.items():
        text = text.replace(f"@{name}@", value)
    return text


def _word(path: str) -> str:
    """Return a path as a shell takes it; a leading ~ stays one."""
    home, rest = ("~/", path[2:]) if path.startswith("~/") else ("", path)
    return home + shlex.quote(rest)


def _access(settings: Settings) -> str:
    """Return the line that says how S3 is reached, if that is not Amazon's own way."""
    given = {"AWS_ENDPOINT_URL": settings.s3_endpoint_url, "AWS_REGION": settings.s3_region}
    words = [f"{name}={shlex.quote(value)}" for name, value in given.items() if value]
    return f"export {' '.join(words)}\n" if words else ""
