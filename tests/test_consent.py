"""A person's consent."""

import io
from collections.abc import Callable

import pytest

from ops import consent
from ops.errors import REFUSED, OpsError


def test_who_types_the_answer_goes_on(
    answer: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    answer("team\n")
    consent.ask("Delete it?", answer="team", elsewhere="repeat with --yes")

    assert ("", "Delete it? (type team to go on) ") == capsys.readouterr()


@pytest.mark.parametrize("said", ["", "no\n", "YES\n", "yes, please\n"])
def test_every_other_answer_is_no(answer: Callable[[str], None], said: str) -> None:
    answer(said)
    with pytest.raises(OpsError, match="not confirmed; nothing was changed") as caught:
        consent.ask("Go on?", elsewhere="repeat with --yes")

    assert ("type yes once you want it", REFUSED) == (caught.value.remedy, caught.value.code)


def test_where_nobody_is_the_way_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    with pytest.raises(OpsError, match="nobody is here to agree") as caught:
        consent.ask("Go on?", elsewhere="repeat with --yes")

    assert ("repeat with --yes", REFUSED) == (caught.value.remedy, caught.value.code)
