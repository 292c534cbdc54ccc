"""The state of a run as a display sees it, and how its numbers are written."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

CURVE_POINTS = 96
# Label of each value, in the order in which they are shown; narrow terminals wrap.
LABELS = {
    "loss": "loss",
    "masked_accuracy": "masked accuracy",
    "accuracy": "accuracy",
    "learning_rate": "learning rate",
    "grad_norm": "grad norm",
    "tokens_per_second": "tokens/s",
}
SCORES = {
    "valid_loss": "valid loss",
    "perplexity": "perplexity",
    "accuracy": "accuracy",
    "bits_per_byte": "bits per byte",
    "context_gain": "context gain",
    "unigram_entropy": "unigram entropy",
    "trigram_loss": "trigram loss",
    "masked_accuracy": "masked accuracy",
    "next_sentence_accuracy": "next-sentence accuracy",
    "sentence_order_accuracy": "sentence-order accuracy",
    "f1": "F1",
    "f1_strict": "strict F1",
    "micro_f1": "micro F1",
    "macro_f1": "macro F1",
    "matthews": "Matthews correlation",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "mse": "mean squared error",
    "exact_match": "exact match",
    "bleu": "BLEU",
    "chrf": "chrF",
    "rouge1": "ROUGE-1",
    "rouge2": "ROUGE-2",
    "rougeL": "ROUGE-L",
    "rougeLsum": "ROUGE-Lsum",
    "expected_calibration_error": "calibration error",
    "majority_accuracy": "majority",
}


@dataclass
class Progress:
    """All that is known of the run at this moment; the views only read it."""

    title: str
    total: int
    start: int
    step: int
    clock: Callable[[], float]
    opened: float
    scalars: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Any] = field(default_factory=dict)
    scores_step: int = 0
    status: str = ""
    curve: list[float] = field(default_factory=list)
    first: tuple[int, float] | None = None  # step and time of the first update: compiling is not counted in the pace
    speed: float | None = None

    def advance(self, step: int, scalars: Mapping[str, Any]) -> None:
        self.step, self.scalars, self.status = step, scalars, ""
        if self.first is None:
            self.first = (step, self.clock())
        self.curve.append(float(scalars.get("loss", "nan")))
        if len(self.curve) > 16 * CURVE_POINTS:
            self.curve = thinned(self.curve, 8 * CURVE_POINTS)
        if "tokens_per_second" in scalars:
            now = float(scalars["tokens_per_second"])
            self.speed = now if self.speed is None else 0.9 * self.speed + 0.1 * now

    def remaining(self) -> float | None:
        """Seconds to the end at the pace so far, evaluations and checkpoints included; None before there is a pace."""
        if self.first is None or self.step <= self.first[0]:
            return None
        return (self.clock() - self.first[1]) / (self.step - self.first[0]) * max(self.total - self.step, 0)

    def values(self) -> list[tuple[str, str, str]]:
        """(name, label, text) of what belongs on the display."""
        known = dict(self.scalars)
        if self.speed is not None:
            known["tokens_per_second"] = self.speed
        shown = [(name, label, number(name, known[name])) for name, label in LABELS.items() if name in known]
        if float(known.get("skips_in_a_row", 0) or 0) > 0:
            shown.append(("skips", "skipped in a row", f"{float(known['skips_in_a_row']):.0f}"))
        if "valid_loss" in self.scores:
            text = f"{number('valid_loss', self.scores['valid_loss'])} at {self.scores_step:,}"
            shown.append(("valid_loss", "valid loss", text))
        if "context_gain" in self.scores:
            shown.append(("context_gain", "context gain", number("context_gain", self.scores["context_gain"])))
        return shown

    def share(self) -> float:
        """How much of the run is done, from 0 to 1."""
        return min(self.step / self.total, 1.0) if self.total > 0 else 1.0


def plain_line(progress: Progress, *, bar: bool = False) -> str:
    """The state of a run in one line of plain characters."""
    width = len(f"{progress.total:,}")
    parts = [f"step {progress.step:>{width},}/{progress.total:,}"]
    if bar:
        done = round(20 * progress.share())
        parts.insert(0, f"[{'#' * done}{'.' * (20 - done)}]")
    if progress.status:
        return "  ".join([*parts, progress.status])
    parts += [f"{label} {text}" for _, label, text in progress.values()]
    remaining = progress.remaining()
    if remaining is not None and progress.step < progress.total:
        parts.append(f"ETA {duration(remaining)}")
    return "  ".join(parts)


def number(name: str, value: Any) -> str:
    """A value as it is shown, by what its name says it is.

    >>> number("loss", 6.23912), number("masked_accuracy", 0.1234), number("learning_rate", 5e-4)
    ('6.2391', '12.3%', '5.00e-04')
    >>> number("tokens_per_second", 5432.1), number("grad_norm", float("nan")), number("context_gain", 0.1)
    ('5,432', 'nan', '+0.100')
    """
    try:
        value = float("nan") if value is None else float(value)
    except (TypeError, ValueError):
        return str(value)
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if name.endswith("accuracy"):
        return f"{value:.1%}"
    if name.endswith("learning_rate"):
        return f"{value:.2e}"
    if name.endswith("_per_second"):
        return f"{value:,.0f}"
    if name.endswith("gain"):
        return f"{value:+.3f}"
    return f"{value:.4f}" if abs(value) < 1_000 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """Seconds as a clock shows them.

    >>> duration(59.6), duration(754), duration(90_061)
    ('1:00', '12:34', '1d 01:01')
    """
    seconds = round(seconds)
    days, hours, minutes = seconds // 86_400, seconds // 3_600 % 24, seconds // 60 % 60
    if days:
        return f"{days}d {hours:02d}:{minutes:02d}"
    return f"{hours}:{minutes:02d}:{seconds % 60:02d}" if hours else f"{minutes}:{seconds % 60:02d}"


def thinned(values: list[float], points: int) -> list[float]:
    """At most `points` values: means of neighbours, those that are not finite left out.

    >>> thinned([1.0, 3.0, float("nan"), 5.0], 2)
    [2.0, 5.0]
    """
    size = max(-(-len(values) // points), 1)
    groups = [[v for v in values[i : i + size] if abs(v) < float("inf")] for i in range(0, len(values), size)]
    return [sum(group) / len(group) for group in groups if group]


def sparkline(values: list[float], width: int) -> str:
    """A curve in one row of characters.

    >>> sparkline([1.0, 2.0, 3.0], 3)
    '▁▅█'
    """
    points = thinned(values, width)
    if not points:
        return ""
    low, high = min(points), max(points)
    span = (high - low) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[min(int((point - low) / span * 8), 7)] for point in points)
