"""The parts of the report that are made of words and tables; each returns HTML, or nothing when it has nothing to say."""

import math
import re
import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from markupsafe import Markup

from train.page import fill
from train.progress import duration
from train.record import Record, flatten, number
from train.report_words import of_task, scores_of, words_of

MOST_ROWS = 40
MOST_LETTERS = 300  # of what an event says
CLOSING = frozenset(".,;:!?)]}'\u2019-_/")
OPENING = frozenset("([{'-_/")
UNSPACED = re.compile("[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]{2}")  # Chinese, Japanese, and their punctuation
SPECIAL = re.compile(r"^(\[[A-Za-z]+\]|<[/a-z|_]+>)$")


def result(record: Record) -> Markup:
    """The closing scores with their meaning, beside the losses they should be read against."""
    rows = [
        (title, meaning, score(name, record.scores[name]))
        for name, (title, meaning) in scores_of(record).items()
        if number(record.scores.get(name)) is not None
    ]
    held_out = "examples" if of_task(record) else "documents"
    table = fill("sections", "scores", f"On the held-out {held_out}", rows) if rows else Markup("")
    parts = [part for part in (table, ladder(record)) if part]
    return fill("sections", "pair", parts) if parts else Markup("")


def ladder(record: Record) -> Markup:
    """The held-out loss among the losses of those who know less: bars on one scale."""
    size, words = outcomes(record), words_of(record)
    rungs = [
        (f"every {words.unit} equally likely", math.log(size) if size and size > 1 else None, ""),
        ("word frequencies alone", record.fact("unigram_entropy"), "floor"),
        ("counts of three in a row", record.fact("trigram_loss"), "floor"),
        (words.shuffled, record.score("valid_loss_shuffled"), ""),
        ("this model", record.score("valid_loss"), "ours"),
    ]
    known = [(label, value, kind) for label, value, kind in rungs if value is not None]
    if len(known) < 2:
        return Markup("")
    most = max(value for _, value, _ in known)
    bars = [(label, f"{value:.3f}", kind, f"{100 * max(value, 0) / most:.1f}") for label, value, kind in known]
    text = f"Nats a {words.unit}; shorter is better. "
    loss, entropy, gain = record.score("valid_loss"), record.fact("unigram_entropy"), record.score("context_gain")
    if loss is not None and entropy is not None:
        text += (
            f"The model beats word frequencies by {entropy - loss:.3f} nats. "
            if loss < entropy
            else "The model has not yet reached what word frequencies alone give. "
        )
    if gain is not None:
        text += words.gain.format(f"{gain:.3f}")
    return fill("sections", "ladder", text, bars)


def outcomes(record: Record) -> float | None:
    """Of how many things one is predicted: tokens of the vocabulary, or labels of a task. None where that is no count."""
    config = flatten(record.config)
    if not of_task(record) or config.get("data.task.name") == "generation":
        return number(config.get("model.vocab_size"))
    try:
        return float(len(record.config["data"]["task"]["labels"]))
    except (KeyError, TypeError):
        return None


def evaluations_and_speed(record: Record) -> Markup:
    """Two tables side by side."""
    tables = [table for table in (evaluations(record), speed(record)) if table]
    return fill("sections", "pair", tables) if tables else Markup("")


def evaluations(record: Record) -> Markup:
    """Held-out scores over the run, the best step marked."""
    lines = thin([line for line in record.evaluations if number(line.get("valid_loss")) is not None])
    if not lines:
        return Markup("")
    known = scores_of(record)
    names = [name for name in known if sum(number(line.get(name)) is not None for line in lines) > len(lines) // 2]
    names = [name for name in names if name != "unigram_entropy"]
    best = min(lines, key=lambda line: line["valid_loss"])["step"]
    rows = [
        (shown(line["step"]), line["step"] == best, [score(name, line[name]) if name in line else "" for name in names])
        for line in lines
    ]
    return fill("sections", "evaluations", [known[name][0] for name in names], rows)


def speed(record: Record) -> Markup:
    """Where the time went: the pace of the steps, and all that is not a step."""
    seconds, rates, tokens = (record.values(name) for name in ("seconds", "tokens_per_second", "tokens"))
    times = [value for line in record.lines if (value := number(line.get("time"))) is not None]
    facts = []
    if rates:
        low = sorted(rates)[len(rates) // 20]
        facts += [("Tokens a second, median", f"{median(rates):,.0f}"), ("the slowest twentieth below", f"{low:,.0f}")]
    if seconds:
        facts += [
            ("Seconds a step, median", f"{median(seconds):.3f}"),
            ("the slowest step", f"{record.largest['seconds']:.2f}"),
        ]
        facts += [("Time in steps", duration(record.sums["seconds"]))]
    if times:
        facts += [("From first line to last, pauses included", duration(max(times) - min(times)))]
    if tokens:
        facts += [("Tokens seen", f"{record.sums['tokens']:,.0f}")]
    return fill("page", "table", (), facts, caption="Speed") if facts else Markup("")


def predictions(record: Record) -> Markup:
    """Held-out rows with their hidden words marked, and for each the likeliest guesses."""
    cards = []
    for sample in record.samples[:8]:
        try:
            cards.append(sample_card(sample))
        except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError):
            continue
    return fill("sections", "samples", cards) if cards else Markup("")


def sample_card(sample: Mapping[str, Any]) -> Markup:
    """One row: what an encoder reads, if there is one; the text with numbered blanks; then the guesses for each."""
    places = sorted(sample["places"], key=lambda place: int(place["token_index"]))[:12]
    asked = {int(place["token_index"]): (index, place) for index, place in enumerate(places, 1)}
    source = as_text(sample["source"], {}) if sample.get("source") else ""
    guesses = [(index, bare(place["target"]), guess_list(place)) for index, place in asked.values()]
    return fill("sections", "sample", source, as_text(sample["tokens"], asked), guesses)


def as_text(tokens: Sequence[Any], asked: Mapping[int, tuple[int, Mapping[str, Any]]]) -> Markup:
    """Word pieces as running text, those at the places in `asked` as numbered blanks."""
    words: list[tuple[bool, str, str, Any]] = []
    for at, token in enumerate(tokens):
        if at in asked:
            index, place = asked[at]
            joined = glued(str(place["target"]), tokens[:at], tokens)
            words.append((joined, "blank", bare(place["target"]), {"number": index, "grade": grade(place)}))
        elif SPECIAL.match(str(token)):
            if "mask" in str(token).lower():
                words.append((False, "mask", "", None))
            elif str(token).lower() in ("[sep]", "</s>") and at + 1 < len(tokens):
                words.append((False, "apart", "", None))
        else:
            words.append((glued(str(token), tokens[:at], tokens), "word", bare(token), None))
    return fill("sections", "running", words)


def guess_list(place: Mapping[str, Any]) -> list[tuple[bool, str, str, str]]:
    """The guesses for one hidden word: whether right, the word, the length of its bar, and how likely it is."""
    found = []
    for word, probability in place["predictions"][:5]:
        share = f"{100 * min(max(float(probability), 0.0), 1.0):.1f}"
        found.append((word == place["target"], bare(word), share, f"{share}%"))
    return found


def grade(place: Mapping[str, Any]) -> str:
    """hit: the first guess is right; near: one of the shown; miss: none."""
    words = [word for word, _ in place["predictions"][:5]]
    return "hit" if words[:1] == [place["target"]] else "near" if place["target"] in words else "miss"


def bare(token: Any) -> str:
    """A word piece without the sign that says how it joins.

    >>> bare("##ing"), bare("\\u2581the")
    ('ing', 'the')
    """
    text = str(token)
    return (
        text.removeprefix("##") if text.startswith("##") and len(text) > 2 else text.replace("\u2581", " ").strip(" ")
    )


def glued(token: str, before: Sequence[Any], tokens: Sequence[Any]) -> bool:
    """Whether a piece follows the one before without a space: by "##" or the missing "\u2581", else by punctuation, or because
    Chinese and Japanese have none.

    >>> glued("\u6a21", ["\u5927"], ["big", "\u5927", "\u6a21"]), glued("model", ["big"], ["big", "model"])
    (True, False)
    """
    if any("\u2581" in str(other) for other in tokens):
        return not token.startswith("\u2581")
    if all(len(str(other)) <= 1 or SPECIAL.match(str(other)) for other in tokens):
        return True  # characters
    last = str(before[-1]) if before else ""
    return token.startswith("##") or token in CLOSING or last in OPENING or bool(UNSPACED.match(last[-1:] + token[:1]))


def settings(record: Record) -> Markup:
    """The resolved configuration, a table for each part; what differs from the declared experiment says what it was."""
    declared = flatten(record.base)
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for path, value in flatten(record.config).items():
        group, _, rest = path.partition(".")
        was = ""
        if declared and (path not in declared or declared[path] != value):
            was = f"was {shown(declared[path])}" if path in declared else "not in the declared experiment"
        groups.setdefault(group if rest else "run", []).append((rest or path, shown(value), was))
    return fill("sections", "settings", list(groups.items())) if groups else Markup("")


def changes(record: Record) -> int:
    """How many fields differ from the declared experiment."""
    declared = flatten(record.base)
    return sum(path not in declared or declared[path] != value for path, value in flatten(record.config).items())


def environment(record: Record) -> Markup:
    """The command, then versions, devices and revision."""
    facts = {name: value for name, value in record.environment.items() if name not in ("command", "earlier")}
    packages = facts.pop("packages", None)
    if revision := facts.get("git_revision"):
        changes = f", with changes {facts.get('git_changes')}" if facts.get("git_dirty") else ""
        facts |= {"git_revision": str(revision)[:12] + changes, "git_dirty": None, "git_changes": None}
    facts = {name: value for name, value in facts.items() if value not in (None, {}, [])}
    facts |= {f"data.{name}": value for name, value in record.data.items()}
    tables = [
        (caption, [(name, shown(value)) for name, value in flatten(rows).items()])
        for caption, rows in (("Machine, code and data", facts), ("Packages", packages))
        if isinstance(rows, dict) and rows
    ]
    command = record.environment.get("command")
    command = command if isinstance(command, str) else ""
    return fill("sections", "environment", command, tables) if command or tables else Markup("")


def events(record: Record) -> Markup:
    """What happened besides steps: resumes, skips and stops one by one, checkpoints as a count and the last."""
    checkpoints = [line for line in record.events if line["event"] == "checkpoint"]
    rest = [line for line in record.events if line["event"] != "checkpoint"] + checkpoints[-1:]
    order = {id(line): index for index, line in enumerate(record.lines)}
    rows = []
    for line in thin(sorted(rest, key=lambda line: order[id(line)])):
        details = {name: value for name, value in line.items() if name not in ("event", "step", "time")}
        if line["event"] == "checkpoint":
            details = {"": f"the last of {len(checkpoints)}"} | details
        said = ", ".join(f"{name} {shown(value)}".strip() for name, value in details.items())
        rows.append((line["event"][:MOST_LETTERS], shown(line["step"]), moment(line.get("time")), said[:MOST_LETTERS]))
    return fill("sections", "events", rows) if rows else Markup("")


def moment(value: Any) -> str:
    """Seconds since 1970 as a date, or nothing where they are none.

    >>> moment(1e300), moment("now")
    ('', '')
    """
    found = number(value)
    try:
        return "" if found is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found))
    except (OverflowError, OSError, ValueError):
        return ""


def thin(lines: list, most: int = MOST_ROWS) -> list:
    """At most `most` entries, evenly spread, the first and the last always among them."""
    if len(lines) <= most:
        return lines
    return [lines[round(index * (len(lines) - 1) / (most - 1))] for index in range(most)]


def score(name: str, value: Any) -> str:
    """A score as a table shows it."""
    found = number(value)
    if found is None:
        return "not finite"
    if name.endswith("accuracy"):
        return f"{found:.1%}"
    return f"{found:+.3f}" if name == "context_gain" else f"{found:.3f}"


def shown(value: Any) -> str:
    """A setting as a table shows it.

    >>> shown(0.0005), shown(8192), shown(None), shown([1, 2]), shown(True)
    ('0.0005', '8,192', 'none', '1, 2', 'yes')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(shown(entry) for entry in value) or "none"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 1_000 else str(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
