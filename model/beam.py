"""Beam search: the likeliest texts that a search of limited width finds, in one compiled loop.

    score(text) = log p(text | prompt) / length(text)^length_penalty

At every step each of the W beams of a row is continued by every token. Of the W best continuations those that end a text are
finished; the W best of those that do not, of all continuations, are the next beams. A row is done when its best beam, as it
stands, scores no better than the worst of W finished texts. That is what the published implementation (transformers) does
too; with W as large as the number of all texts it is an exhaustive search, and W = 1 is greedy.

References: Wu et al., arXiv:1609.08144, section 7 (length normalisation, there with another penalty).
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from kernels.attention import LOWEST
from model.cache import Cache
from model.generation import Ready, read_prompts, repeated
from model.ragged import GenerationError, Sides, laid_out


class Hypothesis(NamedTuple):
    """A text that a search found: its tokens (the stop token included), its score, and why it ends."""

    tokens: np.ndarray
    score: float
    reason: str


class Bounds(NamedTuple):
    """What does not change during a search: tokens that a row may get, those that end a text, first position, penalty."""

    limits: Int[Array, " B"]
    stops: Int[Array, " E"]
    starts: Int[Array, " B"]
    penalty: Float[Array, ""]


class Beams(NamedTuple):
    """What each step changes: W live beams a row with their tokens and log-probabilities, and the W best finished texts.

    `cache` has a row for each beam, of everything but the last token.
    """

    cache: Cache
    tokens: Int[Array, "B W N"]
    scores: Float[Array, "B W"]
    finished: Int[Array, "B W N"]
    finished_scores: Float[Array, "B W"]
    lengths: Int[Array, "B W"]
    done: Bool[Array, " B"]
    step: Int[Array, ""]


def beam_search(
    ready: Ready,
    prompts: Sequence[np.ndarray],
    *,
    beams: int,
    max_new_tokens: int = 128,
    length_penalty: float = 1.0,
    stop_tokens: Sequence[int] = (),
    start_token: int | None = None,
    prefix: bool = False,
) -> list[list[Hypothesis]]:
    """For each prompt the finished texts, the best first: `beams` of them, or fewer where there are no more.

    A `length_penalty` above 0 prefers long texts, below 0 short ones; other arguments as for `Writing`.
    """
    if beams < 1:
        raise GenerationError(f"num_beams={beams} must be at least 1")
    laid = laid_out(
        ready.model, prompts, max_new_tokens=max_new_tokens, stop_tokens=stop_tokens, start_token=start_token
    )
    bounds = Bounds(laid.limits, laid.stops, laid.starts, jnp.asarray(length_penalty, jnp.float32))
    found = _search(ready.graph, beams, prefix, laid.width, ready.params, bounds, laid.side, laid.start)
    tokens, scores, lengths, stops = jax.device_get((*found, laid.stops))
    rows = []
    for row, limit in enumerate(laid.most):
        texts = []
        for text, score, length in zip(tokens[row], scores[row], lengths[row], strict=True):
            if score > LOWEST / 2:
                ended = "length" if limit == max_new_tokens else "positions"
                reason = "stop" if int(text[length - 1]) in stops else ended
                texts.append(Hypothesis(text[:length], float(score), reason))
        rows.append(texts)
    return rows


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _search(graph, beams: int, prefix: bool, width: int, params, bounds: Bounds, side: Sides, start):
    model = nnx.merge(graph, params)
    logits, cache = read_prompts(model, side, start, width, prefix)
    rows = logits.shape[0]
    state = Beams(
        cache=repeated(cache, beams),
        tokens=jnp.zeros((rows, beams, width), jnp.int32),
        scores=jnp.full((rows, beams), LOWEST).at[:, 0].set(0.0),  # all beams are the same one yet
        finished=jnp.zeros((rows, beams, width), jnp.int32),
        finished_scores=jnp.full((rows, beams), LOWEST),
        lengths=jnp.zeros((rows, beams), jnp.int32),
        done=bounds.limits < 1,
        step=jnp.zeros((), jnp.int32),
    )
    state = _continue(state, repeated(logits, beams), bounds)

    def step(state: Beams) -> Beams:
        last = jax.lax.dynamic_slice_in_dim(state.tokens, state.step - 1, 1, axis=2).reshape(-1, 1)
        position = jnp.maximum(bounds.starts + jnp.minimum(state.step, bounds.limits) - 1, 0)
        alive = (~state.done).astype(jnp.int32)
        place = (repeated(position, beams)[:, None], repeated(alive, beams)[:, None])
        hidden, cache = model.extend(state.cache, last, *place)
        return _continue(state._replace(cache=cache), model.predict_tokens(hidden)[:, 0], bounds)

    state = jax.lax.while_loop(lambda state: ~state.done.all(), step, state)
    return state.finished, state.finished_scores, state.lengths


def _continue(state: Beams, logits: Float[Array, "R V"], bounds: Bounds) -> Beams:
    """Continue every beam by every token, and keep the best."""
    rows, beams = state.scores.shape
    vocabulary = logits.shape[-1]
    total = state.scores[:, :, None] + jax.nn.log_softmax(logits).reshape(rows, beams, vocabulary)
    number = min(2 * beams + bounds.stops.shape[0] * beams, beams * vocabulary)  # enough for W that go on
    scores, places = jax.lax.top_k(total.reshape(rows, -1), number)
    parents, chosen = places // vocabulary, (places % vocabulary).astype(jnp.int32)
    texts = jnp.take_along_axis(state.tokens, parents[:, :, None], axis=1)
    texts = jax.lax.dynamic_update_slice(texts, chosen[:, :, None], (0, 0, state.step))
    length = state.step + 1
    possible = scores > LOWEST / 2
    ends = ((chosen[:, :, None] == bounds.stops[None, None, :]).any(-1) | (length >= bounds.limits)[:, None]) & possible

    ending = ends & (jnp.arange(number) < beams)[None, :] & ~state.done[:, None]
    penalized = jnp.where(ending, scores / length.astype(jnp.float32) ** bounds.penalty, LOWEST)
    pool = jnp.concatenate([state.finished_scores, penalized], axis=1)
    best, kept = jax.lax.top_k(pool, beams)
    finished = jnp.take_along_axis(jnp.concatenate([state.finished, texts], axis=1), kept[:, :, None], axis=1)
    lengths = jnp.concatenate([state.lengths, jnp.full((rows, number), length, jnp.int32)], axis=1)

    live, going = jax.lax.top_k(jnp.where(ends | ~possible, LOWEST, scores), beams)
    outlook = live[:, 0] / length.astype(jnp.float32) ** bounds.penalty
    done = state.done | (outlook <= best[:, -1]) | (length >= bounds.limits) | (live[:, 0] < LOWEST / 2)
    source = jnp.take_along_axis(parents, going, axis=1) + beams * jnp.arange(rows)[:, None]
    return Beams(
        cache=jax.tree.map(lambda x: x if x.ndim == 0 else x[source.reshape(-1)], state.cache),
        tokens=jnp.take_along_axis(texts, going[:, :, None], axis=1),
        scores=live,
        finished=finished,
        finished_scores=best,
        lengths=jnp.take_along_axis(lengths, kept, axis=1),
        done=done,
        step=length,
    )
