"""Prompts of different lengths as arrays of a few sizes, so that other prompts rarely need another compilation."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from model.encoder_decoder import EncoderDecoder
from model.positions import LearnedPositions

MOST_STOPS = 8  # stop tokens are padded to a multiple of this


class GenerationError(ValueError):
    """What cannot be written; the message is one line with the remedy."""

    exit_code = 2


class Sides(NamedTuple):
    """Tokens of one side, with the places that they have: int32 [B T] each, segment 0 for padding."""

    tokens: Int[Array, "B T"]
    positions: Int[Array, "B T"]
    segments: Int[Array, "B T"]


def bucket(number: int, least: int = 16) -> int:
    """The next larger of `least` times 1, 1.5, 2, 3, 4, 6, 8, ...: few sizes, and at most half too large.

    >>> [bucket(n) for n in (1, 16, 17, 25, 50, 96, 100)]
    [16, 16, 24, 32, 64, 96, 128]
    """
    size = least
    while size < number:
        size = size * 3 // 2 if size & (size - 1) == 0 and size > 1 else 1 << size.bit_length()
    return size


def padded(prompts: Sequence[np.ndarray], rows: int, length: int, left: bool) -> Sides:
    """Prompts as the arrays that a model reads, padded on the left or right, and with empty rows.

    >>> padded([np.array([7, 8])], 1, 3, left=True).tokens
    Array([[0, 7, 8]], dtype=int32)
    """
    arrays = np.zeros((3, rows, length), np.int32)
    for row, prompt in enumerate(prompts):
        place = slice(length - len(prompt), length) if left else slice(0, len(prompt))
        for array, values in zip(arrays, (prompt, np.arange(len(prompt)), 1), strict=True):
            array[row, place] = values
    return Sides(*map(jnp.asarray, arrays))


class LaidOut(NamedTuple):
    """Prompts as a batch of one of the few sizes.

    Attributes:
        side: the prompts, padded.
        start: what the decoder of an encoder-decoder begins with, [B 1].
        limits, starts: for each row and each of its copies, how many tokens it may get, and the position of the first.
        stops: tokens that end a text, padded with -1.
        most: limits of the prompts alone, on the host.
        width: places for new tokens.
    """

    side: Sides
    start: Int[Array, "B 1"] | None
    limits: Int[Array, " R"]
    starts: Int[Array, " R"]
    stops: Int[Array, " E"]
    most: np.ndarray
    width: int


def laid_out(
    model: Any,
    prompts: Sequence[np.ndarray],
    *,
    max_new_tokens: int,
    stop_tokens: Sequence[int] = (),
    start_token: int | None = None,
    copies: int = 1,
) -> LaidOut:
    """Check prompts and lay them out; GenerationError for what the model cannot take."""
    check(model, prompts, max_new_tokens=max_new_tokens, copies=copies, start_token=start_token)
    two_sided, room = isinstance(model, EncoderDecoder), places(model)
    lengths = np.array([len(prompt) for prompt in prompts])
    read = bucket(int(lengths.max())) if room is None else min(bucket(int(lengths.max())), room)
    size = 1 << (len(prompts) - 1).bit_length()
    own = np.ones_like(lengths) if two_sided else lengths
    most = np.full(len(prompts), max_new_tokens)
    if room is not None:
        most = np.minimum(most, room - own + 1)  # the last token is written, and not read again
    stops = np.full(-(-max(len(stop_tokens), 1) // MOST_STOPS) * MOST_STOPS, -1, np.int32)
    stops[: len(stop_tokens)] = stop_tokens

    def by_row(values: np.ndarray) -> Array:
        return jnp.asarray(np.repeat(np.pad(values, (0, size - len(prompts))), copies), jnp.int32)

    return LaidOut(
        side=padded(prompts, size, read, left=not two_sided),
        start=None if start_token is None else jnp.full((size, 1), start_token, jnp.int32),
        limits=by_row(most),
        starts=by_row(own),
        stops=jnp.asarray(stops),
        most=most,
        width=bucket(int(most.max())),
    )


def places(model: Any) -> int | None:
    """The longest text that a model can read; None where nothing limits it."""
    positions = model.config.positions
    return positions.max_length if isinstance(positions, LearnedPositions) else None


def check(
    model: Any, prompts: Sequence[np.ndarray], *, max_new_tokens: int, copies: int = 1, start_token: int | None = None
) -> None:
    """GenerationError for prompts that the model cannot take, or numbers that mean nothing."""
    if max_new_tokens < 1:
        raise GenerationError(f"max_new_tokens={max_new_tokens} must be at least 1")
    if copies < 1:
        raise GenerationError(f"num_return_sequences={copies} must be at least 1")
    if not prompts:
        raise GenerationError("there is no prompt; give at least one")
    if isinstance(model, EncoderDecoder) and start_token is None:
        raise GenerationError("an encoder-decoder begins with a token of its own; pass start_token=")
    room, vocabulary = places(model), model.config.vocab_size
    for number, prompt in enumerate(prompts):
        which = "the prompt" if len(prompts) == 1 else f"prompt {number}"
        if not len(prompt):
            raise GenerationError(f"{which} is empty; give at least one token, such as the beginning of text")
        if room is not None and len(prompt) > room:
            raise GenerationError(
                f"{which} has {len(prompt)} tokens, and the model has {room} positions; shorten it by {len(prompt) - room}"
            )
        if not 0 <= int(np.min(prompt)) <= int(np.max(prompt)) < vocabulary:
            raise GenerationError(
                f"{which} has ids from {np.min(prompt)} to {np.max(prompt)}; they lie in [0, {vocabulary})"
            )
