"""Resources and permissions as a person writes them."""

import pytest

from ops.errors import REFUSED, OpsError
from ops.resources import ALL_ONLY, ONE_OR_ALL, PERMISSIONS, Resource, permission


@pytest.mark.parametrize(
    ("text", "api_type", "pattern"),
    [
        ("experiment:churn", "experiment", "churn"),
        ("experiment:a: b", "experiment", "a: b"),
        ("experiment:*", "experiment", "*"),
        ("model:churn", "registered_model", "churn"),
        ("model_version:*", "registered_model_version", "*"),
        ("prompt:greeting", "prompt", "greeting"),
        ("run:*", "run", "*"),
    ],
)
def test_a_resource_is_written_with_its_kind(text: str, api_type: str, pattern: str) -> None:
    found = Resource.parse(text)

    assert {"resource_type": api_type, "resource_id": pattern} == found.fields
    assert found == Resource.known_as(api_type, pattern)
    assert text == str(found)


@pytest.mark.parametrize("kind", ONE_OR_ALL + ALL_ONLY)
def test_all_of_every_kind_can_be_meant(kind: str) -> None:
    assert f"{kind}:*" == str(Resource.parse(f"{kind}:*"))


@pytest.mark.parametrize(
    "text",
    ["", "churn", "experiment", "experiment:", ":churn", "registered_model:x", "workspace:*"],
)
def test_what_is_no_resource_is_refused_with_the_kinds_there_are(text: str) -> None:
    with pytest.raises(OpsError, match="is not KIND:NAME") as caught:
        Resource.parse(text)

    assert REFUSED == caught.value.code
    assert "experiment, model, prompt" in caught.value.remedy


@pytest.mark.parametrize("kind", ALL_ONLY)
def test_there_are_no_rights_to_a_single_part(kind: str) -> None:
    with pytest.raises(OpsError, match=f"no rights to a single {kind}") as caught:
        Resource.parse(f"{kind}:7")

    assert f"use {kind}:*" == caught.value.remedy


@pytest.mark.parametrize("text", [*PERMISSIONS, *map(str.lower, PERMISSIONS)])
def test_a_permission_is_written_in_capitals_or_not(text: str) -> None:
    assert text.upper() == permission(text)


@pytest.mark.parametrize(
    ("text", "remedy"), [("WRITE", "use one of READ"), ("no_permissions", "invoke revoke")]
)
def test_what_is_no_permission_is_refused(text: str, remedy: str) -> None:
    with pytest.raises(OpsError) as caught:
        permission(text)

    assert REFUSED == caught.value.code
    assert remedy in caught.value.remedy
