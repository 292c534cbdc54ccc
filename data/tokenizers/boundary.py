"""Vocabularies that somebody else wrote: sizes are checked before a library sees them, and what it raises is one line.

The libraries are compiled: what they are given whole may take gigabytes, panic (a BaseException) or end the process.
"""

import base64
import contextlib
import os
import sys
from collections.abc import Collection, Iterator
from typing import Any

from data.errors import DataError
from data.foreign import decode_json, explained

MOST_BYTES, MOST_UNUSED = 64 << 20, 100_000  # of a file, and ids of a vocabulary that have no token
TRIED = ("a", "\u0378 \U0001f642 x")  # texts that a tokenizer is tried on when it is opened


def check_numbers(numbers: Collection[Any], named: str) -> None:
    """DataError for ids that are no numbers, or so large that what lies between them would fill the memory."""
    if strange := [n for n in numbers if type(n) is not int or n < 0]:
        raise DataError(f"{named} gives a token the id {strange[0]!r:.40}, which is no number from 0 on; copy it again")
    if numbers and (most := max(numbers)) > len(numbers) + MOST_UNUSED:
        raise DataError(f"{named} has a token of id {most:,} among {len(numbers):,} tokens; copy it again")


def open_library(content: str, named: str) -> Any:
    """The `tokenizers.Tokenizer` of a tokenizer.json, tried on a text and on a pair. DataError, one line, for any other file."""
    import tokenizers

    said, remedy = "is not a tokenizer.json of the tokenizers library", "name another"
    with explained(named, DataError, said=said, remedy=remedy):
        parts = decode_json(content)
        if not isinstance(parts, dict) or not isinstance(parts.get("model"), dict):
            raise ValueError("it is no object with a model")
        vocabulary, added = parts["model"].get("vocab"), parts.get("added_tokens") or []
        numbers: list[Any] = (
            list(vocabulary.values()) if isinstance(vocabulary, dict) else list(range(len(vocabulary or ())))
        )
        numbers += [*(token.get("id") for token in added if isinstance(token, dict))]
    check_numbers(numbers, named)
    with explained(named, DataError, said=said, remedy=remedy), quiet():
        for rules in _charsmaps(parts.get("normalizer")):
            check_charsmap(base64.b64decode(rules, validate=True))
        inner = tokenizers.Tokenizer.from_str(content)
        model = parts["model"]
        needed = model.get("unk_token") if model.get("type") == "WordPiece" else None
        if needed is not None and inner.token_to_id(needed) is None:
            raise ValueError(f"its model needs the token {needed}, which the vocabulary lacks")
        inner.no_padding()
        inner.no_truncation()
        for pair in (None, "b"):
            for text in TRIED:
                given: list[int] = []
                with contextlib.suppress(Exception):  # an unknown character is told when a text has one; a panic passes
                    given = inner.encode(text, pair).ids
                if given and max(given) >= max(numbers, default=0) + 1:
                    raise ValueError(f"its template puts the id {max(given):,} around a text, which no token has")
    return inner


def check_charsmap(rules: bytes) -> None:
    """ValueError for normalisation rules whose table is larger than they are."""
    if rules and (len(rules) < 4 or int.from_bytes(rules[:4], "little") > len(rules) - 4 or rules[0] % 4):
        raise ValueError("the table of its normalisation rules is cut off")


def check_model(content: bytes, named: str) -> None:
    """DataError for what is no sentencepiece model, before its library, which may end the process, sees it."""
    said, remedy = "is not a sentencepiece model", "name a published .model file, or the tokenizer.json beside it"
    with explained(named, DataError, said=said, remedy=remedy):
        from sentencepiece import sentencepiece_model_pb2 as messages

        if not content:
            raise ValueError("it is empty")
        if len(content) > MOST_BYTES:
            raise ValueError(f"its {len(content):,} bytes are more than the {MOST_BYTES:,} that are read")
        model = messages.ModelProto.FromString(content)  # pyright: ignore[reportAttributeAccessIssue] (made at run time)
        names = [piece.piece for piece in model.pieces]
        if not names or not all(names):
            raise ValueError("it has a piece without a name" if names else "it has no pieces")
        if len(set(names)) < len(names):
            raise ValueError("it has two pieces of one name")
        if sum(piece.type == piece.UNKNOWN for piece in model.pieces) != 1:
            raise ValueError("it has not one token for the unknown")
        scores = [piece.score for piece in model.pieces]
        if not all(abs(score) < 1e30 for score in scores):
            raise ValueError("it has a score that is no number")
        check_charsmap(model.normalizer_spec.precompiled_charsmap)


def _charsmaps(normalizer: Any) -> Iterator[str]:
    """The normalisation rules in a normaliser of a tokenizer.json."""
    if isinstance(normalizer, dict):
        if isinstance(rules := normalizer.get("precompiled_charsmap"), str):
            yield rules
        for one in normalizer.get("normalizers") or []:
            yield from _charsmaps(one)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing reaches the standard error stream: compiled libraries write there before they raise."""
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError, AttributeError):
        yield
        return
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
