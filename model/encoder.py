"""A bidirectional encoder, and the encoder with BERT's two heads."""

from flax import nnx
from jaxtyping import Array, Float, Int, UInt32

from kernels.dropout import fold
from model.block import Block
from model.config import TransformerConfig
from model.embeddings import Embeddings
from model.heads import PairHead, TokenHead
from model.masks import segment_mask
from model.norms import Norm
from model.placing import split_rows
from model.stack import run_layers, stack_layers

# Words that part the random streams of embeddings and layers; a run's masks depend on them.
EMBEDDINGS, LAYERS = 0, 1


class Encoder(nnx.Module):
    """Embeddings and a stack of blocks in which every token of a segment sees every other."""

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.embeddings = Embeddings(config, rngs=rngs)
        self.layers = stack_layers(lambda rngs: Block(config, rngs=rngs), config.num_layers, rngs)
        self.final_norm = Norm(config.hidden_size, config.norm) if config.norm_placement == "pre" else None

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

        def keys(word) -> UInt32[Array, " B"] | None:
            return None if dropout_keys is None else fold(dropout_keys, word)

        mask = segment_mask(segments)
        x = split_rows(self.embeddings(tokens, positions, token_types, dropout_keys=keys(EMBEDDINGS)))
        layer_keys = keys(LAYERS)

        def call(layer: Block, x: Array, index: Array) -> Array:
            return split_rows(layer(x, mask, dropout_keys=None if layer_keys is None else fold(layer_keys, index)))

        x = run_layers(self.layers, x, call, self.config.num_layers, self.config.stack)
        return x if self.final_norm is None else self.final_norm(x)


class MaskedLanguageModel(Encoder):
    """The encoder with a head for hidden tokens, tied to the token embeddings, and one for pairs of sentences.

    Reference: Devlin et al., arXiv:1810.04805, section 3.1; the heads as in the authors' code.
    """

    def __init__(self, config: TransformerConfig, next_sentence: bool = True, *, rngs: nnx.Rngs):
        super().__init__(config, rngs=rngs)
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
