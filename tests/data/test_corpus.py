"""The embedded sources, and data sets of TFDS by name, all without TensorFlow."""

import importlib.util
import re
import sys

import numpy as np
import pytest

from data.config import TextData
from data.corpus import library, open_corpora, tfds_door
from data.errors import DataError, NotPrepared
from data.prepared import open_prepared
from data.sources import TFDS, Mixture, PythonDocs, PythonSource, Synthetic, parse_source


@pytest.fixture(scope="module")
def documentation():
    return list(library.documentation())


def test_the_documentation_is_real_prose_of_about_two_megabytes(documentation):
    named = documentation
    texts = [text for _, text in named]
    assert 1.2e6 < sum(len(text.encode()) for text in texts) < 6e6
    assert len(set(texts)) == len(texts) > 3_000
    assert min(map(len, texts)) > library.SHORTEST
    assert not any("site-packages" in name or "/test/" in name for name, _ in named)
    assert any(name.startswith("topics/") for name, _ in named)
    assert sum(" the " in text for text in texts) > 0.7 * len(texts)


def test_nested_docstrings_are_found_in_order():
    body = "\n".join([
        '"""Module."""', "if True:", "    class A:", '        """Class A,\n           dedented."""',
        "        def f(self):", '            """Method."""', "try:", "    pass", "except E:",
        "    async def g():", '        """In a handler."""', "def h(): pass",
    ])  # fmt: skip
    found = library._docstrings(body.encode())
    assert found == [("", "Module."), (":A", "Class A,\ndedented."), (":A:f", "Method."), (":g", "In a handler.")]


@pytest.mark.parametrize("source", [PythonDocs(), PythonSource()], ids=str)
def test_an_embedded_source_is_a_tfds_data_set(source, documentation, private_cache):
    import tensorflow_datasets as tfds

    collected = documentation if source == PythonDocs() else list(library.source_code())
    (corpus,) = open_corpora(source)
    assert list(corpus.texts()) == [text for _, text in collected]  # read, written and read back in the same order
    # What was prepared is what TFDS itself opens by that name.
    builder = tfds.builder(f"{source}/{library.library_key()}", data_dir=private_cache / "tfds")
    assert builder.data_path == private_cache / "tfds" / str(source) / library.library_key() / "1.0.0"
    assert builder.info.file_format.value == "array_record"
    assert "tensorflow" not in sys.modules


def test_a_data_set_of_tfds_by_name(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    class LoupeTinyText(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "text": tfds.features.Text(),
                "title": tfds.features.Text(),
                "size": tfds.features.Scalar(np.int32),
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for number in range(600):
                yield number, {"text": f"text {number} 世", "title": f"title {number}", "size": number}

    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(NotPrepared, match=r"python -m train.prepare --exp=NAME --data.source tfds:loupe_tiny_text"):
        open_corpora(TFDS("loupe_tiny_text"))
    with pytest.raises(NotPrepared, match=r"--data.source mix:python_docs=0.5,tfds:loupe_tiny_text=0.5"):
        open_prepared(TextData(parse_source("mix:python_docs=0.5,tfds:loupe_tiny_text=0.5")))
    (corpus,) = open_corpora(TFDS("loupe_tiny_text"), fetch=True)
    assert sorted(corpus.texts()) == sorted(f"text {number} 世" for number in range(600))
    (titles,) = open_corpora(TFDS("loupe_tiny_text:1.0.0", field="title"))
    assert "title 7" in set(titles.texts())
    assert titles.fingerprint != corpus.fingerprint
    with pytest.raises(DataError, match="no feature 'body'; choose one of size, text, title"):
        open_corpora(TFDS("loupe_tiny_text", field="body"))
    with pytest.raises(DataError, match="no split 'test'; choose one of train"):
        open_corpora(TFDS("loupe_tiny_text", split="test"))
    with pytest.raises(DataError, match="is not text but"):
        list(open_corpora(TFDS("loupe_tiny_text", field="size"))[0].texts())


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("wikipdia", "did you mean tfds:wikipedia"),
        ("wikipedia/20230601.xx", "it has no config '20230601.xx'"),
        ("super_glue/boolq", "cannot be built without the package tensorflow"),
        ("imdb_reviews:9.9.9", "only: 1.0.0"),
    ],
)
def test_what_tfds_says_becomes_one_line(name, told, tmp_path, monkeypatch):
    if "tensorflow" in told and importlib.util.find_spec("tensorflow"):
        pytest.skip("TensorFlow is installed here, so the data set can be built")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(DataError, match=re.escape(told)) as caught:
        open_corpora(TFDS(name))
    assert "\n" not in str(caught.value)


def test_a_failed_download_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(tfds_door, "_resolves", lambda: False)
    heard: list[str] = []

    def fail(self, **kwargs):
        raise ConnectionError("no route to host\nat all")

    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(DataError, match=r"could not be downloaded.*no route to host.*check the network"):
        tfds_door.open_named(TFDS("ag_news_subset"), fetch=True, say=heard.append)
    assert any("No network" in line for line in heard)


def test_synthetic_text_is_the_same_on_every_machine():
    texts = [list(open_corpora(Synthetic(40, seed))[0].texts()) for seed in (0, 0, 1)]
    assert texts[0] == texts[1]
    assert texts[0] != texts[2]
    assert texts[0][0].startswith("Gibraso brouklaiko klo brubrami kumou nou gu broutrouge")
    assert len(texts[0]) == 40


def test_a_mixture_opens_its_sources_with_normalised_weights():
    corpora = open_corpora(parse_source("mix:synthetic:30=3,python_docs=1"))
    assert [(corpus.word, corpus.weight) for corpus in corpora] == [("synthetic:30", 0.75), ("python_docs", 0.25)]
    with pytest.raises(DataError, match="cannot hold another mixture"):
        Mixture(("mix:python_docs=1,python_source=1",), (1.0,))
