"""A text for a text as rows: two sides for an encoder and a decoder, or one row that a decoder goes on with."""

from collections.abc import Sequence

import numpy as np

from data.batch import Row
from data.errors import DataError
from data.sides import Side, from_sides
from data.tasks.choices import Generation
from data.tasks.examples import Example, fill_template
from data.tasks.rows import Rows, encode_all, locate_all, pad_of, row_of
from data.text_pairs import start_of_target
from data.tokenizers.frames import Located
from data.tokenizers.interface import Tokenizer


def generation_rows(task: Generation, examples: list[Example], tokenizer: Tokenizer, row_length: int) -> Rows:
    """One row an example, with `next_targets` and `next_weights` on the target and its end mark only.

    What is too long is cut from the source, never from the words of the template around it: at its end, or of a conversation
    at its beginning. `extras["prompts"]` has the ids that a model is given before it writes.
    """
    special = tokenizer.special
    end = special.sep if special.eos is None else special.eos
    ends = np.array([] if end is None else [end], np.int32)
    most = task.target_length or (row_length if task.sides == "two" else row_length // 2)
    opening = np.array([], np.int32) if task.sides == "two" else tokenizer.frame(1).around[0]
    prompts = [fill_template(task, task.template, example) for example in examples]
    located = locate_all(tokenizer, prompts)
    targets = encode_all(tokenizer, [continuation(tokenizer, prompt, e["target"], task)
                                     for prompt, e in zip(prompts, examples, strict=True)])  # fmt: skip
    rows, given, cuts = [], [], 0
    for example, prompt, found, target in zip(examples, prompts, located, targets, strict=True):
        if not len(found.ids) or not len(target):
            raise DataError(
                f"{example.place} has a source or a target of which the tokenizer leaves nothing; write its text"
            )
        kept = target[: most - len(ends)]
        room = row_length - len(ends) if task.sides == "two" else row_length + 1 - len(opening) - len(kept) - len(ends)
        source = cut_source(found, prompt, example, room)
        cuts += len(kept) < len(target) or len(source) < len(found.ids)
        if task.sides == "two":
            given.append(np.concatenate([source, ends]))
            rows.append(
                _two_sides(given[-1], np.concatenate([kept, ends]), start_of_target(special), pad_of(tokenizer))
            )
        else:
            given.append(np.concatenate([opening, source]).astype(np.int32))
            rows.append(_one_side(given[-1], np.concatenate([kept, ends])))
    return Rows(rows, np.arange(len(rows), dtype=np.int32), cuts, {"prompts": given})


def gather_references(examples: Sequence[Example]) -> list[Example]:
    """Examples of one source as a single one with all of their targets as references, at the place of the first.

    Scores must look at every reference of a source; where a file has a line for each, they are gathered here.
    """
    first: dict[str, int] = {}
    gathered: list[Example] = []
    for example in examples:
        if (place := first.setdefault(example["source"], len(gathered))) == len(gathered):
            gathered.append(example)
        else:
            known = gathered[place]["references"]
            new = [text for text in example["references"] if text not in known]
            gathered[place] = Example(gathered[place].fields | {"references": [*known, *new]}, gathered[place].place)
    return gathered


def continuation(tokenizer: Tokenizer, prompt: str, target: str, task: Generation) -> str:
    """A target as it is to be encoded by itself: behind a prompt that does not end with white space it opens with a space."""
    if task.sides == "two" or prompt[-1:].isspace():
        return target
    return tokenizer.continuing(f" {target}")


def cut_source(found: Located, prompt: str, example: Example, room: int) -> np.ndarray:
    """The ids of a prompt, so many of those of its source left out that it has room."""
    over = len(found.ids) - room
    if over <= 0:
        return found.ids
    source = example["source"]
    begin = prompt.find(source)
    inside = np.flatnonzero((found.starts >= begin) & (found.stops <= begin + len(source)))
    if begin < 0 or over >= len(inside):
        raise DataError(f"{example.place} does not fit: {room} tokens are left for what is read, and the template alone takes "
                        f"{len(found.ids) - len(inside)}; use a larger --data.row_length or a shorter target_length")  # fmt: skip
    left_out = inside[:over] if example.fields.get("spoken") else inside[-over:]
    return np.delete(found.ids, left_out)


def _two_sides(source: np.ndarray, target: np.ndarray, start: int, pad: int) -> Row:
    sides = Side(len(source), pad), Side(len(target), pad)
    for side, ids in zip(sides, (source, target), strict=True):
        side.append(ids)
    return from_sides(*sides, start=start, labels={})


def _one_side(prompt: np.ndarray, target: np.ndarray) -> Row:
    ids = np.concatenate([prompt, target]).astype(np.int32)
    weights = np.zeros(len(ids) - 1, np.float32)
    weights[len(prompt) - 1 :] = 1.0
    labels = {"next_targets": ids[1:], "next_weights": weights}
    return row_of(ids[:-1], np.zeros(len(ids) - 1, np.int32), labels)
