"""Watching attention: it changes nothing of the training, and its figures are those of the maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from train.lines import comparable_lines, read_metrics
from train.report_attention import snapshots
from train.run import Run
from train.watching import FIGURES, LENGTH, heads, sides_of


def figures(folder) -> list[dict]:
    return [line for line in read_metrics(folder) if line.get("event") == "heads"]


def test_heads_of_known_maps():
    """A head that looks at the first token, one that looks one back, one that looks at all alike."""
    first = jnp.zeros((4, 4)).at[:, 0].set(1.0)
    back = jnp.eye(4, k=-1).at[0, 0].set(1.0)
    alike = jnp.tril(jnp.ones((4, 4))) / jnp.arange(1, 5)[:, None]
    weights = jnp.stack([first, back, alike])[None]
    places = jnp.arange(4)[None]
    found = heads(weights, weights * 8, jnp.ones((1, 4), int), places, places)
    np.testing.assert_allclose(found["entropy"], [0, 0, np.log([1, 2, 3, 4]).mean()], atol=1e-6)
    np.testing.assert_allclose(found["sink_mass"], [1, 0.5, (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4], rtol=1e-6)
    np.testing.assert_allclose(found["distance"], [1.5, 0.75, (0 + 0.5 + 1 + 1.5) / 4], rtol=1e-6)
    np.testing.assert_allclose(found["max_logit"], [8, 8, 8], rtol=1e-6)


def test_padding_is_not_looked_at():
    weights, places = jnp.full((1, 1, 4, 4), 0.25), jnp.arange(4)[None]
    segments = jnp.array([[1, 1, 0, 0]])
    found = heads(weights, weights.at[:, :, 2:].set(99.0), segments, places, places)
    assert found["max_logit"][0] == 0.25 and found["distance"][0] == pytest.approx(
        ((0 + 1 + 2 + 3) + (1 + 0 + 1 + 2)) / 8
    )


LENGTHS = ("--steps", "6", "--evaluate-every", "3", "--evaluate-rows", "8", "--checkpoint-every", "6")
PAIRS = ("--objective.name", "sequence_to_sequence", "--data.source", "task:copy/documents=200")


@pytest.mark.parametrize(
    "words", [(), pytest.param(PAIRS, marks=pytest.mark.slow)], ids=["masked_lm", "sequence_to_sequence"]
)
def test_a_watched_run_is_the_run_that_was_not(words, here, tmp_path):
    """Metrics and parameters to the bit; figures every other step, maps at evaluations and at the end."""
    plain, watched = tmp_path / "plain", tmp_path / "watched"
    assert here("--run-dir", plain, *LENGTHS, *words).code == 0
    ended = here("--run-dir", watched, *LENGTHS, *words, "--watch", "*attention", "--watch-every", "2")
    assert ended.code == 0, ended.errors
    lines = [line for line in comparable_lines(watched) if line.get("event") != "heads"]
    assert lines == comparable_lines(plain)
    one, other = Run.open(plain), Run.open(watched)
    for a, b in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [line["step"] for line in figures(watched)] == [2, 4]
    for line in figures(watched):
        for name, figure in line["heads"].items():
            assert name.endswith("attention") and set(figure) == set(FIGURES)
            assert all(0 <= value <= np.log(32) for value in figure["entropy"])
    assert sorted(path.name for path in (watched / "attention").iterdir()) == ["3.npz", "6.npz"]
    kept = np.load(watched / "attention" / "6.npz")
    assert ("source_tokens" in kept) == bool(words)
    found = snapshots(watched)
    assert [maps.title for maps in next(iter(found.values()))] == ["step 3", "step 6"]
    assert set(found) == ({"encoder", "decoder", "cross"} if words else {"encoder"})
    report = (watched / "report.html").read_text()
    assert "Watching took " in report and report.count('class="loupe-attention"') == len(found)
    assert "loupe-attention" not in (plain / "report.html").read_text()
    for name in set(kept) - {"tokens", "source_tokens"}:
        looks, seen = (len(kept[side]) for side in sides_of(name))
        assert kept[name].shape == (2, looks, seen) and seen <= LENGTH


def leaves(run) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(run.params)]


def test_a_pattern_that_names_nothing_ends_before_the_first_step(here, tmp_path):
    ended = here("--run-dir", tmp_path, *LENGTHS, "--watch", "layers.9.attention")
    assert ended.code == 2
    assert "--watch: this model has no site 'layers.9.attention'; the nearest are layers.0.attention" in ended.errors
    assert ended.errors.count("\n") == 1 and not [line for line in read_metrics(tmp_path) if "loss" in line]
