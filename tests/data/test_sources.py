"""The one word that names a source, there and back, and what is said about a wrong one."""

import re

import pytest

from data.errors import DataError, NotPrepared
from data.sources import TFDS, Files, Mixture, Pairs, PythonDocs, PythonSource, Synthetic, parse_source
from data.synthetic_tasks import CopyTask, ModularArithmetic, RepeatedBlocks

WORDS = {
    "python_docs": PythonDocs(),
    "python_source": PythonSource(),
    "tfds:wikipedia/20230601.en": TFDS("wikipedia/20230601.en"),
    "tfds:wikipedia/20230601.en:1.0.0": TFDS("wikipedia/20230601.en:1.0.0"),
    "tfds:glue/sst2#sentence": TFDS("glue/sst2", "sentence"),
    "files:my/*.txt": Files("my/*.txt"),
    "files:/data/**/a b.jsonl.gz#body": Files("/data/**/a b.jsonl.gz", "body"),
    "files:C#/notes.txt": Files("C#/notes.txt"),
    "files:my/a.txt#whole": Files("my/a.txt", blank_lines=False),
    "files:my/a.jsonl#whole": Files("my/a.jsonl", "whole"),
    "tfds:wmt14_translate/de-en#de>en": TFDS("wmt14_translate/de-en", "de>en"),
    "pairs:my/train.de|my/train.en.gz": Pairs("my/train.de|my/train.en.gz"),
    "pairs:C#/my.tsv": Pairs("C#/my.tsv"),
    "pairs:my.jsonl.gz#de>en": Pairs("my.jsonl.gz", "de>en"),
    "task:modular": ModularArithmetic(),
    "task:modular/prime=59/operation=add": ModularArithmetic(59, "add"),
    "task:repeats/documents=100": RepeatedBlocks(documents=100),
    "task:copy/kind=sort/seed=3": CopyTask("sort", seed=3),
    "mix:task:modular/prime=59=1,synthetic:9=2": Mixture(("task:modular/prime=59", "synthetic:9"), (1.0, 2.0)),
    "synthetic:12": Synthetic(12),
    "mix:python_docs=0.7,files:my/*.txt=0.3": Mixture(("python_docs", "files:my/*.txt"), (0.7, 0.3)),
    "mix:files:a,b=c.txt=2,python_source=1e-3": Mixture(("files:a,b=c.txt", "python_source"), (2.0, 0.001)),
}


@pytest.mark.parametrize("word", WORDS)
def test_a_word_and_its_source_are_inverse(word):
    source = parse_source(word)
    assert source == WORDS[word]
    assert parse_source(str(source)) == source


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("pyton_docs", "did you mean python_docs?"),
        ("file:my/*.txt", "did you mean files:?"),
        ("the whole internet", "use python_docs, python_source"),
        ("files:", "write files:PATH"),
        ("pairs:", "write pairs:my.de|my.en"),
        ("pairs:my.txt", "write pairs:my.de|my.en"),
        ("pairs:a|b|c", "write pairs:my.de|my.en"),
        ("pair:a|b", "did you mean pairs:?"),
        ("synthetic:many", "such as synthetic:500"),
        ("synthetic:0", "write synthetic:500"),
        ("tfds:no name", "write tfds:NAME"),
        ("mix:python_docs", "write mix:SOURCE=WEIGHT"),
        ("mix:python_docs=1,b", "write mix:SOURCE=WEIGHT"),
        ("mix:python_docs=-1,python_source=2", "must be positive"),
        ("mix:python_docs=1e,python_source=2", "not a number"),
        ("mix:pyton_docs=1,python_source=2", "did you mean python_docs?"),
    ],
)
def test_a_wrong_word_is_told_with_its_remedy(word, remedy):
    with pytest.raises(DataError, match=re.escape(remedy)) as caught:
        parse_source(word)
    assert "\n" not in str(caught.value)


def test_not_prepared_prints_the_very_command():
    error = NotPrepared("tfds:c4/en is not prepared", ("--data.source", "tfds:c4/en"))
    assert error.command("bert_base") == "python -m train.prepare --exp=bert_base --data.source tfds:c4/en"
    assert str(error.for_experiment("bert_base")).endswith(error.command("bert_base"))
