"""Runs with every optimizer: they go on bit for bit, lie on devices as their parameters do, and are scored at what they mean."""

import contextlib
import dataclasses
import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from train.agreement import resume_refusals
from train.checkpoint import Checkpoints, state_digest
from train.optimizers import SGD, Adafactor, AdamW, AdEMAMix, Lion, Muon, Optax, Prodigy, ScheduleFree
from train.optimizers.matrices import matrix_shape
from train.overrides import overridden
from train.pretrained import load as load_published
from train.pretrained import save
from train.registry import load
from train.run import Run
from train.schedules import Constant, WarmupCosine
from train.sharding import MeshShape, dotted, make_mesh
from train.starting import flat
from train.state import build, split_model
from train.verify import compare_runs

EVERY = ("--steps", "4", "--checkpoint-every", "2", "--evaluate-every", "4")
LATER = ("schedule_free", "adafactor", "ad_ema_mix", "prodigy")
NAMES = ["muon", *(pytest.param(name, marks=pytest.mark.slow) for name in LATER)]
OPTIMIZERS = [AdamW(), Muon(), Adafactor(min_dim_size_to_factor=8), AdEMAMix(), Prodigy(), ScheduleFree()]


def named(optimizer):
    return type(optimizer).__name__


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_run_goes_on_to_the_same_bits_and_is_opened_as_it_was_scored(here, interrupt, tmp_path, name):
    words = (*EVERY, "--optimizer.name", name)
    assert here("--run-dir", tmp_path / "whole", *words).code == 0
    with interrupt(3):
        assert here("--run-dir", tmp_path / "parts", *words).code == 130
    ended = here("--run-dir", tmp_path / "parts", *words)
    assert ended.code == 0 and "resuming after step" in ended.output
    assert compare_runs(tmp_path / "whole", tmp_path / "parts") == []
    run = Run.open(tmp_path / "whole")
    scores = json.loads((tmp_path / "whole" / "scores.json").read_text())
    assert run.evaluate()["valid_loss"] == scores["valid_loss"]
    changed = here("--run-dir", tmp_path / "whole", *EVERY)
    assert changed.code == 2 and "differs in" in changed.errors and "optimizer" in changed.errors


def test_what_is_scored_and_opened_is_the_average(here, tmp_path):
    words = (*EVERY, "--optimizer.name", "schedule_free", "--run-dir", tmp_path / "run")
    assert here(*words).code == 0
    run = Run.open(tmp_path / "run")
    state = run.restored.state
    assert state.mean is not None
    moved, mean = flat(state.params), flat(state.mean)
    assert all((leaf == mean[path]).all() for path, leaf in flat(run.params).items())
    (z,) = [
        part.z
        for part in jax.tree.leaves(state.optimizer, is_leaf=lambda node: hasattr(node, "z"))
        if hasattr(part, "z")
    ]
    for path, leaf in flat(z).items():
        np.testing.assert_allclose(mean[path], (moved[path] - 0.1 * leaf) / 0.9, rtol=1e-5, atol=1e-7)
    assert any((mean[path] != moved[path]).any() for path in mean)
    published = load_published(save(run, tmp_path / "published"))
    assert all((leaf == mean[path]).all() for path, leaf in flat(split_model(published.model).params).items())


@pytest.mark.parametrize("name", ["schedule_free", pytest.param("prodigy", marks=pytest.mark.slow)])
def test_what_an_optimizer_keeps_of_the_beginning_is_of_the_weights_that_were_given(here, tmp_path, name):
    assert here(*EVERY, "--run-dir", tmp_path / "first").code == 0
    words = ("--optimizer.name", name, "--optimizer.schedule.peak", "1e-9", "--steps", "1", "--seed", "5")
    ended = here(*words, "--run-dir", tmp_path / "second", "--init", tmp_path / "first")
    assert ended.code == 0, ended.errors
    given, state = flat(Run.open(tmp_path / "first").params), Run.open(tmp_path / "second").restored.state
    for path, leaf in flat(Run.open(tmp_path / "second").params).items():
        np.testing.assert_allclose(leaf, given[path], atol=1e-6, err_msg=path)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.optimizer):
        kept = dotted(path).partition(".z." if name == "schedule_free" else ".params0.")[2]
        if kept:
            np.testing.assert_allclose(leaf, given[kept], atol=1e-6, err_msg=kept)


OWN = """
import dataclasses

import jax
import optax

from {stem} import experiment as base
from train.optimizers import Optax, matrix_axes


def chain(rate):
    plain = optax.contrib.muon(rate, muon_weight_dimension_numbers=matrix_axes)
    return optax.chain(plain, optax.ema(0.5))


def average(state, params):
    return jax.tree.map(lambda mean, param: param - 0.1 * mean, state[1].ema, params)


experiment = dataclasses.replace(base, optimizer=Optax(chain, eval_params=average, clip_norm=1.0))
"""


@pytest.mark.slow
def test_a_chain_of_a_users_own_is_trained_gone_on_with_and_opened_without_its_file(
    here, interrupt, tmp_path, tiny_experiment
):
    shutil.copy(tiny_experiment, tmp_path)
    path = tmp_path / "own.py"
    path.write_text(OWN.format(stem=tiny_experiment.stem))
    assert here("--exp", path, "--run-dir", tmp_path / "whole", *EVERY).code == 0
    with interrupt(3):
        assert here("--exp", path, "--run-dir", tmp_path / "parts", *EVERY).code == 130
    path.rename(tmp_path / "moved.py")
    (tmp_path / "own").mkdir()
    kept = shutil.copy(tmp_path / "parts" / "config.json", tmp_path / "own")
    alone = here("--exp", kept, "--run-dir", tmp_path / "parts")
    assert alone.code == 2 and "is known by name only; go on with --exp=FILE" in alone.errors
    assert "experiment_own.chain#" in alone.errors
    text = (tmp_path / "moved.py").read_text()
    path.write_text(text.replace("optax.ema(0.5)", "optax.ema(0.4)"))
    other = here("--exp", path, "--run-dir", tmp_path / "parts", *EVERY)
    assert other.code == 2 and "differs in optimizer.function: was experiment_own.chain#" in other.errors
    path.write_text(text)
    assert here("--exp", path, "--run-dir", tmp_path / "parts", *EVERY).code == 0
    assert compare_runs(tmp_path / "whole", tmp_path / "parts") == []
    path.unlink()
    run = Run.open(tmp_path / "whole")
    scores = json.loads((tmp_path / "whole" / "scores.json").read_text())
    assert run.evaluate()["valid_loss"] == scores["valid_loss"]
    assert any((leaf != flat(run.restored.state.params)[name]).any() for name, leaf in flat(run.params).items())


def grows(rate):
    def update(updates, state, params=None):
        return updates, jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]), state)

    return optax.GradientTransformation(lambda params: {"count": jnp.zeros(3)}, update)


def no_transformation(rate):
    return rate


def wants_more(rate):
    def update(updates, state, params=None, *, grad_fn, **more):
        return updates, state

    return optax.GradientTransformationExtraArgs(lambda params: {}, update)


def means(rate):
    return optax.stateless(lambda updates, params: jax.tree.map(jnp.mean, updates))


def plain(rate):
    return optax.sgd(rate)


def forgotten(state, params):
    return None


def half(state, params):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [
        (Optax(grows), r"state of optimizer.function at count: float32\[3\], but float32\[6\] after a step"),
        (
            Optax(no_transformation),
            r"no_transformation\S+ gives function, which is no transformation of optax; return one",
        ),
        (Optax(wants_more), "a step of optimizer.function fails: TypeError: .*grad_fn"),
        (Optax(means), r"float32\[.*\], but float32\[\] as updates of optimizer.function"),
        (Optax(plain, eval_params=half), r"float32\[.*\], but bfloat16\[.*\] as optimizer.eval_params gives them"),
        (Optax(plain, eval_params=forgotten), "have another structure as optimizer.eval_params gives them"),
    ],
    ids=["grows", "no transformation", "wants more", "one number each", "scored in other types", "nothing to score"],
)
def test_what_cannot_be_trained_with_is_told_before_anything_is_written(tiny_experiment, optimizer, words):
    experiment = dataclasses.replace(load(str(tiny_experiment)).experiment, optimizer=optimizer)
    with pytest.raises(ValueError, match=words):
        build(experiment, make_mesh(MeshShape(), jax.devices()[:1]))


def test_functions_without_a_name_are_refused():
    with pytest.raises(ValueError, match="has no name by which a run could be gone on with"):
        Optax(lambda rate: optax.identity())
    with pytest.raises(TypeError, match="'adam' is no function; write"):
        Optax("adam")
    with pytest.raises(TypeError, match="a transformation is no function; write"):
        Optax(optax.adam(1e-3))
    with pytest.raises(ValueError, match=r"Holder.make is bound to something that a run folder cannot keep"):
        Optax(Holder().make)


class Holder:
    def make(self, rate):
        return optax.sgd(rate)


SPOILT = """
import dataclasses

import jax
import jax.numpy as jnp
import optax

from {stem} import experiment as base
from train.optimizers import Optax


def chain(rate):
    return optax.sgd(rate)


def scored(state, params):
    return jax.tree.map(lambda leaf: jnp.nan * leaf, params)


experiment = dataclasses.replace(base, optimizer=Optax(chain, eval_params=scored))
"""


@pytest.mark.slow
def test_weights_that_cannot_be_scored_end_the_run_with_a_line(here, tmp_path, tiny_experiment):
    shutil.copy(tiny_experiment, tmp_path)
    (tmp_path / "own.py").write_text(SPOILT.format(stem=tiny_experiment.stem))
    for steps, at in (("2", 2), ("4", 2)):  # in the closing evaluation, and in one on the way
        folder = tmp_path / steps
        ended = here("--exp", tmp_path / "own.py", "--run-dir", folder, "--steps", steps, "--evaluate-every", "2")
        assert ended.code == 1 and ended.errors.count("\n") == 1, ended.errors
        assert f"the held-out loss after step {at} is not finite" in ended.errors
        assert (folder / "report.html").is_file() and not (folder / "scores.json").exists()
    again = here("--exp", tmp_path / "own.py", "--run-dir", folder, "--steps", "4", "--evaluate-every", "2")
    assert again.code == 1 and "is not finite" in again.errors  # and not as if it were finished
    (tmp_path / "own.py").write_text((tmp_path / "own.py").read_text().replace("jnp.nan", "0.5"))
    mended = here("--exp", tmp_path / "own.py", "--run-dir", folder, "--steps", "4", "--evaluate-every", "2")
    assert mended.code == 0, mended.errors


def test_an_average_goes_with_nothing_that_moves_weights_beside_it(tiny_experiment):
    from model.peft import AdaLoRA
    from train.rates import Tuning
    from train.selection import Selection

    experiment = dataclasses.replace(load(str(tiny_experiment)).experiment, optimizer=ScheduleFree())
    for change in (
        {"selection": Selection(average=0.5)},
        {"tuning": Tuning(layer_decay=0.9)},
        {"tuning": Tuning(freeze="embeddings")},
        {"peft": AdaLoRA()},
    ):
        with pytest.raises(ValueError, match="schedule_free"):
            dataclasses.replace(experiment, **change)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=named)
def test_state_that_mirrors_a_parameter_lies_where_it_lies(tiny_experiment, optimizer):
    experiment = dataclasses.replace(load(str(tiny_experiment)).experiment, optimizer=optimizer)
    target = build(experiment, make_mesh(MeshShape.parse("data=2,fsdp=2,tensor=2"))).target
    where = {dotted(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(target.params)}
    mirrors = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(target.optimizer):
        name = dotted(path)
        own = next((one for end, one in where.items() if name.endswith(f".{end}")), None)
        if own is not None and own.shape == leaf.shape:
            assert leaf.sharding == own.sharding, name
            mirrors += 1
        else:
            assert leaf.sharding.is_fully_replicated, name
    factored = {path for path, leaf in where.items() if min((matrix_shape(path, leaf.shape) or (0,))[-2:]) >= 8}
    assert mirrors >= len(where) - (len(factored) if isinstance(optimizer, Adafactor) else 0) and factored
    assert any(not leaf.sharding.is_fully_replicated for leaf in where.values())


@pytest.mark.parametrize(
    "optimizer", [ScheduleFree(), *(pytest.param(one, marks=pytest.mark.slow) for one in OPTIMIZERS[:-1])], ids=named
)
def test_what_eight_devices_kept_one_reads(tiny_experiment, tmp_path, optimizer):
    experiment = dataclasses.replace(load(str(tiny_experiment)).experiment, optimizer=optimizer)
    eight = build(experiment, make_mesh(MeshShape.parse("data=2,fsdp=2,tensor=2"))).target
    one = build(experiment, make_mesh(MeshShape(), jax.devices()[:1])).target
    draw = np.random.default_rng(0)
    state = jax.tree.map(
        lambda leaf: jax.device_put(draw.integers(0, 99, leaf.shape).astype(leaf.dtype), leaf.sharding), eight
    )
    with contextlib.closing(Checkpoints(tmp_path)) as checkpoints:
        checkpoints.save(1, state, {})
        checkpoints.wait()
        alone = checkpoints.restore(one).state
    assert state_digest(alone) == state_digest(state)
    assert all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(alone))


@pytest.mark.parametrize(
    ("mesh", "layers"),
    [
        ("fsdp=8", 8),
        ("data=2,fsdp=2,tensor=2", 3),
        pytest.param("fsdp=8", 3, marks=pytest.mark.slow),
        pytest.param("data=2,fsdp=2,tensor=2", 8, marks=pytest.mark.slow),
    ],
)
def test_muon_on_eight_devices_is_muon_on_one(tiny_experiment, mesh, layers):
    """And matrices are sent before the iterations and after them, never between: each goes once there and once back."""
    declared = load(str(tiny_experiment)).experiment
    model = dataclasses.replace(declared.model, num_layers=layers)
    experiment = dataclasses.replace(declared, model=model, optimizer=Muon(schedule=Constant(peak=0.01)))
    found, sent = {}, {}
    for shape, devices in ((mesh, jax.devices()), ("", jax.devices()[:1])):
        placed = make_mesh(MeshShape.parse(shape), devices)
        target = build(experiment, placed).target
        transformation = experiment.optimizer.build(10)
        rng = np.random.default_rng(0)
        gradients = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), target.params)  # noqa: B023
        params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), target.params)  # noqa: B023
        params, gradients = (
            jax.tree.map(lambda value, leaf: jax.device_put(value, leaf.sharding), tree, target.params)
            for tree in (params, gradients)
        )
        with jax.set_mesh(placed):
            place = jax.tree.map(lambda leaf: leaf.sharding, target.optimizer)
            state = jax.jit(transformation.init, out_shardings=place)(params)
            compiled = jax.jit(transformation.update).lower(gradients, state, params).compile()
            updates, _ = compiled(gradients, state, params)
        found[shape] = flat(jax.device_get(updates))
        sent[shape] = compiled.as_text()
    for path, leaf in found[""].items():
        np.testing.assert_allclose(found[mesh][path], leaf, rtol=1e-4, atol=1e-5, err_msg=path)
    reduced = re.findall(r"= \(?(\S+?)[{,].* all-reduce(?:-start)?\(", sent[mesh])
    assert set(reduced) <= {"f32[]"}, "only norms are summed over devices"
    kinds = {"all-gather", "all-to-all", "collective-permute"}
    count = sum(len(re.findall(rf" {kind}(?:-start)?\(", sent[mesh])) for kind in kinds)
    axes = 1 if mesh == "fsdp=8" else 2
    assert 0 < count <= 2 * 6 * axes, count  # six stacks of matrices, there and back, along each axis that splits them


def test_a_swap_keeps_no_field_that_means_something_else(tiny_experiment):
    declared = load(str(tiny_experiment)).experiment
    own = WarmupCosine(peak=2e-3, warmup_steps=7)
    optimizer = dataclasses.replace(declared.optimizer, schedule=own, b2=0.98, weight_decay=0.3)
    declared = dataclasses.replace(declared, optimizer=optimizer)
    for name, other in (("prodigy", Prodigy()), ("adafactor", Adafactor()), ("lion", Lion()), ("sgd", SGD())):
        swapped = overridden(declared, {"optimizer.name": name}, known=())
        assert swapped.optimizer.schedule == dataclasses.replace(own, peak=other.schedule.peak)
        if name != "prodigy":
            assert swapped.optimizer.weight_decay == other.weight_decay
        assert getattr(swapped.optimizer, "b2", None) == (0.98 if name == "prodigy" else getattr(other, "b2", None))
        back = overridden(swapped, {"optimizer.name": "adam_w"}, known=())
        assert back.optimizer.schedule == dataclasses.replace(own, peak=AdamW().schedule.peak)
    free = overridden(declared, {"optimizer.name": "schedule_free"}, known=())
    assert free.optimizer.schedule == ScheduleFree().schedule and free.optimizer.b2 == 0.98
    muon = overridden(declared, {"optimizer.name": "muon"}, known=()).optimizer
    assert muon.schedule == declared.optimizer.schedule and muon.matrix_peak is None


def test_what_rises_over_all_steps_wants_their_number_to_stay(tiny_experiment):
    declared = dataclasses.replace(
        load(str(tiny_experiment)).experiment, optimizer=AdEMAMix(schedule=Constant(peak=1e-3))
    )
    longer = dataclasses.replace(declared, steps=declared.steps + 1)
    assert resume_refusals(declared, longer) == [
        "steps: was 16, now 17 (optimizer.alpha_warmup is a share of all steps)"
    ]
    at_once = (
        dataclasses.replace(one, optimizer=AdEMAMix(schedule=Constant(peak=1e-3), alpha_warmup=0.0))
        for one in (declared, longer)
    )
    assert resume_refusals(*at_once) == []


def test_muon_finds_its_matrices_in_what_is_trained_only(tiny_experiment):
    experiment = load(str(tiny_experiment)).experiment
    from model.peft import LoRA

    tuned = dataclasses.replace(experiment, optimizer=Muon(), peft=LoRA())
    with pytest.raises(ValueError, match="no matrix of a layer"):
        build(tuned, make_mesh(MeshShape(), jax.devices()[:1]))
