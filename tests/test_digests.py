"""What tells contents apart; that it changes with every input, tests/test_stack.py shows."""

import re
from pathlib import Path

from ops import digests


def test_a_digest_of_texts_tells_names_and_values_apart() -> None:
    values = [{"a": "b"}, {"b": "a"}, {"a": "b", "c": ""}, {"a": "bc"}, {"ab": ""}]

    assert len({digests.texts(each) for each in values}) == len(values)


def test_a_digest_of_files_knows_their_names_contents_and_whether_they_run(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_text("one", "utf-8")
    seen = {digests.files(tmp_path, ["a"])}
    file.chmod(0o755)
    seen.add(digests.files(tmp_path, ["a"]))
    file.write_text("two", "utf-8")
    seen.add(digests.files(tmp_path, ["a"]))
    file.rename(tmp_path / "b")
    seen.add(digests.files(tmp_path, ["b"]))

    assert len(seen) == 4


def test_a_fingerprint_tells_secrets_and_salts_apart() -> None:
    pairs = [("one", "here"), ("one", "there"), ("two", "here"), ("", "")]
    found = [digests.fingerprint(*pair) for pair in pairs]

    assert len(set(found)) == len(pairs)
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in found)
