"""Value-weighted attention: what places hand over adds up to what attention puts out."""

import jax.numpy as jnp
import numpy as np
import pytest

from kernels.attention import masked_softmax
from model.attention import MultiHead
from model.capture import captured
from model.decoder import LanguageModel
from model.inspection.value_weighted import (
    value_weighted_norms,
    value_weighted_norms_together,
    value_weighted_vectors,
)
from model.masks import causal_mask
from model.output import Output

PLAIN = {"num_token_types": 0, "norm_embeddings": False, "output": Output(), "norm_placement": "pre"}


@pytest.mark.parametrize("shared", (None, 2, 1))
def test_the_vectors_sum_to_the_output_of_attention(tiny, make_model, planted, shared):
    """Of a decoder with as many, half as many, and one value head."""
    model = make_model(tiny(**PLAIN, attention=MultiHead(4, num_kv_heads=shared, dropout_rate=0.0)), LanguageModel)
    tokens = np.random.default_rng(0).integers(0, 50, (2, 9))
    _, sites = captured(model, lambda model: model(*planted.inputs_of(tokens)))
    found = {word: np.asarray(sites[f"layers.1.attention.{word}"]) for word in ("queries", "keys", "values", "output")}
    groups = 4 // found["keys"].shape[2]
    scores = np.einsum("BTNH,BSNH->BNTS", found["queries"], np.repeat(found["keys"], groups, 2)) / 2.0
    weights = np.asarray(masked_softmax(jnp.asarray(scores), causal_mask(9)))
    out = model.layers.attention.out
    kernel, bias = np.asarray(out.kernel[...][1]), np.asarray(out.bias[...][1])
    vectors = value_weighted_vectors(weights, found["values"], kernel)
    np.testing.assert_allclose(vectors.sum(2), found["output"] - bias, atol=1e-5)
    together = value_weighted_norms_together(weights, found["values"], kernel)
    np.testing.assert_allclose(together, np.linalg.norm(vectors, axis=-1), atol=1e-5)
    norms = value_weighted_norms(weights, found["values"], kernel)
    assert (norms.sum(1) > together - 1e-5).all()  # heads may cancel, never the other way round
    one_head = np.zeros_like(weights)
    one_head[:, 2] = weights[:, 2]
    alone = value_weighted_norms_together(one_head, found["values"], kernel)
    np.testing.assert_allclose(norms[:, 2], alone, atol=1e-5)


def test_weight_on_a_place_of_no_value_is_nothing():
    """Kobayashi et al.'s point: separators are looked at and hand over next to nothing."""
    weights, values = np.array([[[0.9, 0.1]]]), np.array([[[0.0, 0.0]], [[3.0, 4.0]]])
    np.testing.assert_allclose(value_weighted_norms(weights, values, np.eye(2)[None]), [[[0.0, 0.5]]])


def test_heads_that_do_not_share_are_refused():
    with pytest.raises(ValueError, match="3 heads cannot share 2 value heads"):
        value_weighted_norms(np.ones((3, 1, 1)), np.ones((1, 2, 4)), np.ones((3, 4, 8)))
