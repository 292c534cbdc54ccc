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


@pytest.mark.slow
def test_a_recipe_is_chosen_on_one_half_and_reported_on_the_other(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)

    def command(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["experiments.recipe", "mine.py", *words, "--out", "out"])
        return run_command(recipe.main)

    sweep = ("--sweep", "optimizer.schedule.peak=1e-2,1e-3", "--runs", "runs")
    assert command(*sweep) == 0
    tried = json.loads((tmp_path / "out" / "recipe_mine.json").read_text())["tried"]
    assert list(tried) == ["optimizer.schedule.peak=1e-2", "optimizer.schedule.peak=1e-3"]
    capsys.readouterr()
    assert command(*sweep) == 0  # at once: what was tried is not trained again
    assert "step" not in capsys.readouterr().out

    declared = load("mine.py").experiment
    run = train(declared, tmp_path / "seed-0")
    assert command("--score", "seed-0") == 0
    kept = json.loads((tmp_path / "out" / "recipe_mine.json").read_text())
    held_out = len(read_texts(tmp_path / "seed-0"))
    assert kept["tried"] == tried and held_out > 1
    assert kept["reported"]["by_seed"]["0"]["documents"] == held_out // 2
    assert tried["optimizer.schedule.peak=1e-2"]["documents"] == held_out - held_out // 2
    assert kept["reported"]["over_seeds"]["valid_loss"]["mean"] == pytest.approx(
        recipe.scored(run, recipe.REPORTED)["valid_loss"]
    )
    other = next((tmp_path / "runs" / "mine").iterdir())
    with pytest.raises(RunError, match=r"which chose the recipe|is no run of mine as it is declared"):
        recipe.report(load("mine.py"), [other])
    assert command() == 2
