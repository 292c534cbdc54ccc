"""Each optimizer takes the step of its paper, written out once more in NumPy; matrices of layers are what Muon says they are."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from model.families import bert
from train.objectives import MaskedLM
from train.optimizers import SGD, Adafactor, AdamW, AdEMAMix, Lion, Muon, Prodigy, ScheduleFree, matrix_axes
from train.optimizers.matrices import axes_of
from train.optimizers.muon import newton_schulz
from train.schedules import Constant
from train.sharding import dotted
from train.state import abstract_model

RATE, DECAY, EPSILON = 0.1, 0.2, 1e-3
WARM = Constant(peak=RATE, warmup_steps=2)  # of two steps: rates of 0.05 and 0.1
rng = np.random.default_rng(0)
WEIGHTS = {name: rng.normal(size=shape) for name, shape in (("kernel", (2, 3, 5)), ("bias", (2, 5)))}
GRADIENTS = [{name: rng.normal(size=weight.shape) for name, weight in WEIGHTS.items()} for _ in range(2)]


def as_params(tree):
    """As the feed-forward part of two layers."""
    up = {name: jnp.asarray(value, jnp.float32) for name, value in tree.items()}
    return {"layers": {"mlp": {"up": up}}}


def taken(optimizer):
    """The weights after both gradients, and the state."""
    transformation = optimizer.build(4)
    params = as_params(WEIGHTS)
    state = transformation.init(params)
    for gradient in GRADIENTS:
        updates, state = transformation.update(as_params(gradient), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def rate(step: int) -> float:
    """Of the first step or the second."""
    return RATE * step / 2


def adam(g, m, v, step, b1=0.9, b2=0.99):
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
    return m / (1 - b1**step) / (np.sqrt(v / (1 - b2**step)) + EPSILON), m, v


def by_adam(name, w, decay):
    m = v = 0.0
    for step, g in enumerate((one[name] for one in GRADIENTS), 1):
        u, m, v = adam(g, m, v, step)
        w = w - rate(step) * (u + decay * w)
    return w


def by_lion(name, w, decay):
    m = 0.0
    for step, g in enumerate((one[name] for one in GRADIENTS), 1):
        w = w - rate(step) * (np.sign(0.9 * m + 0.1 * g) + decay * w)
        m = 0.99 * m + 0.01 * g
    return w


def by_sgd(name, w, decay):
    m = 0.0
    for step, g in enumerate((one[name] for one in GRADIENTS), 1):
        m = 0.9 * m + g + decay * w
        w = w - rate(step) * m
    return w


def by_muon(name, w, decay, factor=math.sqrt(5 / 3), peak=0.02):
    if name != "kernel":
        return by_adam(name, w, decay)
    m = 0.0
    for step, g in enumerate((one[name] for one in GRADIENTS), 1):
        m = 0.95 * m + 0.05 * g
        steps = []
        for u in 0.05 * g + 0.95 * m:  # a layer at a time
            left, s, right = np.linalg.svd(u / (np.linalg.norm(u) + 1e-7), full_matrices=False)
            for _ in range(5):
                s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
            steps.append(factor * (left * s) @ right)
        w = w - peak * step / 2 * (np.stack(steps) + decay * w)
    return w


def by_moonlight(name, w, decay):
    return by_muon(name, w, decay, factor=0.2 * math.sqrt(5), peak=RATE)


def by_adafactor(name, w, decay):
    rows = columns = v = 0.0
    for step, g in enumerate((one[name] for one in GRADIENTS), 1):
        memory = 1 - step**-0.8
        square = g**2 + 1e-30
        if name == "kernel":  # [L, inputs, outputs]
            rows = memory * rows + (1 - memory) * square.mean(2)
            columns = memory * columns + (1 - memory) * square.mean(1)
            v = rows[:, :, None] * columns[:, None, :] / rows.mean(1)[:, None, None]
        else:
            v = memory * v + (1 - memory) * square
        u = g / np.sqrt(v)
        axes = tuple(range(1, w.ndim))  # each layer by itself
        u = u / np.maximum(1.0, np.sqrt((u**2).mean(axes, keepdims=True)))
        w = w - rate(step) * (u * np.maximum(1e-3, np.sqrt((w**2).mean(axes, keepdims=True))) + decay * w)
    return w


def by_ademamix(name, w, decay):
    m = v = slow = 0.0
    for step, g in enumerate((one[name] for one in GRADIENTS), 1):
        _, m, v = adam(g, m, v, step)
        part = step / 4  # of the run of four steps
        b3 = math.exp(math.log(0.9) * math.log(0.99) / ((1 - part) * math.log(0.99) + part * math.log(0.9)))
        slow = b3 * slow + (1 - b3) * g
        mixed = m / (1 - 0.9**step) + 3.0 * part * slow
        w = w - rate(step) * (mixed / (np.sqrt(v / (1 - 0.99**step)) + EPSILON) + decay * w)
    return w


def by_schedule_free(name, w, decay):
    y = z = x = w
    v = weights = 0.0
    for step, g in enumerate((one[name] for one in GRADIENTS), 1):
        v = 0.99 * v + 0.01 * g**2
        z = z - rate(step) * (g / (np.sqrt(v / (1 - 0.99**step)) + EPSILON) + decay * y)
        weights += rate(step) ** 2
        x = x + (z - x) * rate(step) ** 2 / weights
        y = 0.1 * z + 0.9 * x
    return y


ADAM = {"b1": 0.9, "b2": 0.99, "epsilon": EPSILON}
TABLE = [
    (AdamW(**ADAM, weight_decay=DECAY), by_adam),
    (Lion(weight_decay=DECAY), by_lion),
    (SGD(weight_decay=DECAY), by_sgd),
    (Muon(**ADAM, weight_decay=DECAY), by_muon),
    (Muon(**ADAM, weight_decay=DECAY, scale="moonlight"), by_moonlight),
    (Adafactor(min_dim_size_to_factor=2, weight_decay=DECAY), by_adafactor),
    (AdEMAMix(**ADAM, b3=0.99, alpha=3.0, weight_decay=DECAY), by_ademamix),
    (ScheduleFree(**ADAM, weight_decay=DECAY), by_schedule_free),
]


@pytest.mark.parametrize(("optimizer", "written_out"), TABLE, ids=lambda one: type(one).__name__)
def test_two_steps_are_those_of_the_paper(optimizer, written_out):
    params, _ = taken(dataclasses.replace(optimizer, schedule=WARM, clip_norm=None))
    for name, weight in WEIGHTS.items():
        expected = written_out(name, weight, DECAY if name == "kernel" else 0.0)  # a bias does not decay
        np.testing.assert_allclose(params["layers"]["mlp"]["up"][name], expected, rtol=2e-4, atol=2e-5, err_msg=name)


def test_prodigy_takes_its_rate_from_all_parameters_together():
    schedule = Constant(peak=1.0, warmup_steps=2)
    optimizer = Prodigy(**ADAM, schedule=schedule, weight_decay=DECAY, d0=0.01, clip_norm=None)
    params, _ = taken(optimizer)
    first, w = WEIGHTS, dict(WEIGHTS)
    m, v, s, d, above = ({name: 0.0 for name in w} for _ in range(3)), None, None, 0.01, 0.0
    m, v, s = m
    memory = math.sqrt(0.99)
    for step, gradient in enumerate(GRADIENTS, 1):
        long = step / 2 * d * math.sqrt(1 - 0.99**step) / (1 - 0.9**step)
        above = memory * above + d / 0.01 * long * sum((gradient[name] * (first[name] - w[name])).sum() for name in w)
        for name, g in gradient.items():
            m[name] = 0.9 * m[name] + 0.1 * d * g
            v[name] = 0.99 * v[name] + 0.01 * (d * g) ** 2
            s[name] = memory * s[name] + long * d * g / 0.01
        grown = max(d, above / sum(np.abs(one).sum() for one in s.values()))
        for name in w:
            decay = DECAY if name == "kernel" else 0.0
            w[name] = w[name] - long * m[name] / (np.sqrt(v[name]) + grown * EPSILON) - long * decay * w[name]
        d = grown
    for name in w:
        np.testing.assert_allclose(params["layers"]["mlp"]["up"][name], w[name], rtol=1e-4, err_msg=name)


def test_schedule_free_is_scored_at_the_average():
    optimizer = ScheduleFree(**ADAM, schedule=Constant(peak=RATE), weight_decay=0.0, clip_norm=None)
    params, state = taken(optimizer)
    z, v, through = WEIGHTS["kernel"], 0.0, []
    for step, gradient in enumerate(GRADIENTS, 1):
        v = 0.99 * v + 0.01 * gradient["kernel"] ** 2
        z = z - RATE * gradient["kernel"] / (np.sqrt(v / (1 - 0.99**step)) + EPSILON)
        through.append(z)
    found = optimizer.eval_params(state, params)["layers"]["mlp"]["up"]["kernel"]
    np.testing.assert_allclose(found, np.mean(through, axis=0), rtol=1e-4)


@pytest.mark.parametrize("shape", [(64, 64), (48, 192), (192, 48)], ids=str)
def test_the_update_of_muon_lifts_every_direction_that_counts(shape):
    """Those of at least 0.3% of the gradient's norm come to lie between 0.6 and 1.3."""
    rng = np.random.default_rng(1)
    spread = rng.normal(size=(6, *shape)) * np.exp(rng.normal(size=(6, 1, shape[1])))
    found = np.asarray(newton_schulz(jnp.asarray(spread, jnp.float32)))
    for before, after in zip(spread, found, strict=True):
        left, s, right = np.linalg.svd(before, full_matrices=False)
        lifted = np.einsum("ik,ij,kj->k", left, after, right)[s >= 0.003 * np.linalg.norm(before)]
        assert len(lifted) > 30 and lifted.min() > 0.6 and lifted.max() < 1.3, (lifted.min(), lifted.max())
        np.testing.assert_allclose(left.T @ after @ right.T, np.diag(np.diag(left.T @ after @ right.T)), atol=2e-4)


def test_the_first_update_is_that_of_optax_given_the_same_axes():
    """Later ones differ a little: optax corrects its momentum for the start at zero."""
    params, gradient = as_params(WEIGHTS), as_params(GRADIENTS[0])
    ours = Muon(schedule=Constant(peak=RATE), matrix_peak=RATE, weight_decay=0.0, clip_norm=None).build(4)
    theirs = optax.contrib.muon(RATE, muon_weight_dimension_numbers=matrix_axes, adam_eps_root=0.0)
    (found, _), (other, _) = (one.update(gradient, one.init(params), params) for one in (ours, theirs))
    kernel, expected = (one["layers"]["mlp"]["up"]["kernel"] for one in (found, other))
    np.testing.assert_allclose(kernel, expected, rtol=1e-4, atol=1e-6)
    for layer in range(2):
        apart = RATE * math.sqrt(5 / 3) * newton_schulz(gradient["layers"]["mlp"]["up"]["kernel"][layer : layer + 1])[0]
        np.testing.assert_allclose(kernel[layer], -apart, rtol=1e-5, atol=1e-6)


def test_matrices_are_the_kernels_of_layers_that_read_the_residual_stream_or_write_to_it():
    config = dataclasses.replace(bert.config("tiny", vocab_size=64, max_length=16), num_layers=3)
    params = abstract_model(lambda rngs: MaskedLM(next_sentence=True).build(config, rngs), 0).params
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if (axes := axes_of(dotted(path), len(leaf.shape))) is not None:
            found[dotted(path)] = tuple(axes)
    assert found == {
        "layers.attention.query.kernel": ((1,), (2, 3)),
        "layers.attention.key.kernel": ((1,), (2, 3)),
        "layers.attention.value.kernel": ((1,), (2, 3)),
        "layers.attention.out.kernel": ((1, 2), (3,)),
        "layers.mlp.up.kernel": ((1,), (2,)),
        "layers.mlp.down.kernel": ((1,), (2,)),
    }


def test_muon_without_a_matrix_says_so():
    params = {"embeddings": {"tokens": {"embedding": jnp.ones((4, 4))}}}
    with pytest.raises(ValueError, match=r"no matrix of a layer.*--optimizer.name adam_w"):
        Muon().build(4).init(params)


def test_prodigy_waits_for_a_gradient():
    params = as_params(WEIGHTS)
    transformation = Prodigy(weight_decay=0.0).build(4)
    nothing = jax.tree.map(jnp.zeros_like, params)
    updates, state = transformation.update(nothing, transformation.init(params), params)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(updates))
    updates, _ = transformation.update(as_params(GRADIENTS[0]), state, params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(updates))
