"""Run programs as lists of words; their children die with us."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

from .errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TAIL = 10  # lines of output that a failure shows


def leashed(words: Sequence[str]) -> list[str]:
    """Have the kernel end a child when this process is killed: it must not race the next run."""
    if shutil.which("setpriv") is None:
        return list(words)
    return ["setpriv", "--pdeathsig", "TERM", "--", *words]


def outcome(
    words: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run words to their end, whatever the exit code, and keep what they print."""
    try:
        return subprocess.run(
            leashed(words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **(environ or {})},
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(list(words), 124, "", f"no end after {seconds} s")


def works(*words: str, seconds: float | None = 30) -> bool:
    """Say whether a program exists and ends well."""
    return shutil.which(words[0]) is not None and outcome(words, seconds=seconds).returncode == 0


def run(
    *words: str,
    remedy: str,
    environ: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> str:
    """Run words, give their standard output, or raise with the last lines they printed."""
    if shutil.which(words[0]) is None:
        raise LabError(f"{words[0]} is not installed", remedy)
    done = outcome(words, environ=environ, seconds=seconds)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-TAIL:]
        cause = f"{shlex.join(words)} ended with code {done.returncode}"
        raise LabError("\n  ".join([cause, *said]), remedy)
    return done.stdout
