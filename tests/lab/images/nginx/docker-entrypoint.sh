#!/bin/sh
# Stand-in for the official image's entrypoint: prepare the configuration with /docker-entrypoint.d, then start.
# Contract: https://hub.docker.com/_/nginx ("Using environment variables in nginx configuration").
set -e

say() {
    [ -n "${NGINX_ENTRYPOINT_QUIET_LOGS:-}" ] || echo "$0: $*"
}

# A pipeline, as in the official one: what an .envsh exports reaches the later scripts, never nginx itself.
prepare() {
    find /docker-entrypoint.d/ -follow -type f -print | sort -V | while read -r script; do
        case "$script" in
            *.envsh | *.sh) ;;
            *)
                say "Ignoring $script"
                continue
                ;;
        esac
        if [ ! -x "$script" ]; then
            say "Ignoring $script, not executable"
            continue
        fi
        case "$script" in
            *.envsh)
                say "Sourcing $script"
                # shellcheck source=/dev/null
                . "$script"
                ;;
            *.sh)
                say "Launching $script"
                "$script"
                ;;
        esac
    done
}

case "${1:-}" in
    nginx | nginx-debug)
        prepare
        say "Configuration complete; ready for start up"
        ;;
esac

exec "$@"
