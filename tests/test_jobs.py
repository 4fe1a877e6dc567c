"""The migration job as its callers see it; what the job says is a stand-in here."""

import pytest

from ops import jobs
from ops.errors import OpsError
from ops.hosts import Result
from tests.conftest import FakeHost


def test_notes_are_passed_on_and_the_rest_is_progress_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    host = FakeHost({"job": "INFO alembic\nnote: an interrupted migration was undone\ndone\n"})
    jobs.migrate(host, ("job", "--existing"), {"A": "b"})
    out, err = capsys.readouterr()

    assert out == ""
    assert err.splitlines()[-1] == "note: an interrupted migration was undone"
    assert "INFO alembic" not in err
    assert (host.lines, host.environs) == (["job --existing"], [{"A": "b"}])


@pytest.mark.parametrize("code", [1, 2])
def test_the_error_of_the_job_is_raised_with_its_code(code: int) -> None:
    host = FakeHost({"job": Result(code, "", "error: half-migrated\n  try: restore the copy\n")})
    with pytest.raises(OpsError) as caught:
        jobs.migrate(host, ("job",))

    assert (caught.value.cause, caught.value.remedy) == ("half-migrated", "restore the copy")
    assert caught.value.code == code
