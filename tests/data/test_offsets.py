"""Where tokens lie in the text: exact for every kind of tokenizer, whatever the text is."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.corpus.synthetic import read
from data.sources import Synthetic
from data.tokenizers import (
    ByteBPE,
    Bytes,
    Characters,
    SentencePiece,
    WordPiece,
    Words,
    load_tokenizer,
    train_tokenizer,
)

PUBLISHED = Path(__file__).parent / "published"
TEXTS = [*read(Synthetic(60)), "世界 hello-World, 今天天气很好。", "naïve café ﬁne … ½ (x + 1) don't İi e\u0301 😀"]
TRAINED = {
    "wordpiece": WordPiece(500),
    "wordpiece cased": WordPiece(500, lowercase=False),
    "unigram": SentencePiece(300),
    "bpe": SentencePiece(300, kind="bpe"),
    "byte pairs": ByteBPE(500),
    "byte pairs, roberta": ByteBPE(500, "roberta"),
    "bytes": Bytes(),
    "characters": Characters(),
    "words": Words(),
}
NAMES = [*TRAINED, *sorted(path.name for path in PUBLISHED.iterdir() if path.is_dir())]
MARKS = "\u0301\u0308\u0327\u200d\ufe0f"
HARD = ("the ", "  ", "\t", "\n", "e\u0301", "世界", "。", "😀", "👩\u200d🔬", "İ", "ﬁ", "½", "…")
HARD += ("\uff21\uff22", "ß", "don't", "\u3000", "가", "क्षि", "Ω", "##a", "[MASK]")
PIECES = st.one_of(
    st.sampled_from(HARD),
    st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co")),
    st.sampled_from(MARKS + "abcXYZ ,.-"),
)
TEXT = st.lists(PIECES, max_size=24).map("".join)


@pytest.fixture(scope="module", params=NAMES)
def tokenizer(request):
    if request.param in TRAINED:
        return train_tokenizer(TRAINED[request.param], TEXTS)
    return load_tokenizer(PUBLISHED / request.param)


def fold(text: str) -> str:
    """A text without case, accents, white space and what is not printed: what no tokenizer changes."""
    text = text.replace("\u2581", " ").replace("\ufffd", " ")  # what stands for no character is cleaned away
    for _ in range(2):
        text = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in text if not c.isspace() and unicodedata.category(c) not in ("Mn", "Cf", "Cc", "Mc", "Me"))


@given(TEXT)
@example("a\ufffdb \ufffd")
@settings(max_examples=80, deadline=None)
def test_tokens_lie_where_they_say(tokenizer, text):
    found = tokenizer.encode_with_offsets(text)
    assert np.array_equal(found.ids, tokenizer.encode(text))
    assert found.ids.dtype == found.starts.dtype == found.stops.dtype == np.int32
    assert (found.starts >= 0).all() and (found.starts <= found.stops).all() and (found.stops <= len(text)).all()
    real = found.stops > found.starts
    assert (np.diff(found.starts[real]) >= 0).all() and (np.diff(found.stops[real]) >= 0).all()

    unknown = tokenizer.special.unk
    covered = np.zeros(len(text), bool)
    group: list[int] = []
    for place in [*np.flatnonzero(real).tolist(), None]:
        # Tokens that share a character are compared with it together: its bytes, or the letters that it is made of.
        if group and (place is None or found.starts[place] >= max(found.stops[group])):
            start, stop = min(found.starts[group]), max(found.stops[group])
            covered[start:stop] = True
            ids = found.ids[group]
            span = text[start:stop]
            assert span == span.strip() or span.isspace()
            if unknown not in ids:
                spelt = tokenizer.decode(ids).replace("\u2581", " ")
                spelt = fold(spelt.removeprefix("##") if len(tokenizer.token(ids[0])) > 2 else spelt)
                assert spelt == fold(span), [tokenizer.token(i) for i in ids]
            group = []
        if place is not None:
            group.append(place)
    left = [c for c, seen in zip(text, covered, strict=True) if not seen]
    assert not fold("".join(left)), left


def test_blank_texts(tokenizer):
    for text in ("", " ", "\u3000 \n"):
        found = tokenizer.encode_with_offsets(text)
        assert np.array_equal(found.ids, tokenizer.encode(text))
    batch = tokenizer.locate_batch(TEXTS[-2:])
    assert all(np.array_equal(a.ids, b) for a, b in zip(batch, tokenizer.encode_batch(TEXTS[-2:]), strict=True))


def test_frames_are_the_template(tokenizer):
    one, two = tokenizer.encode("the world"), tokenizer.encode("hello")
    assert np.array_equal(tokenizer.frame(1).fill(one).ids, tokenizer.encode("the world", special_tokens=True))
    ids, types = tokenizer.encode_pair("the world", "hello")
    framed = tokenizer.frame(2).fill(one, two)
    assert np.array_equal(framed.ids, ids) and np.array_equal(framed.types, types)
    for start, text in zip(framed.starts, (one, two), strict=True):
        assert np.array_equal(framed.ids[start : start + len(text)], text)
