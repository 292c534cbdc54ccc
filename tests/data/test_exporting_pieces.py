"""Every sentencepiece model gives the ids that it gives here when it is exported to tokenizer.json, or is refused by a field."""

import io
import random
from typing import Any

import pytest

from data.errors import DataError
from data.tokenizers.exporting import tokenizer_json
from data.tokenizers.exporting_pieces import PROBES
from data.tokenizers.sentence_piece import SentencePieceTokenizer

LINES = [
    "the cat sat on the mat, and saw the other cat",
    "a very long film with a Caf\u00e9 and 12 mats in 2024",
    "Stra\u00dfe \u4e2d\u6587 \u0441\u043b\u043e\u0432\u043e {x} == [y] // \uff21 \uff22",
    "if x == 10:  return  y   # two  spaces",
    "<ent> visits <ent>s and <sep2>",
]
SYMBOLS = ["<ent>", "<sep2>", "caf", "\u4e2d\u6587", "__x", "<ent>s", "\uff21b"]
OPTIONS: dict[str, dict[str, Any]] = {
    "usual": {},
    "user-defined symbols": {"user_defined_symbols": SYMBOLS},
    "symbols that rules would change": {
        "user_defined_symbols": ["\n", "\t", "\n\n", "\uff22", "Caf"],
        "normalization_rule_name": "nmt_nfkc_cf",
    },
    "symbols, spaces kept": {
        "user_defined_symbols": SYMBOLS,
        "remove_extra_whitespaces": False,
        "normalization_rule_name": "identity",
    },
    "control symbols": {"control_symbols": ["<ctl>", "[CLS]", "[SEP]"]},
    "byte fallback": {"byte_fallback": True, "vocab_size": 400},
    "byte fallback, spaces kept, symbols": {
        "byte_fallback": True,
        "vocab_size": 400,
        "remove_extra_whitespaces": False,
        "user_defined_symbols": SYMBOLS,
    },
    "no dummy prefix": {"add_dummy_prefix": False},
    "no dummy prefix, symbols": {"add_dummy_prefix": False, "user_defined_symbols": SYMBOLS},
    "spaces kept": {"remove_extra_whitespaces": False},
    "spaces kept, identity, no prefix": {
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
        "normalization_rule_name": "identity",
    },
    "suffix": {"treat_whitespace_as_suffix": True},
    "suffix, nfkc": {"treat_whitespace_as_suffix": True, "normalization_rule_name": "nfkc"},
    "suffix, spaces kept": {
        "treat_whitespace_as_suffix": True,
        "remove_extra_whitespaces": False,
        "normalization_rule_name": "identity",
    },
    "identity": {"normalization_rule_name": "identity"},
    "nfkc": {"normalization_rule_name": "nfkc"},
    "nfkc_cf": {"normalization_rule_name": "nfkc_cf"},
    "nmt_nfkc_cf": {"normalization_rule_name": "nmt_nfkc_cf"},
    "split digits": {"split_digits": True},
    "pieces over words": {"split_by_whitespace": False, "split_by_number": False, "split_by_unicode_script": False},
    "white space only": {
        "allow_whitespace_only_pieces": True,
        "remove_extra_whitespaces": False,
        "normalization_rule_name": "identity",
        "byte_fallback": True,
        "vocab_size": 400,
    },
    "other names and ids": {
        "unk_piece": "[unk]",
        "bos_id": 3,
        "eos_id": 1,
        "unk_id": 2,
        "pad_id": 0,
        "bos_piece": "[b]",
        "pad_piece": "[p]",
        "unk_surface": "?",
    },
    "few characters": {"character_coverage": 0.98},
}
RANDOM = [
    *"eaoxAEIfi  ", "  ", "the", "cat", "<ent>", "<ent>s", "caf", "__x", "<ctl", "\n", "\t", "\r\n", "\x00", "\x01", "\u2581",
    "\u0301", "\u0323", "\u0302", "\u0308", "\u00e9", "\ufb01", "\uff21", "\uff21b", "\uff22", "\u3000", "\u00a0", "\u200d",
    "\ufe0f", "\U0001f642", "\u0651", "\u0645", "\u4e2d\u6587", "\uff76\uff9e", "\u1112\u1161\u11ab", "1", "23", "<0x41>",
    "\u03a3", "\u00df", "\u0130", "\u20ac",
]  # fmt: skip


def model(kind: str, **options: Any) -> SentencePieceTokenizer:
    """A tiny model trained with these options of its library."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        **{
            "sentence_iterator": iter(LINES * 4),
            "model_writer": written,
            "vocab_size": 120,
            "model_type": kind,
            "hard_vocab_limit": False,
            "num_threads": 1,
            "minloglevel": 2,
        }
        | options
    )
    return SentencePieceTokenizer(written.getvalue())


def exported(tokenizer: SentencePieceTokenizer) -> Any:
    from tokenizers import Tokenizer

    inner = Tokenizer.from_str(tokenizer_json(tokenizer))
    inner.encode_special_tokens = True  # text that spells "<s>" is text, as here
    return inner


def texts(count: int, seed: int = 0) -> list[str]:
    drawn = random.Random(seed)
    return [
        *PROBES,
        "\x01",
        " \x01 \x01",
        "\x01\u2581",
        *("".join(drawn.choices(RANDOM, k=drawn.randint(1, 12))) for _ in range(count)),
    ]


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@pytest.mark.parametrize("name", OPTIONS)
def test_ids_are_the_same(kind, name):
    tokenizer = model(kind, **OPTIONS[name])
    inner = exported(tokenizer)
    asked = texts(300)
    for text, expected in zip(asked, tokenizer.encode_batch(asked), strict=True):
        assert inner.encode(text, add_special_tokens=False).ids == expected.tolist(), ascii(text)
    assert [inner.id_to_token(index) for index in range(tokenizer.vocab_size)] == tokenizer.pieces


def test_text_that_spells_a_special_token_or_a_byte_is_text():
    for kind in ("unigram", "bpe"):
        tokenizer = model(kind, byte_fallback=True, vocab_size=400, control_symbols=["<ctl>"])
        inner = exported(tokenizer)
        for text in ("a <s> b</s>", "<ctl>x", "<unk>", "<0x41> and <0x0A>"):
            found = inner.encode(text, add_special_tokens=False).ids
            assert found == tokenizer.encode(text).tolist(), text


def changed(change: Any, kind: str = "unigram", **options: Any) -> SentencePieceTokenizer:
    """A tiny model with something of its file changed."""
    from sentencepiece import sentencepiece_model_pb2 as messages

    proto: Any = messages.ModelProto.FromString(model(kind, **options).model)  # pyright: ignore[reportAttributeAccessIssue]
    change(proto)
    return SentencePieceTokenizer(proto.SerializeToString())


def test_what_cannot_be_equal_is_refused_by_field(tmp_path):
    def unuse(proto):
        proto.pieces[9].type = 5

    def no_escape(proto):
        proto.normalizer_spec.escape_whitespaces = False

    (tmp_path / "rules.tsv").write_text("61 62\t63\n")  # ab becomes c
    rule = {"normalization_rule_tsv": str(tmp_path / "rules.tsv"), "normalization_rule_name": ""}
    for make, told in [
        (lambda: changed(unuse), "has type UNUSED"),
        (lambda: changed(no_escape), "normalizer_spec.escape_whitespaces=false"),
        (lambda: model("unigram", **rule), "precompiled_charsmap has a rule for 'ab'"),
        (lambda: model("word"), "of words or characters cannot be exported"),
        (lambda: model("char"), "of words or characters cannot be exported"),
    ]:
        with pytest.raises(DataError, match=told) as caught:
            exported(make())
        assert "\n" not in str(caught.value)


def test_ids_that_would_differ_are_found_when_exporting(monkeypatch):
    """Whatever was not understood: the last defence compares ids, and names what is unusual."""
    from data.tokenizers import exporting_pieces

    monkeypatch.setattr(exporting_pieces, "merges_of", lambda scores: [])
    told = r"cannot be exported with equal ids: .*trainer_spec.model_type=2, trainer_spec.split_digits=True"
    with pytest.raises(DataError, match=told):
        exported(model("bpe", split_digits=True))
