"""A tuned model trains alike on one device and on eight, in any precision, whatever its frozen base is kept in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.attention import MultiHead
from model.encoder import Encoder
from model.families import bert
from model.mlp import PlainMLP
from model.peft import AdaLoRA, BottleneckAdapter, LoRA, PrefixTuning, attach, is_added
from train.sharding import MeshShape, dotted, make_mesh, replicated, shardings
from train.step import cast

SHAPE = {"hidden_size": 32, "attention": MultiHead(4, dropout_rate=0.0), "mlp": PlainMLP(64), "dropout_rate": 0.0}
EVERYWHERE = "*.attention.*,*.mlp.*"
CHOICES = {
    "lora": LoRA(rank=4, sites="*.attention.query,*.attention.out,*.mlp.down"),
    "dora": LoRA(rank=4, sites=EVERYWHERE, decomposed=True),
    "nf4": LoRA(rank=4, sites=EVERYWHERE, base="nf4"),
    "adalora": AdaLoRA(rank=4, target_rank=2, base="int8"),
    "adapters": BottleneckAdapter(size=8),
    "prefix": PrefixTuning(4),
}


def parts(choice):
    """The structure of a tuned encoder, what is trained of it, and what is frozen, each a tree by dotted paths."""
    model = Encoder(bert.config("tiny", vocab_size=64, max_length=32, **SHAPE), rngs=nnx.Rngs(0))
    graph, state = nnx.split(attach(model, choice, nnx.Rngs(1)), nnx.Param)
    params = nnx.to_pure_dict(state)

    def half(trained: bool):
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf if is_added(dotted(path)) == trained else None, params
        )

    return graph, half(True), half(False)


def make_step(graph, dtype="float32"):
    """One step of gradient descent over what is trained."""

    def step(trained, frozen, tokens):
        def loss(trained):
            whole = jax.tree.map(
                lambda one, other: other if one is None else one, trained, frozen, is_leaf=lambda x: x is None
            )
            places = jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)
            hidden = nnx.merge(graph, nnx.State(cast(whole, dtype)))(tokens, places, jnp.ones_like(tokens))
            return jnp.square(hidden.astype(jnp.float32) - 0.3).mean()

        value, gradients = jax.value_and_grad(loss)(trained)
        return jax.tree.map(lambda leaf, slope: leaf - slope, trained, gradients), value

    return step


@pytest.mark.parametrize(
    "name", ["lora", *(pytest.param(name, marks=pytest.mark.slow) for name in CHOICES if name != "lora")]
)
def test_one_device_is_eight(name):
    graph, trained, frozen = parts(CHOICES[name])
    tokens = jnp.asarray(np.random.default_rng(0).integers(1, 64, (8, 10)))
    step = jax.jit(make_step(graph))
    alone, value = step(*step(trained, frozen, tokens)[:1], frozen, tokens)
    mesh = make_mesh(MeshShape.parse("data=2,fsdp=2,tensor=2"))
    with jax.set_mesh(mesh):
        trained, frozen = (jax.device_put(tree, shardings(tree, mesh)) for tree in (trained, frozen))
        tokens = jax.device_put(tokens, replicated(mesh))
        split, same = step(*step(trained, frozen, tokens)[:1], frozen, tokens)
    np.testing.assert_allclose(value, same, rtol=1e-5)
    for one, other in zip(jax.tree.leaves(alone), jax.tree.leaves(split), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_thin_matrices_are_split_as_their_kernels():
    _, trained, _ = parts(CHOICES["lora"])
    mesh = make_mesh(MeshShape.parse("fsdp=2,tensor=4"))
    placed = {dotted(path): where.spec for path, where in jax.tree.leaves_with_path(shardings(trained, mesh))}
    assert placed["layers.attention.query.lora.a"] == jax.sharding.PartitionSpec(None, ("fsdp",), None)
    assert placed["layers.attention.query.lora.b"] == jax.sharding.PartitionSpec(None, None, ("tensor",), None)
    assert placed["layers.mlp.down.lora.a"] == jax.sharding.PartitionSpec(None, ("tensor",), None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nf4", "adalora"])
def test_codes_stay_integers_in_half_precision(name):
    graph, trained, frozen = parts(CHOICES[name])
    tokens = jnp.asarray(np.random.default_rng(0).integers(1, 64, (2, 10)))
    after, value = jax.jit(make_step(graph, "bfloat16"))(trained, frozen, tokens)
    _, exact = jax.jit(make_step(graph))(trained, frozen, tokens)
    assert abs(value - exact) < 0.05 * exact
    assert all(leaf.dtype == jnp.float32 and jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(after))
