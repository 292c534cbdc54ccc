"""What a classifier's surest mistakes owe to each token, for the report of a fine-tuned run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from data.batch import Row
from data.tasks.opened import TaskSet
from data.tokenizers import Tokenizer
from model.encoder import Encoder
from model.inspection.calls import Inputs, gradients
from model.inspection.metrics import LogProbability
from model.inspection.saliency import embeddings_site, integrated_gradients
from train.predictions import Attributions, surest_mistakes
from train.task_metrics import log_softmax

SHOWN = 12  # mistakes
STEPS = 16  # of the integral: enough for colours; 64 for figures
LONGEST = 256  # tokens: what is longer is no picture


def attributions(
    model: Any,
    held_out: TaskSet,
    logits: Float[np.ndarray, "n C"],
    targets: Int[np.ndarray, " n"],
    tokenizer: Tokenizer,
) -> dict[int, Attributions]:
    """What each of the surest mistakes owes to its tokens, by number of the example.

    Only encoders have them here: what a decoder's early tokens owe is spread over all that follow.
    """
    if not isinstance(model, Encoder):
        return {}
    probabilities = np.exp(log_softmax(logits))
    groups: dict[int, list[int]] = {}
    for number in surest_mistakes(logits.argmax(1), targets, probabilities, SHOWN):
        if (length := len(held_out.rows[number].tokens)) <= LONGEST:
            groups.setdefault(1 << max(4, (length - 1).bit_length()), []).append(number)
    found = {}
    for (
        numbers
    ) in groups.values():  # rows of about the same length: few shapes are compiled, and little padding is read
        rows, named = [held_out.rows[number] for number in numbers], logits[numbers].argmax(1).tolist()
        found |= zip(numbers, attribute(model, tokenizer, rows, named), strict=True)
    return found


def attribute(
    model: Any, tokenizer: Tokenizer, rows: Sequence[Row], named: Sequence[int], *, steps: int = STEPS
) -> list[Attributions]:
    """Integrated gradients of the log-probability of the class named for each row (arXiv:1703.01365), by token.

    The baseline is the row with every word masked, its marks kept; zeros would not do: the norm behind the embeddings takes
    the length out of what it reads, so that nearly all of the way from zeros lies next to them, between two steps (16 of
    them find a twelfth of it on MiniLM). What tokens owe adds up to the log-probability less that of the baseline, up to the
    error of so many steps.
    """
    length = -(-max(len(row.tokens) for row in rows) // 16) * 16

    def padded(values: Sequence[Any]) -> np.ndarray:
        return np.stack([np.pad(one, (0, length - len(one))) for one in values])

    tokens, positions, segments = (
        padded([getattr(row, name) for row in rows]) for name in ("tokens", "positions", "segments")
    )
    typed = rows[0].token_types is not None and model.config.num_token_types > 1
    types = padded([row.token_types for row in rows]) if typed else None
    inputs = Inputs(tokens, positions, segments, types)
    masked = inputs._replace(tokens=padded([hide(tokenizer, row.tokens) for row in rows]))
    metrics, site = tuple(map(LogProbability, named)), embeddings_site(model)
    baseline = np.asarray(gradients(model, masked, metrics, [site])[1][site])
    scores = integrated_gradients(model, inputs, metrics, baseline=baseline, steps=steps)
    words = [tuple(tokenizer.token(int(index)) for index in row.tokens) for row in rows]
    return [Attributions(said, tuple(map(float, one[: len(said)]))) for said, one in zip(words, scores, strict=True)]


def hide(tokenizer: Tokenizer, tokens: Int[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
    """Tokens with [MASK] (or [UNK], where the vocabulary has none) in the place of each that stands for text; marks stay."""
    special = tokenizer.special
    blank = next((index for index in (special.mask, special.unk, special.pad) if index is not None), 0)
    return np.where(np.isin(tokens, sorted(special.ids)), tokens, blank).astype(np.int32)
