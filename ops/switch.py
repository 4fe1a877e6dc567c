"""One host's part of a deploy: the new server beside the old, NGINX told, the old one drained.

Each step either ends with the host as it describes, or raises; `give_back` undoes what was done. A
step that is cut off half-way is put right by `recover` at the next deploy, because what serves is
always what the one link `live` says.
"""

import time
from contextlib import suppress
from threading import Event

from ops import access_files, accounts, console, front_door, jobs, nginx, secret_files
from ops.containers import Container, containers, last_words
from ops.errors import OpsError
from ops.hosts import Result, failure
from ops.release import Release
from ops.site import LOOK_AT_HOST, Facts, Site

__all__ = ["BESIDE", "Switch", "recover", "remove"]

START_SECONDS = 300
CONFIRM_SECONDS = 20
POLL_SECONDS = 0.5
LOOKUP_SECONDS = 1.0
OPTIONAL = {"db", "dump", "backup", "certificates"}
"""Services that one release may have and the next one not."""

BESIDE = ("egress", "web")
"""Services that two releases have side by side for a while: the way out, and who takes it."""

STOP_SECONDS = 30

# A worker of NGINX that has been told to go says so in its title, and goes with its last request.
# (The brackets keep the pattern from finding itself.)
LEAVING = 'grep -ls "[w]orker process is shutting down" /proc/[0-9]*/cmdline | wc -l'


def recover(site: Site, facts: Facts) -> None:
    """Put right what a deploy that died left: NGINX serves the live release, no other one runs."""
    live = facts.live
    others = [
        each
        for each in facts.containers
        if each.service in BESIDE and (live is None or each.release != live.web)
    ]
    if not others:
        return
    if live is not None and any(each.state == "running" for each in facts.service("nginx")):
        ours = Switch(site, facts, live, live)
        ours.forget_next()
        ours.tell(live)
    remove(site, others)
    console.say(f"{site.host.name}: removed a server that an unfinished deploy had left")


def remove(site: Site, gone: list[Container]) -> None:
    """Stop containers, politely, and remove them."""
    if not gone:
        return
    ids = [each.identity for each in gone]
    site.host.run(("docker", "stop", "-t", str(STOP_SECONDS), *ids), deadline=120)
    site.host.check(("docker", "rm", "--force", "--volumes", *ids), LOOK_AT_HOST)


class Switch:
    """The way of one host from the live release to a new one, and back."""

    def __init__(self, site: Site, facts: Facts, new: Release, live: Release | None) -> None:
        self.site, self.facts, self.new, self.live = site, facts, new, live
        self.pointed = self.beneath = False
        self.halt = Event()

    def compose(self, *words: str) -> tuple[str, ...]:
        """Return a `docker compose` line of the new release."""
        return self.site.compose(self.new, *words)

    def up(self, *words: str) -> None:
        """Run `docker compose up` for one service without those it depends on."""
        line = self.compose("up", "--detach", "--no-deps", *words)
        done = self.site.host.follow(line, lambda _: None)
        if done.code != 0:
            raise self.failed(line, done)

    def failed(self, words: tuple[str, ...], done: Result) -> OpsError:
        """Return the error for a compose line, with what the guilty service said last."""
        found = containers(self.site.settings, self.site.host)
        bad = [each for each in found if each.service != "migrate" and not each.good]
        said = [line for each in bad for line in last_words(self.site.host, each)]
        return failure(words, done.code, done.err, LOOK_AT_HOST, said)

    # --- Beside the old release; nobody is served by these yet ---

    def start_database(self) -> None:
        """Have MySQL running as the new release describes it, if it is the stack's own."""
        self.beneath = True
        if "db" in self.new.services:
            self.site.set_volume(self.site.volume())
            self.up("--wait", f"--wait-timeout={START_SECONDS}", "db")
            self.keep_in_reach("db")
            # Its own, which are others than those of .env where this is an earlier release.
            users = self.site.passwords(self.new)
            if users:
                inside = self.compose("exec", "--no-TTY", "db")
                root = secret_files.root_password(self.site.settings)
                accounts.provide(self.site.host, inside, root, users)

    def keep_in_reach(self, service: str) -> None:
        """Have a service on the networks too on which the live server had it until now.

        A release may have them on others: the live server finds it there until it has drained.
        """
        before = {name for each in self.facts.service(service) for name in each.networks}
        live = {name for each in self.facts.service("web") for name in each.networks}
        for each in containers(self.site.settings, self.site.host):
            if each.service == service:
                for name in sorted((before & live) - {*each.networks}):
                    words = ("docker", "network", "connect", "--alias", service, name)
                    self.site.host.check((*words, each.identity), LOOK_AT_HOST)

    def start_certificates(self) -> None:
        """Have NGINX's certificate made, as the new release describes it."""
        self.up("--wait", f"--wait-timeout={START_SECONDS}", "certificates")

    def start_backups(self) -> None:
        """Have the backup service run as the new release describes it."""
        self.up("--wait", f"--wait-timeout={START_SECONDS}", "dump", "backup")

    def migrate(self, *, existing: bool) -> None:
        """Bring the schema to the new release's revision."""
        words = ["run", "--rm", "--no-deps", "--no-TTY", "migrate"]
        if existing:
            words += ["python", "-I", "/opt/migration.py", "--existing"]
        jobs.migrate(self.site.host, self.compose(*words))

    def start_egress(self) -> None:
        """Start the new server's way out; the old server keeps its own."""
        self.start_beside("egress")

    def start_web(self) -> None:
        """Start the new server and wait until it is healthy."""
        self.start_beside("web")

    def start_beside(self, service: str) -> None:
        """Start a service beside that of the live release and wait until it is healthy."""
        count = len(self.facts.service(service)) + 1
        self.up("--no-recreate", f"--scale={service}={count}", service)
        self.wait_healthy(service)

    def wait_healthy(self, service: str) -> None:
        """Wait for a new service's own health check; raise as soon as it cannot come."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            found = self.mine(service)
            if found is not None and found.good and found.health:
                return
            if found is None or found.dead or found.health == "unhealthy":
                raise self.unwell(found)
            if time.monotonic() > deadline:
                raise self.unwell(found)
            self.pause()

    def pause(self) -> None:
        """Wait a moment; raise when the whole move was called off meanwhile."""
        if self.halt.wait(POLL_SECONDS):
            raise OpsError("called off", "deploy again")

    def mine(self, service: str = "web") -> Container | None:
        """Return the new release's server, or its way out."""
        return next((each for each in self.beside() if each.service == service), None)

    def beside(self) -> list[Container]:
        """Return what the new release has beside the live one."""
        found = containers(self.site.settings, self.site.host)
        return [c for c in found if c.service in BESIDE and c.release == self.new.web]

    def unwell(self, container: Container | None) -> OpsError:
        """Return the error for a new server that does not get well, or does not stay so."""
        if container is None:
            return OpsError("the new server is gone", LOOK_AT_HOST)
        said = last_words(self.site.host, container)
        what = "server" if container.service == "web" else "server's way out"
        return OpsError(
            "\n  ".join([f"the new {what} does not get well", *said]),
            "mend what its log says, then deploy again",
        )

    def probe_from_nginx(self) -> None:
        """Ask the new server through the network NGINX uses, by the public name."""
        if not any(each.good for each in self.facts.service("nginx")):
            return
        headers = front_door.headers(self.site.settings)
        words = (
            *("curl", "--fail", "--silent", "--show-error", "--max-time", "30", "--config", "-"),
            *("--header", "Content-Type: application/json", "--data", '{"max_results": 1}'),
            f"http://{self.new.web}:{nginx.PORT}/api/2.0/mlflow/experiments/search",
        )
        # By stdin: a login has no place in a list of processes.
        given = "".join(f'header = "{name}: {value}"\n' for name, value in headers.items())
        refused = "the new server is healthy but refuses its public name or its admin, or NGINX"
        self.in_nginx(words, refused, given)

    def in_nginx(self, words: tuple[str, ...], what: str, stdin: str = "") -> str:
        """Run a command in NGINX's container."""
        line = self.compose("exec", "--no-TTY", "nginx", *words)
        done = self.site.host.run(line, stdin=stdin.encode())
        if done.code != 0:
            said = (done.err or done.out).strip()
            raise OpsError(f"{what}: {said}", "mend it, then deploy again: nothing was switched")
        return done.out

    # --- The switch ---

    def test_nginx(self) -> None:
        """Have NGINX as the new release describes it; let it test the new configuration."""
        if not self.facts.service("nginx"):
            return
        hashed = self.compose("config", "--hash", "nginx")
        access_files.keep_replaced(self.site.host, self.site.top, self.facts.containers, hashed)
        self.up("--wait", f"--wait-timeout={START_SECONDS}", "nginx")
        self.keep_in_reach("nginx")
        file = nginx.CANDIDATE.format(release=self.new.id)
        self.in_nginx(("nginx", "-q", "-t", "-c", file), "NGINX refuses its new configuration")

    def announce(self) -> None:
        """Have NGINX look up the new server's address, while it serves the live release."""
        if self.live is None or not self.facts.service("nginx"):
            return
        line = nginx.upcoming(self.new.web).encode()
        file = self.site.release(nginx.NEXT)
        self.site.host.check(("tee", file), LOOK_AT_HOST, stdin=line)
        self.site.host.check(("chmod", "644", file), LOOK_AT_HOST)  # NGINX is another user
        self.tell(self.live)
        time.sleep(LOOKUP_SECONDS)

    def take_over(self) -> None:
        """Point at the new release and have NGINX serve it."""
        self.pointed = True
        self.site.point(self.new.id)
        self.forget_next()
        if self.facts.service("nginx"):
            self.tell(self.new)
        else:
            self.up("--wait", f"--wait-timeout={START_SECONDS}", "nginx")

    def forget_next(self) -> None:
        """Name no server to come any more."""
        self.site.host.check(("rm", "-f", self.site.release(nginx.NEXT)), LOOK_AT_HOST)

    def tell(self, live: Release) -> None:
        """Let NGINX read the live configuration and wait until it serves from it."""
        self.in_nginx(("nginx", "-c", nginx.CONFIG, "-s", "reload"), "NGINX does not reload")
        ask = self.compose(
            "exec", "--no-TTY", "nginx", "curl", "-s", "http://127.0.0.1:8081/release"
        )
        deadline, right = time.monotonic() + CONFIRM_SECONDS, 0
        while right < 3:  # old processes may still take a connection or two
            right = right + 1 if self.site.host.run(ask).out.strip() == live.web else 0
            if time.monotonic() > deadline:
                raise OpsError("NGINX goes on with its old configuration", LOOK_AT_HOST)

    def drain(self, seconds: int, watch: int) -> bool:
        """Wait until the old release has answered its last request, at least `watch` seconds.

        Raises when the new server does not stay well; returns False when requests were still
        under way after `seconds`.
        """
        begin = time.monotonic()
        while True:
            found = self.mine()
            if found is None or not found.good:
                raise self.unwell(found)
            spent, open_requests = time.monotonic() - begin, self.leaving()
            if spent >= watch and (not open_requests or spent >= seconds):
                return not open_requests
            self.pause()

    def leaving(self) -> int:
        """Return the number of NGINX processes that still end old requests."""
        words = self.compose("exec", "--no-TTY", "nginx", "sh", "-c", LEAVING)
        said = self.site.host.run(words).out.strip()
        return int(said) if said.isdecimal() else 0

    def stop_old(self) -> None:
        """Stop and remove all servers but the new one, and what it does without."""
        found = containers(self.site.settings, self.site.host)
        others = [c for c in found if c.service in BESIDE and c.release != self.new.web]
        others += [c for c in found if c.service in OPTIONAL - {*self.new.services}]
        remove(self.site, others)

    # --- And back ---

    def give_back(self, seconds: int) -> None:
        """Have the old release serve as before and the new server gone."""
        self.forget_next()
        if self.pointed and self.live is not None:
            back = Switch(self.site, self.facts, self.live, self.new)
            with suppress(OpsError):  # an NGINX that is not well may still go back
                back.announce()
            back.take_over()
            back.drain(seconds, 0)
        elif self.pointed:
            self.site.host.check(("rm", "-f", self.site.release(nginx.LIVE)), LOOK_AT_HOST)
            self.site.host.run(self.compose("rm", "--stop", "--force", "nginx"))
        remove(self.site, self.beside())
        if self.beneath:
            self.give_back_beneath()

    def give_back_beneath(self) -> None:
        """Have the database and the backup service as the old release describes them."""
        services = self.live.services if self.live else ("db",)
        found = containers(self.site.settings, self.site.host)
        remove(self.site, [each for each in found if each.service in OPTIONAL - {*services}])
        if self.live is not None:
            back = Switch(self.site, self.facts, self.live, self.new)
            back.start_database()
            if "certificates" in services:
                back.start_certificates()
            if "backup" in services:
                back.start_backups()
