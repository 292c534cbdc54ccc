"""What stands on hidden states: scores of tokens, and of pairs of sentences."""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from model.capture import tap
from model.config import TransformerConfig
from model.linear import Embedding, Linear
from model.mlp import Activation, activate
from model.norms import Norm

PoolerActivation: TypeAlias = Literal["tanh", "relu"]


class TokenHead(nnx.Module):
    """Scores of every token of the vocabulary, as `config.output` says."""

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        width, inner, choice = config.hidden_size, config.embedding_size or config.hidden_size, config.output
        self.choice = choice
        self.activation: Activation = "gelu" if config.mlp is None else config.mlp.activation
        if inner != width and choice.tied and not choice.transform:
            raise ValueError(
                f"embedding_size={inner} is not hidden_size={width}, so a tied output needs output.transform=True"
            )
        axes, drawn = {"D": width, "E": inner}, config.draw("input", width, inner)
        self.transform = Linear("BTD,DE->BTE", axes, initializer=drawn, rngs=rngs) if choice.transform else None
        self.norm = Norm(inner, config.norm) if choice.transform else None
        columns = inner if choice.transform else width
        drawn = config.draw("input", columns, config.vocab_size)
        self.table = None if choice.tied else Embedding(config.vocab_size, columns, initializer=drawn, rngs=rngs)
        self.bias = nnx.Param(jnp.zeros(config.vocab_size, jnp.float32)) if choice.bias else None

    def __call__(self, x: Float[Array, "B K D"], tokens: Embedding) -> Float[Array, "B K V"]:
        """Float32 scores from hidden states, with the table of token embeddings where the output is tied to it."""
        if self.transform is not None:
            assert self.norm is not None
            x = self.norm(activate(self.transform(x), self.activation))
        if self.choice.scale != 1.0:
            x = x * self.choice.scale
        table = tokens if self.table is None else self.table
        scores = table.attend(x, None if self.bias is None else self.bias[...])
        if (cap := self.choice.soft_cap) is not None:
            scores = cap * jnp.tanh(scores / cap)
        return tap(self, "output", scores)


class Pooler(Linear):
    """tanh(x P + p): BERT's summary of a row, from the state of its first token; DistilBERT's classifiers have relu there."""

    def __init__(self, config: TransformerConfig, activation: PoolerActivation = "tanh", *, rngs: nnx.Rngs):
        width = config.hidden_size
        self.activation: PoolerActivation = activation
        drawn = config.draw("input", width, width)
        super().__init__("BTD,DE->BTE", {"D": width, "E": width}, initializer=drawn, rngs=rngs)

    def __call__(self, x: Float[Array, "B P D"]) -> Float[Array, "B P D"]:
        act = jnp.tanh if self.activation == "tanh" else jax.nn.relu
        return tap(self, "output", act(super().__call__(x)))


class PairHead(nnx.Module):
    """logits = pooler(x) C + c: two classes from BERT's pooler on the first token of a pair."""

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        axes = {"E": config.hidden_size, "C": 2}
        self.pooler = Pooler(config, rngs=rngs)
        drawn = config.draw("input", config.hidden_size, 2)
        self.classifier = Linear("BTE,EC->BTC", axes, initializer=drawn, rngs=rngs)

    def __call__(self, x: Float[Array, "B P D"]) -> Float[Array, "B P C"]:
        return tap(self, "output", self.classifier(self.pooler(x)).astype(jnp.float32))
