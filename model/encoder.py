"""A bidirectional encoder, and the encoder with BERT's two heads."""

from flax import nnx
from jaxtyping import Array, Float, Int, UInt32

from kernels.dropout import fold
from model.config import TransformerConfig
from model.embeddings import Embeddings
from model.heads import PairHead, Pooler, TokenHead
from model.transformer import Transformer

# Words that part the random streams of embeddings and layers; a run's masks depend on them.
EMBEDDINGS, LAYERS = 0, 1


class Encoder(Transformer):
    """Embeddings and a stack of blocks in which every token of a segment sees every other; with `pooler`, also a layer that
    sums a row up from its first token. Vectors that model/peft puts before the tokens hang under the name `tuned`.
    """

    tuned: str | None = None

    def __init__(self, config: TransformerConfig, pooler: bool = False, *, rngs: nnx.Rngs):
        self.embeddings = Embeddings(config, rngs=rngs)
        super().__init__(config, causal=False, rngs=rngs)
        self.pooler = Pooler(config, rngs=rngs) if pooler else None

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        token_types: Int[Array, "B T"] | None = None,
        *,
        dropout_keys: UInt32[Array, " B"] | None = None,
    ) -> Float[Array, "B T D"]:
        """The last hidden state of every token. Segment 0 is padding: nobody sees it, and its own state means nothing.

        `dropout_keys` hold one key an example, whatever it shares the batch with; None switches dropout off.
        """
        if self.tuned is not None:
            return getattr(self, self.tuned)(self, tokens, positions, segments, token_types, dropout_keys=dropout_keys)
        first, others = part(dropout_keys)
        x = self.embeddings(tokens, positions, token_types, dropout_keys=first)
        return self.run(x, positions, segments, dropout_keys=others)[0]

    def pool(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B D"]:
        """A vector for each row, from its first place."""
        if self.pooler is None:
            raise ValueError("this model was made without a pooler; make it with pooler=True")
        return self.pooler(hidden[:, :1])[:, 0]


class MaskedLanguageModel(Encoder):
    """The encoder with a head for hidden tokens, and one for pairs of sentences.

    Reference: Devlin et al., arXiv:1810.04805, section 3.1; the heads as in the authors' code.
    """

    def __init__(self, config: TransformerConfig, next_sentence: bool = True, pooler: bool = False, *, rngs: nnx.Rngs):
        super().__init__(config, pooler, rngs=rngs)
        self.token_head = TokenHead(config, rngs=rngs)
        self.pair_head = PairHead(config, rngs=rngs) if next_sentence else None

    def predict_tokens(self, hidden: Float[Array, "B K D"]) -> Float[Array, "B K V"]:
        """Logits, in float32, of the token at each of K places, from the hidden states at those places."""
        return self.token_head(hidden, self.embeddings.tokens)

    def predict_next_sentence(self, hidden: Float[Array, "B P D"]) -> Float[Array, "B P C"]:
        """Two logits, in float32, for each pair, from the state at its first token: 0 it follows, 1 it is random."""
        if self.pair_head is None:
            raise ValueError("this model was made without a next-sentence head; make it with next_sentence=True")
        return self.pair_head(hidden)


def part(keys: UInt32[Array, " B"] | None) -> tuple[UInt32[Array, " B"] | None, UInt32[Array, " B"] | None]:
    """The random streams of embeddings and of layers, from those of the examples."""
    return (None, None) if keys is None else (fold(keys, EMBEDDINGS), fold(keys, LAYERS))
