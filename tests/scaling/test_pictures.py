"""The geometry of pictures: every box and bar where it belongs, none over another, and all within the canvas."""

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.errors import UsageError
from aira_bench.scaling.aggregate import LayerVote
from aira_bench.scaling.notation import SYMBOLS
from aira_bench.scaling.pictures import IntervalRow, intervals_svg, strip_svg, votes_svg, write_picture

SVG = "{http://www.w3.org/2000/svg}"
PATTERNS = st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=150)


@dataclass(frozen=True)
class Box:
    x: float
    y: float
    width: float
    height: float
    fill: str
    title: str

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    def overlaps(self, other: "Box") -> bool:
        beside = self.right <= other.x or other.right <= self.x
        return (
            not beside and self.bottom > other.y + 0.011 and other.bottom > self.y + 0.011
        )  # figures have two decimals


def boxes_of(svg: str) -> tuple[list[Box], float, float]:
    """The rectangles that stand for layers or shares, and the size of the canvas."""
    root = ET.fromstring(svg)
    found = [
        Box(*(float(rect.get(name, "nan")) for name in ("x", "y", "width", "height")), rect.get("fill", ""), title)
        for rect in root.iter(f"{SVG}rect")
        if (title := rect.findtext(f"{SVG}title"))
    ]
    return found, float(root.get("width", "nan")), float(root.get("height", "nan"))


def legend_of(svg: str) -> dict[str, str]:
    """Colour by the text beside it, of the squares without a title below a picture."""
    root = ET.fromstring(svg)
    children = list(root)
    return {
        after.text or "": rect.get("fill", "")
        for rect, after in pairwise(children)
        if rect.tag == f"{SVG}rect" and rect.get("width") == "12" and after.tag == f"{SVG}text"
    }


def hold_no_overlap(boxes: list[Box], width: float, height: float) -> None:
    for box in boxes:
        assert box.x >= 0
        assert box.right <= width
        assert box.y >= 0
        assert box.bottom <= height
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other), (one, other)


@given(PATTERNS)
@settings(max_examples=30)
def test_a_strip_reads_like_a_text(pattern: list[str]) -> None:
    svg = strip_svg(pattern, "a strip")
    boxes, width, height = boxes_of(svg)
    assert [box.title.partition(":")[0] for box in boxes] == [f"layer {n}" for n in range(1, len(pattern) + 1)]
    assert [(box.y, box.x) for box in boxes] == sorted((box.y, box.x) for box in boxes)
    rows = [sum(box.y == y for box in boxes) for y in sorted({box.y for box in boxes})]
    assert rows == [64] * (len(pattern) // 64) + ([len(pattern) % 64] if len(pattern) % 64 else [])
    assert len({box.height for box in boxes}) == len({box.width for box in boxes}) == 1
    colours = {box.title.partition(": ")[2]: box.fill for box in boxes}
    legend = legend_of(svg)
    assert len(set(legend.values())) == len(SYMBOLS)
    assert all(legend[label] == colour for label, colour in colours.items())
    hold_no_overlap(boxes[:64] + boxes[-64:] if len(boxes) > 128 else boxes, width, height)


@st.composite
def layer_votes(draw: st.DrawFn) -> LayerVote:
    weights = draw(st.lists(st.integers(0, 9), min_size=len(SYMBOLS), max_size=len(SYMBOLS)).filter(any))
    shares = {symbol: Fraction(weight, sum(weights)) for symbol, weight in zip(SYMBOLS, weights, strict=True) if weight}
    return LayerVote(max(shares, key=lambda symbol: shares[symbol]), shares, sum(weights), 0)


@given(st.lists(layer_votes(), min_size=1, max_size=20))
@settings(max_examples=40)
def test_bars_are_as_high_as_the_shares_they_stand_for(votes: list[LayerVote]) -> None:
    svg = votes_svg(votes, "votes")
    boxes, width, height = boxes_of(svg)
    hold_no_overlap([box for box in boxes if box.height], width, height)
    for number, vote in enumerate(votes, start=1):
        bar = [box for box in boxes if box.title.startswith(f"layer {number}: ")]
        assert len({box.x for box in bar}) == 1, "the shares of a layer stand on each other"
        assert sum(box.height for box in bar) == pytest.approx(160, abs=0.02)
        by_label = {box.title.split(": ")[1]: box for box in bar}
        for symbol, letter in zip(SYMBOLS, ("A", "M", "Mb"), strict=True):
            share = vote.shares.get(symbol, Fraction(0))
            assert by_label[letter].height == pytest.approx(float(share) * 160, abs=0.01)
            assert by_label[letter].title.endswith(f"{float(share):.0%}")
    lefts = [box.x for box in boxes[:: len(SYMBOLS)]]
    assert lefts == sorted(set(lefts))


def test_letters_and_numbers_stand_at_their_bars() -> None:
    votes = [LayerVote("mA", {"mA": Fraction(1)}, 1, 0), LayerVote("Mb", {"Mb": Fraction(1)}, 1, 0)]
    svg = votes_svg(votes, "votes")
    boxes, _, _ = boxes_of(svg)
    texts = [
        (float(text.get("x", "nan")), float(text.get("y", "nan")), text.text)
        for text in ET.fromstring(svg).iter(f"{SVG}text")
    ]
    for index, letter in enumerate(("A", "Mb")):
        bar = boxes[index * len(SYMBOLS)]
        (above,) = [entry for entry in texts if entry[2] == letter]
        (below,) = [entry for entry in texts if entry[2] == str(index + 1)]
        assert bar.x <= above[0] <= bar.right
        assert bar.x <= below[0] <= bar.right
        assert above[1] < bar.y
        assert below[1] > bar.y + 160


@pytest.mark.parametrize("caption", ["<script>alert(1)</script>", "a & b", 'say "hi"', "naïve ✓"])
def test_a_caption_is_text_and_nothing_else(caption: str, tmp_path: Path) -> None:
    path = tmp_path / "strip.svg"
    write_picture(path, strip_svg(["mA"], caption))
    data = path.read_bytes()
    assert data.isascii()
    root = ET.fromstring(data)
    assert root.findtext(f"{SVG}title") is not None
    assert not list(root.iter(f"{SVG}script"))
    assert "<script>" not in data.decode()


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        write_picture(tmp_path / "absent" / "a.svg", "<svg/>")


FLOATS = st.floats(-5, 5)


@given(st.lists(st.tuples(FLOATS, FLOATS, st.booleans()), min_size=1, max_size=8))
def test_every_interval_lies_within_the_picture_and_holds_its_mean(rows: list[tuple[float, float, bool]]) -> None:
    """Half of the rows have no interval: theirs goes from border to border."""
    drawn = [
        IntervalRow(f"<{number}>", (mean,), mean, *((None, None) if is_open else (mean - half**2, mean + half**2)), "?")
        for number, (mean, half, is_open) in enumerate(rows)
    ]  # fmt: skip
    root = ET.fromstring(intervals_svg(drawn, "differences", "nats"))
    width = float(root.get("width", "nan"))
    (zero, *lines), circles = root.findall(f"{SVG}line"), root.findall(f"{SVG}circle")
    assert len(lines) == len(rows)
    assert len(circles) == 2 * len(rows)
    for line, circle, row in zip(lines, circles[1::2], drawn, strict=True):
        left, right, mean = (float(each) for each in (line.get("x1", ""), line.get("x2", ""), circle.get("cx", "")))
        assert 0 < left <= mean + 0.11
        assert mean - 0.11 <= right < width
        assert (row.low is None) == (right - left > 335)
        assert 0 < float(zero.get("x1", "")) < width
