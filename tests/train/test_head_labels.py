"""A head that was trained before is taken over by the names of its rows, or drawn afresh, and either is said; its classes keep
their names when it is scored.
"""

import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

import train.session
from data.errors import DataError
from data.tasks.choices import Classification, MultiLabel, Regression, Tagging
from data.tasks.config import TaskData
from data.tasks.opened import open_task
from data.tasks.sources import TaskFiles
from data.tokenizers import load_tokenizer
from model.attention import MultiHead
from model.families import bert
from model.mlp import PlainMLP
from model.peft import LoRA
from model.task_models import EncoderForTask
from train import cli, evaluate
from train.base import Start
from train.command import run_command
from train.config import settled
from train.fine_tuning import fine_tuning
from train.head_labels import HeadError, HeadLabels, check_renamed, head_for_task, published_labels
from train.objectives.with_head import TaskObjective
from train.options import FinetuneOptions
from train.origin import Origin
from train.pretrained import load, save
from train.published_run import declared
from train.sharding import MeshShape, make_mesh
from train.starting import first_state, flat
from train.state import build, split_model

VOCABULARY = Path(__file__).parents[1] / "data/published/bert"
KERNEL, BIAS = np.arange(12.0).reshape(4, 3), np.array([10.0, 11.0, 12.0])
GIVEN = {"classifier.kernel": KERNEL, "classifier.bias": BIAS, "layers.x": np.ones(2)}
NLI = ("ENTAILMENT", "NEUTRAL", "CONTRADICTION")
OURS = ("contradiction", "entailment", "neutral")


def taken(theirs, task, in_order=False):
    """The rows of the head that are taken, None for none, and the line that is said."""
    said: list[str] = []
    found = head_for_task("x", GIVEN, theirs, task, in_order=in_order, say=said.append)
    assert np.array_equal(found["layers.x"], GIVEN["layers.x"])
    (line,) = said
    if "classifier.kernel" not in found:
        assert "classifier.bias" not in found and "drawn from the seed" in line
        return None, line
    rows = [int(value) - 10 for value in found["classifier.bias"]]
    assert np.array_equal(found["classifier.kernel"], KERNEL[:, rows])
    return rows, line


@pytest.mark.parametrize(
    ("labels", "task", "in_order", "rows"),
    [
        (NLI, Classification(labels=OURS), False, [2, 0, 1]),
        (NLI, MultiLabel(labels=OURS), False, [2, 0, 1]),
        (OURS, Classification(labels=OURS), False, [0, 1, 2]),
        (("yes", "no", "maybe"), Classification(labels=OURS), True, None),
        (NLI[:2], Classification(labels=OURS), True, None),
        (("LABEL_0", "LABEL_1", "LABEL_2"), Classification(labels=OURS), False, None),
        (("LABEL_0", "LABEL_1", "LABEL_2"), Classification(labels=OURS), True, [0, 1, 2]),
        (("LABEL_0", "LABEL_1", "LABEL_2"), Classification(labels=("0", "1", "2")), False, [0, 1, 2]),
        (("LABEL_0", "LABEL_1", "LABEL_2"), Classification(labels=("1", "2", "3")), False, None),
        (("-1", "0", "1"), Classification(labels=("1", "0", "-1")), False, [2, 1, 0]),
        (None, Classification(labels=OURS), True, None),
    ],
)
def test_rows_follow_their_names_or_are_drawn(labels, task, in_order, rows):
    found, line = taken(HeadLabels(labels), task, in_order)
    assert found == rows and "\n" not in line
    assert all(name in line for name in task.labels or ()) and (not labels or labels[0] in line)


def test_heads_of_another_kind_are_drawn():
    tags = Tagging(labels=("O", "I-LOC", "I-PER"), scheme="IO")
    assert taken(HeadLabels(("O", "PER", "LOC"), by_token=True), tags)[0] == [0, 2, 1]
    assert taken(HeadLabels(("O", "I-LOC", "I-PER")), tags)[0] is None  # of whole texts
    assert taken(HeadLabels(NLI), Regression())[0] is None
    assert taken(HeadLabels(numbers=1), Classification(labels=OURS))[0] is None
    found, line = taken(HeadLabels(numbers=3), Regression())
    assert found is None and "a head for 3 numbers, and this task is about a number" in line


def test_a_head_for_a_number_is_taken_for_a_number():
    said, one = [], {"classifier.kernel": KERNEL[:, :1], "classifier.bias": BIAS[:1]}
    found = head_for_task("x", one, HeadLabels(numbers=1), Regression(), in_order=False, say=said.append)
    assert np.array_equal(found["classifier.kernel"], KERNEL[:, :1]) and "a number, and so has this task" in said[0]


def test_what_a_config_says_of_its_rows():
    assert published_labels({"id2label": {"2": "c", "0": "a", "1": "b"}}, 3) == ("a", "b", "c")
    assert published_labels({"id2label": {0: "a"}}, 2) == ("a", "LABEL_1")
    assert published_labels({"label2id": {"b": 1, "a": 0}}, 2) == ("a", "b")
    assert published_labels({"id2label": [], "label2id": None}, 2) == ("LABEL_0", "LABEL_1")
    texts = {"outputs": 2, "pooling": "first", "kind": "labels"}
    assert HeadLabels.of_published({"problem_type": "regression"}, texts) == HeadLabels(numbers=2)
    assert HeadLabels.of_published({}, texts | {"outputs": 1}) == HeadLabels(numbers=1)
    several = {"problem_type": "multi_label_classification"}
    assert HeadLabels.of_published(several, texts | {"outputs": 1}) == HeadLabels(("LABEL_0",))
    assert HeadLabels.of_published({}, texts | {"kind": "ends"}) == HeadLabels()
    assert HeadLabels.of_published({}, texts | {"pooling": None}) == HeadLabels(("LABEL_0", "LABEL_1"), by_token=True)


def test_another_order_of_the_same_names_is_refused():
    assert check_renamed("x", ("negative", "positive"), ("NEGATIVE", "POSITIVE")) == ""
    assert check_renamed("x", ("bad", "good"), ("LABEL_0", "LABEL_1"))
    for given in (("positive", "negative"), ("neutral", "NEGATIVE")):
        with pytest.raises(
            ValueError, match=r"another order than that of x, whose classes are NEGATIVE, POSITIVE; leave it out"
        ):
            check_renamed("x", given, ("NEGATIVE", "POSITIVE"))
    with pytest.raises(ValueError, match=r"names 3 labels .* and x has 2 classes"):
        check_renamed("x", ("a", "b", "c"), ("a", "b"))


@pytest.fixture
def published(tmp_path):
    """A speck of a BERT with a head, published with these names, whose answer is always the last of them."""

    def make(labels: tuple[str, ...], name="published") -> Path:
        tokenizer = load_tokenizer(VOCABULARY)
        config = bert.config("tiny", vocab_size=tokenizer.vocab_size, max_length=32, num_layers=1, dropout_rate=0.0)
        config = dataclasses.replace(config, hidden_size=16, attention=MultiHead(num_heads=2), mlp=PlainMLP(16))
        model = EncoderForTask(config, len(labels), "first", True, rngs=nnx.Rngs(0))
        assert model.head is not None and model.head.bias is not None
        model.head.bias[...] = np.arange(len(labels)) * 5.0
        save(model, tmp_path / name, tokenizer=tokenizer)
        path = tmp_path / name / "config.json"
        named = {"id2label": {str(n): label for n, label in enumerate(labels)}, "label2id": None}
        path.write_text(json.dumps(json.loads(path.read_text()) | named))
        return tmp_path / name

    return make


@pytest.fixture
def examples(tmp_path):
    """A file with one text for each of these labels; gives its name."""

    def write(*labels: str) -> str:
        lines = [f"text {number}\t{label}" for number, label in enumerate(labels)]
        (tmp_path / "examples.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n")
        return str(tmp_path / "examples.tsv")

    return write


def begun(folder, task, source):
    """The head of step 0 of a run that begins with this folder, and what was said."""
    said: list[str] = []
    data = TaskData(task, TaskFiles(source, source), row_length=16)
    opened = open_task(data, load_tokenizer(VOCABULARY), [].append)
    experiment = fine_tuning(data, model=Origin.open(str(folder)).config)
    assert isinstance(experiment.objective, TaskObjective)
    sizes = experiment.objective.sizes(opened.task, opened.train.rows[0])
    experiment = settled(experiment, model=experiment.model, task=opened.task, stack="encoder", sizes=sizes, steps=1)
    built = build(experiment, make_mesh(MeshShape.parse(""), jax.devices()[:1]))
    state = first_state(experiment, built, Start(folder, str(folder)), opened.tokenizer, said.append).state
    weights = flat(state.weights)
    return {path: np.asarray(leaf) for path, leaf in weights.items() if path.startswith("classifier.")}, said


def test_a_run_begins_with_the_rows_of_its_labels(published, examples):
    folder = published(NLI)
    before = {p: np.asarray(leaf) for p, leaf in flat(split_model(load(folder).model).params).items()}
    head, said = begun(folder, Classification(), examples(*OURS))
    for name in ("classifier.kernel", "classifier.bias"):
        assert np.array_equal(head[name], before[name][..., [2, 0, 1]])
    assert (
        sum("put into the order of this task's labels, contradiction, entailment, neutral" in line for line in said)
        == 1
    )


@pytest.mark.slow
def test_labels_that_are_others_draw_a_head_and_a_run_of_few_parameters_is_merged(
    published, examples, tmp_path, monkeypatch
):
    monkeypatch.setattr("train.session.make_mesh", lambda shape: make_mesh(shape, jax.devices()[:1]))
    monkeypatch.setattr("train.run.make_mesh", lambda shape: make_mesh(shape, jax.devices()[:1]))
    folder = published(NLI)
    before = {p: np.asarray(leaf) for p, leaf in flat(split_model(load(folder).model).params).items()}
    head, said = begun(folder, Classification(), examples("yes", "no", "maybe"))
    assert not np.array_equal(head["classifier.bias"], before["classifier.bias"])
    assert any(
        "ENTAILMENT, NEUTRAL, CONTRADICTION" in s and "maybe, no, yes" in s and "drawn from the seed" in s for s in said
    )
    assert not any("has no classifier" in line for line in said)

    source = examples(*OURS)
    data = TaskData(Classification(), TaskFiles(source, source), batch_size=2, row_length=16, bucket=16)
    chosen = dataclasses.replace(fine_tuning(data, peft=LoRA(rank=2)), epochs=None, steps=1)
    run = train.session.train(chosen, tmp_path / "run", init=str(folder))
    other = Classification(labels=("Neutral", "Entailment", "Contradiction"))
    head, said = begun(tmp_path / "run", other, source)
    merged = {p: np.asarray(leaf) for p, leaf in flat(split_model(run.merged().model).params).items()}
    assert np.array_equal(head["classifier.kernel"], merged["classifier.kernel"][:, [2, 1, 0]])
    assert any("put into the order" in line for line in said)


@pytest.fixture
def scored(monkeypatch, capsys, private_cache):
    """Runs `train.evaluate` with these words in this process; gives its exit code, scores and what it said."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["train.evaluate", *map(str, words)])
        try:
            code = run_command(evaluate.main)
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        lines = [line.split() for line in said.out.splitlines()]
        scores = {line[0]: float(line[1]) for line in lines if len(line) == 2 and line[1].replace(".", "").isdigit()}
        return code, scores, said.out + said.err

    return run


@pytest.mark.parametrize(
    ("problem", "rows", "told"),
    [
        ("regression", 3, r"has a head of 3 numbers .* write single_label_classification there"),
        ("multi_label_classification", 1, r"has a head of one class .* write regression there"),
        (
            "regresion",
            2,
            r"has problem_type='regresion' .* write regression, single_label_classification or multi_label",
        ),
        (["regression"], 2, r"has problem_type=.* write regression,"),
    ],
)
def test_heads_that_answer_what_no_task_asks_are_refused(published, problem, rows, told):
    folder = published(tuple(f"LABEL_{row}" for row in range(rows)))
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"problem_type": problem}))
    with pytest.raises(HeadError, match=told):
        declared(str(folder))
    given = "single_label_classification" if rows > 1 else "regression"  # as the line says
    path.write_text(json.dumps(json.loads(path.read_text()) | {"problem_type": given}))
    assert isinstance(declared(str(folder)).experiment.task_data.task, Classification if rows > 1 else Regression)


@pytest.mark.parametrize("given", [(), ("data.task.labels",)])
def test_rows_without_names_are_taken_where_the_user_says_their_order(
    published, examples, tmp_path, monkeypatch, given
):
    """Not where an experiment names its labels, which are in the order of its data."""
    seen = []

    def stop(*_, in_order, **__):
        seen.append(in_order)
        raise DataError("far enough")

    monkeypatch.setattr("train.session.make_mesh", lambda shape: make_mesh(shape, jax.devices()[:1]))
    monkeypatch.setattr("train.session.first_state", stop)
    source = examples(*OURS)
    data = TaskData(Classification(labels=OURS), TaskFiles(source, source), batch_size=2, row_length=16, bucket=16)
    options = FinetuneOptions(run_dir=str(tmp_path / "run"), init=str(published(("LABEL_0", "LABEL_1", "LABEL_2"))))
    experiment = fine_tuning(data)
    request = cli.Request("x", experiment, experiment, options, frozenset(given), command="finetune")
    with pytest.raises(DataError, match="far enough"):
        train.session.train_run(request, 0.0)
    assert seen == [bool(given)]


def test_a_folder_is_scored_under_its_own_names(published, examples, scored):
    """Nine of ten are positive, and so is every answer."""
    folder = published(("NEGATIVE", "POSITIVE"))
    source = ("--data.source", f"files:{examples('negative', *['Positive'] * 9)}")
    code, scores, said = scored(folder, *source)
    assert code == 0 and scores["accuracy"] == 0.9 and "f1 is that of POSITIVE" in said, said
    code, _, said = scored(folder, *source, "--data.task.labels", "positive,negative")
    assert code == 2 and "is another order than that of" in said and "NEGATIVE, POSITIVE; leave it out" in said, said
    source = ("--data.source", f"files:{examples('bad', *['good'] * 9)}")
    code, _, said = scored(folder, *source)
    assert code == 2 and "known are NEGATIVE, POSITIVE" in said and "--data.task.spelt WORD1,WORD2" in said


@pytest.mark.slow
def test_the_remedies_for_labels_of_a_folder_give_its_score(published, examples, scored):
    folder = published(("NEGATIVE", "POSITIVE"))
    source = ("--data.source", f"files:{examples('bad', *['good'] * 9)}")
    code, scores, said = scored(folder, *source, "--data.task.spelt", "bad,good")
    assert code == 0 and scores["accuracy"] == 0.9, said
    source = ("--data.source", f"files:{examples('0', *['1'] * 9)}")
    code, scores, said = scored(folder, *source)
    assert code == 0 and scores["accuracy"] == 0.9 and "read as places from 0" in said, said
    folder = published(("LABEL_0", "LABEL_1"), "nameless")
    source = ("--data.source", f"files:{examples('bad', *['good'] * 9)}")
    code, scores, said = scored(folder, *source, "--data.task.labels", "bad,good")
    assert code == 0 and scores["accuracy"] == 0.9, said
