"""How likely a model finds a text behind another: what zero- and few-shot scores, and the harness, are made of.

A continuation is scored token by token given the context and what stands before it,

    log P(continuation | context) = sum_k log P(token_k | context, token_1 ... token_(k-1))

by a decoder as it stands, and by an encoder-decoder with the context as its source. A masked language model has no such
probability; its pseudo-log-likelihood hides one token of the continuation at a time and sees all others, on both sides
(Salazar et al., arXiv:1910.14659). It can be compared between answers of one model, never with the likelihoods of another.

Requests are brought into few shapes, longest first, and one program is compiled for each.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from kernels.cross_entropy import cross_entropy, is_highest
from model.decoder import LanguageModel
from model.encoder import MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.ragged import Sides, bucket, padded, places
from train.pretrained import Opened, longest
from train.prompt_format import PromptFormat
from train.prompts import manner_of, tokenizer_of

MOST_ROWS, MOST_TOKENS, MOST_LOGITS = 64, 2**13, 2**25  # of a batch: rows, places, and float32 numbers at once


class LikelihoodError(ValueError):
    """What cannot be scored; the message is one line with the remedy."""

    exit_code = 2


class Request(NamedTuple):
    """Ids of a context, marks and all, and of what is scored behind it, int32 each."""

    context: np.ndarray
    continuation: np.ndarray


class Likelihood(NamedTuple):
    """The log-likelihood of a continuation in nats, and whether each of its tokens was the likeliest at its place."""

    nats: float
    greedy: bool


class Row(NamedTuple):
    """What the model reads once: tokens, the source of an encoder-decoder, places and the tokens that are asked for there.

    `prefix` is how many tokens see each other both ways, for prefix language models.
    """

    tokens: np.ndarray
    places: np.ndarray
    targets: np.ndarray
    source: np.ndarray | None = None
    prefix: int = 0


class Scorer:
    """An opened model that scores texts; how it wants them marked is found out once.

    Raises:
        LikelihoodError: it is no model that scores tokens.
    """

    def __init__(self, opened: Opened):
        if not isinstance(opened.model, LanguageModel | EncoderDecoder | MaskedLanguageModel):
            raise LikelihoodError(
                f"{opened.name} has no head that scores tokens (its class is {type(opened.model).__name__}), so it finds no text "
                "likely; name a language model"
            )
        self.opened, self.tokenizer = opened, tokenizer_of(opened)
        self.masked = isinstance(opened.model, MaskedLanguageModel)
        self.two_sided = isinstance(opened.model, EncoderDecoder)
        self.manner = PromptFormat() if self.masked else manner_of(opened)
        self.mask = -1 if self.tokenizer.special.mask is None else self.tokenizer.special.mask
        if self.masked and self.mask < 0:
            raise LikelihoodError(f"the vocabulary of {opened.name} has no mask, without which a text cannot be scored")
        self.around = self._around()
        self.cut = 0  # contexts that were cut on the left to fit
        self._graph, self._params = nnx.split(opened.model)

    @property
    def room(self) -> int | None:
        """Tokens that the model reads at once; None where nothing limits it."""
        learned = places(self.opened.model)
        if learned is not None or self.opened.pretrained is None:
            return learned
        limit = longest(self.opened.config, self.opened.pretrained.fields)
        return limit if limit < 2**31 else None

    @property
    def prefix(self) -> int | None:
        """The token that a text without a context stands behind: a beginning, else an end; None where there is neither."""
        special = self.tokenizer.special
        for index in (*self.manner.opening[-1:], special.bos, special.cls, special.eos, *self.manner.stops):
            if index is not None:
                return int(index)
        return None

    def encode(self, context: str, continuation: str) -> Request:
        """Ids of both, parted exactly: the text is encoded whole, and what follows the tokens of the context is scored.

        White space at the end of the context goes to the continuation, where tokenizers put it. An encoder-decoder's sides
        are encoded apart.

        Raises:
            LikelihoodError: nothing of the continuation is left, because its first letters join the last word of the context.
        """
        kept = context.rstrip()
        context, continuation = kept, context[len(kept) :] + continuation
        if self.two_sided:
            before, scored = self.tokenizer.encode_batch([context, continuation])
        elif context:
            before, whole = self.tokenizer.encode_batch([context, context + continuation])
            scored = whole[len(before) :]
        else:
            before, scored = np.zeros(0, np.int32), self.tokenizer.encode(continuation)
        if not len(scored):
            raise LikelihoodError(
                f"{continuation[:40]!r} adds no token behind {context[-40:]!r}; let it begin with a space"
            )
        return self._marked(before, scored)

    def score(self, requests: Sequence[Request]) -> list[Likelihood]:
        """The likelihood of each request, in their order; what they share with others in a batch changes nothing.

        Contexts that are too long lose their beginning; `cut` counts them.

        Raises:
            LikelihoodError: a continuation alone is longer than what the model reads.
        """
        rows: list[Row] = []
        known: dict[Any, int] = {}
        parts: list[list[tuple[int, slice]]] = []  # of each request, the rows and their places that belong to it
        for request in requests:
            own = []
            for row in self._rows(request):
                source = b"" if row.source is None else row.source.tobytes()
                at = known.setdefault((row.tokens.tobytes(), source, row.prefix), len(rows))
                if at == len(rows):
                    rows.append(row)
                    own.append((at, slice(0, len(row.places))))
                    continue
                there = rows[at]  # the same input, as of two answers of one token each: read once
                asked = np.concatenate([there.places, row.places])
                rows[at] = there._replace(places=asked, targets=np.concatenate([there.targets, row.targets]))
                own.append((at, slice(len(there.places), len(asked))))
            parts.append(own)
        found = self.score_rows(rows)
        return [
            Likelihood(
                float(sum(found[at][0][span].sum(dtype=np.float64) for at, span in own)),
                all(bool(found[at][1][span].all()) for at, span in own),
            )
            for own in parts
        ]

    def windows(self, ids: np.ndarray, length: int | None = None) -> list[Request]:
        """A whole text as requests that together score each token once, each with as much before it as fits.

        The first window begins behind `prefix`; the last one is filled up with context on its left:

            p a b c   scores   a b c d,   and then   b c d e   scores       e f
        """
        if self.masked or self.two_sided:
            raise LikelihoodError(f"{self.opened.name} is no decoder, so it gives no likelihood to a whole text")
        length = length or self.room or self.row_length
        start = np.array([] if self.prefix is None else [self.prefix], np.int32)
        before = np.concatenate([start, ids[:-1]]) if len(start) else ids[:-1]
        ids = ids if len(start) else ids[1:]  # nothing to stand behind: the first token is given
        requests = []
        for begin in range(0, len(ids), length):
            end = min(begin + length, len(ids))
            requests.append(Request(before[max(0, end - length) : begin + 1], ids[begin:end]))
        return requests

    @property
    def row_length(self) -> int:
        """The length of the rows that a run was trained on, where nothing else limits what the model reads."""
        run = self.opened.run
        return 1024 if run is None else run.experiment.data.row_length

    def score_rows(self, rows: Sequence[Row]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each row the log-probabilities of its targets, float32, and whether each was the likeliest."""
        found: list[Any] = [None] * len(rows)
        graph, params = self._graph, self._params
        for numbers, batch in self._batches(rows):
            nats, highest = jax.device_get(_score(graph, params, *batch))
            for slot, number in enumerate(numbers):
                count = len(rows[number].places)
                found[number] = (np.asarray(nats[slot, :count]), np.asarray(highest[slot, :count]))
        return found

    def _batches(self, rows: Sequence[Row]) -> Iterator[tuple[list[int], tuple]]:
        """Rows of one shape together, the longest first; the last of a shape is filled up with empty rows."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for number in sorted(range(len(rows)), key=lambda n: (-len(rows[n].tokens), n)):
            groups.setdefault(self._shape(rows[number]), []).append(number)
        for (length, asked, read), members in groups.items():
            size = min(
                MOST_ROWS, MOST_TOKENS // (length + read), MOST_LOGITS // (asked * self.opened.config.vocab_size)
            )
            size = 1 << max(size.bit_length() - 1, 0)
            size = min(max(size, 1), 1 << (len(members) - 1).bit_length())
            for begin in range(0, len(members), size):
                numbers = members[begin : begin + size]
                yield numbers, _arrays([rows[n] for n in numbers], size, length, asked, read)

    def _shape(self, row: Row) -> tuple[int, int, int]:
        room = self.room or 2**31
        length = min(bucket(len(row.tokens)), room)
        read = 0 if row.source is None else min(bucket(len(row.source)), room)
        asked = 1
        while asked < len(row.places):
            asked *= 4
        return length, asked, read

    def _rows(self, request: Request) -> Iterator[Row]:
        """What the model must read to score a request: once, or for a masked model once a token."""
        context, continuation = request
        room = self.room or 2**31
        if len(continuation) > room - (len(self.around[0]) + len(self.around[1]) if self.masked else 0):
            raise LikelihoodError(
                f"a text to be scored has {len(continuation)} tokens, and the model reads {room}; leave that example out"
            )
        if self.two_sided:
            assert self.manner.start is not None
            if len(context) > room:
                self.cut += 1
                context = context[-room:]
            tokens = np.concatenate([[self.manner.start], continuation[:-1]]).astype(np.int32)
            yield Row(tokens, np.arange(len(tokens)), continuation, context)
            return
        if self.masked:
            first, last = self.around
            most = room - len(first) - len(last) - len(continuation)
            if len(context) > most:
                self.cut += 1
                context = context[len(context) - most :]
            whole = np.concatenate([first, context, continuation, last]).astype(np.int32)
            begin = len(first) + len(context)
            for at in range(begin, begin + len(continuation)):
                hidden = whole.copy()
                hidden[at] = self.mask
                yield Row(hidden, np.array([at]), whole[at : at + 1])
            return
        if len(context) + len(continuation) > room + 1:
            self.cut += 1
            context = context[len(context) + len(continuation) - room - 1 :]
        tokens = np.concatenate([context, continuation])[:-1].astype(np.int32)
        begin = len(context) - 1
        yield Row(tokens, np.arange(begin, len(tokens)), continuation, prefix=len(context) if self.manner.prefix else 0)

    def _marked(self, context: np.ndarray, continuation: np.ndarray) -> Request:
        """The context with the marks that a text begins with, or ends with where it is a source."""
        continuation = np.asarray(continuation, np.int32)
        if self.masked:
            return Request(np.asarray(context, np.int32), continuation)
        marked = np.concatenate([self.manner.opening, context, self.manner.closing]).astype(np.int32)
        if len(marked) or self.two_sided:
            return Request(marked, continuation)
        if self.prefix is not None:
            return Request(np.array([self.prefix], np.int32), continuation)
        if len(continuation) < 2:
            raise LikelihoodError(
                f"{self.opened.name} has no token that begins a text, so a first token has no likelihood; give some context"
            )
        return Request(continuation[:1], continuation[1:])

    def _around(self) -> tuple[np.ndarray, np.ndarray]:
        """The marks before and behind a text that a masked model reads."""
        if not self.masked:
            return np.zeros(0, np.int32), np.zeros(0, np.int32)
        plain, marked = self.tokenizer.encode("a"), self.tokenizer.encode("a", special_tokens=True)
        starts = range(len(marked) - len(plain) + 1)
        at = next(start for start in starts if (marked[start : start + len(plain)] == plain).all())
        return marked[:at], marked[at + len(plain) :]


def _arrays(rows: Sequence[Row], size: int, length: int, asked: int, read: int) -> tuple:
    """Rows as the arrays that `_score` takes."""
    side = padded([row.tokens for row in rows], size, length, left=False)
    where, targets = np.zeros((2, size, asked), np.int32)
    seen = np.zeros((size, length), bool)
    for number, row in enumerate(rows):
        where[number, : len(row.places)], targets[number, : len(row.places)] = row.places, row.targets
        seen[number, : row.prefix] = True
    source = padded([row.source for row in rows if row.source is not None], size, read, left=False) if read else None
    prefix = jnp.asarray(seen) if any(row.prefix for row in rows) else None
    return side, jnp.asarray(where), jnp.asarray(targets), source, prefix


@functools.partial(jax.jit, static_argnums=0)
def _score(
    graph: Any,
    params: Any,
    side: Sides,
    where: Int[Array, "B K"],
    targets: Int[Array, "B K"],
    source: Sides | None,
    prefix: Bool[Array, "B T"] | None,
) -> tuple[Float[Array, "B K"], Bool[Array, "B K"]]:
    """Log-probabilities of targets at places, and whether they are the likeliest; only these places reach the head."""
    model = nnx.merge(graph, params)
    if source is not None:
        named = dict(zip(("source_tokens", "source_positions", "source_segments"), source, strict=True))
        hidden = model(*side, **named)
    else:
        hidden = model(*side) if prefix is None else model(*side, prefix=prefix)
    logits = model.predict_tokens(jnp.take_along_axis(hidden, where[:, :, None], axis=1))
    return -cross_entropy(logits, targets), is_highest(logits, targets)
