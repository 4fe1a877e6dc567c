"""What `.env` says is what Compose reads: every character that a setting may hold."""

import json
import random
import string
from pathlib import Path

from dotenv import dotenv_values

from ops import stack
from tests import lab
from tests.e2e.conftest import output

REFUSED = "'\\"
ALLOWED = [char for char in string.printable if char.isprintable() and char not in REFUSED]
TRAPS = [
    "pa$word",
    "${HOME}",
    "a${HOME}b",
    "$$",
    "a #b",
    "#a",
    "a#b",
    ' "quoted" ',
    '"',
    "a=b=c",
    " spaces around ",
    "größer 数据 🚀",
    "`id` $(id) ;|&<>",
    "export X=1",
    "{{.Go}} %s %(x)s",
    "*?[!a]~",
]


def test_compose_and_python_dotenv_read_every_value_alike(
    the_lab: lab.Lab,  # noqa: ARG001 - Compose comes from there
    tmp_path: Path,
) -> None:
    chance = random.Random(20261123)  # the same values in every run
    made = ["".join(chance.choices(ALLOWED, k=chance.randint(1, 60))) for _ in range(300)]
    values = {f"VALUE_{i}": text for i, text in enumerate([*TRAPS, *ALLOWED, *made])}
    file = tmp_path / "probe.env"
    file.write_text(stack.render_env(values), "utf-8")
    lines = "".join(f"      {key}: ${{{key}?}}\n" for key in values)
    (tmp_path / "probe.yaml").write_text(
        f"name: probe\nservices:\n  probe:\n    image: probe\n    environment:\n{lines}", "utf-8"
    )

    words = ["docker", "compose", "--env-file", str(file), "--file", str(tmp_path / "probe.yaml")]
    shown = json.loads(output(*words, "config", "--format", "json"))
    read = shown["services"]["probe"]["environment"]

    # `config` prints a file that Compose can read again: each $ is written twice.
    assert values == {key: text.replace("$$", "$") for key, text in read.items()}
    assert values == dotenv_values(file, interpolate=False)
