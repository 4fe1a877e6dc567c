"""Constant load: reads and batch writes from several clients at once, counted."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.workload import UNICODE, same


@dataclass
class Load:
    """Reads and batch writes from several clients at once, counted; bounded by count and time."""

    uri: str
    writers: int = 3
    readers: int = 2
    limit: int = 4000
    seconds: float = 240
    runs: list[str] = field(default_factory=list)
    acknowledged: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    moments: dict[tuple[str, int], float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    reads: int = 0
    failed_reads: int = 0
    threads: list[threading.Thread] = field(default_factory=list)
    halt: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    METRICS = 20
    PAUSE_SECONDS = 0.1
    """After each answer: most of the processor is for what happens meanwhile."""

    @property
    def writes(self) -> int:
        """Return the number of batches that were acknowledged."""
        return sum(map(len, self.acknowledged.values()))

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """Keep the load up meanwhile."""
        experiment = self.client().create_experiment(f"load {time.time_ns()}")
        for _ in range(self.writers):
            self.runs.append(self.client().create_run(experiment).info.run_id)
        self.threads = [threading.Thread(target=self._write, args=[run]) for run in self.runs]
        self.threads += [
            threading.Thread(target=self._read, args=[experiment]) for _ in range(self.readers)
        ]
        for thread in self.threads:
            thread.start()
        try:
            yield self
        finally:
            self.halt.set()
            for thread in self.threads:
                thread.join(60)
        assert not any(thread.is_alive() for thread in self.threads)

    def client(self) -> Any:
        """Return a client of its own."""
        import mlflow

        return mlflow.MlflowClient(tracking_uri=self.uri)

    def _rounds(self) -> Iterator[int]:
        deadline = time.monotonic() + self.seconds
        for number in range(self.limit):
            if self.halt.is_set() or time.monotonic() > deadline:
                return
            yield number
            self.halt.wait(self.PAUSE_SECONDS)

    def _write(self, run: str) -> None:
        from mlflow.entities import Metric, Param
        from mlflow.exceptions import MlflowException

        client = self.client()
        for number in self._rounds():
            metrics = [
                Metric(f"m{i}", number + i / 64, number, number) for i in range(self.METRICS)
            ]
            param = Param(f"p{number}", UNICODE)
            try:
                client.log_batch(run, metrics=metrics, params=[param])
            except MlflowException as error:
                with self.lock:
                    self.failures.append(str(error))
            else:
                with self.lock:
                    self.acknowledged[run].append(number)
                    self.moments[run, number] = time.time()

    def _read(self, experiment: str) -> None:
        from mlflow.exceptions import MlflowException

        client = self.client()
        for _ in self._rounds():
            try:
                client.search_runs([experiment])
                client.get_run(self.runs[0])
            except MlflowException:
                with self.lock:
                    self.failed_reads += 1
            else:
                with self.lock:
                    self.reads += 1

    def verify(self, before: float = float("inf")) -> None:
        """Find every acknowledged batch whole: its param and each of its metrics.

        With `before`, only those that were acknowledged until then, in seconds since 1970.
        """
        client = self.client()
        for run in self.runs:
            every = self.acknowledged[run]
            wanted = {number for number in every if self.moments[run, number] <= before}
            params = client.get_run(run).data.params
            lost = {number for number in wanted if params.get(f"p{number}") != UNICODE}
            same(set(), lost, f"acknowledged params lost in run {run}")
            for i in range(self.METRICS):
                history = client.get_metric_history(run, f"m{i}")
                found = {entry.step: entry.value for entry in history}
                lost = {number for number in wanted if found.get(number) != number + i / 64}
                same(set(), lost, f"acknowledged values of metric m{i} lost in run {run}")

    def report(self) -> str:
        """Return the counts in one line."""
        return (
            f"writes: {self.writes} acknowledged, {len(self.failures)} failed; "
            f"reads: {self.reads} answered, {self.failed_reads} failed"
        )
