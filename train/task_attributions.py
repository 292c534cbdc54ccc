"""What a classifier's surest mistakes owe to each token, for the report of a fine-tuned run."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from data.tasks.opened import TaskSet
from data.tokenizers import Tokenizer
from model.encoder import Encoder
from model.inspection.calls import Inputs
from model.inspection.metrics import LogProbability
from model.inspection.saliency import integrated_gradients
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
    """Integrated gradients of the log-probability of the predicted class, from a baseline of zeros, by number of the example.

    Only encoders have them here: what a decoder's early tokens owe is spread over all that follow.
    """
    if not isinstance(model, Encoder):
        return {}
    probabilities = np.exp(log_softmax(logits))
    found = {}
    for number in surest_mistakes(logits.argmax(1), targets, probabilities, SHOWN):
        row = held_out.rows[number]
        if len(row.tokens) > LONGEST:
            continue
        length = -(-len(row.tokens) // 16) * 16  # few shapes are compiled

        def padded(values: np.ndarray, length: int = length) -> np.ndarray:
            return np.pad(values, (0, length - len(values)))[None]

        types = None if row.token_types is None or model.config.num_token_types < 2 else padded(row.token_types)
        inputs = Inputs(padded(row.tokens), padded(row.positions), padded(row.segments), types)
        metric = LogProbability(int(logits[number].argmax()))
        scores = integrated_gradients(model, inputs, metric, steps=STEPS)[0, : len(row.tokens)]
        words = tuple(tokenizer.token(int(index)) for index in row.tokens)
        found[number] = Attributions(words, tuple(map(float, scores)))
    return found
