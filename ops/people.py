"""Who may log in, and to what: what the tasks for people call."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ops import consent, console, passwords, remote
from ops.errors import refusal
from ops.members import Members
from ops.resources import Resource
from ops.resources import permission as permission_of
from ops.settings import ADMIN, Settings
from ops.users import User, Users

__all__ = ["add", "grant", "remove", "revoke", "set_password", "show"]

# ASCII, for the reason that passwords are; basic auth ends a name at its colon (RFC 7617), and
# MLflow's column has 255 characters.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}")

UNFIT = re.compile(r"""[\s"'\\]""")
"""What a secret in `.env` cannot hold: `values.secret`, `settings.UNQUOTABLE`."""

CACHED_SECONDS = 30
"""How long MLflow's other workers still take a login that was good: `auth_cache_ttl_seconds`."""


@contextmanager
def users(settings: Settings, hosts: str) -> Iterator[Users]:
    """Yield the users of this machine's server, or of the one of a host; refuse where none are."""
    if settings.auth == "none":
        raise refusal(
            f"nobody logs in to this server: AUTH is {settings.auth}",
            "set AUTH='basic' in .env, then: invoke up, or invoke deploy",
        )
    with remote.reached(settings, hosts) as door:
        yield Members(door) if settings.auth == "oidc" else Users(door)


def add(name: str, hosts: str, *, admin: bool, generate: bool) -> None:
    """Let somebody log in; a password that is made is the result.

    Where people log in at an identity provider, a program: those have tokens.
    """
    if not NAME.fullmatch(name):
        raise refusal(
            f"{name!r} is not a name to log in with", "use ASCII's letters, digits and . _ @ + -"
        )
    if name.casefold() == ADMIN:
        raise refusal(f"{ADMIN} is there already: the tasks log in as it", "take another name")
    settings = Settings.load()
    with users(settings, hosts) as known:
        if isinstance(known, Members):
            add_program(known, name, admin=admin, generate=generate)
            return
        if name in [user.name for user in known.all()]:
            raise refusal(
                f"there is a user {name} already", f"give a password: invoke set-password {name}"
            )
        password = passwords.obtain(name, generate=generate)
        known.add(name, password)
        if generate:
            console.result(password.reveal())
        if admin:
            known.make_admin(name)
    console.say(f"{name} may log in at {settings.url}" + (", and do everything" if admin else ""))
    if not admin:
        console.say(f"to let them see others' work: invoke grant {name} experiment:NAME READ")


def add_program(known: Members, name: str, *, admin: bool, generate: bool) -> None:
    """Make a user for a program; people come by themselves."""
    if generate:
        raise refusal("a program has no password", "leave --generate out, then: invoke token")
    if name.lower() in [user.name for user in known.all()]:
        raise refusal(f"there is a user {name} already", f"make a token: invoke token {name}")
    known.add_program(name.lower(), admin=admin)
    console.say(f"a program may log in as {name.lower()}: invoke token {name.lower()}")
    console.say("people need not be added: the identity provider says who they are")


def remove(name: str, hosts: str, *, confirm: str) -> None:
    """Let somebody log in no more, once their name was typed."""
    if confirm not in ("", name):
        raise refusal(f"--confirm {confirm} is not {name}; nothing was changed", "correct it")
    with users(Settings.load(), hosts) as known:
        user = known.find(name)
        if user.name == ADMIN:
            raise refusal(f"{ADMIN} stays: the tasks log in as it", "give another name")
        console.say(left_behind(user))
        if not confirm:
            way = f"repeat it with --confirm {name}"
            consent.ask("Remove the user?", answer=name, elsewhere=way)
        known.remove(user.name)
    console.say(f"{name} is removed; who is logged in gets answers for {CACHED_SECONDS} s more")


def left_behind(user: User) -> str:
    """Say what becomes of what a user manages."""
    managed = [each.resource for each in user.own.values() if each.permission == "MANAGE"]
    count = Counter(each.kind for each in managed)
    if not count:
        return f"{user.name} manages nothing; all they logged stays"
    what = ", ".join(f"{number} {kind}{'s' * (number > 1)}" for kind, number in count.items())
    return f"{user.name} manages {what}; all of it stays, and admins reach it"


def set_password(name: str, hosts: str, *, generate: bool) -> None:
    """Give somebody another password; the admin's goes into .env too."""
    settings = Settings.load()
    if settings.auth == "oidc":
        raise refusal(
            "passwords are the identity provider's, and programs have tokens",
            f"make one: invoke token {name}; of {ADMIN}: invoke rotate-secret ADMIN_PASSWORD",
        )
    with users(settings, hosts) as known:
        known.find(name)
        password = passwords.obtain(name, generate=generate)
        if name == ADMIN and UNFIT.search(password.reveal()):
            raise refusal(
                "the admin's password goes into .env, and holds a space, a quote or a backslash",
                "take another, or: --generate",
            )
        known.set_password(name, password, settings.admin_password if name == ADMIN else None)
        if generate:
            console.result(password.reveal())
        if name == ADMIN:
            settings.keep({"ADMIN_PASSWORD": password.reveal()})
            console.say("written to .env: ADMIN_PASSWORD")
    console.say(f"{name} has another password; the old one works for {CACHED_SECONDS} s more")


def grant(name: str, resource: str, permission: str, hosts: str) -> None:
    """Let somebody do this much to a resource, whatever it was before."""
    wanted, level = Resource.parse(resource), permission_of(permission)
    with users(Settings.load(), hosts) as known:
        user, found = known.find(name), known.locate(wanted)
        if found is None:
            raise refusal(f"there is no {wanted.kind} {wanted.name!r}", "see its name in MLflow")
        known.grant(user, found, level)
        console.say(f"{name} has {level} on {known.title(found)}")
    if user.admin:
        console.say(f"{name} is an admin, and may do everything anyway")


def revoke(name: str, resource: str, hosts: str) -> None:
    """Take a right back; one to a thing that is gone, too."""
    wanted = Resource.parse(resource)
    with users(Settings.load(), hosts) as known:
        user, found = known.find(name), known.locate(wanted) or wanted
        if found not in user.own:
            roles = [each.role for each in user.grants if each.resource == found]
            raise refusal(
                f"{name} was given nothing on {found}",
                f"it comes with the role {roles[0]}: change that in MLflow"
                if roles
                else f"see what was: invoke list-users --name {name}",
            )
        known.revoke(user, found)
        console.say(f"{name} has no right of their own on {known.title(found)} any more")


def show(name: str, hosts: str, *, as_json: bool) -> None:
    """List everybody with the number of their grants; or one user with each of them."""
    with users(Settings.load(), hosts) as known:
        found = [known.find(name)] if name else known.all()
        if as_json:
            console.result_json([as_dict(user) for user in found])
        elif name:
            for each in found[0].grants:
                via = f"  by the role {each.role}" if each.role else ""
                console.result(f"{each.permission:<8}{known.title(each.resource)}{via}")
        else:
            width = max(len(user.name) for user in found)
            for user in found:
                line = f"{user.name:<{width}}  {user.kind:<7}"
                if known.lists_grants:
                    line += f"  {len(user.grants)} grant{'s' * (len(user.grants) != 1)}"
                console.result(line.rstrip())


def as_dict(user: User) -> dict[str, Any]:
    """Return a user as scripts read it."""
    grants = [
        {"resource": str(each.resource), "permission": each.permission, "role": each.role}
        for each in user.grants
    ]
    return {"name": user.name, "admin": user.admin, "kind": user.kind, "grants": grants}
