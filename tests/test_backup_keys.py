"""`invoke backup-key`: what it writes in which order, and what it refuses."""

import io
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from pyrage import passphrase

from ops import age_keys, backup_keys
from ops.errors import FAILED, REFUSED, OpsError
from ops.settings import Settings
from tests.test_age_keys import identity, public, written

DESTINATION = "BACKUPS_DESTINATION='s3://my-backups/mlflow'\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of the repository."""
    (tmp_path / "stack").mkdir()
    return tmp_path / "stack"


@pytest.fixture
def environ(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment in which settings are read, from that folder."""
    variables: dict[str, str] = {}
    real = Settings.load
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: real(root, variables)))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(root.parent / "config"))
    return variables


@pytest.fixture
def run(environ: dict[str, str]) -> Callable[..., OpsError | None]:
    """Run the task; return the error it ended with, if any."""
    del environ

    def task(out: str = "", *escrow: str, rotate: bool = False) -> OpsError | None:
        try:
            backup_keys.make(out, escrow, rotate=rotate)
        except OpsError as error:
            return error
        return None

    return task


Run = Callable[..., OpsError | None]


def refused(error: OpsError | None) -> OpsError:
    assert error is not None
    assert REFUSED == error.code
    return error


def files(root: Path) -> dict[str, str]:
    """Return all that is there, by its path."""
    there = (path for path in root.parent.rglob("*") if path.is_file())
    return {str(path): path.read_text("utf-8") for path in there}


def test_the_public_half_is_the_result_and_the_private_one_is_not_in_env(
    run: Run, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() is None
    out, said = capsys.readouterr()
    file = age_keys.default_file(Settings.load())
    made = age_keys.read(file)

    assert made.recipients == out.split() == Settings.load().recipients
    assert f"BACKUP_RECIPIENTS='{out.strip()}'\n" in (root / ".env").read_text("utf-8")
    assert 0o600 == stat.S_IMODE((root / ".env").stat().st_mode)
    assert f"the private key is in {file}, and nowhere else" in said
    assert "who loses it loses every backup" in said
    assert "no longer" not in said
    for text in (out, said, (root / ".env").read_text("utf-8")):
        assert "SECRET" not in text


@pytest.mark.parametrize("first", ["place", "key"])
def test_the_place_may_be_set_before_the_key_and_after_it(run: Run, root: Path, first: str) -> None:
    if first == "place":
        (root / ".env").write_text(DESTINATION, "utf-8")
        with pytest.raises(OpsError, match="names no key to encrypt for"):
            Settings.load().require_recipients()
    assert run() is None
    if first == "key":
        with (root / ".env").open("a", encoding="utf-8") as env:
            env.write(DESTINATION)

    Settings.load().require_recipients()
    assert "s3://my-backups/mlflow" == Settings.load().backups_destination


def test_a_second_key_is_refused_and_nothing_changed(run: Run, root: Path) -> None:
    assert run() is None
    before = files(root)
    for out in ("", str(root.parent / "another")):
        error = refused(run(out))
        assert "BACKUP_RECIPIENTS is set" in error.cause
        assert "invoke backup-key --rotate" in error.remedy

    assert before == files(root)


def test_the_private_key_goes_where_it_is_told_to(run: Run, root: Path) -> None:
    file = root.parent / "safe" / "my key"
    assert run(str(file)) is None

    assert age_keys.read(file).recipients == Settings.load().recipients
    assert [] == age_keys.default_files(Settings.load())


@pytest.mark.parametrize("name", ["key", "data/keys/key", "../stack/key"])
def test_it_does_not_go_into_the_repository(run: Run, root: Path, name: str) -> None:
    error = refused(run(str(root / name)))

    assert "is in this repository, which is committed and deployed" in error.cause
    assert {} == files(root)


@pytest.mark.parametrize("content", ["my poems", "", "SECRET"])
def test_a_file_that_is_there_stays(run: Run, root: Path, content: str) -> None:
    file = written(root.parent / "there", content)
    error = refused(run(str(file)))

    assert f"{file} is there already" in error.cause
    assert {str(file): content} == files(root)


# --- Escrow ---


def test_escrow_keys_open_every_backup_too(run: Run) -> None:
    assert run("", public(1), f"{public(2)}, {public(1)}") is None
    own, *others = Settings.load().recipients

    assert [own] == age_keys.find(Settings.load(), "").recipients
    assert [public(1), public(2)] == others


@pytest.mark.parametrize(
    "given",
    ["joe.pub", "age1abc", "", pytest.param(public(1)[:-1], id="cut off"), "ssh-ed25519 AAAA"],
)
def test_what_is_no_public_key_is_no_escrow_key(run: Run, root: Path, given: str) -> None:
    error = refused(run("", public(1), given))

    assert "--escrow (number 2) is not a list of public keys age1…" in error.cause
    assert "age-keygen -y FILE" in error.remedy
    assert {} == files(root)


def test_a_private_key_as_escrow_key_is_refused_and_not_shown(run: Run, root: Path) -> None:
    for given in (identity(), identity().lower(), f"{public(1)},{identity()}"):
        error = refused(run("", given))
        assert "--escrow (number 1) holds a private key" in error.cause
        assert identity()[16:30] not in str(error).upper()

    assert {} == files(root)


# --- A new key in place of the old one ---


def test_a_new_key_takes_the_place_of_the_old_ones_and_the_old_file_stays(
    run: Run, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("", public(1), public(3)) is None
    settings = Settings.load()
    first = age_keys.default_file(settings)
    text = first.read_text("utf-8")
    old = settings.recipients
    capsys.readouterr()
    assert run("", public(2), public(3), rotate=True) is None
    out, said = capsys.readouterr()

    assert [out.strip(), public(2), public(3)] == Settings.load().recipients
    assert 1 == (root / ".env").read_text("utf-8").count("BACKUP_RECIPIENTS")
    assert text == first.read_text("utf-8")
    assert [out.strip(), old[0]] == age_keys.find(settings, "").recipients
    assert f"new backups no longer open with the keys of {old[0]}, {public(1)}\n" in said
    assert "keep their private halves" in said


def test_rotating_without_a_key_makes_the_first(run: Run) -> None:
    assert run("", rotate=True) is None
    assert age_keys.default_file(Settings.load()).exists()


def test_rotating_asks_for_no_passphrase(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run() is None
    first = age_keys.default_file(Settings.load())
    sealed = passphrase.encrypt(first.read_bytes(), "open sesame")
    first.write_bytes(sealed)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "is there already" in refused(run(str(first), rotate=True)).cause
    assert run(rotate=True) is None

    assert sealed == first.read_bytes()
    newest, *_ = age_keys.default_files(Settings.load())
    assert age_keys.read(newest).recipients == Settings.load().recipients


def test_rotating_does_not_write_over_the_file_of_the_present_key(run: Run, root: Path) -> None:
    file = root.parent / "key"
    assert run(str(file)) is None
    before = files(root)
    error = refused(run(str(file), rotate=True))

    assert f"{file} is there already" in error.cause
    assert before == files(root)


def test_what_the_environment_says_wins_and_is_not_passed_over(
    run: Run, environ: dict[str, str]
) -> None:
    environ["BACKUP_RECIPIENTS"] = public(1)
    assert "BACKUP_RECIPIENTS is set" in refused(run()).cause
    error = run(rotate=True)

    assert error is not None
    assert FAILED == error.code
    assert "the environment has another BACKUP_RECIPIENTS" in error.cause


# --- Cut off between the two writes ---


@pytest.mark.parametrize("rotate", [False, True])
@pytest.mark.parametrize("out", ["", "key"])
def test_after_a_kill_between_the_two_writes_the_next_run_says_how_to_go_on(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch, rotate: bool, out: str
) -> None:
    if rotate:
        assert run() is None
    out = out and str(root.parent / out)
    before = Settings.load().recipients

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Settings, "keep", killed)
        with pytest.raises(KeyboardInterrupt):
            run(out, public(1), rotate=rotate)
    assert before == Settings.load().recipients

    there = files(root)
    error = refused(run(out, public(1), rotate=rotate))
    made = age_keys.find(Settings.load(), out).recipients[0]
    assert "holds a key that BACKUP_RECIPIENTS does not name" in error.cause
    line = f"BACKUP_RECIPIENTS='{made},{public(1)}'"
    assert line in error.remedy
    assert "SECRET" not in str(error)
    assert there == files(root)

    (root / ".env").write_text(f"{line}\n", "utf-8")
    assert [made, public(1)] == Settings.load().recipients
    assert age_keys.find(Settings.load(), out).opens(Settings.load().recipients)


def test_another_file_is_the_way_past_a_key_that_is_left_over(run: Run, root: Path) -> None:
    (root / ".env").touch()
    age_keys.make(age_keys.default_file(Settings.load()))

    assert run(str(root.parent / "key")) is None


def test_a_default_file_that_holds_no_key_is_left_alone(run: Run, root: Path) -> None:
    (root / ".env").touch()
    written(age_keys.default_file(Settings.load()), "")
    before = files(root)

    assert "is there already" in refused(run()).cause
    assert before == files(root)


def test_where_env_cannot_be_written_the_line_for_it_is_told(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Settings, "keep", full)
    error = run()
    made = age_keys.find(Settings.load(), "").recipients[0]

    assert error is not None
    assert FAILED == error.code
    assert "cannot be written: No space left on device" in error.cause
    assert f"BACKUP_RECIPIENTS='{made}'" in error.remedy
    assert not (root / ".env").exists()


# --- The sheet ---


def show(out: str = "", *escrow: str, rotate: bool = False) -> None:
    backup_keys.show_sheet(out, escrow, rotate=rotate)


def test_the_sheet_names_the_newest_key_and_makes_none(
    run: Run, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / ".env").write_text(DESTINATION, "utf-8")
    assert run() is None
    assert run(rotate=True) is None
    before = files(root)
    capsys.readouterr()
    show()
    out, said = capsys.readouterr()
    settings = Settings.load()

    assert "" == said
    assert str(age_keys.default_files(settings)[0]) in out
    assert settings.recipients[0] in out
    assert "PLACE=s3://my-backups/mlflow\n" in out
    assert "SECRET" not in out
    assert before == files(root)

    show("/media/safe/key")
    assert "KEY=/media/safe/key\n" in capsys.readouterr().out


@pytest.mark.usefixtures("environ")
def test_a_sheet_without_a_place_or_a_key_is_refused(root: Path) -> None:
    with pytest.raises(OpsError, match="BACKUPS_DESTINATION is not set") as caught:
        show()
    assert REFUSED == caught.value.code

    (root / ".env").write_text(DESTINATION, "utf-8")
    with pytest.raises(OpsError, match="names no key to encrypt for"):
        show()


@pytest.mark.usefixtures("environ")
def test_a_sheet_and_a_new_key_are_two_runs() -> None:
    with pytest.raises(OpsError, match="--sheet makes no key"):
        show("", public(1))
    with pytest.raises(OpsError, match="--sheet makes no key"):
        show(rotate=True)
