"""What a classifier's surest mistakes owe to each token, for the report of a fine-tuned run."""

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
    found = {}
    for number in surest_mistakes(logits.argmax(1), targets, probabilities, SHOWN):
        row = held_out.rows[number]
        if len(row.tokens) <= LONGEST:
            found[number] = attribute(model, tokenizer, row, int(logits[number].argmax()))
    return found


def attribute(model: Any, tokenizer: Tokenizer, row: Row, named: int, *, steps: int = STEPS) -> Attributions:
    """Integrated gradients of the log-probability of class `named` (arXiv:1703.01365), by token.

    The baseline is the row with every word masked, its marks kept; zeros would not do: the norm behind the embeddings takes
    the length out of what it reads, so that nearly all of the way from zeros lies next to them, between two steps (16 of
    them find a twelfth of it on MiniLM). What tokens owe adds up to the log-probability less that of the baseline, up to the
    error of so many steps.
    """
    length = -(-len(row.tokens) // 16) * 16  # few shapes are compiled

    def padded(values: np.ndarray) -> np.ndarray:
        return np.pad(values, (0, length - len(values)))[None]

    types = None if row.token_types is None or model.config.num_token_types < 2 else padded(row.token_types)
    inputs = Inputs(padded(row.tokens), padded(row.positions), padded(row.segments), types)
    metric, site = LogProbability(named), embeddings_site(model)
    masked = inputs._replace(tokens=padded(hide(tokenizer, row.tokens)))
    baseline = np.asarray(gradients(model, masked, metric, [site])[1][site])
    scores = integrated_gradients(model, inputs, metric, baseline=baseline, steps=steps)[0, : len(row.tokens)]
    words = tuple(tokenizer.token(int(index)) for index in row.tokens)
    return Attributions(words, tuple(map(float, scores)))


def hide(tokenizer: Tokenizer, tokens: Int[np.ndarray, " T"]) -> Int[np.ndarray, " T"]:
    """Tokens with [MASK] (or [UNK], where the vocabulary has none) in the place of each that stands for text; marks stay."""
    special = tokenizer.special
    blank = next((index for index in (special.mask, special.unk, special.pad) if index is not None), 0)
    return np.where(np.isin(tokens, sorted(special.ids)), tokens, blank).astype(np.int32)
