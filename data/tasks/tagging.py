"""Tags of words on their first sub-words, and back from predictions on sub-words to a tag for each word."""

import re
from collections.abc import Sequence

import numpy as np

from data.errors import DataError
from data.tasks.choices import Tagging
from data.tasks.examples import Example
from data.tasks.rows import Rows, frame_of, framed, locate_all, row_of
from data.tokenizers.frames import Located
from data.tokenizers.interface import Tokenizer

OUTSIDE = "O"
LOST = -1  # the place of a word without a sub-word of its own in its row


def tagging_rows(task: Tagging, examples: list[Example], tokenizer: Tokenizer, row_length: int) -> Rows:
    """One row an example, with `tag_targets` int32[T] and `tag_weights` float32[T], 1 at first sub-words.

    `extras["word_places"]` has for each example the place of each word in its row, or LOST: what lies behind the end of
    the row, and what the tokenizer leaves nothing of, or no token of its own.
    """
    assert task.labels is not None
    number = {name: index for index, name in enumerate(task.labels)}
    frame = frame_of(tokenizer, 1)
    texts = [task.joiner.join(example["words"]) for example in examples]
    rows, places, cuts = [], [], 0
    for example, found in zip(examples, locate_all(tokenizer, texts), strict=True):
        whole, cut = framed(frame, [found.ids], row_length, example.place)
        kept = row_length - frame.size if cut else len(found.ids)
        first = first_tokens(found, word_spans(example["words"], task.joiner))
        first = np.where(first < kept, first, LOST)
        at = np.where(first == LOST, LOST, first + whole.starts[0]).astype(np.int32)
        targets, weights = np.zeros(len(whole.ids), np.int32), np.zeros(len(whole.ids), np.float32)
        seen = at != LOST
        targets[at[seen]] = np.array([number[tag] for tag in example["tags"]], np.int32)[seen]
        weights[at[seen]] = 1.0
        rows.append(row_of(whole.ids, whole.types, {"tag_targets": targets, "tag_weights": weights}))
        places.append(at)
        cuts += cut
    return Rows(rows, np.arange(len(rows), dtype=np.int32), cuts, {"word_places": places})


def word_spans(words: Sequence[str], joiner: str) -> np.ndarray:
    """Where each word begins and stops in the joined text, int[words, 2].

    >>> word_spans(["New", "York"], " ").tolist()
    [[0, 3], [4, 8]]
    """
    sizes = np.array([len(word) for word in words])
    starts = np.concatenate([[0], np.cumsum(sizes + len(joiner))[:-1]])
    return np.stack([starts, starts + sizes], axis=1)


def first_tokens(found: Located, spans: np.ndarray) -> np.ndarray:
    """For each span of characters the first token that has some of them and none of a span before it, or LOST. int[spans]"""
    real = np.flatnonzero(found.stops > found.starts)
    tokens = np.full(len(spans), LOST)
    if not len(real):
        return tokens
    starts, stops = found.starts[real], found.stops[real]
    at = np.searchsorted(stops, spans[:, 0], side="right")
    for number, (place, (begin, end)) in enumerate(zip(at, spans, strict=True)):
        taken = number and place < len(real) and starts[place] < spans[number - 1, 1]
        if taken and starts[place] < begin:  # it began in the word before
            place += 1
        if place < len(real) and starts[place] < end:
            tokens[number] = real[place]
    return tokens


def word_tags(
    labels: Sequence[str], word_places: Sequence[np.ndarray], predicted: Sequence[np.ndarray]
) -> tuple[list[list[str]], int]:
    """A tag for each word from the numbers of tags that were predicted at each place of its row, and how many were lost.

    `predicted` has int[T] for each example, in the order of `word_places`. A lost word is O, as it would be for a reader
    of the output.

    >>> word_tags(("O", "B-PER"), [np.array([1, 3, LOST])], [np.array([0, 1, 1, 0, 0])])
    ([['B-PER', 'O', 'O']], 1)
    """
    tags = [
        [OUTSIDE if place == LOST else labels[int(row[place])] for place in places]
        for places, row in zip(word_places, predicted, strict=True)
    ]
    return tags, lost_words(word_places)


def lost_words(word_places: Sequence[np.ndarray]) -> int:
    """How many words have no sub-word in their row."""
    return int(sum(np.count_nonzero(places == LOST) for places in word_places))


def check_prefix(task: Tagging, examples: Sequence[Example]) -> None:
    """DataError where every word has the mark of a language before it, as in WikiANN's files, and the task leaves it there."""
    if len(examples) < 2:
        return
    found = re.match(r"[a-z]{2,3}:", examples[0]["words"][0])
    if found and not task.prefix and all(word.startswith(found[0]) for e in examples for word in e["words"]):
        raise DataError(f"{examples[0].place}: every word of the file begins with {found[0]!r}, which is no part of it; take it "
                        f"away with --data.task.prefix {found[0]}")  # fmt: skip
