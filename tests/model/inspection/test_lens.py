"""The logit lens ends at the model, and an attribution adds up to the logit, whatever the model is made of."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.attention import MultiHead
from model.capture import captured
from model.decoder import LanguageModel
from model.encoder import Encoder, MaskedLanguageModel
from model.encoder_decoder import EncoderDecoder
from model.inspection.lens import lens_sites, logit_lens
from model.inspection.logit_attribution import attribution_sites, direct_logit_attribution, frozen_norm
from model.mlp import GatedMLP
from model.norms import LayerNorm, RMSNorm, layer_norm
from model.output import Output
from model.positions import RelativeBuckets
from model.rotary import Rotary
from model.stack import Stack, apart

PLAIN = {"num_token_types": 0, "norm_embeddings": False, "output": Output(), "norm_placement": "pre"}
BATCH, LENGTH, VOCABULARY = 2, 9, 50
VARIANTS = {
    "pre, layer norm": {},
    "pre, layer norm without bias": {"norm": LayerNorm(bias=False), "norm_embeddings": True},
    "pre, RMS norm, rotary, gated, grouped": {
        "norm": RMSNorm(),
        "positions": Rotary(),
        "mlp": GatedMLP(24),
        "attention": MultiHead(4, num_kv_heads=2, bias=False, dropout_rate=0.0),
    },
    "sandwich, centred RMS norm, untied, bias, scale": {
        "norm": RMSNorm(centred=True),
        "norm_placement": "sandwich",
        "output": Output(tied=False, bias=True, scale=0.25),
    },
    "sandwich, layer norm": {"norm_placement": "sandwich"},
    "parallel": {"norm_placement": "parallel"},
    "post": {"norm_placement": "post", "norm_embeddings": True},
    "attention only": {"mlp": None},
    "shared layers, narrow embeddings": {"share_layers": True, "embedding_size": 8, "output": Output(tied=False)},
    "unrolled": {"stack": Stack(loop="unroll")},
}


def made(tiny, make_model, variant, kind=LanguageModel):
    return make_model(tiny(**PLAIN | VARIANTS[variant]), kind)


def tokens_of(seed=0):
    return np.random.default_rng(seed).integers(0, VOCABULARY, (BATCH, LENGTH)).astype(np.int32)


def unshared(model, make_model):
    """The same model with a copy of its block for every layer, where all share one: each has its own sites for sure."""
    if not model.config.share_layers:
        return model
    copy = make_model(dataclasses.replace(model.config, share_layers=False), LanguageModel)
    for word in ("embeddings", "final_norm", "token_head"):
        setattr(copy, word, getattr(model, word))
    graph, state = nnx.split(model.layers)
    copy.layers = nnx.merge(graph, jax.tree.map(lambda leaf: jnp.repeat(leaf, copy.num_layers, axis=0), state))
    return copy


def run(model, planted):
    """Logits and sites of one batch; an encoder-decoder reads another text as its source."""
    rows, positions, segments = planted.inputs_of(tokens_of())
    named = {}
    if isinstance(model, EncoderDecoder):
        source = planted.inputs_of(tokens_of(1))
        named = dict(zip(("source_tokens", "source_positions", "source_segments"), source, strict=True))
    logits, sites = captured(model, lambda model: model.predict_tokens(model(rows, positions, segments, **named)))
    if "embeddings.output" in sites:  # of an encoder-decoder: the last call, the decoder's
        sites.setdefault("decoder.embeddings.output", sites["embeddings.output"])
    return logits, sites


QUICK = (
    "pre, RMS norm, rotary, gated, grouped",
    "sandwich, centred RMS norm, untied, bias, scale",
    "post",
    "shared layers, narrow embeddings",
)


@pytest.mark.parametrize(
    "variant", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in VARIANTS]
)
def test_attributions_add_up_and_the_lens_ends_at_the_model(tiny, make_model, planted, variant):
    model = made(tiny, make_model, variant)
    logits, sites = run(unshared(model, make_model), planted)
    lens = logit_lens(model, sites)
    np.testing.assert_allclose(lens.logits[-1], logits, atol=1e-4)
    assert lens.names == ("embeddings", "layers.0", "layers.1")
    wanted, other = tokens_of(2), tokens_of(3)
    chosen, against = (np.take_along_axis(np.asarray(logits), ids[..., None], -1)[..., 0] for ids in (wanted, other))
    for heads in (False, True):
        found = direct_logit_attribution(model, sites, wanted, heads=heads)
        np.testing.assert_allclose(found.total, chosen, atol=1e-4)
        difference = direct_logit_attribution(model, sites, wanted, against=other, heads=heads)
        np.testing.assert_allclose(difference.total, chosen - against, atol=1e-4)
    whole = direct_logit_attribution(model, sites, wanted)
    of_heads = sum(found[f"layers.1.attention.heads.{head}"] for head in range(4))
    if "layers.1.attention.bias" in found.names:
        of_heads = of_heads + found["layers.1.attention.bias"]
    np.testing.assert_allclose(of_heads, whole["layers.1.attention"], atol=1e-4)


@pytest.mark.parametrize("placement", ("pre", "post"))
def test_the_decoder_of_an_encoder_decoder(tiny, make_model, planted, placement):
    choices = {"norm": RMSNorm(), "positions": RelativeBuckets(8, 16), "output": Output(scale=0.25)}
    model = make_model(tiny(**PLAIN | choices | {"norm_placement": placement}), EncoderDecoder)
    logits, sites = run(model, planted)
    np.testing.assert_allclose(logit_lens(model, sites).logits[-1], logits, atol=1e-4)
    wanted = tokens_of(2)
    expected = np.take_along_axis(np.asarray(logits), wanted[..., None], -1)[..., 0]
    for heads in (False, True):
        found = direct_logit_attribution(model, sites, wanted, heads=heads)
        np.testing.assert_allclose(found.total, expected, atol=1e-4)
    assert "decoder.layers.1.cross_attention.heads.2" in found.names


def test_bert_has_a_lens_and_no_attribution(tiny, make_model, planted):
    """Its head holds an activation: the whole head is the lens, and nothing is summed over it."""
    model = make_model(tiny())
    logits, sites = run(model, planted)
    np.testing.assert_allclose(logit_lens(model, sites).logits[-1], logits, atol=1e-4)
    with pytest.raises(ValueError, match="output has a transform: an activation"):
        direct_logit_attribution(model, sites, tokens_of())
    linear = make_model(tiny(output=Output(bias=True)), MaskedLanguageModel)
    logits, sites = run(linear, planted)
    expected = np.take_along_axis(np.asarray(logits), tokens_of()[..., None], -1)[..., 0]
    np.testing.assert_allclose(direct_logit_attribution(linear, sites, tokens_of()).total, expected, atol=1e-4)


def test_a_soft_cap_is_left_to_the_end(tiny, make_model, planted):
    model = make_model(tiny(**PLAIN | {"output": Output(soft_cap=5.0)}), LanguageModel)
    logits, sites = run(model, planted)
    beneath = direct_logit_attribution(model, sites, tokens_of()).total
    expected = np.take_along_axis(np.asarray(logits), tokens_of()[..., None], -1)[..., 0]
    np.testing.assert_allclose(5.0 * np.tanh(beneath / 5.0), expected, atol=1e-4)


def test_layers_apart_read_the_same(tiny, make_model, planted):
    model = made(tiny, make_model, "sandwich, layer norm")
    _, sites = run(model, planted)
    whole = direct_logit_attribution(model, sites, tokens_of(), heads=True)
    model.layers = apart(model.layers, model.num_layers)
    found = direct_logit_attribution(model, sites, tokens_of(), heads=True)
    np.testing.assert_allclose(found.values, whole.values, atol=1e-6)


def test_a_frozen_norm_is_linear_and_sums_to_the_norm():
    draw = np.random.default_rng(0)
    parts = draw.normal(size=(3, 2, 4, 8)).astype(np.float32)
    scale, bias = draw.normal(size=(2, 8)).astype(np.float32)
    total = parts.sum(0)
    frozen = frozen_norm(parts, total, scale, 1e-5, centre=True)
    whole = layer_norm(jnp.asarray(total), jnp.asarray(scale), jnp.asarray(bias), 1e-5)
    np.testing.assert_allclose(frozen.sum(0) + bias, whole, atol=1e-5)
    np.testing.assert_allclose(frozen_norm(2 * parts, total, scale, 1e-5, centre=True), 2 * frozen, atol=1e-5)


def test_the_lens_is_the_model_with_its_last_layers_taken_away(tiny, make_model, planted):
    """After layer l it reads what a model of l layers would say."""
    model = made(tiny, make_model, "pre, layer norm")
    _, sites = run(model, planted)
    short = make_model(dataclasses.replace(model.config, num_layers=1), LanguageModel)
    single = apart(model.layers, 2)[:1]
    short.embeddings, short.layers, short.final_norm = (
        model.embeddings,
        type(apart(model.layers, 2))(single),
        model.final_norm,
    )
    short.token_head = model.token_head
    logits, _ = run(short, planted)
    np.testing.assert_allclose(logit_lens(model, sites).logits[1], logits, atol=1e-4)


def test_the_lens_ranks_and_weighs_tokens(tiny, make_model, planted):
    model = made(tiny, make_model, "pre, layer norm")
    logits, sites = run(model, planted)
    lens = logit_lens(model, sites, places=[0, 4])
    assert lens.logits.shape == (3, BATCH, 2, VOCABULARY)
    np.testing.assert_allclose(lens.logits[-1], np.asarray(logits)[:, [0, 4]], atol=1e-4)
    tokens, probabilities = lens.top(3)
    assert (np.diff(probabilities, axis=-1) <= 0).all()
    for rank in range(3):
        np.testing.assert_array_equal(lens.rank(tokens[-1, ..., rank])[-1], rank)
        np.testing.assert_allclose(lens.probability(tokens[-1, ..., rank])[-1], probabilities[-1, ..., rank], rtol=1e-5)


def test_the_planted_circuit_is_attributed_to_its_head(planted):
    """On the second block the answer's logit comes from the induction head, all of it."""
    model, tokens = planted.planted_induction(), planted.repeated_tokens()
    inputs = planted.inputs_of(tokens)
    _, sites = captured(model, lambda model: model.predict_tokens(model(*inputs)))
    answer = np.roll(tokens, -1)[None]
    found = direct_logit_attribution(model, sites, answer, heads=True)
    name = "layers.1.attention.heads.0"
    np.testing.assert_allclose(found[name][:, 24:71], found.total[:, 24:71], atol=1e-3)
    assert found.top(0, 40, 1)[0][0] == name and found[name][0, 40] > 10
    ranks = logit_lens(model, sites).rank(answer)[:, 0, 24:71]
    assert (ranks[-1] == 0).all()


def test_sites_can_be_asked_for_before(tiny, make_model, planted):
    for variant in ("pre, layer norm", "parallel", "attention only"):
        model = made(tiny, make_model, variant)
        _, sites = run(model, planted)
        for heads in (False, True):
            some = {name: sites[name] for name in attribution_sites(model, heads=heads)}
            direct_logit_attribution(model, some, tokens_of(), heads=heads)
        logit_lens(model, {name: sites[name] for name in lens_sites(model)})


def test_mistakes_are_named(tiny, make_model, planted):
    model = made(tiny, make_model, "pre, layer norm")
    _, sites = run(model, planted)
    with pytest.raises(ValueError, match=r"layers.1.residual was not captured; capture it too"):
        logit_lens(model, {name: value for name, value in sites.items() if name != "layers.1.residual"})
    with pytest.raises(ValueError, match="one id a place"):
        direct_logit_attribution(model, sites, tokens_of()[:, :3])
    with pytest.raises(ValueError, match="do not lie in a vocabulary of 50"):
        direct_logit_attribution(model, sites, tokens_of() + 45)
    with pytest.raises(ValueError, match="Encoder has no head that scores tokens"):
        logit_lens(make_model(tiny(), Encoder), sites)
    found = direct_logit_attribution(model, sites, tokens_of())
    with pytest.raises(ValueError, match=r"there is no part 'mlp' here; there are embeddings, layers.0.attention"):
        found["mlp"]
