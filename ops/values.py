"""The kinds of value a setting can have: each function returns the value or says what is wrong.

Every function raises `ValueError` with a phrase that follows the key and the value seen.
"""

import os
import re
import secrets
from collections.abc import Callable
from ipaddress import ip_address
from typing import NamedTuple, NoReturn
from urllib.parse import SplitResult, urlsplit

HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*|\[[0-9a-f:.]+\]")
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
BUCKET_NAME = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
BUCKET_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
BUCKET_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")
S3_PREFIX = re.compile(r"[A-Za-z0-9!_.*()/-]*")
# A Compose project name: https://docs.docker.com/compose/how-tos/project-name/
PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")
WORD = re.compile(r"[!-~]+")
# https://github.com/distribution/reference/blob/main/reference.go, without a tag
REGISTRY_PATH = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
MAX_REGISTRY = 200
# https://docs.docker.com/reference/cli/docker/image/tag/
IMAGE_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
MEMORY = re.compile(r"([0-9]+)([mg])")
# A name or an alias of ~/.ssh/config; nothing that ssh takes for an option or a shell for its own.
SSH_NAME = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*"
SSH_USER = r"[A-Za-z_][A-Za-z0-9._-]{0,63}"
SSH_HOST = re.compile(rf"(?:({SSH_USER})@)?({SSH_NAME}|\[[0-9A-Fa-f:.]+\])(?::([0-9]+))?")
MAX_NAME = 253
MAX_PORT = 65535
MAX_WORKERS = 64
MIN_SECRET = 12


class Secret:
    """A value that never shows itself: not a `str`, so no command and no message can take it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value; for the one place that writes it to a file."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and secrets.compare_digest(
            self._value.encode(), other._value.encode()
        )

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not to be carried away")


class SshAddress(NamedTuple):
    """Where a person wants to log in; what they left out is empty or None."""

    name: str
    user: str = ""
    port: int | None = None

    def __str__(self) -> str:
        """Return it as it was written."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        user = f"{self.user}@" if self.user else ""
        return f"{user}{name}" + (f":{self.port}" if self.port else "")


def word(value: str) -> str:
    """Take a name without spaces."""
    if not WORD.fullmatch(value):
        raise ValueError("is not a single word of ASCII letters, digits and punctuation")
    return value


def stack_name(value: str) -> str:
    """Take the name that containers, networks and volumes begin with."""
    if not PROJECT_NAME.fullmatch(value):
        raise ValueError("is not lower-case letters, digits, - and _ (at most 41)")
    return value


def public_url(value: str) -> str:
    """Take the address of the front door: scheme, host and port, nothing else."""
    parts = _split(value)
    if "@" in parts.netloc:
        raise ValueError("holds a user name or password: leave them out")
    if parts.scheme not in {"http", "https"}:
        raise ValueError("has no scheme: begin it with https:// or http://")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError("has a path: give scheme, host and port only")
    if value != value.lower():
        raise ValueError(f"has upper-case letters: write {value.lower()}")
    host = parts.netloc.removesuffix(f":{_port_of(parts.netloc)}")
    if not HOST_NAME.fullmatch(host):
        raise ValueError("has no valid host name: use letters, digits, - and . (IDN as xn--…)")
    return value.rstrip("/")


def _port_of(netloc: str) -> str:
    found = re.search(r":([^:\]]*)$", netloc)
    if found is None:
        return ""
    if found[1] != str(port(found[1])):
        raise ValueError(f"has a port written oddly: write :{port(found[1])}")
    return found[1]


def count(low: int, high: int) -> Callable[[str], int]:
    """Take a whole number within bounds."""

    def parse(value: str) -> int:
        if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
            raise ValueError(f"is not a number between {low} and {high}")
        return int(value)

    return parse


def _split(value: str) -> SplitResult:
    if re.search(r"\s", value):
        raise ValueError("holds a space: take it out")
    try:
        return urlsplit(value)
    except ValueError:
        raise ValueError("has no valid host name: check its brackets") from None


def endpoint(value: str) -> str:
    """Take the address of a server: scheme, host, port, path."""
    parts = _split(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise ValueError("is not an http:// or https:// address without user and password")
    if not re.fullmatch(r"[a-z0-9._-]+|[0-9a-f:.]+", parts.hostname):
        raise ValueError("has no valid host name: use letters, digits, -, _ and .")
    if parts.query or parts.fragment:
        raise ValueError("has a query: give scheme, host, port and path only")
    _port_of(parts.netloc)
    return value.rstrip("/")


def issuer(value: str) -> str:
    """Take what an identity provider calls itself: an https address, to the last slash.

    https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig
    """
    endpoint(value)
    if not value.startswith("https:"):
        raise ValueError("does not begin with https:, as every OpenID provider's does")
    return value


def port(value: str) -> int:
    """Take a TCP port."""
    if not value.isascii() or not value.isdigit() or not 1 <= int(value) <= MAX_PORT:
        raise ValueError(f"is not a port between 1 and {MAX_PORT}")
    return int(value)


def address(value: str) -> str:
    """Take an IP address to listen on."""
    try:
        return str(ip_address(value))
    except ValueError:
        raise ValueError("is not an IP address such as 127.0.0.1 or 0.0.0.0") from None


def ssh_host(value: str) -> SshAddress:
    """Take a host to log in to: `[user@]name[:port]`, an IPv6 address in brackets."""
    found = SSH_HOST.fullmatch(value)
    if not found or len(found[2]) > MAX_NAME:
        raise ValueError("is not a host as [user@]name[:port], an IPv6 address in brackets")
    user, name, number = found.groups(default="")
    if name.startswith("["):
        name = address(name[1:-1])
    return SshAddress(name, user, port(number) if number else None)


def ssh_hosts(value: str) -> str:
    """Take hosts parted by commas; return them without spaces."""
    return ",".join(str(ssh_host(part.strip())) for part in value.split(","))


def user_name(value: str) -> str:
    """Take the name of somebody who logs in."""
    if not re.fullmatch(SSH_USER, value):
        raise ValueError("is not a user name of letters, digits, -, _ and .")
    return value


def server_address(value: str) -> str:
    """Take the address of a server, `host[:port]`; return it as given."""
    if "://" in value:
        raise ValueError("is not name[:port]: leave out the scheme")
    host = value.removesuffix(f":{_port_of(value)}")
    if not HOST_NAME.fullmatch(host.lower()):
        raise ValueError("is not a host as name[:port], an IPv6 address in brackets")
    return value


def server_addresses(value: str) -> str:
    """Take servers to call, `host[:port]` parted by commas; return them in lower-case letters."""
    return ",".join(dict.fromkeys(_elsewhere(part.strip().lower()) for part in value.split(",")))


def _elsewhere(place: str) -> str:
    host = server_address(place).removesuffix(f":{_port_of(place)}").strip("[]")
    try:
        found = ip_address(host)
    except ValueError:
        here = host.rpartition(".")[2] == "localhost"
        if re.fullmatch(r"[0-9.]+", host):
            raise ValueError(f"holds {host}, which is neither a name nor an address") from None
    else:
        here = found.is_loopback or found.is_link_local or found.is_unspecified
    if here:
        raise ValueError(f"holds {host}, which is the machine itself, or what it asks who it is")
    return place


def key_file(value: str) -> str:
    """Take the path of a private key; return it absolute. Who uses it looks whether it is there."""
    path = os.path.expanduser(value)
    if not os.path.isabs(path):
        raise ValueError("is not an absolute path, nor one that begins with ~/")
    return path


def bucket_name(value: str) -> str:
    """Take the name of a bucket."""
    if not BUCKET_NAME.fullmatch(value):
        raise ValueError("is not 3 to 63 of a-z, 0-9, - and single dots, a-z or 0-9 at both ends")
    if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", value):
        raise ValueError("has the form of an IP address, which no bucket may have")
    if value.startswith(BUCKET_PREFIXES) or value.endswith(BUCKET_SUFFIXES):
        reserved = ", ".join([*BUCKET_PREFIXES, *BUCKET_SUFFIXES])
        raise ValueError(f"begins or ends with what S3 keeps for other things: {reserved}")
    return value


def s3_uri(value: str) -> str:
    """Take an S3 location: `s3://bucket` or `s3://bucket/prefix`."""
    if not value.startswith("s3://"):
        raise ValueError("is not an S3 location: write s3://bucket or s3://bucket/prefix")
    bucket, _, prefix = value.removeprefix("s3://").partition("/")
    try:
        bucket_name(bucket)
    except ValueError as problem:
        raise ValueError(f"names no valid bucket: {bucket!r} {problem}") from None
    if not S3_PREFIX.fullmatch(prefix):
        raise ValueError("has a prefix with characters that are unsafe in S3 keys")
    if {"", ".", ".."} & set(prefix.removesuffix("/").split("/")) and prefix:
        raise ValueError("has a prefix with an empty, . or .. part: write s3://bucket/prefix")
    return value.removesuffix("/")


def image_tag(value: str) -> str:
    """Take the tag of an image."""
    if not IMAGE_TAG.fullmatch(value):
        raise ValueError("is not a tag of an image")
    return value


def registry(value: str) -> str:
    """Take where images are pushed to: `host[:port]/path`."""
    server, slash, path = value.partition("/")
    if "://" in value or "@" in value:
        raise ValueError("is not host[:port]/path: leave out https://, user and password")
    host = server.removesuffix(f":{_port_of(server)}")
    if not HOST_NAME.fullmatch(host):
        raise ValueError("has no valid host name: write host[:port]/path in lower-case letters")
    if host != "localhost" and host == server and "." not in host:
        raise ValueError("has no dot or port in its host name: Docker takes that for Docker Hub's")
    if not slash or not all(REGISTRY_PATH.fullmatch(part) for part in path.split("/")):
        raise ValueError("has no valid path: write host[:port]/path in lower-case, without a tag")
    if len(value) > MAX_REGISTRY:
        raise ValueError(f"is longer than {MAX_REGISTRY} characters")
    return value


def recipients(value: str) -> str:
    """Take public keys of age, parted by commas; return them without spaces."""
    from pyrage import RecipientError, x25519

    if "AGE-SECRET-KEY-" in value.upper():
        raise ValueError("holds a private key, and only public ones, age1…, may be there")
    found = [part.strip() for part in value.split(",")]
    for part in found:
        try:
            x25519.Recipient.from_str(part)
        except RecipientError:
            raise ValueError("is not a list of public keys age1…, parted by commas") from None
    return ",".join(found)


def time_of_day(value: str) -> str:
    """Take a time of the day in UTC, `HH:MM`."""
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", value):
        raise ValueError("is not a time of the day such as 03:00")
    return value


def choice(*allowed: str) -> Callable[[str], str]:
    """Take one of the words given."""

    def parse(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"is not one of {', '.join(allowed)}")
        return value

    return parse


def choices(*allowed: str) -> Callable[[str], str]:
    """Take some of the words given, with commas between them."""
    one = choice(*allowed)

    def parse(value: str) -> str:
        return ",".join(dict.fromkeys(one(word.strip()) for word in value.split(",")))

    return parse


def words(value: str) -> str:
    """Take words with spaces between them."""
    return " ".join(word(each) for each in value.split())


def names(value: str) -> str:
    """Take names with commas between them; one may hold spaces."""
    found = [name.strip() for name in value.split(",")]
    if not all(found):
        raise ValueError("has nothing before or after a comma")
    return ",".join(found)


def flag(value: str) -> bool:
    """Take `true` or `false`."""
    return choice("true", "false")(value) == "true"


def workers(value: str) -> int:
    """Take a number of worker processes."""
    return count(1, MAX_WORKERS)(value)


def memory(value: str) -> str:
    """Take a size as Compose writes it: `512m`, `2g`."""
    found = MEMORY.fullmatch(value)
    if not found or int(found[1]) == 0:
        raise ValueError("is not a size such as 512m or 2g")
    return value


def readable_file(value: str) -> str:
    """Take the path of a file that is there; return it absolute."""
    path = os.path.expanduser(value)
    if not os.path.isabs(path) or not os.path.isfile(path) or not os.access(path, os.R_OK):
        raise ValueError("is not a readable file, by its absolute path")
    if re.search('[,"]', path):  # they part the words of `docker build --secret`
        raise ValueError("holds a comma or a double quote: give the file another name")
    return path


def folder(value: str) -> str:
    """Take the path of a folder that may not be there yet; a leading ~ is the home folder."""
    if os.path.expanduser(value).startswith("~"):
        raise ValueError("begins with the home folder of somebody this machine does not know")
    return value


def secret(value: str) -> Secret:
    """Take a value long enough to be a secret and plain enough for every file it goes into."""
    if len(value) < MIN_SECRET or not value.isascii() or re.search(r'[\s"]', value):
        raise ValueError(f"is not at least {MIN_SECRET} ASCII characters without spaces and quotes")
    return Secret(value)
