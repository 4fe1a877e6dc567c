"""MLflow started on a restored database, and what it reads there (ops/reader.py)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops import console, secret_files
from ops.errors import OpsError, from_output
from ops.scratch import Scratch

__all__ = ["Reading", "differences", "have"]

Json = Any
"""Whatever JSON can hold."""

PROGRAM = Path(__file__).with_name("reader.py")
MIGRATION_FAILED = 3
"""As in that file, which stands apart."""

SECONDS = 12 * 3600.0
"""How long it may take: a migration of a large database is hours."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What MLflow said: seconds by stage, and answers by what was asked."""

    seconds: dict[str, float]
    answers: dict[str, Json]

    @property
    def counts(self) -> dict[str, int]:
        """How much was read, by kind."""
        runs = {name for name in self.answers if name.startswith("run ")}
        histories = [self.answers[name] for name in self.answers if name.startswith("metric ")]
        return {
            "experiments": len(self.answers["experiments"].get("experiments", [])),
            "runs": len(runs),
            "points": sum(len(each.get("metrics", [])) for each in histories),
            "models": len(self.answers["models"].get("registered_models", [])),
        }


def have(made: Scratch, image: str, stages: Sequence[str], label: str) -> Reading:
    """Have an MLflow do these stages on a database that runs as `made.server()`.

    `label` is what a person is told meanwhile. Raises what the migration job says where that one
    failed, else what MLflow said last.
    """
    settings = made.settings
    passphrase = settings.kek_passphrase
    assert passphrase is not None
    given = {
        "stages": list(stages),
        "client": secret_files.option_file("mlflow", settings.mysql_password),
        "passphrase": passphrase.reveal(),
        "auth": settings.auth,
        "auth_config": secret_files.login_secrets(settings)["auth_config"],
    }
    words = (
        *("docker", "run", "--rm", "--interactive", f"--name={made.reader}"),
        f"--network=container:{made.container}",
        *(*made.labelled, "--entrypoint=python", "--tmpfs=/tmp:mode=1777"),
        *("--tmpfs=/run/secrets:mode=1777", image, "-c", PROGRAM.read_text("utf-8")),
    )
    with console.progress(label):
        done = made.host.run(words, stdin=json.dumps(given).encode(), deadline=SECONDS)
    if done.code == MIGRATION_FAILED:
        said = from_output(done.code, done.err)
        raise OpsError(said.cause, said.remedy)
    if done.code != 0:
        raise OpsError(
            f"MLflow does not read the restored database: {done.err.strip()[-1500:]}",
            "see whether this folder's MLflow fits that backup: invoke list-backups --json",
        )
    try:
        return Reading(**json.loads(done.out.strip().rpartition("\n")[2]))
    except (ValueError, TypeError):
        raise OpsError(
            f"MLflow's image did not say what it read: {done.out[-200:]!r}",
            "see whether it is of this version: invoke build",
        ) from None


def differences(before: Reading, after: Reading) -> list[str]:
    """Return what was answered otherwise afterwards; what only then was answered is none."""
    lines = []
    for name, said in before.answers.items():
        now = after.answers.get(name)
        if said is not None and now is not None:
            lines += [f"{name}: {line}" for line in _unlike(said, now, "")]
        elif said is not None:
            lines.append(f"{name}: not answered any more")
    return lines


def _unlike(before: Json, after: Json, where: str) -> Iterator[str]:
    """Yield where two values of JSON are unlike; of objects only what the first one has."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key not in after:
                yield f"{where}.{key} is gone, was {_short(value)}"
            else:
                yield from _unlike(value, after[key], f"{where}.{key}")
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{where} has {len(after)} entries, had {len(before)}"
            return
        yield from _unlike_lists(before, after, where)
    elif before != after:
        yield f"{where} is {_short(after)}, was {_short(before)}"


def _unlike_lists(before: list[Json], after: list[Json], where: str) -> Iterator[str]:
    """Yield where two lists of one length are unlike, in whatever order they are.

    No version promises one of tags or of inputs: 3.14 and 3.17 give them in another.
    """
    left = dict(enumerate(after))
    odd = []
    for number, value in enumerate(before):
        near = sorted(left, key=number.__ne__)  # what is at the same place first
        same = next((at for at in near if next(_unlike(value, left[at], ""), None) is None), None)
        if same is None:
            odd.append(number)
        else:
            del left[same]
    for number, other in zip(odd, left.values(), strict=True):
        yield from _unlike(before[number], other, f"{where}[{number}]")


def _short(value: Json) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
