"""The same experiments in each database that is measured: rows made by MySQL itself."""

from dataclasses import dataclass

from tests.e2e.side import Side

RUNS_AT_ONCE = 10_000
WRITTEN = 256
"""Runs that batches go to."""

# A run as scripts leave it: three params, three of MLflow's tags, five metrics.
ROWS = """
SET SESSION cte_max_recursion_depth = {count};
START TRANSACTION;
CREATE TEMPORARY TABLE made
  WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})
  SELECT i, LOWER(CONCAT(LPAD(HEX({experiment}), 8, '0'), LPAD(HEX(i), 24, '0'))) AS id FROM n;
INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status,
    start_time, end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)
  SELECT id, CONCAT('run ', i), 'LOCAL', 'train.py', '', 'bench', 'FINISHED',
    1760000000000 + i * 1000, 1760000060000 + i * 1000, '', 'active',
    CONCAT('mlflow-artifacts:/{experiment}/', id, '/artifacts'), {experiment} FROM made;
INSERT INTO params (`key`, value, run_uuid)
  SELECT p.k, CONCAT(p.k, ' ', i), id FROM made
  JOIN (SELECT 'depth' AS k UNION SELECT 'rate' UNION SELECT 'seed') p;
INSERT INTO tags (`key`, value, run_uuid)
  SELECT t.k, CONCAT('bench ', i), id FROM made
  JOIN (SELECT 'mlflow.runName' AS k UNION SELECT 'mlflow.user'
        UNION SELECT 'mlflow.source.name') t;
INSERT INTO metrics (`key`, value, timestamp, run_uuid, step, is_nan)
  SELECT m.k, SIN(i), 1760000000000 + i * 1000, id, 1, 0 FROM made
  JOIN (SELECT 'loss' AS k UNION SELECT 'accuracy' UNION SELECT 'auc' UNION SELECT 'f1'
        UNION SELECT 'recall') m;
INSERT INTO latest_metrics (`key`, value, timestamp, step, is_nan, run_uuid)
  SELECT m.k, SIN(i), 1760000000000 + i * 1000, 1, 0, id FROM made
  JOIN (SELECT 'loss' AS k UNION SELECT 'accuracy' UNION SELECT 'auc' UNION SELECT 'f1'
        UNION SELECT 'recall') m;
COMMIT;
"""


@dataclass(frozen=True)
class Filled:
    """What a side's database has: experiments by the number of their runs, and one to write to."""

    searched: dict[int, str]
    written: str
    runs: list[str]

    @property
    def experiments(self) -> list[str]:
        """All of them."""
        return [*self.searched.values(), self.written]


def fill(side: Side, sizes: list[int]) -> Filled:
    """Make an experiment of each size, and one of runs to write to."""
    searched = {size: _experiment(side, f"{size} runs", size) for size in sizes}
    written = _experiment(side, "written to", WRITTEN)
    side.sql("ANALYZE TABLE runs, params, tags, metrics, latest_metrics;")
    body = {"experiment_ids": [written], "max_results": WRITTEN}
    found = side.door.call("POST", "/runs/search", body)["runs"]
    assert WRITTEN == len(found)
    return Filled(searched, written, [run["info"]["run_id"] for run in found])


def _experiment(side: Side, name: str, size: int) -> str:
    made: str = side.door.call("POST", "/experiments/create", {"name": name})["experiment_id"]
    for first in range(1, size + 1, RUNS_AT_ONCE):
        last = min(first + RUNS_AT_ONCE - 1, size)
        side.sql(ROWS.format(count=RUNS_AT_ONCE, first=first, last=last, experiment=made))
    return made
