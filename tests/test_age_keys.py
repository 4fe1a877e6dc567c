"""Private keys: made for their owner alone, read back in every form, never shown."""

import io
import json
import os
import pickle
import shlex
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyrage import decrypt, encrypt, passphrase, x25519

from ops import age_keys, console, envfile
from ops.age_keys import Key
from ops.errors import REFUSED, OpsError
from ops.settings import Settings

WORD = "open sesame"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A stack whose operator has a home of their own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Settings(root=tmp_path / "stack", stack_name="team")


def secret_of(file: Path) -> str:
    return next(line for line in file.read_text("utf-8").splitlines() if line.startswith("AGE-"))


def identity(number: int = 0) -> str:
    """Return a private key, the same one for the same number."""
    made = IDENTITIES.setdefault(number, x25519.Identity.generate())
    return str(made)


IDENTITIES: dict[int, Any] = {}


def public(number: int = 0) -> str:
    identity(number)
    return str(IDENTITIES[number].to_public())


def written(file: Path, text: str | bytes, mode: int = 0o600) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    file.chmod(mode)
    return file


def refused(file: Path) -> OpsError:
    """Return the refusal that reading a file ends with."""
    with pytest.raises(OpsError) as caught:
        age_keys.read(file)
    assert REFUSED == caught.value.code
    return caught.value


# --- Making ---


@pytest.mark.usefixtures("zero_umask")
def test_a_key_is_made_for_its_owner_alone_as_age_keygen_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "team.agekey"
    made = age_keys.make(file)
    created, named, secret = file.read_text("utf-8").splitlines()

    assert created.startswith("# created: 20")
    assert f"# public key: {made}" == named
    assert str(x25519.Identity.from_str(secret).to_public()) == made
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert 0o700 == stat.S_IMODE(file.parent.stat().st_mode)
    assert [file] == list(file.parent.iterdir())


def test_what_is_encrypted_for_the_public_half_opens_with_the_key_that_is_read(
    tmp_path: Path,
) -> None:
    made = age_keys.make(tmp_path / "key")
    sealed = encrypt(b"rows", [x25519.Recipient.from_str(made)])
    key = age_keys.read(tmp_path / "key")

    assert b"rows" == decrypt(sealed, [x25519.Identity.from_str(key.reveal().strip())])


def test_a_key_is_never_written_over_anything(tmp_path: Path) -> None:
    written(tmp_path / "key", "my poems")
    with pytest.raises(OpsError, match="is there already") as caught:
        age_keys.make(tmp_path / "key")

    assert REFUSED == caught.value.code
    assert "my poems" == (tmp_path / "key").read_text("utf-8")
    assert [tmp_path / "key"] == list(tmp_path.iterdir())


def test_nor_through_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OpsError, match="is there already"):
        age_keys.make(tmp_path / "key")

    assert not (tmp_path / "elsewhere").exists()


def test_where_no_file_can_be_the_error_says_so(tmp_path: Path) -> None:
    written(tmp_path / "file", "")
    with pytest.raises(OpsError, match="cannot write a key to ") as caught:
        age_keys.make(tmp_path / "file" / "key")

    assert ("name another file: --out FILE", REFUSED) == (caught.value.remedy, caught.value.code)


@pytest.mark.parametrize("step", ["write", "link"])
def test_an_interrupted_run_leaves_no_part_of_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    if step == "write":
        monkeypatch.setattr(envfile, "write_private", cut_off)
    else:
        monkeypatch.setattr(Path, "hardlink_to", cut_off)
    with pytest.raises(KeyboardInterrupt):
        age_keys.make(tmp_path / "key")

    assert [] == list(tmp_path.iterdir())


# --- Reading ---


def test_several_keys_may_be_in_a_file_with_comments_and_blank_lines(tmp_path: Path) -> None:
    text = f"\ufeff# mine\r\n{identity(1)}\r\n\r\n  {identity(2).lower()}  \n# age1 no more\n"
    key = age_keys.read(written(tmp_path / "key", text))

    assert [public(1), public(2)] == key.recipients
    assert f"{identity(1)}\n{identity(2)}\n" == key.reveal()


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path / "key")

    assert f"there is no key file {tmp_path / 'key'}" == error.cause
    assert "name the one you have: --key FILE" == error.remedy


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o666])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = written(tmp_path / "key", identity(), mode)
    error = refused(file)

    assert f"the key file {file} is open to others ({mode:04o})" == error.cause
    assert f"chmod 600 {file}" == error.remedy
    assert identity() not in str(error)


def test_a_folder_is_no_key_file(tmp_path: Path) -> None:
    assert "Is a directory" in refused(tmp_path).cause


BROKEN: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "holds no private key"),
    "comments": (f"# {identity()}\n", "holds no private key"),
    "public": (f"# mine\n{public()}\n", "line 2 of .* is a public key, which opens nothing"),
    "cut": (identity()[:-1], "line 1 of .* is no private key of age"),
    "typo": (identity()[:40] + "B" + identity()[41:], "is no private key of age"),
    "twice": (f"{identity()} {identity(1)}\n", "is no private key of age"),
    "prose": (f"the key: {identity()}\n", "is no private key of age"),
    "ssh": (f"-----BEGIN OPENSSH PRIVATE KEY-----\n{identity()}\n", "is no private key of age"),
    "binary": (b"\xff\xfe\x00" + identity().encode(), "is no private key of age"),
    "large": (f"{identity()}\n" * 1000, "is too large"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_private_key_is_refused_and_not_shown(tmp_path: Path, name: str) -> None:
    content, cause = BROKEN[name]
    error = refused(written(tmp_path / "key", content))

    assert error.remedy
    assert "AGE-SECRET-KEY-1" not in str(error).replace("AGE-SECRET-KEY-1…", "")
    assert identity()[16:30] not in str(error)
    with pytest.raises(OpsError, match=cause):
        age_keys.read(tmp_path / "key")


# --- Reading one with a passphrase ---


@pytest.fixture(scope="module", params=["binary", "armored"])
def locked(request: pytest.FixtureRequest) -> bytes:
    """A key file that was encrypted with a passphrase."""
    text = f"# mine\n{identity(3)}\n".encode()
    return passphrase.encrypt(text, WORD, armored=request.param == "armored")  # type: ignore[no-any-return]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Have a person at a terminal who types this; return the questions asked."""

    def type_in(text: str) -> list[str]:
        questions: list[str] = []

        def ask(question: str) -> str:
            questions.append(question)
            return text

        monkeypatch.setattr(console, "ask_hidden", ask)
        return questions

    return type_in


def test_a_file_with_a_passphrase_opens_for_who_types_it(
    tmp_path: Path, locked: bytes, typed: Callable[[str], list[str]]
) -> None:
    file = written(tmp_path / "key", locked)
    questions = typed(WORD)

    assert [public(3)] == age_keys.read(file).recipients
    assert [f"Passphrase of {file}: "] == questions


def test_another_passphrase_does_not_open_it(
    tmp_path: Path, locked: bytes, typed: Callable[[str], list[str]]
) -> None:
    typed("open barley")
    error = refused(written(tmp_path / "key", locked))

    assert "the passphrase does not open" in error.cause
    assert "barley" not in str(error)


def test_without_a_terminal_nobody_is_asked_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(WORD))
    error = refused(written(tmp_path / "key", b"age-encryption.org/v1\n-> scrypt"))

    assert "has a passphrase, and nobody is here to type it" in error.cause
    assert "run it in a terminal" in error.remedy


@pytest.mark.parametrize("whole", [True, False])
def test_a_file_that_is_encrypted_otherwise_or_damaged_is_refused(
    tmp_path: Path, typed: Callable[[str], list[str]], whole: bool
) -> None:
    sealed = encrypt(identity().encode(), [x25519.Recipient.from_str(public(1))])
    typed(WORD)
    error = refused(written(tmp_path / "key", sealed if whole else sealed[:60]))

    assert "the passphrase does not open" in error.cause


# --- What a key shows ---


def test_a_key_shows_itself_to_nobody(tmp_path: Path) -> None:
    key = age_keys.read(written(tmp_path / "key", identity()))
    anything: Any = key

    for shown in (repr(key), str(key), f"{key}", f"{[key]!r}"):
        assert "SECRET" not in shown
    for use in (json.dumps, pickle.dumps, lambda word: shlex.join(["age", word])):
        with pytest.raises(TypeError):
            use(anything)


def test_a_key_says_whether_it_opens_what_is_encrypted_for_some(tmp_path: Path) -> None:
    key = age_keys.read(written(tmp_path / "key", f"{identity(1)}\n{identity(2)}\n"))

    assert key.opens([public(5), public(2)])
    assert not key.opens([public(5)])
    assert not key.opens([])


def test_text_from_elsewhere_is_read_alike() -> None:
    assert [public()] == age_keys.parse(identity(), "standard input").recipients
    with pytest.raises(OpsError, match="standard input holds no private key"):
        age_keys.parse("\n", "standard input")


# --- Finding ---


def test_the_default_file_is_the_stack_s_own_and_in_no_repository(
    settings: Settings, tmp_path: Path
) -> None:
    file = tmp_path / "config" / "mlflow-compose" / "team.agekey"

    assert file == age_keys.default_file(settings)
    assert file == age_keys.new_file(settings)
    assert [] == age_keys.default_files(settings)


def test_the_next_key_is_counted_on_and_another_stack_s_is_not_ours(settings: Settings) -> None:
    folder = settings.personal
    names = ("team.agekey", "team.2.agekey", "team.10.agekey")
    for name in (*names, "team-3.agekey", "team.x.agekey", "team.3.agekey.bak", "team.0.agekey"):
        written(folder / name, identity())

    assert [folder / name for name in names[::-1]] == age_keys.default_files(settings)
    assert folder / "team.11.agekey" == age_keys.new_file(settings)


def test_what_is_made_in_the_next_place_is_found_there(settings: Settings) -> None:
    made = [age_keys.make(age_keys.new_file(settings)) for _ in range(3)]

    assert made[::-1] == age_keys.find(settings, "").recipients


def test_a_named_file_is_the_only_one_looked_at(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    age_keys.make(age_keys.default_file(settings))
    made = age_keys.make(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    for given in (str(tmp_path / "mine"), "mine", "~/mine"):
        assert [made] == age_keys.find(settings, given).recipients


def test_where_no_key_is_the_error_says_how_to_name_or_make_one(settings: Settings) -> None:
    with pytest.raises(OpsError) as caught:
        age_keys.find(settings, "")

    assert f"the private key is not at {age_keys.default_file(settings)}" == caught.value.cause
    assert "--key FILE (invoke backup-key makes one" in caught.value.remedy
    assert REFUSED == caught.value.code


def test_a_private_key_in_place_of_a_file_s_name_is_refused_and_not_shown(
    settings: Settings,
) -> None:
    for given in (identity(), identity().lower()):
        with pytest.raises(OpsError, match="--key was given a private key") as caught:
            age_keys.find(settings, given)

        assert given[16:] not in str(caught.value)


def test_the_home_of_a_stranger_is_refused(settings: Settings) -> None:
    with pytest.raises(OpsError, match="somebody unknown here"):
        age_keys.find(settings, "~nobody-of-this-name/key")


def test_a_pipe_is_read_as_a_file_is(settings: Settings) -> None:
    """As `--key <(pass show backups)` in bash has it."""
    reading, writing = os.pipe()
    os.write(writing, identity().encode())
    os.close(writing)
    key: Key = age_keys.find(settings, f"/dev/fd/{reading}")
    os.close(reading)

    assert [public()] == key.recipients
