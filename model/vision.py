"""A vision transformer: an encoder of image patches, with a classifier on its first place."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt32

from kernels.dropout import dropout
from model.capture import tap
from model.config import TransformerConfig
from model.encoder import part
from model.heads import Pooler
from model.linear import Embedding, Linear
from model.patches import cut
from model.positions import LearnedPositions
from model.transformer import Transformer


class PatchEmbeddings(nnx.Module):
    """x = dropout([class; patches W + b] + positions)."""

    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        if config.patches is None or not isinstance(config.positions, LearnedPositions):
            raise ValueError("a vision transformer needs patches and learned positions; set both in its config")
        if config.positions.max_length != config.patches.count + 1:
            raise ValueError(
                f"positions.max_length={config.positions.max_length} must be {config.patches.count + 1}, "
                "the patches of an image and one place for its class"
            )
        width, self.choice, self.dropout_rate = config.hidden_size, config.patches, config.dropout_rate
        axes, drawn = {"P": config.patches.size, "D": width}, config.draw("input", config.patches.size, width)
        self.projection = Linear("BTP,PD->BTD", axes, initializer=drawn, rngs=rngs)
        rows = config.positions.max_length
        self.positions = Embedding(rows, width, initializer=config.draw("embedding", rows, width), rngs=rngs)
        self.class_token = Embedding(1, width, initializer=config.draw("embedding", 1, width), rngs=rngs)

    def __call__(
        self, images: Float[Array, "B C Y X"], *, dropout_keys: UInt32[Array, " B"] | None = None
    ) -> Float[Array, "B T D"]:
        """The patches of images, channels first, after one place that belongs to the whole image."""
        size = self.choice.image_size
        if images.shape[1:] != (self.choice.num_channels, size, size):
            raise ValueError(
                f"images of shape {images.shape[1:]} do not fit patches of ({self.choice.num_channels}, {size}, {size})"
            )
        x = self.projection(cut(images, self.choice.patch_size))
        first = self.class_token(jnp.zeros((images.shape[0], 1), jnp.int32)).astype(x.dtype)
        x = jnp.concatenate([first, x], axis=1)
        x = x + self.positions(jnp.arange(x.shape[1])[None]).astype(x.dtype)
        return tap(self, "output", dropout(x, self.dropout_rate, dropout_keys))


class VisionTransformer(Transformer):
    """Patches, pre-norm blocks, and a linear classifier on the first place (Dosovitskiy et al., arXiv:2010.11929)."""

    def __init__(self, config: TransformerConfig, num_classes: int = 0, pooler: bool = False, *, rngs: nnx.Rngs):
        self.embeddings = PatchEmbeddings(config, rngs=rngs)
        super().__init__(config, causal=False, rngs=rngs)
        axes, drawn = {"D": config.hidden_size, "C": num_classes}, config.draw("input", config.hidden_size, num_classes)
        self.classifier = Linear("BTD,DC->BTC", axes, initializer=drawn, rngs=rngs) if num_classes else None
        self.pooler = Pooler(config, rngs=rngs) if pooler else None

    def __call__(
        self, images: Float[Array, "B C Y X"], *, dropout_keys: UInt32[Array, " B"] | None = None
    ) -> Float[Array, "B T D"]:
        """The last hidden state of the class place and of every patch."""
        first, others = part(dropout_keys)
        x = self.embeddings(images, dropout_keys=first)
        positions = jnp.broadcast_to(jnp.arange(x.shape[1], dtype=jnp.int32)[None], x.shape[:2])
        return self.run(x, positions, jnp.ones_like(positions), dropout_keys=others)[0]

    def predict_class(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B C"]:
        """Float32 scores of the classes, from the first place."""
        if self.classifier is None:
            raise ValueError("this model was made without a classifier; make it with num_classes=...")
        return tap(self.classifier, "output", self.classifier(hidden[:, :1])[:, 0].astype(jnp.float32))

    def pool(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B D"]:
        """A vector for each image, from its first place."""
        if self.pooler is None:
            raise ValueError("this model was made without a pooler; make it with pooler=True")
        return self.pooler(hidden[:, :1])[:, 0]
