"""Curves as standalone HTML: an inline SVG that stretches to its column, with labels beside it that keep their size.

The SVG holds only lines, in a square of 1000 units drawn with strokes that do not scale; ticks and names are HTML placed in
per cent. So a chart is sharp on a wide screen and readable on a phone, and needs no script. The points travel along as
JSON for the cursor of the page's script (train/page.py).
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from train.page import fill

BINS = 320  # a longer curve is drawn as a band from the least to the greatest value of each bin, and a smooth line
SMOOTHING = 40  # the smooth line is a mean over a fortieth of the curve on either side
SIZE = 1000

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """One curve. `tone` picks its colour (1 to 5); "line" is smoothed over its noise, "plain" and "dots" are not."""

    label: str
    points: Sequence[tuple[float, float | None]]
    tone: int = 1
    kind: str = "line"

    def finite(self) -> list[Point]:
        """The points that can be drawn."""
        return [(x, y) for x, y in self.points if y is not None and math.isfinite(y)]


@dataclass(frozen=True)
class Chart:
    """A figure: its curves, level lines (label, value), and marks on the step axis (step, what happened)."""

    ident: str
    title: str
    series: Sequence[Series]
    note: str = ""
    unit: str = ""  # "%": values are shares; anything else follows the number
    levels: Sequence[tuple[str, float]] = ()
    marks: Sequence[tuple[int, str]] = ()
    clip: bool = False  # let the first steps leave the frame rather than flatten the rest
    zero: bool = False  # the axis begins at 0
    log: bool = False  # a logarithmic axis, where the values allow it
    wide: bool = False
    digits: int = 3
    steps: tuple[float, float] | None = None
    axis: str = "step"  # what runs from left to right


@dataclass(frozen=True)
class Scale:
    """From values to the units of the square, linearly or by their logarithm; up is up."""

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """The share of the axis, 0 to 1 inside it.

        >>> Scale(0.0, 4.0).at(1.0), Scale(1.0, 100.0, log=True).at(10.0)
        (0.25, 0.5)
        """
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return (math.log(max(value, 1e-300)) - low) / (high - low)
        return (value - self.low) / (self.high - self.low)


def draw(chart: Chart) -> Markup:
    """The figure of a chart, or nothing when there is not a single point to draw."""
    series = [(curve, binned(curve.finite())) for curve in chart.series]
    series = [(curve, bins) for curve, bins in series if bins]
    if not series:
        return Markup("")
    lines = [
        (curve, bins, smooth(bins) if curve.kind == "line" else [(x, mean) for x, mean, _, _ in bins])
        for curve, bins in series
    ]
    xs = [x for _, bins, _ in lines for x, *_ in bins]
    first, last = chart.steps or (min(xs), max(xs))
    across = Scale(first, last if last > first else first + 1)
    up, above = vertical(chart, lines)

    shapes = [("grid", f"M0 {at(1 - up.at(tick))}H{SIZE}") for tick in ticks(up)]
    shapes += [("mark", f"M{at(across.at(step))} 0V{SIZE}") for step, _ in chart.marks]
    shapes += [("level", f"M0 {at(1 - up.at(value))}H{SIZE}") for _, value in chart.levels]
    for curve, bins, line in lines:
        shapes += strokes(curve, bins, line, across, up)
    marks = [("y", "bottom", percent(up.at(tick)), rounded(tick, ticks(up), chart)) for tick in ticks(up)]
    marks += [
        ("x", "left", percent(across.at(tick)), f"{tick:,.0f}") for tick in ticks(across, 5) if tick == round(tick)
    ]
    levels = [(percent(up.at(value)), label, written(value, chart)) for label, value in chart.levels]
    keys = [
        {"tone": curve.tone, "kind": curve.kind, "label": curve.label, "value": written(line[-1][1], chart)}
        for curve, _, line in lines
    ]
    notes = [note for note in (chart.note, above) if note]
    data = {
        "x": [across.low, across.high],
        "y": [up.low, up.high, up.log],
        "unit": chart.unit,
        "digits": chart.digits,
        "axis": chart.axis,
        "series": [
            {"label": curve.label, "tone": curve.tone, "points": [[round(x), short(y)] for x, y in line]}
            for curve, _, line in lines
        ],
    }
    curves = json.dumps(data, separators=(",", ":"))
    note = f"{'. '.join(notes)}." if notes else ""
    return fill(
        "charts",
        "figure",
        re.sub(r"[^\w-]+", "-", chart.ident),
        chart.wide,
        chart.title,
        keys,
        spoken(chart, lines),
        curves,
        shapes,
        marks,
        levels,
        note,
    )


def binned(points: Sequence[Point], bins: int = BINS) -> list[tuple[float, float, float, float]]:
    """(x, mean, least, greatest) of at most `bins` runs of neighbouring points.

    >>> binned([(1, 2.0), (2, 4.0), (3, 9.0)], 2)
    [(1.5, 3.0, 2.0, 4.0), (3.0, 9.0, 9.0, 9.0)]
    """
    size = max(-(-len(points) // bins), 1)
    found = []
    for start in range(0, len(points), size):
        run = points[start : start + size]
        values = [y for _, y in run]
        found.append((sum(x for x, _ in run) / len(run), sum(values) / len(run), min(values), max(values)))
    return found


def smooth(bins: Sequence[tuple[float, float, float, float]]) -> list[Point]:
    """Means over a window around each bin; towards the steep start it narrows, so that nothing is dragged along."""
    reach = len(bins) // SMOOTHING
    line = []
    for index, (x, *_) in enumerate(bins):
        width = min(reach, index)
        window = bins[index - width : index + width + 1]
        line.append((x, sum(mean for _, mean, _, _ in window) / len(window)))
    return line


def vertical(chart: Chart, lines: Sequence[tuple[Series, Sequence, Sequence[Point]]]) -> tuple[Scale, str]:
    """The vertical scale, and a sentence about what lies above the frame when the chart may be clipped.

    It holds every line and level, and the noise but for its outermost hundredth.
    """
    levels = [value for _, value in chart.levels]
    means = sorted(y for _, _, line in lines for _, y in line)
    lows = sorted(low for _, bins, _ in lines for *_, low, _ in bins)
    highs = sorted(high for _, bins, _ in lines for *_, high in bins)
    low = min([means[0], lows[len(lows) // 100], *levels])
    high = max([means[-1], highs[-1 - len(highs) // 100], *levels])
    above = ""
    if chart.clip and len(means) > 20:
        frame = max([means[int(0.94 * len(means))], *levels])
        frame += 0.15 * (frame - low)
        if high - low > 1.6 * (frame - low):
            above, high = f"The first steps are above the frame, up to {written(means[-1], chart)}", frame
    if chart.log and low > 0 and high > 4 * low:
        return Scale(low / 1.1, high * 1.1, log=True), above
    room = 0.06 * ((high - low) or abs(high) or 1.0)
    bottom = 0.0 if chart.zero and low >= 0 else low - room
    return Scale(bottom, high if above else high + room), above


def ticks(scale: Scale, count: int = 4) -> list[float]:
    """Round numbers inside a scale, about `count` of them.

    >>> ticks(Scale(0.0, 10.0)), ticks(Scale(0.5, 20.0, log=True))
    ([0.0, 2.5, 5.0, 7.5, 10.0], [0.5, 1.0, 2.0, 5.0, 10.0, 20.0])
    """
    if scale.log:
        powers = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
        sizes = (1, 2, 5) if scale.high < 100 * scale.low else (1,)
        found = [size * 10.0**power for power in powers for size in sizes]
        found = [
            round(tick, 12) for tick in found if scale.low <= tick * (1 + 1e-9) and tick <= scale.high * (1 + 1e-9)
        ]
        return found[:: max(len(found) // (count + 2), 1)]
    rough = (scale.high - scale.low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((size * power for size in (1, 2, 2.5, 5, 10)), key=lambda size: abs(size - rough))
    first = math.ceil(scale.low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(scale.high / step + 1e-9) + 1)]


def rounded(tick: float, others: Sequence[float], chart: Chart) -> str:
    """A tick with as many digits as tell it from its neighbours.

    >>> rounded(6.5, [6.0, 6.5, 7.0], Chart("a", "A", ())), rounded(0.5, [0.0, 0.5], Chart("a", "A", (), unit="%"))
    ('6.5', '50%')
    """
    share = 100 if chart.unit == "%" else 1
    if not chart.unit and 0 < max(map(abs, others)) < 0.01:
        return "0" if tick == 0 else written(tick, chart)
    digits = next((d for d in range(6) if all(abs(round(share * o, d) - share * o) < 1e-9 for o in others)), 6)
    return f"{share * tick:,.{digits}f}{chart.unit if share == 100 else ''}"


def strokes(curve: Series, bins: Sequence, line: Sequence[Point], across: Scale, up: Scale) -> list[tuple[str, str]]:
    """The paths of one curve, each with its class: its noise, pale, below its line."""

    def place(x: float, y: float) -> str:
        return f"{at(across.at(x))} {at(1 - up.at(y))}"

    tone = f"tone{curve.tone}"
    if curve.kind == "dots":
        dots = "".join(f"M{place(x, y)}h0" for x, y in line)
        return [(f"{tone} thin", path(line, place)), (f"{tone} dot", dots)]
    if len(line) == 1:
        return [(f"{tone} dot", f"M{place(*line[0])}h0")]
    found = []
    if curve.kind == "line" and any(low < high for *_, low, high in bins):
        rim = [(x, high) for x, _, _, high in bins] + [(x, low) for x, _, low, _ in reversed(bins)]
        found.append((f"{tone} band", f"{path(rim, place)}Z"))
    elif curve.kind == "line":
        found.append((f"{tone} noise", path([(x, mean) for x, mean, _, _ in bins], place)))
    return [*found, (f"{tone} curve", path(line, place))]


def path(points: Sequence[Point], place) -> str:
    return "M" + "L".join(place(x, y) for x, y in points)


def at(share: float) -> str:
    """A place in the square; far outside it is cut, so that paths stay short."""
    return f"{min(max(share, -2), 3) * SIZE:.1f}".removesuffix(".0")


def percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def written(value: float, chart: Chart) -> str:
    """A value in the chart's unit.

    >>> written(0.1234, Chart("a", "A", (), unit="%")), written(5432.0, Chart("a", "A", ())), written(5e-4, Chart("a", "A", ()))
    ('12.3%', '5,432', '5e-4')
    """
    if chart.unit == "%":
        return f"{100 * value:.{1 if abs(value) < 0.995 else 0}f}%"
    if value != 0 and abs(value) < 10 ** (1 - chart.digits):
        mantissa, power = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(power)}"
    text = f"{value:,.{chart.digits}f}" if abs(value) < 100 else f"{value:,.0f}"
    return text + (f" {chart.unit}" if chart.unit else "")


def short(value: float) -> float:
    return float(f"{value:.4g}")


def spoken(chart: Chart, lines: Sequence) -> str:
    """What the figure shows, for those who do not see it."""
    parts = [
        f"{curve.label} from {written(line[0][1], chart)} at {chart.axis} {line[0][0]:,.0f} "
        f"to {written(line[-1][1], chart)} at {chart.axis} {line[-1][0]:,.0f}"
        for curve, _, line in lines
    ]
    parts += [f"{label} {written(value, chart)}" for label, value in chart.levels]
    return f"{chart.title}: {'; '.join(parts)}."
