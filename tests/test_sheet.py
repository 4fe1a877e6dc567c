"""The sheet, as a person has it on paper: its commands are run as they stand there."""

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from pyrage import encrypt, x25519

from ops import accounts, age_keys, sheet
from ops.settings import Settings
from tests.conftest import ROOT

KEY = "~/.config/mlflow-compose/mlflow-compose.agekey"
EXAMPLE = Settings(
    backups_destination="s3://my-backups/mlflow",
    backup_recipients="age1gde3ncmahlqd9gg50tanl99r960llztrhfapnmx853s4tjum03uqfssgdh",
)
SERVER = "2ade7451-e8e2-11f1-b447-0242ac120002"
LINES, COLUMNS = 120, 100
"""What two printed pages hold."""


def blocks(text: str) -> list[str]:
    return re.findall(r"```bash\n(.*?)```", text, re.DOTALL)


def test_the_page_shows_the_sheet_of_the_default_settings() -> None:
    page = (ROOT / "docs" / "restore-by-hand.md").read_text("utf-8")

    assert f"````markdown\n{sheet.render(EXAMPLE, KEY)}````\n" == page[page.index("````") :]


def test_it_fits_two_pages() -> None:
    several = replace(EXAMPLE, backup_recipients=",".join([EXAMPLE.backup_recipients] * 4))
    lines = sheet.render(several, KEY).splitlines()

    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS


def test_it_names_the_stack_the_place_the_keys_and_the_file() -> None:
    settings = Settings(
        stack_name="team",
        backups_destination="s3://b-1/x/y(1)",
        backup_recipients="age1a,age1b",
        s3_endpoint_url="https://s3.example.com",
        s3_region="eu-central-1",
    )
    text = sheet.render(settings, "/home/joe/my key")

    assert text.startswith("# Restoring team by hand\n")
    assert "Backups     s3://b-1/x/y(1)\n    Public keys age1a\n                age1b\n" in text
    assert "KEY='/home/joe/my key'\nPLACE='s3://b-1/x/y(1)'\n" in text
    assert "export AWS_ENDPOINT_URL=https://s3.example.com AWS_REGION=eu-central-1\n" in text
    assert "docker volume create team_db\n" in text
    assert "mysql:9.7" in text
    assert not re.search(r"@[A-Z_]+@", text)


def test_a_region_or_an_endpoint_is_named_only_where_there_is_one() -> None:
    assert "export AWS" not in sheet.render(EXAMPLE, KEY)


def test_a_key_in_the_home_folder_is_one_for_the_shell(tmp_path: Path) -> None:
    text = sheet.render(EXAMPLE, "~/my keys/it's one")
    line = next(line for line in text.splitlines() if line.startswith("KEY="))
    said = subprocess.run(
        ["bash", "-c", f'{line}; printf %s "$KEY"'],
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"{tmp_path}/my keys/it's one" == said.stdout


# --- Followed ---

AGE = """\
#!{python}
import sys
from pyrage import decrypt, x25519
_, flag, option, key, file = sys.argv
assert (flag, option) == ("-d", "-i")
lines = [line for line in open(key).read().splitlines() if line.startswith("AGE-")]
identities = [x25519.Identity.from_str(line) for line in lines]
sys.stdout.buffer.write(decrypt(open(file, "rb").read(), identities))
"""

AWS = """\
#!{python}
import pathlib, shutil, sys
bucket = pathlib.Path({bucket!r})
words = [word for word in sys.argv[1:] if not word.startswith("--")]
assert words[0] == "s3"
place = bucket / words[2].removeprefix("s3://my-backups/")
if words[1] == "ls" and "--recursive" in sys.argv:
    found = [path for path in sorted(place.rglob("*")) if path.is_file()]
    for path in found:
        print("2026-11-25 15:03:42", 7, path.relative_to(bucket))
    sys.exit(0 if found else 1)
elif words[1] == "ls" and place.exists():
    for path in sorted(place.iterdir()):
        print("                           PRE", path.name + "/")
elif words[1] == "cp" and place.exists():
    shutil.copytree(place, words[3], dirs_exist_ok=True)
"""

DOCKER = """\
#!{python}
import pathlib, subprocess, sys
notes = pathlib.Path({notes!r})
words = sys.argv[1:]
with (notes / "docker").open("a") as log:
    log.write(" ".join(words) + "\\n")
if any("mysqlbinlog" in word for word in words):
    assert not sys.stdin.isatty()
    for word in words:
        if word.startswith(("/tail/", "/binlogs/")):
            sys.stdout.buffer.write(pathlib.Path(word[1:]).read_bytes())
elif words[:3] == ["exec", "-i", "restore"]:
    with (notes / "sql").open("ab") as sql:
        sql.write(sys.stdin.buffer.read())
"""


class Bucket:
    """A bucket with backups, and a machine with stand-ins for `age`, `aws` and `docker`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place = root / "bucket" / "mlflow"
        (root / "bin").mkdir(parents=True)
        self.key = root / "the key"
        self.recipient = x25519.Recipient.from_str(age_keys.make(self.key))
        given = {"python": sys.executable, "bucket": str(root / "bucket"), "notes": str(root)}
        for name, text in {"age": AGE, "aws": AWS, "docker": DOCKER}.items():
            (root / "bin" / name).write_text(text.format(**given), "utf-8")
            (root / "bin" / name).chmod(0o755)

    def seal(self, data: bytes) -> bytes:
        sealed: bytes = encrypt(zstandard.compress(data, 1), [self.recipient])
        return sealed

    def tar(self, files: dict[str, bytes]) -> bytes:
        folder = self.root / "packing"
        folder.mkdir()
        for name, data in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        packed = subprocess.run(["tar", "-c", "."], cwd=folder, capture_output=True, check=True)
        subprocess.run(["rm", "-r", folder], check=True)
        return self.seal(packed.stdout)

    def backup(self, folder: str, objects: dict[str, bytes], first: str = "binlog.000002") -> Path:
        """Put a backup into the bucket."""
        place = self.place / folder
        place.mkdir(parents=True)
        sums = []
        for name, data in objects.items():
            (place / name).write_bytes(data)
            sums.append({"name": name, "sha256": hashlib.sha256(data).hexdigest()})
        document = {"id": "x", "server": SERVER, "first_log": first, "objects": sums}
        (place / "manifest.json").write_text(json.dumps(document, indent=1), "utf-8")
        return place

    def piece(self, log: str, start: int, data: bytes, of: bytes | None = None) -> Path:
        """Put a piece of a binary log into the bucket."""
        folder = self.place / "logs" / SERVER / log
        folder.mkdir(parents=True, exist_ok=True)
        sealed = self.seal(data) if of is None else of
        digest = hashlib.sha256(sealed).hexdigest()[:16]
        file = folder / (
            f"{start:012d}-{start + len(data):012d}-20261125T150916.730508Z-{digest}.zst.age"
        )
        file.write_bytes(sealed)
        return file

    def follow(self, *changes: tuple[str, str]) -> str:
        """Do what the sheet says, as far as its commands go; return what they print."""
        script = "".join(blocks(sheet.render(EXAMPLE, str(self.key))))
        for old, new in changes:
            assert old in script
            script = script.replace(old, new)
        done = subprocess.run(
            ["bash", "-s"],  # as if it was pasted: what reads its input eats the rest
            cwd=self.root,
            input=script,
            env={"PATH": f"{self.root / 'bin'}:{os.environ['PATH']}", "HOME": str(self.root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=50,
            check=True,
        )
        return done.stdout

    @property
    def replayed(self) -> bytes:
        """What MySQL was given to run."""
        return (self.root / "sql").read_bytes() if (self.root / "sql").exists() else b""

    @property
    def containers(self) -> list[str]:
        """The lines that Docker was given."""
        return (self.root / "docker").read_text("utf-8").splitlines()


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path / "machine")


@pytest.fixture
def base(bucket: Bucket) -> Path:
    """A physical copy, not the only backup and not the last by the name of its folder."""
    tail = {"binlog.000002": b"[tail 2]", "binlog.000003": b"[tail 3]"}
    bucket.backup("weekly/20261124T030000Z-ffffff", {"dump.sql.zst.age": bucket.seal(b"old")})
    (bucket.place / "daily" / "20261126T030000Z-aaaaaa").mkdir(parents=True)  # has no manifest
    (bucket.place / "daily" / "20261126T030000Z-aaaaaa" / "base.tar.zst.age").touch()
    return bucket.backup(
        "daily/20261125T150342Z-1f3a9c",
        {
            "base.tar.zst.age": bucket.tar({"ibdata1": b"pages", "mysql/user": b"accounts"}),
            "tail.tar.zst.age": bucket.tar(tail),
        },
    )


@pytest.mark.usefixtures("base")
def test_the_newest_backup_is_unpacked_and_brought_to_its_own_state(bucket: Bucket) -> None:
    said = bucket.follow()
    restore = bucket.root / "restore"

    assert "base.tar.zst.age is whole\ntail.tar.zst.age is whole\n" in said
    assert "DAMAGED" not in said
    assert b"pages" == (restore / "data" / "ibdata1").read_bytes()
    assert b"accounts" == (restore / "data" / "mysql" / "user").read_bytes()
    assert b"[tail 2][tail 3]" == bucket.replayed


@pytest.mark.usefixtures("base")
def test_mysql_is_started_without_a_network_on_the_copy(bucket: Bucket) -> None:
    bucket.follow()
    chown, run = bucket.containers[:2]
    restore = bucket.root / "restore"

    assert chown.endswith("--entrypoint chown mysql:9.7 -R 999:999 /r/data /r/new")
    words = shlex.split(run)
    for word in ("--network none", "--skip-networking", "--skip-log-bin", "--gtid-mode=ON"):
        assert word in run
    assert "--enforce-gtid-consistency=ON" in words
    assert "--init-file=/new/passwords.sql" == words[-1]
    assert f"{restore}/data:/var/lib/mysql" in words


@pytest.mark.usefixtures("base")
def test_new_passwords_are_made_and_are_no_part_of_any_command(bucket: Bucket) -> None:
    said = bucket.follow()
    new = bucket.root / "restore" / "new"
    root, mlflow = ((new / name).read_text("utf-8") for name in ("root", "mlflow"))
    here, everywhere = "'root'@'localhost'", "'mlflow'@'%'"

    assert (new / "passwords.sql").read_text("utf-8").splitlines()[:2] == [
        f"ALTER USER {here} IDENTIFIED BY '{root}', {everywhere} IDENTIFIED BY '{mlflow}';",
        f"ALTER USER {here} DISCARD OLD PASSWORD, {everywhere} DISCARD OLD PASSWORD;",
    ]
    assert re.fullmatch("[0-9a-f]{32}", root)
    assert root != mlflow
    assert said.endswith(f"MYSQL_PASSWORD='{mlflow}'\nMYSQL_ROOT_PASSWORD='{root}'\n")
    assert 0 == new.stat().st_mode & 0o077
    assert not [line for line in bucket.containers if root in line or mlflow in line]


@pytest.mark.usefixtures("base")
def test_users_that_come_back_with_the_data_are_gone_when_it_is_served(bucket: Bucket) -> None:
    bucket.follow()
    sql = (bucket.root / "restore" / "new" / "passwords.sql").read_text("utf-8")
    [gone] = re.findall(r"DROP USER IF EXISTS (.*);", sql)
    others = ["root", *({*accounts.RIGHTS} - {"mlflow"})]
    said = bucket.containers

    assert {f"'{name}'@'%'" for name in others} == set(gone.split(", "))
    last = next(line for line in reversed(said) if line.endswith(" < /new/passwords.sql"))
    assert said.index(last) > max(said.index(each) for each in said if "mysqlbinlog" in each)


@pytest.mark.usefixtures("base")
def test_pieces_of_logs_are_joined_in_order_and_overlaps_left_out(bucket: Bucket) -> None:
    bucket.piece("binlog.000001", 0, b"too old")
    whole = b"0123456789"
    for start, end in [(4, 6), (0, 4), (0, 2), (2, 8), (3, 5), (8, 10)]:
        bucket.piece("binlog.000002", start, whole[start:end])
    bucket.piece("binlog.000003", 0, b"abc")
    said = bucket.follow()
    binlogs = bucket.root / "restore" / "binlogs"

    assert whole == (binlogs / "binlog.000002").read_bytes()
    assert b"abc" == (binlogs / "binlog.000003").read_bytes()
    assert not (binlogs / "binlog.000001").exists()
    assert bucket.replayed.endswith(b"[tail 3]0123456789abc")
    assert "binlog.000003\n                           PRE binlog.000003/\n" in said


def test_names_of_logs_go_on_after_six_digits(bucket: Bucket) -> None:
    tail = {"tail.tar.zst.age": bucket.tar({"binlog.999999": b"[tail]"})}
    bucket.backup("daily/20261125T150342Z-1f3a9c", tail, "binlog.999999")
    bucket.piece("binlog.999999", 0, b"nine")
    bucket.piece("binlog.1000000", 0, b"ten")
    said = bucket.follow()

    assert b"[tail]nineten" == bucket.replayed
    assert "binlog.1000000\n                           PRE binlog.1000000/\n" in said


@pytest.mark.usefixtures("base")
def test_it_stops_where_a_piece_is_missing_and_says_so(bucket: Bucket) -> None:
    bucket.piece("binlog.000002", 0, b"0123")
    bucket.piece("binlog.000002", 6, b"6789")
    bucket.piece("binlog.000003", 0, b"abc")
    said = bucket.follow()

    assert "binlog.000002: MISSING 4 to 6\n" in said
    assert bucket.replayed.endswith(b"[tail 3]0123")


@pytest.mark.usefixtures("base")
def test_it_stops_where_a_log_is_missing_and_shows_that_later_ones_are_there(
    bucket: Bucket,
) -> None:
    bucket.piece("binlog.000002", 0, b"0123")
    bucket.piece("binlog.000004", 0, b"abc")
    said = bucket.follow()

    assert "binlog.000002\n                           PRE binlog.000004/\n" in said
    assert bucket.replayed.endswith(b"[tail 3]0123")


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize("how", ["cut", "flipped", "another key"])
def test_it_stops_at_a_piece_that_is_damaged(bucket: Bucket, how: str) -> None:
    sealed = bucket.seal(b"4567")
    if how == "another key":
        other = x25519.Identity.generate().to_public()
        sealed = encrypt(zstandard.compress(b"4567"), [other])
    bad = sealed[:-1] + (bytes([sealed[-1] ^ 1]) if how == "flipped" else b"")
    bucket.piece("binlog.000002", 0, b"0123")
    piece = bucket.piece("binlog.000002", 4, b"4567", sealed if how == "another key" else bad)
    bucket.piece("binlog.000003", 0, b"abc")
    said = bucket.follow()

    assert f"logs/binlog.000002/{piece.name} IS DAMAGED\n" in said
    assert bucket.replayed.endswith(b"[tail 3]0123")


def test_an_object_that_is_not_the_manifest_s_is_told(bucket: Bucket, base: Path) -> None:
    data = (base / "base.tar.zst.age").read_bytes()
    (base / "base.tar.zst.age").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    said = bucket.follow()

    assert "base.tar.zst.age IS DAMAGED\ntail.tar.zst.age is whole\n" in said


@pytest.mark.usefixtures("base")
def test_an_older_backup_and_a_moment_may_be_chosen(bucket: Bucket) -> None:
    bucket.backup(
        "monthly/20261101T030000Z-000000",
        {"base.tar.zst.age": bucket.tar({"ibdata1": b"old pages"})},
    )
    bucket.piece("binlog.000002", 0, b"0123")
    bucket.follow(
        ('BACKUP=$(dirname "$(tail -n 1 list)")', "BACKUP=monthly/20261101T030000Z-000000"),
        ("UNTIL= # or ", ""),
        (", to stop before a mistake", ""),
    )

    assert b"old pages" == (bucket.root / "restore" / "data" / "ibdata1").read_bytes()
    replays = [line for line in bucket.containers if "mysqlbinlog" in line]
    stop = "--stop-datetime=2026-11-25 06:40:00"
    assert [f"{stop} /binlogs/binlog.000002"] == [line[line.index("--stop") :] for line in replays]


@pytest.mark.parametrize("first", ["binlog.000002", ""])
def test_a_dump_is_loaded_into_an_empty_server(bucket: Bucket, first: str) -> None:
    dump = {"dump.sql.zst.age": bucket.seal(b"CREATE TABLE;")}
    bucket.backup("weekly/20261125T150342Z-1f3a9c", dump, first)
    bucket.piece("binlog.000002", 0, b"0123")
    bucket.follow()

    assert [] == list((bucket.root / "restore" / "data").iterdir())
    assert (b"CREATE TABLE;0123" if first else b"CREATE TABLE;") == bucket.replayed
    assert bucket.containers[1].endswith("--max-allowed-packet=1G")
    assert "MYSQL_ROOT_PASSWORD_FILE=/new/root" in bucket.containers[1]
    assert [line for line in bucket.containers if line.endswith("--max-allowed-packet=1G mlflow")]


@pytest.mark.usefixtures("base")
def test_in_the_end_the_copy_goes_into_the_volume_of_the_stack(bucket: Bucket) -> None:
    bucket.follow()
    passwords, stop, gone, create, copy = bucket.containers[-5:]

    assert passwords.startswith("exec restore sh -c mysql ")
    assert passwords.endswith(" < /new/passwords.sql")
    assert ["stop -t 600 restore", "rm restore", "volume create mlflow-compose_db"] == [
        *(stop, gone, create),
    ]
    assert "--volume mlflow-compose_db:/to" in copy
