"""What each call of ours to AWS needs: the one list that policies and errors are made from."""

__all__ = ["CALLS", "actions"]

CALLS: dict[str, tuple[str, ...]] = {
    "GetCallerIdentity": (),
}
"""IAM actions by API operation; an operation that needs no permission has none.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/
"""


def actions(operation: str) -> tuple[str, ...]:
    """Return the IAM actions that an operation needs."""
    return CALLS.get(operation, ())
