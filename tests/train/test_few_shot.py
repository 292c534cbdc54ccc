"""Few-shot questions: how they are put and drawn, what scores are made of likelihoods, whole commands."""

import gzip
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from data.errors import DataError
from train import evaluate, few_shot_tasks, prompting
from train.command import run_command
from train.few_shot import Prompted, Question, answer_scores, drawn, few_shot, prompts, questions
from train.few_shot_sources import library_examples, open_examples
from train.likelihood import Likelihood

TWIN = Path(__file__).parents[1] / "twins/gpt2"


# Questions


class Planted:
    """In the place of a scorer: the likelihood of an answer is what a function of context and answer says."""

    def __init__(self, nats):
        self.nats, self.seen = nats, []

    def encode(self, context, continuation):
        self.seen.append(context)
        return context, continuation

    def score(self, requests):
        return [Likelihood(self.nats(*request), False) for request in requests]


TASK = Prompted(prompt="{text} It was", answers=("bad", "good"), labels=("neg", "pos"), metrics=("accuracy", "f1"))
EXAMPLES = [
    {"text": text, "label": label} for text, label in (("Fine", 1), ("Poor", 0), ("Great", 1), ("Odd", 0), ("Nice", 1))
]


def test_a_model_that_knows_is_right_and_one_that_does_not_is_at_the_floor():
    asked = questions(TASK, EXAMPLES)
    kind = {"Fine", "Great", "Nice"}
    knows = Planted(lambda context, answer: -1.0 if (context.split()[0] in kind) == (answer == " good") else -2.0)
    assert few_shot(knows, TASK, asked, [], 0)["accuracy"] == 1.0
    always = few_shot(Planted(lambda context, answer: -len(answer)), TASK, asked, [], 0)
    assert always["accuracy"] == 0.4 and always["f1"] == 0.0
    assert always["accuracy_stderr"] == pytest.approx(np.sqrt(0.4 * 0.6 / 4))


def test_likelihood_per_byte_does_not_punish_long_answers():
    asked = [Question("?", (" yes", " certainly"), 1)]
    task = Prompted(prompt="?", choices=("a", "b"))
    scores = answer_scores(task, asked, [[Likelihood(-4.0, False), Likelihood(-5.0, False)]])
    assert scores["accuracy"] == 0.0 and scores["accuracy_per_byte"] == 1.0


def test_shots_stand_solved_before_the_question():
    asked = questions(TASK, EXAMPLES)
    assert prompts(asked[0], asked[1:3]) == "Poor It was bad\n\nGreat It was good\n\nFine It was"


def test_shots_are_drawn_by_seed_and_number_and_never_the_question_itself():
    pool = questions(TASK, [{"text": f"t{n}", "label": n % 2} for n in range(12)])
    first = [drawn(pool, 4, seed=0, number=n, own=True) for n in range(12)]
    assert all(pool[n] not in shots and len(shots) == 4 for n, shots in enumerate(first))
    assert first == [drawn(pool, 4, seed=0, number=n, own=True) for n in range(12)]
    assert first != [drawn(pool, 4, seed=1, number=n, own=True) for n in range(12)]
    assert {shot.context for shots in first for shot in shots} == {one.context for one in pool}
    assert len(drawn(pool, 11, 0, 3, own=True)) == 11
    with pytest.raises(DataError, match="12 shots need 13 examples"):
        drawn(pool, 12, 0, 3, own=True)


def test_several_seeds_give_mean_and_spread():
    asked = questions(TASK, EXAMPLES)
    pool = questions(TASK, [{"text": f"t{n}", "label": n % 2} for n in range(30)])
    hashed = Planted(lambda context, answer: float(len(context + answer) * 7919 % 13) + sum(map(ord, context)) % 3)
    one, two, three = (few_shot(hashed, TASK, asked, pool, 2, (seed,))["accuracy"] for seed in (0, 1, 2))
    scores = few_shot(hashed, TASK, asked, pool, 2, (0, 1, 2))
    assert scores["accuracy"] == pytest.approx(np.mean([one, two, three]))
    assert scores["accuracy_spread"] == pytest.approx(np.std([one, two, three], ddof=1))
    assert "accuracy_spread" not in few_shot(hashed, TASK, asked, pool, 0, (0, 1, 2))


THREE = Prompted(prompt="{text}", answers=("a", "b", "c"), labels=("A", "B", "C"))
LISTED = Prompted(prompt="{text}", choices=("choices",))


def golds(task, labels, among=(), **options):
    """The right answers of examples with these labels, and what was said."""
    said: list[str] = []
    made = [[{"text": "x", "choices": ["a", "b", "c"], "label": label} for label in part] for part in (labels, among)]
    return [one.gold for one in questions(task, made[0], among=made[1], say=said.append, **options)], said


@pytest.mark.parametrize(
    ("labels", "right"),
    [
        (["neg", "pos"], [0, 1]),
        (["0", "1"], [0, 1]),
        (["1.0", 0], [1, 0]),
        (["Pos", "NEG "], [1, 0]),
    ],
)
def test_labels_are_read_as_files_spell_them(labels, right):
    assert golds(TASK, labels)[0] == right
    with pytest.raises(DataError, match=r"label true, which may be 'neg' or 'pos'.*--data.task.spelt false,true"):
        golds(TASK, [True, False])


def test_numbers_are_read_by_one_rule_over_both_parts_which_is_said():
    for task in (THREE, LISTED):
        with pytest.raises(DataError, match=r"an example.* '?1'?.*--data.task.spelt 0,1,2 or --data.task.spelt 1,2,3"):
            golds(task, [1, 2])
        found, said = golds(task, [1, 2], among=[1, 2, 0])
        assert found == [1, 2] and len(said) == 1 and "places from 0" in said[0]
        assert golds(task, [1, 2], spelt=("1", "2", "3"))[0] == [0, 1] and golds(task, [2], [1], spelt=tuple("012"))[
            0
        ] == [2]
        with pytest.raises(DataError, match=r"the label '3'.*--data.task.spelt 1,2,3"):  # never shifted in silence
            golds(task, [1, 3])
    assert golds(THREE, ["b "])[0] == [1] and golds(LISTED, ["C", "A"])[0] == [2, 0]
    news = few_shot_tasks.TASKS["ag_news"]
    assert golds(news, [1, 4], [2, 3])[0] == [0, 3] and golds(news, [1, 3], [0, 2])[0] == [1, 3]


@pytest.mark.parametrize("task", [TASK, LISTED], ids=["classes", "choices"])
@pytest.mark.parametrize("label", [None, float("nan"), "", 0.6, -1, "nan", [0], {"a": 0}], ids=str)
def test_labels_that_are_none_are_refused_in_a_line(task, label):
    with pytest.raises(DataError, match=r"an example has (no label|the label)") as caught:
        golds(task, [label, 0], [1])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("example", "words"),
    [
        (
            {"text": "x", "label": "maybe"},
            r"a.tsv, line 3 has the label 'maybe', which the task does not know; known are neg, pos",
        ),
        ({"text": "x", "label": 3}, "a.tsv, line 3 has the label '3': numbers are places from 0 to 1"),
        ({"text": "x"}, "a.tsv, line 3: there is no column 'label'; there are text"),
        ({"label": 0}, "a.tsv, line 3: there is no column 'text'; there are label"),
    ],
)
def test_examples_that_do_not_fit_are_named(example, words):
    with pytest.raises(DataError, match=words):
        questions(TASK, [{**example, "__place__": "a.tsv, line 3"}])


def test_the_forms_in_which_sets_are_published():
    """One example of each known task, in each of its forms."""
    tasks, arc = few_shot_tasks.TASKS, {"question": "Why?", "answerKey": "B"}
    listed = [{"text": "a", "label": "A"}, {"text": "b", "label": "B"}]
    forms = {
        "sst2": [{"content": "fine", "label": "1"}, {"sentence": "fine", "label": 1}],
        "mrpc": [{"#1 String": "a", "#2 String": "b", "Quality": "1"}],
        "rte": [{"premise": "a", "hypothesis": "b", "label": "not_entailment"}],
        "boolq": [{"passage": "p", "question": "q", "answer": True}, {"passage": "p", "question": "q", "label": 1}],
        "piqa": [{"goal": "g", "sol1": "a", "sol2": "b", "label": 1}],
        "copa": [{"premise": "It rained.", "question": "cause", "choice1": "A", "choice2": "Clouds.", "label": 1}],
        "arc_easy": [
            {**arc, "choices": {"text": ["a", "b"], "label": ["A", "B"]}},
            {**arc, "choices": listed},
            {"question": {"stem": "Why?", "choices": listed}, "answerKey": "B"},
        ],
    }  # fmt: skip
    made = {name: [questions(tasks[name], [example])[0] for example in examples] for name, examples in forms.items()}
    assert all(one.gold == 1 and len(one.choices) == 2 for several in made.values() for one in several)
    assert all(one == several[0] for several in made.values() for one in several)
    assert made["copa"][0] == Question("It rained because", (" a", " clouds."), 1)
    assert made["arc_easy"][0].context == "Question: Why?\nAnswer:"


# Sources


def test_files_of_every_kind(tmp_path):
    rows = [("one", "0"), ('"two', "1")]
    (tmp_path / "a.tsv").write_bytes(
        "\ufeffsentence\tlabel\r\n".encode() + "".join("\t".join(r) + "\r\n" for r in rows).encode()
    )
    (tmp_path / "b.csv").write_text('label,sentence\n0,one\n1,"""two"\n')
    (tmp_path / "c.tsv").write_text('0\t-\tone\n1\t-\t"two\n')
    with gzip.open(tmp_path / "d.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"sentence": text, "label": int(label)}) + "\n" for text, label in rows)
    for word in ("a.tsv", "b.csv", "c.tsv#label,_,sentence", "d.jsonl.gz"):
        train, valid = open_examples(f"files:{tmp_path}/{word}")
        assert train is None and [(e["sentence"], str(e["label"])) for e in valid] == rows, word
    train, valid = open_examples(f"files:{tmp_path}/a.tsv|{tmp_path}/b.csv")
    assert train is not None and len(train) == len(valid) == 2 and valid[1]["__place__"].endswith("b.csv line 3")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\tb\n1\n", "line 2 has 1 column, not 2"),
        ("a\tb\n", "holds no example"),
    ],
)
def test_tables_that_do_not_fit_are_named(tmp_path, text, words):
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(DataError, match=words):
        open_examples(f"files:{tmp_path}/a.tsv")


@pytest.mark.slow
def test_the_embedded_task_is_the_same_each_time_and_holds_no_pair_twice():
    train, valid = library_examples()
    assert (train, valid) == library_examples() and len(valid) >= 50 and len(train) > 5 * len(valid)
    assert all(len(set(example["choices"])) == 4 for example in [*train, *valid])
    assert not {example["__place__"] for example in train} & {example["__place__"] for example in valid}
    golds = np.bincount([example["label"] for example in train], minlength=4) / len(train)
    assert golds.min() > 0.2


# Commands

SENTENCES = "sentence\tlabel\n" + "".join(f"{'good' if n % 2 else 'bad'} {n}\t{n % 2}\n" for n in range(12))


@pytest.fixture
def command(monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["train.evaluate", *map(str, words)])
        try:
            code = run_command(evaluate.main)
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.mark.slow
def test_a_run_is_scored_and_no_file_is_written_over(here, command, tmp_path):
    run = tmp_path / "run"
    lengths = ("--steps", "2", "--evaluate-every", "2", "--evaluate-rows", "8", "--checkpoint-every", "2")
    next_token = ("--objective.name", "next_token", "--objective.opening", "bos", "--data.row-length", "128")
    assert here("--run-dir", run, *lengths, *next_token, "--model.positions.max-length", "128").code == 0
    (tmp_path / "dev.tsv").write_text(SENTENCES)
    words = (
        run,
        "--tasks",
        "sst2",
        "--data.source",
        f"files:{tmp_path}/dev.tsv",
        "--shots",
        "0,1",
        "--seed",
        "0,1",
        "--limit",
        6,
    )
    code, said, errors = command(*words)
    assert code == 0, errors
    scores = json.loads((run / "scores-few_shot.json").read_text())
    assert scores["examples_sst2"] == 6 and scores["floor_sst2"] == 0.5 and scores["step"] == 2
    assert {"accuracy_sst2_0_shot", "accuracy_sst2_1_shot", "accuracy_spread_sst2_1_shot"} < set(scores)
    assert all(isinstance(value, int | float) for value in scores.values()) and "accuracy_sst2_0_shot" in said
    code, _, errors = command(*words)
    assert code == 2 and "scores-few_shot.json is there already; name a new file with --out" in errors
    assert command(*words, "--out", tmp_path / "again.json")[0] == 0
    again = json.loads((tmp_path / "again.json").read_text())
    assert again == scores
    code, _, errors = command(run, "--tasks", "wikitext", "--out", tmp_path / "text.json")
    assert code == 2 and "wikitext has no text of its own; name some with --data.source" in errors
    (tmp_path / "a.txt").write_text("= A =\n A cat , old .\n" * 20)
    source = ("--data.source", f"files:{tmp_path}/a.txt#whole")
    assert command(run, "--tasks", "wikitext", *source, "--out", tmp_path / "text.json")[0] == 0
    found = json.loads((tmp_path / "text.json").read_text())
    assert found["texts_wikitext"] == 1 and 1 < found["bits_per_byte_wikitext"] < 40


MISTAKES = [
    (("--tasks", "sst3"), "--tasks: there is no task 'sst3'; did you mean sst2?"),
    (("--tasks", "sst2", "--shots", "few"), "--shots few is no list of whole numbers"),
    (("--tasks", "sst2", "--seed", "0,0"), "--seed 0,0 is no list of whole numbers, each once"),
    (("--tasks", "sst2", "--limit", "0"), "--limit 0 leaves no example"),
    (("--tasks", "sst2", "--harness", "piqa"), "one of the two"),
    (("--tasks", ","), "--tasks names no task; there are sst2"),
    (("--tasks", "sst2", "--shot", "1"), "did you mean --shots?"),
    (("--tasks", "sst2", "--out", "README.md"), "--out README.md is there already"),
    (("--tasks", "sst2", "--data.task.spelt", "1,2,3"), "--data.task.spelt has 3 words, and sst2 has 2 classes"),
    (("--tasks", "text", "--data.task.spelt", "1,2"), "--data.task.spelt is for labels, and text has none"),
    (("--tasks", "sst2", "--data.task.spelt", "1,1"), "spelt 1, 1 has a word twice"),
]


@pytest.mark.parametrize(("words", "error"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_mistakes_are_one_line_before_jax_is_needed(command, words, error, monkeypatch):
    monkeypatch.setattr(prompting, "configure_jax", lambda: pytest.fail("too late"))
    code, said, errors = command(TWIN, *words)
    assert (code, said) == (2, "") and error in errors and errors.count("\n") == 1


def test_help_lists_the_options(command):
    code, said, _ = command("x", "--tasks", "sst2", "--help")
    assert code == 0 and "--shots" in said and "--harness" in said
