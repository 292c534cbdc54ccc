"""A held-out part where a source has none: chosen by a hash of the text, so that neither order nor seed changes it."""

import hashlib
from collections.abc import Sequence

from data.errors import DataError
from data.tasks.examples import Example

TEXTS = ("text", "second", "question", "context", "source")
OPENING = 60


def split_by_text(examples: Sequence[Example], fraction: float, named: str) -> tuple[list[Example], list[Example]]:
    """Training and held-out examples, in their order; examples of one text, or one article, are on one side.

    The texts with the smallest hashes are held out, until they make up the fraction.
    """
    keys = [group_of(example) for example in examples]
    counts: dict[str, int] = {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    if len(counts) < 2:
        raise DataError(f"{named} has {len(counts)} text{'' if len(counts) == 1 else 's'}, too few to hold one out and train on "
                        "another; name a held-out file: files:TRAIN|VALID")  # fmt: skip
    wanted, held_out, taken = max(1, round(fraction * len(examples))), set(), 0
    for key in sorted(counts, key=lambda key: hashlib.sha256(key.encode("utf-8", "replace")).digest()):
        if taken >= wanted or len(held_out) == len(counts) - 1:
            break
        held_out.add(key)
        taken += counts[key]
    return (
        [example for example, key in zip(examples, keys, strict=True) if key not in held_out],
        [example for example, key in zip(examples, keys, strict=True) if key in held_out],
    )


def group_of(example: Example) -> str:
    """What must not be on both sides: the article of a question, or the first text that is read."""
    fields = example.fields
    if "context" in fields:
        return fields["title"] or fields["context"]
    if "words" in fields:
        return " ".join(fields["words"])
    return " ".join((fields.get("text") or fields["source"]).split())


def without_repeated(train: Sequence[Example], valid: Sequence[Example]) -> list[Example]:
    """The training examples that do not open as a held-out one does: those tell a score more than the model knows."""
    held_out = {opening_of(example) for example in valid}
    return [example for example in train if opening_of(example) not in held_out]


def opening_of(example: Example) -> tuple[str, ...]:
    """The first letters and digits of each text of an example, by which a copy is known."""
    texts = [example.fields[name] for name in TEXTS if name in example.fields]
    texts += [" ".join(example["words"])] if "words" in example.fields else []
    return tuple("".join(filter(str.isalnum, text.lower()))[:OPENING] or text for text in texts)
