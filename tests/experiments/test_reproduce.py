"""The ledger of claims: criteria decide the verdict, failures are recorded, and a stopped reproduction goes on."""

import dataclasses
import importlib.util
import json
import sys

import numpy as np
import pytest

from data.config import TextData
from data.errors import DataError
from data.sources import Synthetic
from data.synthetic_tasks import CopyTask
from data.tasks.choices import Classification
from data.tasks.config import TaskData
from data.tasks.sources import TaskFiles
from data.tokenizers.choices import Bytes, Words
from experiments import reproduce
from experiments.papers import copy_task, grokking
from experiments.reproduction import Criterion, Reproduction, Start, summarise
from model.families import bert
from model.mlp import PlainMLP
from train.charts import Chart, Series
from train.command import InputError
from train.config import Experiment
from train.fine_tuning import fine_tuning
from train.lines import read_metrics
from train.objectives import MaskedLM
from train.optimizers import AdamW
from train.run import Run, RunError
from train.session import command_again, train

CLAIMS = [path.stem for path in reproduce.claims()]


@pytest.fixture
def claim():
    """Two steps of a copying model, with a criterion that holds and one that cannot."""
    tiny = dataclasses.replace(
        copy_task.copies,
        data=TextData(CopyTask(documents=64), Words(), row_length=11, batch_size=8, valid_fraction=0.25),
        model=dataclasses.replace(copy_task.copies.model, hidden_size=16, num_layers=1),
        steps=2,
        evaluate_every=1,
        checkpoint_every=2,
    )
    other = dataclasses.replace(tiny, optimizer=dataclasses.replace(tiny.optimizer, b1=0.5))
    return Reproduction(
        paper="none",
        claim="a claim",
        published={"loss": 0.0},
        departs="everything",
        variants={"a": tiny, "b": other},
        measure=lambda finished: {"loss": finished.scores["valid_loss"], "steps": float(finished.scores["step"])},
        criteria=(
            Criterion("two steps", lambda values: set(values["a"]["steps"]) == {2.0}),
            Criterion("b learns at once", lambda values: max(values["b"]["loss"]) < 0.1),
        ),
        floor=lambda: {"loss": 2.4},
        control="b",
        curves=lambda runs: [Chart("loss", "Loss", [Series("a", runs[0].training("loss"))])],
        seeds=(0, 1),
    )


@pytest.mark.slow
def test_a_claim_that_fails_is_recorded_as_failed_with_every_figure(claim, tmp_path, capsys):
    runs, out = tmp_path / "runs", tmp_path / "out"
    assert reproduce.reproduce("mine", claim, (0,), ["a"], runs, out) == 0 and not out.exists()  # no verdict yet
    assert reproduce.reproduce("mine", claim, (0, 1), ["a", "b"], runs, out) == 0
    result = json.loads((out / "mine.json").read_text())
    assert result["verdict"] == "not reproduced" and "FAILS  b learns at once" in capsys.readouterr().out
    assert [item["holds"] for item in result["criteria"]] == [True, False]
    losses = [
        [line["valid_loss"] for line in read_metrics(runs / "mine" / f"b-seed{seed}") if "valid_loss" in line][-1]
        for seed in (0, 1)
    ]
    assert result["measured"]["b"]["loss"] == summarise(losses)
    known = {"claim", "published", "floor", "control", "seeds", "seconds", "environment"}
    assert known <= result.keys() and {"command", "git_revision"} <= result["environment"].keys()
    page = (out / "mine.html").read_text()
    assert "not reproduced" in page and "<svg" in page and "http" not in page.replace("http-equiv", "")
    held = dataclasses.replace(claim, criteria=claim.criteria[:1])
    assert reproduce.reproduce("mine", held, (0,), ["a", "b"], runs, out) == 0
    assert json.loads((out / "mine.json").read_text())["verdict"] == "reproduced, on fewer seeds than declared"


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_is_whole(name):
    import importlib

    module = importlib.import_module(f"experiments.papers.{name}")
    claim = module.reproduction
    assert f"python -m experiments.reproduce {name}" in (module.__doc__ or "") and len(claim.seeds) >= 3
    assert any("control" in item.text for item in claim.criteria) and claim.control in claim.variants
    run = {name: (experiment, claim.starts.get(name)) for name, experiment in claim.variants.items()}
    assert all(run[a] != run[b] for a in run for b in run if a != b)


def test_list_names_every_claim_and_mistakes_are_one_line(capsys):
    assert reproduce.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in CLAIMS)
    for words, error in {
        ("groking",): "did you mean grokking",
        (): "which claim",
        ("grokking", "--seeds", "a"): "whole numbers",
        ("grokking", "--variants", "c"): "is not one of weight_decay_1, weight_decay_0",
        ("grokking", "--init", "runs/a"): "no variant of this claim begins",
    }.items():
        with pytest.raises(InputError, match=error):
            reproduce.main(list(words))


def test_a_claim_needs_a_control_that_is_run(claim):
    with pytest.raises(ValueError, match="control='c' is not one of the variants a, b"):
        dataclasses.replace(claim, control="c")


def test_first_step_of_grokking():
    assert grokking.first_step([(50, 0.1), (100, 0.995), (150, 0.2)], 0.99) == 100
    assert grokking.first_step([(50, 0.1)], 0.99) == float("inf")


def test_what_is_missing_is_one_line_that_names_all_of_it(monkeypatch, tmp_path):
    monkeypatch.setattr("experiments.local_data.DEFAULT", tmp_path)
    monkeypatch.setattr("experiments.local_data.MINILM", "no_such_package")
    monkeypatch.delenv("LOUPE_DATA", raising=False)
    with pytest.raises(
        DataError, match=r"NOTHING IS MEASURED: .*mrpc/train.tsv.*rte/dev.tsv.*LOUPE_DATA.*no-such-package"
    ):
        reproduce.main(["glue_small", "--runs", str(tmp_path / "runs")])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"python -m train.pretrain --exp=bert_tiny"):
        reproduce.main(["library_parts", "--runs", "runs"])
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_variant_begins_with_a_run_or_with_its_shape_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "all.tsv").write_text(
        "label\tsentence\n" + "".join(f"{n % 2}\ttext {n} {'ab'[n % 2]}\n" for n in range(40))
    )
    config = bert.config("tiny", vocab_size=300, max_length=32)
    config = dataclasses.replace(
        config,
        hidden_size=16,
        attention=dataclasses.replace(config.attention, num_heads=2),
        mlp=PlainMLP(32),
    )
    base = Experiment(
        data=TextData(Synthetic(40), Bytes(), row_length=32, batch_size=8),
        model=config,
        objective=MaskedLM(),
        optimizer=AdamW(),
        steps=1,
    )
    trained = train(base, "base")
    # A rate of nearly nothing leaves the weights as they were begun with.
    data = TaskData(Classification(), TaskFiles("all.tsv"), row_length=32, batch_size=8)
    task = fine_tuning(data, epochs=0.2, peak=1e-12, model=dataclasses.replace(bert.config("tiny"), dropout_rate=0.03))
    claim = Reproduction(
        paper="none",
        claim="a claim",
        published={},
        departs="",
        variants={"mine": task, "afresh": task},
        starts={
            "mine": Start(lambda: "base", given=("model.dropout_rate",)),
            "afresh": Start(lambda: "base", fresh=True),
        },
        measure=lambda finished: {"accuracy": finished.scores["accuracy"]},
        criteria=(Criterion("the control is run", lambda values: True),),
        floor=dict,
        control="afresh",
        curves=lambda runs: [],
    )
    assert reproduce.reproduce("mine", claim, (1,), ["mine", "afresh"], tmp_path / "runs", tmp_path / "out") == 0
    runs = {name: Run.open(f"runs/mine/{name}-seed1") for name in ("mine", "afresh")}
    assert [run.experiment.model.dropout_rate for run in runs.values()] == [0.03, config.dropout_rate]
    tables = {name: np.asarray(run.params["embeddings"]["tokens"]["embedding"]) for name, run in runs.items()}
    begun = np.asarray(trained.params["embeddings"]["tokens"]["embedding"])
    assert np.abs(tables["mine"] - begun).max() < 1e-6 < 1e-3 < np.abs(tables["afresh"] - begun).max()
    with pytest.raises(RunError, match="was not begun with --fresh"):
        train(dataclasses.replace(task, seed=1), "runs/mine/mine-seed1", init="base", fresh=True)


@pytest.mark.parametrize("module", ["experiments.reproduce", "train.pretrain", "pytest"])
def test_a_run_that_was_stopped_names_the_command_that_was_typed(module, monkeypatch):
    """Not the one that it would have been by itself."""
    spec = importlib.util.spec_from_loader(module, loader=None)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)
    monkeypatch.setattr(sys, "argv", ["x", "grokking", "--seeds", "0,1"])
    named = module if module == "experiments.reproduce" else "train.pretrain"
    assert command_again("pretrain") == f"python -m {named} grokking --seeds 0,1"
