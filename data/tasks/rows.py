"""Texts as rows: the frame that a tokenizer puts around them, and what is cut where they are too long."""

from typing import Any, NamedTuple

import numpy as np

from data.batch import Row
from data.errors import DataError
from data.tasks.choices import Classification, MultiLabel, Regression
from data.tasks.examples import Example, fill_template
from data.tokenizers.frames import Frame, Framed, Located
from data.tokenizers.interface import Tokenizer

ROW_LABELS = (
    "tag_targets",
    "tag_weights",
    "span_allowed",
    "next_targets",
    "next_weights",
)  # those of a place each: [T]
TOGETHER = 1_000  # texts that are tokenised at once

_COUNT = np.arange(2**15, dtype=np.int32)
_ONE = np.ones(2**15, np.int32)
for _shared in (_COUNT, _ONE):
    _shared.flags.writeable = False  # rows hold views of them


class Rows(NamedTuple):
    """The rows of a part of a task, the example that each is of, how many examples were cut, what turns predictions back."""

    rows: list[Row]
    owner: np.ndarray  # int32[rows]
    cut: int
    extras: dict[str, Any] | None = None


def frame_of(tokenizer: Tokenizer, texts: int) -> Frame:
    """What belongs around one text or two: the tokenizer's own template.

    Where nothing follows the last text, as with GPT-2 and Llama, an end of text does, if the vocabulary has one: that is
    the token whose state a classifier of a decoder reads. Between two texts it stands too, where nothing else does.
    """
    frame = tokenizer.frame(texts)
    end = tokenizer.special.eos
    if end is None or len(frame.around[-1]):
        return frame
    ends = np.array([end], np.int32)
    around = [frame.around[0], *(np.concatenate([ends, part]) for part in frame.around[1:])]
    kinds = [frame.types_around[0]]
    kinds += [np.concatenate([[kind], part]) for kind, part in zip(frame.types, frame.types_around[1:], strict=True)]
    return Frame(tuple(around), tuple(np.asarray(kind, np.int32) for kind in kinds), frame.types)


def cut_longest(sizes: list[int], room: int) -> list[int]:
    """What is left of texts that have room together: one token at a time goes from the longest, of equals from the last.

    So does BERT's own code (Devlin et al., arXiv:1810.04805).

    >>> cut_longest([10, 3], 8), cut_longest([10, 10], 5)
    ([5, 3], [3, 2])
    """
    sizes = list(sizes)
    while (over := sum(sizes) - room) > 0:
        longest = max(sizes)
        place = len(sizes) - 1 - sizes[::-1].index(longest)
        others = max((size for number, size in enumerate(sizes) if number != place), default=0)
        sizes[place] -= min(over, max(1, longest - max(others, 0)))
    return sizes


def framed(frame: Frame, texts: list[np.ndarray], row_length: int, place: str) -> tuple[Framed, bool]:
    """Texts in their frame, cut to the length of a row, and whether they were."""
    room = row_length - frame.size
    if room < len(texts):
        raise DataError(f"row_length={row_length} leaves no room beside {frame.size} special tokens; use a larger "
                        "--data.row_length")  # fmt: skip
    for text in texts:
        if not len(text):
            raise DataError(
                f"{place} has a text of which the tokenizer leaves nothing; remove that line, or write its text"
            )
    sizes = cut_longest([len(text) for text in texts], room)
    cut = sum(sizes) < sum(map(len, texts))
    return frame.fill(*(text[:size] for text, size in zip(texts, sizes, strict=True))), cut


def row_of(ids: np.ndarray, types: np.ndarray, labels: dict[str, np.ndarray]) -> Row:
    """A row of one segment."""
    size = len(ids)
    return Row(ids, _COUNT[:size], _ONE[:size], types, labels)


def encode_all(tokenizer: Tokenizer, texts: list[str]) -> list[np.ndarray]:
    """Ids of many texts."""
    parts = (texts[start : start + TOGETHER] for start in range(0, len(texts), TOGETHER))
    return [ids for part in parts for ids in tokenizer.encode_batch(part)]


def locate_all(tokenizer: Tokenizer, texts: list[str]) -> list[Located]:
    """Ids and places of many texts."""
    parts = (texts[start : start + TOGETHER] for start in range(0, len(texts), TOGETHER))
    return [found for part in parts for found in tokenizer.locate_batch(part)]


def texts_of(task: Classification | MultiLabel | Regression, example: Example) -> list[str]:
    """What is read of an example: one text, or two."""
    if task.template is not None:
        return [fill_template(task, task.template, example)]
    return [example["text"], *([example["second"]] if task.second else [])]


def labelled_rows(
    task: Classification | MultiLabel | Regression, examples: list[Example], tokenizer: Tokenizer, row_length: int
) -> Rows:
    """One row an example, with the label of the whole."""
    paired = bool(task.second) and task.template is None
    frame = frame_of(tokenizer, 2 if paired else 1)
    sides = [encode_all(tokenizer, list(side)) for side in zip(*(texts_of(task, e) for e in examples), strict=True)]
    label = _label_writer(task)
    rows, cuts = [], 0
    for number, example in enumerate(examples):
        whole, cut = framed(frame, [side[number] for side in sides], row_length, example.place)
        cuts += cut
        rows.append(row_of(whole.ids, whole.types, {"label_targets": label(example), "label_weights": one()}))
    return Rows(rows, np.arange(len(rows), dtype=np.int32), cuts)


def one() -> np.ndarray:
    """The weight of one target, float32[1]."""
    return np.ones(1, np.float32)


def pad_of(tokenizer: Tokenizer) -> int:
    """What fills up a row; never seen, since its segment is 0."""
    special = tokenizer.special
    known = [index for index in (special.pad, special.eos, special.sep) if index is not None]
    return known[0] if known else 0


def _label_writer(task: Classification | MultiLabel | Regression) -> Any:
    if isinstance(task, Regression):
        return lambda example: np.array([example["target"]], np.float32)
    assert task.labels is not None
    number = {name: index for index, name in enumerate(task.labels)}
    if isinstance(task, Classification):
        return lambda example: np.array([number[example["label"]]], np.int32)

    def many(example: Example) -> np.ndarray:
        target = np.zeros((1, len(number)), np.float32)
        target[0, [number[name] for name in example["labels"]]] = 1.0
        return target

    return many
