"""The normalisation of a sentencepiece model as steps of the `tokenizers` library.

The step of `tokenizers` for precompiled rules works on grapheme clusters and loses marks behind letters that it changes;
sentencepiece takes the longest rule at each place. So clusters are taken apart by a noncharacter before the rules and joined
after them, and marks are composed by NFC afterwards, with what sentencepiece leaves apart kept apart.

The noncharacters U+FDD0 to U+FDD3 in a text are lost.
"""

import unicodedata
from collections import defaultdict
from functools import cache
from typing import Any

import numpy as np

from data.errors import DataError

SPACE = "\u2581"  # what sentencepiece writes for a space
# Before a text; between characters; between marks that do not compose; behind the first, in a text that loses characters.
START, APART, KEPT, LOST = "\ufdd0", "\ufdd1", "\ufdd2", "\ufdd3"
# What joins the character before it in a grapheme cluster, and what joins the one behind it.
JOINS = r"[\p{M}\u200C\u200D\uFF9E\uFF9F\x{1F3FB}-\x{1F3FF}\u1160-\u11FF\uD7B0-\uD7FF\x{1F1E6}-\x{1F1FF}\x{E0020}-\x{E007F}\n]"
MARK = r"[\p{M}\uFF9E\uFF9F]"
JOINED = r"[\u1100-\u115F\uA960-\uA97C\p{Cf}]"
RULES = ("identity", "nfkc", "nmt_nfkc", "nfkc_cf", "nmt_nfkc_cf")
LONGEST_RULE = 64  # bytes
SHIELDS = 0xF0000  # private characters that stand for symbols while the rules are applied


def normalizer_of(model: Any, symbols: list[str], named: str) -> Any:
    """What sentencepiece makes of a text before it looks for pieces, as steps of the library."""
    from tokenizers import Regex, normalizers

    rules, change = model.normalizer_spec, normalizers.Replace
    # Symbols that the rules would change, and rules for marks that do more than compose, are hidden from the steps.
    plain = plain_processor(model)
    composed = _composed(plain) if rules.precompiled_charsmap else {}
    if rules.precompiled_charsmap and rules.name not in RULES and (strange := _strange_rule(plain, model, composed)):
        raise DataError(
            f"{named} cannot be exported: normalizer_spec.precompiled_charsmap has a rule for {strange!r}, several "
            f"characters that are no letter with marks; train with one of {', '.join(RULES)}"
        )
    hidden = {symbol: symbol for symbol in symbols if SPACE not in symbol and plain.normalize(symbol) != symbol}
    hidden |= {letters: made for letters, made in composed.items() if made is not None and letters not in hidden}
    shields = {text: chr(SHIELDS + number) for number, text in enumerate(sorted(hidden, key=len, reverse=True))}
    steps: list[Any] = [normalizers.Prepend(START)]  # without it something would be put before a text, where it panics
    steps += [change(text, shield) for text, shield in shields.items()]
    suffix = rules.add_dummy_prefix and model.trainer_spec.treat_whitespace_as_suffix
    if suffix and rules.remove_extra_whitespaces and (lost := _lost(model)):
        steps.append(change(Regex(rf"\A{START}(?=[\s\S]*{lost})"), START + LOST))
    if rules.precompiled_charsmap:
        if symbols:
            steps.append(change(Regex(f"(?<={any_of(symbols)})(?={MARK})"), KEPT))
        steps.append(change(Regex(rf"(?>{_by_marks(composed)}|\P{{M}})\K(?={MARK})"), KEPT))
        steps += [change(Regex(rf"(?<={KEPT}{MARK})(?={MARK})"), KEPT)] * 3
        if plain.normalize("\u1112\u1161\u11ab") != "\ud55c":
            steps.append(change(Regex(r"(?<=[\u1100-\u115F\uAC00-\uD7A3])(?=[\u1160-\u11FF])"), KEPT))
        steps.append(change(Regex(f"(?={JOINS})|(?<={JOINED})"), APART))
        steps += [
            normalizers.Precompiled(rules.precompiled_charsmap),
            change(APART, ""),
            normalizers.NFC(),
            change(KEPT, ""),
        ]
    if rules.remove_extra_whitespaces:
        steps += [
            change(Regex(rf"(?<=[{START}{LOST}]) +| +(?= )|[ {SPACE}]+\z"), ""),
            change(Regex(rf"\A{START}\z"), ""),
        ]
    steps += [change(Regex(r"(?<=[\s\S])\z"), SPACE), change(LOST, "")] if suffix else []
    steps.append(change(START, SPACE if rules.add_dummy_prefix and not suffix else ""))
    steps.append(change(" ", SPACE))
    steps += [change(shield, hidden[text]) for text, shield in shields.items()]
    return normalizers.Sequence(steps)


def plain_processor(model: Any, identity: bool = False) -> Any:
    """A processor of the same rules, or of none, that adds and removes no spaces and knows no symbols."""
    import sentencepiece

    copy = type(model)()
    copy.CopyFrom(model)
    for piece in copy.pieces:
        if piece.type == piece.USER_DEFINED:
            piece.type = piece.NORMAL
    copy.normalizer_spec.add_dummy_prefix = copy.normalizer_spec.remove_extra_whitespaces = False
    if identity:
        copy.normalizer_spec.precompiled_charsmap = b""
    return sentencepiece.SentencePieceProcessor(model_proto=copy.SerializeToString())


def _lost(model: Any) -> str:
    """A pattern for the characters of which the suffix alone is left; of spaces not even that is."""
    import sentencepiece

    rules = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    every = [chr(number) for number in range(1, 0x10000) if not 0xD800 <= number < 0xE000]
    gone = [letter for letter, made in zip(every, rules.normalize(every), strict=True) if made == SPACE]
    return f"[{''.join(map(_by_number, gone))}]" if gone else ""


def _by_number(letter: str) -> str:
    return f"\\x{{{ord(letter):x}}}"


def _composed(rules: Any) -> dict[str, str | None]:
    """Letters with marks for which a processor has one rule: None where it composes them, else what it makes of them."""
    texts = _letters_with_marks()
    characters = sorted(set("".join(texts)))
    alone = dict(zip(characters, rules.normalize(characters), strict=True))
    found: dict[str, str | None] = {}
    for letters, made in zip(texts, rules.normalize(list(texts)), strict=True):
        apart = "".join(alone[character] for character in letters)
        if made != apart:
            found[letters] = None if unicodedata.normalize("NFC", apart) == made else made
    return found


def _strange_rule(rules: Any, model: Any, composed: dict[str, str | None]) -> str | None:
    """A rule of a charsmap for several characters that the steps do not know, None where there is none.

    The keys lie in a double array: of unit i with label c the parent is the node whose base is i ^ c.
    """
    blob = model.normalizer_spec.precompiled_charsmap
    units = np.frombuffer(blob[4 : 4 + int.from_bytes(blob[:4], "little")], np.uint32).astype(np.int64)
    bases = np.arange(len(units)) ^ ((units >> 10) << ((units & 512) >> 6))
    children: dict[int, list[int]] = defaultdict(list)
    for index in np.flatnonzero((units & 0x80000000) == 0).tolist():
        label = int(units[index]) & 255
        if label:
            children[index ^ label].append(index)
    waiting, keys = [(int(bases[0]), b"")], []
    while waiting:
        base, key = waiting.pop()
        for index in children[base]:
            longer = key + bytes([int(units[index]) & 255])
            keys += [longer] if units[index] & 256 else []
            if len(longer) < LONGEST_RULE:
                waiting.append((int(bases[index]), longer))
    texts = [text for key in keys if len(text := key.decode("utf-8", "replace")) > 1 and text not in composed]
    for text in texts:
        apart = "".join(map(rules.normalize, text))
        if rules.normalize(text) not in (apart, unicodedata.normalize("NFC", apart)):
            return text
    return None


@cache
def _letters_with_marks() -> tuple[str, ...]:
    """What may be composed: of each letter with marks its parts, also in their other widths and forms."""
    alike: dict[str, list[str]] = defaultdict(list)
    pairs: list[tuple[str, str]] = []
    for number in range(0x30000):
        character, parts = chr(number), unicodedata.decomposition(chr(number))
        if not parts:
            continue
        whole = unicodedata.normalize("NFKC", character)
        if len(whole) == 1 and whole != character:
            alike[whole].append(character)
        apart = unicodedata.normalize("NFD", character)
        if not parts.startswith("<") and len(apart) > 1:
            pairs += [(unicodedata.normalize("NFC", apart[:cut]), apart[cut:]) for cut in range(1, len(apart))]
            pairs.append((apart[0], apart[1:]))
    rows = [(b, m) for base, marks in pairs for b in (base, *alike[base]) for m in (marks, *alike[marks])]
    return tuple(dict.fromkeys(base + marks for base, marks in rows if not "\u1100" <= marks[0] < "\u1200"))


def _by_marks(composed: dict[str, str | None]) -> str:
    """A pattern of the letters with marks that compose, the most marks first."""
    bases: dict[str, list[str]] = defaultdict(list)
    for letters, made in composed.items():
        if made is None:
            bases[letters[1:]].append(letters[0])
    rows = sorted(bases.items(), key=lambda row: -len(row[0]))
    return "|".join(f"[{''.join(map(escaped, letters))}]{escaped(marks)}" for marks, letters in rows) or "(?!)"


def any_of(texts: list[str]) -> str:
    """A pattern of these texts, the longest first."""
    return "|".join(escaped(text) for text in sorted(set(texts), key=len, reverse=True))


def escaped(text: str) -> str:
    """A text as a pattern of Oniguruma: every character that is no letter or digit by its number."""
    return "".join(c if c.isalnum() and c.isascii() else f"\\x{{{ord(c):x}}}" for c in text)
