#!/bin/sh
# Turns what a container is given into what MLflow reads, then becomes the command.
set -eu

# Compose has no way to leave a variable out, only to leave it empty; boto3 takes an empty endpoint
# or region for a wrong one.
for name in MLFLOW_S3_ENDPOINT_URL AWS_DEFAULT_REGION; do
    eval "value=\${$name-}"
    # shellcheck disable=SC2154 # set by the eval above
    if [ -z "$value" ]; then unset "$name"; fi
done

# Locks the keys that MLflow's gateway keeps in the database; without it MLflow uses one that
# everybody knows. MLflow reads it from the environment only: this is the last place to set it
# where `docker inspect` does not look.
MLFLOW_CRYPTO_KEK_PASSPHRASE=$(cat /run/secrets/kek_passphrase)
export MLFLOW_CRYPTO_KEK_PASSPHRASE

exec "$@"
