"""Tasks with labels: choices, batches and the held-out file, and the one line that bad input gets."""

import dataclasses
import gzip
import json
import typing

import numpy as np
import pytest

from data.batch import PADDING_ROW
from data.errors import DataError
from data.tasks.batches import TaskBatches, eval_task_batches
from data.tasks.choices import Answers, Classification, Generation, MultiLabel, Regression, Similarity, Tagging, Task
from data.tasks.config import TaskData
from data.tasks.held_out import HELD_OUT_TASK, open_held_out_task, write_held_out_task
from data.tasks.library_parts import triples
from data.tasks.opened import open_task
from data.tasks.rows import cut_longest
from data.tasks.sources import LibraryParts, TaskFiles, TaskTFDS, parse_task_source
from data.tokenizers import ByteBPE, Bytes, Characters, SentencePiece, WordPiece, train_tokenizer
from model.config import from_json, to_json

WORDS = ["the", "film", "is", "good", "bad", "very", "not", "at", "all", "a", "plot", "of", "joy", "and", "pain"]
ENTAILED = Classification(text=("premise",), second=("hypothesis",))


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(Characters(), [" ".join(WORDS), "abcdefghijklmnopqrstuvwxyz0123456789.,-:"])


@pytest.fixture
def sentiment(tmp_path):
    """A hundred texts of different lengths, half of them with "good" in them, in a .tsv."""
    draw = np.random.default_rng(0)
    lines = ["label\tsentence"]
    for number in range(100):
        words = [*draw.choice(WORDS, draw.integers(1, 9)), "good" if number % 2 else "bad", str(number)]
        lines.append(f"{number % 2}\t{' '.join(words)}")
    (tmp_path / "all.tsv").write_text("\n".join(lines) + "\n")
    return f"files:{tmp_path}/all.tsv"


def opened(word, tokenizer, task=Classification(), **fields):
    said = []
    found = open_task(TaskData(task, parse_task_source(word), **fields), tokenizer, said.append)
    assert list(found.notes) == said
    return found


@pytest.mark.parametrize(
    "word",
    [
        "library_parts",
        "tfds:glue/sst2",
        "tfds:glue/mnli|validation_mismatched",
        "tfds:ag_news_subset|test",
        "tfds:wikiann/en:1.0.0|a|b",
        "tfds:squad|train|",
        "files:a.tsv|b.tsv",
        "files:a.jsonl",
        "files:a.tsv|b.csv#text,label|label,_,text",
        "files:a.tsv#source,label,_,sentence",
        "files:x.en+x.de|y.en+y.de#source,target",
        "files:a.txt|b.txt#IN: {source} OUT: {target}",
    ],
)
def test_a_source_and_its_word(word):
    assert str(parse_task_source(word)) == word


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("library_part", "did you mean library_parts?"),
        ("hdf:x", "unknown source of a task 'hdf:x'; use library_parts"),
        ("files:", "files: names no file"),
        ("files:a|b|c", "names more than a file to train on"),
        ("files:a.tsv#a,a", "repeat a name"),
        ("tfds:a/b/c", "is not a data set name"),
        ("tfds:a|b|c|d", "names too many splits"),
    ],
)
def test_a_mistaken_word(word, told):
    with pytest.raises(DataError, match=told):
        parse_task_source(word)


@pytest.mark.parametrize("kind", typing.get_args(Task), ids=lambda kind: kind.__name__)
def test_choices_are_values_that_json_carries(kind):
    data = TaskData(kind(), TaskFiles("a.tsv", columns=("label", "text")), tokenizer=WordPiece(300))
    assert from_json(TaskData, json.loads(json.dumps(to_json(data)))) == data
    assert hash(data) == hash(dataclasses.replace(data))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Regression(metrics=("accuracy",)), "does not fit Regression; use pearson, spearman or mse"),
        (lambda: Tagging(metrics=("matthews",)), "does not fit Tagging"),
        (lambda: Answers(metrics=()), "Answers has no metric; use exact_match or f1"),
        (lambda: Tagging(scheme=None), "tags without a scheme are none"),
        (lambda: Tagging(labels=("O", "E-PER"), scheme="BIO"), "the tag E-PER does not belong to the scheme BIO"),
        (lambda: Classification(labels=("a", "a")), "name at least two, each once"),
        (lambda: Classification(labels=("a", "b"), answers=("good",)), "answers has 1 words for 2 labels"),
        (lambda: Classification(text=()), "text names no column"),
        (lambda: Classification(template="{a"), "cannot be read"),
        (lambda: Classification(template="{} b"), "braces without the name of a column"),
        (lambda: Generation(template="summarize:"), "does not read the source; write {source}"),
        (lambda: Similarity(metrics=("spearman",)), "spearman compares similarities with a score"),
        (lambda: Similarity(negative=("n",)), "negatives and scores belong to pairs"),
        (lambda: TaskData(valid_fraction=0.0), "valid_fraction=0.0 is out of range"),
        (lambda: TaskData(train_limit=0), "train_limit=0 leaves no example"),
        (lambda: TaskData(row_length=2), "row_length=2 is too small"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(make, told):
    with pytest.raises(DataError, match=told) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_an_epoch_is_a_permutation_and_the_next_is_another(sentiment, tokenizer):
    task = opened(sentiment, tokenizer, batch_size=16)
    batches = TaskBatches(task.train, task.data, seed=3)
    size = len(task.train.rows)
    ids = np.concatenate([batches[n][0].example_ids for n in range(3 * size // 16 + 1)])
    epochs = np.concatenate([batches[n][0].epochs for n in range(3 * size // 16 + 1)])
    for epoch in range(3):
        assert sorted(ids[epochs == epoch]) == list(range(size))
    assert (np.diff(epochs) >= 0).all()
    assert not np.array_equal(ids[epochs == 0], ids[epochs == 1])


@pytest.mark.parametrize("unit", [2, 4])
@pytest.mark.parametrize("budget", [1, 64, 300])
def test_batches_of_tokens_hold_every_row_once_and_as_many_as_fit(sentiment, tokenizer, unit, budget):
    task = opened(sentiment, tokenizer, batch_size=unit, batch_tokens=budget, bucket=8, row_length=60, grouped=3)
    batches = TaskBatches(task.train, task.data, seed=3)
    size = len(task.train.rows)
    ends = [batches.steps(epochs) for epochs in (1, 2)]
    assert ends[0] < batches.steps(1.5) < ends[1]
    for epoch, numbers in enumerate((range(ends[0]), range(ends[0], ends[1]))):
        seen = []
        for n in numbers:
            batch = batches[n][0]
            rows, longest = batch.tokens.shape
            fitting = max(budget // longest // unit, 1) * unit
            assert rows % unit == 0 and (rows == fitting or (n == numbers[-1] and rows < fitting))
            assert (batch.epochs == epoch).all()
            real = batch.example_ids != PADDING_ROW
            assert real.all() or n == numbers[-1]
            assert not batch.labels["label_weights"][~real].any() and not batch.segments[~real].any()
            seen += batch.example_ids[real].tolist()
        assert sorted(seen) == list(range(size))


@pytest.mark.parametrize("budget", [None, 400])
def test_a_batch_is_a_function_of_its_number(sentiment, tokenizer, budget):
    task = opened(sentiment, tokenizer, batch_size=12, batch_tokens=budget)
    whole = TaskBatches(task.train, task.data, seed=1)
    later = TaskBatches(task.train, task.data, seed=1, start=9)
    halves = [TaskBatches(task.train, task.data, seed=1, process_index=i, process_count=2) for i in range(2)]
    for n in range(4):
        one, two = whole[9 + n][0], later[n][0]
        for name in ("tokens", "segments", "example_ids", "epochs"):
            assert np.array_equal(getattr(one, name), getattr(two, name))
            joined = np.concatenate([getattr(half[9 + n][0], name) for half in halves])
            assert np.array_equal(getattr(one, name), joined)


def test_padding_goes_to_the_bucket_and_weighs_nothing(sentiment, tokenizer):
    task = opened(sentiment, tokenizer, batch_size=16, bucket=8, row_length=60)
    for n in range(6):
        batch = TaskBatches(task.train, task.data, seed=0)[n][0]
        longest = max(len(task.train.rows[i].tokens) for i in batch.example_ids)
        assert batch.tokens.shape[1] == min(-(-longest // 8) * 8, 60)
        for row, number in enumerate(batch.example_ids):
            size = len(task.train.rows[number].tokens)
            assert np.array_equal(batch.tokens[row, :size], task.train.rows[number].tokens)
            assert (batch.segments[row] == (np.arange(batch.tokens.shape[1]) < size)).all()
            assert (batch.tokens[row, size:] == tokenizer.special.pad).all()
        assert batch.labels["label_targets"].shape == (16, 1)


def test_scoring_sees_every_row_once(sentiment, tokenizer):
    task = opened(sentiment, tokenizer, batch_size=7, valid_fraction=0.4)
    batches = list(eval_task_batches(task.valid, task.data))
    ids = np.concatenate([batch.example_ids for batch in batches])
    assert sorted(ids[ids != PADDING_ROW]) == list(range(len(task.valid.rows)))
    assert all(len(batch.tokens) == 7 for batch in batches)
    weights = np.concatenate([batch.labels["label_weights"][:, 0] for batch in batches])
    assert np.array_equal(weights, (ids != PADDING_ROW).astype(np.float32))
    assert (batches[-1].segments[batches[-1].example_ids == PADDING_ROW] == 0).all()


def test_what_is_held_out_does_not_depend_on_order(sentiment, tokenizer, tmp_path):
    lines = (tmp_path / "all.tsv").read_text().splitlines()
    (tmp_path / "turned.tsv").write_text("\n".join([lines[0], *lines[:0:-1]]))
    one = opened(sentiment, tokenizer)
    two = opened(f"files:{tmp_path}/turned.tsv", tokenizer)
    texts = [{example["text"] for example in task.valid.examples} for task in (one, two)]
    assert texts[0] == texts[1] and len(texts[0]) == 10
    assert one.fingerprint != two.fingerprint  # the order of training examples is part of the data
    assert opened(sentiment, tokenizer).fingerprint == one.fingerprint


def test_equal_texts_stay_on_one_side(tmp_path, tokenizer):
    rows = [{"text": f"text {n // 3}", "label": "ab"[n % 2]} for n in range(60)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = opened(f"files:{tmp_path}/a.jsonl", tokenizer, valid_fraction=0.3)
    sides = [{example["text"] for example in part.examples} for part in (task.train, task.valid)]
    assert not sides[0] & sides[1] and len(task.valid) == 18


def test_the_held_out_file_gives_the_same_rows(sentiment, tokenizer, tmp_path):
    task = opened(sentiment, tokenizer)
    first = write_held_out_task(task, tmp_path / "run").read_bytes()
    assert write_held_out_task(task, tmp_path / "again").read_bytes() == first
    back = open_held_out_task(tmp_path / "run", task.data, tokenizer)
    assert back.labels == task.valid.labels and back.examples == task.valid.examples
    for one, two in zip(back.rows, task.valid.rows, strict=True):
        assert np.array_equal(one.tokens, two.tokens) and np.array_equal(*(
            row.labels["label_targets"] for row in (one, two)
        ))  # fmt: skip
    with pytest.raises(DataError, match="is of Classification, not of Regression"):
        open_held_out_task(tmp_path / "run", TaskData(Regression()), tokenizer)
    with pytest.raises(DataError, match=f"there is no {HELD_OUT_TASK}"):
        open_held_out_task(tmp_path, task.data, tokenizer)
    (tmp_path / "run" / HELD_OUT_TASK).write_bytes(gzip.compress(b"{"))
    with pytest.raises(DataError, match="is damaged"):
        open_held_out_task(tmp_path / "run", task.data, tokenizer)


@pytest.mark.parametrize(
    "choice", [WordPiece(300), SentencePiece(28), ByteBPE(300), ByteBPE(300, "roberta"), Bytes()], ids=str
)
def test_pairs_stand_in_the_template_of_the_tokenizer(tmp_path, choice):
    first, second = "the film is good", "joy and pain"
    tokenizer = train_tokenizer(choice, [" ".join(WORDS)] * 20)
    rows = [{"premise": first, "hypothesis": second, "label": n % 2} for n in range(4)]
    rows += [{"premise": second, "hypothesis": first, "label": 0}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = opened(f"files:{tmp_path}/a.jsonl|{tmp_path}/a.jsonl", tokenizer, ENTAILED)
    row = task.train.rows[0]
    ids, types = tokenizer.encode_pair(first, second)
    if len(tokenizer.frame(2).around[-1]):
        assert np.array_equal(row.tokens, ids) and np.array_equal(row.token_types, types)
    else:  # GPT-2 puts nothing around its texts; here each ends
        eos = tokenizer.special.eos
        assert row.tokens.tolist() == [*tokenizer.encode(first), eos, *tokenizer.encode(second), eos]
    assert np.array_equal(row.positions, np.arange(len(row.tokens))) and (row.segments == 1).all()
    single = opened(
        f"files:{tmp_path}/a.jsonl|{tmp_path}/a.jsonl", tokenizer,
        Classification(text=("premise",), second=("hypothesis",), template="{premise} and {hypothesis}"),
    )  # fmt: skip
    joined = tokenizer.encode(f"{first} and {second}")
    assert np.array_equal(single.train.rows[0].tokens, tokenizer.frame(1).fill(joined).ids) or choice == ByteBPE(300)


def test_the_longer_text_of_a_pair_is_cut_first():
    for sizes, room in (((10, 3), 8), ((3, 10), 8), ((10, 10), 5), ((4, 4), 9), ((50, 1), 2)):
        a, b = sizes
        while a + b > room:  # as published
            a, b = (a - 1, b) if a > b else (a, b - 1)
        assert cut_longest(list(sizes), room) == [a, b]


def test_cut_examples_are_counted_and_told(sentiment, tokenizer):
    task = opened(sentiment, tokenizer, row_length=16)
    assert task.train.cut == sum(len(e["text"]) > 14 for e in task.train.examples) > 0
    assert any("are longer than a row of 16 tokens and were cut" in note for note in task.notes)
    assert max(len(row.tokens) for row in task.train.rows) == 16


def test_limits_take_the_first(sentiment, tokenizer):
    whole, some = opened(sentiment, tokenizer), opened(sentiment, tokenizer, train_limit=9, valid_limit=4)
    assert some.train.examples == whole.train.examples[:9] and some.valid.examples == whole.valid.examples[:4]


def test_labels_of_several_kinds(tmp_path, tokenizer):
    rows = [{"text": f"text {n}", "label": ["red", "blue"][: n % 3]} for n in range(12)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = opened(f"files:{tmp_path}/a.jsonl|{tmp_path}/a.jsonl", tokenizer, MultiLabel())
    assert task.train.labels == ("blue", "red")
    assert [row.labels["label_targets"].tolist() for row in task.train.rows[:3]] == [[[0, 0]], [[0, 1]], [[1, 1]]]
    (tmp_path / "b.csv").write_text('text,score\n"a, b",2.5\n"c",-1\n')
    task = opened(f"files:{tmp_path}/b.csv|{tmp_path}/b.csv", tokenizer, Regression())
    assert [row.labels["label_targets"].tolist() for row in task.train.rows] == [[2.5], [-1.0]]
    assert task.train.rows[0].labels["label_targets"].dtype == np.float32


def test_labels_of_a_numbered_source_and_by_name_are_the_same(tmp_path, tokenizer):
    (tmp_path / "a.tsv").write_text("label\ttext\n" + "".join(f"{n % 2}\ttext {n}\n" for n in range(8)))
    (tmp_path / "b.tsv").write_text("label\ttext\n" + "".join(f"{('no', 'yes')[n % 2]}\ttext {n}\n" for n in range(8)))
    (tmp_path / "c.tsv").write_text("label\ttext\n" + "".join(f"{n % 2 + 1}\ttext {n}\n" for n in range(8)))
    targets = []
    for name, spelt in (("a", ()), ("b", ()), ("c", ("1", "2"))):
        task = opened(f"files:{tmp_path}/{name}.tsv", tokenizer, Classification(labels=("no", "yes"), spelt=spelt))
        targets.append([row.labels["label_targets"].item() for row in task.train.rows])
    assert targets[0] == targets[1] == targets[2]


def test_the_embedded_task_needs_nothing(tokenizer):
    task = opened("library_parts", tokenizer)
    assert TaskData().source == LibraryParts() and str(TaskTFDS()) == "tfds:glue/sst2"
    described = task.describe()
    assert len(task.train.labels) == 12
    assert all(described[part]["labels"][label] > 0 for part in ("train", "valid") for label in task.train.labels)
    assert described["valid"]["majority"] < 0.5
    trained = [triples(example["text"]) for example in task.train.examples]
    for example in task.valid.examples[::7]:
        mine = triples(example["text"])
        assert all(len(mine & theirs) <= len(mine) / 2 for theirs in trained)
    for example in task.valid.examples:
        assert example["label"] not in example["text"].lower()
    units = [{":".join(e.place.split(":")[:2]) for e in part.examples} for part in (task.train, task.valid)]
    assert not units[0] & units[1]
