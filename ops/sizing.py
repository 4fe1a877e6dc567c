"""Sizes from the machine: what its cores and its memory give the server and MySQL."""

from collections.abc import Sequence
from dataclasses import dataclass

from ops import egress
from ops.settings import Settings

__all__ = ["MIB", "Machine", "Size", "at_rest", "size", "sqlite_workers", "wanted"]

MIB = 1024**2

SYSTEM = 256
"""MiB for what is no container of ours: the kernel, systemd, sshd, Docker."""

PARENT, FORK, PROCESS = 208, 36, 200
"""MiB of a server at rest: its first process, and each of its workers (measured, 3.17.2).

A worker is a fork, which shares the rest (mlflow/plugin/mlflow_compose/serving.py), or a process of
its own where MLflow's own command starts it: for jobs, and without Docker.
"""

WORK = 104
"""MiB that a worker is given at least for the requests it answers."""

MOST_PER_WORKER = 1024
"""MiB that a worker is given at most: one that wants more has a leak, and had better start anew."""

JOBS = 1536
"""MiB of the eight processes of MLflow's job execution (measured, 3.17.2)."""

MOST_WORKERS = 8
"""More is the person's to say."""

SQLITE_WORKERS = 2
"""SQLite lets one process write at a time: a third one would only wait."""

MYSQL = 336
"""MiB of MySQL at work without its buffer pool, as compose.yaml starts it (measured, 9.7.4)."""

LEAST_POOL, MOST_POOL, POOL_STEP = 64, 1920, 128
"""MiB. A pool takes 8 % of itself before anything is in it (measured, 9.7.4), and more than the
most is the person's to say: a million runs fit, and of their metrics what is asked for.

MySQL rounds a buffer pool above the step up to a multiple of it, unlike a smaller one.

https://dev.mysql.com/doc/refman/9.7/en/innodb-buffer-pool-resize.html
"""

CONNECTIONS = 151
"""MySQL's max_connections, unless somebody raised it."""

SPARE_CONNECTIONS = 10
"""For backups, doctor, and somebody with a question."""

JOB_CONNECTIONS = 16
"""Of the job execution's processes, one each in two servers (measured: 5 in one under load)."""

STORES = 3
"""Pools of connections in a worker: of MLflow's tracking store, of its model registry, and of ours.

The last is for the busiest requests (mlflow/plugin/mlflow_compose/mysql.py). MLflow's login has one
more, which is left with passwords that are new: a connection or two.
"""

KEPT, POOL = 20, 41
"""Connections that a pool keeps, and those it opens at most, where nothing limits them.

A worker answers 40 requests at once (https://www.starlette.io/threadpool). MLflow's log_batch keeps
one connection while it asks for a second: with as many requests as connections all of them wait for
one another, for 30 s, and fail. One connection more than threads, and one of them always goes on.
"""

UNITS = {"m": 1, "g": 1024}


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine has, as its Docker Engine sees it; memory in bytes."""

    cores: int
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What the services of a stack are given; memory in MiB.

    Where the database is elsewhere, what is said of it is there for Compose to read, and unused.
    """

    web_workers: int
    pool_size: int
    max_overflow: int
    web_memory: int
    db_memory: int
    buffer_pool: int
    max_connections: int

    @property
    def connections(self) -> int:
        """How many connections to MySQL the workers of one server open at most."""
        return self.web_workers * STORES * (self.pool_size + self.max_overflow)


def size(settings: Settings, machines: Sequence[Machine]) -> Size:
    """Return what fits the machines a stack runs on, each of them; what `.env` says wins.

    While a deploy lasts two servers stand side by side: what is left of the memory is parted
    between those two and, if there is one here, the database.
    """
    room = _room(settings, min(each.memory for each in machines))
    given_web, given_db = _mib(settings.web_memory_limit), _mib(settings.db_memory_limit)
    if settings.database_host:
        share = room // 2
    elif given_db:
        share = (room - given_db) // 2
    else:
        share = room // 3
    base = PARENT + (JOBS if settings.job_execution else 0)
    each = _worker(settings) + WORK
    cores = min(each.cores for each in machines)
    workers = settings.web_workers or _fitting((given_web or share) - base, each, cores)
    least, most = base + workers * each, base + workers * MOST_PER_WORKER
    web = given_web or max(least, min(share, most))
    left = 0 if settings.database_host else min(room // 3, room - 2 * web)
    db = given_db or max(MYSQL + LEAST_POOL, min(left, MYSQL + MOST_POOL * 7 // 5))
    pool, total = _connections(settings, workers, len(machines))
    return Size(
        web_workers=workers,
        pool_size=min(KEPT, pool - 1),
        max_overflow=max(1, pool - KEPT),
        web_memory=web,
        db_memory=db,
        buffer_pool=_buffer_pool(db),
        max_connections=total,
    )


def _worker(settings: Settings) -> int:
    """Return the MiB of a worker at rest."""
    return PROCESS if settings.job_execution else FORK


def _fitting(memory: int, each: int, cores: int) -> int:
    """Return how many workers of so many MiB fit, one at least."""
    return max(1, min(memory // each, cores, MOST_WORKERS))


def _room(settings: Settings, memory: int) -> int:
    """Return the MiB that the server and the database may share.

    Counted in steps of a sixteenth, so that a new kernel that keeps some more for itself does not
    change the stack.
    """
    step = 1 << max(memory.bit_length() - 5, 0)
    return memory // step * step // MIB - SYSTEM - _in_front(settings)


def _in_front(settings: Settings) -> int:
    """Return the MiB of NGINX, and of the way out of each of the two servers."""
    ways = 2 * egress.WORK if egress.rules(settings) else 0
    return _mib(settings.nginx_memory_limit) + ways


def _buffer_pool(db: int) -> int:
    """Return the MiB of InnoDB's buffer pool in a database of this limit.

    Two of seven parts stay for what grows with it: its own bookkeeping, temporary tables, sorting.
    With a quarter the kernel ended MySQL (2 GiB, a pool of 1280 MiB that was full, while 20 million
    rows were written, 50,000 at a time: measured, 9.7.4).
    """
    pool = max(LEAST_POOL, (db - MYSQL) * 5 // 7)
    return pool // POOL_STEP * POOL_STEP or pool // 16 * 16


def _connections(settings: Settings, workers: int, machines: int) -> tuple[int, int]:
    """Return how many connections a pool may open, and how many MySQL has to take for all.

    The stack's own MySQL is told to take what the most workers need, of two servers while a deploy
    lasts: another number of workers is not to start it again, and connections that nobody opens
    take nothing (174 or 1,322 of them: 283 MiB at rest, measured). One elsewhere takes what it
    takes, and hosts have to share that. Never fewer than two: MLflow takes an overflow of 0 for
    none given, and SQLAlchemy's own is 10.
    """
    if not settings.database_host:
        most = 2 * max(workers, MOST_WORKERS) * STORES * POOL
        return POOL, most + SPARE_CONNECTIONS + JOB_CONNECTIONS
    spare = SPARE_CONNECTIONS + (JOB_CONNECTIONS if settings.job_execution else 0)
    hosts = max(machines, len(settings.deploy_hosts))
    return max(2, min(POOL, (CONNECTIONS - spare) // (2 * hosts * workers * STORES))), CONNECTIONS


def wanted(settings: Settings, made: Size) -> int:
    """Return the bytes that all may take together while a deploy lasts, the system included."""
    database = 0 if settings.database_host else made.db_memory
    return (2 * made.web_memory + database + _in_front(settings) + SYSTEM) * MIB


def at_rest(settings: Settings, made: Size) -> int:
    """Return the bytes that all take before anybody has asked them much."""
    jobs = JOBS if settings.job_execution else 0
    database = 0 if settings.database_host else MYSQL
    return (PARENT + made.web_workers * _worker(settings) + jobs + database + SYSTEM) * MIB


def sqlite_workers(settings: Settings, machine: Machine) -> int:
    """Return the number of workers of a server on SQLite, which has half of the memory."""
    half = (machine.memory // MIB - SYSTEM) // 2
    cores = min(machine.cores, SQLITE_WORKERS)
    return settings.web_workers or _fitting(half - PARENT, PROCESS + WORK, cores)


def _mib(limit: str) -> int:
    """Return the MiB of a limit as Compose writes it; 0 of none."""
    return int(limit[:-1]) * UNITS[limit[-1]] if limit else 0
