"""Programs that the end-to-end tests use and that cannot live in one environment with them."""

import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["environment"]

HERE = Path(__file__).parent


def environment(name: str, folder: Path) -> Path:
    """Make an environment of `NAME.txt` in a folder; return its folder of programs."""
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    made = folder / name
    words = ["--require-hashes", "--requirement", str(HERE / f"{name}.txt")]
    for line in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(made)],
        [uv, "pip", "install", "--quiet", "--python", str(made / "bin" / "python"), *words],
    ):
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
    return made / "bin"
