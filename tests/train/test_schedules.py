"""Schedules: what they share, what each is, and when a run may be given another length."""

import dataclasses
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.schedules import (
    Constant,
    OneCycle,
    Schedule,
    WarmupCosine,
    WarmupInverseRoot,
    WarmupLinear,
    WarmupStableDecay,
    short_of_peak,
)

STEPS = 100
EXAMPLES = [
    Constant(peak=0.1, warmup_steps=10),
    WarmupLinear(peak=0.1, warmup_steps=10),
    WarmupCosine(peak=0.1, warmup_steps=10, final=0.2),
    WarmupInverseRoot(peak=0.1, warmup_steps=10),
    WarmupStableDecay(peak=0.1, warmup_steps=10, decay_steps=20),
]
each = pytest.mark.parametrize("schedule", EXAMPLES, ids=lambda schedule: type(schedule).__name__)


def rates(schedule, steps: int = STEPS) -> np.ndarray:
    return np.asarray(jax.vmap(schedule.build(steps))(jnp.arange(steps)))


def test_every_schedule_is_among_the_examples():
    assert {type(schedule) for schedule in EXAMPLES} | {OneCycle} == set(typing.get_args(Schedule))


def test_one_cycle_goes_up_and_down_smoothly_between_its_ends():
    found = rates(OneCycle(peak=0.1, rise=0.3, start_divisor=10.0, end_divisor=1e3), 100)
    assert found[0] == pytest.approx(0.01) and found.argmax() == 30 and found[30] == pytest.approx(0.1)
    assert (np.diff(found[:31]) > 0).all() and (np.diff(found[30:]) < 0).all()
    assert found[-1] == pytest.approx(1e-4, rel=0.6) and np.abs(np.diff(found)).max() < 0.1 * np.pi / 2 / 30 * 1.01


def test_a_share_of_the_run_warms_up_as_so_many_steps_do():
    share, steps = WarmupLinear(peak=0.1, warmup_fraction=0.1), WarmupLinear(peak=0.1, warmup_steps=10)
    assert (rates(share, 100) == rates(steps, 100)).all()
    with pytest.raises(ValueError, match="say the same"):
        WarmupLinear(peak=0.1, warmup_steps=3, warmup_fraction=0.1)


@each
def test_rises_in_a_straight_line_to_the_peak_and_never_above(schedule):
    found = rates(schedule)
    np.testing.assert_allclose(found[:10], 0.1 * np.arange(1, 11) / 10, rtol=1e-6)
    assert found.max() == pytest.approx(0.1)
    assert (np.diff(found[10:]) <= 1e-8).all()
    assert (found > 0).all(), "no step of a run has a rate of zero"


@each
def test_is_float32_and_pure_under_jit(schedule):
    rate = schedule.build(STEPS)
    assert rate(3).dtype == jnp.float32 and rate(3).shape == ()
    assert float(jax.jit(rate)(jnp.int32(57))) == pytest.approx(float(rate(57)), rel=1e-6)


@each
def test_depends_on_the_number_of_steps_exactly_if_it_says_so(schedule):
    same = np.array_equal(rates(schedule, STEPS), rates(schedule, 2 * STEPS)[:STEPS])
    assert same != schedule.depends_on_steps


@each
def test_a_run_shorter_than_its_warm_up_is_a_part_of_the_warm_up(schedule):
    short = dataclasses.replace(schedule, warmup_steps=10)
    np.testing.assert_allclose(rates(short, 2), [0.01, 0.02], rtol=1e-6)


def test_ends():
    assert float(WarmupLinear(peak=0.1, warmup_steps=10).build(STEPS)(STEPS)) == 0.0
    assert float(WarmupLinear(peak=0.1, final=0.5).build(STEPS)(STEPS)) == pytest.approx(0.05)
    assert float(WarmupCosine(peak=0.1, final=0.2).build(STEPS)(STEPS)) == pytest.approx(0.02)
    assert float(WarmupCosine(peak=0.1).build(STEPS)(STEPS // 2)) == pytest.approx(0.05)
    assert float(WarmupInverseRoot(peak=0.1, warmup_steps=10).build(STEPS)(39)) == pytest.approx(0.05)
    stable = rates(WarmupStableDecay(peak=0.1, warmup_steps=10, decay_steps=20))
    assert (stable[10:80] == np.float32(0.1)).all() and stable[90] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"peak": 0.0}, "peak=0.0 must be a positive"),
        ({"peak": float("nan")}, "peak=nan must be a positive"),
        ({"peak": 0.1, "warmup_steps": -1}, "warmup_steps=-1 must be 0 or more"),
        ({"peak": 0.1, "final": 1.5}, "final=1.5 is a fraction"),
    ],
)
def test_impossible_values_are_refused_with_the_remedy(fields, words):
    with pytest.raises(ValueError, match=words):
        WarmupLinear(**fields)


@pytest.mark.parametrize("schedule", [Constant, WarmupLinear, WarmupCosine, WarmupInverseRoot, WarmupStableDecay])
def test_a_warm_up_longer_than_the_run_is_said_and_no_other(schedule):
    """The peak is reached at the last step of the warm-up, so a run of as many steps is long enough."""
    choice = schedule(peak=0.1, warmup_steps=6)
    for steps in range(1, 9):
        highest = max(float(choice.build(steps)(step)) for step in range(steps))
        said = short_of_peak(choice, steps)
        assert (said is None) == (steps >= 6), steps
        assert said is None or f"the run of {steps}: its rate ends at {highest:.3g}" in said


def test_a_share_of_the_run_is_never_longer_than_it():
    for choice in (WarmupLinear(peak=0.1, warmup_fraction=1.0), OneCycle(peak=0.1, rise=0.9)):
        assert all(short_of_peak(choice, steps) is None for steps in (1, 5, 100))


def test_a_run_says_both_before_it_trains(here, tmp_path):
    """The score of a selection that no evaluation gives, and a warm-up that the run does not outlast."""
    words = ("--steps", "4", "--evaluate-every", "4", "--evaluate-rows", "8", "--checkpoint-every", "4")
    late = ("--optimizer.schedule.warmup_steps", "9")
    ended = here("--run-dir", tmp_path / "run", *words, "--selection.metric", "acuracy", *late)
    assert ended.code == 2 and "selection.metric=acuracy is none of the scores of this run: valid_loss" in ended.errors
    assert "nothing was trained" in ended.errors and ended.errors.count("\n") == 1
    assert "is longer than the run of 4: its rate ends at" in ended.output
    assert not (tmp_path / "run" / "config.json").exists()
    ended = here("--run-dir", tmp_path / "run", *words, "--watch", "layerz.*")
    assert ended.code == 2 and "--watch: " in ended.errors
    assert not (
        tmp_path / "run" / "config.json"
    ).exists()  # so the corrected command can begin in it, whatever it changes
