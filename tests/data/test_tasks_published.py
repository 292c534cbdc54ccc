"""Published files, where they are there: every row counts, and labels and answers come back as they were."""

from collections import Counter
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from data.errors import DataError
from data.tasks.answers import predictions
from data.tasks.choices import Tagging
from data.tasks.config import TaskData
from data.tasks.examples import examples_of
from data.tasks.known import from_folder
from data.tasks.naming import with_names
from data.tasks.opened import open_task
from data.tasks.reading import read_source
from data.tasks.tagging import word_tags
from data.tokenizers import WordPiece, open_tokenizer

pytestmark = pytest.mark.slow  # files of tens of thousands of rows


@pytest.fixture
def english(published):
    return open_tokenizer(WordPiece(path=str(published("tokenizers/bert_uncased_vocab.txt"))))


@pytest.fixture
def chinese(published):
    return open_tokenizer(WordPiece(path=str(published("tokenizers/bert_chinese_vocab.txt"))))


def opened(name, folder, tokenizer, **fields):
    return open_task(replace(from_folder(name, folder), **fields), tokenizer, [].append)


def parts(task):
    """All examples of both parts, as files have them, with the names of their labels."""
    read = read_source(task.data.source, task.data.task)
    tables = [table for table in read if table is not None]
    found = [examples_of(task.task, table) for table in tables]
    return with_names(task.task, found, chain(*found), tables[0].classes, [].append)


@pytest.mark.parametrize(
    ("name", "file", "train", "valid", "majority"),
    [
        ("sst2", "sst2/glue_train.tsv", {"negative": 29_780, "positive": 37_569}, 872, 0.509),
        ("cola", "cola/in_domain_train.tsv", {"unacceptable": 2_528, "acceptable": 6_023}, 527 + 516, 0.689),
        ("mrpc", "mrpc/train.tsv", {"not_equivalent": 1_169, "equivalent": 2_407}, 500, 0.692),
        ("rte", "rte/train.tsv", {"entailment": 1_249, "not_entailment": 1_241}, 277, 0.527),
        (
            "ag_news",
            "ag_news/test.csv",
            {"World": 2_509, "Sports": 2_458, "Business": 2_496, "Sci/Tech": 2_538},
            7_600,
            0.25,
        ),
    ],
)
def test_every_row_of_a_classification_counts(published, english, name, file, train, valid, majority):
    task = opened(name, published(file).parent, english, row_length=64, train_limit=1_000)
    assert Counter(example["label"] for example in parts(task)[0]) == train
    assert len(task.valid) == valid
    assert task.valid.describe()["majority"] == pytest.approx(majority, abs=6e-4)
    assert {row.labels["label_targets"].item() for row in task.train.rows} == set(range(len(train)))


def test_news_that_are_in_both_files(published, english):
    folder = published("ag_news/test.csv").parent
    task = opened("ag_news", folder, english, train_limit=100, valid_limit=100)
    told = [note for note in task.notes if "training examples open as a held-out one does" in note]
    assert len(told) == 1 and 40 < int(told[0].split()[0]) < 120


def test_chinese_titles(published, chinese):
    task = opened("tnews", published("tnews/train.tsv").parent, chinese, train_limit=2_000, valid_limit=2_000)
    train, valid = parts(task)
    assert (len(train), len(valid), len(task.train.labels)) == (53_360, 10_000, 15)
    assert max(Counter(example["label"] for example in valid).values()) == 1_089  # 0.109 of them
    unknown = np.mean([(row.tokens == chinese.special.unk).mean() for row in task.valid.rows])
    assert unknown < 0.02


def test_expressions(published, english):
    task = opened("listops", published("listops/test_d20s.tsv").parent, english, train_limit=100)
    assert len(task.valid) == 1_000 and task.train.labels == tuple("0123456789")


def test_tags_of_wikipedia(published, english):
    folder = published("wikiann_en/train.txt").parent
    task = opened("wikiann", folder, english, train_limit=100, valid_limit=2_000, row_length=512)
    train, valid = parts(task)
    assert (len(train), len(valid)) == (20_000, 10_000)
    tags = Counter(tag for example in valid for tag in example["tags"])
    assert tags.total() == 80_326 and tags["I-ORG"] == 11_607
    assert not any(word.startswith("en:") for example in valid for word in example["words"])
    targets = [row.labels["tag_targets"] for row in task.valid.rows]
    tags, lost = word_tags(task.valid.labels, task.valid.extras["word_places"], targets)
    wrong = sum(a != b for mine, example in zip(tags, task.valid.examples, strict=True)
                for a, b in zip(mine, example["tags"], strict=True))  # fmt: skip
    assert wrong == lost == 0
    with pytest.raises(DataError, match="every word of the file begins with 'en:'"):
        open_task(TaskData(Tagging(), from_folder("wikiann", folder).source), english, [].append)


def ideal(task):
    """What predictions would be of a model that knows the targets."""
    part, logits = task.valid, []
    for side in ("start_targets", "end_targets"):
        logits.append([])
        for row in part.rows:
            scores = np.zeros(len(row.tokens), np.float32)
            place = row.labels[side].item()
            scores[place] = 9.0 if place else 1.0
            logits[-1].append(scores)
    return predictions(task.task, part.examples, part.owner, part.extras, *logits)


def test_questions_come_back_from_windows(published, english):
    folder = published("squad2_dev_half/dev-v2.0.json").parent
    data = from_folder("squad2", folder)
    task = open_task(
        replace(data, task=replace(data.task, max_answer=384), row_length=192, stride=64), english, [].append
    )
    assert len(task.train) + len(task.valid) == 6_078
    none = [e for part in (task.train, task.valid) for e in part.examples if not e["answers"]]
    assert len(none) == 3_168
    titles = [{example["title"] for example in part.examples} for part in (task.train, task.valid)]
    assert not titles[0] & titles[1] and len(titles[0] | titles[1]) == 16
    missed = 0
    for example, prediction in zip(task.valid.examples, ideal(task), strict=True):
        texts = [answer["text"] for answer in example["answers"]]
        missed += prediction.text(no_answer=True) not in (texts or [""])
    assert missed <= 1


def test_misplaced_answers_are_counted(published, chinese):
    folder = published("cmrc2018_trial/trial.json").parent
    data = replace(from_folder("cmrc2018", folder), row_length=512, stride=200, valid_fraction=0.5)
    task = open_task(replace(data, task=replace(data.task, max_answer=512)), chinese, [].append)
    told = [note for note in task.notes if "not where the source says: 5 (TRIAL_210_QUERY_0" in note]
    assert len(told) == 1 and sum("without text were left out: 1" in note for note in task.notes) == 2
    assert len(task.train) + len(task.valid) in (1_000, 995)
    good = [
        prediction.text(no_answer=False) in [answer["text"] for answer in example["answers"]]
        for example, prediction in zip(task.valid.examples, ideal(task), strict=True)
    ]
    assert np.mean(good) > 0.97


@pytest.mark.parametrize(
    ("name", "file", "train", "valid"),
    [
        ("multi30k", "multi30k_en_de/train.en", 29_000, 1_014),
        ("scan", "scan/tasks_train_simple.txt", 16_728, 4_182),
        ("dialogsum", "dialogsum/dev.jsonl", 500, 500),
        ("e2e_nlg", "e2e_nlg/devset.csv", 4_672, 630),  # 4,693 lines, of 630 sources
    ],
)
def test_texts_for_texts(published, english, name, file, train, valid):
    task = opened(name, published(file).parent, english, train_limit=500)
    assert (len(parts(task)[0]), len(task.valid)) == (train, valid)
    references = [len(example["references"]) for example in task.valid.examples]
    assert (
        sum(references) == {"multi30k": 1_014, "scan": 4_182, "dialogsum": 1_500, "e2e_nlg": 4_577}[name]
    )  # repeated ones once
