#!/bin/sh
# Turns what a container is given into what MLflow reads, then becomes the command.
set -eu

# Compose has no way to leave a variable out, only to leave it empty; boto3 takes an empty endpoint
# or region for a wrong one, OpenSSL an empty file for one without CAs.
for name in MLFLOW_S3_ENDPOINT_URL AWS_DEFAULT_REGION SSL_CERT_FILE; do
    eval "value=\${$name-}"
    # shellcheck disable=SC2154 # set by the eval above
    if [ -z "$value" ]; then unset "$name"; fi
done

# MLflow reads these from the environment only: this is the last place to set them where `docker
# inspect` does not look. The first locks the keys that MLflow's gateway keeps in the database; without
# it MLflow uses one that everybody knows. The second locks those of webhooks, the third signs forms.
MLFLOW_CRYPTO_KEK_PASSPHRASE=$(cat /run/secrets/kek_passphrase)
MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY=$(cat /run/secrets/webhook_key)
MLFLOW_FLASK_SERVER_SECRET_KEY=$(cat /run/secrets/session_key)
export MLFLOW_CRYPTO_KEK_PASSPHRASE MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY MLFLOW_FLASK_SERVER_SECRET_KEY

# How the login is set up. Without one MLflow reads its own file: it does so at the first search, and
# answers 500 where there is nothing in it (3.17.2).
if [ "${AUTH-none}" = basic ]; then export MLFLOW_AUTH_CONFIG_PATH=/run/secrets/auth_config; fi

if [ "$1" = serve ]; then
    if [ "$MLFLOW_SERVER_ENABLE_JOB_EXECUTION" = true ]; then
        # Only MLflow's own command starts what executes jobs. What it says of how requests are served,
        # says plugin/mlflow_compose/serving.py for all others.
        set -- mlflow server --host=0.0.0.0 --port=5000 "--workers=$WEB_WORKERS" \
            "--uvicorn-opts=--timeout-keep-alive 75 --no-access-log --no-date-header --no-server-header"
        case $AUTH in
            basic) set -- "$@" --app-name=basic-auth ;;
            oidc) set -- "$@" --app-name=oidc-gate ;;
        esac
    else
        set -- gunicorn --config=python:mlflow_compose.serving
    fi
fi

# What a killed server left of artifacts on their way. Files that another one has open since
# yesterday lose no more than their names.
find /tmp -mindepth 1 -mmin +1440 -delete 2>/dev/null || true

exec "$@"
