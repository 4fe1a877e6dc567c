"""Where the access log is: in Docker's keeping, and, of containers that were replaced, in files.

Docker removes a container's log together with the container. So before NGINX's is replaced or
removed, its log goes into a file named after it: a second time, the same file is written.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from ops import stack
from ops.containers import Container
from ops.errors import OpsError
from ops.hosts import Host

__all__ = ["FOLDER", "keep", "keep_replaced", "read"]

FOLDER = "access"
"""The folder of those files, in the stack's own."""

KEPT_DAYS = 90
KEPT_BYTES = 1024**3
"""How long the files are kept, and how much room they take at most: the oldest go first."""

DEADLINE = 1800.0

LAG = timedelta(minutes=1)
"""By how much Docker may hear of a line later than NGINX wrote its time into it."""

# $1 the folder, $2 the container, $3 days, $4 bytes. On stdout a container of NGINX says requests,
# and nothing else; errors are on stderr.
KEEP = """
set -o pipefail
mkdir -p -m 700 "$1" && cd "$1" || exit 1
docker logs "$2" 2>/dev/null | gzip >"$2.part" && mv "$2.part" "$2.gz" || exit 1
find . -name '*.gz' -mtime "+$3" -exec rm {} +
total=0
for file in $(ls -t -- *.gz); do
    total=$((total + $(wc -c <"$file")))
    [ "$total" -le "$4" ] || rm "$file"
done
"""

# $1 the folder, $2 the container or "", $3 and $4 from when to when, $4 may be "", then what grep
# is told. The oldest file comes first; that of a container still there would say all twice.
READ = """
set -o pipefail
export LC_ALL=C
{
    for file in $(cd "$1" 2>/dev/null && ls -tr -- *.gz 2>/dev/null); do
        [ "$file" != "$2.gz" ] && [ -n "$(find "$1/$file" -newermt "$3")" ] || continue
        gzip --decompress --stdout "$1/$file" || exit 1
    done
    [ -z "$2" ] || docker logs --since "$3" ${4:+--until "$4"} "$2" 2>/dev/null
} | { shift 4; grep --text --fixed-strings "$@" || [ $? -eq 1 ]; }
"""


def keep_replaced(
    host: Host, folder: str, found: Sequence[Container], wanted: Sequence[str]
) -> None:
    """Keep the log of NGINX if Compose would replace its container now.

    `wanted` is a command that prints the hash of its configuration, as Compose compares it.
    """
    for each in found:
        if each.service == "nginx":
            hashed = host.run(wanted).out.strip().removeprefix("nginx").strip()
            image = host.run(("docker", "image", "inspect", "--format={{.Id}}", stack.NGINX_IMAGE))
            if (hashed, image.out.strip()) != (each.config_hash, each.image):
                keep(host, folder, found)


def keep(host: Host, folder: str, found: Sequence[Container]) -> None:
    """Put the log of NGINX's container, which is about to go, into a file of the stack's folder."""
    for each in found:
        if each.service == "nginx":
            _keep(host, folder, each.identity)


def _keep(host: Host, folder: str, container: str) -> None:
    words = ("bash", "-c", KEEP, "keep", f"{folder}/{FOLDER}", container)
    done = host.run((*words, str(KEPT_DAYS), str(KEPT_BYTES)), deadline=DEADLINE)
    if done.code != 0:
        said = done.err.strip() or "Docker does not give it"
        raise OpsError(
            f"cannot keep the access log on {host.name}: {said}",
            "see whether its disk is full: invoke doctor",
        )


def read(
    host: Host,
    folder: str,
    container: str,
    on_line: Callable[[str], None],
    *,
    span: tuple[datetime, datetime | None],
    holding: Sequence[str],
) -> None:
    """Hand on the lines of a time that hold one of these texts, the oldest first.

    What is older or later may be among them.
    """
    ends = (span[0], span[1] + LAG if span[1] else None)
    since, until = (f"{each:%Y-%m-%dT%H:%M:%SZ}" if each else "" for each in ends)
    patterns = [word for text in holding for word in ("-e", text)]
    words = ("bash", "-c", READ, "read", f"{folder}/{FOLDER}", container, since, until, *patterns)
    if host.follow(words, on_line).code != 0:
        raise OpsError(
            f"cannot read the access log on {host.name}", "look at its Docker Engine: docker info"
        )
