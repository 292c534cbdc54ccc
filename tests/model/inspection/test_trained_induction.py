"""An induction head that training makes: it comes abruptly, is found by its score, and copying goes with it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.papers.induction_heads import LENGTH, SYMBOLS
from train.run import Run

ROOT = Path(__file__).parents[3]
BLOCK = 20


EXPERIMENT = """
import dataclasses

from experiments.papers.induction_heads import two_layers
from train.schedules import Constant

faster = dataclasses.replace(two_layers.optimizer, schedule=Constant(peak=3e-3, warmup_steps=50))
experiment = dataclasses.replace(two_layers, optimizer=faster, steps=900, evaluate_every=100, checkpoint_every=900)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trained by a command of its own, as XLA compiles for users: a minute of steps is worth what it takes to make them fast."""
    folder = tmp_path_factory.mktemp("induction")
    (folder / "induction.py").write_text(EXPERIMENT)
    words = ["--exp=induction.py", "--run-dir", "run", "--keep", "log", "--watch", "layers.*.attention"]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "train.pretrain", *words]
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, timeout=600)
    return Run.open(folder / "run")


def repeated(run) -> np.ndarray:
    """Ids of one random block over and over."""
    symbols = np.random.default_rng(3).integers(0, SYMBOLS, BLOCK)
    ids = [int(run.tokenizer.encode(str(symbol))[0]) for symbol in symbols]
    return np.tile(ids, LENGTH // BLOCK + 1)[: LENGTH - 1].astype(np.int32)


def copied(run, ids: np.ndarray) -> float:
    """The share of repeated tokens that are foretold."""
    said = np.asarray(run.inspect(ids, keep=["*.residual"]).output).argmax(-1)
    return float((said[BLOCK:-1] == ids[BLOCK + 1 :]).mean())


@pytest.mark.slow
def test_heads_form_abruptly_are_found_and_carry_the_copying(run):
    ids = repeated(run)
    scores = {}
    for step in run.steps():
        scores[step] = float(np.max(run.at(step).inspect(ids, keep=["*.weights"]).head_scores()["induction"]))
    early = max(score for step, score in scores.items() if step <= 256)
    assert early < 0.2 < 0.7 < scores[900], scores
    table = run.inspect(ids, keep=["*.weights"]).head_scores()["induction"]
    found = [(int(layer), int(head)) for layer, head in zip(*np.where(np.asarray(table) > 0.35), strict=True)]
    assert found and all(layer == 1 for layer, _ in found)
    assert copied(run, ids) > 0.9
    with run.edits(ablate_heads=found):
        assert copied(run, ids) < 0.2
    others = [(0, head) for head in range(4)]
    with run.edits(ablate_heads=others):
        assert copied(run, ids) < 0.5  # they need what the first layer writes: which token stood before
    assert len(list((run.folder / "attention").glob("*.npz"))) == 9
