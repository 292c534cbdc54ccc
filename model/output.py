"""From hidden states to scores of tokens: tied or not, with BERT's transform, a scale, a soft cap."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Output:
    """logits = cap(scale * h E^T + bias),  h the hidden state or norm(activation(h W + b)),  cap(z) = c tanh(z / c)."""

    tied: bool = True
    """Whether E is the table of token embeddings (arXiv:1608.05859); else one of its own."""
    transform: bool = False
    """Whether h first passes a layer of its own, as in BERT."""
    bias: bool = False
    """Whether each token has a bias."""
    scale: float = 1.0
    """What scores are multiplied by; T5's tied head has D^-1/2."""
    soft_cap: float | None = None
    """c; None leaves scores as they are (Gemma 2, arXiv:2408.00118)."""

    def __post_init__(self):
        if not self.scale > 0:
            raise ValueError(f"scale={self.scale} must be positive")
        if self.soft_cap is not None and not self.soft_cap > 0:
            raise ValueError(f"soft_cap={self.soft_cap} must be positive; None leaves scores as they are")
