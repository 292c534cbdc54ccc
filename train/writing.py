"""Text from an opened model, for notebooks and for the command: prompts as text in, texts out.

from train.pretrained import open_any
from train.writing import write
write(open_any("runs/gpt2_tiny"), ["def main("], sampling=Sampling(temperature=0.8, top_p=0.95), seed=1)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import numpy as np

from model.beam import beam_search
from model.generation import Generated, Writing, prepare
from model.quantized import Weights
from model.ragged import GenerationError
from model.sampling import Sampling
from train.pretrained import Opened
from train.prompts import check_writes, ids_of, manner_of, tokenizer_of
from train.streaming import Pieces

LOOKED_FOR = 16  # tokens between two looks for a stop string, where nobody watches


@dataclass(frozen=True)
class Written:
    """A text that was written.

    Attributes:
        text: what stands behind the prompt, without marks, cut before a stop string.
        tokens: the ids it was made of, marks and all.
        log_probabilities: of each of them by the model itself, before temperature and all else; empty for beams.
        reason: "stop": a mark of the end or a stop string came. "length": as long as was asked for. "positions": the model
            has no more of them.
        score: of a beam, its log-probability over its length to the power of the length penalty.
    """

    text: str
    tokens: np.ndarray
    log_probabilities: np.ndarray
    reason: str
    score: float | None = None


def write(
    opened: Opened,
    prompts: Sequence[str | np.ndarray],
    *,
    max_new_tokens: int = 128,
    sampling: Sampling = Sampling(),
    stop: Sequence[str] = (),
    num_return_sequences: int = 1,
    num_beams: int = 1,
    length_penalty: float = 1.0,
    seed: int = 0,
    weights: Weights | None = None,
    show: Callable[[str], None] | None = None,
) -> list[list[Written]]:
    """For each prompt as many texts as `num_return_sequences`.

    Args:
        opened: what `open_any` gave.
        prompts: texts, or ids, marks and all; for an encoder-decoder they are sources.
        stop: strings before which a text ends.
        num_beams: more than one searches for the likeliest text (model/beam.py).
        seed: of what is drawn. A text depends on it, on the number of its prompt and of its copy, and on nothing beside.
        weights: "bfloat16" or "int8"; None as the model has them.
        show: is given the pieces of the first text as they are made.
    """
    check_writes(opened)
    manner, tokenizer = manner_of(opened), tokenizer_of(opened)
    ids = [ids_of(opened, prompt, manner) for prompt in prompts]
    before = [[] if manner.start is not None else list(prompt) for prompt in ids]
    shared = {"max_new_tokens": max_new_tokens, "stop_tokens": manner.stops, "start_token": manner.start}
    if num_beams > 1:
        if num_return_sequences > num_beams:
            raise GenerationError(
                f"num_return_sequences={num_return_sequences} are more than num_beams={num_beams}; raise num_beams"
            )
        found = beam_search(
            prepare(opened.model, weights),
            ids,
            beams=num_beams,
            length_penalty=length_penalty,
            prefix=manner.prefix,
            **shared,
        )
        texts = []
        for prompt, row in zip(before, found, strict=True):
            hypotheses = [Generated(one.tokens, np.zeros(0, np.float32), one.reason) for one in row]
            scores = [one.score for one in row]
            texts.append(
                [finish(tokenizer, prompt, h, stop, s) for h, s in zip(hypotheses, scores, strict=True)][
                    :num_return_sequences
                ]
            )
        return texts
    writing = Writing(
        prepare(opened.model, weights),
        ids,
        sampling=sampling,
        copies=num_return_sequences,
        key=jax.random.key(seed),
        prefix=manner.prefix,
        **shared,
    )
    steps = 1 if show is not None else LOOKED_FOR if stop else max_new_tokens
    pieces = [[Pieces(tokenizer, prompt, stop) for _ in range(num_return_sequences)] for prompt in before]
    seen = 0
    for rows in writing.pieces(steps):
        for row, of_row in zip(rows, pieces, strict=True):
            for one, piece in zip(row, of_row, strict=True):
                fresh = piece.push(ends(one, manner.stops)[seen:].tolist())
                if show is not None and one is rows[0][0]:
                    show(fresh)
        seen = writing.step
        flat = [piece for of_row in pieces for piece in of_row]
        if all(piece.stopped or ended for piece, ended in zip(flat, writing.ended, strict=True)):
            break
    if show is not None:
        show(pieces[0][0].push([], last=True))
    return [
        [finish(tokenizer, prompt, one, stop, ends_at=manner.stops) for one in row]
        for prompt, row in zip(before, writing.written(), strict=True)
    ]


def ends(one: Generated, stops: Sequence[int]) -> np.ndarray:
    """Its tokens without the one that ended it."""
    return one.tokens[:-1] if one.reason == "stop" and len(one.tokens) and int(one.tokens[-1]) in stops else one.tokens


def finish(tokenizer, prompt, one: Generated, stop: Sequence[str], score: float | None = None, ends_at=()) -> Written:
    """A text from the tokens of one row, cut before the first stop string."""
    pieces = Pieces(tokenizer, prompt, stop)
    tokens = ends(one, ends_at) if ends_at else one.tokens
    text, used = "", len(one.tokens)
    if not stop:
        pieces.push(tokens.tolist(), last=True)
        return Written(pieces.text, one.tokens, one.log_probabilities, one.reason, score)
    for number, token in enumerate(tokens.tolist(), start=1):
        pieces.push([token])
        if pieces.stopped:
            used = number
            break
    else:
        pieces.push([], last=True)
    text, reason = pieces.text, "stop" if pieces.stopped else one.reason
    return Written(text, one.tokens[:used], one.log_probabilities[:used], reason, score)
