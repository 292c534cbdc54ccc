"""Decoders and encoder-decoders: what a token may depend on, in every variant, and cached = uncached."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.attention import MultiHead, Window
from model.capture import captured
from model.decoder import LanguageModel
from model.encoder_decoder import EncoderDecoder
from model.families import t5
from model.initializers import Mimetic, Scaled
from model.mlp import GatedMLP, PlainMLP
from model.norms import LayerNorm, RMSNorm
from model.output import Output
from model.positions import ALiBi, LearnedPositions, NoPositions, RelativeBuckets, SinusoidalPositions
from model.rotary import Llama3Scaling, Rotary, YaRN
from model.stack import Stack, apart

VOCABULARY = 50
PLAIN = {"num_token_types": 0, "norm_embeddings": False, "output": Output(), "norm_placement": "pre"}
HEADS = MultiHead(4, dropout_rate=0.0)


def heads(**changes):
    return {"attention": dataclasses.replace(HEADS, **changes)}


VARIANTS = {
    "learned": {
        "positions": LearnedPositions(32, offset=2),
        "norm": LayerNorm(bias=False),
        "mlp": PlainMLP(24, bias=False),
    },
    "sinusoidal, scaled": {"positions": SinusoidalPositions(), "scale_embeddings": True, "norm_placement": "post"},
    "rotary, grouped, gated": {"positions": Rotary(), "norm": RMSNorm(), "mlp": GatedMLP(24), **heads(num_kv_heads=2)},
    "partial rotary, parallel": {"positions": Rotary(fraction=0.5), "norm_placement": "parallel", **heads(bias=False)},
    "llama 3, query and key norms": {
        "positions": Rotary(scaling=Llama3Scaling(8.0, 1.0, 4.0, 16)),
        "norm": RMSNorm(),
        **heads(norm_query_key=True, num_kv_heads=1, head_size=6, bias=("query", "key", "value")),
    },
    "yarn, sandwich, caps": {
        "positions": Rotary(scaling=YaRN(4.0, 16)),
        "norm": RMSNorm(centred=True),
        "norm_placement": "sandwich",
        "output": Output(tied=False, soft_cap=5.0, bias=True),
        **heads(soft_cap=3.0),
    },
    "alibi, sinks": {"positions": ALiBi(), **heads(sinks=True)},
    "buckets": {
        "positions": RelativeBuckets(8, 16),
        "norm": RMSNorm(),
        "mlp": PlainMLP(24, "relu"),
        **heads(scale=1.0),
    },
    "none, windows alternate": {"positions": NoPositions(), **heads(window=Window(3, ("local", "global")))},
    "windows": {"positions": Rotary(), **heads(window=Window(2))},
    "factored, shared": {"embedding_size": 8, "output": Output(transform=True, bias=True), "share_layers": True},
    "no mlp": {"mlp": None},
}


LATER = ("sinusoidal, scaled", "partial rotary, parallel", "windows", "no mlp", "rotary, shared")


def by_name(variants):
    """Fixture parameters; what differs little from another is left to the slow tests."""
    return [
        pytest.param(fields, id=name, marks=pytest.mark.slow if name in LATER else ())
        for name, fields in variants.items()
    ]


@pytest.fixture(params=by_name(VARIANTS), scope="module")
def model(request, tiny, make_model):
    return make_model(tiny(**(PLAIN | request.param)), LanguageModel)


def with_table(model):
    """A function of the table of embeddings, so that a gradient tells places apart, and the table."""
    graph, params = nnx.split(model)
    params = nnx.to_pure_dict(params)

    def changed(table):
        return nnx.merge(
            graph, nnx.State(params | {"embeddings": params["embeddings"] | {"tokens": {"embedding": table}}})
        )

    return changed, params["embeddings"]["tokens"]["embedding"]


def test_later_tokens_other_documents_and_padding_have_zero_gradient(model, documents, pack):
    _, positions, segments, _ = pack(documents([5, 4]), 12)
    places = jnp.arange(12)[None]  # every place has an embedding of its own
    changed, table = with_table(model)
    jacobian = jax.jit(jax.jacrev(lambda table: (changed(table)(places, positions, segments)[0] ** 2).sum(-1)))(table)
    seen = np.asarray(jnp.abs(jacobian).sum(-1) > 0)[:, :12]  # [T out, T in]
    allowed = np.tril(np.asarray(segments[0, :, None] == segments[0, None, :])) & np.asarray(segments[0] > 0)[None]
    assert not (seen & ~allowed)[:9].any()
    window = model.config.attention.window
    if window is None or "global" in window.pattern:
        assert seen[:9][allowed[:9]].all()
    else:  # two layers that each look one token back
        np.testing.assert_array_equal(seen[:9, :9], allowed[:9, :9] & ~np.tri(9, k=-3, dtype=bool))


def test_packed_row_equals_its_documents_apart(model, documents, pack):
    docs = documents([5, 3, 4])
    run = jax.jit(model)
    packed, start = run(*pack(docs, 16)[:3]), 0
    for doc in docs:
        alone = run(*pack([doc], 16)[:3])[0, : len(doc[0])]
        np.testing.assert_allclose(packed[0, start : start + len(doc[0])], alone, rtol=2e-5, atol=2e-5)
        start += len(doc[0])


def test_cached_equals_uncached_at_every_step(model, documents, pack):
    """A ragged batch, padded on the left: a prompt of several tokens, then one at a time, stacked or apart."""
    rows = [pack([doc], len(doc[0]))[:3] for doc in documents([9, 6])]
    tokens, positions, segments = (
        jnp.stack([jnp.pad(r[n][0], (9 - r[n].shape[1], 0)) for r in rows]) for n in range(3)
    )
    whole = model(tokens, positions, segments)
    for separate in (False, True):
        here = nnx.merge(*nnx.split(model))
        if separate:
            here.layers = apart(here.layers, 1 if model.config.share_layers else here.num_layers)
        cache = here.empty_cache(2, 12)
        found = []
        extend = jax.jit(here.extend)
        for start, stop in [(0, 4), *((t, t + 1) for t in range(4, 9))]:
            hidden, cache = extend(cache, *(x[:, start:stop] for x in (tokens, positions, segments)))
            found.append(hidden)
        seen = segments[..., None] > 0
        np.testing.assert_allclose(
            jnp.where(seen, jnp.concatenate(found, 1), 0), jnp.where(seen, whole, 0), rtol=2e-5, atol=2e-5
        )


def test_scan_equals_unrolled_with_the_same_logits(model, documents, pack, make_model):
    ids = pack(documents([7]), 8)[:3]
    other = make_model(dataclasses.replace(model.config, stack=Stack("unroll")), LanguageModel)
    np.testing.assert_allclose(
        other.predict_tokens(other(*ids)), model.predict_tokens(model(*ids)), rtol=1e-4, atol=1e-5
    )


def test_a_prefix_is_seen_from_everywhere_in_its_segment(tiny, make_model, documents, pack):
    model = make_model(tiny(**PLAIN), LanguageModel)
    _, positions, segments, _ = pack(documents([5, 4]), 9)
    prefix = jnp.array([[1, 1, 1, 0, 0, 1, 0, 0, 0]], bool)
    changed, table = with_table(model)
    jacobian = jax.jit(
        jax.jacrev(
            lambda table: (changed(table)(jnp.arange(9)[None], positions, segments, prefix=prefix)[0] ** 2).sum(-1)
        )
    )(table)
    seen = np.asarray(jnp.abs(jacobian).sum(-1) > 0)[:, :9]
    same = np.asarray(segments[0, :, None] == segments[0, None, :])
    np.testing.assert_array_equal(seen, same & (np.tri(9, dtype=bool) | np.asarray(prefix[0])[None]))


ENCODER_DECODERS = {
    "vaswani": {"positions": SinusoidalPositions(), "norm_placement": "post", "scale_embeddings": True},
    "t5": {
        "positions": RelativeBuckets(8, 16),
        "norm": RMSNorm(),
        "num_decoder_layers": 3,
        **heads(scale=1.0, bias=False),
    },
    "rotary, shared": {"positions": Rotary(), "share_layers": True, **heads(num_kv_heads=2)},
}


@pytest.fixture(params=by_name(ENCODER_DECODERS), scope="module")
def translator(request, tiny, make_model):
    return make_model(tiny(**(PLAIN | request.param)), EncoderDecoder)


def test_both_sides_packed_equal_their_pairs_apart(translator, documents, pack):
    sources, targets = documents([5, 3]), documents([4, 6], seed=1)
    run = jax.jit(
        lambda source, target: translator(
            *target, source_tokens=source[0], source_positions=source[1], source_segments=source[2]
        )
    )
    packed, start = run(pack(sources, 10)[:3], pack(targets, 12)[:3]), 0
    for source, target in zip(sources, targets, strict=True):
        length = len(target[0])
        alone = run(pack([source], 10)[:3], pack([target], 12)[:3])[0, :length]
        np.testing.assert_allclose(packed[0, start : start + length], alone, rtol=2e-5, atol=2e-5)
        start += length


def test_cached_translation_equals_uncached(translator, documents, pack):
    source, target = (pack([doc], 7)[:3] for doc in (*documents([5]), *documents([7], seed=1)))
    whole = translator(
        *target, **dict(zip(("source_tokens", "source_positions", "source_segments"), source, strict=True))
    )
    cache = translator.start(translator.encode(*source), source[2], 8)
    extend, found = jax.jit(translator.extend), []
    for t in range(7):
        hidden, cache = extend(cache, *(x[:, t : t + 1] for x in target))
        found.append(hidden)
    np.testing.assert_allclose(jnp.concatenate(found, 1), whole, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("scale", [1.0, None])
def test_mimetic_attention_begins_at_the_same_token_and_beside_each(scale):
    tokens = jnp.arange(4, 20)[None]
    positions, segments = jnp.arange(16)[None], jnp.ones((1, 16), jnp.int32)
    source = {"source_tokens": tokens[:, ::-1], "source_positions": positions, "source_segments": segments}
    grouped = MultiHead(4, num_kv_heads=2, head_size=64, bias=False, dropout_rate=0.0, scale=scale)

    def sites(initializer):
        config = t5.config("tiny", vocab_size=VOCABULARY, attention=grouped, dropout_rate=0.0, initializer=initializer)
        model = EncoderDecoder(config, rngs=nnx.Rngs(0))
        return captured(model, lambda model: model(tokens, positions, segments, **source))[1]

    def same_token(sites):  # of the head that attends to it least
        weights = sites["decoder.layers.0.cross_attention.weights"][0]
        return weights[:, positions[0], positions[0, ::-1]].mean(-1).min()

    begun = sites(Mimetic(64))
    assert same_token(begun) > 0.4 and same_token(sites(Scaled(64))) < 0.15
    encoder = begun["encoder.layers.0.attention.weights"][0, :, 8]
    for back, ahead in (encoder[:2], encoder[2:]):
        assert back[6:8].sum() > 0.3 and back[9:].sum() < 0.1 and ahead[9:11].sum() > 0.3 and ahead[:8].sum() < 0.1
    decoder = begun["decoder.layers.0.attention.weights"][0, :, 15]
    assert decoder[:, 12:].sum(-1).mean() > 0.6


def test_layer_drop_skips_whole_layers_by_example(tiny, make_model, batch):
    model = make_model(tiny(**PLAIN, layer_drop_rate=0.5), LanguageModel)
    keys = jnp.arange(3, dtype=jnp.uint32)
    once = model(*batch[:3], dropout_keys=keys)
    np.testing.assert_array_equal(once, model(*batch[:3], dropout_keys=keys))
    np.testing.assert_allclose(model(*batch[:3]), make_model(tiny(**PLAIN), LanguageModel)(*batch[:3]), rtol=1e-6)
    assert jnp.abs(once - model(*batch[:3])).max() > 0.1


def test_taps_see_every_layer_and_leave_no_trace(tiny, make_model, batch):
    model = make_model(tiny(**PLAIN), LanguageModel)
    hidden, sites = captured(model, lambda model: model(*batch[:3]))
    np.testing.assert_allclose(hidden, model(*batch[:3]), rtol=1e-5, atol=1e-5)
    assert {"embeddings.output", "layers.0.attention.queries", "layers.1.mlp.inner", "final_norm.output"} < sites.keys()
    np.testing.assert_array_equal(sites["final_norm.output"], hidden)
    added = sites["embeddings.output"] + sites["layers.0.attention.output"] + sites["layers.0.mlp.output"]
    np.testing.assert_allclose(sites["layers.0.residual"], added, rtol=1e-5, atol=1e-5)
    assert "_probe" not in str(vars(model.layers))
