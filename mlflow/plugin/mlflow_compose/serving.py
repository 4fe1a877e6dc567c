"""How the server is run: gunicorn's configuration (https://gunicorn.org/reference/settings/).

MLflow's own command starts each worker by itself, and stays behind as a process that only waits:
200 MiB for each of them. Here the application is made once, and its workers are forks, which share
what none of them changes.
"""

import gc
import os
from typing import Any, ClassVar

from uvicorn_worker import UvicornWorker

# What `mlflow server` turns its options into; the public names are those of the options.
# mlflow/server/constants.py, https://mlflow.org/docs/latest/self-hosting/architecture/tracking-server/
for inner, public in {
    "_MLFLOW_SERVER_FILE_STORE": "MLFLOW_BACKEND_STORE_URI",
    "_MLFLOW_SERVER_REGISTRY_STORE": "MLFLOW_BACKEND_STORE_URI",
    "_MLFLOW_SERVER_ARTIFACT_ROOT": "MLFLOW_DEFAULT_ARTIFACT_ROOT",
    "_MLFLOW_SERVER_ARTIFACT_DESTINATION": "MLFLOW_ARTIFACTS_DESTINATION",
}.items():
    os.environ[inner] = os.environ[public]
os.environ["_MLFLOW_SERVER_SERVE_ARTIFACTS"] = "true"
os.environ["_MLFLOW_SGI_NAME"] = "uvicorn"


class Worker(UvicornWorker):  # type: ignore[misc]
    """A worker that speaks ASGI."""

    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "http": "httptools",
        # Longer than NGINX keeps its upstream connections, so that it is never the server that
        # closes one a request is just being sent on. NGINX logs the requests, without queries.
        "timeout_keep_alive": 75,
        "access_log": False,
        "date_header": False,
        "server_header": False,
    }


bind = "0.0.0.0:5000"
workers = int(os.environ["WEB_WORKERS"])
worker_class = Worker
wsgi_app = "mlflow_compose.application:create()"
preload_app = True

# Where each worker shows that it lives. The default is /tmp, which is on a disk here.
worker_tmp_dir = "/dev/shm"  # noqa: S108 - gunicorn makes a file there that nobody else can name

# One that shows nothing for that long is ended: its event loop hangs (default 30 s, of which a
# machine that swaps may take some).
timeout = 120

# Less than Docker waits for the container (compose.yaml).
graceful_timeout = 25


ENGINES: list[Any] = []
"""Of SQLAlchemy, with the connections that the first process has opened."""


def when_ready(_server: Any) -> None:
    """Do what every worker would do at its first request, and leave it to them all."""
    from mlflow.server.handlers import _get_model_registry_store, _get_tracking_store
    from sqlalchemy import Engine

    _get_tracking_store()
    _get_model_registry_store()
    gc.collect()
    ENGINES.extend(thing for thing in gc.get_objects() if isinstance(thing, Engine))
    # Collecting writes to each object that it looks at, and each page written to is a worker's own.
    # https://docs.python.org/3/library/gc.html#gc.freeze
    gc.freeze()


def post_fork(_server: Any, _worker: Any) -> None:
    """Leave the connections of the first process to it, without ending them.

    Two processes on one connection read each other's answers.
    https://docs.sqlalchemy.org/en/20/core/pooling.html#using-connection-pools-with-multiprocessing-or-os-fork
    """
    for engine in ENGINES:
        engine.dispose(close=False)
