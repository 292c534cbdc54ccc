"""Tasks by name, and their sources: TFDS without TensorFlow, folders of files of the usual names."""

import json
from dataclasses import replace

import numpy as np
import pytest

from data.errors import DataError, NotPrepared
from data.tasks.choices import Answers, Classification, Regression, Tagging
from data.tasks.config import TaskData
from data.tasks.examples import template_names
from data.tasks.held_out import open_scored
from data.tasks.known import GLUE, LAYOUTS, from_folder, known_names, known_task
from data.tasks.label_names import plain
from data.tasks.opened import open_task
from data.tasks.reading import read_source
from data.tasks.sources import TaskTFDS, parse_task_source
from data.tokenizers import Bytes, open_tokenizer
from model.config import from_json, to_json

BYTES = open_tokenizer(Bytes())


def test_glue_has_all_nine_as_published():
    classes = {name: task.labels for name, task in GLUE.items() if isinstance(task, Classification)}
    assert set(GLUE) == {"cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli"}
    assert classes["rte"] == classes["qnli"] == ("entailment", "not_entailment")
    assert classes["mnli"] == ("entailment", "neutral", "contradiction")
    assert classes["wnli"] == ("not_entailment", "entailment")
    assert isinstance(GLUE["stsb"], Regression)
    metrics = {name: task.metrics for name, task in GLUE.items()}
    assert metrics["cola"] == ("matthews",) and metrics["mrpc"] == metrics["qqp"] == ("accuracy", "f1")
    assert metrics["stsb"] == ("pearson", "spearman")


@pytest.mark.parametrize("name", known_names())
def test_a_known_task_is_a_value(name):
    data = known_task(name)
    assert from_json(TaskData, json.loads(json.dumps(to_json(data)))) == data
    assert parse_task_source(str(data.source)) == data.source
    if getattr(data.task, "prompt", None):
        assert template_names(data.task)
        assert not isinstance(data.task, Classification) or len(data.task.answers) == len(data.task.labels)


def test_a_mistaken_name():
    with pytest.raises(DataError, match="there is no known task sst; did you mean sst2"):
        known_task("sst")


def test_a_folder_of_the_usual_files(tmp_path):
    (tmp_path / "train.tsv").write_text("gj04\t1\t\tHe sat.\ngj04\t0\t*\tSat he the.\n")
    with pytest.raises(DataError, match=r"has none of the usual files of cola \(train.tsv and dev.tsv, or"):
        from_folder("cola", tmp_path)
    (tmp_path / "dev.tsv").write_text("gj04\t1\t\tShe sat.\n")
    task = open_task(from_folder("cola", tmp_path), BYTES, [].append)
    assert [example["label"] for example in task.train.examples] == ["acceptable", "unacceptable"]
    assert set(LAYOUTS) <= {*known_names(), "mnli_mismatched"}


@pytest.fixture(scope="module")
def tfds_sets(tmp_path_factory):
    """Small sets of TFDS, in the shapes of GLUE, SQuAD and CoNLL."""
    import tensorflow_datasets as tfds

    features = tfds.features

    class LoupePairs(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            names = ["not_entailment", "entailment"]  # an order of its own
            columns = {
                "sentence1": features.Text(),
                "sentence2": features.Text(),
                "label": features.ClassLabel(names=names),
            }
            return tfds.core.DatasetInfo(builder=self, features=features.FeaturesDict(columns), disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {
                "train": self._generate_examples(8),
                "validation": self._generate_examples(4),
                "test": self._hidden(),
            }

        def _generate_examples(self, count):
            for n in range(count):
                yield n, {"sentence1": f"erster {n}", "sentence2": "zweiter é", "label": n % 2}

        def _hidden(self):
            yield 0, {"sentence1": "a", "sentence2": "b", "label": -1}

    class LoupeQuestions(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            answers = features.Sequence({"text": features.Text(), "answer_start": np.int32})
            columns = {"id": np.str_, "title": features.Text(), "context": features.Text(), "question": features.Text()}
            columns |= {"answers": answers, "is_impossible": np.bool_}
            return tfds.core.DatasetInfo(builder=self, features=features.FeaturesDict(columns), disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(), "validation": self._generate_examples()}

        def _generate_examples(self):
            for n in range(4):
                found = {"text": ["é Haus"], "answer_start": [4]} if n % 2 else {"text": [], "answer_start": []}
                yield n, {"id": str(n), "title": f"t{n}", "context": "das é Haus", "question": "was?", "answers": found,
                          "is_impossible": not n % 2}  # fmt: skip

    class LoupeTags(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            tags = features.Sequence(features.ClassLabel(names=["O", "B-PER", "I-PER"]))
            columns = features.FeaturesDict({"tokens": features.Sequence(features.Text()), "tags": tags})
            return tfds.core.DatasetInfo(builder=self, features=columns, disable_shuffling=True)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for n in range(6):
                yield n, {"tokens": ["Ada", "Lovelace", f"w{n}"], "tags": [1, 2, 0]}

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFDS_DATA_DIR", str(tmp_path_factory.mktemp("tfds")))
        yield


def test_tfds_without_tensorflow(tfds_sets):
    pairs = TaskData(GLUE["rte"], TaskTFDS("loupe_pairs"))
    with pytest.raises(NotPrepared, match="tfds:loupe_pairs is not prepared in"):
        open_task(pairs, BYTES)
    task = open_task(pairs, BYTES, [].append, fetch=True)
    assert [example["label"] for example in task.train.examples[:2]] == ["not_entailment", "entailment"]  # by name
    assert [row.labels["label_targets"].item() for row in task.train.rows[:2]] == [1, 0]
    assert task.train.examples[3]["text"] == "erster 3" and task.train.examples[3]["second"] == "zweiter é"
    assert task.train.examples[3].place == "tfds:loupe_pairs train example 3"
    assert (len(task.train), len(task.valid)) == (8, 4)
    with pytest.raises(DataError, match="tfds:loupe_pairs test example 0 has the label -1, which marks parts"):
        open_task(TaskData(GLUE["rte"], TaskTFDS("loupe_pairs", valid="test")), BYTES, [].append)
    with pytest.raises(DataError, match="has no split 'dev'; choose one of train, validation, test"):
        open_task(TaskData(GLUE["rte"], TaskTFDS("loupe_pairs", valid="dev")), BYTES, [].append)
    with pytest.raises(DataError, match=r"has no column premise; its columns are label, sentence1, sentence2"):
        open_task(TaskData(Classification(text=("premise",)), TaskTFDS("loupe_pairs")), BYTES, [].append)


def test_questions_and_tags_of_tfds(tfds_sets):
    task = open_task(TaskData(Answers(no_answer=True), TaskTFDS("loupe_questions")), BYTES, [].append, fetch=True)
    assert [example["answers"] for example in task.train.examples[:2]] == [[], [{"text": "é Haus", "start": 4}]]
    row = task.train.rows[1]
    start, end = row.labels["start_targets"].item(), row.labels["end_targets"].item()
    assert BYTES.decode(row.tokens[start : end + 1]) == "é Haus"
    task = open_task(TaskData(Tagging(), TaskTFDS("loupe_tags", valid=None)), BYTES, [].append, fetch=True)
    assert task.task.labels == ("O", "B-PER", "I-PER")  # as the source numbers them
    assert task.train.examples[0]["tags"] == ["B-PER", "I-PER", "O"] and len(task.valid) == 1


def scored(task, source):
    """Labels or tags of what a model of this task is scored on, and what was said."""
    said: list[str] = []
    found = open_scored(TaskData(task, TaskTFDS(source, valid=None)), BYTES, said.append)
    return [example["tags" if isinstance(task, Tagging) else "label"] for example in found.examples], said


def test_numbers_of_a_source_are_its_classes_whatever_order_a_model_has(tfds_sets):
    for task, source in ((GLUE["rte"], "loupe_pairs"), (Tagging(), "loupe_tags")):
        open_task(TaskData(task, TaskTFDS(source, valid=None)), BYTES, [].append, fetch=True)
    for labels in (("O", "B-LOC", "B-PER", "I-PER"), ("B-per", "I-per", "O"), ("O", "I-PER", "B-PER")):
        tags, _ = scored(Tagging(labels=labels), "loupe_tags")
        assert [tag.upper() for tag in tags[0]] == ["B-PER", "I-PER", "O"]
    assert scored(Tagging(labels=("O", "PER", "LOC")), "loupe_tags")[0][0] == ["PER", "PER", "O"]
    assert scored(Tagging(labels=("S-PER", "B-PER", "I-PER", "E-PER", "O")), "loupe_tags")[0][0] == [
        "B-PER",
        "E-PER",
        "O",
    ]
    with pytest.raises(DataError, match=r"B-PER|PER"):
        scored(Tagging(labels=("O", "B-LOC", "I-LOC")), "loupe_tags")

    pair = replace(GLUE["rte"], answers=())
    for labels in (
        ("ENTAILMENT", "NOT_ENTAILMENT"),
        ("Not Entailment", "entailment"),
        ("not-entailment", "neutral", "Entailment"),
    ):
        found, said = scored(replace(pair, labels=labels), "loupe_pairs")
        assert [plain(label) for label in found[:2]] == ["notentailment", "entailment"]
        assert not any("places from 0" in line for line in said)
    for labels, remedy in (
        (("LABEL_0", "LABEL_1"), "--data.task.labels WORD1,WORD2"),
        (("yes", "no"), "--data.task.spelt WORD1"),
    ):
        with pytest.raises(DataError, match=f"the label 'not_entailment'.*{remedy}"):
            scored(replace(pair, labels=labels), "loupe_pairs")
    found, _ = scored(replace(pair, labels=("yes", "no"), spelt=("entailment", "not_entailment")), "loupe_pairs")
    assert found[:2] == ["no", "yes"]
    found, said = scored(replace(pair, labels=("1", "0")), "loupe_pairs")  # the numbers themselves
    assert found[:2] == ["0", "1"] and any("not_entailment is 0" in line for line in said)
    said = []
    opened = open_task(TaskData(replace(pair, labels=("bad", "good")), TaskTFDS("loupe_pairs")), BYTES, said.append)
    assert opened.train.examples[0]["label"] == "bad" and any(
        "not_entailment is bad, entailment is good" in s for s in said
    )
    stars = Regression(text=("sentence1",), second=("sentence2",), target=("label",))
    assert open_task(TaskData(stars, TaskTFDS("loupe_pairs")), BYTES, [].append).train.examples[1]["target"] == 1.0
    train, _ = read_source(TaskTFDS("loupe_pairs"), Classification())
    assert [record.columns["label"] for record in train.records[:2]] == ["not_entailment", "entailment"]
