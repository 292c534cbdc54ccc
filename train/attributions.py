"""What a classifier's answer owes to each token: integrated gradients of the log-probability of the class that it named.

For the mistakes that a report shows, `with_attributions` puts them into what train/predictions.py describes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data.batch import Row
from data.tokenizers import Tokenizer
from model.inspection.calls import Inputs, gradients
from model.inspection.metrics import LogProbability
from model.inspection.saliency import embeddings_site, integrated_gradients
from model.ragged import bucket
from train.predictions import DIGITS, Attributions, surest_mistakes

MOST, STEPS = 12, 24  # examples that are explained, and points on the way to each
TOGETHER = 4  # rows in one call: fewer kinds of shapes, and little memory


def attribute(
    model: Any, tokenizer: Tokenizer, rows: Sequence[Row], classes: Sequence[int], *, steps: int = STEPS
) -> list[Attributions]:
    """For each row what the log-probability of its class owes to its tokens (arXiv:1703.01365).

    The baseline is the row with [MASK] in the place of every token that stands for text ([PAD] or [UNK] where the vocabulary has
    none), not a row of zeros: next to zeros a norm blows up whatever there is, and few points would see nothing of
    the way. Scores of a row add up to its log-probability less that of its baseline, up to the error of so many points.

    Rows of one class go together, padded to one length: each pair of class and length is compiled once.
    """
    found: list[Any] = [None] * len(rows)
    groups: dict[tuple[int, int], list[int]] = {}
    for number, (row, named) in enumerate(zip(rows, classes, strict=True)):
        groups.setdefault((int(named), bucket(len(row.tokens))), []).append(number)
    for (named, length), members in groups.items():
        for begin in range(0, len(members), TOGETHER):
            some = members[begin : begin + TOGETHER]
            inputs, metric, site = (
                _inputs([rows[n] for n in some], length),
                LogProbability(named),
                embeddings_site(model),
            )
            hidden = inputs._replace(tokens=hide(tokenizer, np.asarray(inputs.tokens)))
            baseline = np.asarray(gradients(model, hidden, metric, [site])[1][site])
            scores = integrated_gradients(model, inputs, metric, baseline=baseline, steps=steps)
            for number, row_scores in zip(some, scores, strict=False):  # behind them come empty rows
                tokens = rows[number].tokens
                names = tuple(tokenizer.token(int(token)) for token in tokens)
                found[number] = Attributions(names, tuple(float(score) for score in row_scores[: len(tokens)]))
    return found


def hide(tokenizer: Tokenizer, tokens: np.ndarray) -> np.ndarray:
    """Tokens with the mask in the place of each that stands for text; marks stay."""
    special = tokenizer.special
    blank = next((index for index in (special.mask, special.pad, special.unk, special.eos) if index is not None), 0)
    return np.where(np.isin(tokens, sorted(special.ids)), tokens, blank).astype(tokens.dtype)


def with_attributions(
    found: dict[str, Any],
    rows: Sequence[Row],
    model: Any,
    tokenizer: Tokenizer,
    *,
    most: int = MOST,
    steps: int = STEPS,
) -> dict[str, Any]:
    """The content of predictions.json with attributions at the surest mistakes; `rows` has the row of each example."""
    examples = found["examples"]
    if not examples:
        return found
    targets, predicted = (np.array([one[name] for one in examples]) for name in ("target", "predicted"))
    chances = np.array([one["probabilities"] for one in examples])
    numbers = surest_mistakes(predicted, targets, chances, most)
    owed = attribute(model, tokenizer, [rows[n] for n in numbers], [predicted[n] for n in numbers], steps=steps)
    examples = list(examples)
    for number, one in zip(numbers, owed, strict=True):
        scores = [round(score, DIGITS) for score in one.scores]
        examples[number] = examples[number] | {"attributions": {"tokens": list(one.tokens), "scores": scores}}
    return found | {"examples": examples}


def _inputs(rows: Sequence[Row], length: int) -> Inputs:
    """Rows as the inputs of a model, padded on the right and with empty rows."""
    arrays = np.zeros((4, TOGETHER, length), np.int32)
    for number, row in enumerate(rows):
        parts = (row.tokens, row.positions, row.segments, 0 if row.token_types is None else row.token_types)
        for array, values in zip(arrays, parts, strict=True):
            array[number, : len(row.tokens)] = values
    tokens, positions, segments, types = arrays
    return Inputs(tokens, positions, segments, types)
