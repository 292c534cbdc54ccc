"""What stands on an encoder's hidden states: scores of tokens, and of pairs of sentences."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from model.config import TransformerConfig
from model.linear import Embedding, Linear, truncated_normal
from model.mlp import Activation, activate
from model.norms import Norm


class TokenHead(nnx.Module):
    """logits = norm(activation(x W + b)) E^T + bias, with E the table of token embeddings (tied: arXiv:1608.05859)."""

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        width = config.hidden_size
        self.activation: Activation = config.mlp.activation
        self.transform = Linear(
            "BTD,DE->BTE",
            {"D": width, "E": width},
            initializer=truncated_normal(config.initializer_range),
            rngs=rngs,
        )
        self.norm = Norm(width, config.norm)
        self.bias = nnx.Param(jnp.zeros(config.vocab_size, jnp.float32))

    def __call__(self, x: Float[Array, "B K D"], table: Embedding) -> Float[Array, "B K V"]:
        x = self.norm(activate(self.transform(x), self.activation))
        return table.attend(x, self.bias[...])


class PairHead(nnx.Module):
    """logits = tanh(x P + p) C + c: BERT's pooler on the first token of a pair, and a classifier of two classes."""

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        axes = {"D": config.hidden_size, "E": config.hidden_size, "C": 2}
        shared = {"initializer": truncated_normal(config.initializer_range), "rngs": rngs}
        self.pooler = Linear("BTD,DE->BTE", axes, **shared)
        self.classifier = Linear("BTE,EC->BTC", axes, **shared)

    def __call__(self, x: Float[Array, "B P D"]) -> Float[Array, "B P C"]:
        return self.classifier(jnp.tanh(self.pooler(x))).astype(jnp.float32)
