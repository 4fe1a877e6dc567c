"""Who did what: the table and the JSON of logs that a host hands on."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops import activity, states
from ops.activity import Newest, Place, Row, Wish
from ops.errors import OpsError
from ops.hosts import LocalHost
from ops.settings import Settings
from ops.site import Facts, Site
from tests.conftest import FakeHost
from tests.test_access_log import LINE, NONSENSE
from tests.test_switch import inspected

NOW = datetime.now(UTC)


def line(minutes: int, **values: Any) -> str:
    """Return a line from so many minutes ago."""
    entry = json.loads(LINE) | {"time": f"{NOW - timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%S%z}"}
    return json.dumps(entry | values)


def deployed(minutes: int, result: str, by: str = "op@desk") -> str:
    entry = {"by": by, "what": "deploy", "release": "20261125T000000Z", "result": result}
    return json.dumps(
        entry | {"time": f"{NOW - timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}", "previous": "x"}
    )


LOG = [
    "/docker-entrypoint.sh: ready for start up",
    line(50),
    line(40, user="bob", method="POST", path="/api/2.0/mlflow/runs/create"),
    line(30, user="", claims="eve", status=401),
    line(20, user="", claims="eve", status=401),
    line(10, user="", claims="", status=401),
    NONSENSE[:-5],
    line(60 * 24 * 30, path="/long/ago"),
]
RECORD = [deployed(35, "started"), deployed(34, "failed: switch"), deployed(5, "ok"), "nonsense"]


@pytest.fixture
def reached(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """The machines that are asked."""
    host = FakeHost({"bash": "\n".join(LOG)})
    found = [Place(host, "folder", "id-of-nginx", RECORD)]

    @contextmanager
    def places(*_: object) -> Iterator[list[Place]]:
        yield found

    monkeypatch.setattr(activity, "places", places)
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: settings))
    return found


def shown(capsys: pytest.CaptureFixture[str], limit: int = 100, **wish: Any) -> list[str]:
    activity.show("host", Wish(**{"since": "1d"} | wish), as_json=False, limit=limit)
    return capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("reached")
def test_requests_and_deploys_are_shown_in_order_with_who_what_and_how_it_went(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = shown(capsys)

    assert [
        *("ann", "bob", "op@desk", "op@desk", "(eve)", "(eve)", "-", "op@desk"),
    ] == [each.split()[2] for each in lines]
    assert " POST runs/create " in lines[1]
    assert " 200 " in lines[1]
    assert lines[3].endswith("deploy 20261125T000000Z: failed: switch")


@pytest.mark.usefixtures("reached")
@pytest.mark.parametrize(
    ("wish", "count"),
    [
        ({"user": "ann"}, 1),
        ({"user": "eve"}, 2),
        ({"user": "op@desk"}, 3),
        ({"writes": True}, 4),
        ({"method": "post"}, 1),
        ({"path": "create"}, 1),
        ({"failed": True}, 4),
        ({"until": "25m"}, 5),
        ({"since": "25m"}, 3),
        ({"since": "60d", "path": "long"}, 1),
    ],
)
def test_only_what_is_asked_for_is_shown(
    capsys: pytest.CaptureFixture[str], wish: dict[str, Any], count: int
) -> None:
    assert count == len(shown(capsys, **wish))


@pytest.mark.usefixtures("reached")
def test_the_newest_are_shown_and_it_is_said_how_many_are_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    activity.show("host", Wish(since="1d"), as_json=False, limit=3)
    said = capsys.readouterr()

    assert ["(eve)", "-", "op@desk"] == [each.split()[2] for each in said.out.splitlines()]
    assert "5 earlier ones are not shown" in said.err
    assert 8 == len(shown(capsys, limit=0))


@pytest.mark.usefixtures("reached")
def test_refused_logins_are_counted_by_name_and_address(
    capsys: pytest.CaptureFixture[str],
) -> None:
    activity.show("host", Wish(since="1d"), as_json=False, limit=1)

    assert "2 refused logins as eve from 127.0.0.1" in capsys.readouterr().err


@pytest.mark.usefixtures("reached")
def test_a_script_gets_a_line_of_json_for_each_with_the_machine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    activity.show("host", Wish(since="1d", user="bob"), as_json=True, limit=100)
    [entry] = [json.loads(each) for each in capsys.readouterr().out.splitlines()]

    assert ("this machine", "bob", "172.18.0.3:5000") == (
        *(entry["machine"], entry["user"], entry["upstream"]),
    )


def test_several_machines_are_shown_together(
    reached: list[Place], capsys: pytest.CaptureFixture[str]
) -> None:
    other = FakeHost({"bash": line(45, user="zoe")})
    reached.append(Place(other, "folder", "", []))

    assert ["ann", "zoe", "bob"] == [each.split()[2] for each in shown(capsys)[:3]]


def test_what_need_not_be_sent_is_left_out_there(
    reached: list[Place], capsys: pytest.CaptureFixture[str]
) -> None:
    shown(capsys, user="ann")
    [host] = [each.host for each in reached]

    assert isinstance(host, FakeHost)
    assert host.ran('-e \'"user":"ann"\'', "folder/access id-of-nginx")


@pytest.mark.usefixtures("reached")
@pytest.mark.parametrize(
    ("wish", "limit", "words"),
    [
        ({"since": "soon"}, 1, "--since 'soon' is no moment"),
        ({"since": "1d", "until": "soon"}, 1, "--until 'soon' is no moment"),
        ({"since": "1d"}, -1, "--limit -1 is below 0"),
    ],
)
def test_what_makes_no_sense_is_refused(wish: dict[str, Any], limit: int, words: str) -> None:
    with pytest.raises(OpsError, match=words) as caught:
        activity.show("host", Wish(**wish), as_json=False, limit=limit)

    assert 2 == caught.value.code


def test_no_more_rows_than_wanted_are_kept() -> None:
    newest = Newest(2)
    for number in (3, 1, 5, 4, 2):
        newest.add(Row(NOW + timedelta(seconds=number), str(number), None, {}))
        assert len(newest.rows()) <= 2

    assert ["4", "5"] == [each.machine for each in newest.rows()]
    assert 5 == newest.count


def test_where_nginx_never_ran_there_is_no_log(project: Path) -> None:
    settings = Settings(root=project)
    states.remember(settings, "embedded")
    with (
        pytest.raises(OpsError, match="there is no access log here"),
        activity.places(settings, ""),
    ):
        pass


def test_this_machine_s_log_is_in_the_folder_of_its_stack(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    states.remember(settings, "compose")
    answers = {"docker ps": "x\n", "docker inspect": json.dumps([inspected("nginx")])}
    monkeypatch.setattr(LocalHost, "run", FakeHost(answers).run)
    with activity.places(settings, "") as [place]:
        assert (str(settings.data / "compose"), "id-of-nginx", []) == (
            *(place.folder, place.container, place.record),
        )


def test_a_host_s_log_comes_with_the_record_of_its_deploys(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(FakeHost({"docker ps": ""}), settings)

    @contextmanager
    def reach(*_: object) -> Iterator[list[Site]]:
        yield [site]

    monkeypatch.setattr("ops.fleet.reach", reach)
    monkeypatch.setattr(Site, "facts", lambda _: Facts(record=RECORD))
    with activity.places(settings, "host") as [place]:
        assert (site.top, "", RECORD) == (place.folder, place.container, place.record)
