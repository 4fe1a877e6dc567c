"""Where a lab lives: the name that its parts carry and the folder of its keys."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping

LABEL = "mlflow-compose.lab"
DEFAULT_NAME = "mlflow-lab"
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True)
class Place:
    """The name and the state folder of one lab."""

    name: str
    folder: Path

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Place:
        """Read MLFLOW_LAB_NAME and MLFLOW_LAB_STATE."""
        name = environ.get("MLFLOW_LAB_NAME") or DEFAULT_NAME
        if not NAME.fullmatch(name):
            raise LabError(
                f"MLFLOW_LAB_NAME is {name!r}",
                "use at most 40 lower-case letters, digits and hyphens",
            )
        state = environ.get("MLFLOW_LAB_STATE") or "~/.cache/mlflow-compose-lab"
        return cls(name, Path(state).expanduser().absolute() / name)

    @property
    def label(self) -> str:
        """Give the label that every container, volume and network of this lab carries."""
        return f"{LABEL}={self.name}"

    def make(self) -> None:
        """Make the state folder, closed to others."""
        self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.mkdir(exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)

    def remove(self) -> None:
        """Remove the state folder, and the one around it if no other lab uses it."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.folder.parent.is_dir() and not any(self.folder.parent.iterdir()):
            self.folder.parent.rmdir()

    def write(self, name: str, text: str) -> Path:
        """Write a private file whole or not at all."""
        path = self.folder / name
        new = path.with_name(f".{path.name}.new")
        new.touch(mode=0o600)
        new.write_text(text)
        new.replace(path)
        return path
