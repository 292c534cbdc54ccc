"""Text written by a model, token by token: prompts in, tokens out, one compiled loop over a cache of keys and values.

    ready = prepare(model)                                          # once: layers apart, weights in their type
    written = generate(ready, [ids, other_ids], max_new_tokens=64)  # greedy; sampling=Sampling(0.8, top_p=0.9) draws
    for tokens in Writing(ready, [ids], max_new_tokens=64).pieces(1): ...    # the same, as it is made

Prompts may differ in length: they are padded on the left, and nobody sees the padding. Sizes (rows, prompt, cache) are
rounded up to a few, so that other prompts rarely need another compilation. A row's randomness is keyed by (key, its number,
step): what is written does not depend on which other rows there are.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key

from model.cache import Cache
from model.decoder import LanguageModel
from model.encoder_decoder import EncoderDecoder
from model.quantized import Weights, cast
from model.ragged import GenerationError, Sides, laid_out
from model.sampling import Knobs, Rule, Sampling, choose
from model.stack import apart


class Ready(NamedTuple):
    """A model made ready to write: its structure, and its arrays."""

    graph: nnx.GraphDef
    params: Any
    model: Any  # its shapes alone, for what its class and config say


class Fixed(NamedTuple):
    """What does not change while a batch is written.

    Attributes:
        knobs: the numbers of the sampling.
        keys: one a row.
        limits: how many tokens a row may get.
        stops: tokens after which a row ends, -1 for none.
        starts: position of the first new token of each row.
    """

    knobs: Knobs
    keys: Key[Array, " B"]
    limits: Int[Array, " B"]
    stops: Int[Array, " E"]
    starts: Int[Array, " B"]


class State(NamedTuple):
    """What each step changes.

    Attributes:
        cache: keys and values of everything read so far, but for the last token.
        tokens: what was written, 0 where nothing is yet.
        scores: the log-probability of each by the model itself, before temperature and all else.
        ended: rows that are finished.
        step: tokens written so far.
        seen: tokens that a row has had, where they are to be penalised.
    """

    cache: Cache
    tokens: Int[Array, "B N"]
    scores: Float[Array, "B N"]
    ended: Bool[Array, " B"]
    step: Int[Array, ""]
    seen: Bool[Array, "B V"] | None


class Generated(NamedTuple):
    """What was written for one prompt.

    Attributes:
        tokens: int32[n], the stop token included.
        log_probabilities: float32[n], by the model itself, before temperature and all else.
        reason: "stop": a stop token came. "length": as many as were asked for. "positions": the model has no more.
    """

    tokens: np.ndarray
    log_probabilities: np.ndarray
    reason: str


def prepare(model: nnx.Module, weights: Weights | None = None) -> Ready:
    """Make a model ready to write: layers taken apart, so that no step copies them out of a stack, and weights as asked.

    `weights`: None as they are, "bfloat16", or "int8" (model/quantized.py). A model that lies whole on each of several
    devices works on the first.
    """
    if not isinstance(model, LanguageModel | EncoderDecoder):
        raise GenerationError(f"a {type(model).__name__} writes no text; take a decoder or an encoder-decoder")
    copy = nnx.merge(*nnx.split(model))
    for stack in (copy.encoder, copy.decoder) if isinstance(copy, EncoderDecoder) else (copy,):
        if not isinstance(stack.layers, nnx.List):
            stack.layers = apart(stack.layers, 1 if stack.config.share_layers else stack.num_layers)
    cast(copy, weights)
    graph, params = nnx.split(copy)
    if all(getattr(leaf.sharding, "is_fully_replicated", False) for leaf in jax.tree.leaves(params)):
        params = jax.device_put(params, jax.tree.leaves(params)[0].addressable_data(0).device)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    return Ready(graph, params, nnx.merge(graph, shapes))


class Writing:
    """A batch of prompts being written: `advance(n)` writes up to n more tokens for each."""

    def __init__(
        self,
        ready: Ready,
        prompts: Sequence[np.ndarray],
        *,
        max_new_tokens: int = 128,
        sampling: Sampling = Sampling(),
        stop_tokens: Sequence[int] = (),
        copies: int = 1,
        key: Key[Array, ""] | None = None,
        rows: Sequence[int] | None = None,
        start_token: int | None = None,
        prefix: bool = False,
    ):
        """Read the prompts and write the first token of each.

        Args:
            ready: what `prepare` made.
            prompts: ids, int[n]; for an encoder-decoder they are sources.
            max_new_tokens: the most tokens that a prompt gets; fewer where the model has no more positions.
            sampling: how tokens are chosen.
            stop_tokens: ids after which a text ends.
            copies: texts for each prompt, each drawn by itself.
            key: of the randomness; needed where tokens are drawn.
            rows: the number of each prompt in what the key draws; its place in the list if left out.
            start_token: what the decoder of an encoder-decoder begins with.
            prefix: whether the tokens of a prompt see each other in both directions, as a prefix language model's do.
        """
        if key is None and sampling.rule.draws:
            raise GenerationError("drawing tokens needs a key; pass key=jax.random.key(seed)")
        laid = laid_out(
            ready.model,
            prompts,
            max_new_tokens=max_new_tokens,
            stop_tokens=stop_tokens,
            start_token=start_token,
            copies=copies,
        )
        self.ready, self.rule, self.copies, self.count = ready, sampling.rule, copies, len(prompts)
        self.asked, self.limits = max_new_tokens, np.repeat(laid.most, copies)
        numbers = np.zeros(len(laid.limits) // copies, np.uint32)
        numbers[: self.count] = range(self.count) if rows is None else rows
        self.fixed = Fixed(
            knobs=sampling.knobs,
            keys=row_keys(jax.random.key(0) if key is None else key, jnp.asarray(numbers), copies),
            limits=laid.limits,
            stops=laid.stops,
            starts=laid.starts,
        )
        self.state = _begin(
            ready.graph, self.rule, prefix, copies, laid.width, ready.params, self.fixed, laid.side, laid.start
        )
        self._look()

    def advance(self, steps: int | None = None) -> None:
        """Write `steps` more tokens of each row that is not finished; None: to the end."""
        until = int(self.limits.max()) if steps is None else self.step + steps
        self.state = _advance(
            self.ready.graph, self.rule, self.ready.params, self.fixed, self.state, jnp.asarray(until, jnp.int32)
        )
        self._look()

    def _look(self) -> None:
        ended, self.step = jax.device_get((self.state.ended, self.state.step))
        self.ended = ended[: self.count * self.copies]

    @property
    def finished(self) -> bool:
        """Whether nothing is left to write."""
        return bool(self.ended.all())

    def written(self) -> list[list[Generated]]:
        """What there is so far, for each prompt as many texts as it has copies."""
        tokens, scores, stops = jax.device_get((self.state.tokens, self.state.scores, self.fixed.stops))
        found = []
        for row in range(self.count * self.copies):
            most = min(int(self.step), int(self.limits[row]))
            at = np.flatnonzero(np.isin(tokens[row, :most], stops))
            length = int(at[0]) + 1 if len(at) else most
            reason = "stop" if len(at) else "length" if self.limits[row] == self.asked else "positions"
            found.append(Generated(tokens[row, :length], scores[row, :length], reason))
        return [found[n : n + self.copies] for n in range(0, len(found), self.copies)]

    def pieces(self, steps: int = 1) -> Iterator[list[list[Generated]]]:
        """What there is after every `steps` tokens, until nothing is left to write."""
        yield self.written()
        while not self.finished:
            self.advance(steps)
            yield self.written()


def generate(ready: Ready, prompts: Sequence[np.ndarray], **choices: Any) -> list[list[Generated]]:
    """Write to the end: for each prompt as many texts as `copies`. The choices are those of `Writing`."""
    writing = Writing(ready, prompts, **choices)
    if not writing.finished:
        writing.advance()
    return writing.written()


@functools.partial(jax.jit, static_argnums=2)
def row_keys(key: Key[Array, ""], numbers: Array, copies: int) -> Key[Array, " B"]:
    """A key for each copy of each row: of (key, number of the row, number of the copy)."""
    fold = jax.random.fold_in
    each = jax.vmap(lambda row: jax.vmap(lambda copy: fold(fold(key, row), copy))(jnp.arange(copies, dtype=jnp.uint32)))
    return each(numbers).reshape(-1)


def read_prompts(
    model: Any, side: Sides, start: Int[Array, "B 1"] | None, slots: int, prefix: bool = False
) -> tuple[Float[Array, "B V"], Cache]:
    """Scores of the first new token, and the cache after the prompts, with room for `slots` more tokens.

    An encoder-decoder encodes them once, and its decoder reads `start`.
    """
    dtype = model.embeddings.tokens.dtype
    rows, length = side.tokens.shape
    if isinstance(model, EncoderDecoder):
        assert start is not None
        cache = model.start(model.encode(*side), side.segments, slots + 1, dtype)
        alive = (side.segments.max(1, keepdims=True) > 0).astype(jnp.int32)
        hidden, cache = model.extend(cache, start, jnp.zeros_like(start), alive)
    else:
        cache = model.empty_cache(rows, length + slots, dtype)
        hidden, cache = model.extend(cache, *side, prefix=side.segments > 0 if prefix else None)
    return model.predict_tokens(hidden[:, -1:])[:, 0], cache


def repeated(tree: Any, copies: int) -> Any:
    """Every array of a tree with each of its rows `copies` times."""
    return jax.tree.map(lambda x: x if x.ndim == 0 or copies == 1 else jnp.repeat(x, copies, axis=0), tree)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _begin(graph, rule: Rule, prefix: bool, copies: int, width: int, params, fixed: Fixed, side: Sides, start) -> State:
    model = nnx.merge(graph, params)
    logits, cache = read_prompts(model, side, start, width, prefix)
    logits, cache = repeated((logits, cache), copies)
    rows, vocabulary = logits.shape
    seen = None
    if rule.penalizes:
        read = repeated(Sides(start, start, jnp.ones_like(start)) if start is not None else side, copies)
        seen = jnp.zeros((rows, vocabulary), bool)
        seen = seen.at[jnp.arange(rows)[:, None], jnp.where(read.segments > 0, read.tokens, vocabulary)].set(
            True, mode="drop"
        )
    state = State(
        cache=cache,
        tokens=jnp.zeros((rows, width), jnp.int32),
        scores=jnp.zeros((rows, width), jnp.float32),
        ended=fixed.limits < 1,
        step=jnp.zeros((), jnp.int32),
        seen=seen,
    )
    return _write(state, logits, rule, fixed)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=4)
def _advance(graph, rule: Rule, params, fixed: Fixed, state: State, until: Int[Array, ""]) -> State:
    model = nnx.merge(graph, params)

    def step(state: State) -> State:
        last = jax.lax.dynamic_slice_in_dim(state.tokens, state.step - 1, 1, axis=1)
        # A row that has ended is read on, but nobody sees what it reads: its place must only be one that exists.
        position = fixed.starts + jnp.minimum(state.step, fixed.limits) - 1
        alive = (~state.ended).astype(jnp.int32)
        hidden, cache = model.extend(state.cache, last, jnp.maximum(position, 0)[:, None], alive[:, None])
        return _write(state._replace(cache=cache), model.predict_tokens(hidden)[:, 0], rule, fixed)

    return jax.lax.while_loop(lambda state: (state.step < until) & ~state.ended.all(), step, state)


def _write(state: State, logits: Float[Array, "B V"], rule: Rule, fixed: Fixed) -> State:
    """Choose a token for each row that goes on, and note it."""
    token = choose(logits, rule, fixed.knobs, fixed.keys, state.step, state.seen)
    chosen = jnp.take_along_axis(logits, token[:, None], axis=1)[:, 0]
    score = chosen - jax.nn.logsumexp(logits, axis=-1)
    seen = state.seen
    if seen is not None:
        seen = seen.at[jnp.arange(len(token)), token].set(True)
    token, score = jnp.where(state.ended, 0, token), jnp.where(state.ended, 0.0, score)
    at = (0, state.step)
    return state._replace(
        tokens=jax.lax.dynamic_update_slice(state.tokens, token[:, None], at),
        scores=jax.lax.dynamic_update_slice(state.scores, score[:, None].astype(jnp.float32), at),
        ended=state.ended | (token[:, None] == fixed.stops[None, :]).any(1) | (state.step + 1 >= fixed.limits),
        step=state.step + 1,
        seen=seen,
    )
