"""Does the same to MLflow's store and to ours, and says where they differ.

Runs alone inside the container of the server (`python - SEED ROUNDS`): with its driver, on its
database. Prints one difference a line, and at last how much was compared.
"""

import math
import os
import random
import sys
import threading
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from mlflow.entities import (
    Dataset,
    DatasetInput,
    ExperimentTag,
    InputTag,
    LoggedModelInput,
    LoggedModelOutput,
    Metric,
    Param,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow_compose import tracking
from mlflow_compose.tracking import Store

URI, ROOT = os.environ["MLFLOW_BACKEND_STORE_URI"], "mlflow-artifacts:/"
KEYS = ("loss", "Loss", "löss", "a/b", "m" * 250, "x y", "_")
VALUES = (0.0, -0.0, 1.5, -1.5, 1e308, 5e-324, 0.1 + 0.2, math.inf, -math.inf, math.nan, 3)
TEXTS = ("", "1", "ünï", "x" * 6000, "%s %d {rows}", "a'b\"c\\", "\N{SNOWMAN}")
NAME = "mlflow.runName"
STATES = ("metrics", "latest_metrics", "params", "tags")

tracking.AT_ONCE = 2  # so that a few runs take several statements

ask = random.Random(int(sys.argv[1]))
counted = {"compared": 0, "different": 0}


def metric() -> Metric:
    return Metric(
        ask.choice(KEYS), ask.choice(VALUES), ask.choice((0, 1, 1700000000000)), ask.randint(-2, 3)
    )


def param() -> Param:
    return Param(f"{ask.choice(KEYS)}{ask.randint(0, 3)}", ask.choice(TEXTS))


def some(make: Any, most: int) -> list[Any]:
    return [make() for _ in range(ask.randint(0, most))]


def outcome(act: Any) -> Any:
    """Return what came of it: a value, or the error as a client gets it."""
    try:
        return act()
    except MlflowException as error:
        return error.error_code, error.message


def compare(what: str, one: Any, other: Any) -> None:
    counted["compared"] += 1
    if one != other:
        counted["different"] += 1
        print(f"{what}\n  MLflow {only(one, other)}\n  ours   {only(other, one)}")


def only(found: Any, against: Any) -> str:
    """Return what one of two has and the other has not."""
    if isinstance(found, dict) and isinstance(against, dict):
        found = {key: value for key, value in found.items() if against.get(key) != value}
        if all(isinstance(value, list) for value in found.values()):
            found = {k: [item for item in v if item not in against[k]] for k, v in found.items()}
    return repr(found).replace("m" * 250, "mmm")[:1500]


def rows(engine: sa.Engine, run: str) -> dict[str, list[Any]]:
    """Return all that is kept of a run, but for its number."""
    found = {}
    with engine.connect() as connection:
        for table in STATES:
            text = f"SELECT * FROM {table} WHERE run_uuid = '{run}'"
            got = connection.execute(sa.text(text)).mappings()
            each = ({key: row[key] for key in row if key != "run_uuid"} for row in got)
            # SQLAlchemy takes -0.0 in the place of 0.0 for no change, and keeps what was there.
            found[table] = sorted(repr(row).replace("-0.0,", "0.0,") for row in each)
    return found


def shown(run: Any) -> Any:
    """Return a run as it is told, in an order of its own."""
    told = run.to_dictionary() if not isinstance(run, tuple) else run
    if isinstance(told, dict):
        for part in ("metrics", "params", "tags"):
            told["data"][part] = sorted(told["data"][part].items(), key=repr)
        told["metrics"] = sorted(map(repr, (dict(m) for m in run.data._metric_objs)))
        told["inputs"] = repr(sorted(map(repr, map(dict, run.inputs.dataset_inputs))))
        told["models"] = [
            repr(dict(m)) for m in (*run.inputs.model_inputs, *run.outputs.model_outputs)
        ]
    return repr(told)


def listed(found: Any) -> Any:
    """Return runs as they are told."""
    return found if isinstance(found, tuple) else [shown(run) for run in found]


def write(stores: tuple[Any, Any], runs: tuple[str, str]) -> None:
    """Do one thing to a run of each."""
    act: Callable[[Any, str], object]
    match ask.randint(0, 5):
        case 0:
            given = metric()
            what, act = "log_metric", lambda s, r: s.log_metric(r, given)
        case 1:
            one = param()
            what, act = "log_param", lambda s, r: s.log_param(r, one)
        case _:
            batch = (
                some(metric, 12),
                some(param, 3),
                some(lambda: RunTag(ask.choice((*KEYS, NAME)), ask.choice(TEXTS)), 4),
            )
            what, act = f"log_batch {batch}", lambda s, r: s.log_batch(r, *batch)
    came = [
        str(outcome(lambda: act(store, run))).replace(run, "RUN")
        for store, run in zip(stores, runs, strict=True)
    ]
    compare(what, *came)


def search(stores: tuple[Any, Any], experiments: list[str]) -> None:
    """Ask both for the same runs."""
    conditions = (
        "", "metrics.loss > 0", "metrics.`a/b` != 1.5", "params.loss0 = '1'",
        "tags.loss LIKE '%1%'",
        "attributes.status = 'RUNNING'", "metrics.loss > 0 AND params.loss1 = 'ünï'",
        "attributes.run_name ILIKE '%a%'", "dataset.name = 'd'", "params.none IS NULL", "nonsense",
        "attributes.start_time > 0 AND tags.`x y` = 'ünï'", "dataset.context = 'train'",
    )  # fmt: skip
    orders: tuple[list[str], ...] = (
        [], ["metrics.loss DESC"], ["metrics.`a/b` ASC", "start_time DESC"], ["params.loss0"],
        ["tags.loss DESC"], ["attributes.run_id"], ["metrics.loss", "metrics.loss"], ["nonsense"],
    )  # fmt: skip
    given = {
        "experiment_ids": ask.sample(experiments, ask.randint(0, len(experiments))),
        "filter_string": ask.choice(conditions),
        "run_view_type": ask.choice((ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY, ViewType.ALL)),
        "max_results": ask.choice((1, 3, 1000)),
        "order_by": ask.choice(orders),
    }
    token = None
    for _ in range(4):
        found = [outcome(lambda s=s: s.search_runs(**given, page_token=token)) for s in stores]
        compare(f"search {given}", *map(listed, found))
        tokens = [getattr(f, "token", None) for f in found]
        compare(f"token {given}", *tokens)
        token = tokens[0]
        if not token:
            break


def main() -> None:
    stores = SqlAlchemyStore(URI, ROOT), Store(URI, ROOT)
    theirs = stores[0]
    experiments = []
    pairs: list[tuple[str, str]] = []
    for _ in range(2):
        name = f"both {os.urandom(6).hex()} \N{SNOWMAN}"
        tags = [ExperimentTag(key, ask.choice(TEXTS)) for key in KEYS[:3]]
        experiments.append(theirs.create_experiment(name, tags=tags))
        compare("by name", *(told(s.get_experiment_by_name(name)) for s in stores))
        for _ in range(3):
            made, other = (s.create_run(experiments[-1], "u", 1, [], "a name") for s in stores)
            pairs.append((made.info.run_id, other.info.run_id))
    for number in range(int(sys.argv[2])):
        runs = ask.choice(pairs)
        write(stores, runs)
        compare("rows", *(rows(theirs.engine, run) for run in runs))
        if number % 7 == 0:
            search(stores, experiments)
        if number % 11 == 0:
            run = ask.choice(ask.choice(pairs))
            compare("get_run", *(shown(outcome(lambda: s.get_run(run))) for s in stores))
        if number % 61 == 5:
            link(theirs, experiments[0], runs)
        if number % 61 == 60:
            change = theirs.delete_run if ask.random() < 0.5 else theirs.restore_run
            for run in runs:
                change(run)
    nothing(stores, experiments)
    together(stores, experiments[0])
    print("{compared} compared, {different} different".format_map(counted))


def link(store: Any, experiment: str, runs: tuple[str, str]) -> None:
    """Have runs read a dataset, and make a model."""
    data = Dataset("d", "0", "t", "s")
    used = [DatasetInput(data, [InputTag("mlflow.data.context", "train")])]
    model = store.create_logged_model(experiment, "m", runs[0])
    for run in runs:
        outcome(lambda: store.log_inputs(run, used, [LoggedModelInput(model.model_id)]))
        outcome(lambda: store.log_outputs(run, [LoggedModelOutput(model.model_id, 1)]))


def nothing(stores: tuple[Any, Any], experiments: list[str]) -> None:
    """Ask for what is there, and for what is not."""
    for experiment in (*experiments, "0", "999999", "x", None):
        found = (outcome(lambda: s.get_experiment(experiment)) for s in stores)
        compare("get_experiment", *map(told, found))
    for name in ("no such", ""):
        compare("by name", *(outcome(lambda: s.get_experiment_by_name(name)) for s in stores))
    for run in ("0" * 32, "", "'"):
        compare("no run", *(outcome(lambda: s.get_run(run)) for s in stores))
        given = [metric()]
        compare("no run", *(outcome(lambda: s.log_batch(run, given, [], [])) for s in stores))


def told(experiment: Any) -> Any:
    """Return an experiment as it is told, in an order of its own."""
    if isinstance(experiment, tuple):
        return experiment
    return {**dict(experiment), "tags": sorted(experiment.tags.items())}


def together(stores: tuple[Any, Any], experiment: str) -> None:
    """Have several write the same keys of one run at once; the latest is the latest of them all."""
    states = []
    for store in stores:
        run = store.create_run(experiment, "u", 1, [], "together").info.run_id
        failed: list[str] = []

        def write(worker: int, store: Any = store, run: str = run, failed: Any = failed) -> None:
            for step in range(25):
                given = [Metric(key, worker * 0.5, 7, step) for key in KEYS[:5]]
                random.Random(worker * 100 + step).shuffle(given)
                came = outcome(lambda given=given: store.log_batch(run, given, [], []))
                if came is not None:
                    failed.append(str(came))

        threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        states.append((failed, rows(store.engine, run)))
    compare("several at once", *states)


main()
