"""The parts of the report that are made of words and tables; each returns HTML, or nothing when it has nothing to say."""

import math
import re
import time
from collections.abc import Mapping, Sequence
from html import escape
from statistics import median
from typing import Any

from train.progress import duration
from train.record import Record, flatten, number
from train.report_words import of_task, scores_of, words_of

MOST_ROWS = 40
CLOSING = frozenset(".,;:!?)]}'\u2019-_/")
OPENING = frozenset("([{'-_/")
UNSPACED = re.compile("[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]{2}")  # Chinese, Japanese, and their punctuation
SPECIAL = re.compile(r"^(\[[A-Za-z]+\]|<[/a-z|_]+>)$")


def result(record: Record) -> str:
    """The closing scores with their meaning, beside the losses they should be read against."""
    known = scores_of(record)
    rows = "".join(
        f'<tr><th scope="row">{escape(title)}<span class="aside">{escape(meaning)}</span></th>'
        f'<td class="number">{score(name, record.scores[name])}</td></tr>'
        for name, (title, meaning) in known.items()
        if number(record.scores.get(name)) is not None
    )
    held_out = "examples" if of_task(record) else "documents"
    table = (
        f'<div class="scroll" tabindex="0"><table><caption>On the held-out {held_out}</caption><thead><tr>'
        f'<th scope="col">Score</th><th scope="col" class="number">Value</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
    return f'<div class="pair">{table if rows else ""}{ladder(record)}</div>' if rows or ladder(record) else ""


def ladder(record: Record) -> str:
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
        return ""
    most = max(value for _, value, _ in known)
    bars = "".join(
        f'<li class="{kind}"><span>{escape(label)} <b>{value:.3f}</b></span>'
        f'<span class="track"><i style="width:{100 * max(value, 0) / most:.1f}%"></i></span></li>'
        for label, value, kind in known
    )
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
    return f'<div class="ladder"><h3>How to read the loss</h3><p>{escape(text)}</p><ol>{bars}</ol></div>'


def outcomes(record: Record) -> float | None:
    """Of how many things one is predicted: tokens of the vocabulary, or labels of a task. None where that is no count."""
    config = flatten(record.config)
    if not of_task(record) or config.get("data.task.name") == "generation":
        return number(config.get("model.vocab_size"))
    try:
        return float(len(record.config["data"]["task"]["labels"]))
    except (KeyError, TypeError):
        return None


def evaluations_and_speed(record: Record) -> str:
    """Two tables side by side."""
    tables = evaluations(record) + speed(record)
    return f'<div class="pair">{tables}</div>' if tables else ""


def evaluations(record: Record) -> str:
    """Held-out scores over the run, the best step marked."""
    lines = thin([line for line in record.evaluations if number(line.get("valid_loss")) is not None])
    if not lines:
        return ""
    known = scores_of(record)
    names = [name for name in known if sum(number(line.get(name)) is not None for line in lines) > len(lines) // 2]
    names = [name for name in names if name != "unigram_entropy"]
    best = min(lines, key=lambda line: line["valid_loss"])["step"]
    head = "".join(f'<th scope="col" class="number">{escape(known[name][0])}</th>' for name in names)
    body = ""
    for line in lines:
        cells = "".join(f'<td class="number">{score(name, line[name]) if name in line else ""}</td>' for name in names)
        mark = ' class="best"' if line["step"] == best else ""
        star = " (lowest)" if line["step"] == best else ""
        body += f'<tr{mark}><th scope="row">{line["step"]:,}{star}</th>{cells}</tr>'
    return (
        f'<div class="scroll" tabindex="0"><table><caption>Evaluations during training</caption><thead><tr>'
        f'<th scope="col">Step</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def speed(record: Record) -> str:
    """Where the time went: the pace of the steps, and all that is not a step."""
    seconds, rates, tokens = (record.values(name) for name in ("seconds", "tokens_per_second", "tokens"))
    times = [value for line in record.lines if (value := number(line.get("time"))) is not None]
    facts = []
    if rates:
        low = sorted(rates)[len(rates) // 20]
        facts += [("Tokens a second, median", f"{median(rates):,.0f}"), ("the slowest twentieth below", f"{low:,.0f}")]
    if seconds:
        facts += [("Seconds a step, median", f"{median(seconds):.3f}"), ("the slowest step", f"{max(seconds):.2f}")]
        facts += [("Time in steps", duration(sum(seconds)))]
    if times:
        facts += [("From first line to last, pauses included", duration(max(times) - min(times)))]
    if tokens:
        facts += [("Tokens seen", f"{sum(tokens):,.0f}")]
    rows = "".join(f'<tr><th scope="row">{name}</th><td class="number">{value}</td></tr>' for name, value in facts)
    return (
        f'<div class="scroll" tabindex="0"><table><caption>Speed</caption><tbody>{rows}</tbody></table></div>'
        if rows
        else ""
    )


def predictions(record: Record) -> str:
    """Held-out rows with their hidden words marked, and for each the likeliest guesses."""
    cards = []
    for sample in record.samples[:8]:
        try:
            cards.append(sample_card(sample))
        except (TypeError, ValueError, KeyError, AttributeError, IndexError):
            continue
    return f'<div class="samples">{"".join(cards)}</div>' if cards else ""


def sample_card(sample: Mapping[str, Any]) -> str:
    """One row: what an encoder reads, if there is one; the text with numbered blanks; then the guesses for each."""
    places = sorted(sample["places"], key=lambda place: int(place["token_index"]))[:12]
    asked = {int(place["token_index"]): (index, place) for index, place in enumerate(places, 1)}
    source = f'<p class="aside">{as_text(sample["source"], {})}</p>' if sample.get("source") else ""
    guesses = "".join(guess_list(index, place) for index, place in asked.values())
    text = as_text(sample["tokens"], asked)
    return f'<article class="sample">{source}<p>{text}</p><div class="guesses">{guesses}</div></article>'


def as_text(tokens: Sequence[Any], asked: Mapping[int, tuple[int, Mapping[str, Any]]]) -> str:
    """Word pieces as running text, those at the places in `asked` as numbered blanks."""
    words = []
    for at, token in enumerate(tokens):
        if at in asked:
            index, place = asked[at]
            text = f'<span class="blank {grade(place)}"><sup>{index}</sup>{escape(bare(place["target"]))}</span>'
            words.append((text, glued(str(place["target"]), tokens[:at], tokens)))
        elif SPECIAL.match(str(token)):
            if "mask" in str(token).lower():
                words.append(('<span class="blank other">&hellip;</span>', False))
            elif str(token).lower() in ("[sep]", "</s>") and at + 1 < len(tokens):
                words.append(('<span class="other">&#8214;</span>', False))
        else:
            words.append((escape(bare(token)), glued(str(token), tokens[:at], tokens)))
    return "".join(word if joined or not position else " " + word for position, (word, joined) in enumerate(words))


def guess_list(index: int, place: Mapping[str, Any]) -> str:
    """The guesses for one hidden word, with bars as long as they are likely."""
    items = ""
    for word, probability in place["predictions"][:5]:
        share = min(max(float(probability), 0.0), 1.0)
        right = word == place["target"]
        items += (
            f"<li{' class=right' if right else ''}><span>{'&check; ' if right else ''}{escape(bare(word)) or '&nbsp;'}</span>"
            f'<span class="track"><i style="width:{100 * share:.1f}%"></i></span><span>{100 * share:.1f}%</span></li>'
        )
    return f"<div><h3>{index}. {escape(bare(place['target']))}</h3><ol>{items}</ol></div>"


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


def settings(record: Record) -> str:
    """The resolved configuration, a table for each part; what differs from the declared experiment says what it was."""
    declared = flatten(record.base)
    groups: dict[str, list[tuple[str, Any]]] = {}
    for path, value in flatten(record.config).items():
        group, _, rest = path.partition(".")
        groups.setdefault(group if rest else "run", []).append((rest or path, value))
    tables = ""
    for group, fields in groups.items():
        rows = ""
        for name, value in fields:
            path = name if group == "run" else f"{group}.{name}"
            changed = bool(declared) and (path not in declared or declared[path] != value)
            was = (
                f'<span class="was">was {escape(shown(declared[path]))}</span>' if changed and path in declared else ""
            )
            was = was or ('<span class="was">not in the declared experiment</span>' if changed else "")
            rows += (
                f'<tr{" class=changed" if changed else ""}><th scope="row" class="mono">{escape(name)}</th>'
                f"<td>{escape(shown(value))}{was}</td></tr>"
            )
        tables += f'<div class="scroll" tabindex="0"><table><caption>{escape(group)}</caption><tbody>{rows}</tbody></table></div>'
    return f'<div class="settings">{tables}</div>' if tables else ""


def changes(record: Record) -> int:
    """How many fields differ from the declared experiment."""
    declared = flatten(record.base)
    return sum(path not in declared or declared[path] != value for path, value in flatten(record.config).items())


def environment(record: Record) -> str:
    """The command, then versions, devices and revision."""
    facts = {name: value for name, value in record.environment.items() if name not in ("command", "earlier")}
    packages = facts.pop("packages", None)
    if revision := facts.get("git_revision"):
        changes = f", with changes {facts.get('git_changes')}" if facts.get("git_dirty") else ""
        facts |= {"git_revision": str(revision)[:12] + changes, "git_dirty": None, "git_changes": None}
    facts = {name: value for name, value in facts.items() if value not in (None, {}, [])}
    facts |= {f"data.{name}": value for name, value in record.data.items()}
    tables = "".join(
        f'<div class="scroll" tabindex="0"><table><caption>{caption}</caption><tbody>'
        + "".join(
            f'<tr><th scope="row" class="mono">{escape(str(name))}</th><td>{escape(shown(value))}</td></tr>'
            for name, value in flatten(rows).items()
        )
        + "</tbody></table></div>"
        for caption, rows in (("Machine, code and data", facts), ("Packages", packages))
        if isinstance(rows, dict) and rows
    )
    command = record.environment.get("command")
    command = f"<pre><code>{escape(command)}</code></pre>" if isinstance(command, str) else ""
    return f'{command}<div class="pair facts">{tables}</div>' if command or tables else ""


def events(record: Record) -> str:
    """What happened besides steps: resumes, skips and stops one by one, checkpoints as a count and the last."""
    checkpoints = [line for line in record.events if line["event"] == "checkpoint"]
    rest = [line for line in record.events if line["event"] != "checkpoint"] + checkpoints[-1:]
    order = {id(line): index for index, line in enumerate(record.lines)}
    rows = ""
    for line in thin(sorted(rest, key=lambda line: order[id(line)])):
        details = {name: value for name, value in line.items() if name not in ("event", "step", "time")}
        if line["event"] == "checkpoint":
            details = {"": f"the last of {len(checkpoints)}"} | details
        said = ", ".join(f"{name} {shown(value)}".strip() for name, value in details.items())
        when = number(line.get("time"))
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when)) if when is not None else ""
        rows += (
            f'<tr><th scope="row">{escape(line["event"])}</th><td class="number">{line["step"]:,}</td>'
            f'<td>{stamp}</td><td class="aside">{escape(said[:300])}</td></tr>'
        )
    if not rows:
        return ""
    return (
        f'<div class="scroll" tabindex="0"><table><caption>Events</caption><thead><tr><th scope="col">Event</th>'
        f'<th scope="col" class="number">Step</th><th scope="col">Time</th><th scope="col">Details</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


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
