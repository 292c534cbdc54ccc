"""python -m train.finetune, from the words that a user types to the scores in the run folder."""

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from train import finetune
from train.command import InputError, run_command
from train.lines import read_metrics
from train.options import FinetuneOptions
from train.registry import load
from train.run import Run
from train.search import train_search
from train.several import train_several
from train.starting import flat

SHORT = ("--steps", "4", "--evaluate-every", "2", "--checkpoint-every", "2")
STILL = ("--optimizer.schedule.peak", "1e-30", "--optimizer.weight_decay", "0")
CHOICES = ("--data.task.text", "text", "--data.task.choices", "choices", "--data.task.prompt", "{text}")
WORDS = {"good": ["fine", "great", "lovely", "superb"], "bad": ["poor", "awful", "dull", "wretched"]}


def rows(count: int, seed: int) -> list[tuple[str, str]]:
    """Sentences whose class is that of their one telling word."""
    rng = np.random.default_rng(seed)
    filler = ["the", "a", "of", "in", "on", "at", "it", "was"]
    made = []
    for number in range(count):
        label = ("bad", "good")[number % 2]
        words = [*rng.choice(filler, rng.integers(1, 4)), str(rng.choice(WORDS[label]))]
        made.append((" ".join(words), label))
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    """A task of files."""
    folder = tmp_path_factory.mktemp("task")
    for name, count, seed in (("train", 96, 0), ("dev", 40, 1)):
        lines = ["sentence\tlabel", *(f"{text}\t{label}" for text, label in rows(count, seed))]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return f"files:{folder}/train.tsv|{folder}/dev.tsv"


@pytest.fixture
def base(here, tmp_path_factory) -> Path:
    """A run of a speck of a BERT, trained once."""
    folder = tmp_path_factory.getbasetemp() / "base"
    if not (folder / "scores.json").is_file():
        assert here("--run-dir", folder, "--steps", "2").code == 0
    return folder


@pytest.fixture
def tuned(here, base, source, monkeypatch, capsys):
    """Runs `train.finetune --exp=sst2 --init=BASE` on the task of files, with these words besides, in this process."""

    def run(*words, exp: str = "sst2", init: object = base, task: tuple[str, ...] = ("--data.task.labels", "bad,good")):
        given = [f"--exp={exp}", "--data.source", source, *task, "--data.row_length", "32"]
        given += ["--data.bucket", "32", *([] if init is None else ["--init", init]), *words]
        monkeypatch.setattr(sys, "argv", ["train.finetune", *map(str, given)])
        try:
            code = run_command(finetune.main)
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_rule_is_learnt_scored_and_read_back(tuned, tmp_path):
    folder = tmp_path / "run"
    words = ("--epochs", "12", "--optimizer.schedule.peak", "1e-2", "--run-dir", folder, "--data.batch_size", "16")
    code, said, _ = tuned(*words)
    assert code == 0 and "accuracy" in said.splitlines()[-1]
    scores = json.loads((folder / "scores.json").read_text())
    assert all(isinstance(value, int | float) for value in scores.values())
    assert scores["accuracy"] >= 0.95 and scores["majority_accuracy"] == 0.5 and scores["step"] == 72
    run = Run.open(folder)
    smaller = dataclasses.replace(run.experiment.task_data, batch_size=3, bucket=8)
    assert {batch.tokens.shape[0] for batch in run.task_evaluator(data=smaller).batches()} == {3}
    again = run.evaluate()
    assert {name: again[name] for name in ("accuracy", "valid_loss", "f1")} == {
        name: scores[name] for name in ("accuracy", "valid_loss", "f1")
    }
    code, said, _ = tuned(*words)
    assert code == 0 and "finished before" in said
    shown = json.loads((folder / "predictions.json").read_text())
    right = [example["target"] == example["predicted"] for example in shown["examples"]]
    assert shown["labels"] == ["bad", "good"] and np.mean(right) == scores["accuracy"]


@pytest.mark.slow
def test_a_declared_task_goes_on_when_its_command_is_repeated(tuned, base, tmp_path, monkeypatch):
    """As it stands, lengths in epochs included: what a run folder says must be what the file says."""
    from train import registry

    declared = registry.load("library_parts")
    short = dataclasses.replace(declared.experiment, epochs=1, evaluate_rows=16)
    monkeypatch.setattr("train.cli.load", lambda name: dataclasses.replace(declared, experiment=short))
    words = ("--run-dir", tmp_path / "run", "--data.source", "library_parts", "--data.train_limit", "64",
             "--data.valid_limit", "16")  # fmt: skip
    code, _, errors = tuned(*words, exp="library_parts", task=())
    assert code == 0, errors
    code, said, errors = tuned(*words, exp="library_parts", task=())
    assert code == 0 and "finished before" in said, errors


@pytest.mark.slow
def test_a_run_is_scored_on_examples_of_anybody(tuned, tmp_path, monkeypatch, capsys):
    from train import evaluate

    folder, other = tmp_path / "run", tmp_path / "other.tsv"
    assert tuned("--run-dir", folder, *SHORT)[0] == 0
    before = (folder / "scores.json").read_text()
    other.write_text("sentence\tlabel\n" + "\n".join(f"{text}\t{label}" for text, label in rows(10, 7)) + "\n")

    def scored(*words) -> dict:
        monkeypatch.setattr(sys, "argv", ["train.evaluate", str(folder), *map(str, words)])
        assert run_command(evaluate.main) == 0, capsys.readouterr().err
        return json.loads(
            Path(capsys.readouterr().out.strip().splitlines()[-1].removeprefix("written to ")).read_text()
        )

    assert scored() == json.loads(before)
    found = scored("--data.source", f"files:{other}|{other}")
    assert found["held_out_examples"] == 10 and (folder / "scores.json").read_text() == before


def test_how_scores_are_counted_is_found_said_and_kept(here, base, tmp_path, monkeypatch, capsys):
    """Tags in IOB1, as CoNLL-2003 was published: the run knows, and so does whoever scores it again."""
    path = tmp_path / "a.conll"
    path.write_text("Anna I-PER\nwent O\n\nAnna I-PER\nBoris B-PER\nran O\n\n" * 8)
    folder = tmp_path / "run"
    words = ["--exp=conll2003", "--init", base, "--data.source", f"files:{path}|{path}", "--run-dir", folder, *SHORT,
             "--data.row_length", "32", "--data.bucket", "32"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["train.finetune", *map(str, words)])
    assert run_command(finetune.main) == 0
    said = capsys.readouterr().out
    assert "tags are read as IOB1" in said and "f1_strict_signature: scheme:IOB1" in said
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["f1_strict_signature"] == "scheme:IOB1"
    assert Run.open(folder).experiment.task_data.task.scheme == "IOB1"
    from train import evaluate

    monkeypatch.setattr(sys, "argv", ["train.evaluate", str(folder)])
    assert run_command(evaluate.main) == 0
    assert "scheme:IOB1" in capsys.readouterr().out
    assert json.loads((folder / "scores.json").read_text()).keys() == scores.keys()


@pytest.mark.slow
def test_every_choice_is_scored_however_many_there_are(tuned, tmp_path):
    """Of three endings the third is always right: what knows of two only cannot find it."""
    lines = [{"text": f"a {n}", "choices": ["no", "nay", "yes"], "label": 2} for n in range(32)]
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text(
            "\n".join(json.dumps(line | {"text": name + line["text"]}) for line in lines)
        )
    words = ("--data.source", f"files:{tmp_path}/train.jsonl|{tmp_path}/dev.jsonl", "--run-dir", tmp_path / "run")
    code, _, errors = tuned(*words, "--steps", "12", "--optimizer.schedule.peak", "1e-2", exp="piqa", task=CHOICES)
    assert code == 0, errors
    run = Run.open(tmp_path / "run")
    assert run.experiment.objective.choices == 3 and run.evaluate()["accuracy"] == 1.0
    assert tuned(*words, "--steps", "12", "--optimizer.schedule.peak", "1e-2", exp="piqa", task=CHOICES)[0] == 0


@pytest.mark.slow
def test_weights_come_from_where_they_are_said_to(tuned, base, tmp_path):
    """With a rate of nothing everything but the head is as it was; drawn afresh, it is not."""
    before = flat(Run.open(base).params)
    for words, kept in (((), True), (("--fresh",), False)):
        folder = tmp_path / f"run{kept}"
        assert tuned("--run-dir", folder, *SHORT, *STILL, *words)[0] == 0
        after = flat(Run.open(folder).params)
        assert {path for path in after if path not in before} >= {"classifier.kernel", "classifier.bias"}
        table = "embeddings.tokens.embedding"
        assert np.allclose(after[table], before[table], rtol=0, atol=1e-20) == kept
        pooler = np.allclose(after["pooler.kernel"], before["pair_head.pooler.kernel"], rtol=0, atol=1e-20)
        assert pooler == kept


@pytest.mark.slow
def test_stopped_and_resumed_ends_with_the_same_bits(tuned, interrupt, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    words = ("--steps", "6", "--evaluate-every", "3", "--checkpoint-every", "3")
    assert tuned("--run-dir", whole, *words)[0] == 0
    with interrupt(5):
        assert tuned("--run-dir", parts, *words)[0] == 130
    assert tuned("--run-dir", parts, *words)[0] == 0
    one, other = (flat(Run.open(folder).params) for folder in (whole, parts))
    assert all((np.asarray(one[path]) == np.asarray(other[path])).all() for path in one)


@pytest.mark.slow
def test_few_parameters_are_trained_kept_and_found_again(tuned, base, tmp_path):
    folder = tmp_path / "run"
    words = ("--peft", "lora", "--peft.rank", "2", "--selection.average", "0.5")
    code, said, _ = tuned("--run-dir", folder, *SHORT, *words)
    assert code == 0 and "of them trained" in said and "--peft: the learning rate is 0.0005" in said
    run, before = Run.open(folder), flat(Run.open(base).params)
    kept = set(flat(run.restored.state.params))
    assert all(".lora." in path or path.startswith(("classifier.", "pooler.")) for path in kept)
    assert set(flat(run.restored.state.mean)) == kept
    assert all((np.asarray(leaf) == np.asarray(before[path])).all()
               for path, leaf in flat(run.restored.state.frozen).items() if path in before)  # fmt: skip
    lowered = [leaf for path, leaf in flat(run.restored.state.params).items() if path.endswith("lora.b")]
    assert all(np.asarray(leaf).any() for leaf in lowered)
    scores = json.loads((folder / "scores.json").read_text())
    assert run.evaluate()["valid_loss"] == scores["valid_loss"]


@pytest.mark.slow
def test_what_is_frozen_stays(tuned, base, tmp_path):
    folder, before = tmp_path / "run", flat(Run.open(base).params)
    assert tuned("--run-dir", folder, *SHORT, "--freeze", "embeddings,layers.0.attention")[0] == 0
    after = flat(Run.open(folder).params)
    for path, leaf in after.items():
        if path in before:
            still = (np.asarray(leaf) == np.asarray(before[path])).all()
            assert still == path.startswith(("embeddings.", "layers.attention.")), path


def test_the_best_weights_are_the_result_and_patience_ends(tuned, tmp_path):
    """At such a rate the loss only rises, so that the first evaluation stays the best."""
    folder = tmp_path / "run"
    words = ("--run-dir", folder, "--steps", "40", "--evaluate-every", "2", "--checkpoint-every", "50",
             "--selection.metric", "valid_loss", "--selection.patience", "2", "--optimizer.schedule.peak", "30",
             "--optimizer.schedule.warmup_fraction", "0", "--guard.max_skips", "1000")  # fmt: skip
    code, _, errors = tuned(*words)
    assert code == 0, errors
    lines = read_metrics(folder)
    looks = [(line["valid_loss"], line["step"]) for line in lines if "event" not in line and "valid_loss" in line]
    best = min(looks[:-1])
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["valid_loss"] == pytest.approx(best[0], rel=1e-6)
    done = [line for line in lines if line.get("event") == "done"]
    assert done[-1].get("early") and done[-1]["step"] < 40
    assert "finished before" in tuned(*words)[1]


@pytest.mark.slow
def test_seeds_and_sweeps_are_compared(tuned, tmp_path):
    folder = tmp_path / "many"
    words = ("--run-dir", folder, "--steps", "2", "--seeds", "2", "--sweep", "data.batch_size=8,16")
    code, said, _ = tuned(*words)
    assert code == 0 and "batch_size=8" in said
    compared = json.loads((folder / "comparison.json").read_text())
    assert len(compared["runs"]) == 4 and set(compared["settings"]) == {"batch_size=8", "batch_size=16"}
    for setting, summary in compared["settings"].items():
        losses = [run["scores"]["valid_loss"] for run in compared["runs"] if run["setting"] == setting]
        assert losses[0] != losses[1]
        assert summary["valid_loss"]["mean"] == pytest.approx(np.mean(losses))
        assert summary["valid_loss"]["spread"] == pytest.approx(np.std(losses, ddof=1))
    assert "<h1>sst2</h1>" in (folder / "comparison.html").read_text()


def test_a_search_proposes_again_what_it_proposed_and_goes_on(tuned, tmp_path):
    pytest.importorskip("optuna", reason="NOTHING IS SEARCHED: pip install -e '.[search]'")
    folder = tmp_path / "search"
    words = ("--run-dir", folder, "--steps", "2", "--search", "optimizer.schedule.peak=1e-4:1e-2:log seed=1:9")
    assert tuned(*words, "--trials", "1")[0] == 0
    first = json.loads((folder / "comparison.json").read_text())["runs"]
    code, said, _ = tuned(*words, "--trials", "2")
    both = json.loads((folder / "comparison.json").read_text())["runs"]
    assert code == 0 and both[0] == first[0] and "finished before" in said
    assert both[1]["setting"] != both[0]["setting"]
    best = max(both, key=lambda run: run["scores"]["accuracy"])
    assert f"the best accuracy of 2 trials is {best['scores']['accuracy']:.4f}" in said


MISTAKES = {
    "a task for pre-training": (("--exp=bert_tiny",), "pre-trains on text: python -m train.pretrain --exp=bert_tiny"),
    "both lengths": (("--steps", "2", "--epochs", "1"), "--steps and --epochs say the same"),
    "nothing frozen": (("--freeze", "encoder.layers.0"), "no parameter is called 'encoder.layers.0'; the nearest are"),
    "nothing tuned": (("--peft", "lora", "--peft.sites", "*.attention.q"), "this model has no site '*.attention.q'"),
    "a strange metric": (("--data.task.metrics", "pearson"), "the metric pearson does not fit Classification"),
    "no such score": (("--selection.metric", "bleu", *SHORT), "selection.metric=bleu is none of the scores"),
    "another head": (("--objective.name", "tag_tokens"), "objective=tag_tokens does not fit a task of classification"),
    "no such folder": (("--init", "nowhere/at/all"), "nowhere/at/all"),
    "not a grid": (("--sweep", "data.batch_size"), "is not FIELD=A,B,C"),
    "a search and seeds": (("--search", "seed=1:9", "--seeds", "2"), "leave --seeds and --sweep out"),
    "not a span": (("--search", "optimizer.schedule.peak=1e-3:1e-5:log"), "LOW below HIGH"),
    "not seeds": (("--seeds", "some"), "neither a number of seeds nor a list"),
    "a strange field": (("--sweep", "data.batchsize=1,2"), "did you mean --data.batch_size"),
    "a label of its own": (("--data.task.labels", "awful,good"), "bad"),
}


@pytest.mark.parametrize(("words", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_one_line_before_anything_is_lost(words, said, tuned, tmp_path):
    code, _, errors = tuned("--run-dir", tmp_path / "run", *words)
    line = errors.strip().splitlines()
    assert code == 2 and len(line) == 1 and line[0].startswith("error: ") and said in line[0], errors


def test_a_task_needs_a_vocabulary(tuned, tmp_path):
    code, _, errors = tuned("--run-dir", tmp_path / "run", init=None)
    assert code == 2 and "--init RUN_OR_PUBLISHED_FOLDER" in errors
    code, _, errors = tuned("--run-dir", tmp_path / "run", "--fresh", init=None)
    assert code == 2 and "--fresh takes the shape of --init" in errors


def test_a_task_is_not_pre_trained(here, capsys, monkeypatch):
    from train import pretrain

    monkeypatch.setattr(sys, "argv", ["train.pretrain", "--exp=sst2"])
    with pytest.raises(SystemExit) as stop:
        run_command(pretrain.main)
    assert stop.value.code == 2 and "python -m train.finetune --exp=sst2 --init=" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_run_resumes_bit_for_bit(child, here, base, source):
    words = ("--exp=sst2", "--init", base, "--data.source", source, "--data.task.labels", "bad,good",
             "--data.row_length", "32", "--steps", "12", "--verify-resume")  # fmt: skip
    ended = child(*words, module="train.finetune").wait()
    assert ended.code == 0, ended.errors
    assert "bit for bit equal" in ended.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": "two"}, "--seeds two is neither"),
        ({"sweep": "data.batch_sise=16,32"}, "did you mean --data.batch_size"),
        ({"search": "data.batch_sise=16,32"}, "did you mean --data.batch_size"),
        ({"search": "seed=1:3"}, "holds a run; name a new folder"),
    ],
)
def test_the_words_of_several_runs_are_read_before_their_folder(options, said, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    request: Any = SimpleNamespace(
        options=FinetuneOptions(run_dir=str(tmp_path), **options), experiment=load("sst2").experiment, given=frozenset()
    )
    with pytest.raises(InputError, match=said):
        (train_search if "search" in options else train_several)(request, 0.0)
