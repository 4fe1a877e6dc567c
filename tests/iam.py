"""What a policy allows, by the part of IAM's language that our policies use.

moto can enforce policies, but leaves conditions aside.
"""

import re
from collections.abc import Mapping
from typing import Any

WILD = {"*": ".*", "?": ".", "${*}": r"\*"}


def allows(
    document: Mapping[str, Any],
    action: str,
    resource: str,
    context: Mapping[str, str] | None = None,
) -> bool:
    """Say whether a statement allows an action on a resource, under what the request says."""
    return any(
        action in each["Action"]
        and any(matches(pattern, resource) for pattern in each["Resource"])
        and all(
            met(test, each["Condition"][test], context or {}) for test in each.get("Condition", ())
        )
        for each in document["Statement"]
    )


def met(test: str, keys: Mapping[str, list[str]], context: Mapping[str, str]) -> bool:
    """Say whether a condition is met; a key that the request does not have meets none."""
    return all(
        any(
            matches(each, context[key]) if test == "StringLike" else each == context[key]
            for each in wanted
        )
        for key, wanted in keys.items()
        if key in context
    ) and set(keys) <= set(context)


def matches(pattern: str, text: str) -> bool:
    parts = re.split(r"(\$\{\*\}|\*|\?)", pattern)
    return (
        re.fullmatch("".join(WILD.get(part) or re.escape(part) for part in parts), text) is not None
    )
