"""Recipes: settings are tried with a seed of their own, and the chosen one is scored on documents that chose nothing."""

import json
import sys

import pytest

from data.held_out import read_texts
from experiments import recipe
from train.command import run_command
from train.registry import load
from train.run import RunError
from train.session import train

MINE = """
import dataclasses

from data.config import TextData
from data.sources import Synthetic
from data.tokenizers.choices import Bytes
from model.families import bert
from train.config import Experiment
from train.objectives import MaskedLM
from train.optimizers import AdamW
from train.schedules import Constant

shape = dataclasses.replace(bert.config("tiny", vocab_size=261, max_length=32), num_layers=1, hidden_size=16)
experiment = Experiment(
    data=TextData(source=Synthetic(80), tokenizer=Bytes(), row_length=32, batch_size=8, window=16),
    model=dataclasses.replace(
        shape,
        attention=dataclasses.replace(shape.attention, num_heads=2),
        mlp=dataclasses.replace(shape.mlp, intermediate_size=32),
    ),
    objective=MaskedLM(next_sentence=False),
    optimizer=AdamW(schedule=Constant(peak=1e-2)),
    steps=2,
)
"""


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs the command in a folder with the file `mine.py`."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["experiments.recipe", *words, "--out", "out"])
        return run_command(recipe.main)

    return run


@pytest.mark.slow
def test_a_recipe_is_chosen_on_one_half_and_reported_on_the_other(command, tmp_path, monkeypatch):
    sweep = ("--sweep", "optimizer.schedule.peak=1e-2,1e-3", "--runs", "runs")
    assert command("mine.py", *sweep) == 0
    tried = json.loads((tmp_path / "out" / "recipe_mine.json").read_text())["tried"]
    assert list(tried) == ["optimizer.schedule.peak=0.01", "optimizer.schedule.peak=0.001"]
    with monkeypatch.context() as without:
        without.setattr(recipe, "train", None)  # what was tried is not trained again
        assert command("mine.py", *sweep) == 0

    declared = load("mine.py").experiment
    run = train(declared, tmp_path / "seed-0")
    assert command("mine.py", "--score", "seed-0") == 0
    kept = json.loads((tmp_path / "out" / "recipe_mine.json").read_text())
    halves = [recipe.half_of(text) for text in read_texts(tmp_path / "seed-0")]
    assert kept["tried"] == tried and set(halves) == {0, 1}
    assert kept["reported"]["by_seed"]["0"]["documents"] == halves.count(recipe.REPORTED)
    assert tried["optimizer.schedule.peak=0.01"]["documents"] == halves.count(recipe.CHOOSING)
    assert kept["reported"]["over_seeds"]["valid_loss"]["mean"] == pytest.approx(
        recipe.scored(run, recipe.REPORTED)["valid_loss"]
    )
    first, second = (
        tmp_path / "runs" / "mine" / tried[f"optimizer.schedule.peak={peak}"]["experiment"] for peak in (0.01, 0.001)
    )
    with pytest.raises(RunError, match=r"has the seed 10, with which recipes are chosen"):
        recipe.report(load("mine.py"), [first], "mine.py")
    with pytest.raises(
        RunError, match=r"is no run of mine.py as it is declared: optimizer.schedule.peak: was 0.01, now"
    ):
        recipe.report(load("mine.py"), [second], "mine.py")
    text = (tmp_path / "seed-0" / "metrics.jsonl").read_text()
    (tmp_path / "seed-0" / "metrics.jsonl").write_text(
        "".join(f"{line}\n" for line in text.splitlines() if "done" not in line)
    )
    with pytest.raises(RunError, match="has not taken all 2 steps; repeat the command"):
        recipe.report(load("mine.py"), [tmp_path / "seed-0"], "mine.py")


BAD = {
    "no field": ("mine.py", ["--sweep", "optimizer.nope=1"], "there is no field --optimizer.nope"),
    "a value that cannot be": ("mine.py", ["--sweep", "optimizer.schedule.peak=1e-3,-1"], "must be a positive number"),
    "hides more": (
        "mine.py",
        ["--sweep", "objective.masking.rate=0.3"],
        "sweep objective.masking.scored_rate=0.15 with it",
    ),
    "a seed": ("mine.py", ["--sweep", "seed=3"], "every setting is tried with the seed 10"),
    "twice": ("mine.py", ["--sweep", "steps=1 steps=2"], "names steps twice"),
    "nothing": ("mine.py", ["--sweep", " "], "--sweep names no field"),
    "neither": ("mine.py", [], "give one of --sweep and --score"),
    "no experiment": ("nothere", ["--score", "x"], "there is no experiment 'nothere'"),
    "no run": ("mine.py", ["--score", "x"], "x is not a run folder"),
}


@pytest.mark.parametrize(("name", "words", "expected"), BAD.values(), ids=BAD)
def test_mistakes_are_one_line_before_anything_is_trained(command, capsys, tmp_path, name, words, expected):
    assert command(name, *words) == 2
    said = capsys.readouterr().err
    assert expected in said and said.count("\n") == 1, said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"tried": {"steps=1": {}}}', "null"])
def test_a_result_that_is_none_of_ours_is_left_alone(command, capsys, tmp_path, text):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "recipe_mine.json").write_text(text)
    assert command("mine.py", "--sweep", "steps=1") == 2
    assert "is damaged, or of another program" in capsys.readouterr().err
    assert (tmp_path / "out" / "recipe_mine.json").read_text() == text


def test_a_setting_of_another_recipe_is_not_taken_for_this_one(command, capsys, tmp_path):
    entry = {"experiment": "0" * 12, "valid_loss": 1.0}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "recipe_mine.json").write_text(json.dumps({"tried": {"steps=1": entry}}))
    assert command("mine.py", "--sweep", "steps=1") == 2
    assert "has steps=1 of another mine" in capsys.readouterr().err


def test_settings_are_named_by_the_values_that_were_read(command):
    declared = load("mine.py").experiment
    found = recipe.settings(declared, "optimizer.schedule.peak=1e-3,0.001 optimizer.name=Adafactor,adafactor")
    assert list(found) == ["optimizer.name=adafactor optimizer.schedule.peak=0.001"]
    assert all(one.seed == recipe.SEED for one in found.values())
