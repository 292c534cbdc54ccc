"""A sentencepiece model as the `tokenizers` library computes it: the same pieces, scores and merges, checked on texts.

What would give other ids is refused by its field.
"""

import re
from typing import Any

from data.errors import DataError
from data.tokenizers.exporting_rules import SPACE, any_of, escaped, normalizer_of, plain_processor
from data.tokenizers.sentence_piece import SentencePieceTokenizer

LOW = 10_000.0  # how much less than the worst piece those score that a text never gives
BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def library_tokenizer(tokenizer: SentencePieceTokenizer, named: str = "the tokenizer") -> Any:
    """The `tokenizers.Tokenizer` of a model, without special tokens; DataError names the field that it cannot express."""
    from sentencepiece import sentencepiece_model_pb2 as messages
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    model = messages.ModelProto.FromString(tokenizer.model)  # pyright: ignore[reportAttributeAccessIssue] (made at run time)
    trainer, rules = model.trainer_spec, model.normalizer_spec
    if not rules.escape_whitespaces:
        raise DataError(
            f"{named} cannot be exported: normalizer_spec.escape_whitespaces=false has no equal; train another"
        )
    unused = [piece.piece for piece in model.pieces if piece.type == piece.UNUSED]
    if unused:
        raise DataError(
            f"{named} cannot be exported: the piece {unused[0]!r} has type UNUSED, which has no equal; give it type NORMAL"
        )
    symbols = [piece.piece for piece in model.pieces if piece.type == piece.USER_DEFINED]
    splits: list[Any] = []
    if trainer.model_type == trainer.UNIGRAM:
        inner = Tokenizer(
            models.Unigram(_scores(tokenizer, model, named), tokenizer.special.unk, trainer.byte_fallback)
        )
    elif trainer.model_type == trainer.BPE:
        inner = Tokenizer(_pairs(tokenizer, model, bool(symbols), named))
        if symbols:  # which are found before anything is merged, the longest first
            splits.append(pre_tokenizers.Split(Regex(any_of(symbols)), "isolated"))
    else:
        raise DataError("a sentencepiece model of words or characters cannot be exported; train one of unigram or bpe")
    if cuts := _cuts(tokenizer, model):
        splits.append(pre_tokenizers.Split(Regex("|".join(cuts)), "merged_with_previous"))
    if splits:
        inner.pre_tokenizer = pre_tokenizers.Sequence(splits)
    inner.normalizer = normalizer_of(model, symbols, named)
    prefix = rules.add_dummy_prefix and not trainer.treat_whitespace_as_suffix
    scheme = "always" if prefix or rules.remove_extra_whitespaces else "never"
    steps: list[Any] = [decoders.ByteFallback(), decoders.Metaspace(SPACE, prepend_scheme=scheme)]
    if rules.add_dummy_prefix and trainer.treat_whitespace_as_suffix:
        steps += [decoders.Fuse(), decoders.Strip(" ", 0, 1)]
    inner.decoder = decoders.Sequence(steps)
    return inner


def _scores(tokenizer: SentencePieceTokenizer, model: Any, named: str) -> list[tuple[str, float]]:
    """The pieces with scores by which the best path is the one of sentencepiece.

    A symbol of the user's has its bonus in its score. The library looks for every piece in a text, the names of control tokens
    and bytes too, so these score less than any other path. And it rates the unknown by the worst score of all, which matters
    only where a piece has characters that are no pieces themselves.
    """
    normal = {piece.piece: piece.score for piece in model.pieces if piece.type == piece.NORMAL}
    symbols = [piece.piece for piece in model.pieces if piece.type == piece.USER_DEFINED]
    worst, best = min(normal.values(), default=0.0), max(normal.values(), default=0.0)
    scores = dict(normal) | {symbol: len(symbol.encode()) * best - 0.1 for symbol in symbols}
    known = {piece for piece in scores if len(piece) == 1}
    opaque = [piece for piece in scores if len(piece) > 1 and not known.issuperset(piece)]
    # Where such a symbol wins against the unknown anyhow, a lower score of the unknown changes nothing.
    open_ = [piece for piece in opaque if piece in normal or not _wins(piece, scores, known, worst)]
    low = [symbol for symbol in symbols if scores[symbol] < worst]
    if open_ and low:
        raise DataError(
            f"{named} cannot be exported: its user-defined symbol {low[0]!r} scores less than any piece, and {open_[0]!r} has "
            "characters that are no pieces; train without the symbol"
        )
    never = worst if open_ else worst - LOW
    return [(piece, scores.get(piece, never)) for piece in tokenizer.pieces]


def _wins(symbol: str, scores: dict[str, float], known: set[str], worst: float) -> bool:
    """Whether a symbol scores more than any path that has its characters as unknown ones, whatever stands around it."""

    def gain(parts: list[tuple[str, list[str]]]) -> float:
        """The most that a piece which reaches over the end of the symbol can save outside of it."""
        return max((scores[p] - worst * (len(p) - len(part)) for part, found in parts for p in found), default=0.0)

    inner = range(1, len(symbol))
    before = [(symbol[:cut], [p for p in scores if p.endswith(symbol[:cut]) and len(p) > cut]) for cut in inner]
    behind = [
        (symbol[cut:], [p for p in scores if p.startswith(symbol[cut:]) and len(p) > len(symbol) - cut])
        for cut in inner
    ]
    unknown = sum(character not in known for character in symbol)
    return scores[symbol] > unknown * (worst - 10.0) + max(0.0, gain(before)) + max(0.0, gain(behind))


def _cuts(tokenizer: SentencePieceTokenizer, model: Any) -> list[str]:
    """Patterns behind whose matches a text is cut, so that it never spells a control token or a byte: between two of its
    characters that no piece has side by side, so that nothing else is cut."""
    names = [piece.piece for piece in model.pieces if piece.type in (piece.CONTROL, piece.UNKNOWN, piece.BYTE)]
    normal = [piece.piece for piece in model.pieces if piece.type == piece.NORMAL]
    symbols = [piece.piece for piece in model.pieces if piece.type == piece.USER_DEFINED]
    known = {piece for piece in (*normal, *symbols) if len(piece) == 1}
    if model.trainer_spec.model_type == model.trainer_spec.UNIGRAM:  # which scores them below what can be spelt
        names = [name for name in names if not known.issuperset(name)]
    elif not symbols:
        return []
    side_by_side = {piece[at : at + 2] for piece in (*normal, *symbols) for at in range(len(piece) - 1)}
    found: dict[str, None] = {}
    for name in names:
        at = next((at for at in range(len(name) - 1) if name[at : at + 2] not in side_by_side), None)
        if at is not None:
            rest = r"0x[0-9A-F]{2}\x{3e}" if at == 0 and BYTE.fullmatch(name) else escaped(name[at + 1 :])
            found[(f"(?<={escaped(name[:at])})" if at else "") + f"{escaped(name[at])}(?={rest})"] = None
    return list(found)


def _pairs(tokenizer: SentencePieceTokenizer, model: Any, whole: bool, named: str) -> Any:
    """Byte pairs; with `whole` a part of a text that is a piece is that piece, which is how symbols are found."""
    from tokenizers import models

    scores = {piece.piece: piece.score for piece in model.pieces if piece.type == piece.NORMAL}
    known = {piece for piece in scores if len(piece) == 1}
    bare = plain_processor(model, identity=True)
    for piece in scores if whole else [piece for piece in scores if not known.issuperset(piece)]:
        reached = bare.encode(piece, out_type=str) == [piece]
        if reached != whole:
            why = "is reached from characters that are no pieces" if reached else "is reached by no merges"
            remedy = "train without user-defined symbols" if whole else "train with character_coverage=1"
            raise DataError(f"{named} cannot be exported: the piece {piece!r} {why}, which has no equal; {remedy}")
    unknown = None if tokenizer.special.unk is None else tokenizer.pieces[tokenizer.special.unk]
    return models.BPE(
        {piece: index for index, piece in enumerate(tokenizer.pieces)},
        merges_of(scores),
        unk_token=unknown,
        fuse_unk=True,
        byte_fallback=bool(model.trainer_spec.byte_fallback),
        ignore_merges=whole,
    )


def merges_of(scores: dict[str, float]) -> list[tuple[str, str]]:
    """The pairs of pieces that make a piece, the best first: sentencepiece merges by the score of what comes out.

    >>> merges_of({"a": -2.0, "b": -3.0, "ab": 0.0, "aab": -1.0})
    [('a', 'b'), ('a', 'ab')]
    """
    merges = [
        (-scores[piece], -cut, piece[:cut], piece[cut:])  # of two in a row the left one, which is the longer in a run
        for piece in scores
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    return [(left, right) for _, _, left, right in sorted(merges)]


def check_ids(inner: Any, tokenizer: SentencePieceTokenizer, named: str = "the tokenizer") -> None:
    """DataError if the exported tokenizer gives a text of the probes other ids than the model; its unusual fields are named."""
    from sentencepiece import sentencepiece_model_pb2 as messages

    model = messages.ModelProto.FromString(tokenizer.model)  # pyright: ignore[reportAttributeAccessIssue]
    texts = probes(tokenizer, [piece.piece for piece in model.pieces if piece.type == piece.USER_DEFINED])
    inner.encode_special_tokens = True
    try:
        for text, expected in zip(texts, tokenizer.encode_batch(texts), strict=True):
            found = inner.encode(text, add_special_tokens=False).ids
            if found != expected.tolist():
                raise DataError(
                    f"{named} cannot be exported with equal ids: {text[:40]!r} is {expected.tolist()[:8]} here and {found[:8]} "
                    f"there ({', '.join(unusual_fields(model)) or 'all fields as usual'}); train one without what is unusual"
                )
    finally:
        inner.encode_special_tokens = False


def unusual_fields(model: Any) -> list[str]:
    """The fields of a model that are not as they are by default, of those that decide about ids."""
    usual, found = type(model)(), []
    rules = ("name", "add_dummy_prefix", "remove_extra_whitespaces")
    trained = (
        *("model_type", "byte_fallback", "treat_whitespace_as_suffix", "split_by_whitespace", "split_by_number"),
        *("split_digits", "split_by_unicode_script", "allow_whitespace_only_pieces", "user_defined_symbols"),
    )
    for word, names in (("normalizer_spec", rules), ("trainer_spec", trained)):
        ours, theirs = getattr(model, word), getattr(usual, word)
        found += [
            f"{word}.{name}={str(getattr(ours, name))[:40]}"
            for name in names
            if getattr(ours, name) != getattr(theirs, name)
        ]
    return found


PROBES = (
    "", " ", "   ", "The quick brown fox.", " leading", "trailing ", "two  spaces", "  a   b  ", "a\tb", "\ta", "a\n",
    "a\r\nb", "a\nb\n\nc", "\u00a0a\u00a0 b", "\u3000a\u3000", "1234567 3.14e-10", "snake_case CamelCase",
    "caf\u00e9 cafe\u0301", "\u1ec7 e\u0323\u0302 \u00ea\u0323", "x\u0301\u0323 o\u0304\u0328",
    "\uff21\uff22\uff43 \uff21\u0301", "\ufb01\u0301 \u00bd", "\uff76\uff9e \u304b\u3099", "\u1112\u1161\u11ab \ud55c\uae00",
    "\u6211\u4eec\u559c\u6b22 \u8a9e", "\u0645\u0631\u062d\u0628\u0627 \u0651", "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f642 \U0001f469\u200d\U0001f469 \u2764\ufe0f", "a\u2581b \u2581 \u2581\u2581", "\u2581", "a\u2581", "a\x00b",
    "\u200ba\u200b", "\ufeffa", "<>&{}[]()|\\^$*+?.", "\u00df \u0130I\u0307 STRASSE", "\u03a3\u03c2", "a" * 40,
    "\u20ac \u2122",
)  # fmt: skip
"""Texts with what tokenizers differ in: white space, marks, widths, scripts, symbols."""


def probes(tokenizer: SentencePieceTokenizer, symbols: list[str]) -> list[str]:
    """Texts to compare two tokenizers on: the fixed ones, and some of the pieces and symbols of this one, in words and between
    them."""
    special = {tokenizer.pieces[index] for index in range(tokenizer.vocab_size) if not tokenizer.byte_counts[index]}
    step = max(1, tokenizer.vocab_size // 200)
    some = [tokenizer.pieces[index].replace(SPACE, " ") for index in tokenizer.ordinary[::step]]
    some = [piece for piece in some if not BYTE.fullmatch(piece)]
    for symbol in symbols[:50]:
        some += [symbol, f"a{symbol}b", f"a {symbol} b", f" {symbol}", f"{symbol}{symbol} "]
    texts = [*PROBES, *some, "".join(some), " ".join(some[::-1])]
    return [text for text in texts if not any(name and name in text for name in special)]
