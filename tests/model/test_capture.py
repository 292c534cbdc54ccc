"""Capture: it changes nothing when it is off, sees what the kernel computed when it is on, and edits what it is told to."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import kernels.attention
from kernels.attention import xla_attention
from model.attention import MultiHead, Window
from model.capture import Change, Plan, SiteError, captured
from model.config import TransformerConfig
from model.decoder import LanguageModel
from model.encoder import Encoder, MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.families import bert
from model.inspection.calls import Inputs, capture, check_price, forward, gradients, price, sites, text_inputs
from model.mlp import GatedMLP
from model.positions import ALiBi, RelativeBuckets
from model.rotary import Rotary
from model.stack import Stack

CHOICES = {
    "encoder": (MaskedLanguageModel, {}),
    "decoder": (LanguageModel, {"attention": MultiHead(4, 2, sinks=True, soft_cap=5.0), "positions": Rotary()}),
    "local and global": (
        LanguageModel,
        {"attention": MultiHead(4, window=Window(3, ("local", "global"))), "positions": ALiBi(), "mlp": GatedMLP(32)},
    ),
    "shared layers": (Encoder, {"share_layers": True, "num_layers": 3}),
    "encoder-decoder": (
        EncoderDecoder,
        {"positions": RelativeBuckets(8, 16), "norm_placement": "pre", "num_token_types": 0},
    ),
}


QUICK = ("local and global", "encoder-decoder")  # the others are left to the slow tests


@pytest.fixture(params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CHOICES])
def model(request, tiny, make_model):
    kind, choices = CHOICES[request.param]
    return make_model(tiny(**choices), kind)


def read(model) -> Inputs:
    rows = [np.arange(3, 12), np.arange(20, 26)]
    inputs = text_inputs(rows, rows[::-1] if isinstance(model, EncoderDecoder) else ())
    types = model.config.num_token_types and isinstance(model, Encoder)
    return inputs._replace(token_types=np.zeros_like(inputs.tokens)) if types else inputs


def real(inputs: Inputs) -> np.ndarray:
    return np.asarray(inputs.segments) > 0


def silence(monkeypatch) -> None:
    """Take the taps out of the code."""
    for name, module in list(sys.modules.items()):
        if name.startswith("model.") and name != "model.capture":
            for word, nothing in (("tap", lambda module, word, value: value), ("tap_made", lambda *a, **b: None)):
                if hasattr(module, word):
                    monkeypatch.setattr(module, word, nothing)


@pytest.mark.parametrize("loop", ["scan", pytest.param("unroll", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CHOICES)
def test_taps_leave_nothing_in_a_compiled_step(name, loop, tiny, make_model, monkeypatch):
    """Loss and gradient, dropout included, text for text as if there were no taps in the code."""
    kind, choices = CHOICES[name]
    model = make_model(tiny(**choices, dropout_rate=0.1, stack=Stack(loop=loop)), kind)
    inputs, keys = jax.tree.map(jnp.asarray, read(model)), jnp.arange(2, dtype=jnp.uint32)
    source = {k: v for k, v in inputs._asdict().items() if k.startswith("source_") and v is not None}

    def lowered() -> str:
        graph, params = nnx.split(model)

        def loss(params):
            model = nnx.merge(graph, params)
            hidden = model(inputs.tokens, inputs.positions, inputs.segments, **source, dropout_keys=keys)
            return jnp.square(hidden if kind is Encoder else model.predict_tokens(hidden)).sum()

        return jax.jit(jax.value_and_grad(loss)).lower(params).as_text()

    with_taps = lowered()
    silence(monkeypatch)
    assert with_taps == lowered()


def test_the_kernel_runs_on_while_its_maps_are_taken(model, monkeypatch):
    """The captured program calls the same attention as the plain one, once a layer, and its output is the same."""
    inputs = read(model)

    def named(query, key, value, mask, scale, dropout_rate=0.0, dropout_keys=None, *, soft_cap=None, **shaping):
        def the_kernel(query, key, value, mask, shaping):
            return xla_attention(query, key, value, mask, scale, soft_cap=soft_cap, **shaping)

        return jax.jit(the_kernel)(query, key, value, mask, shaping)

    monkeypatch.setitem(kernels.attention.IMPLEMENTATIONS, "xla", named)
    graph, params = nnx.split(model)
    plan = Plan(("*attention.weights",))

    def plain(params):
        return forward(nnx.merge(graph, params), inputs)

    def seen(params):
        return captured(nnx.merge(graph, params), lambda model: forward(model, inputs), plan)

    with_maps = jax.jit(seen).lower(params).as_text()
    layers = len(sites(model, inputs, plan))
    assert (
        with_maps.count("call @the_kernel") == layers and "call @the_kernel" in jax.jit(plain).lower(params).as_text()
    )
    out, maps = jax.jit(seen)(params)
    np.testing.assert_allclose(
        np.asarray(out)[real(inputs)], np.asarray(plain(params))[real(inputs)], rtol=1e-5, atol=1e-5
    )
    assert len(maps) == layers


def test_maps_are_those_of_the_values_that_were_mixed(model):
    """weights @ values = what left the kernel, for every layer, self and cross."""
    inputs = read(model)
    _, seen = capture(model, inputs, Plan(("*attention.*",)))
    for site in [site for site in seen if site.endswith("attention.weights")]:
        weights, values = seen[site], seen[site.replace("weights", "values")]
        values = np.repeat(values, weights.shape[1] // values.shape[2], axis=2)
        mixed = np.einsum("BNTS,BSNH->BTNH", weights, values)
        np.testing.assert_allclose(mixed, seen[site.replace("weights", "mixed")], rtol=1e-5, atol=1e-5)


def test_sites_come_in_order_with_layers_apart(model):
    names = list(sites(model, read(model)))
    firsts = [next(n for n, name in enumerate(names) if f"layers.{layer}." in name) for layer in range(2)]
    assert firsts == sorted(firsts) and len(set(names)) == len(names)
    if isinstance(model, EncoderDecoder):
        assert {
            "encoder.embeddings.output",
            "decoder.embeddings.output",
            "decoder.layers.1.cross_attention.weights",
        } <= {*names}
    assert not hasattr(model, "_probe") and not hasattr(model.embeddings, "_probe")


def test_an_edit_of_a_layer_changes_nothing_before_it(model):
    """Zeroing one head of the second layer: the first layer is as it was, the head's output is zero, what follows is not."""
    inputs = read(model)
    side = "decoder." if isinstance(model, EncoderDecoder) else ""
    site = f"{side}layers.1.attention.mixed"
    plan = Plan(("*",), ((site, "set"),))
    head = Change(jnp.arange(4)[None, None, :, None] == 2, jnp.zeros(()))
    before, after = capture(model, inputs, Plan(("*",))), capture(model, inputs, plan, [head])
    assert (after[1][site][:, :, 2] == 0).all() and (before[1][site][:, :, 2] != 0).any()
    for name in before[1]:
        same = f"{side}layers.0." in name or name == f"{side}embeddings.output" or name.startswith("encoder.")
        if same:
            np.testing.assert_array_equal(before[1][name], after[1][name])
    out = np.abs(np.asarray(before[0] - after[0]))[real(inputs)].max(-1)
    assert (out > 1e-6).all()


def test_edited_weights_are_what_is_mixed(tiny, make_model):
    """A head made to look at the first token alone returns that token's value."""
    model = make_model(tiny(), LanguageModel)
    inputs = text_inputs([np.arange(3, 12)])
    first = jnp.zeros((1, 1, 9, 9)).at[..., 0].set(1.0)
    plan = Plan(("layers.1.attention.mixed", "layers.1.attention.values"), (("layers.1.attention.weights", "set"),))
    _, seen = capture(model, inputs, plan, [Change(jnp.ones((), bool), first)])
    expected = np.broadcast_to(seen["layers.1.attention.values"][:, :1], (1, 9, 4, 4))
    np.testing.assert_allclose(seen["layers.1.attention.mixed"], expected, rtol=1e-6)


def test_changing_nothing_changes_nothing_and_values_do_not_trace_again(tiny, make_model):
    model, inputs = make_model(tiny(), LanguageModel), text_inputs([np.arange(3, 12)])
    plan = Plan((), (("layers.0.residual", "add"),))
    traces = []
    forward_once = jax.jit(
        lambda change: (traces.append(1), captured(model, lambda m: forward(m, inputs), plan, [change])[0])[1]
    )
    zero, one = (forward_once(Change(jnp.ones((), bool), jnp.full((16,), value))) for value in (0.0, 1.0))
    np.testing.assert_allclose(zero, forward(model, inputs), rtol=1e-5, atol=1e-5)
    assert len(traces) == 1 and jnp.abs(one - zero).max() > 1e-3


@pytest.mark.parametrize(
    ("pattern", "near"),
    [("layers.0.attention.weigths", "layers.0.attention.weights"), ("*.cross_attention.weights", "layers.0.attention")],
)
def test_a_pattern_that_meets_nothing_names_the_nearest(pattern, near, tiny, make_model):
    model, inputs = make_model(tiny(), LanguageModel), text_inputs([np.arange(3, 12)])
    with pytest.raises(SiteError, match="this model has no site") as error:
        capture(model, inputs, Plan((pattern,)))
    assert near in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(SiteError, match=r"no site 'layers\.9\.residual'"):
        capture(model, inputs, Plan((), (("layers.9.residual", "set"),)), [Change(jnp.ones((), bool), jnp.zeros(()))])


def test_forty_gigabytes_are_refused_with_their_price():
    """Shapes only: nothing of that size is made."""
    config = bert.config("base")
    model = nnx.eval_shape(lambda: MaskedLanguageModel(config, rngs=nnx.Rngs(0)))
    inputs = text_inputs([np.zeros(512, np.int32)] * 280)
    found = sites(model, inputs, Plan(("*attention.weights",)))
    assert price(found) == 12 * 280 * 12 * 512 * 512 * 4
    with pytest.raises(
        SiteError, match=r"keeping these 12 sites takes 39\.4 GB, .* alone 3\.3 GB; keep fewer, or pass limit="
    ):
        check_price(found, 4 << 30)


def test_gradients_are_the_limits_of_differences(tiny, make_model):
    model, inputs = make_model(tiny(), LanguageModel), text_inputs([np.arange(3, 12)])

    def metric(scores):
        return scores[:, -1, 7] - scores[:, -1, 9]

    value, here, slopes = gradients(model, inputs, metric, ["layers.0.attention.mixed", "layers.1.attention.weights"])
    np.testing.assert_allclose(value, metric(forward(model, inputs)), rtol=1e-5)
    for site, slope in slopes.items():
        direction = np.random.default_rng(0).normal(size=slope.shape).astype(np.float32) * 1e-2
        plan = Plan((), ((site, "set"),))
        ends = [
            capture(model, inputs, plan, [Change(jnp.ones((), bool), here[site] + s * direction)])[0] for s in (1, -1)
        ]
        measured = float((metric(ends[0]) - metric(ends[1]))[0])
        assert measured == pytest.approx(2 * float((slope * direction).sum()), rel=2e-2, abs=2e-5)


def test_one_layer_costs_one_layer():
    """BERT-base at 512 tokens: the memory of keeping one layer's maps is that layer's, not the model's."""
    config = bert.config("base", vocab_size=512)
    model = nnx.eval_shape(lambda: Encoder(config, rngs=nnx.Rngs(0)))
    graph, params = nnx.split(model)
    inputs = text_inputs([np.zeros(512, np.int32)])
    inputs = inputs._replace(token_types=np.zeros_like(inputs.tokens))

    def memory(*keep: str) -> int:
        def run(params):
            return captured(nnx.merge(graph, params), lambda model: forward(model, inputs), Plan(keep))

        analysis = jax.jit(run).lower(params).compile().memory_analysis()
        return analysis.temp_size_in_bytes + analysis.output_size_in_bytes

    layer = 12 * 512 * 512 * 4
    without, one, three = memory(), memory("layers.7.attention.weights"), memory("layers.[3-5].attention.weights")
    assert one - without < 2.5 * layer and three - without < 5 * layer


def test_sharded_models_are_captured(tiny, make_model):
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec as P

    model, inputs = make_model(tiny(), LanguageModel), text_inputs([np.arange(3, 12)])
    mesh = jax.make_mesh((4,), ("tensor",), axis_types=(jax.sharding.AxisType.Auto,))
    graph, params = nnx.split(model)

    def place(leaf):
        heads = leaf.ndim == 4 and leaf.shape[2] == 4
        return jax.device_put(leaf, NamedSharding(mesh, P(None, None, "tensor") if heads else P()))

    split = nnx.merge(graph, jax.tree.map(place, params))
    whole, parts = (capture(one, inputs, Plan(("*.weights", "*.residual")))[1] for one in (model, split))
    for site in whole:
        np.testing.assert_allclose(whole[site], parts[site], rtol=1e-5, atol=1e-5)


def test_configs_without_mlp_have_no_mlp_sites(make_model):
    config = TransformerConfig(
        vocab_size=20,
        hidden_size=16,
        num_layers=2,
        attention=MultiHead(2, dropout_rate=0.0),
        mlp=None,
        norm_placement="pre",
    )
    model = make_model(config, LanguageModel)
    with pytest.raises(SiteError, match=r"no site '\*\.mlp\.output'"):
        capture(model, text_inputs([np.arange(5)]), Plan(("*.mlp.output",)))
