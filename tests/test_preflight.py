"""Checks of the machine: each refuses with code 2 and changes nothing."""

import fcntl
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ops import preflight
from ops.errors import OpsError
from tests.conftest import ROOT


def test_the_data_folder_is_made_for_this_user_only(tmp_path: Path, zero_umask: None) -> None:
    assert zero_umask is None
    preflight.data_folder(tmp_path / "a" / "data")
    preflight.data_folder(tmp_path / "a" / "data")

    assert stat.S_IMODE((tmp_path / "a" / "data").stat().st_mode) == 0o700


def test_a_file_in_the_place_of_the_data_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(OpsError, match=r"cannot make the data folder .*: File exists") as caught:
        preflight.data_folder(tmp_path / "data")

    assert caught.value.code == 2
    assert "DATA_FOLDER" in caught.value.remedy


def test_a_data_folder_without_write_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel answers is a stand-in here, root may always write; the rows in
    test_bad_input.py ask the real one."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OpsError, match="is not writable for you") as caught:
        preflight.data_folder(tmp_path)

    assert caught.value.code == 2


def test_enough_disk_space_is_no_problem_even_for_a_folder_to_come(tmp_path: Path) -> None:
    preflight.disk_space(tmp_path / "not" / "yet" / "there", 1, "the test")


def test_too_little_disk_space_is_refused_with_both_numbers(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(OpsError, match=r"the stack needs .* GiB; .* has .* free") as caught:
        preflight.disk_space(tmp_path, free + 1024**4, "the stack")

    assert caught.value.code == 2


def test_a_file_system_without_any_space_is_refused() -> None:
    with pytest.raises(OpsError, match="the stack needs 1 B; /proc has 0 B free"):
        preflight.disk_space(Path("/proc"), 1, "the stack")


def test_a_free_port_is_no_problem() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    preflight.port_free("127.0.0.1", port)
    preflight.port_free("0.0.0.0", port)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_somebody_listens_on_is_refused(address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OpsError, match=f"port {port} is taken") as caught:
            preflight.port_free(address, port)

    assert caught.value.code == 2


def test_a_port_whose_connections_are_just_closing_is_free() -> None:
    """A server that is started again at once must not be refused for TIME_WAIT."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        connection, _ = server.accept()
        connection.close()
        client.close()
    preflight.port_free("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(OpsError, match=r"192\.0\.2\.1 is no address of this machine") as caught:
        preflight.port_free("192.0.2.1", 5050)

    assert caught.value.code == 2


def test_a_machine_without_ipv6_has_no_ipv6_address(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoSocket(socket.socket):
        """What the kernel answers without IPv6."""

        def __init__(self, *_: object) -> None:
            raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", NoSocket)
    with pytest.raises(OpsError, match="::1 is no address of this machine"):
        preflight.port_free("::1", 5050)


HOLD = """
import sys
from pathlib import Path
from ops import preflight
with preflight.only_one(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_change_at_once_is_refused_and_told_who_makes_the_first(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(OpsError) as caught, preflight.only_one(tmp_path):
            pass
        other.kill()

    assert caught.value.cause.startswith(f"process {other.pid} (since ")
    assert caught.value.cause.endswith(" UTC) is changing this stack")
    assert caught.value.code == 2
    with preflight.only_one(tmp_path):  # a kill -9 leaves no lock behind
        pass


def test_the_lock_names_nobody_once_it_is_free_even_after_an_error(tmp_path: Path) -> None:
    seen = []

    def fail() -> None:
        seen.append((tmp_path / "lock").read_text("utf-8"))
        raise RuntimeError

    with pytest.raises(RuntimeError), preflight.only_one(tmp_path):
        fail()

    assert seen[0].startswith(f"process {os.getpid()} (since ")
    assert (tmp_path / "lock").read_text("utf-8") == ""
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
