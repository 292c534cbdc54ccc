"""Any tokenizer as the files that the published libraries read: tokenizer.json, and tokenizer_config.json beside it.

What encoding never does here (giving a special token for text that spells it) is the published libraries' habit; but for that
the exported tokenizer gives the same ids.
"""

import json
from pathlib import Path
from typing import Any

from data.errors import DataError
from data.tokenizers.exporting_pieces import check_ids, library_tokenizer
from data.tokenizers.interface import SpecialIds, Tokenizer
from data.tokenizers.library import ROLES, LibraryTokenizer, gpt2_bytes
from data.tokenizers.plain import ByteTokenizer, CharacterTokenizer, PlainTokenizer, WordTokenizer
from data.tokenizers.sentence_piece import SentencePieceTokenizer
from data.tokenizers.settings import CONFIG, ROLE_NAMES

Around = tuple[tuple[int, ...], tuple[int, ...]]


def export_tokenizer(
    tokenizer: Tokenizer,
    folder: str | Path,
    *,
    max_length: int | None = None,
    token_types: bool = False,
    around: Around | None = None,
) -> None:
    """Write the files that `AutoTokenizer.from_pretrained(folder)` and `load_tokenizer(folder)` open.

    `max_length` is the longest text that the model reads, None where it has no end; `token_types` says whether it reads the
    types of tokens, so that a tokenizer hands them over. `around` are the ids before and behind a text, of a model that was
    trained to see other ones there than the tokenizer puts by itself, such as a decoder; None for the tokenizer's own.

    Raises:
        DataError: the ids of the exported tokenizer would be others; what stands in the way is named.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer_json(tokenizer, around), encoding="utf-8")
    if isinstance(tokenizer, LibraryTokenizer):
        tokenizer.write_vocabulary(folder)
    special = tokenizer.special
    named = {role: getattr(special, role) for role in ROLE_NAMES}
    inputs = ["input_ids", *(["token_type_ids"] if token_types else []), "attention_mask"]
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length if max_length is not None else 10**30,  # their word for no end
        "model_input_names": inputs,
        "clean_up_tokenization_spaces": False,
    } | {f"{role}_token": tokenizer.pieces[index] for role, index in named.items() if index is not None}
    # Said outright where another reader would find a role by the usual names that nothing has here.
    known = set(tokenizer.pieces)
    settings |= {f"{r}_token": None for r, index in named.items() if index is None and known.intersection(ROLES[r])}
    if around is not None:
        settings |= _marks(special, around)
    (folder / CONFIG).write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _marks(special: SpecialIds, around: Around) -> dict[str, bool]:
    """The fields that say the same as the frame where it is made of <s> and </s> only; published readers go by them first."""
    usual = [((), () if index is None else (index,)) for index in (special.bos, special.eos)]
    if around[0] not in usual[0] or around[1] not in usual[1]:
        return {}
    return {"add_bos_token": bool(around[0]), "add_eos_token": bool(around[1])}


def tokenizer_json(tokenizer: Tokenizer, around: Around | None = None) -> str:
    """The tokenizer in the form of the `tokenizers` library, with the ids of `around` before and behind a text."""
    from tokenizers import Tokenizer as Inner

    match tokenizer:
        case LibraryTokenizer():
            own = tuple(tuple(ids.tolist()) for ids in tokenizer.frame(1).around)
            if around is None or around == own:
                return tokenizer.inner.to_str(pretty=True)
            inner = Inner.from_str(tokenizer.inner.to_str())
            inner.post_processor = _frame(tokenizer, around)
            return inner.to_str(pretty=True)
        case SentencePieceTokenizer():
            inner = library_tokenizer(tokenizer)
        case PlainTokenizer():
            inner = _of_symbols(tokenizer)
        case _:
            raise DataError(
                f"a {type(tokenizer).__name__} cannot be exported; train with another --data.tokenizer.name"
            )
    _add_special(inner, tokenizer, around)
    if isinstance(tokenizer, SentencePieceTokenizer):
        check_ids(inner, tokenizer)
    return inner.to_str(pretty=True)


def _of_symbols(tokenizer: PlainTokenizer) -> Any:
    """Bytes, characters and words: each symbol is a word of a vocabulary, cut out before it is looked up."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {piece: index for index, piece in enumerate(tokenizer.pieces)}
    unknown = None if tokenizer.special.unk is None else tokenizer.pieces[tokenizer.special.unk]
    if isinstance(tokenizer, ByteTokenizer):
        names = {character: tokenizer.first + value for character, value in gpt2_bytes().items()}
        vocabulary = {piece: index for piece, index in vocabulary.items() if index < tokenizer.first} | names
        inner = Tokenizer(models.BPE(vocabulary, [], unk_token=unknown))
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        inner.decoder = decoders.ByteLevel()
        return inner
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown or ""))
    if isinstance(tokenizer, CharacterTokenizer):
        inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        inner.decoder = decoders.Fuse()
    elif isinstance(tokenizer, WordTokenizer):
        inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return inner


def _add_special(inner: Any, tokenizer: Tokenizer, around: Around | None) -> None:
    """The special tokens, and what stands around texts."""
    from tokenizers import AddedToken

    marks = set(tokenizer.special.ids)
    if isinstance(tokenizer, SentencePieceTokenizer):
        marks |= tokenizer.controls
    named = [tokenizer.pieces[index] for index in sorted(marks)]
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in named])
    inner.post_processor = _template(tokenizer) if around is None else _frame(tokenizer, around)


def _template(tokenizer: Tokenizer) -> Any:
    """What the tokenizer's template puts around texts; said also where that is nothing, which a reader could not know."""
    special, template = tokenizer.special, tokenizer.template
    used: dict[str, int] = {}

    def written(words: str) -> list[str]:
        said = []
        for word in words.split():
            role, _, kind = word.partition(":")
            if role in ("A", "B"):
                said.append(f"${role}:{kind or 0}")
            else:
                (index,) = special.need(role, purpose="its template")
                used[tokenizer.pieces[index]] = index
                said.append(f"{tokenizer.pieces[index]}:{kind or 0}")
        return said

    return _processor(written(template.one), written(template.two), used)


def _frame(tokenizer: Tokenizer, around: Around) -> Any:
    """The ids of `around` before and behind each of one text or two."""
    before, behind = ([f"{tokenizer.pieces[index]}:0" for index in ids] for ids in around)
    one, two = ([*before, f"${text}:0", *behind] for text in "AB")
    return _processor(one, [*one, *two], {tokenizer.pieces[index]: index for ids in around for index in ids})


def _processor(single: list[str], pair: list[str], used: dict[str, int]) -> Any:
    from tokenizers.processors import TemplateProcessing

    return TemplateProcessing(single=single, pair=pair, special_tokens=sorted(used.items()))
