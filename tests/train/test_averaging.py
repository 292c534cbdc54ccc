"""Averaged weights: the mean over the end of a run is what is scored, kept and opened, whatever stops on the way."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.peft import AdaLoRA
from train.registry import load
from train.run import Run
from train.selection import Selection
from train.starting import flat
from train.step import running_mean

EVERY = ("--checkpoint-every", "1", "--keep-last", "20", "--evaluate-every", "2")


def test_the_running_mean_is_the_mean():
    rng = np.random.default_rng(0)
    trees = [{"a": rng.normal(size=(3, 4)).astype(np.float32), "b": {"c": np.float32(n)}} for n in range(9)]
    mean = jax.tree.map(jnp.zeros_like, trees[0])
    before = 3  # trees that are not averaged
    for number, tree in enumerate(trees):
        mean = running_mean(mean, tree, jnp.int32(number + 1 - before))
        seen = trees[before : number + 1] or [tree]
        expected = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *seen)
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6), mean, expected)
    assert running_mean(None, trees[0], jnp.int32(1)) is None


def test_what_is_scored_and_opened_is_the_mean_of_the_last_steps(here, tmp_path):
    folder = tmp_path / "run"
    ended = here("--run-dir", folder, "--steps", "4", *EVERY, "--selection.average", "0.5")
    assert ended.code == 0, ended.errors
    states = {step: Run.open(folder, step).restored.state for step in range(1, 5)}
    for step, state in states.items():
        counted = [states[other].params for other in range(3, step + 1)] or [state.params]
        expected = flat(jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *counted))
        for path, leaf in flat(state.mean).items():
            np.testing.assert_allclose(leaf, expected[path], rtol=1e-5, atol=1e-7)
    run = Run.open(folder)
    assert all((run.params[name] is state) for name, state in run.restored.state.mean.items())
    moved = [path for path, leaf in flat(run.params).items() if (leaf != flat(states[4].params)[path]).any()]
    assert moved, "the mean is not the last weights"
    scores = json.loads((folder / "scores.json").read_text())
    assert run.evaluate()["valid_loss"] == scores["valid_loss"]

    more = here("--run-dir", folder, "--steps", "6", *EVERY, "--selection.average", "0.5")
    assert more.code == 2 and "steps: was 4, now 6 (selection.average is a share of all steps)" in more.errors


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_mean(here, interrupt, tmp_path):
    words = ("--steps", "8", *EVERY, "--selection.average", "0.75")
    assert here("--run-dir", tmp_path / "whole", *words).code == 0
    with interrupt(5):
        assert here("--run-dir", tmp_path / "parts", *words).code == 130
    assert here("--run-dir", tmp_path / "parts", *words).code == 0
    one, other = (flat(Run.open(tmp_path / name).restored.state.mean) for name in ("whole", "parts"))
    assert all((np.asarray(one[path]) == np.asarray(other[path])).all() for path in one)


def test_shares_that_mean_nothing_are_told(tiny_experiment):
    for share in (0.0, 1.5, -0.1):
        with pytest.raises(ValueError, match=rf"average={share} is a share of the run"):
            Selection(average=share)
    assert Selection(average=1.0).average_from(7) == 0 and Selection(average=0.001).average_from(7) == 6
    declared = load(str(tiny_experiment)).experiment
    with pytest.raises(ValueError, match="fill up the ranks that peft=ada_lora takes away"):
        dataclasses.replace(declared, selection=Selection(average=0.5), peft=AdaLoRA())
