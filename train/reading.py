"""Text as what a model reads, and metrics in words as metrics in ids."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from data.text_pairs import start_of_target
from data.tokenizers import Tokenizer
from model.encoder import Encoder
from model.encoder_decoder import EncoderDecoder
from model.inspection.calls import Inputs, text_inputs
from model.inspection.metrics import LogitDifference, LogProbability
from model.positions import LearnedPositions
from model.vision import VisionTransformer

Text = str | tuple[str, str] | np.ndarray
Texts = Text | Sequence[Text]


class ReadingError(ValueError):
    """A text that a model cannot read; one line with the remedy."""

    exit_code = 2


class Reading(NamedTuple):
    """Texts as a model reads them.

    Attributes:
        inputs: padded arrays.
        rows: ids of each text; of an encoder-decoder, what its decoder reads.
        sources: ids of what its encoder reads; else empty.
    """

    inputs: Inputs
    rows: list[np.ndarray]
    sources: list[np.ndarray]


class Around(NamedTuple):
    """What stands around a text that a decoder, or an encoder-decoder, reads: ids before it and behind it, and what the
    decoder of an encoder-decoder begins with."""

    opening: tuple[int, ...] = ()
    closing: tuple[int, ...] = ()
    start: int | None = None


def read(
    model: Any,
    tokenizer: Tokenizer | None,
    texts: Sequence[Text],
    targets: Sequence[Text] = (),
    around: Around = Around(),
) -> Reading:
    """Texts as the model was trained to see them; a special token that a text spells is what it means.

    An encoder's have the special tokens of its tokenizer around them, others `around`. A tuple is a pair of texts; an array is
    ids, and nothing is put around it. ReadingError for what cannot be read, with the remedy.
    """
    if not texts:
        raise ReadingError("there is no text; give one, or several in a list")
    if isinstance(model, VisionTransformer):
        raise ReadingError("this model reads images; use model/inspection/calls.py with Inputs(images=...)")
    rows, kinds = zip(*(_ids(model, tokenizer, text, around) for text in texts), strict=True)
    if not isinstance(model, EncoderDecoder):
        if targets:
            raise ReadingError("this model has one side only; leave target out")
        inputs = text_inputs(rows)
        if model.config.num_token_types:
            types = np.zeros_like(inputs.tokens)
            for number, one in enumerate(kinds):
                types[number, : len(one)] = one
            inputs = inputs._replace(token_types=types)
        return Reading(inputs, list(rows), [])
    if len(targets) != len(texts):
        raise ReadingError(f"this model has two sides; give a target for each text, {len(texts)} here")
    first = around.start if around.start is not None else start_of_target(needed(tokenizer).special)
    written = [np.concatenate([[first], _ids(model, tokenizer, text)[0]]).astype(np.int32) for text in targets]
    return Reading(text_inputs(written, rows), written, list(rows))


def words_of(tokenizer: Tokenizer | None, ids: np.ndarray) -> tuple[str, ...]:
    """What ids are called; without a tokenizer, their numbers."""
    return tuple(map(str, ids.tolist())) if tokenizer is None else tuple(tokenizer.token(index) for index in ids)


def needed(tokenizer: Tokenizer | None) -> Tokenizer:
    """The tokenizer; ReadingError where there is none."""
    if tokenizer is None:
        raise ReadingError("this model has no tokenizer; give ids, as an array, in the place of text")
    return tokenizer


def is_one(text: Any) -> bool:
    """Whether this is one text, and not several in a list.

    >>> is_one("a cat"), is_one(("a cat", "a dog")), is_one(["a cat"])
    (True, True, False)
    """
    return isinstance(text, str | tuple) or hasattr(text, "__array__")


def listed(text: Any) -> list[Any]:
    """One text, or several, or none, as a list."""
    if text is None:
        return []
    if not is_one(text) and not isinstance(text, Iterable):
        raise ReadingError(no_text(text))
    return [text] if is_one(text) else list(text)


def no_text(value: Any) -> str:
    """What is said of a value that is none."""
    return f"{str(value)[:40]!r} is no text; give text, a pair of texts, ids as np.array([...]), or several in a list"


def whole(text: str) -> str:
    """A text itself; ReadingError where it has half of a surrogate pair, which no tokenizer can read."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ReadingError(
            f"the text has half of a surrogate pair at character {error.start}, which is no character; leave it out"
        ) from None
    return text


def said(text: Text) -> str:
    """A text for a title."""
    if isinstance(text, str):
        return text
    return " | ".join(text) if isinstance(text, tuple) else " ".join(map(str, np.asarray(text).tolist()))


@dataclass(frozen=True)
class TextMetric:
    """A metric in words, which a model's tokenizer turns into ids."""

    make: Callable[..., Any]
    words: tuple[str, ...]
    position: int | None

    def resolve(self, tokenizer: Tokenizer | None, ids: np.ndarray) -> Any:
        """The metric of model/inspection/metrics.py for a text of these ids. ReadingError for words that are not one token."""
        known, position = needed(tokenizer), self.position
        if position is None:
            masks = np.flatnonzero(ids == known.special.mask) if known.special.mask is not None else []
            position = int(masks[0]) if len(masks) == 1 else len(ids) - 1
        if not -len(ids) <= position < len(ids):
            raise ReadingError(f"there is no position {position}; the text has {len(ids)} tokens")
        return self.make(*(_one(known, word) for word in self.words), position=position)


def logit_difference(right: str, wrong: str, *, position: int | None = None) -> TextMetric:
    """How much more the model expects `right` than `wrong`, each one token, at a position.

    None is the place of the mask where the text has one, and otherwise the last. Give words as they stand in a text: with the
    space before it for most decoders, " Paris".
    """
    return TextMetric(LogitDifference, (right, wrong), position)


def log_probability(word: str, *, position: int | None = None) -> TextMetric:
    """How much the model expects a word, one token, in nats; positions as in `logit_difference`."""
    return TextMetric(LogProbability, (word,), position)


def _one(tokenizer: Tokenizer, word: str) -> int:
    if not isinstance(word, str):
        raise ReadingError(f"{str(word)[:40]!r} is no word; give the text of one token")
    ids = tokenizer.encode(whole(word))
    if len(ids) != 1:
        pieces = ", ".join(map(repr, words_of(tokenizer, ids)))
        raise ReadingError(
            f"{word!r} is {len(ids)} tokens ({pieces}); choose a word that is one, its space before it included"
        )
    return int(ids[0])


def _ids(
    model: Any, tokenizer: Tokenizer | None, text: Text, around: Around = Around()
) -> tuple[np.ndarray, np.ndarray]:
    """Ids and token types of one text."""
    if hasattr(text, "__array__"):
        ids = _checked_ids(np.asarray(text))
        types = np.zeros(len(ids), np.int32)
    elif isinstance(text, tuple):
        if len(text) != 2 or not all(isinstance(part, str) for part in text):
            raise ReadingError("a tuple is a pair of texts; give several texts in a list, ids as an array")
        ids, types = needed(tokenizer).encode_pair(*map(whole, text))
    else:
        if not isinstance(text, str):
            raise ReadingError(no_text(text))
        if not text.strip():
            raise ReadingError("the text is empty; give at least one word")
        ids = needed(tokenizer).encode_marked(whole(text), special_tokens=isinstance(model, Encoder))
        ids = np.concatenate([around.opening, ids, around.closing]).astype(np.int32)
        types = np.zeros(len(ids), np.int32)
    config = model.config
    if not len(ids):
        raise ReadingError("the text has no tokens; give at least one word")
    if isinstance(config.positions, LearnedPositions) and len(ids) > (most := config.positions.max_length):
        raise ReadingError(f"the text has {len(ids)} tokens and the model reads at most {most}; shorten it")
    if ids.min() < 0 or ids.max() >= config.vocab_size:
        raise ReadingError(f"ids must lie in [0, {config.vocab_size}); there are {ids.min()} to {ids.max()}")
    return ids, types


def _checked_ids(ids: np.ndarray) -> np.ndarray:
    """Ids of one text."""
    if ids.ndim != 1:
        raise ReadingError(
            f"ids of one text have one axis, these are {ids.shape}; give several texts in a list, list(ids)"
        )
    if ids.dtype.kind not in "iu":
        raise ReadingError(f"ids are whole numbers, these are {ids.dtype}")
    if len(ids) and not np.iinfo(np.int32).min <= int(ids.min()) <= int(ids.max()) <= np.iinfo(np.int32).max:
        raise ReadingError(f"ids do not lie in a vocabulary; there are {ids.min()} to {ids.max()}")
    return ids.astype(np.int32)
