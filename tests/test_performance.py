from xml.etree import ElementTree as ET

import pytest

from tests import performance
from tests.conftest import ROOT
from tests.performance import BEGIN, END, Figure, Goal

READS = Figure("reads, 16 clients", [3.4, 2.9, 3.1], Goal(3))
MEMORY = Figure("memory at rest", [0.21, 0.25], Goal(0.35, at_least=False))
REPEAT = Figure("repeat load", [61.0], Goal(50, at_least=False, unit=" kB"), " kB")
ALONE = Figure("reads, 1 client", [120.4])


@pytest.mark.parametrize(
    ("figure", "row"),
    [
        (READS, "| reads, 16 clients ≥ 3 | 3.10 | 2.90 to 3.40 | by the median |"),
        (MEMORY, "| memory at rest ≤ 0.35 | 0.23 | 0.21 to 0.25 | yes |"),
        (REPEAT, "| repeat load ≤ 50 kB | 61.0 kB | 61.0 to 61.0 kB | no |"),
        (ALONE, "| reads, 1 client | 120 | 120 to 120 |"),
    ],
)
def test_a_row_says_median_spread_and_whether_the_goal_is_met(figure: Figure, row: str) -> None:
    assert row == figure.row()


def test_a_goal_that_most_rounds_miss_is_not_met() -> None:
    assert "no" == Figure("reads", [3.4, 2.9, 2.8], Goal(3)).verdict


def test_the_report_has_goals_first_and_what_is_to_be_known_last() -> None:
    made = performance.report(
        [ALONE, READS], where="On a day.", picture="a.svg", notes=["12 requests failed"]
    )

    assert made.startswith("On a day.\n\n![how many times better, by goal](a.svg)\n\n| Goal |")
    assert made.index(READS.row()) < made.index(ALONE.row())
    assert made.endswith("\n- 12 requests failed")


def test_only_what_is_between_the_markers_is_written_anew() -> None:
    page = f"# Title\n\n{BEGIN}\n\nold\n\n{END}\n\nmore\n"

    made = performance.document(page, "new")

    assert f"# Title\n\n{BEGIN}\n\nnew\n\n{END}\n\nmore\n" == made
    assert made == performance.document(made, "new")


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="has no"):
        performance.document(f"# Title\n\n{BEGIN}\n", "new")


def test_the_page_has_the_markers() -> None:
    page = (ROOT / "docs" / "performance.md").read_text("utf-8")

    assert "\nnew\n" in performance.document(page, "new")


# --- The picture ---


def drawn(*figures: Figure) -> ET.Element:
    return ET.fromstring(performance.chart(figures))


def named(picture: ET.Element, tag: str) -> list[ET.Element]:
    return picture.findall(f".//{{http://www.w3.org/2000/svg}}{tag}")


def test_the_picture_has_a_bar_for_each_ratio_with_a_goal_and_no_other() -> None:
    picture = drawn(READS, MEMORY, REPEAT, ALONE)

    texts = [text.text for text in named(picture, "text")]
    assert 2 == len(named(picture, "rect"))
    assert {"reads, 16 clients", "3.10×", "memory at rest", "4.35×"} <= {*texts}
    assert "repeat load" not in texts


def test_less_of_what_should_be_little_is_a_longer_bar() -> None:
    little = Figure("little", [0.1], Goal(0.5, at_least=False))

    first, second = named(drawn(little, MEMORY), "rect")

    assert float(first.attrib["width"]) > float(second.attrib["width"])


def test_what_is_worse_than_theirs_goes_to_the_left() -> None:
    picture = drawn(Figure("worse", [0.5], Goal(2)), Figure("better", [2.0], Goal(2)))

    worse, better = named(picture, "rect")

    end = float(worse.attrib["x"]) + float(worse.attrib["width"])
    assert end == pytest.approx(float(better.attrib["x"]))


@pytest.mark.parametrize("factor", [0.2, 1.0, 40.0, 5000.0])
def test_whatever_was_measured_is_drawn_inside_the_picture(factor: float) -> None:
    picture = drawn(Figure("any <name> & more", [factor], Goal(3)))

    [bar] = named(picture, "rect")
    right = float(bar.attrib["x"]) + float(bar.attrib["width"])
    assert performance.LEFT <= float(bar.attrib["x"]) <= right <= performance.WIDTH
