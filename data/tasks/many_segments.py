"""Rows with a segment for each of several texts that belong together: choices to choose from, texts that mean the same."""

from collections.abc import Callable, Sequence

import numpy as np

from data.batch import Row
from data.errors import DataError
from data.tasks.choices import MultipleChoice, Similarity
from data.tasks.examples import Example
from data.tasks.rows import Rows, encode_all, frame_of, framed, one
from data.tokenizers.frames import Framed
from data.tokenizers.interface import Tokenizer


def choice_rows(task: MultipleChoice, examples: list[Example], tokenizer: Tokenizer, row_length: int) -> Rows:
    """One row an example, segment 1, 2, ... being the text with the first, second, ... choice.

    `choice_targets` int32[1], `choice_places` int32[C] the first token of each, `choice_allowed` bool[C] False where an
    example has fewer choices than the most of its part. A segment has a row's length divided by C.
    """
    frame = frame_of(tokenizer, 2)
    most = max(len(example["choices"]) for example in examples)
    texts = [f"{e['text']} {e['second']}" if task.second else e["text"] for e in examples]
    stems = encode_all(tokenizer, texts)
    endings = iter(encode_all(tokenizer, [choice for example in examples for choice in example["choices"]]))
    rows, cuts = [], 0
    for example, stem in zip(examples, stems, strict=True):
        wholes = [framed(frame, [stem, next(endings)], row_length // most, example.place) for _ in example["choices"]]
        cuts += any(cut for _, cut in wholes)
        segments = [whole for whole, _ in wholes]
        places = np.zeros(most, np.int32)
        places[: len(segments)] = np.cumsum([0, *(len(segment.ids) for segment in segments[:-1])])
        labels = {
            "choice_targets": np.array([example["label"]], np.int32),
            "choice_weights": one(),
            "choice_places": places,
            "choice_allowed": np.arange(most) < len(segments),
        }
        rows.append(row_of_segments(segments, labels))
    return Rows(rows, np.arange(len(rows), dtype=np.int32), cuts)


def similar_rows(examples: list[Example], tokenizer: Tokenizer, row_length: int) -> Rows:
    """One row an example: its text and its positive (or itself again), and a negative where there are those."""
    frame = frame_of(tokenizer, 1)
    known = examples[0].fields
    roles = ["text", "positive" if "positive" in known else "text", *(["negative"] if "negative" in known else [])]
    encoded = {role: encode_all(tokenizer, [example[role] for example in examples]) for role in set(roles)}
    rows, cuts = [], 0
    for number, example in enumerate(examples):
        wholes = [framed(frame, [encoded[role][number]], row_length // len(roles), example.place) for role in roles]
        cuts += any(cut for _, cut in wholes)
        rows.append(row_of_segments([whole for whole, _ in wholes], {"pair_weights": one()}))
    return Rows(rows, np.arange(len(rows), dtype=np.int32), cuts)


def check_pairs(
    task: Similarity, train: Sequence[Example], valid: Sequence[Example], say: Callable[[str], None]
) -> None:
    """DataError where the held-out part lacks what its score needs; a line where training has no positives of its own."""
    for role in ("positive", "score"):
        names = getattr(task, role)
        if names and role not in valid[0].fields and (task.score or role in train[0].fields):
            raise DataError(f"{valid[0].place} has no column {' or '.join(names)}, which scores need; name the column of pairs "
                            f"with --data.task.{role}, or another held-out part")  # fmt: skip
    if task.positive and "positive" not in train[0].fields:
        say(f"the training part has no column {' or '.join(task.positive)} ({train[0].place}): each text is its own positive, "
            "read twice under another dropout")  # fmt: skip


def row_of_segments(segments: list[Framed], labels: dict[str, np.ndarray]) -> Row:
    """A row of several segments, one behind the other, positions counted anew in each."""
    return Row(
        np.concatenate([segment.ids for segment in segments]),
        np.concatenate([np.arange(len(segment.ids), dtype=np.int32) for segment in segments]),
        np.concatenate([np.full(len(s.ids), number, np.int32) for number, s in enumerate(segments, start=1)]),
        np.concatenate([segment.types for segment in segments]),
        labels,
    )
