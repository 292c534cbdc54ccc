"""The encoder as a function: what may matter to a token, and what cannot."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from model.attention import MultiHead
from model.capture import captured
from model.decoder import Decoder
from model.encoder import Encoder, MaskedLanguageModel
from model.initializers import OffsetHeads
from model.mlp import GatedMLP
from model.norms import RMSNorm
from model.positions import SinusoidalPositions

VOCABULARY = 50

VARIANTS = {
    "post": {},
    "pre": {"norm_placement": "pre"},
    "sinusoidal": {"positions": SinusoidalPositions(), "num_token_types": 0},
    "gated, rms, grouped": {"mlp": GatedMLP(24), "norm": RMSNorm(), "attention": MultiHead(4, 2, dropout_rate=0.0)},
}


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_packed_row_equals_its_documents_apart(overrides, tiny, make_model, documents, pack):
    model = jax.jit(make_model(tiny(**overrides)))
    docs = documents([5, 3, 7])
    packed = model(*pack(docs, 20))
    start = 0
    for doc in docs:
        alone = model(*pack([doc], 20))[0, : len(doc[0])]
        np.testing.assert_allclose(packed[0, start : start + len(doc[0])], alone, rtol=2e-5, atol=2e-5)
        start += len(doc[0])


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS)
def test_nothing_leaks_between_documents_or_from_padding(overrides, tiny, make_model, documents, pack):
    """The derivative of a document's states by the tokens around it is zero, not merely small."""
    model = make_model(tiny(**overrides))
    _, positions, segments, types = pack(documents([5, 3]), 12)

    graph, params = nnx.split(model)
    params = nnx.to_pure_dict(params)

    def states_of_first(table):
        changed = params | {"embeddings": params["embeddings"] | {"tokens": {"embedding": table}}}
        # Every place has an embedding of its own, so that the gradient tells places apart.
        hidden = nnx.merge(graph, nnx.State(changed))(jnp.arange(12)[None], positions, segments, types)
        return (hidden[0, :5] ** 2).sum()

    gradient = jax.jit(jax.grad(states_of_first))(params["embeddings"]["tokens"]["embedding"])
    assert (gradient[5:] == 0).all() and (jnp.abs(gradient[:5]).sum(-1) > 0).all()


def test_bidirectional(tiny, make_model, documents, pack):
    model = make_model(tiny())
    tokens, *rest = pack(documents([6]), 6)
    changed = model(tokens.at[0, 5].add(1) % VOCABULARY, *rest) - model(tokens, *rest)
    assert (jnp.abs(changed[0]).max(-1) > 0).all()


def test_gradients_are_finite_with_a_row_of_padding(batch, tiny, make_model):
    model = make_model(tiny())
    graph, params = nnx.split(model)
    empty = tuple(jnp.zeros_like(x) for x in batch)

    def total(params):
        return (nnx.merge(graph, params)(*empty) ** 2).sum()

    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(params)))


def test_token_types_left_out_are_type_0(batch, tiny, make_model):
    tokens, positions, segments, types = batch
    model = make_model(tiny())
    np.testing.assert_array_equal(
        model(tokens, positions, segments), model(tokens, positions, segments, jnp.zeros_like(types))
    )


def test_dropout_belongs_to_the_example_and_layers_differ(batch, tiny, make_model):
    config = tiny(dropout_rate=0.2, attention=MultiHead(4, dropout_rate=0.2))
    model = jax.jit(make_model(config))
    keys = jnp.array([11, 22, 33], jnp.uint32)
    together = model(*batch, dropout_keys=keys)
    order = jnp.array([2, 0, 1])
    moved = model(*(x[order] for x in batch), dropout_keys=keys[order])
    np.testing.assert_allclose(moved, together[order], rtol=1e-5, atol=1e-5)
    assert jnp.abs(model(*batch, dropout_keys=keys + 1) - together).max() > 0.1
    assert jnp.abs(model(*batch) - together).max() > 0.1


def test_no_dropout_leaves_no_trace(batch, tiny, make_model):
    """With every rate 0 the compiled program is the one without keys, text for text."""
    graph, params = nnx.split(make_model(tiny()))

    def run(params, keys):
        return nnx.merge(graph, params)(*batch, dropout_keys=keys)

    keys = jnp.zeros(3, jnp.uint32)
    with_keys = jax.jit(lambda params: run(params, keys)).lower(params).as_text()
    assert with_keys == jax.jit(lambda params: run(params, None)).lower(params).as_text()


def test_bfloat16_parameters_compute_in_bfloat16_with_float32_logits(batch, tiny, make_model):
    exact = make_model(tiny())
    graph, params = nnx.split(exact)
    half = nnx.merge(graph, jax.tree.map(lambda p: p.astype(jnp.bfloat16), params))
    hidden = half(*batch)
    assert hidden.dtype == jnp.bfloat16
    assert half.predict_tokens(hidden).dtype == half.predict_next_sentence(hidden).dtype == jnp.float32
    seen = (batch[2] > 0)[..., None]
    assert jnp.abs(jnp.where(seen, hidden.astype(jnp.float32) - exact(*batch), 0)).max() < 0.15


def test_heads_against_plain_formulas(batch, tiny, make_model):
    model = make_model(tiny())
    hidden = model(*batch)
    head, table = model.token_head, model.embeddings.tokens.embedding[...]
    x = jax.nn.gelu(hidden @ head.transform.kernel[...] + head.transform.bias[...][None, None], approximate=False)
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-12)
    x = x * head.norm.scale[...][None, None] + head.norm.bias[...][None, None]
    expected = jnp.einsum("BTD,VD->BTV", x, table) + head.bias[...][None, None]
    np.testing.assert_allclose(model.predict_tokens(hidden), expected, rtol=1e-4, atol=1e-4)
    pair = model.pair_head
    x = jnp.tanh(hidden @ pair.pooler.kernel[...] + pair.pooler.bias[...][None, None])
    expected = x @ pair.classifier.kernel[...] + pair.classifier.bias[...][None, None]
    np.testing.assert_allclose(model.predict_next_sentence(hidden), expected, rtol=1e-4, atol=1e-5)


def test_names_of_parameters(tiny, make_model):
    paths = {".".join(map(str, path)): leaf.shape for path, leaf in nnx.to_flat_state(nnx.state(make_model(tiny())))}
    assert paths["embeddings.tokens.embedding"] == (VOCABULARY, 16)
    assert paths["layers.attention.query.kernel"] == (2, 16, 4, 4) and paths["layers.attention.key.bias"] == (2, 4, 4)
    assert paths["layers.attention.out.kernel"] == (2, 4, 4, 16) and paths["layers.mlp.down.kernel"] == (2, 32, 16)
    assert {"token_head.transform.kernel", "token_head.norm.scale", "token_head.bias"} < paths.keys()
    assert {"pair_head.pooler.bias", "pair_head.classifier.kernel", "embeddings.norm.bias"} < paths.keys()
    assert "final_norm.scale" not in paths
    config = tiny(norm_placement="pre", num_token_types=0)
    pre = nnx.state(nnx.eval_shape(lambda: Encoder(config, rngs=nnx.Rngs(0))))
    paths = {".".join(map(str, path)) for path, _ in nnx.to_flat_state(pre)}
    assert "final_norm.scale" in paths and not any("head" in path or "token_types" in path for path in paths)


def test_number_of_parameters_is_the_published_one():
    """BERT-base is 110 M (arXiv:1810.04805); to the digit, the 109,482,240 of the released encoder with its pooler."""
    from model.families import bert

    model = nnx.eval_shape(lambda: MaskedLanguageModel(bert.config("base"), rngs=nnx.Rngs(0)))
    sizes = {path: leaf.size for path, leaf in nnx.to_flat_state(nnx.state(model))}
    encoder = sum(
        n for path, n in sizes.items() if path[0] in ("embeddings", "layers") or path[:2] == ("pair_head", "pooler")
    )
    assert encoder == 109_482_240


def test_errors(tiny, make_model, documents, pack):
    model = make_model(tiny(), next_sentence=False)
    with pytest.raises(ValueError, match="without a next-sentence head"):
        model.predict_next_sentence(jnp.ones((1, 1, 16)))
    with pytest.raises(ValueError, match="a row of 40 tokens is longer than the 32 learned positions"):
        model(*pack(documents([5]), 40))


@pytest.mark.parametrize(
    ("kind", "placement", "offsets"), [(Encoder, "post", (-1, 1, -2, 2)), (Decoder, "pre", (-1, -2, -3, -4))]
)
def test_heads_begin_at_their_offsets(tiny, kind, placement, offsets):
    config = tiny(hidden_size=256, attention=MultiHead(4, num_kv_heads=2, dropout_rate=0.0), norm_placement=placement)
    model = kind(dataclasses.replace(config, initializer=OffsetHeads()), rngs=nnx.Rngs(0))
    tokens, positions = jax.random.randint(jax.random.key(1), (1, 32), 0, config.vocab_size), jnp.arange(32)[None]
    _, sites = captured(model, lambda model: model(tokens, positions, jnp.ones((1, 32), jnp.int32)))
    for layer in range(config.num_layers):
        for weights, offset in zip(sites[f"layers.{layer}.attention.weights"][0], offsets, strict=True):
            at = {o: float(jnp.diagonal(weights, o).mean()) for o in range(-6, 7) if o}
            assert max(at, key=at.get) == offset and at[offset] > 2 / 32
