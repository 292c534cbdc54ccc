"""Images as rows of patches (Dosovitskiy et al., arXiv:2010.11929)."""

import dataclasses

from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class Patches:
    """How an image is cut."""

    image_size: int = 224
    """Pixels along each side."""
    patch_size: int = 16
    """Pixels along each side of a patch; divides the image's."""
    num_channels: int = 3
    """Colours."""

    def __post_init__(self):
        if self.patch_size < 1 or self.image_size < 1 or self.image_size % self.patch_size:
            raise ValueError(f"image_size={self.image_size} is not a multiple of patch_size={self.patch_size}")

    @property
    def count(self) -> int:
        """Patches of an image."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def size(self) -> int:
        """Numbers of a patch."""
        return self.patch_size**2 * self.num_channels


def cut(images: Float[Array, "B C Y X"], patch_size: int) -> Float[Array, "B T P"]:
    """Cut images, channels first, into patches, left to right and top to bottom; a patch lists channel, row, column.

    >>> import jax.numpy as jnp
    >>> cut(jnp.arange(16.0).reshape(1, 1, 4, 4), 2)[0, 1]
    Array([2., 3., 6., 7.], dtype=float32)
    """
    batch, channels, height, width = images.shape
    rows, columns = height // patch_size, width // patch_size
    parts = images.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return parts.transpose(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, -1)
