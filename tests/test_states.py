"""What is known of a stack: its engine, and its services as JSON."""

import json
import stat
from pathlib import Path

import pytest

from ops.errors import OpsError
from ops.settings import Settings
from ops.states import Service, Status, remember, remembered


def test_a_status_becomes_plain_json() -> None:
    web = Service("web", "running", healthy=True, uptime_seconds=1.5, memory_bytes=1024)
    status = Status("embedded", "http://localhost:5050", healthy=True, services=(web,))

    assert json.loads(json.dumps(status.as_dict())) == {
        "engine": "embedded",
        "url": "http://localhost:5050",
        "healthy": True,
        "services": [
            {
                "name": "web",
                "state": "running",
                "healthy": True,
                "uptime_seconds": 1.5,
                "memory_bytes": 1024,
            }
        ],
        "backups": None,
        "certificate": None,
    }


def test_what_is_not_known_is_null() -> None:
    service = Status(
        "compose", "", healthy=False, services=(Service("db", "absent", healthy=False),)
    )

    assert service.as_dict()["services"][0]["uptime_seconds"] is None
    assert service.as_dict()["services"][0]["memory_bytes"] is None


def test_an_engine_is_remembered(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    assert remembered(settings) == ""
    assert not settings.data.exists()

    remember(settings, "compose")
    remember(settings, "embedded")
    assert remembered(settings) == "embedded"
    assert stat.S_IMODE(settings.data.stat().st_mode) == 0o700


def test_what_cannot_be_read_is_refused_and_not_taken_for_the_first_time(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    (settings.data / "engine").mkdir(parents=True)
    with pytest.raises(OpsError, match=r"cannot read .*engine") as caught:
        remembered(settings)

    assert caught.value.code == 2
