"""What a drill leaves: nobody without a private key of the backups can have made it."""

import base64
import json
from typing import Any

import pytest

from ops import evidence, manifest
from ops.age_keys import Key, parse
from tests.stored import OTHER, PRIVATE

KEY, OTHERS = parse(PRIVATE, "key"), parse(OTHER, "key")
BOTH = OTHERS + KEY
TOLD: dict[str, Any] = {
    "backup": "20261125T150342Z-1f3a9c",
    "result": "ok",
    "seconds": {"all": 12.5},
    "tables": 75,
    "where": "ana@höst",
    "artifacts": None,
}


def changed(data: bytes, **fields: Any) -> bytes:
    return json.dumps({**json.loads(data), **fields}).encode()


def test_a_name_says_when_and_how_it_ended_and_is_found_by_it() -> None:
    for result in ("ok", "failed"):
        found = manifest.DRILL.fullmatch(evidence.name("20261125T150342Z", result))
        assert found is not None
        assert ("20261125T150342Z", result) == (found["time"], found["result"])


def test_what_is_signed_reads_as_it_was_told_and_is_genuine() -> None:
    data = evidence.signed(TOLD, KEY)

    assert TOLD == {key: each for key, each in json.loads(data).items() if key != "signature"}
    assert evidence.genuine(data, KEY)


def test_the_same_key_makes_the_same_signature() -> None:
    assert evidence.signed(TOLD, KEY) == evidence.signed(TOLD, KEY)


def test_the_order_and_the_spaces_of_a_document_do_not_matter() -> None:
    document = json.loads(evidence.signed(TOLD, KEY))
    turned = dict(reversed(document.items()))

    assert evidence.genuine(json.dumps(turned, indent=8).encode(), KEY)


@pytest.mark.parametrize(
    "fields",
    [
        {"backup": "20261125T150342Z-000000"},
        {"result": "failed"},
        {"tables": 76},
        {"seconds": {"all": 12.6}},
        {"more": 1},
        {"where": "ana@host"},
    ],
    ids=str,
)
def test_a_word_that_was_changed_is_found(fields: dict[str, Any]) -> None:
    assert not evidence.genuine(changed(evidence.signed(TOLD, KEY), **fields), KEY)


def test_a_word_that_was_taken_out_is_found() -> None:
    document = json.loads(evidence.signed({**TOLD, "error": "it failed"}, KEY))
    del document["error"]

    assert not evidence.genuine(json.dumps(document).encode(), KEY)


def test_a_signature_of_another_key_is_none() -> None:
    assert not evidence.genuine(evidence.signed(TOLD, OTHERS), KEY)
    assert not evidence.genuine(evidence.signed(TOLD, KEY), OTHERS)


def test_a_signature_of_another_document_is_none() -> None:
    other = json.loads(evidence.signed({**TOLD, "tables": 1}, KEY))["signature"]

    assert not evidence.genuine(changed(evidence.signed(TOLD, KEY), signature=other), KEY)


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "x",
        7,
        [],
        base64.b64encode(bytes(64)).decode(),
        base64.b64encode(bytes(63)).decode(),
        base64.b64encode(bytes(10_000)).decode(),
        "ü" * 88,
    ],
    ids=lambda each: repr(each)[:20],
)
def test_a_forged_signature_is_none(signature: Any) -> None:
    assert not evidence.genuine(changed(evidence.signed(TOLD, KEY), signature=signature), KEY)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"7", b'"x"', b"\xff", b"{}", b"[" * 10**6]
)
def test_what_is_no_document_is_not_genuine(data: bytes) -> None:
    assert not evidence.genuine(data, KEY)


def test_it_is_signed_with_the_first_of_several_keys_and_any_of_them_checks_it() -> None:
    assert evidence.signed(TOLD, BOTH) == evidence.signed(TOLD, OTHERS)
    assert evidence.genuine(evidence.signed(TOLD, BOTH), KEY + OTHERS)
    assert evidence.genuine(evidence.signed(TOLD, KEY), BOTH)


def test_no_private_key_is_in_it_nor_anything_of_the_public_one() -> None:
    text = evidence.signed(TOLD, KEY).decode()

    assert PRIVATE.strip() not in text
    assert KEY.recipients[0] not in text
    assert isinstance(KEY, Key)
