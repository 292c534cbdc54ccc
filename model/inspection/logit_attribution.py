"""Who made a logit: the stream is a sum, so the logit is one too, once the norms are frozen.

The stream before the last norm is the sum of what the embeddings and each attention and MLP added. A norm with its
statistics held at those of this very stream is an affine map,

    layer norm: y = sum_c (c - mean(c)) / sigma * scale + bias,     RMS norm: y = sum_c c / rms * scale,

sigma and rms being numbers of the whole sum. So a logit, a product with a row of the output table, is a sum of one number for
each part, plus what the norm's and the output's biases give. Frozen statistics belong to one input: these are shares of
what is, and not what would be were a part taken away (for that there is ablation).

In a post-norm model the stream passes a norm after every addition; all of them are frozen, each at its own statistics. In a
sandwich what a part adds is what left the norm behind it.
Reference: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; Wang et al., arXiv:2211.00593.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Float, Int

from model.encoder_decoder import EncoderDecoder
from model.inspection.lens import Scoring, output_table, scored_stack, site_of
from model.inspection.per_text import how_many
from model.linear import Linear
from model.norms import LayerNorm, Norm, RMSNorm
from model.transformer import Transformer

NORM_BIASES, OUTPUT_BIAS = "norm biases", "output bias"
Parts = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class LogitAttribution:
    """A logit, or a difference of two, as a sum over parts of the model.

    Attributes:
        names: the C parts: "embeddings", "layers.0.attention", "layers.0.mlp", ..., "norm biases", "output bias"; with heads
            "layers.0.attention.heads.3" and "layers.0.attention.bias" instead. In an encoder-decoder "decoder." goes before.
        values: float32 [C B T], what each part gave.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "C B T"]

    @property
    def total(self) -> Float[np.ndarray, "B T"]:
        """The sum over all parts: the logit, or the difference."""
        return self.values.sum(0)

    def __getitem__(self, name: str) -> Float[np.ndarray, "B T"]:
        """What one part gave; ValueError for a name that is not there."""
        if name not in self.names:
            raise ValueError(f"there is no part {name!r} here; there are {', '.join(self.names)}")
        return self.values[self.names.index(name)]

    def top(self, example: int, place: int, count: int = 5) -> list[tuple[str, float]]:
        """The parts that gave most at one place, by size, whatever the sign."""
        given = self.values[:, example, place]
        order = np.argsort(-np.abs(given), kind="stable")[: how_many(count)]
        return [(self.names[part], float(given[part])) for part in order]


def frozen_norm(
    parts: Float[np.ndarray, "C B T D"],
    total: Float[np.ndarray, "B T D"],
    scale: Float[np.ndarray, " D"],
    epsilon: float,
    *,
    centre: bool,
) -> Float[np.ndarray, "C B T D"]:
    """What each of C parts becomes under a norm whose statistics are those of `total`; without the norm's bias.

        layer norm (centre):  (c - mean(c)) / sqrt(var(total) + epsilon) * scale
        RMS norm:             c / sqrt(mean(total^2) + epsilon) * scale

    Linear in `parts`: where they sum to `total`, the results sum to norm(total) - bias.

    >>> parts = np.array([[[[3.0, 0.0]]], [[[0.0, 4.0]]]])
    >>> frozen_norm(parts, parts.sum(0), np.full(2, 0.5**0.5), 0.0, centre=False)[:, 0, 0].round(3)
    array([[0.6, 0. ],
           [0. , 0.8]])
    """
    if centre:
        parts = parts - parts.mean(-1, keepdims=True)
        total = total - total.mean(-1, keepdims=True)
    return parts / np.sqrt(np.square(total).mean(-1, keepdims=True) + epsilon) * scale


def direct_logit_attribution(
    model: Any,
    sites: Mapping[str, Any],
    tokens: Int[np.ndarray, "B T"],
    *,
    against: Int[np.ndarray, "B T"] | None = None,
    heads: bool = False,
) -> LogitAttribution:
    """What each part of the model gave, through frozen norms, to the logit of `tokens` at every place.

    Args:
        model: a LanguageModel or an EncoderDecoder, whose decoder is read; a MaskedLanguageModel whose head is linear.
        sites: what was captured, under the names of `attribution_sites`.
        tokens: whose logit, one id for each place.
        against: another id for each place; the attribution is then of logit(tokens) - logit(against).
        heads: whether attention is taken apart into its heads.

    Where logits are softly capped the sum is the score before the cap. ValueError for a head with a transform of its own
    (BERT's): an activation stands between the stream and the logits, so they are no sum over parts.
    """
    stack, prefix = scored_stack(model)
    _refuse_transform(model)
    found = {name: site_of(sites, name) for name in attribution_sites(model, heads=heads)}
    embedded = f"{prefix}embeddings"
    parts: Parts = {embedded: found[f"{embedded}.output"]}
    biases = np.zeros_like(parts[embedded])  # those of all norms so far, as they stand in the stream now
    for number in range(stack.num_layers):
        for half in _halves(model):
            name = f"{prefix}layers.{number}.{half}"
            if heads and half != "mlp":
                added = _by_head(name, found[f"{name}.mixed"], *_module(stack, number, half, "out"))
            else:
                added = {name: found[f"{name}.output"]}
            if stack.config.norm_placement == "sandwich":
                added, bias = _through(*_module(stack, number, f"{half}_norm_after"), added, np.zeros_like(biases))
                biases = biases + bias
            parts |= added
            if stack.config.norm_placement == "post":
                parts, biases = _through(*_module(stack, number, f"{half}_norm"), parts, biases)
    if stack.final_norm is not None:
        parts, biases = _through(stack.final_norm, None, parts, biases)
    return _on_logits(model, parts | {NORM_BIASES: biases}, np.asarray(tokens), against)


def attribution_sites(model: Any, *, heads: bool = False) -> tuple[str, ...]:
    """The sites that `direct_logit_attribution` reads, to capture before."""
    stack, prefix = scored_stack(model)
    found = [f"{prefix}embeddings.output"]
    for number in range(stack.num_layers):
        for half in _halves(model):
            word = "mixed" if heads and half != "mlp" else "output"
            found.append(f"{prefix}layers.{number}.{half}.{word}")
    return tuple(found)


def head_outputs(
    mixed: Float[np.ndarray, "B T N H"], kernel: Float[np.ndarray, "N H D"]
) -> Float[np.ndarray, "N B T D"]:
    """What each head writes into the stream: its mixed values through its rows of the output kernel.

    Their sum is attention's output without its bias.

    >>> head_outputs(np.ones((1, 1, 2, 3)), np.ones((2, 3, 1)))[:, 0, 0, 0]
    array([3., 3.])
    """
    return np.einsum("BTNH,NHD->NBTD", mixed, kernel)


def _halves(model: Scoring) -> tuple[str, ...]:
    """The parts of a block that add to the stream, in their order."""
    cross = ("cross_attention",) if isinstance(model, EncoderDecoder) else ()
    mlp = () if model.config.mlp is None else ("mlp",)
    return ("attention", *cross, *mlp)


def _refuse_transform(model: Scoring) -> None:
    if model.config.output.transform:
        raise ValueError(
            "this model's output has a transform: an activation and a norm stand between the stream and the logits, so they "
            "are not a sum over parts; use logit_lens, or patch activations"
        )


def _module(stack: Transformer, number: int, *path: str) -> tuple[Any, int | None]:
    """A module inside layer `number`, and the row of its arrays that is this layer's; None where it has arrays of its own."""
    layers, row = stack.layers, 0 if stack.config.share_layers else number
    apart = isinstance(layers, nnx.List)
    module = layers[row] if apart else layers
    for word in path:
        module = getattr(module, word)
    return module, None if apart else row


def _numbers(parameter: Any, row: int | None) -> np.ndarray:
    """A parameter, or one layer's row of it, in float32."""
    values = parameter[...]
    return np.asarray(values if row is None else values[row], np.float32)


def _by_head(name: str, mixed: np.ndarray, out: Linear, row: int | None) -> Parts:
    """What the heads of one attention add, and its bias, which is nobody's."""
    written = head_outputs(mixed, _numbers(out.kernel, row))
    parts = {f"{name}.heads.{head}": part for head, part in enumerate(written)}
    if out.bias is not None:
        parts[f"{name}.bias"] = np.broadcast_to(_numbers(out.bias, row), written.shape[1:])
    return parts


def _through(norm: Norm, row: int | None, parts: Parts, biases: np.ndarray) -> tuple[Parts, np.ndarray]:
    """Parts and biases of a stream behind a norm that is frozen at the statistics of their sum."""
    stacked = np.stack([*parts.values(), biases])
    scale, choice = _numbers(norm.scale, row), norm.choice
    if isinstance(choice, RMSNorm) and choice.centred:
        scale = scale + 1.0
    normed = frozen_norm(stacked, stacked.sum(0), scale, choice.epsilon, centre=isinstance(choice, LayerNorm))
    has_bias = isinstance(choice, LayerNorm) and choice.bias
    after = normed[-1] + _numbers(norm.bias, row) if has_bias else normed[-1]
    return dict(zip(parts, normed[:-1], strict=True)), after


def _on_logits(model: Scoring, parts: Parts, tokens: np.ndarray, against: np.ndarray | None) -> LogitAttribution:
    """Each part along the row of the output table that scores the token, and the token's own bias."""
    head = model.token_head
    table = np.asarray(output_table(model).embedding[...], np.float32)
    bias = None if head.bias is None else np.asarray(head.bias[...], np.float32)
    chosen = [tokens] if against is None else [tokens, np.asarray(against)]
    for ids in chosen:
        if ids.shape != (places := parts[NORM_BIASES].shape[:2]):
            raise ValueError(f"tokens of shape {ids.shape} for hidden states of {places}: one id a place")
        if ids.size and not 0 <= ids.min() <= ids.max() < len(table):
            raise ValueError(f"token ids from {ids.min()} to {ids.max()} do not lie in a vocabulary of {len(table)}")
    directions = [table[ids] for ids in chosen]
    direction = directions[0] if against is None else directions[0] - directions[1]
    values = np.einsum("CBTD,BTD->CBT", np.stack([*parts.values()]), direction * np.float32(head.choice.scale))
    names = tuple(parts)
    if bias is not None:
        own = bias[chosen[0]] - (0.0 if against is None else bias[chosen[1]])
        names, values = (*names, OUTPUT_BIAS), np.concatenate([values, own[None].astype(np.float32)])
    return LogitAttribution(names, values)
