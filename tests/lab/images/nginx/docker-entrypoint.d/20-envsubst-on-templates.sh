#!/bin/sh
# Render /etc/nginx/templates/*.template into /etc/nginx/conf.d; only variables that are defined are replaced.
set -e

me=20-envsubst-on-templates.sh
templates=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}
suffix=${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}
output=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}

say() {
    [ -n "${NGINX_ENTRYPOINT_QUIET_LOGS:-}" ] || echo "$me: $*"
}

# As "${ONE} ${TWO}", which tells envsubst to leave $host and the other variables of nginx alone.
defined() {
    env -0 | tr '\n\0' ' \n' | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' \
        | grep -E "${NGINX_ENVSUBST_FILTER:-}" | sed 's/.*/${&}/' | tr '\n' ' '
}

[ -d "$templates" ] || exit 0
if [ ! -w "$output" ]; then
    # The official image starts all the same, with the configuration that is there.
    say "ERROR: $templates exists, but $output is not writable"
    exit 0
fi
names=$(defined)
find "$templates" -follow -type f -name "*$suffix" -print | while read -r template; do
    relative=${template#"$templates"/}
    target=$output/${relative%"$suffix"}
    mkdir -p "$(dirname "$target")"
    say "Running envsubst on $template to $target"
    envsubst "$names" <"$template" >"$target"
done
