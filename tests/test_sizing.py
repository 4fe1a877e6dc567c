"""Sizes: they fit, they grow with the machine, what `.env` says wins, the documents agree."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ops import sizing
from ops.settings import Settings
from ops.sizing import MIB, Machine, Size
from tests.conftest import ROOT, SIZE

GROWING = ("web_workers", "web_memory", "db_memory", "buffer_pool")

machines = st.builds(
    Machine, cores=st.integers(1, 256), memory=st.integers(256 * MIB, 2 * 1024**2 * MIB)
)
ways = st.builds(
    Settings,
    database_host=st.sampled_from(["", "db.example.com"]),
    job_execution=st.booleans(),
    deploy_host=st.sampled_from(["", "a", "a,b,c"]),
)
overrides = st.fixed_dictionaries(
    {},
    optional={
        "web_workers": st.integers(1, 64),
        "web_memory_limit": st.integers(256, 65536).map("{}m".format),
        "db_memory_limit": st.integers(256, 65536).map("{}m".format),
    },
)


def of(cores: int, mib: int, **fields: Any) -> Size:
    return sizing.size(Settings(**fields), [Machine(cores, mib * MIB)])


# --- What fits ---


@given(ways, machines)
def test_nothing_is_ever_zero_or_without_bounds(settings: Settings, machine: Machine) -> None:
    made = sizing.size(settings, [machine])

    assert 1 <= made.web_workers <= min(machine.cores, sizing.MOST_WORKERS)
    assert 1 <= made.pool_size <= sizing.KEPT
    assert 1 <= made.max_overflow <= sizing.POOL
    assert sizing.PARENT + sizing.FORK < made.web_memory
    assert made.web_memory <= sizing.PARENT + sizing.JOBS + made.web_workers * 1024
    assert sizing.LEAST_POOL <= made.buffer_pool < made.db_memory


@given(ways, machines, st.integers(0, 64), st.integers(0, 1024**2 * MIB))
def test_a_larger_machine_never_gets_less(
    settings: Settings, machine: Machine, cores: int, memory: int
) -> None:
    larger = Machine(machine.cores + cores, machine.memory + memory)
    less, more = (sizing.size(settings, [each]) for each in (machine, larger))

    for name in GROWING:
        assert getattr(less, name) <= getattr(more, name), name


@given(ways, machines)
def test_two_servers_database_and_system_fit_wherever_the_least_of_each_does(
    settings: Settings, machine: Machine
) -> None:
    least = sizing.size(settings, [Machine(1, 0)])
    made = sizing.size(settings, [machine])
    # Memory is counted in steps of a sixteenth at most.
    assume(sizing.wanted(settings, least) <= machine.memory * 15 // 16)

    assert sizing.wanted(settings, made) <= machine.memory


@given(ways, st.integers(1, 256))
def test_on_a_machine_too_small_for_any_size_the_least_is_taken(
    settings: Settings, cores: int
) -> None:
    least = sizing.size(settings, [Machine(cores, 0)])
    worker = sizing.JOBS + sizing.PROCESS if settings.job_execution else sizing.FORK

    assert 1 == least.web_workers
    assert sizing.PARENT + worker + sizing.WORK == least.web_memory
    assert sizing.MYSQL + sizing.LEAST_POOL == least.db_memory


@pytest.mark.parametrize("mib", [1860, 1900, 1920, 1940, 1984, 2048])
def test_a_deploy_fits_a_host_sold_with_2_gib(mib: int) -> None:
    made = of(2, mib)

    assert sizing.wanted(Settings(), made) <= mib * MIB
    assert 2 == made.web_workers
    assert sizing.LEAST_POOL < made.buffer_pool


def test_the_largest_machine_has_a_pool_of_2_gb_unless_more_is_wanted() -> None:
    assert 1920 == of(256, 1024**2).buffer_pool == of(8, 32768).buffer_pool
    assert 5504 == of(8, 32768, db_memory_limit="8g").buffer_pool


def test_a_kernel_that_keeps_a_little_more_changes_nothing() -> None:
    assert of(2, 3910) == of(2, 3910 - 20)
    assert of(2, 3910) != of(2, 3910 - 128)


@given(st.integers(2048, 8 * 1024))
def test_no_more_than_a_sixteenth_stays_unused_for_that(mib: int) -> None:
    assert 3 * of(1, mib).db_memory + 2 + sizing.SYSTEM + 128 > mib * 15 / 16


# --- Several machines ---


@given(ways, st.lists(machines, min_size=1, max_size=4))
def test_several_machines_get_what_fits_the_smallest(
    settings: Settings, several: list[Machine]
) -> None:
    smallest = Machine(min(m.cores for m in several), min(m.memory for m in several))

    assert sizing.size(settings, [smallest] * len(several)) == sizing.size(settings, several)


# --- Connections ---


@given(ways, overrides, st.lists(machines, min_size=1, max_size=4))
def test_the_connections_of_two_servers_on_every_host_stay_below_mysql_s(
    settings: Settings, given: dict[str, Any], several: list[Machine]
) -> None:
    made = sizing.size(replace(settings, **given), several)
    hosts = max(len(several), len(settings.deploy_hosts)) if settings.database_host else 1
    most = 2 * hosts * made.connections + sizing.SPARE_CONNECTIONS

    if most > made.max_connections:  # with so many workers, two for each are too many
        assert settings.database_host
        assert (1, 1) == (made.pool_size, made.max_overflow)
        assert hosts * made.web_workers > 11


@given(ways, overrides, machines)
def test_with_a_database_of_its_own_no_worker_waits_for_itself(
    settings: Settings, given: dict[str, Any], machine: Machine
) -> None:
    """A request of log_batch takes two connections of a pool; a worker answers 40 at once."""
    made = sizing.size(replace(settings, **given, database_host=""), [machine])

    assert made.pool_size + made.max_overflow > 40


def test_a_worker_has_three_pools() -> None:
    assert 2 * 3 * (20 + 21) == of(2, 3840).connections


def test_another_number_of_workers_is_no_other_mysql() -> None:
    spare = sizing.SPARE_CONNECTIONS + sizing.JOB_CONNECTIONS
    for made in (of(2, 3840), of(2, 3840, web_workers=1), of(2, 15360, job_execution=True)):
        assert 2 * 8 * 3 * (20 + 21) + spare == made.max_connections
    assert 2 * 9 * 3 * (20 + 21) + spare == of(2, 15360, web_workers=9).max_connections


def test_several_hosts_share_what_a_database_elsewhere_takes() -> None:
    one, three = (of(1, 3840, database_host="db", deploy_host=hosts) for hosts in ("a", "a,b,c"))

    assert (20 + 3, 6 + 1) == (
        one.pool_size + one.max_overflow,
        three.pool_size + three.max_overflow,
    )


# --- What `.env` says ---


@given(ways, overrides, machines)
def test_what_is_set_wins(settings: Settings, given: dict[str, Any], machine: Machine) -> None:
    made = sizing.size(replace(settings, **given), [machine])

    assert made.web_workers == given.get("web_workers", made.web_workers)
    assert f"{made.web_memory}m" == given.get("web_memory_limit", f"{made.web_memory}m")
    assert f"{made.db_memory}m" == given.get("db_memory_limit", f"{made.db_memory}m")


@given(ways, overrides, machines)
def test_what_is_set_leaves_a_rest_that_works(
    settings: Settings, given: dict[str, Any], machine: Machine
) -> None:
    made = sizing.size(replace(settings, **given), [machine])

    assert made.web_workers >= 1
    assert made.pool_size >= 1
    assert made.max_overflow >= 1
    assert made.buffer_pool >= sizing.LEAST_POOL
    if "web_memory_limit" not in given:
        assert made.web_memory >= sizing.PARENT + made.web_workers * sizing.FORK
    if "db_memory_limit" not in given:
        assert made.db_memory >= sizing.MYSQL + sizing.LEAST_POOL


def test_more_workers_raise_the_limit_they_share_and_take_it_from_the_database() -> None:
    plain, given = of(2, 7680), of(2, 7680, web_workers=20)

    assert plain.web_memory < given.web_memory
    assert plain.db_memory > given.db_memory
    assert sizing.wanted(Settings(), given) <= 7680 * MIB


def test_a_higher_limit_of_the_database_raises_its_buffer_pool_and_lowers_the_server_s_limit() -> (
    None
):
    plain, given = of(2, 7680), of(2, 7680, db_memory_limit="4g")

    assert 4096 == given.db_memory
    assert plain.buffer_pool < given.buffer_pool
    assert plain.web_memory > given.web_memory
    assert sizing.wanted(Settings(), given) <= 7680 * MIB


def test_a_lower_limit_of_the_server_has_fewer_workers() -> None:
    plain, given = of(4, 15360), of(4, 15360, web_memory_limit="600m")

    assert (4, 2) == (plain.web_workers, given.web_workers)


def test_the_limit_of_nginx_is_not_given_away() -> None:
    assert of(2, 3840, nginx_memory_limit="1g").db_memory < of(2, 3840).db_memory


def test_the_job_execution_has_memory_of_its_own() -> None:
    assert sizing.JOBS + 512 == of(1, 1024, job_execution=True).web_memory
    assert 348 == of(1, 1024).web_memory
    assert of(2, 7680, job_execution=True).web_memory > of(2, 7680).web_memory


def test_without_a_database_here_the_servers_share_all() -> None:
    here, elsewhere = of(4, 2560), of(4, 2560, database_host="db")

    assert here.web_workers < elsewhere.web_workers
    assert here.web_memory < elsewhere.web_memory
    assert elsewhere.db_memory == of(16, 65536, database_host="db").db_memory


# --- MySQL ---


@given(machines)
def test_mysql_s_pool_leaves_room_for_the_rest_and_is_what_mysql_takes(machine: Machine) -> None:
    made = sizing.size(Settings(), [machine])

    assert made.buffer_pool * 4 // 3 + sizing.MYSQL <= made.db_memory or made.buffer_pool < 128
    assert made.buffer_pool + sizing.MYSQL <= made.db_memory
    assert made.buffer_pool < 128 or made.buffer_pool % 128 == 0


# --- SQLite ---


@pytest.mark.parametrize(
    ("machine", "given", "workers"),
    [
        (Machine(1, 8192 * MIB), None, 1),
        (Machine(16, 1024 * MIB), None, 1),
        (Machine(16, 65536 * MIB), None, 2),
        (Machine(1, 1024 * MIB), 5, 5),
    ],
)
def test_sqlite_has_two_workers_at_most_unless_more_are_wanted(
    machine: Machine, given: int | None, workers: int
) -> None:
    assert workers == sizing.sqlite_workers(Settings(web_workers=given), machine)


# --- What stands elsewhere ---


def test_at_rest_is_what_was_measured() -> None:
    """252 MiB with two workers; with jobs their eight processes besides (MLflow 3.17.2)."""
    settings = Settings(database_host="db", web_workers=2)

    assert 252 == pytest.approx(sizing.at_rest(settings, of(1, 4096)) / MIB - sizing.SYSTEM, abs=40)


def rows() -> dict[str, list[str]]:
    """Return the table of docs/settings.md by instance type."""
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    found = re.findall(r"^\| `(\w+\.\w+)` \| (.*) \|$", text, re.MULTILINE)
    return {name: cells.split(" | ") for name, cells in found}


@pytest.mark.parametrize("name", rows())
def test_the_table_of_the_documents_says_what_is_computed(name: str) -> None:
    cores, gib, *figures = rows()[name]
    made = of(int(cores), int(gib) * 1024 * 15 // 16)

    assert figures == [
        str(made.web_workers),
        f"{made.web_memory} MiB",
        f"{made.db_memory} MiB",
        f"{made.buffer_pool} MiB",
    ]


def test_the_table_has_the_types_people_ask_for() -> None:
    assert ["t3.small", "t3.medium", "t3.large", "m7i.large", "m7i.xlarge", "m7i.2xlarge"] == list(
        rows()
    )


def test_the_size_that_other_tests_take_is_one_of_a_machine() -> None:
    assert SIZE == of(2, 3840)
