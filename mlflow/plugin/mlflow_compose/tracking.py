"""MLflow's store of what is tracked, with its busiest methods in a few statements each.

MLflow reads and writes by SQLAlchemy's objects, one for each row: more than four fifths of the time
of a request (measured, 3.17.2). Here the rows themselves are read and written, as sets. What is
rare, the methods of before do: datasets, models that metrics belong to, the name of a run as a tag.

tests/e2e/test_plugin.py does the same to both, and compares every row and every answer.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from mlflow.entities import (
    Experiment,
    ExperimentTag,
    LifecycleStage,
    Metric,
    Param,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunOutputs,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST
from mlflow.store.tracking import sqlalchemy_store as parent
from mlflow.store.tracking.dbmodels.models import SqlRun
from mlflow.utils import validation
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NAME
from mlflow.utils.search_utils import SearchUtils
from sqlalchemy.orm import Session

from mlflow_compose.mysql import Database, Row, Statements, marks

EXPERIMENT = """
SELECT e.experiment_id, e.name, e.artifact_location, e.lifecycle_stage, e.creation_time,
       e.last_update_time, e.workspace, t.`key`, t.value
FROM experiments e LEFT JOIN experiment_tags t ON t.experiment_id = e.experiment_id
WHERE e.{column} = %s
"""

RUN = """
SELECT run_uuid, name, experiment_id, user_id, status, start_time, end_time, lifecycle_stage,
       artifact_uri
FROM runs WHERE run_uuid
"""

LATEST = "SELECT run_uuid, `key`, value, timestamp, step, is_nan FROM latest_metrics"
PARAMS = "SELECT run_uuid, `key`, value FROM params"
TAGS = "SELECT run_uuid, `key`, value FROM tags"

LINKED = """
SELECT EXISTS (SELECT 1 FROM inputs WHERE destination_type = 'RUN' AND destination_id IN ({runs}))
    OR EXISTS (SELECT 1 FROM inputs WHERE source_type IN ('RUN_INPUT', 'RUN_OUTPUT')
               AND source_id IN ({runs}))
"""

# One that is there is the same in every column: they are all in the primary key.
ADD_METRICS = """
INSERT INTO metrics (`key`, value, timestamp, step, is_nan, run_uuid) VALUES {rows}
ON DUPLICATE KEY UPDATE run_uuid = metrics.run_uuid
"""

# The assignments are made from left to right, each with the row as those before it left it. So what
# the comparison is by comes last, the last in it first: where one has decided, the next are equal.
# https://dev.mysql.com/doc/refman/9.7/en/insert-on-duplicate.html
NEWER = (
    "(new.step, new.timestamp, new.value)"
    " > (latest_metrics.step, latest_metrics.timestamp, latest_metrics.value)"
)
KEEP = ", ".join(
    f"{column} = IF({NEWER}, new.{column}, latest_metrics.{column})"
    for column in ("is_nan", "value", "timestamp", "step")
)
KEEP_LATEST = f"""
INSERT INTO latest_metrics (`key`, value, timestamp, step, is_nan, run_uuid) VALUES {{rows}} AS new
ON DUPLICATE KEY UPDATE {KEEP}
"""  # noqa: S608 - of constants

ADD_PARAMS = "INSERT INTO params (`key`, value, run_uuid) VALUES {rows}"
SET_TAGS = (
    "INSERT INTO tags (`key`, value, run_uuid) VALUES {rows} AS new "
    "ON DUPLICATE KEY UPDATE value = new.value"
)

AT_ONCE = 500
"""Runs that a statement names, as in MLflow's. With tens of thousands MySQL would rather read all.

https://dev.mysql.com/doc/refman/9.7/en/range-optimization.html#range-optimization-memory-use
"""


class Store(parent.SqlAlchemyStore):  # type: ignore[misc]  # MLflow's, which has no types here
    """The store of MLflow on MySQL."""

    def _initialize_store_state(self) -> None:
        self.database = Database(self.engine)
        super()._initialize_store_state()

    def get_experiment(self, experiment_id: str) -> Experiment:
        """Return an experiment with its tags, also a deleted one."""
        if self._get_effective_experiment_trace_archival_retention_context() is not None:
            return super().get_experiment(experiment_id)
        number = parent._parse_experiment_id(experiment_id or self.DEFAULT_EXPERIMENT_ID)
        found = self._experiment("experiment_id", number)
        if found is None:
            raise MlflowException(f"No Experiment with id={number} exists", RESOURCE_DOES_NOT_EXIST)
        return found

    def get_experiment_by_name(self, experiment_name: str) -> Experiment | None:
        """Return an experiment with its tags, also a deleted one; None where there is none."""
        if self._get_effective_experiment_trace_archival_retention_context() is not None:
            return super().get_experiment_by_name(experiment_name)
        return self._experiment("name", experiment_name)

    def get_run(self, run_id: str) -> Run:
        """Return a run with all that belongs to it."""
        with self.database.reading() as here, Session(here.connection) as session:
            [found] = self._runs(here, [one(here.read(f"{RUN} = %s", run_id), run_id)])
            found.inputs.model_inputs.extend(self._get_model_inputs(run_id, session))
            return found

    def info(self, run_id: str) -> RunInfo:
        """Return what a run is, without what was logged to it."""
        return as_info(one(self.database.read(f"{RUN} = %s", run_id), run_id))

    def log_batch(
        self,
        run_id: str,
        metrics: list[Metric],
        params: list[Param],
        tags: list[RunTag],
    ) -> None:
        """Write all of it, or nothing: MLflow's own keeps the parameters of a batch that failed."""
        if any(metric.model_id for metric in metrics) or any(
            tag.key == MLFLOW_RUN_NAME for tag in tags
        ):
            super().log_batch(run_id, metrics, params, tags)
            return
        validation._validate_run_id(run_id)
        metrics, params, tags = validation._validate_batch_log_data(metrics, params, tags)
        validation._validate_batch_log_limits(metrics, params, tags)
        validation._validate_param_keys_unique(params)
        self._run_with_deadlock_retry(self._write, run_id, metrics, params, tags)

    def _log_metrics_once(self, run_id: str, metrics: list[Metric]) -> None:
        self._write(run_id, metrics, [], [])

    def _experiment(self, column: str, value: object) -> Experiment | None:
        rows = self.database.read(EXPERIMENT.format(column=column), value)
        if not rows:
            return None
        number, name, location, stage, created, changed, workspace = rows[0][:7]
        return Experiment(
            experiment_id=str(number),
            name=name,
            artifact_location=location,
            lifecycle_stage=stage,
            tags=[ExperimentTag(row[7], row[8]) for row in rows if row[7] is not None],
            creation_time=created,
            last_update_time=changed,
            workspace=workspace,
            effective_trace_archival_retention=None,
        )

    def _write(
        self, run_id: str, metrics: list[Metric], params: list[Param], tags: list[RunTag]
    ) -> None:
        rows = self._rows(run_id, metrics)
        checked = [
            validation._validate_tag(tag.key, tag.value, path=f"tags[{number}]")
            for number, tag in enumerate(tags)
        ]
        last = {tag.key: tag.value for tag in checked}
        with self.database.writing() as here:
            stage = one(here.read(f"{RUN} = %s", run_id), run_id)[7]
            if stage != LifecycleStage.ACTIVE:
                raise MlflowException(
                    f"The run {run_id} must be in the 'active' state. Current state is {stage}.",
                    INVALID_PARAMETER_VALUE,
                )
            if params:
                self._add_params(here, run_id, params)
            if rows:
                # Everybody locks rows in the order of their keys: two who write to one run wait,
                # and do not lock each other out.
                here.write(ADD_METRICS, sorted(rows))
                here.write(KEEP_LATEST, sorted(latest(rows)))
            if last:
                here.write(SET_TAGS, [(*tag, run_id) for tag in sorted(last.items())])

    def _rows(self, run_id: str, metrics: list[Metric]) -> list[Row]:
        """Return what is to be written of metrics, each once."""
        single = len(metrics) == 1
        rows: dict[Row, None] = {}
        for number, metric in enumerate(metrics):
            path = "" if single else f"metrics[{number}]"
            validation._validate_metric(
                metric.key, metric.value, metric.timestamp, metric.step, path=path
            )
            is_nan, value = self.sanitize_metric_value(metric.value)
            row = (metric.key, value, metric.timestamp, metric.step, is_nan, run_id)
            rows[row] = None
        return list(rows)

    def _add_params(self, here: Statements, run_id: str, params: list[Param]) -> None:
        where = f"{PARAMS} WHERE run_uuid = %s AND `key` IN ({marks(params)})"
        there = {row[1]: row[2] for row in here.read(where, run_id, *(p.key for p in params))}
        differing = [
            {"key": param.key, "old_value": there[param.key], "new_value": param.value}
            for param in params
            if param.key in there and there[param.key] != param.value
        ]
        if differing:
            raise MlflowException(
                "Changing param values is not allowed. Params were already"
                f" logged='{differing}' for run ID='{run_id}'.",
                INVALID_PARAMETER_VALUE,
            )
        new = [(param.key, param.value, run_id) for param in params if param.key not in there]
        if new:
            here.write(ADD_PARAMS, sorted(new))

    def _runs(self, here: Statements, rows: Sequence[Row]) -> list[Run]:
        """Return runs, given their rows, with all that belongs to them, in the same order."""
        ids = [row[0] for row in rows]
        where = f" WHERE run_uuid IN ({marks(ids)})"
        metrics: dict[str, list[Metric]] = defaultdict(list)
        for run_id, key, value, timestamp, step, is_nan in here.read(LATEST + where, *ids):
            metrics[run_id].append(Metric(key, math.nan if is_nan else value, timestamp, step))
        params: dict[str, list[Param]] = defaultdict(list)
        for run_id, key, value in here.read(PARAMS + where, *ids):
            params[run_id].append(Param(key, value))
        tags: dict[str, list[RunTag]] = defaultdict(list)
        for run_id, key, value in here.read(TAGS + where, *ids):
            tags[run_id].append(RunTag(key, value))
        inputs, outputs = self._linked(here, ids)
        return [
            Run(
                as_info(row, tags[row[0]]),
                RunData(metrics=metrics[row[0]], params=params[row[0]], tags=tags[row[0]]),
                RunInputs(dataset_inputs=inputs[row[0]]),
                RunOutputs(outputs[row[0]]),
            )
            for row in rows
        ]

    def _linked(
        self, here: Statements, ids: Sequence[str]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """Return the datasets that runs have read, and the models they made: most have none."""
        if not here.read(LINKED.format(runs=marks(ids)), *ids, *ids)[0][0]:
            return defaultdict(list), defaultdict(list)
        with Session(here.connection) as session:
            inputs = self._get_run_inputs(session, ids)
            return dict(zip(ids, inputs, strict=True)), self._get_model_outputs_bulk(ids, session)

    def _search_runs(  # noqa: PLR0917 - as inherited
        self,
        experiment_ids: list[str],
        filter_string: str | None,
        run_view_type: int,
        max_results: int,
        order_by: list[str] | None,
        page_token: str | None,
    ) -> tuple[list[Run], str | None]:
        """Find runs as MLflow does, by the same conditions, and read them as sets.

        First only which ones, and in which order: an index knows that of all runs of an experiment
        (ops/migration.py). Then what they are.
        """
        self._validate_max_results_param(max_results, allow_null=True)
        stages = set(LifecycleStage.view_type_to_stages(run_view_type))
        with self.database.reading() as here, Session(here.connection) as session:
            filters = SearchUtils.parse_search_filter(filter_string)
            cases, ordering, sorting_joins = parent._get_orderby_clauses(order_by, session)
            conditions, joins, dataset_joins = parent._get_sqlalchemy_filter_clauses(
                filters, session, self._get_dialect()
            )
            # MySQL orders distinct rows by nothing but what they show.
            columns = SqlRun.__table__.columns if dataset_joins else [SqlRun.run_uuid]
            statement = sa.select(*columns, *cases).select_from(SqlRun)
            for join in joins:
                statement = statement.join(join)
            for join in dataset_joins:
                statement = statement.join(join, SqlRun.run_uuid == join.c.destination_id)
            for join in sorting_joins:
                statement = statement.outerjoin(join)
            offset = SearchUtils.parse_start_offset_from_page_token(page_token)
            wanted = self._filter_experiment_ids(
                session, parent._parse_experiment_ids(experiment_ids)
            )
            if dataset_joins:
                # The one kind of join by which a run comes more than once.
                statement = statement.distinct()
            statement = (
                statement.filter(
                    SqlRun.experiment_id.in_(wanted),
                    SqlRun.lifecycle_stage.in_(stages),
                    *conditions,
                )
                .order_by(*ordering)
                .offset(offset)
            )
            if max_results is not None:
                statement = statement.limit(max_results + 1)
            ids = list(here.connection.execute(statement).scalars())
            token = None
            if max_results is not None and len(ids) > max_results:
                token = SearchUtils.create_page_token(offset + max_results)
                ids = ids[:max_results]
            runs = []
            for start in range(0, len(ids), AT_ONCE):
                part = ids[start : start + AT_ONCE]
                rows = {row[0]: row for row in here.read(f"{RUN} IN ({marks(part)})", *part)}
                runs += self._runs(here, [rows[run_id] for run_id in part])
            return runs, token


def latest(rows: Iterable[Row]) -> list[Row]:
    """Return for each key the latest: by step, time and value, of equal ones the first."""
    found: dict[str, Row] = {}
    for row in rows:
        before = found.get(row[0])
        if before is None or (row[3], row[2], row[1]) > (before[3], before[2], before[1]):
            found[row[0]] = row
    return list(found.values())


def one(rows: Sequence[Row], run_id: str) -> Row:
    """Return the row of a run."""
    if not rows:
        raise MlflowException(f"Run with id={run_id} not found", RESOURCE_DOES_NOT_EXIST)
    return rows[0]


def as_info(row: Row, tags: Sequence[RunTag] = ()) -> RunInfo:
    """Return what a run is."""
    run_id, name, experiment, user, status, start, end, stage, artifacts = row[:9]
    if not name:
        # Runs of MLflow before 1.30 have their name in a tag only.
        name = next((tag.value for tag in tags if tag.key == MLFLOW_RUN_NAME), name)
    return RunInfo(
        run_id=run_id,
        run_name=name,
        experiment_id=str(experiment),
        user_id=user,
        status=status,
        start_time=start,
        end_time=end,
        lifecycle_stage=stage,
        artifact_uri=artifacts,
    )
