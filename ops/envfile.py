"""Env files: the `.env` a person writes, and the form in which values are written back."""

import os
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from io import StringIO
from pathlib import Path

from dotenv.parser import Binding, parse_stream

__all__ = ["quote", "read", "with_values", "write_private"]


def quote(value: str) -> str:
    """Return `value` as an env file holds it, read alike by python-dotenv and Compose.

    Single quotes are the one form both take literally, `$` and `#` included; what even that form
    cannot carry is refused by `Settings` (docs/decisions/0004-one-env-dialect.md).
    """
    return f"'{value}'"


def write_private(file: Path, text: str, mode: int = 0o600) -> None:
    """Write `file` whole or not at all, readable as `mode` says from its first byte."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)  # the umask may have taken bits away
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def with_values(text: str, values: Mapping[str, str]) -> str:
    """Return the text of an env file that sets these keys; all else stays as it is."""
    left = dict(values)
    parts = []
    for binding in parse_stream(StringIO(text)):
        given = binding.original.string
        if binding.key in left:
            blank = given[: len(given) - len(given.lstrip("\n"))]
            given = f"{blank}{binding.key}={quote(left.pop(binding.key))}\n"
        parts.append(given)
    body = "".join(parts)
    body += "" if body.endswith("\n") or not body else "\n"
    return body + "".join(f"{key}={quote(value)}\n" for key, value in left.items())


def read(file: Path, known: Collection[str], problems: list[str]) -> Iterator[tuple[str, str]]:
    """Yield the `known` keys of an env file; append what is wrong with the rest to `problems`."""
    if not file.exists():
        return
    try:
        text = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f".env cannot be read as UTF-8: {error}")
        return
    if text.startswith("\ufeff"):
        problems.append(".env begins with a byte-order mark: save it as UTF-8 without one")
    if "\r" in text:
        problems.append(r".env has Windows line ends: sed -i 's/\r$//' .env")
    seen: dict[str, int] = {}
    for binding in parse_stream(StringIO(text.removeprefix("\ufeff"))):
        problem = _problem(binding, known, seen)
        if problem:
            problems.append(f".env line {_line(binding)}: {problem}")
        elif binding.key is not None and binding.value is not None:
            seen[binding.key] = _line(binding)
            yield binding.key, binding.value


def _problem(binding: Binding, known: Collection[str], seen: Mapping[str, int]) -> str | None:
    """Return what is wrong with a line of an env file, without its value: it may be a secret."""
    key = binding.key
    if binding.error:
        return "is not KEY=value"
    if key is None:
        return None
    if key not in known:
        near = get_close_matches(key.upper(), known, n=1)
        return f"unknown key {key}" + (f": did you mean {near[0]}?" if near else "")
    if binding.value is None:
        return f"{key} has no value: write {key}=… or remove the line"
    if key in seen:
        return f"{key} is set again: it is already set in line {seen[key]}"
    return None


def _line(binding: Binding) -> int:
    """Return the line of a binding; python-dotenv counts the blank lines before it in."""
    text = binding.original.string
    return binding.original.line + len(text[: len(text) - len(text.lstrip())].splitlines())
