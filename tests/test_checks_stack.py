"""The stack on a host: what it answers, what is made of it."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ops import checks_stack, sizing, stack
from ops.checks import Finding, NotChecked
from ops.errors import OpsError
from ops.hosts import Result
from ops.patient import Patient
from ops.settings import Settings
from ops.sizing import Machine
from tests import patients
from tests.conftest import ROOT, docker_info
from tests.patients import AUDIT, IN_DB, IN_WEB, INSPECT, LIVE, RELEASES, containers, variables

Look = Callable[[Patient], Finding]
DEPLOY = f"invoke deploy --host {patients.NAME}"
RESTART = f"run there: docker restart {patients.DB[:12]} "
JUST_NOW = f"{datetime.now(UTC) - timedelta(seconds=20):%Y-%m-%dT%H:%M:%S.%f}123Z"
LOOPS = {"RestartCount": 7, "state": {"StartedAt": JUST_NOW}}
LINES = patients.audit_lines(3)


CASES: list[tuple[Look, dict[str, Result | str], str, str, str]] = [
    (checks_stack.release, {}, "ok", r"20261124T010203Z \(deploy, by ann@laptop\)", ""),
    (checks_stack.size, {}, "ok", r"for 2 cores, 3\.8 GiB", ""),
    (
        checks_stack.size,
        {"docker info": docker_info(cores=1)},
        *(
            "warn",
            "not for 1 core, 3.8 GiB: WEB_WORKERS 2, not 1",
            "invoke deploy",
        ),
    ),
    (
        checks_stack.size,
        {RELEASES: replace(LIVE, variables={}).as_json()},
        *("warn", "WEB_WORKERS absent, not 2; WEB_POOL_SIZE absent, not 20", "invoke deploy"),
    ),
    (checks_stack.services, {}, "ok", "db healthy, web healthy, nginx healthy", ""),
    (
        checks_stack.services,
        {INSPECT: containers(web={"state": {"Health": {"Status": "unhealthy"}}})},
        *("fail", "web unhealthy", "docker logs --tail=50 eeeeeeeeeeee"),
    ),
    (
        checks_stack.services,
        {
            INSPECT: containers(
                nginx={"state": {"Status": "exited", "Health": {"Status": "unhealthy"}}}
            )
        },
        *("fail", "nginx exited", "docker logs --tail=50 ffffffffffff"),
    ),
    (checks_stack.services, {"docker ps": ""}, "fail", "no service has a container", DEPLOY),
    (checks_stack.restarts, {}, "ok", "none", ""),
    (
        checks_stack.restarts,
        {INSPECT: containers(db={"RestartCount": 7})},
        *("warn", "db 7 times", "docker logs --tail=50 dddddddddddd"),
    ),
    (
        checks_stack.restarts,
        {INSPECT: containers(nginx={"RestartCount": 1}, db=LOOPS)},
        *("fail", "db 7 times, nginx 1 times, again", "docker logs --tail=50 dddddddddddd"),
    ),
    (
        checks_stack.restarts,
        {INSPECT: containers(web={"state": {"Status": "restarting"}})},
        *("fail", "web 0 times, again and again", "docker logs --tail=50 eeeeeeeeeeee"),
    ),
    (checks_stack.mysql, {}, "ok", "3 options as needed, wait_timeout 8 h 0 min", ""),
    (
        checks_stack.mysql,
        {IN_DB: variables(gtid_mode="OFF", log_bin_trust_function_creators="OFF")},
        *("fail", "creators is OFF, not ON; gtid_mode is OFF, not ON", RESTART),
    ),
    (
        checks_stack.mysql,
        {IN_DB: variables(collation_server="utf8mb4_0900_ai_ci")},
        *("fail", "collation_server is utf8mb4_0900_ai_ci, not", RESTART),
    ),
    (
        checks_stack.mysql,
        {IN_DB: variables(wait_timeout="3600")},
        *("fail", "wait_timeout is 3600 s, not above the pool's 3600 s", RESTART),
    ),
    (checks_stack.mysql, {IN_DB: ""}, "fail", "gtid_mode is not there", RESTART),
    (checks_stack.connections, {}, "ok", "1994; 2 workers may open 246", ""),
    (
        checks_stack.connections,
        {IN_DB: variables(max_connections="300")},
        *("warn", "300; 2 workers may open 246, twice that", "lower WEB_WORKERS"),
    ),
    (
        checks_stack.connections,
        {IN_DB: variables(max_connections="20")},
        *("fail", "20; 2 workers may open 246", "lower WEB_WORKERS"),
    ),
    (checks_stack.record, {}, "ok", "3 lines, unbroken", ""),
    (
        checks_stack.record,
        {AUDIT: "\n".join([LINES[0], LINES[2]])},
        *("fail", "changed at line 2 of 2", "another host"),
    ),
    (checks_stack.record, {AUDIT: Result(1, "", "no file")}, "fail", "gone", "who removed it"),
]


@pytest.mark.parametrize(("look", "changed", "state", "found", "remedy"), CASES)
def test_an_answer_makes_a_finding(
    settings: Settings,
    *,
    look: Look,
    changed: dict[str, Result | str],
    state: str,
    found: str,
    remedy: str,
) -> None:
    finding = look(patients.patient(settings, changed))

    assert state == finding.state, finding
    assert re.search(found, finding.found), finding
    assert remedy in finding.remedy
    assert bool(finding.remedy) == (state != "ok")


@pytest.mark.parametrize(
    ("cores", "state"), [(2, "ok"), (4, "ok"), (1, "warn")], ids=["smallest", "larger", "shrunk"]
)
def test_of_several_hosts_a_larger_one_has_what_fits_the_smallest(
    settings: Settings, cores: int, state: str
) -> None:
    several = replace(settings, deploy_host="a,b", database_host="db")
    live = replace(LIVE, variables=stack.sizes(sizing.size(several, [Machine(2, 3840 * 1024**2)])))
    found = checks_stack.size(
        patients.patient(
            several, {RELEASES: live.as_json(), "docker info": docker_info(cores=cores)}
        )
    )

    assert state == found.state, found


def test_before_the_first_deploy_there_is_nothing_to_look_at(settings: Settings) -> None:
    with pytest.raises(NotChecked, match=f"nothing is deployed: {DEPLOY}"):
        checks_stack.release(patients.patient(settings, {patients.RELEASES: Result(1, "", "no")}))


@pytest.mark.parametrize("look", [checks_stack.mysql, checks_stack.connections])
def test_what_does_not_run_is_not_looked_into(settings: Settings, look: Look) -> None:
    state = {"state": {"Status": "exited"}}
    made = patients.patient(settings, {INSPECT: containers(db=state)})

    with pytest.raises(NotChecked, match="does not run"):
        look(made)


def test_a_database_with_another_password_is_an_error_with_a_way_out(settings: Settings) -> None:
    denied = Result(1, "", "ERROR 1045 (28000): Access denied for user 'root'@'localhost'\n")
    with pytest.raises(OpsError, match="MySQL does not answer root: ERROR 1045") as caught:
        checks_stack.mysql(patients.patient(settings, {IN_DB: denied}))

    assert ".env" in caught.value.remedy


ELSEWHERE: dict[str, Result | str] = {
    RELEASES: replace(LIVE, files={stack.EXTERNAL_DATABASE: "1"}).as_json(),
    IN_DB: Result(1, "", "there is none"),
    IN_WEB: "log_bin_trust_function_creators\tON\nwait_timeout\t28800\nmax_connections\t151\n",
}


def test_a_database_elsewhere_is_asked_as_the_server_asks_it(settings: Settings) -> None:
    three = replace(settings, deploy_host="a,b,c", database_host="db", web_workers=8)
    assert "ok" == checks_stack.mysql(patients.patient(three, ELSEWHERE)).state
    found = checks_stack.connections(patients.patient(three, ELSEWHERE))
    assert ("warn", "151; 24 workers may open 144, twice that while a deploy lasts") == (
        found.state,
        found.found,
    )

    off: dict[str, Result | str] = {
        **ELSEWHERE,
        IN_WEB: "log_bin_trust_function_creators\tOFF\nwait_timeout\t28800\n",
    }
    found = checks_stack.mysql(patients.patient(three, off))
    assert ("fail", "log_bin_trust_function_creators is OFF, not ON") == (found.state, found.found)
    assert "DATABASE_HOST" in found.remedy


def test_connections_are_not_counted_where_mysql_does_not_answer(settings: Settings) -> None:
    with pytest.raises(NotChecked, match="see mysql"):
        checks_stack.connections(patients.patient(settings, {IN_DB: Result(1, "", "ERROR 1045")}))


def test_no_command_holds_a_password_and_the_statement_is_on_stdin(settings: Settings) -> None:
    made = patients.patient(settings)
    checks_stack.mysql(made)
    said = "\n".join(patients.lines(made))

    assert "mysql-root-password-1" not in said
    assert "SHOW GLOBAL" not in said
    password, query = made.host.given[0].decode().split("\n", 1)  # type: ignore[attr-defined]
    assert "mysql-root-password-1" == password
    assert query.startswith("SHOW GLOBAL VARIABLES WHERE")


def test_without_root_s_password_mysql_is_not_asked(settings: Settings) -> None:
    without = replace(settings, mysql_root_password=None)
    with pytest.raises(NotChecked, match="MYSQL_ROOT_PASSWORD is not in"):
        checks_stack.mysql(patients.patient(without))


def test_the_pool_is_renewed_as_the_compose_file_says() -> None:
    text = (ROOT / "compose" / "compose.yaml").read_text("utf-8")

    assert f'POOL_RECYCLE: "{checks_stack.POOL_RECYCLE}"' in text


def test_the_options_are_those_of_the_compose_file() -> None:
    text = (ROOT / "compose" / "compose.yaml").read_text("utf-8")

    for name, value in checks_stack.OPTIONS.items():
        assert f"- --{name.replace('_', '-')}={value}\n" in text
