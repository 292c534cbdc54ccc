"""One block of a transformer: attention, then a feed-forward, each added to the residual stream."""

from flax import nnx
from jaxtyping import Array, Bool, Float, UInt32

from kernels.dropout import dropout, fold
from model.attention import Attention
from model.config import TransformerConfig
from model.linear import truncated_normal
from model.mlp import MLP
from model.norms import Norm

# Words that part the random streams of one block; never reorder them, a run's masks depend on them.
WEIGHTS, AFTER_ATTENTION, AFTER_MLP = 0, 1, 2


class Block(nnx.Module):
    """Self attention and MLP.

    Post-norm (arXiv:1706.03762):  x = norm(x + attention(x)),  x = norm(x + mlp(x)).
    Pre-norm (arXiv:2002.04745):   x = x + attention(norm(x)),  x = x + mlp(norm(x)).
    """

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        self.pre = config.norm_placement == "pre"
        self.dropout_rate = config.dropout_rate
        width, initializer = config.hidden_size, truncated_normal(config.initializer_range)
        self.attention = Attention(width, config.attention, initializer=initializer, rngs=rngs)
        self.attention_norm = Norm(width, config.norm)
        self.mlp = MLP(width, config.mlp, initializer=initializer, rngs=rngs)
        self.mlp_norm = Norm(width, config.norm)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Bool[Array, "#B #N #T S"] | None = None,
        *,
        dropout_keys: UInt32[Array, " B"] | None = None,
    ) -> Float[Array, "B T D"]:
        def keys(site: int) -> UInt32[Array, " B"] | None:
            return None if dropout_keys is None else fold(dropout_keys, site)

        def attend(x):
            x = self.attention(x, mask, dropout_keys=keys(WEIGHTS))
            return dropout(x, self.dropout_rate, keys(AFTER_ATTENTION))

        def feed_forward(x):
            return dropout(self.mlp(x), self.dropout_rate, keys(AFTER_MLP))

        if self.pre:
            x = x + attend(self.attention_norm(x))
            return x + feed_forward(self.mlp_norm(x))
        x = self.attention_norm(x + attend(x))
        return self.mlp_norm(x + feed_forward(x))
