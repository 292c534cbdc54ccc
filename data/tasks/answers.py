"""Questions and their contexts as rows: windows over long contexts, answers from characters to places, and back."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data.errors import DataError
from data.tasks.best_spans import Prediction, WindowScores, best_spans
from data.tasks.choices import Answers
from data.tasks.examples import Example
from data.tasks.rows import Rows, encode_all, frame_of, locate_all, one, row_of
from data.tokenizers.frames import Located
from data.tokenizers.interface import Tokenizer


class Window(NamedTuple):
    """The part of a context that a row holds: tokens first to stop of it, the first of them at a place of the row."""

    place: int
    first: int
    stop: int


def misplaced(example: Example) -> list[dict[str, Any]]:
    """Answers that are not where the source says: their text differs from that of the context there."""
    context = example["context"]
    return [a for a in example["answers"] if a["start"] < 0 or not context.startswith(a["text"], a["start"])]


def check_answers(task: Answers, examples: Sequence[Example], *, training: bool) -> tuple[list[Example], list[str]]:
    """The examples that can be used, and lines about those that are at fault.

    A question without text is left out. One whose answers are all misplaced is left out of training; held out it stays,
    since the text of its answer can be scored. With `strict` the first of them is an error.
    """
    empty = [example for example in examples if not example["question"].strip()]
    asked = [example for example in examples if example["question"].strip()]
    kept, bad = [], []
    for example in asked:
        wrong = misplaced(example)
        if not example["answers"] and not task.no_answer:
            raise DataError(f"{example.place} has no answer; if that is meant, as in SQuAD 2.0, say --data.task.no_answer True, "
                            "otherwise write one")  # fmt: skip
        bad += [example] if wrong else []
        if not wrong or len(wrong) < len(example["answers"]) or not training:
            kept.append(example)
    lines = []
    if empty:
        lines.append(f"questions without text were left out: {len(empty)} ({_places(empty)})")
    if bad:
        answer = misplaced(bad[0])[0]
        begin, end = answer["start"], answer["start"] + len(answer["text"])
        found = bad[0]["context"][begin:end] if begin >= 0 else ""
        line = (f"{bad[0].place} has the answer {answer['text'][:40]!r} at character {answer['start']}, where {found[:40]!r} "
                "stands")  # fmt: skip
        if task.strict:
            raise DataError(
                f"{line}; mend its answer_start, or say --data.task.strict False to leave such questions out"
            )
        consequence = f"{len(asked) - len(kept)} left out" if training else "only their texts are scored"
        lines.append(
            f"answers that are not where the source says: {len(bad)} ({_places(bad)}), {consequence}; the first: {line}"
        )
    return kept, lines


def _places(examples: Sequence[Example]) -> str:
    shown = [str(example["id"]) or example.place for example in examples[:10]]
    return ", ".join([*shown, *(["..."] if len(examples) > 10 else [])])


def answer_rows(task: Answers, examples: list[Example], tokenizer: Tokenizer, row_length: int, stride: int) -> Rows:
    """Rows of a question and a window of its context each; the answer's places, or 0 and 0 in a window without it.

    `span_allowed` bool[T] is True for the context and for place 0. `extras` holds `windows` and `offsets`, which
    `predictions` needs, and `parted`, how many answers lie whole in no window.
    """
    frame = frame_of(tokenizer, 2)
    questions = encode_all(tokenizer, [example["question"] for example in examples])
    contexts = locate_all(tokenizer, [example["context"] for example in examples])
    rows, owner, windows, cuts, parted = [], [], [], 0, 0
    for number, (example, question, context) in enumerate(zip(examples, questions, contexts, strict=True)):
        if not len(question) or not len(context.ids):
            raise DataError(
                f"{example.place} has a question or a context of which the tokenizer leaves nothing; write its text"
            )
        cuts += len(question) > task.max_question
        question = question[: task.max_question]
        room = row_length - frame.size - len(question)
        if room <= stride and room < len(context.ids):
            raise DataError(f"row_length={row_length} leaves {room} tokens of the context beside the question, and windows share "
                            f"stride={stride}; use a larger --data.row_length or a smaller --data.stride")  # fmt: skip
        span = answer_tokens(context, example)
        bounds = window_bounds(len(context.ids), room, stride)
        parted += span is not None and not any(first <= span[0] and span[1] < stop for first, stop in bounds)
        for first, stop in bounds:
            whole = frame.fill(question, context.ids[first:stop])
            place = whole.starts[1]
            allowed = np.zeros(len(whole.ids), bool)
            allowed[[0, *range(place, place + stop - first)]] = True
            inside = span is not None and first <= span[0] and span[1] < stop
            at = [token - first + place for token in span] if inside and span is not None else [0, 0]
            weight = one() if span is not None or not example["answers"] else np.zeros(1, np.float32)
            labels = {
                "start_targets": np.array(at[:1], np.int32),
                "end_targets": np.array(at[1:], np.int32),
                "start_weights": weight,
                "end_weights": weight,
                "span_allowed": allowed,
            }
            rows.append(row_of(whole.ids, whole.types, labels))
            owner.append(number)
            windows.append(Window(place, first, stop))
    offsets = [(context.starts, context.stops) for context in contexts]
    return Rows(rows, np.array(owner, np.int32), cuts, {"windows": windows, "offsets": offsets, "parted": int(parted)})


def window_bounds(size: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Windows of `room` tokens over a context of `size`, each sharing `stride` tokens with the next; the last may be shorter.

    >>> window_bounds(10, 6, 2), window_bounds(4, 6, 2)
    ([(0, 6), (4, 10)], [(0, 4)])
    """
    bounds, first = [], 0
    while True:
        stop = min(first + room, size)
        bounds.append((first, stop))
        if stop == size:
            return bounds
        first += room - stride


def answer_tokens(context: Located, example: Example) -> tuple[int, int] | None:
    """The first and the last token of an example's first answer that is where the source says; None without one."""
    wrong = misplaced(example)
    real = np.flatnonzero(context.stops > context.starts)
    for answer in example["answers"]:
        begin, end = answer["start"], answer["start"] + len(answer["text"])
        if answer not in wrong:
            first = np.searchsorted(context.stops[real], begin, side="right")
            last = np.searchsorted(context.starts[real], end, side="left") - 1
            if first <= last:
                return int(real[first]), int(real[last])
    return None


def widest(windows: Sequence[Window]) -> list[np.ndarray]:
    """For each window of one context which of its tokens have more context on both sides there than in any other, bool[n].

    The context of a token is the smaller of its two sides, and a hundredth of the window's length more, as in BERT's code.
    """
    size = max(window.stop for window in windows)
    scores = np.full((len(windows), size), -1.0)
    for number, window in enumerate(windows):
        places = np.arange(window.first, window.stop)
        left, right = places - window.first, window.stop - 1 - places
        scores[number, places] = np.minimum(left, right) + 0.01 * (window.stop - window.first)
    best = scores.argmax(axis=0)
    return [best[window.first : window.stop] == number for number, window in enumerate(windows)]


def predictions(
    task: Answers,
    examples: Sequence[Example],
    owner: np.ndarray,
    extras: dict[str, Any],
    starts: Sequence[np.ndarray],
    ends: Sequence[np.ndarray],
    *,
    widest_only: bool = False,
) -> list[Prediction]:
    """The best spans of each question, from the logits float[T] of its rows, in the order of the rows.

    `widest_only` counts a start only in the window where it has most context, as BERT's own code did.
    """
    rows_of: list[list[int]] = [[] for _ in examples]
    for row, number in enumerate(owner):
        rows_of[int(number)].append(row)
    found = []
    for example, rows, offsets in zip(examples, rows_of, extras["offsets"], strict=True):
        windows = [extras["windows"][row] for row in rows]
        most = widest(windows) if widest_only else [None] * len(rows)
        scores = [
            WindowScores(
                np.asarray(starts[row], np.float32),
                np.asarray(ends[row], np.float32),
                window.place,
                offsets[0][window.first : window.stop],
                offsets[1][window.first : window.stop],
                wide,
            )
            for row, window, wide in zip(rows, windows, most, strict=True)
        ]
        found.append(best_spans(example["context"], scores, best=task.best, max_answer=task.max_answer))
    return found
