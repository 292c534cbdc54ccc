"""`report.html`: a run on one standalone page, made only from what lies in its folder.

    config.json  base.json  environment.json  run.json  data.json  metrics.jsonl  scores.json  samples.json
    predictions.json

Every file may be missing, every line strange: a section that cannot be made is left out, and nothing here ever raises into
training. No network, no script needed to read it, and unique ids, so that two reports fit into one notebook.
"""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

from markupsafe import Markup

from model.inspection.markup import joined
from train import report_sections as sections
from train import report_tasks
from train.charts import Chart, Series, draw
from train.lines import replace_text
from train.page import fill, page
from train.progress import duration
from train.record import Record, flatten
from train.report_attention import attention
from train.report_attention import lead as attention_lead
from train.report_words import words_of

S = TypeVar("S", bound=str)
REPORT_FILE = "report.html"
MADE_OF = ("metrics.jsonl", "scores.json", "samples.json", "predictions.json")  # what changes as a run goes on
FINISHED = '<span class="pill done">finished</span>'
MOST_MARKS = 100


def write_report(run_dir: str | Path, *, say: Callable[[str], None] | None = None) -> Path | None:
    """Write `report.html` of a run, finished or not, at one stroke. Never raises: on failure it says so and gives None."""
    path = Path(run_dir) / REPORT_FILE
    try:
        replace_text(path, render(Record.read(run_dir)))
    except Exception as error:  # the run is worth more than its picture
        if say is not None:
            say(f"{path} was not written: {' '.join(str(error).split()) or type(error).__name__}")
        return None
    return path


class LiveReport:
    """Keeps the report of a run fresh while it trains, in at most a fiftieth of the time however long the run."""

    def __init__(self, run_dir: str | Path, *, say: Callable[[str], None] | None = None, clock=time.monotonic):
        self._run_dir, self._say, self._clock = run_dir, say, clock
        self._due = float("-inf")

    def refresh(self) -> None:
        """Write the report again, unless that was done so lately that it would cost too much."""
        begin = self._clock()
        if begin >= self._due:
            write_report(self._run_dir, say=self._say)
            end = self._clock()
            self._due = end + 49 * (end - begin)


def render(record: Record) -> str:
    """The page of a run as HTML."""
    parts = [
        ("result", "Result", attempt(result_lead, record), sections.result),
        ("curves", "Curves", "Pale: each step. Dark: smoothed. Move over a curve to read it.", curves),
        (
            "evaluations",
            "Evaluations and speed",
            "On the way only the first held-out rows are scored; the closing evaluation scores them all.",
            sections.evaluations_and_speed,
        ),
        (
            "predictions",
            "What it fills in",
            words_of(record).predictions,
            sections.predictions,
        ),
        ("classes", "Classes", attempt(report_tasks.classes_lead, record), report_tasks.classes),
        ("errors", "Mistakes", attempt(report_tasks.errors_lead, record), report_tasks.errors),
        ("attention", "Attention", attempt(attention_lead, record), attention),
        ("configuration", "Configuration", attempt(configuration_lead, record), sections.settings),
        ("environment", "Environment", "What ran, and the command that ran it.", sections.environment),
        ("events", "Events", "", sections.events),
    ]
    made = [(ident, title, lead, attempt(make, record)) for ident, title, lead, make in parts]
    made = [(f"{record.ident}-{ident}", title, content, lead) for ident, title, lead, content in made if content]
    body = joined([attempt(tiles, record), *(fill("page", "section", *part) for part in made)])
    nav = fill("page", "navigation", [part[:2] for part in made]) if made else ""
    footer = f"Written by Loupe on {time.strftime('%Y-%m-%d at %H:%M')} from the files of the run folder."
    return page(f"{record.name}: training report", joined([attempt(heading, record), nav]), body, footer)


def attempt(make: Callable[[Record], S], record: Record) -> S | Markup:
    """A part of the page, or nothing where the record is too strange for it."""
    try:
        return make(record)
    except Exception:
        return Markup("")


def heading(record: Record) -> Markup:
    """Name, state, and a sentence about what was trained on what."""
    last = record.events[-1]["event"] if record.events else ""
    state, kind = ("finished", "done") if record.is_done else ("under way", "")
    if not record.is_done and last in ("stop", "diverged"):
        state, kind = "stopped" if last == "stop" else last, "stopped"
    settings = flatten(record.config)
    size = [settings.get(f"model.{name}") for name in ("num_layers", "hidden_size")]
    words = [f"A transformer of {size[0]} layers, {size[1]} wide" if all(size) else "A transformer"]
    if source := settings.get("data.source.name") or settings.get("data.source"):
        words.append(f"trained on {str(source).replace('_', ' ')}")
    if device := record.environment.get("device_kind"):
        count = record.environment.get("device_count") or 1
        named = str(device).upper() if str(device) == "cpu" else str(device)
        words.append(f"on {count} {named} device{'s' if count != 1 else ''}")
    if spent := record.sums.get("seconds", 0.0):
        words.append(f"in {duration(spent)} of training steps")
    return fill("sections", "heading", record.name, ", ".join(words), kind, state)


def tiles(record: Record) -> Markup:
    """The headline row."""
    found = []
    loss, entropy, gain = record.score("valid_loss"), record.fact("unigram_entropy"), record.score("context_gain")
    if loss is not None:
        under = words_of(record).under
        if entropy is not None:
            side = "under" if loss <= entropy else "over"
            under = f"{abs(entropy - loss):.3f} {side} the unigram entropy, {entropy:.3f}"
        found.append(("Held-out loss (nats)", f"{loss:.3f}", under))
    if gain is not None:
        found.append(("Context gain (nats)", f"{gain:+.3f}", "what the order of the words is worth"))
    if (perplexity := record.score("perplexity")) is not None:
        bits = record.score("bits_per_byte")
        found.append(("Perplexity", f"{perplexity:,.2f}", "" if bits is None else f"{bits:.3f} bits per byte"))
    if speeds := record.values("tokens_per_second"):
        under = f"{duration(record.sums.get('seconds', 0.0))} in steps" if record.values("seconds") else ""
        found.append(("Tokens a second", f"{median(speeds):,.0f}", under))
    total = record.total_steps
    tokens = record.sums.get("tokens", 0.0)
    under = f"of {total:,}" if total else ""
    under += f"{', ' if under else ''}{brief(tokens)} tokens" if tokens else ""
    found.append(("Steps", f"{record.last_step:,}", under))
    if parameters := record.fact("parameters"):
        found.append(("Parameters", brief(parameters), f"{parameters:,.0f}, all trained"))
    return fill("sections", "tiles", found)


def curves(record: Record) -> Markup:
    """The loss, wide, and small multiples of everything else."""
    marks = [(line["step"], line["event"]) for line in record.events if line["event"] in ("resume", "skip")]
    entropy = record.fact("unigram_entropy")
    held_out = record.evaluations
    span = (0.0, float(max(record.last_step, 1)))

    def chart(name: str, title: str, *series: Series, **options) -> Markup:
        return draw(Chart(f"{record.ident}-{name}", title, series, marks=marks[:MOST_MARKS], steps=span, **options))

    words = words_of(record)
    names = [f"{words.term}_nll", words.term, "loss"]  # the plain loss, if that is not what is minimised
    training = next((name for name in names if record.values(name)), "loss")
    label = "training" if training == "loss" else words.training
    note = "Dotted lines: resumes and skipped steps" if marks else ""
    found = [
        chart(
            "loss",
            "Loss (nats)",
            Series(label, record.curve(training), 1),
            Series(words.held_out, record.curve("valid_loss", held_out), 2, "dots"),
            levels=[("unigram entropy", entropy)] if entropy is not None else [],
            clip=True,
            wide=True,
            note=note,
        ),
        chart(
            "accuracy",
            words.accuracy_title,
            Series("training", record.curve(words.accuracy), 1),
            Series("held out", record.curve(words.accuracy, held_out), 2, "dots"),
            unit="%",
            zero=True,
        ),
    ]
    for name, title in (("next_sentence", "Next-sentence accuracy"), ("sentence_order", "Sentence-order accuracy")):
        if record.values(f"{name}_accuracy"):
            found.append(
                chart(
                    "pairs",
                    title,
                    Series("training", record.curve(f"{name}_accuracy"), 1),
                    Series("held out", record.curve(f"{name}_accuracy", held_out), 2, "dots"),
                    unit="%",
                    levels=[("chance", 0.5)],
                )
            )
    if record.curve("loss") != record.curve(training):
        found.append(chart("total", "Loss, all terms", Series("training", record.curve("loss"), 1), clip=True))
    found += [
        chart("rate", "Learning rate", Series("rate", record.curve("learning_rate"), 3, "plain"), zero=True),
        chart("norm", "Gradient norm", Series("before clipping", record.curve("grad_norm"), 4), log=True),
        chart("speed", "Throughput", Series("tokens/s", record.curve("tokens_per_second"), 5), zero=True, digits=0),
    ]
    gains = record.curve("context_gain", held_out)
    if len(gains) > 1:
        found.append(chart("gain", "Context gain (nats)", Series("held out", gains, 2, "dots"), levels=[("none", 0.0)]))
    drawn = joined(found)
    return fill("page", "charts", drawn) if drawn else drawn


def result_lead(record: Record) -> str:
    """On how much text the scores rest."""
    documents, targets = record.fact("held_out_documents"), record.fact("held_out_targets")
    if documents is None or targets is None:
        return f"Losses in nats a {words_of(record).unit}."
    asked = words_of(record).asked.format(f"{targets:,.0f}")
    return f"On {documents:,.0f} documents that were never trained on, {asked}."


def configuration_lead(record: Record) -> str:
    """How far the run departs from the experiment as declared."""
    if not record.base:
        return "The resolved experiment."
    count = sections.changes(record)
    if not count:
        return "The resolved experiment: exactly as declared."
    return f"The resolved experiment. {count} field{'s differ' if count > 1 else ' differs'} from the declared one, marked."


def brief(value: float) -> str:
    """A large number in a few characters.

    >>> brief(28_631_554), brief(4_400), brief(712)
    ('28.6 M', '4.4 k', '712')
    """
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f}"
