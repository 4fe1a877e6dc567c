"""Clients that ask as fast as they are answered: wrk, and what it says."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.conftest import ROOT, output
from tests.e2e.filling import Filled
from tests.e2e.side import Side, login

SCRIPT = ROOT / "tests" / "e2e" / "wrk" / "load.lua"


@dataclass(frozen=True)
class Heard:
    """What so many clients were answered; times in seconds."""

    answers: int
    seconds: float
    p50: float
    p99: float
    refused: int
    """Answers that were not 200."""
    broken: int
    """Requests that had none."""

    @property
    def rate(self) -> float:
        """Good answers a second; where there was none, one, which is more than there was."""
        return max(self.answers - self.refused, 1) / self.seconds

    @property
    def slowest(self) -> float:
        """The time that 99 of 100 answers stayed below; where there was none, all of it."""
        return self.p99 if self.answers else self.seconds

    @property
    def bad(self) -> int:
        """Requests that did not end well."""
        return self.refused + self.broken


@dataclass(frozen=True)
class Clients:
    """Those of one side, who know what there is to ask for."""

    side: Side
    filled: Filled
    folder: Path

    def warm(self) -> None:
        """Have everybody log in, which NGINX remembers."""
        path = f"/api/2.0/mlflow/experiments/get?experiment_id={self.filled.written}"
        for person in self.side.people:
            self.side.door.request("GET", path, headers={"Authorization": login(person)})

    def ask(self, kind: str, number: int, seconds: float, experiment: str = "") -> Heard:
        """Ask for so long, each client by a connection of its own; without one, what is written."""
        words = [kind, experiment or self.filled.written]
        for name, lines in (
            ("logins", [login(person) for person in self.side.people]),
            ("runs", self.filled.runs),
        ):
            file = self.folder / f"{self.side.project}.{name}"
            file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
            words.append(str(file))
        program = shutil.which("wrk")
        assert program, "no wrk on this machine: apt-get install wrk"
        options = ["--threads=1", f"--connections={number}", f"--duration={seconds:.0f}s"]
        options += ["--timeout=60s", "--latency", f"--script={SCRIPT}", self.side.url]
        said = output(program, *options, "--", *words)
        return Heard(**json.loads(said.splitlines()[-1]))
