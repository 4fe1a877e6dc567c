"""What a person sees: results on stdout, all else on stderr, progress where there is a terminal."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = [
    "ask",
    "ask_hidden",
    "duration",
    "marked",
    "piped",
    "progress",
    "result",
    "result_json",
    "say",
    "size",
    "steps",
    "transfer",
]

KIB = 1024


def result(text: str) -> None:
    """Print a result, for the person or for the next program in a pipe."""
    print(text, flush=True)


def marked(mark: str, colour: str, text: str) -> None:
    """Print a result whose first word has a colour, on a terminal and without NO_COLOR."""
    from rich.console import Console
    from rich.text import Text

    Console(highlight=False).print(Text.assemble((mark, colour), text), soft_wrap=True)


def result_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print a result as one JSON document."""
    result(json.dumps(value, indent=2))


def say(text: str) -> None:
    """Tell the person something that is not the result."""
    print(text, file=sys.stderr, flush=True)


def ask(question: str) -> str | None:
    """Return what the person answers, or None where there is nobody to ask."""
    if not sys.stdin.isatty():
        return None
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def ask_hidden(question: str) -> str | None:
    """Return what the person types unseen, or None where there is nobody to ask."""
    if not sys.stdin.isatty():
        return None
    from getpass import getpass

    try:
        return getpass(question, sys.stderr)
    except EOFError:
        return ""


def piped() -> str:
    """Return the line that another program hands over, without its end."""
    return sys.stdin.readline().rstrip("\r\n")


@contextmanager
def progress(label: str) -> Iterator[Callable[[str], None]]:
    """Show that `label` is under way, then how long it took; the yielded function adds a detail.

    Without a terminal: one plain line at the end.
    """
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, highlight=False)
    begin = time.monotonic()
    with console.status(escape(label)) as status:

        def detail(line: str) -> None:
            room = max(console.width - len(label) - 8, 10)
            text = " ".join(line.split())[:room]
            status.update(f"{escape(label)} [dim]{escape(text)}[/dim]")

        yield detail
    say(f"{label} ({duration(time.monotonic() - begin)})")


@contextmanager
def transfer(label: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """Show a transfer: a bar on a terminal; at the end one line with bytes, time and rate.

    The yielded function is told how many more bytes of `total` were read, and how many more went
    out: packed, these are fewer.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    begin = time.monotonic()
    sent = 0
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[sent]}"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        task = shown.add_task(escape(label), total=total, sent="")

        def moved(read: int, out: int) -> None:
            nonlocal sent
            sent += out
            shown.update(task, advance=read, sent=_rate(sent, time.monotonic() - begin))

        yield moved
    seconds = time.monotonic() - begin
    say(f"{label} ({_rate(sent, seconds)}, {duration(seconds)})")


@contextmanager
def steps() -> Iterator[Callable[[str, int, int], None]]:
    """Show one step after another, each with a bar on a terminal and at its end a line.

    The yielded function is told the step, and how many bytes of how many are done.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    label, begin = "", time.monotonic()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as shown:
        task = shown.add_task("", visible=False)

        def step(name: str, done: int, total: int) -> None:
            nonlocal label, begin
            if name != label:
                if label:
                    console.print(f"{label} ({duration(time.monotonic() - begin)})", markup=False)
                label, begin = name, time.monotonic()
                shown.reset(task, description=escape(name), visible=True)
            shown.update(task, completed=done, total=total or None)

        yield step
    if label:
        say(f"{label} ({duration(time.monotonic() - begin)})")


def _rate(count: int, seconds: float) -> str:
    return f"{size(count)}, {size(count / max(seconds, 0.001))}/s"


def duration(seconds: float) -> str:
    """Return a time span as a person reads it: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min, 4 d 3 h."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def size(count: float) -> str:
    """Return a number of bytes as a person reads it, in binary units."""
    for unit in ("B", "KiB", "MiB"):
        if count < KIB:
            return f"{count:.0f} {unit}"
        count /= KIB
    return f"{count:.1f} GiB"
