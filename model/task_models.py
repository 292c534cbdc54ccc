"""Any stack with a head for a task: a linear map from the states of tokens, or of whole segments, to scores.

Their parameters have the paths of the stacks that they extend, so that weights fit by name; new is only the head. What its
scores are of, `HeadKind`, decides its name and how a model is published: `classifier` scores labels, `ends` whether an answer
begins and ends at a token, `choices` gives each choice one score.
"""

from typing import Any, Literal

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, UInt32

from kernels.dropout import dropout, fold
from model.capture import tap
from model.config import TransformerConfig
from model.decoder import Decoder
from model.embeddings import Embeddings
from model.encoder import Encoder, part
from model.encoder_decoder import SOURCE
from model.heads import PoolerActivation
from model.linear import Linear
from model.pooling import Pooling, pool
from model.transformer import Transformer

StackKind = Literal["encoder", "decoder", "encoder_decoder"]
HeadKind = Literal["labels", "ends", "choices"]
CLASSIFIER = 4  # a word that parts the head's random stream from those of model/encoder.py and model/encoder_decoder.py


class TaskHead(nnx.Module):
    """What a task model has beside its stack: `outputs` scores of each state, or none where the states are the answer."""

    config: TransformerConfig
    classifier: Linear | None = None
    ends: Linear | None = None
    choices: Linear | None = None
    pooler: Any = None
    pooling: Pooling | None = None
    kind: HeadKind = "labels"

    @property
    def head(self) -> Linear | None:
        """What gives the scores."""
        return next((head for head in (self.classifier, self.ends, self.choices) if head is not None), None)

    def add_head(self, outputs: int, pooling: Pooling | None, rngs: nnx.Rngs, kind: HeadKind) -> None:
        """Draw the head: y = x C + c, on segments that are summed up by `pooling`, or on every token where it is None."""
        self.pooling, self.kind = pooling, kind
        width = self.config.hidden_size
        drawn = self.config.draw("input", width, max(outputs, 1))
        axes = {"D": width, "C": outputs}
        head = Linear("BPD,DC->BPC", axes, initializer=drawn, rngs=rngs) if outputs else None
        self.classifier = head if kind == "labels" else None
        self.ends = head if kind == "ends" else None
        self.choices = head if kind == "choices" else None

    def states(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        token_types: Int[Array, "B T"] | None = None,
        *,
        dropout_keys: UInt32[Array, " B"] | None = None,
    ) -> Float[Array, "B T D"]:
        """The last hidden state of every token of the text; of an encoder-decoder, those of its encoder."""
        raise NotImplementedError

    def summed_up(
        self, hidden: Float[Array, "B T D"], segments: Int[Array, "B T"], count: int = 1
    ) -> Float[Array, "B P D"]:
        """A vector for each of the segments 1 to P = `count`, behind BERT's pooler where the model has one; the states as they
        are where every token has scores of its own.
        """
        if self.pooling is None:
            return hidden
        summed = pool(hidden, segments, count, self.pooling)
        return summed if self.pooler is None else self.pooler(summed)

    def classify(
        self, states: Float[Array, "B P D"], dropout_keys: UInt32[Array, " B"] | None = None
    ) -> Float[Array, "B P C"]:
        """Scores in float32, with dropout before the head as in the published codes."""
        if self.head is None:
            raise ValueError("this model was made without a head; make it with outputs=1 or more")
        keys = None if dropout_keys is None else fold(dropout_keys, CLASSIFIER)
        dropped = dropout(states, self.config.dropout_rate, keys)
        return tap(self, "scores", self.head(dropped).astype(jnp.float32))


class EncoderForTask(Encoder, TaskHead):
    """An encoder with a head (Devlin et al., arXiv:1810.04805, section 4)."""

    def __init__(
        self,
        config: TransformerConfig,
        outputs: int,
        pooling: Pooling | None,
        pooler: bool = False,
        pooler_activation: PoolerActivation = "tanh",
        kind: HeadKind = "labels",
        *,
        rngs: nnx.Rngs,
    ):
        super().__init__(config, pooler, rngs=rngs)
        if self.pooler is not None:
            self.pooler.activation = pooler_activation
        self.add_head(outputs, pooling, rngs, kind)

    def states(self, tokens, positions, segments, token_types=None, *, dropout_keys=None):
        types = token_types if self.config.num_token_types > 1 else None
        return self(tokens, positions, segments, types, dropout_keys=dropout_keys)


class DecoderForTask(Decoder, TaskHead):
    """A decoder with a head in the place of that for tokens (Radford et al. 2018, section 3.2)."""

    def __init__(
        self,
        config: TransformerConfig,
        outputs: int,
        pooling: Pooling | None,
        kind: HeadKind = "labels",
        *,
        rngs: nnx.Rngs,
    ):
        super().__init__(config, rngs=rngs)
        self.add_head(outputs, pooling, rngs, kind)

    def states(self, tokens, positions, segments, token_types=None, *, dropout_keys=None):
        return self(tokens, positions, segments, dropout_keys=dropout_keys)


class SourceEncoderForTask(TaskHead):
    """The encoder of an encoder-decoder with a head; there is no decoder (Liu et al., arXiv:2110.08426)."""

    def __init__(
        self,
        config: TransformerConfig,
        outputs: int,
        pooling: Pooling | None,
        kind: HeadKind = "labels",
        *,
        rngs: nnx.Rngs,
    ):
        self.config = config
        self.embeddings = Embeddings(config, rngs=rngs)
        self.encoder = Transformer(config, causal=False, rngs=rngs)
        self.add_head(outputs, pooling, rngs, kind)

    def states(self, tokens, positions, segments, token_types=None, *, dropout_keys=None):
        first, others = part(None if dropout_keys is None else fold(dropout_keys, SOURCE))
        x = self.embeddings(tokens, positions, dropout_keys=first)
        return self.encoder.run(x, positions, segments, dropout_keys=others)[0]


def task_model(
    stack: StackKind,
    config: TransformerConfig,
    outputs: int,
    pooling: Pooling | None,
    *,
    pooler: bool = False,
    kind: HeadKind = "labels",
    rngs: nnx.Rngs,
) -> Any:
    """A stack with a head of `outputs` scores (0: none). `pooler` adds BERT's layer on a segment's vector, encoders only;
    `kind` is what the scores are of.
    """
    match stack:
        case "encoder":
            return EncoderForTask(config, outputs, pooling, pooler, kind=kind, rngs=rngs)
        case "decoder":
            return DecoderForTask(config, outputs, pooling, kind, rngs=rngs)
        case "encoder_decoder":
            return SourceEncoderForTask(config, outputs, pooling, kind, rngs=rngs)
