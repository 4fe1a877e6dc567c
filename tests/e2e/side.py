"""A stack that is measured: how it is reached and looked at from outside, the same for each."""

import os
import re
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from urllib3.util import make_headers

from ops.front_door import FrontDoor, RequestError
from tests.e2e.conftest import output, wait_for

START_SECONDS = 180
REST_SECONDS, RESTING = 1.0, 0.15
"""A stack rests when it takes less than this share of a core for so long."""

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Side:
    """One stack of Compose, up, reached as its clients do."""

    name: str
    project: str
    """What Compose calls it."""
    url: str
    root_password: str
    """What a shell in MySQL's container expands to it."""
    admin: tuple[str, str] | None = None
    ca: str = ""
    """The file of the CA that signed its certificate."""
    people: list[tuple[str, str]] = field(default_factory=list)
    """Who asks under load; empty where nobody logs in."""

    @property
    def door(self) -> FrontDoor:
        """Return its front door, as the admin comes to it."""
        headers = {"Authorization": login(self.admin)} if self.admin else {}
        ca = Path(self.ca).read_text("utf-8") if self.ca else ""
        return FrontDoor(self.url, headers, certificate="localhost" if ca else "", ca=ca)

    @property
    def environ(self) -> dict[str, str]:
        """Return what MLflow's client needs to get in."""
        found = {"MLFLOW_TRACKING_URI": self.url}
        if self.ca:
            found["MLFLOW_TRACKING_SERVER_CERT_PATH"] = self.ca
        if self.admin:
            found["MLFLOW_TRACKING_USERNAME"], found["MLFLOW_TRACKING_PASSWORD"] = self.admin
        return found

    def containers(self, service: str = "") -> list[str]:
        """Return the ids of what runs, or of one service."""
        label = "label=com.docker.compose"
        filters = [f"--filter={label}.project={self.project}"]
        filters += [f"--filter={label}.service={service}"] if service else []
        return output("docker", "ps", "--quiet", *filters).split()

    def sql(self, text: str) -> str:
        """Have MySQL do something."""
        script = f'export MYSQL_PWD="{self.root_password}"; exec mysql --user=root mlflow'
        words = ("docker", "exec", "-i", *self.containers("db"), "sh", "-c", script)
        return output(*words, stdin=text)

    def answers(self) -> bool:
        """Whether server and database answer through the front door."""
        try:
            self.door.answers()
        except RequestError:
            return False
        return True

    def restarted(self) -> float:
        """Start the database anew and then the server; return how long the server took.

        Until it answers from the database, through the front door.
        """
        [web], [db] = self.containers("web"), self.containers("db")
        output("docker", "stop", web)
        output("docker", "restart", db)
        healthy = "{{.State.Health.Status}}"
        wait_for(lambda: self._inspected("db", healthy) == ["healthy"], START_SECONDS, "MySQL")
        begin = time.monotonic()
        output("docker", "start", web)
        wait_for(self.answers, START_SECONDS, f"{self.name} answers")
        return time.monotonic() - begin

    def memory(self) -> int:
        """Return the bytes of all its processes; what several share counts once."""
        return sum(map(_proportional, self._processes()))

    def rest(self, seconds: float = 90) -> None:
        """Wait until it does next to nothing; what clients no longer wait for is done first."""
        before, end = self._work(), time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(REST_SECONDS)
            now = self._work()
            if now - before < REST_SECONDS * RESTING:
                return
            before = now

    def _work(self) -> float:
        return sum(map(_worked, self._processes()))

    def _processes(self) -> list[str]:
        tops = [output("docker", "top", each, "-eo", "pid") for each in self.containers()]
        return [process for top in tops for process in top.split()[1:]]

    def size(self) -> int:
        """Return the bytes of the server's image."""
        [image] = self._inspected("web", "{{.Image}}")
        return int(output("docker", "image", "inspect", "--format", "{{.Size}}", image))

    def _inspected(self, service: str, form: str) -> list[str]:
        return output("docker", "inspect", "--format", form, *self.containers(service)).split()

    def with_people(self, number: int, experiments: list[str]) -> "Side":
        """Let so many people log in and write to some experiments; return the side with them."""
        people = [(f"person-{i}", f"a password of {i:04}") for i in range(number)]
        for name, password in people:
            body = {"username": name, "password": password}
            self.door.call("POST", "/users/create", body)
            for experiment in experiments:
                grant = {
                    "username": name,
                    "resource_type": "experiment",
                    "resource_id": experiment,
                    "permission": "EDIT",
                }
                self.door.call("POST", "/users/permissions/grant", grant, "3.0")
        return replace(self, people=people)


def login(person: tuple[str, str]) -> str:
    """Return the header that says who somebody is."""
    return make_headers(basic_auth=":".join(person))["authorization"]


def _worked(process: str) -> float:
    """Return the seconds of a core that a process has taken."""
    try:
        text = Path("/proc", process, "stat").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return 0
    spent = text.rpartition(")")[2].split()[11:13]
    return sum(map(int, spent)) / TICKS


def _proportional(process: str) -> int:
    try:
        text = Path("/proc", process, "smaps_rollup").read_text("utf-8")
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return 0
    found = re.search(r"^Pss: +(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
