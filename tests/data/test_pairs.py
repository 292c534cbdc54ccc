"""Pairs of texts: in step with their files, and one line for each thing that is wrong with them."""

import gzip
import json
import re

import numpy as np
import pytest

from data.config import TextData
from data.corpus import open_corpora
from data.errors import DataError
from data.prepared import open_prepared
from data.sentences import PAIR, encode_documents
from data.sources import TFDS, Files, Mixture, Pairs
from data.tokenizers import Bytes, SentencePiece, WordPiece

GERMAN = [f"Ein Satz. Noch einer, Nummer {n}?" for n in range(40)]
ENGLISH = [f"A sentence. Another one, number {n}?" for n in range(40)]


def read(source) -> list[str]:
    return list(open_corpora(source)[0].texts())


@pytest.fixture
def written(tmp_path):
    """The same pairs in every form."""
    (tmp_path / "a.de").write_text("\n".join(GERMAN) + "\n", encoding="utf-8")
    (tmp_path / "a.en").write_bytes("\r\n".join(ENGLISH).encode())
    (tmp_path / "a.de.gz").write_bytes(gzip.compress(("\ufeff" + "\n".join(GERMAN)).encode()))
    pairs = list(zip(GERMAN, ENGLISH, strict=True))
    (tmp_path / "a.tsv").write_text("".join(f"{de}\t{en}\n" for de, en in pairs), encoding="utf-8")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"de": de, "en": en}) + "\n" for de, en in pairs))
    return tmp_path


def test_every_form_gives_the_same_pairs(written):
    expected = [de + PAIR + en for de, en in zip(GERMAN, ENGLISH, strict=True)]
    for files in ("a.de|a.en", "a.de.gz|a.en", "a.tsv"):
        assert read(Pairs("|".join(str(written / name) for name in files.split("|")))) == expected
    assert read(Pairs(str(written / "a.jsonl"), "de>en")) == expected
    swapped = read(Pairs(str(written / "a.jsonl"), "en>de"))
    assert swapped[3] == ENGLISH[3] + PAIR + GERMAN[3]


def test_the_fingerprint_tells_the_two_sides_apart(written):
    one, two = str(written / "a.de"), str(written / "a.en")
    prints = {open_corpora(Pairs(f"{a}|{b}"))[0].fingerprint for a, b in ((one, two), (two, one))}
    prints |= {open_corpora(Pairs(str(written / "a.jsonl"), fields))[0].fingerprint for fields in ("de>en", "en>de")}
    assert len(prints) == 4


@pytest.mark.parametrize("choice", [WordPiece(200), SentencePiece(48), Bytes()], ids=str)
def test_a_pair_is_its_two_sides_tokenised(written, choice):
    data = TextData(Pairs(f"{written}/a.de|{written}/a.en"), choice, row_length=32, valid_fraction=0.2)
    prepared = open_prepared(data)
    assert len(prepared.valid) == 8
    for number, text in enumerate(prepared.valid_texts()):
        source, target = text.split(PAIR)
        middle, end = prepared.valid.sentence_ends(number).tolist()
        ids = prepared.valid.ids(number)
        assert np.array_equal(ids[:middle], prepared.tokenizer.encode(source))
        assert np.array_equal(ids[middle:end], prepared.tokenizer.encode(target))
        assert end == len(ids)
    assert prepared.valid.bytes == sum(len(text.encode()) - 1 for text in prepared.valid_texts())


def test_only_sources_of_pairs_give_pairs(tmp_path):
    (tmp_path / "a.txt").write_text(f"one{PAIR}two\n\nthree")
    assert read(Files(str(tmp_path / "a.txt"))) == ["one two", "three"]


def test_pairs_are_not_mixed_with_single_texts(written):
    with pytest.raises(DataError, match="mixes pairs of texts with single texts"):
        open_corpora(Mixture((f"pairs:{written}/a.tsv", "synthetic:9"), (1.0, 1.0)))
    both = Mixture((f"pairs:{written}/a.tsv", "task:copy/documents=9"), (1.0, 1.0))
    assert [corpus.pairs for corpus in open_corpora(both)] == [True, True]


def test_a_side_without_tokens_is_told(prepared):
    with pytest.raises(DataError, match="leaves nothing of one side of the pair"):
        encode_documents([f"word{PAIR}\u200b"], prepared.tokenizer)
    with pytest.raises(DataError, match="two sides, not 3"):
        encode_documents([f"a{PAIR}b{PAIR}c"], prepared.tokenizer)


@pytest.mark.parametrize(
    ("files", "content", "told"),
    [
        ("a|b", ("1\n2\n3", "1\n2\n"), "a has 3 lines and {}/b has 2"),
        ("a|b", ("1\n", "1\n2\n\n4\n"), "a has 1 lines and {}/b has 4"),
        ("a|b", ("1\n \n3", "1\n2\n3"), "line 2 of {}/a has an empty source"),
        ("a|b", ("1\n2", "1\n\n"), "line 2 of {}/b has an empty target"),
        ("a|b", ("", ""), "holds no pairs"),
        ("a|b", ("1", None), "{}/b of pairs:{}/a|{}/b is not there"),
        ("a.tsv", ("one\tein\nalone\n",), "line 2 has 1 columns"),
        ("a.tsv", ("one\tein\t1\n",), "line 1 has 3 columns"),
        ("a.tsv", ("one\tein\n\tzwei\n",), "a.tsv line 2 has an empty source"),
        ("a.jsonl", ('{"source": "a", "target": ""}\n',), "a.jsonl line 1 has an empty target"),
        (
            "a.jsonl",
            ('{"source": "a"}\n',),
            "line 1 has no text in the field 'target' (it has source); name the fields",
        ),
    ],
)
def test_a_bad_pair_is_named_with_its_place(tmp_path, files, content, told):
    for name, text in zip(files.split("|"), content, strict=True):
        if text is not None:
            (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=re.escape(told.replace("{}", str(tmp_path)))) as caught:
        read(Pairs("|".join(f"{tmp_path}/{name}" for name in files.split("|"))))
    assert "\n" not in str(caught.value)


def test_a_translation_set_of_tfds_gives_pairs(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    class LoupeTinyTranslate(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.Translation(languages=("de", "en")))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            yield "none", {"de": "leer", "en": " "}
            for number in range(30):
                yield number, {"de": f"Zahl {number}", "en": f"number {number}"}

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    (corpus,) = open_corpora(TFDS("loupe_tiny_translate", "de>en"), fetch=True)
    assert sorted(corpus.texts()) == sorted(f"Zahl {n}{PAIR}number {n}" for n in range(30))  # but for the empty side
    with pytest.raises(DataError, match="no feature 'fr'; choose one of de, en, as in tfds:loupe_tiny_translate#de>en"):
        open_corpora(TFDS("loupe_tiny_translate", "de>fr"))
