"""Images on their way to a real engine: that of a simulated EC2 host, over `docker exec`."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ops import ecr, registry, transfer
from ops.ecr import Repository
from ops.errors import OpsError
from ops.hosts import LocalHost, Result
from tests import lab
from tests.aws import REGION, Aws

REPOSITORY = "mlflow-compose-test/web"
BASE = "python:3.13-slim"
LAYER = 30 * 1024**2
START_ENGINE = """
name=$1 size=$2 containerd=$3
mkdir -p /small/$name
mount -t tmpfs -o size=$size tmpfs /small/$name
echo '{"features":{"containerd-snapshotter":'$containerd'}}' >/small/$name.json
setsid dockerd --config-file /small/$name.json --data-root /small/$name/docker \
    --exec-root /run/small-$name --pidfile /run/small-$name.pid -H unix:///run/small-$name.sock \
    --bridge=none --iptables=false --ip6tables=false >/small/$name.log 2>&1 &
for _ in $(seq 150); do
    DOCKER_HOST=unix:///run/small-$name.sock docker version >/dev/null 2>&1 && exit 0
    sleep 0.2
done
cat /small/$name.log
exit 1
"""
STOP_ENGINE = """
pid=$(cat /run/small-$1.pid) || exit 0
kill $pid
for _ in $(seq 100); do kill -0 $pid 2>/dev/null || break; sleep 0.1; done
umount -l /small/$1
rm -rf /small/$1*
"""


class ExecHost(LocalHost):
    """A simulated EC2 host, reached by `docker exec`; with `socket`, another engine on it."""

    def __init__(self, container: str, socket: str = "") -> None:
        self.name = container
        self.socket = socket
        self.cut_after: int | None = None
        self.commands: list[str] = []

    def words(self, words: Sequence[str]) -> list[str]:
        self.commands.append(" ".join(words))
        environ = ["--env", f"DOCKER_HOST=unix://{self.socket}"] if self.socket else []
        return ["docker", "exec", "--interactive", *environ, self.name, *words]

    def run(self, words: Sequence[str], **more: Any) -> Result:
        return super().run(self.words(words), **more)

    def follow(self, words: Sequence[str], *rest: Any, **more: Any) -> Result:
        return super().follow(self.words(words), *rest, **more)

    def send(
        self,
        words: Sequence[str],
        chunks: Iterable[bytes],
        on_sent: Callable[[int], None],
        deadline: float,
    ) -> Result:
        return super().send(self.words(words), self.cut(chunks), on_sent, deadline)

    def cut(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """End the stream early, as a connection that breaks does."""
        sent = 0
        for chunk in chunks:
            if self.cut_after is not None and sent + len(chunk) > self.cut_after:
                yield chunk[: self.cut_after - sent]
                return
            sent += len(chunk)
            yield chunk

    def docker(self, *words: str) -> str:
        return self.check(("docker", *words), "none").strip()

    def tags(self) -> list[str]:
        return self.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()

    def dangling(self) -> list[str]:
        return self.docker("image", "ls", "--quiet", "--filter", "dangling=true").split()


@pytest.fixture(scope="module")
def the_host_lab() -> lab.Lab:
    """The lab with at least one simulated EC2 host."""
    return lab.up(hosts=1)


@pytest.fixture
def host(the_host_lab: lab.Lab) -> Iterator[ExecHost]:
    """The host, without the images of this module before and after."""
    found = ExecHost(the_host_lab.hosts[0].name)
    clear(found)
    yield found
    clear(found)


def clear(host: ExecHost) -> None:
    mine = [tag for tag in host.tags() if REPOSITORY in tag or tag.endswith("/web:1")]
    if mine:
        host.docker("image", "rm", "--force", *mine)
    if left := host.dangling():
        host.docker("image", "rm", "--force", *left)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """Build images of the base, 30 MB that cannot be packed, and one small file of our own."""
    folder = tmp_path_factory.mktemp("image")
    with Path("/dev/urandom").open("rb") as random:
        (folder / "server").write_bytes(random.read(LAYER))
    text = f"FROM {BASE}\nCOPY server /server\nCOPY own.py /own.py\nCMD python3 /own.py\n"
    (folder / "Dockerfile").write_text(text, "utf-8")
    made: list[str] = []

    def build(version: str) -> str:
        (folder / "own.py").write_text(f"print('version {version}')\n", "utf-8")
        name = f"{REPOSITORY}:{version}"
        LocalHost().check(("docker", "build", "--quiet", "--tag", name, str(folder)), "none")
        made.append(name)
        return name

    yield build
    if made:
        LocalHost().run(("docker", "image", "rm", *dict.fromkeys(made)))


@pytest.fixture
def engine_on(host: ExecHost) -> Iterator[Callable[..., ExecHost]]:
    """Start more engines on the host, each on a small disk of its own in memory."""
    names: list[str] = []

    def start(size: str, *, containerd: bool = False) -> ExecHost:
        name = f"e{len(names)}"
        names.append(name)
        words = ("bash", "-c", START_ENGINE, "engine", name, size, str(containerd).lower())
        host.check(words, "look at the log above")
        return ExecHost(host.name, f"/run/small-{name}.sock")

    yield start
    for name in names:
        host.run(("bash", "-c", STOP_ENGINE, "engine", name))


def test_after_a_change_of_our_own_file_only_that_is_sent_and_the_image_runs(
    host: ExecHost,
    built: Callable[[str], str],
    tmp_path: Path,
    measured: Callable[[str], None],
) -> None:
    lab.load_image(lab.Host(host.name, "", 0, "", "", ""), BASE)
    first = transfer.send_image(LocalHost(), [host], built("1"), tmp_path)[0]
    assert (first.layers_sent, first.layers_kept) == (2, 2)
    assert LAYER < first.bytes < 1.1 * LAYER

    begin = time.monotonic()
    name = built("2")
    second = transfer.send_image(LocalHost(), [host], name, tmp_path)[0]
    measured(f"{first.bytes} bytes, then {second.bytes} in {time.monotonic() - begin:.1f} s")
    assert (second.layers_sent, second.layers_kept) == (1, 3)
    assert second.bytes < 1_000_000
    assert second.bytes < first.bytes / 100

    identity = ("docker", "image", "inspect", "--format", "{{.Id}}", name)
    assert host.check(identity, "none") == LocalHost().check(identity, "none")
    assert host.docker("run", "--rm", "--network=none", name) == "version 2"
    assert host.docker("run", "--rm", "--network=none", f"{REPOSITORY}:1") == "version 1"
    assert list(tmp_path.iterdir()) == []


def test_an_image_that_is_there_is_not_sent_again(
    host: ExecHost, built: Callable[[str], str], tmp_path: Path
) -> None:
    transfer.send_image(LocalHost(), [host], built("1"), tmp_path)
    host.commands.clear()

    again = transfer.send_image(LocalHost(), [host], built("1"), tmp_path)[0]
    assert (again.bytes, again.layers_sent) == (0, 0)
    assert not [line for line in host.commands if "load" in line]


def test_a_stream_cut_half_way_leaves_nothing_and_the_next_try_works(
    host: ExecHost, built: Callable[[str], str], tmp_path: Path
) -> None:
    name = built("1")
    host.cut_after = LAYER // 2
    with pytest.raises(OpsError, match="unexpected EOF") as caught:
        transfer.send_image(LocalHost(), [host], name, tmp_path)
    assert caught.value.code == 1
    assert name not in host.tags()
    assert host.dangling() == []

    host.cut_after = None
    assert transfer.send_image(LocalHost(), [host], name, tmp_path)[0].bytes > LAYER
    assert host.docker("run", "--rm", "--network=none", name) == "version 1"


def test_a_disk_too_small_is_refused_before_anything_is_sent(
    engine_on: Callable[..., ExecHost], built: Callable[[str], str], tmp_path: Path
) -> None:
    small = engine_on("200m")

    with pytest.raises(
        OpsError, match=rf"needs .* on {small.name}; \S+ has (1\d\d|200) MiB free"
    ) as e:
        transfer.send_image(LocalHost(), [small], built("1"), tmp_path)
    assert e.value.code == 2
    assert not [line for line in small.commands if "load" in line]


@pytest.mark.parametrize("containerd", [False, True])
def test_a_disk_that_fills_up_meanwhile_is_named_and_left_as_it_was(
    containerd: bool,
    engine_on: Callable[..., ExecHost],
    built: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = engine_on("350m", containerd=containerd)
    monkeypatch.setattr(transfer, "MARGIN", -(10**12))

    with pytest.raises(OpsError, match="no space left on device") as caught:
        transfer.send_image(LocalHost(), [small], built("1"), tmp_path)
    assert (caught.value.code, "free some space there" in caught.value.remedy) == (1, True)
    assert small.docker("image", "ls", "--all", "--quiet") == ""
    if not containerd:
        assert used(small, "/small/e0") < 5_000


def used(host: ExecHost, folder: str) -> int:
    """Return the KiB used on the disk of a folder."""
    return int(host.check(("df", "-Pk", folder), "none").splitlines()[-1].split()[2])


def test_the_containerd_store_keeps_the_layers_of_the_image_sent_before(
    engine_on: Callable[..., ExecHost], built: Callable[[str], str], tmp_path: Path
) -> None:
    store = engine_on("2g", containerd=True)
    first = transfer.send_image(LocalHost(), [store], built("1"), tmp_path)[0]
    second = transfer.send_image(LocalHost(), [store], built("2"), tmp_path)[0]

    assert (first.layers_sent, second.layers_sent, second.layers_kept) == (4, 1, 3)
    assert second.bytes < 1_000_000
    assert transfer.send_image(LocalHost(), [store], built("2"), tmp_path)[0].bytes == 0
    run = ("run", "--rm", "--network=none", f"{REPOSITORY}:2")
    assert store.docker(*run) == "version 2"
    whole = "docker save $1 | wc -c"  # an incomplete image would be saved as a few KB
    size = store.check(("bash", "-c", whole, "save", f"{REPOSITORY}:2"), "none")
    assert int(size) > 200_000_000


def test_an_image_goes_by_way_of_a_real_registry(
    host: ExecHost, the_host_lab: lab.Lab, built: Callable[[str], str]
) -> None:
    where = f"{the_host_lab.registry}/team"
    try:
        name = registry.push(LocalHost(), where, built("1"))
        assert name == f"{where}/web:1"
        registry.pull(host, name)
        assert host.docker("run", "--rm", "--network=none", name) == "version 1"
    finally:
        LocalHost().run(("docker", "image", "rm", f"{where}/web:1"))

    with pytest.raises(OpsError, match=r"(?s)exit code 1 from: docker image pull.*") as caught:
        registry.pull(host, f"{the_host_lab.registry}/nobody/web:1")
    assert caught.value.remedy == "push it first: invoke push"


def test_the_login_to_ecr_is_private_and_forgotten_here_and_on_the_host(
    host: ExecHost,
    the_host_lab: lab.Lab,
    built: Callable[[str], str],
    aws: Aws,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Moto stands for AWS; the lab's registry, taken for one of ECR's, for the images there."""
    monkeypatch.setattr(ecr, "find", lambda _: Repository("123456789012", REGION, "ecr/web"))
    aws.client("ecr").create_repository(repositoryName="ecr/web")
    before = host.check(("sh", "-c", "ls -A ~ /tmp"), "none")
    config = Path.home() / ".docker" / "config.json"
    mine = config.read_bytes() if config.exists() else None
    where = f"{the_host_lab.registry}/ecr"
    try:
        name = registry.push(LocalHost(), where, built("1"))
        registry.pull(host, name)
    finally:
        LocalHost().run(("docker", "image", "rm", f"{where}/web:1"))

    assert name in host.tags()
    assert [line for line in host.commands if "login --username AWS --password-stdin" in line]
    assert host.check(("sh", "-c", "ls -A ~ /tmp"), "none") == before
    assert (config.read_bytes() if config.exists() else None) == mine
