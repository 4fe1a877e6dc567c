"""Which images the engine has, and what their labels say of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .command import outcome

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Image:
    """An image that the engine has."""

    id: str
    labels: dict[str, str]


def present(names: Iterable[str]) -> dict[str, Image]:
    """Look up which of the named images the engine has."""
    form = "[{{json .RepoTags}},{{json .Id}},{{json .Config.Labels}}]"
    said = outcome(["docker", "image", "inspect", "--format", form, *names]).stdout
    found = {}
    for tags, identity, labels in map(json.loads, filter(str.strip, said.splitlines())):
        for tag in tags or []:
            found[tag] = Image(identity, labels or {})
    return found
