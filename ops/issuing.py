"""A job in the database of those who sign on: makes a token with which a program logs in.

The server makes one only for somebody who has logged in at the identity provider just now: nobody
makes tokens with a token. Who has the settings and the machine may.

Runs beside MLflow, in the server image, as `python -c` with this text, and imports nothing of this
package. On stdin is one JSON object: the `user`, the `label` and the `days` that the token is good
for. The token is the last line of stdout.

Exit codes: 0 done; 2 refused, nothing touched.
"""

import importlib
import json
import sys
from datetime import UTC, datetime, timedelta

REMEDIES = {
    "RESOURCE_ALREADY_EXISTS": "take it back with --revoke, or make one with another --label",
    "INVALID_STATE": "take one back that is not needed: --revoke",
}


def main() -> int:
    """Make the token that stdin asks for."""
    told = json.load(sys.stdin)
    store = importlib.import_module("mlflow_oidc_auth.store").store
    refused = importlib.import_module("mlflow.exceptions").MlflowException
    ends = datetime.now(UTC) + timedelta(days=told["days"])
    try:
        _, token = store.create_user_token(told["user"], told["label"], ends, "invoke token")
    except refused as error:
        remedy = REMEDIES.get(error.error_code, "see who there is: invoke list-users")
        print(f"error: {error.message}\n  try: {remedy}", file=sys.stderr)
        return 2
    print(token)
    return 0


if __name__ == "__main__":
    sys.exit(main())
