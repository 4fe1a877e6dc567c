"""What a benchmark found, as a table and a picture for docs/performance.md."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from xml.sax.saxutils import escape

__all__ = ["BEGIN", "END", "Figure", "Goal", "chart", "document", "report"]

BEGIN = "<!-- measured: written by `nox -s bench -- server` -->"
END = "<!-- measured: end -->"


@dataclass(frozen=True)
class Goal:
    """What a figure should be at least, or at most."""

    bound: float
    at_least: bool = True
    unit: str = ""

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:.3g}{self.unit}"

    def met(self, value: float) -> bool:
        """Whether a value is good enough."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True)
class Figure:
    """A ratio of ours to theirs, one value a round; with a unit, a figure of ours alone."""

    name: str
    values: Sequence[float]
    goal: Goal | None = None
    unit: str = ""

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.values)

    @property
    def verdict(self) -> str:
        """Whether the goal is met, and how surely."""
        if self.goal is None:
            return ""
        met = [self.goal.met(value) for value in self.values]
        if all(met):
            return "yes"
        return "by the median" if self.goal.met(self.middle) else "no"

    def gain(self, value: float) -> float:
        """How many times better ours is: of what should be little, the ratio upside down."""
        return value if self.goal is None or self.goal.at_least else 1 / value

    def row(self) -> str:
        """Return the figure as a row of a table."""
        wanted = str(self.goal) if self.goal else ""
        low, high = shown(min(self.values)), shown(max(self.values))
        cells = (
            f"{self.name} {wanted}".strip(),
            f"{shown(self.middle)}{self.unit}",
            f"{low} to {high}{self.unit}",
            *([self.verdict] if self.goal else []),
        )
        return f"| {' | '.join(cells)} |"


def shown(value: float) -> str:
    """Return a number with as many digits as say something."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def report(figures: Sequence[Figure], *, where: str, picture: str, notes: Sequence[str]) -> str:
    """Return what goes between the markers: `where` is the day and the machine."""
    goals = [figure for figure in figures if figure.goal]
    others = [figure for figure in figures if not figure.goal]
    lines = [where, "", f"![how many times better, by goal]({picture})", ""]
    lines += ["| Goal | Measured | Spread | Met? |", "| --- | --- | --- | --- |"]
    lines += [figure.row() for figure in goals]
    if others:
        lines += ["", "Of p99, memory and seconds, less is better.", ""]
        lines += ["| Beside the goals | Measured | Spread |", "| --- | --- | --- |"]
        lines += [figure.row() for figure in others]
    if notes:
        lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines)


def document(text: str, measured: str) -> str:
    """Return a page with another text between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no {BEGIN} with {END} below it")
    return f"{before}{BEGIN}\n\n{measured}\n\n{END}{after}"


# --- The picture ---

LEFT, RIGHT, WIDTH = 380, 60, 900
TOP, STEP, BAR = 40, 26, 14
MARKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

# Readable on white and on black: a picture in a page does not know which one it lies on.
GREY, FAINT, BLUE, ORANGE = "#757d87", "#757d8755", "#3b82c4", "#d9822b"


@dataclass(frozen=True)
class Scale:
    """Factors as places on a line: equal steps are equal ratios."""

    marks: Sequence[float]

    @classmethod
    def of(cls, factors: Sequence[float]) -> "Scale":
        """Return the shortest that has all factors on it, and a half to two."""
        low, high = min(0.5, *factors), max(2, *factors)
        first = max((mark for mark in MARKS if mark <= low), default=MARKS[0])
        last = min((mark for mark in MARKS if mark >= high), default=MARKS[-1])
        return cls([mark for mark in MARKS if first <= mark <= last])

    def at(self, factor: float) -> float:
        """Return where a factor is; what is beyond the line is at its end."""
        first, last = self.marks[0], self.marks[-1]
        inside = min(max(factor, first), last)
        share = math.log(inside / first) / math.log(last / first)
        return LEFT + share * (WIDTH - LEFT - RIGHT)


def chart(figures: Sequence[Figure]) -> str:
    """Return the ratios as bars: how many times better, with spread and goal; as SVG."""
    bars = [figure for figure in figures if figure.goal and not figure.unit]
    gains = [figure.gain(value) for figure in bars for value in figure.values]
    goals = [figure.gain(figure.goal.bound) for figure in bars if figure.goal]
    scale = Scale.of([*gains, *goals])
    height = TOP + STEP * len(bars) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        '<g font-family="sans-serif" font-size="13">',
        "<title>How many times better than the stack of articles</title>",
    ]
    for mark in scale.marks:
        x = f"{scale.at(mark):.1f}"
        colour = GREY if mark == 1 else FAINT
        parts += [
            f'<line x1="{x}" y1="{TOP - 8}" x2="{x}" y2="{height - 30}" stroke="{colour}"/>',
            _text(x, TOP - 14, f"{mark:g}×", "middle"),
        ]
    for number, figure in enumerate(bars):
        parts += _bar(figure, scale, TOP + STEP * number + STEP / 2)
    legend = "bar: median of the rounds · line: least to most · orange: the goal"
    parts += [_text(LEFT, height - 8, legend), "</g></svg>"]
    return "\n".join(parts) + "\n"


def _bar(figure: Figure, scale: Scale, y: float) -> list[str]:
    assert figure.goal
    zero, end = scale.at(1), scale.at(figure.gain(figure.middle))
    low, high = sorted(scale.at(figure.gain(value)) for value in _ends(figure.values))
    goal = scale.at(figure.gain(figure.goal.bound))
    left, width = min(zero, end), max(abs(end - zero), 1)
    bar = f'x="{left:.1f}" y="{y - BAR / 2:g}" width="{width:.1f}" height="{BAR}"'
    return [
        _text(LEFT - 10, y + 4, figure.name, "end"),
        f'<rect {bar} fill="{BLUE}"/>',
        f'<path d="M{low:.1f} {y:g}H{high:.1f}" stroke="{GREY}" stroke-width="3"/>',
        f'<path d="M{goal:.1f} {y - 10:g}v20" stroke="{ORANGE}" stroke-width="3"/>',
        _text(WIDTH - RIGHT + 10, y + 4, f"{shown(figure.gain(figure.middle))}×"),
    ]


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


def _text(x: float | str, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y:g}" fill="{GREY}" text-anchor="{anchor}">{escape(text)}</text>'
