"""What no release needs any more is removed from a host."""

from ops.release import Release
from ops.site import Facts, Site

__all__ = ["releases"]


def releases(site: Site, keep: int) -> None:
    """Keep the live release and the newest good ones, `keep` in all, with what they need."""
    facts = site.facts()
    kept = wanted(facts, keep)
    folder = ("find", site.path("releases"), "-mindepth", "1", "-maxdepth", "1", "-type", "d")
    for path in site.host.run((*folder, "-printf", "%f\n")).out.splitlines():
        if path not in kept:
            site.host.run(("rm", "-rf", site.release(path)))
    secrets(site, facts, kept)
    images(site, facts, kept)


def wanted(facts: Facts, keep: int) -> dict[str, Release]:
    """Return the releases to keep, by id."""
    good = [each for each in facts.releases if facts.outcomes.get(each) == "ok"]
    live = [facts.live.id] if facts.live else []
    chosen = list(dict.fromkeys([*live, *sorted(good, reverse=True)]))[:keep]
    return {each: facts.releases[each] for each in chosen}


def secrets(site: Site, facts: Facts, kept: dict[str, Release]) -> None:
    """Remove secret files that no release names and no container would miss at its start."""
    named = {name for each in kept.values() for name in each.secrets}
    mounted = {path.rpartition("/")[2] for each in facts.containers for path in each.mounts}
    found = site.host.run(("find", site.path("secrets"), "-type", "f", "-printf", "%f\n")).out
    gone = [name for name in found.splitlines() if name not in named | mounted]
    if gone:
        site.host.run(("rm", "-f", *(site.path("secrets", name) for name in gone)))


def images(site: Site, facts: Facts, kept: dict[str, Release]) -> None:
    """Remove our images of releases that are gone; Docker keeps what a container uses."""
    named = {name for each in kept.values() for name in each.images}
    every = {name for each in facts.releases.values() for name in each.images}
    for repository in sorted({name.rpartition(":")[0] for name in every}):
        form = ("--format", "{{.Repository}}:{{.Tag}}")
        found = site.host.run(("docker", "image", "ls", *form, repository)).out.splitlines()
        gone = [name for name in found if name not in named]
        if gone:
            site.host.run(("docker", "image", "rm", *gone))
