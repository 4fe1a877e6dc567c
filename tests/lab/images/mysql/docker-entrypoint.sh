#!/usr/bin/env bash
# Stand-in for the official image's entrypoint, after its documented contract:
# https://hub.docker.com/_/mysql ("Environment Variables", "Initializing a fresh instance").
set -eo pipefail
shopt -s nullglob

say() { printf '%s [%s] [Entrypoint]: %s\n' "$(date --rfc-3339=seconds)" "$1" "$2"; }
fail() {
    say ERROR "$1" >&2
    exit 1
}

# Give a variable the content of the file that its _FILE twin names. The official entrypoint does this before it
# leaves root, also when the data directory exists already, and its values stay in the server's environment.
from_file() {
    local name=$1 file_name=${1}_FILE value=${2:-}
    if [[ -n ${!name:-} && -n ${!file_name:-} ]]; then
        fail "Both $name and $file_name are set (but are exclusive)"
    elif [[ -n ${!name:-} ]]; then
        value=${!name}
    elif [[ -n ${!file_name:-} ]]; then
        value=$(<"${!file_name}")
    fi
    export "$name=$value"
    unset "$file_name"
}

# The value that the server itself would use, from its command line, its files or its defaults.
setting() {
    local key=$1
    shift
    "$@" --verbose --help --log-bin-index=/dev/null 2>/dev/null \
        | awk -v key="$key" '$1 == key && !/^[ \t]/ { sub(/^[^ \t]+[ \t]+/, ""); print; exit }'
}

check_configuration() {
    local said
    said=$("$@" --verbose --help --log-bin-index=/dev/null 2>&1 >/dev/null) \
        || fail "mysqld failed while attempting to check config: $* $said"
}

make_folders() {
    local key path folders=("$data" "${socket%/*}")
    for key in general-log-file pid-file slow-query-log-file; do
        path=$(setting "$key" "$@")
        [[ -z $path || $path == NULL ]] || folders+=("$(dirname "$path")")
    done
    path=$(setting secure-file-priv "$@")
    [[ -z $path || $path == NULL ]] || folders+=("$path")
    mkdir -p "${folders[@]}"
    if [[ $(id -u) == 0 ]]; then
        find "${folders[@]}" ! -user mysql -exec chown --no-dereference mysql {} +
    fi
}

require_password_choice() {
    if [[ -z $MYSQL_ROOT_PASSWORD$MYSQL_ALLOW_EMPTY_PASSWORD$MYSQL_RANDOM_ROOT_PASSWORD ]]; then
        fail "Database is uninitialized and password option is not specified
    You need to specify one of the following as an environment variable:
    - MYSQL_ROOT_PASSWORD
    - MYSQL_ALLOW_EMPTY_PASSWORD
    - MYSQL_RANDOM_ROOT_PASSWORD"
    fi
    [[ $MYSQL_USER != root ]] || fail 'MYSQL_USER="root" cannot be used for the root user'
    if [[ -n $MYSQL_USER && -z $MYSQL_PASSWORD ]]; then
        say Warn 'MYSQL_USER specified, but missing MYSQL_PASSWORD; MYSQL_USER will not be created' >&2
    elif [[ -z $MYSQL_USER && -n $MYSQL_PASSWORD ]]; then
        say Warn 'MYSQL_PASSWORD specified, but missing MYSQL_USER; MYSQL_PASSWORD will be ignored' >&2
    fi
}

# The client reads the password from a pipe, so that it appears in no argument list.
credentials() {
    if [[ -n $known_password ]]; then
        printf '[client]\npassword="%s"\n' "$known_password"
    fi
}

sql() {
    mysql --defaults-extra-file=<(credentials) --protocol=socket --user=root --host=localhost \
        --socket="$socket" --comments "$@"
}

# Scripts in /docker-entrypoint-initdb.d call this one by its name, with options of their own.
# shellcheck disable=SC2120
docker_process_sql() { sql ${MYSQL_DATABASE:+--database="$MYSQL_DATABASE"} "$@"; }

load_time_zones() {
    mysql_tzinfo_to_sql /usr/share/zoneinfo 2>/dev/null \
        | sed 's/Local time zone must be set--see zic manual page/FCTY/' \
        | sql --database=mysql
}

set_root_password() {
    if [[ -n $MYSQL_RANDOM_ROOT_PASSWORD ]]; then
        MYSQL_ROOT_PASSWORD=$(openssl rand -base64 24)
        export MYSQL_ROOT_PASSWORD
        say Note "GENERATED ROOT PASSWORD: $MYSQL_ROOT_PASSWORD"
    fi
    local remote=
    if [[ -n $MYSQL_ROOT_HOST && $MYSQL_ROOT_HOST != localhost ]]; then
        remote="CREATE USER 'root'@'$MYSQL_ROOT_HOST' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
            GRANT ALL ON *.* TO 'root'@'$MYSQL_ROOT_HOST' WITH GRANT OPTION;"
    fi
    sql --database=mysql <<SQL
SET autocommit = 1;
SET @@SESSION.SQL_LOG_BIN = 0;
ALTER USER 'root'@'localhost' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';
GRANT ALL ON *.* TO 'root'@'localhost' WITH GRANT OPTION;
FLUSH PRIVILEGES;
$remote
DROP DATABASE IF EXISTS test;
SQL
    known_password=$MYSQL_ROOT_PASSWORD
}

make_database_and_user() {
    if [[ -n $MYSQL_DATABASE ]]; then
        say Note "Creating database $MYSQL_DATABASE"
        sql --database=mysql <<<"CREATE DATABASE IF NOT EXISTS \`$MYSQL_DATABASE\`;"
    fi
    [[ -n $MYSQL_USER && -n $MYSQL_PASSWORD ]] || return 0
    say Note "Creating user $MYSQL_USER"
    sql --database=mysql <<<"CREATE USER '$MYSQL_USER'@'%' IDENTIFIED BY '$MYSQL_PASSWORD';"
    [[ -n $MYSQL_DATABASE ]] || return 0
    # An underscore in the name of a GRANT is a wildcard.
    sql --database=mysql <<<"GRANT ALL ON \`${MYSQL_DATABASE//_/\\_}\`.* TO '$MYSQL_USER'@'%';"
}

run_files() {
    local file
    for file; do
        case $file in
            *.sh)
                if [[ -x $file ]]; then
                    say Note "$0: running $file"
                    "$file"
                else
                    say Note "$0: sourcing $file"
                    # shellcheck source=/dev/null
                    . "$file"
                fi
                ;;
            *.sql | *.sql.*) run_sql "$file" ;;
            *) say Warn "$0: ignoring $file" >&2 ;;
        esac
    done
}

run_sql() {
    local unpack
    case $1 in
        *.sql) unpack=(cat) ;;
        *.sql.bz2) unpack=(bunzip2 -c) ;;
        *.sql.gz) unpack=(gunzip -c) ;;
        *.sql.xz) unpack=(xz -dc) ;;
        *.sql.zst) unpack=(zstd -dc) ;;
        *)
            say Warn "$0: ignoring $1" >&2
            return
            ;;
    esac
    say Note "$0: running $1"
    # shellcheck disable=SC2119
    "${unpack[@]}" "$1" | docker_process_sql
}

initialise() {
    require_password_choice
    ls /docker-entrypoint-initdb.d/ >/dev/null
    say Note 'Initializing database files'
    "$@" --initialize-insecure --default-time-zone=SYSTEM --autocommit=1
    # No network until everything is in place: a health check over TCP fails until then.
    say Note 'Starting temporary server'
    "$@" --daemonize --skip-networking --default-time-zone=SYSTEM --socket="$socket" \
        || fail 'Unable to start server.'
    link_default_socket
    known_password=
    [[ -n $MYSQL_INITDB_SKIP_TZINFO ]] || load_time_zones
    set_root_password
    make_database_and_user
    run_files /docker-entrypoint-initdb.d/*
    if [[ -n $MYSQL_ONETIME_PASSWORD ]]; then
        sql --database=mysql <<<"ALTER USER 'root'@'%' PASSWORD EXPIRE;"
    fi
    say Note 'Stopping temporary server'
    mysqladmin --defaults-extra-file=<(credentials) --user=root --socket="$socket" shutdown \
        || fail 'Unable to shut down server.'
    say Note 'MySQL init process done. Ready for start up.'
}

# The official server was compiled for a socket inside the data directory, so a link appears there.
link_default_socket() {
    ln -sfT "$socket" /var/lib/mysql/mysql.sock || :
}

starts_server() {
    [[ $1 == mysqld ]] || return 1
    local word
    for word; do
        case $word in
            '-?' | --help | --print-defaults | -V | --version) return 1 ;;
        esac
    done
}

if [[ ${1:0:1} == - ]]; then
    set -- mysqld "$@"
fi
if starts_server "$@"; then
    say Note "Entrypoint script for MySQL Server (stand-in) started."
    check_configuration "$@"
    data=$(setting datadir "$@")
    socket=$(setting socket "$@")
    from_file MYSQL_ROOT_HOST '%'
    for variable in MYSQL_DATABASE MYSQL_USER MYSQL_PASSWORD MYSQL_ROOT_PASSWORD; do
        from_file "$variable"
    done
    make_folders "$@"
    if [[ $(id -u) == 0 ]]; then
        say Note "Switching to dedicated user 'mysql'"
        exec gosu mysql "${BASH_SOURCE[0]}" "$@"
    fi
    if [[ -d ${data%/}/mysql ]]; then
        link_default_socket
    else
        initialise "$@"
    fi
fi
exec "$@"
