"""Deploy and roll back up to the point where something is done; what follows is rollout's."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from ops import deploys, release, stack
from ops.errors import OpsError
from ops.hosts import Result
from ops.release import Release
from ops.rollout import Move
from ops.settings import Settings
from ops.site import Facts, Site
from ops.values import Secret
from tests.conftest import SIZE, FakeHost, a_container, a_release, leave_rotation

IDS = [f"2026112{day}T000000Z" for day in range(1, 5)]


def site(settings: Settings, volume: str = "") -> Site:
    return Site(FakeHost({"cat": volume}), settings)


def history(live: str, **origins: str) -> Facts:
    """Return a host with good releases; `origins` maps a rollback's place to what it brought."""
    releases = {}
    for number, identity in enumerate(IDS):
        origin = origins.get(f"r{number}", identity)
        releases[identity] = a_release(id=identity, origin=origin)
    record = [json.dumps({"release": each, "result": "ok"}) for each in IDS]
    return Facts(releases=releases, live=releases[live], record=record)


def test_back_is_the_last_good_release_before_the_live_one(settings: Settings) -> None:
    assert IDS[2] == deploys.target(site(settings), history(IDS[3]), "").id


def test_back_from_a_rollback_is_further_back(settings: Settings) -> None:
    facts = history(IDS[3], r3=IDS[1])

    assert IDS[0] == deploys.target(site(settings), facts, "").id


def test_a_release_that_failed_is_not_gone_back_to(settings: Settings) -> None:
    facts = history(IDS[3])
    facts.record.append(json.dumps({"release": IDS[2], "result": "failed: switch"}))

    assert IDS[1] == deploys.target(site(settings), facts, "").id


def test_one_can_be_named(settings: Settings) -> None:
    assert IDS[0] == deploys.target(site(settings), history(IDS[3]), IDS[0]).id


@pytest.mark.parametrize(
    ("live", "to", "cause"),
    [(IDS[0], "", "no earlier good release"), (IDS[3], "x'; rm -rf", "has no release")],
)
def test_what_is_not_there_is_refused(settings: Settings, live: str, to: str, cause: str) -> None:
    with pytest.raises(OpsError, match=cause) as caught:
        deploys.target(site(settings), history(live), to)

    assert 2 == caught.value.code


def test_a_host_without_a_release_is_refused(settings: Settings) -> None:
    with pytest.raises(OpsError, match="no live release"):
        deploys.target(site(settings), Facts(), "")


def test_after_a_restore_a_release_that_knows_only_the_old_volume_is_refused(
    settings: Settings,
) -> None:
    restored = site(settings, "DB_VOLUME=another")
    facts = history(IDS[3])
    with pytest.raises(OpsError, match="only the database from before the restore"):
        deploys.target(restored, facts, "")

    facts.releases[IDS[2]] = replace(facts.releases[IDS[2]], variables={"DB_VOLUME": "first"})
    assert IDS[2] == deploys.target(restored, facts, "").id


def test_a_release_of_another_schema_is_refused_with_both_revisions(settings: Settings) -> None:
    facts = history(IDS[3])
    facts.releases[IDS[2]] = replace(facts.releases[IDS[2]], schema="older")
    for revision in ("a", "b"):
        with pytest.raises(OpsError, match=f"needs schema older, the database is at {revision}"):
            deploys.target(at_revision(settings, revision), facts, "")


def test_a_release_of_another_schema_fits_data_that_was_restored_for_it(
    settings: Settings,
) -> None:
    facts = history(IDS[3])
    facts.releases[IDS[2]] = replace(facts.releases[IDS[2]], schema="older")

    assert IDS[2] == deploys.target(at_revision(settings, "older"), facts, "").id


def at_revision(settings: Settings, revision: str) -> Site:
    """Return a host whose database is at a revision of the schema."""

    class Host(FakeHost):
        def run(self, words: Any, **more: Any) -> Result:
            question = more.get("stdin", b"").decode()
            if "information_schema" in question:
                return Result(0, "mlflow.alembic_version\n", "")
            return Result(0, f"{revision}\n", "") if question else super().run(words, **more)

    given = replace(settings, mysql_root_password=Secret("of-the-root-1"))
    return Site(Host({"cat": ""}), given)


def well(live: Release) -> Facts:
    web = a_container("web", release=live.web)
    return Facts(
        live=live,
        containers=[a_container("db"), web, a_container("nginx")],
        record=[json.dumps({"release": live.id, "result": "ok"})],
    )


def test_the_same_content_running_well_is_unchanged(settings: Settings) -> None:
    assert settings.stack_name
    live = a_release()
    new = replace(live, id=IDS[3])

    assert deploys.unchanged(new, well(live))
    assert not deploys.unchanged(replace(new, image_id="sha256:2"), well(live))
    assert not deploys.unchanged(new, Facts())
    assert not deploys.unchanged(new, Facts(live=live))


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({}, "invoke deploy --migrate"),
        ({"backups_destination": "s3://b/c"}, "invoke upgrade"),
        ({"backups_destination": "s3://b/c", "database_host": "db.x"}, "invoke deploy --migrate"),
    ],
)
def test_another_schema_is_refused_unless_it_is_wanted(
    settings: Settings, given: dict[str, str], remedy: str
) -> None:
    settings = replace(settings, **given)  # type: ignore[arg-type]
    facts = [well(a_release())]
    new = a_release(id=IDS[3], schema="b")
    with pytest.raises(OpsError, match="needs schema b, the database is at a") as caught:
        deploys.check_schema(settings, Move(release=new, files={}, secrets={}), facts)

    assert 2 == caught.value.code
    assert caught.value.remedy.endswith(remedy)
    wanted = Move(release=new, files={}, secrets={}, migrate=True)
    deploys.check_schema(settings, wanted, facts)
    same = Move(release=a_release(id=IDS[3]), files={}, secrets={})
    deploys.check_schema(settings, same, facts)


@pytest.mark.parametrize(
    ("given", "cause", "key"),
    [
        ({}, "3 hosts would each have a database", "DATABASE_HOST"),
        ({"database_host": "db"}, "3 hosts would each have artifacts", "ARTIFACTS_DESTINATION"),
    ],
)
def test_several_hosts_have_one_database_and_one_place_for_artifacts(
    settings: Settings, given: dict[str, str], cause: str, key: str
) -> None:
    made = replace(settings, **given)  # type: ignore[arg-type]
    with pytest.raises(OpsError, match=cause) as caught:
        deploys.check_shared(made, 3)

    assert 2 == caught.value.code
    assert f"set {key} in .env" in caught.value.remedy
    deploys.check_shared(made, 1)
    both = replace(settings, database_host="db", artifacts_destination="s3://b")
    deploys.check_shared(both, 3)


def test_new_secrets_are_not_made_for_a_stack_that_has_some(settings: Settings) -> None:
    bare = replace(settings, mysql_password=None)
    with pytest.raises(OpsError, match="lacks MYSQL_PASSWORD") as caught:
        deploys.check_secrets(bare, [well(a_release())])

    assert 2 == caught.value.code
    deploys.check_secrets(bare, [Facts()])
    begun = replace(settings, backups_destination="s3://b", backup_password=None)
    deploys.check_secrets(begun, [well(a_release())])
    deploys.check_secrets(settings, [well(a_release())])


def docker(settings: Settings, **more: str) -> FakeHost:
    answers: dict[str, Any] = {
        "docker version": "28.2",
        "docker compose version": "2.40",
        "docker image inspect": "sha256:7\n",
        "docker run --rm --network=none --entrypoint=python": "c0ffee\n",
        "git": "abc-dirty\n",
    }
    assert settings
    return FakeHost(answers | more)


def test_a_plan_holds_the_image_the_files_and_the_schema_the_image_says(
    settings: Settings,
) -> None:
    host = docker(settings)
    move = deploys.planned(settings, SIZE, host, [Facts()], migrate=False)
    new = move.release

    assert (stack.web_image(settings), "sha256:7") == (new.image, new.image_id)
    assert ("c0ffee", "abc-dirty", "deploy") == (new.schema, new.commit, new.what)
    assert new.id == new.origin
    assert release.contents(settings, SIZE, {new.image: new.image})[0] == move.files
    assert set(move.files) == set(new.files)
    assert sorted(move.secrets) == new.secrets
    assert host.ran("--head")


def test_the_schema_of_a_known_image_is_not_asked_for_again(settings: Settings) -> None:
    host = docker(settings)
    live = a_release(image_id="sha256:7", schema="known")
    move = deploys.planned(settings, SIZE, host, [Facts(live=live)], migrate=False)

    assert "known" == move.release.schema
    assert not host.ran("--head")


def test_a_host_that_was_resized_is_a_change_and_the_same_host_is_none(settings: Settings) -> None:
    first, again, larger = (
        deploys.planned(settings, made, docker(settings), [Facts()], migrate=False).release
        for made in (SIZE, SIZE, replace(SIZE, web_workers=4, buffer_pool=1536))
    )

    assert [] == release.differences(again, first)
    assert again.same_content(first)
    assert ["setting: DB_BUFFER_POOL '512M' -> '1536M'", "setting: WEB_WORKERS '2' -> '4'"] == (
        release.differences(larger, first)
    )
    assert not larger.same_content(first)


def test_the_plan_is_shown_with_every_change(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert settings
    deploys.show_plan(a_release(id=IDS[3], schema="b"), [well(a_release())])
    deploys.show_plan(a_release(id=IDS[3]), [well(a_release())])
    said = capsys.readouterr().err

    assert "  schema: a -> b\n" in said
    assert "nothing in it changed" in said


@pytest.mark.parametrize("name", ["mysql_client", "web_client", "backup_client", "kek_passphrase"])
def test_a_release_whose_secret_was_replaced_since_is_refused(
    settings: Settings, name: str
) -> None:
    facts = history(IDS[3])
    given = {"secrets": [f"{name}-1", "session_key-1"], "variables": {"DB_VOLUME": ""}}
    for each in IDS[:3]:
        facts.releases[each] = replace(facts.releases[each], **given)  # type: ignore[arg-type]
    assert facts.live is not None
    now = replace(facts.live, secrets=[f"{name}-2", "session_key-2"])
    with pytest.raises(OpsError, match=f"from before the rotation of its {name}'") as caught:
        deploys.target(site(settings), replace(facts, live=now), "")

    assert 2 == caught.value.code
    assert "git checkout abc" in caught.value.remedy
    same = replace(facts.live, secrets=[f"{name}-1", "session_key-2"])
    assert IDS[2] == deploys.target(site(settings), replace(facts, live=same), "").id


def test_a_release_with_another_database_is_not_one_from_before_a_rotation() -> None:
    old = a_release(secrets=["mysql_client-1"], variables={"DATABASE_URI": "mysql://db"})
    live = a_release(secrets=["mysql_client-2"], variables={"DATABASE_URI": "mysql://rds"})

    assert [] == release.replaced_secrets(old, live)


def test_a_release_with_another_driver_is_one_from_before_a_rotation() -> None:
    uris = [f"mysql+{driver}://db:3306/mlflow?charset=utf8mb4" for driver in ("pymysql", "mysqldb")]
    old, live = (
        a_release(secrets=[f"mysql_client-{number}"], variables={"DATABASE_URI": uri})
        for number, uri in enumerate(uris)
    )

    assert ["mysql_client"] == release.replaced_secrets(old, live)


def test_what_a_deploy_would_change_is_told_without_doing_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = docker(settings)
    live = deploys.planned(settings, SIZE, host, [Facts()], migrate=False).release
    facts = [well(live)]

    @contextmanager
    def reach(*_: object) -> Iterator[list[Site]]:
        yield [site(settings)]

    monkeypatch.setattr("ops.fleet.reach", reach)
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: settings))
    monkeypatch.setattr(Site, "facts", lambda _: facts[0])
    monkeypatch.setattr("ops.images.engine", lambda _: type("Engine", (), {"machine": None}))
    monkeypatch.setattr("ops.sizing.size", lambda *_: SIZE)
    monkeypatch.setattr(deploys, "LocalHost", lambda: host)

    assert [] == deploys.pending("host")
    facts[0] = replace(well(live), containers=[])
    assert ["a service is not well"] == deploys.pending("host")
    facts[0] = well(replace(live, variables=live.variables | {"WEB_WORKERS": "9"}))
    assert ["setting: WEB_WORKERS '9' -> '2'"] == deploys.pending("host")
    unmade = replace(settings, webhook_key=None)
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: unmade))
    assert ["secret: WEBHOOK_KEY is to be made"] == deploys.pending("host")


def test_a_deploy_says_that_a_secret_is_replaced_by_half_and_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[Any] = []
    monkeypatch.setattr(Settings, "load", classmethod(lambda _: settings))
    monkeypatch.setattr(deploys, "bring", lambda hosts, **more: done.append((hosts, more)))
    leave_rotation(settings, hosts="a,b")
    deploys.deploy("a,b", migrate=True)

    said = capsys.readouterr().err
    assert "then go on with it: invoke rotate-secret MYSQL_PASSWORD --host a,b\n" in said
    assert [("a,b", {"migrate": True})] == done
